// SPDX-License-Identifier: GPL-2.0

//! The system calls on an open file. They decode the arguments, call the context, and encode the
//! result.
//!
//! Only this module and its submodules copy from and to user memory, and in kernels with fault
//! injection, commands in debugfs (`kernel_ext/fs/debugfs/command.rs`). Only `Pool::pin` pins it.
//! None of them is inside the gate of the device: a page fault on user memory can take forever, for
//! example with userfaultfd(2).

pub(crate) mod context;
mod fdinfo;
mod ioctl;

use crate::{
    device::Device,
    file::context::Context,
    kernel_ext::{
        fs::{
            chrdev::{
                self,
                region::region,
                Mode, //
            },
            poll::{
                Events,
                PollQueue, //
            }, //
        },
        mm::{
            address_space::AddressSpace,
            shared_ring::SharedRing, //
        }, //
    },
    memory::{
        buffer::Buffer,
        handle::Handle, //
    }, //
};
use kernel::{
    iov::{
        IovIterDest,
        IovIterSource, //
    },
    prelude::*,
    seq_file::SeqFile,
    sync::Arc, //
};

region!(Context, Arc<Device>);

impl chrdev::File for Context {
    type Device = Device;
    type Memory = Buffer;

    const RING_PAGE: usize = Handle::RING_PAGE;

    fn open(device: Arc<Device>) -> Result<Arc<Self>> {
        Context::new(device)
    }

    fn size(&self) -> u64 {
        self.device().memory_size()
    }

    fn address_space(&self) -> &AddressSpace {
        self.device().pool().address_space()
    }

    fn ioctl(&self, mode: Mode, command: u32, argument: usize) -> Result<usize> {
        ioctl::ioctl(self, mode, command, argument)
    }

    fn map(&self, first_page: usize, pages: usize) -> Result<Arc<Buffer>> {
        Context::map(self, first_page, pages)
    }

    fn ring(&self) -> Option<&SharedRing> {
        self.client().ring()
    }

    fn read(&self, mode: Mode, position: u64, to: &mut IovIterDest<'_>) -> Result<usize> {
        let mut bytes = call_buffer(self, to.len())?;
        let read = Context::read(self, mode.nonblocking, position, &mut bytes)?;
        let copied = to.copy_to_iter(&bytes[..read]);
        check_copied(copied, read)
    }

    fn write(&self, mode: Mode, position: u64, from: &mut IovIterSource<'_>) -> Result<usize> {
        let wanted = from.len();
        let mut bytes = call_buffer(self, wanted)?;
        if bytes.is_empty() && wanted > 0 {
            return Err(ENOSPC);
        }
        let copied = from.copy_from_iter(&mut bytes);
        check_copied(copied, wanted)?;
        Context::write(self, mode.nonblocking, position, &bytes[..copied])
    }

    fn sync(&self) -> Result {
        // write(2) returns when its transfer has ended, and a mapping is the memory itself. Data
        // that was written to a device that is gone is lost.
        self.device().info().map(drop)
    }

    fn poll_queue(&self) -> &PollQueue {
        self.client().poll_queue()
    }

    fn poll(&self) -> Events {
        let lane = self.client().state();
        let mut events = Events::NONE;
        if lane.completed > 0 {
            events = events | Events::READABLE;
        }
        if lane.closed || self.device().info().is_err() {
            events | Events::GONE
        } else if lane.room > 0 {
            events | Events::WRITABLE
        } else {
            events
        }
    }

    fn show_fdinfo(&self, to: &SeqFile) {
        fdinfo::show(self, to);
    }
}

/// Allocates memory for the data of one call: `wanted` bytes, but no more than the size of the
/// device memory.
fn call_buffer(context: &Context, wanted: usize) -> Result<KVec<u8>> {
    let size = usize::try_from(context.device().memory_size())?;
    Ok(KVec::zeroed(wanted.min(size), GFP_KERNEL)?)
}

/// Returns `copied`, the number of copied bytes.
///
/// # Errors
///
/// [`EFAULT`] if no byte was copied, and `wanted` is not 0.
fn check_copied(copied: usize, wanted: usize) -> Result<usize> {
    if copied == 0 && wanted > 0 {
        Err(EFAULT)
    } else {
        Ok(copied)
    }
}
