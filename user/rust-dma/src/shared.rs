//! What a context, its buffers and its pending requests share, and how requests are submitted.

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd},
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
    process: sys::Process,
    /// Size of the device memory in bytes.
    device_memory: u64,
}

impl Shared {
    pub(crate) fn new(file: File, device_memory: u64) -> Result<Self, Errno> {
        Ok(Self { file, inbox: Inbox::new(), process: sys::Process::current()?, device_memory })
    }

    pub(crate) fn device_memory(&self) -> u64 {
        self.device_memory
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
        !self.process.is_current()
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
        if let Err(errno) = self.inbox.with(|state| state.prepare(self.fd())) {
            return (Vec::new(), Some(Error::new("the completion ring cannot be mapped", errno)));
        }
        self.inbox.tidy(self.fd());
        let mut tickets: Vec<_> = requests.iter().map(|_| Ticket::new(Arc::clone(self))).collect();
        for (request, ticket) in requests.iter_mut().zip(&tickets) {
            request.cookie = ticket.cookie();
        }
        let mut accepted = 0;
        let mut error = None;
        while accepted < requests.len() && error.is_none() {
            let rest = &requests[accepted..];
            match whole_chains(rest).and_then(|part| self.submit_part(part)) {
                Ok(count) => accepted += count,
                Err(refused) => error = Some(refused),
            }
        }
        for ticket in tickets.split_off(accepted) {
            ticket.never_submitted();
        }
        (tickets, error)
    }

    /// Submits requests in one call; returns how many were accepted.
    fn submit_part(&self, requests: &[abi::rdma_request]) -> Result<usize, Error> {
        loop {
            let collected = self.inbox.collected();
            match sys::submit(self.fd(), requests) {
                // Completions that have not been collected yet have used up the room.
                Err(Errno::AGAIN) if self.inbox.collects_since(collected, self.fd()) => {}
                Err(Errno::AGAIN) => return Err(Error::QueueFull),
                accepted => return accepted.map_err(|errno| Error::new("SUBMIT", errno)),
            }
        }
    }

    /// Submits one request.
    pub(crate) fn submit_one(self: &Arc<Self>, request: abi::rdma_request) -> Result<Ticket, Error> {
        match self.submit(&mut [request]) {
            (tickets, None) => Ok(tickets.into_iter().next().expect("accepted, or an error")),
            (_, Some(error)) => Err(error),
        }
    }
}

/// The first requests, as many as the driver's queue has room for, without an incomplete chain, which it would refuse.
fn whole_chains(requests: &[abi::rdma_request]) -> Result<&[abi::rdma_request], Error> {
    if requests.len() <= crate::QUEUE_DEPTH {
        return Ok(requests);
    }
    let is_linked = |request: &abi::rdma_request| request.flags & abi::RDMA_REQUEST_LINK != 0;
    let part = &requests[..crate::QUEUE_DEPTH];
    match part.iter().rposition(|request| !is_linked(request)) {
        Some(last) => Ok(&part[..=last]),
        None => {
            Err(Error::ChainTooLong { length: 1 + requests.iter().take_while(|&request| is_linked(request)).count() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(links: impl IntoIterator<Item = bool>) -> Vec<abi::rdma_request> {
        let flags = |linked| if linked { abi::RDMA_REQUEST_LINK } else { 0 };
        links.into_iter().map(|linked| abi::rdma_request { flags: flags(linked), ..Default::default() }).collect()
    }

    /// A chain of this many requests.
    fn chain(length: usize) -> impl Iterator<Item = bool> {
        (1..=length).map(move |number| number < length)
    }

    #[test]
    fn chains_stay_whole() {
        assert_eq!(whole_chains(&requests(chain(crate::QUEUE_DEPTH))).unwrap().len(), crate::QUEUE_DEPTH);
        assert_eq!(whole_chains(&requests(chain(3).chain(chain(crate::QUEUE_DEPTH)))).unwrap().len(), 3);
        let alone = std::iter::repeat_n(false, crate::QUEUE_DEPTH + 1);
        assert_eq!(whole_chains(&requests(alone)).unwrap().len(), crate::QUEUE_DEPTH);
    }

    #[test]
    fn a_chain_that_no_queue_has_room_for() {
        let error = whole_chains(&requests(chain(1025).chain(chain(1)))).unwrap_err();
        assert_eq!(error.to_string(), "1025 requests are linked: a chain can have at most 1024");
    }
}
