// SPDX-License-Identifier: GPL-2.0

//! Commands of io_uring on an open file: `IORING_OP_URING_CMD`.
//!
//! A command ends at once, or is [queued](NewCommand::queue). The kernel keeps a queued command,
//! and its file, until it has ended. It ends in its task, after [`Command::end_in_task`] was
//! called.
//!
//! C header: `include/linux/io_uring/cmd.h`

use super::open::{
    self,
    Mode, //
};
use core::{
    cell::Cell,
    marker::PhantomData,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    fs::file::LocalFile,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::ForeignOwnable, //
};

/// Ends a queued command, in its task.
type End = unsafe extern "C" fn(*mut bindings::io_uring_cmd, c_uint);

// In `uring.c`.
extern "C" {
    fn rdma_uring_is_cancel(issue_flags: c_uint) -> bool;
    fn rdma_uring_file(command: *const bindings::io_uring_cmd) -> *mut c_void;
    fn rdma_uring_state(command: *mut bindings::io_uring_cmd) -> *mut c_void;
    fn rdma_uring_operation(command: *const bindings::io_uring_cmd) -> u32;
    fn rdma_uring_flags(command: *const bindings::io_uring_cmd) -> u32;
    fn rdma_uring_address(command: *const bindings::io_uring_cmd) -> u64;
    fn rdma_uring_read(
        command: *const bindings::io_uring_cmd,
        issue_flags: c_uint,
        to: *mut c_void,
        size: usize,
    ) -> usize;
    fn rdma_uring_queue(
        command: *mut bindings::io_uring_cmd,
        issue_flags: c_uint,
        state: *mut c_void,
        end: End,
    );
    fn rdma_uring_end_in_task(command: *mut bindings::io_uring_cmd);
    fn rdma_uring_done(command: *mut bindings::io_uring_cmd, result: i32, issue_flags: c_uint);
}

/// The number of bytes in the command area of the largest entry of io_uring: 128 bytes, of which
/// the first 48 have other fields.
pub(crate) const MAX_AREA: usize = 80;

/// The execution of commands of io_uring.
pub(crate) trait Commands: Sized + 'static {
    /// The state of a queued command.
    type State: Send + Sync + 'static;

    /// Executes a command, or queues it. The result of a command that was queued is not used.
    fn command(&self, mode: Mode, command: NewCommand<'_, Self>) -> Result<usize>;

    /// Ends a queued command early, because its io_uring instance is removed or its thread exits.
    /// Can be called several times, while [`command`](Self::command) is still being called, and
    /// while the command ends.
    fn cancel(&self, state: ArcBorrow<'_, Self::State>);

    /// Returns the result of a queued command that ends.
    fn result(&self, state: Arc<Self::State>) -> Result<usize>;
}

/// A command that is being executed.
///
/// # Invariants
///
/// The pointer and the flags are the arguments of the current call of `uring_cmd` for a file with
/// an `F`, and the command is not queued.
pub(crate) struct NewCommand<'a, F> {
    raw: NonNull<bindings::io_uring_cmd>,
    issue_flags: c_uint,
    /// Whether the command was queued.
    queued: &'a Cell<bool>,
    _file: PhantomData<&'a F>,
}

impl<F: Commands> NewCommand<'_, F> {
    /// Returns `cmd_op` of the entry.
    pub(crate) fn operation(&self) -> u32 {
        // SAFETY: By the type invariant, the pointer is valid.
        unsafe { rdma_uring_operation(self.raw.as_ptr()) }
    }

    /// Returns `uring_cmd_flags` of the entry.
    pub(crate) fn flags(&self) -> u32 {
        // SAFETY: By the type invariant, the pointer is valid.
        unsafe { rdma_uring_flags(self.raw.as_ptr()) }
    }

    /// Returns `addr` of the entry. Userspace may change it at any time.
    pub(crate) fn address(&self) -> u64 {
        // SAFETY: By the type invariant, the pointer is valid.
        unsafe { rdma_uring_address(self.raw.as_ptr()) }
    }

    /// Copies the first bytes of the command area of the entry. Userspace may change them at any
    /// time.
    ///
    /// # Errors
    ///
    /// [`EFAULT`] if the area has fewer bytes: it has 16, or [`MAX_AREA`] in an entry of 128 bytes.
    pub(crate) fn read(&self, to: &mut [u8]) -> Result {
        let (start, size) = (to.as_mut_ptr().cast(), to.len());
        // SAFETY: By the type invariant, the pointer and the flags are those of the call; `start`
        // is valid for writing `size` bytes.
        let area = unsafe { rdma_uring_read(self.raw.as_ptr(), self.issue_flags, start, size) };
        if size <= area {
            Ok(())
        } else {
            Err(EFAULT)
        }
    }

    /// Queues the command. The caller must end it by the returned [`Command`].
    pub(crate) fn queue(self, state: Arc<F::State>) -> Command {
        let state = state.into_foreign();
        // SAFETY: By the type invariant, the pointer and the flags are those of the call. The
        // command is not queued, so its area for the driver is not used.
        unsafe {
            rdma_uring_queue(
                self.raw.as_ptr(),
                self.issue_flags,
                state,
                UringOperations::<F>::end,
            );
        }
        self.queued.set(true);
        // INVARIANT: The command has just been queued, and this is the only `Command` for it.
        Command(self.raw)
    }
}

