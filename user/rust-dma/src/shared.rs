//! What a context, its buffers and its pending requests share, and how requests are submitted.

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd},
    process,
    sync::Arc,
};

use rustix::io::Errno;

use crate::{Error, abi, error::INHERITED, inbox::Inbox, sys, ticket::Ticket};

/// What the context, its buffers and its pending requests share.
#[derive(Debug)]
pub(crate) struct Shared {
    file: File,
    inbox: Inbox,
    /// The process that has opened it.
    process: u32,
}

impl Shared {
    pub(crate) fn new(file: File) -> Self {
        Self { file, inbox: Inbox::new(), process: process::id() }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// Whether this process has it by fork(2): handles, requests and completions are the parent's, which still uses them.
    pub(crate) fn is_inherited(&self) -> bool {
        self.process != process::id()
    }

    /// The file, for calls that change handles and requests.
    pub(crate) fn own_fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        if self.is_inherited() { Err(INHERITED) } else { Ok(self.fd()) }
    }

    /// Submits requests with cookies of this library: returns tickets for the accepted ones, and why the next one was refused.
    pub(crate) fn submit(self: &Arc<Self>, requests: &mut [abi::rdma_request]) -> (Vec<Ticket>, Option<Error>) {
        if self.is_inherited() {
            return (Vec::new(), Some(Error::Inherited));
        }
        self.inbox.tidy(self.fd());
        let mut tickets: Vec<_> = requests.iter().map(|_| Ticket::new(Arc::clone(self))).collect();
        for (request, ticket) in requests.iter_mut().zip(&tickets) {
            request.cookie = ticket.cookie();
        }
        let mut accepted = 0;
        let mut error = None;
        while accepted < requests.len() && error.is_none() {
            // The driver accepts no more than its queue has room for, and no incomplete chain.
            let rest = &requests[accepted..];
            let mut count = rest.len().min(crate::QUEUE_DEPTH);
            while count > 0 && count < rest.len() && rest[count - 1].flags & abi::RDMA_REQUEST_LINK != 0 {
                count -= 1;
            }
            match sys::submit(self.fd(), &rest[..count.max(1)]) {
                Ok(count) => accepted += count,
                // Completions that have not been collected yet have used up the room.
                Err(Errno::AGAIN) if self.inbox.collect(self.fd()) > 0 => {}
                Err(Errno::AGAIN) => error = Some(Error::QueueFull),
                Err(errno) => error = Some(Error::new("SUBMIT", errno)),
            }
        }
        for ticket in tickets.split_off(accepted) {
            ticket.never_submitted();
        }
        (tickets, error)
    }

    /// Submits one request.
    pub(crate) fn submit_one(self: &Arc<Self>, request: abi::rdma_request) -> Result<Ticket, Error> {
        match self.submit(&mut [request]) {
            (tickets, None) => Ok(tickets.into_iter().next().expect("accepted, or an error")),
            (_, Some(error)) => Err(error),
        }
    }
}
