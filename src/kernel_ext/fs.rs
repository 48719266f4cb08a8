// SPDX-License-Identifier: GPL-2.0

//! Files: the character device, poll, eventfds, debugfs, and structures in userspace.

pub(crate) mod chrdev;
pub(crate) mod debugfs;
pub(crate) mod eventfd;
pub(crate) mod poll;
pub(crate) mod uaccess;