/// A queued command, which has not ended. Dropping it ends the command.
///
/// # Invariants
///
/// The command is valid, was queued by [`NewCommand::queue`], and has not ended. This is the only
/// `Command` for it.
pub(crate) struct Command(NonNull<bindings::io_uring_cmd>);

// SAFETY: A command is ended by task work, which the kernel queues without locks, in any context.
unsafe impl Send for Command {}
// SAFETY: `&Command` has no functions.
unsafe impl Sync for Command {}

impl Command {
    /// Ends the command, in its task, with the [result](Commands::result) that the file then
    /// returns. May be called in interrupt handlers, but not under a lock that is taken by
    /// [`Commands::result`].
    pub(crate) fn end_in_task(self) {
        drop(self);
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the command is queued, and this is called once for it.
        unsafe { rdma_uring_end_in_task(self.0.as_ptr()) };
    }
}

/// The functions that the kernel calls for commands on files with an `F`.
pub(super) struct UringOperations<F>(PhantomData<F>);

impl<F: Commands> UringOperations<F> {
    /// # Safety
    ///
    /// Must be called by the kernel only, with a command on an open file with an `F`, and the flags
    /// of the call.
    pub(super) unsafe extern "C" fn uring_cmd(
        command: *mut bindings::io_uring_cmd,
        issue_flags: c_uint,
    ) -> c_int {
        // SAFETY: By the safety requirement, the command and its file are valid.
        let (open, mode) = unsafe {
            let file = rdma_uring_file(command).cast();
            let mode = Mode::of(LocalFile::from_raw_file(file));
            (open::private_data::<F>(file), mode)
        };
        // SAFETY: The function accepts any flags.
        if unsafe { rdma_uring_is_cancel(issue_flags) } {
            // SAFETY: The kernel cancels only commands that were queued and have not ended, so
            // their state is that of `NewCommand::queue`.
            let state = unsafe { <Arc<F::State>>::borrow(rdma_uring_state(command)) };
            open.cancel(state);
            return 0;
        }
        let Some(raw) = NonNull::new(command) else {
            return EINVAL.to_errno();
        };
        let queued = Cell::new(false);
        // INVARIANT: These are the arguments of this call, and the command is new.
        let new = NewCommand {
            raw,
            issue_flags,
            queued: &queued,
            _file: PhantomData,
        };
        match open.command(mode, new) {
            // It may have ended meanwhile, and must not be accessed.
            _ if queued.get() => EIOCBQUEUED.to_errno(),
            // io_uring would execute the command again.
            Err(EAGAIN) => {
                // SAFETY: The command is valid and was not queued.
                unsafe { rdma_uring_done(command, EAGAIN.to_errno(), issue_flags) };
                EIOCBQUEUED.to_errno()
            }
            result => to_errno(result),
        }
    }

    /// # Safety
    ///
    /// Must be called once for a command that was queued, after [`Command::end_in_task`], with the
    /// flags of the call.
    unsafe extern "C" fn end(command: *mut bindings::io_uring_cmd, issue_flags: c_uint) {
        // SAFETY: By the safety requirement, the command is valid, and keeps its file open. Its
        // state is that of `NewCommand::queue`, and is not used after this.
        let (open, state) = unsafe {
            (
                open::private_data::<F>(rdma_uring_file(command).cast()),
                <Arc<F::State>>::from_foreign(rdma_uring_state(command)),
            )
        };
        let result = to_errno(open.result(state));
        // SAFETY: By the safety requirement, the command is valid; it is not used after this.
        unsafe { rdma_uring_done(command, result, issue_flags) };
    }
}

/// Returns the result of a command for userspace.
fn to_errno(result: Result<usize>) -> c_int {
    match result {
        // CAST: A result is small.
        Ok(result) => result as c_int,
        Err(error) => error.to_errno(),
    }
}
