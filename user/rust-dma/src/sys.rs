//! The interface to the kernel: the calls of the node, and mapped memory. The only module with `unsafe`.
#![allow(unsafe_code)]

mod call;
mod process;
#[cfg(feature = "tokio")]
mod readiness;
mod ring;
mod span;

#[cfg(feature = "tokio")]
pub(crate) use self::readiness::readiness;
pub(crate) use self::{
    call::{
        Allocated, alloc, buffer_info, cancel, cancel_all, device_info, export, free, import, set_eventfd, submit,
        wait, wait_for_ring,
    },
    process::Process,
    ring::Ring,
    span::Span,
};
