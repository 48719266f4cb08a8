// SPDX-License-Identifier: GPL-2.0

//! Files: the character device, poll, eventfd, debugfs.

pub(crate) mod abi;
pub(crate) mod chrdev;
pub(crate) mod debugfs;
pub(crate) mod eventfd;
pub(crate) mod poll;
