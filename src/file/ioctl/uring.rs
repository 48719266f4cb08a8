// SPDX-License-Identifier: GPL-2.0

//! `IORING_OP_URING_CMD` of io_uring: TRANSFER and SUBMIT as commands.

use super::{
    argument::{
        self,
        Argument,
        Input, //
    },
    request,
    submit,
    without_size, //
};
use crate::{
    device::CommandState,
    file::context::Context,
    kernel_ext::fs::chrdev::{
        uring::{
            Commands,
            NewCommand,
            MAX_AREA, //
        },
        Mode, //
    },
    uapi, //
};
use kernel::{
    ioctl::_IOC_SIZE,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

impl Commands for Context {
    type State = CommandState;

    fn command(&self, mode: Mode, command: NewCommand<'_, Self>) -> Result<usize> {
        const TRANSFER: (u32, u32, u32) = without_size(uapi::RDMA_IOC_TRANSFER);
        const SUBMIT: (u32, u32, u32) = without_size(uapi::RDMA_IOC_SUBMIT);

        if command.flags() != 0 {
            return Err(EINVAL);
        }
        match without_size(command.operation()) {
            TRANSFER => transfer(self, mode, command).map(|()| 0),
            SUBMIT => submit::submit_batch(self, mode, &structure(&command)?),
            _ => Err(ENOTTY),
        }
    }

    fn cancel(&self, state: ArcBorrow<'_, CommandState>) {
        self.client().cancel_command(&state);
    }

    fn result(&self, state: Arc<CommandState>) -> Result<usize> {
        self.client().command_result(&state).map(|()| 0)
    }
}

/// Queues the request of a command, which ends when the request has ended.
fn transfer(context: &Context, mode: Mode, command: NewCommand<'_, Context>) -> Result {
    let request: uapi::rdma_request = structure(&command)?;
    let operation = request::decode(context, mode, &request)?;
    context
        .client()
        .submit_command(operation, request.cookie, |state| command.queue(state))
}

/// Reads the structure of a command: from its address, or if that is 0, from the command area of
/// the entry.
///
/// # Errors
///
/// As [`Argument::read`]; [`EFAULT`] if the area is smaller than the structure.
fn structure<T: Input>(command: &NewCommand<'_, Context>) -> Result<T> {
    let size = _IOC_SIZE(command.operation());
    match command.address() {
        0 => {
            let mut area = [0; MAX_AREA];
            let bytes = area.get_mut(..size).ok_or(EFAULT)?;
            command.read(bytes)?;
            argument::from_bytes(bytes, 0)
        }
        address => {
            let address = usize::try_from(address).map_err(|_| EFAULT)?;
            Argument::new(address, size)?.read(0)
        }
    }
}
