// SPDX-License-Identifier: GPL-2.0

//! How much memory a context, a device and a user may have in buffers, and who has how much.
//!
//! Charging and giving back are a few atomic instructions, in any context: a buffer may go under a
//! lock, in another process than the one that made it, or in a kernel thread. A limit is never
//! passed, whoever charges at the same time. While somebody is refused by one limit, though, the
//! pages may count for a moment in another one, and refuse a third.
//!
//! No hardware and no bindings: also compiled and tested on the host.

use crate::kernel_ext::mm::memlock::User;
use kernel::{
    alloc::flags::GFP_KERNEL_ACCOUNT,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// What a context or a device may have, in pages.
///
/// # Invariants
///
/// `used` is at most `limit`, and `locked` is at most `used`.
pub(crate) struct Quota {
    used: Atomic<usize>,
    limit: usize,
    /// What of it counts against the limit of a user, too.
    locked: Atomic<usize>,
}

impl Quota {
    /// One of which nothing is used yet.
    pub(crate) fn new(limit: usize) -> Result<Arc<Self>> {
        // INVARIANT: nothing is used.
        let quota = Self {
            used: Atomic::new(0),
            limit,
            locked: Atomic::new(0),
        };
        Ok(Arc::new(quota, GFP_KERNEL_ACCOUNT)?)
    }

    /// Pages in use.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Pages that may be in use.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Pages in use that count as memory which a user has locked.
    pub(crate) fn locked(&self) -> usize {
        self.locked.load(Relaxed)
    }
}

/// How much there may be, in pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// In each context.
    pub(crate) context: usize,
    /// In all contexts of a device.
    pub(crate) device: usize,
}

/// Which limit has refused a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The user's: `RLIMIT_MEMLOCK`.
    Memlock,
    /// The context's.
    Context,
    /// The device's.
    Device,
}

impl From<Refused> for Error {
    /// As mlock(2) has it; otherwise `EDQUOT`.
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Memlock => ENOMEM,
            Refused::Context | Refused::Device => EDQUOT,
        }
    }
}

/// Something that counts pages.
trait Account {
    fn count(&self) -> &Atomic<usize>;
}

impl Account for Arc<Quota> {
    fn count(&self) -> &Atomic<usize> {
        &self.used
    }
}

impl Account for User {
    fn count(&self) -> &Atomic<usize> {
        self.locked()
    }
}

/// The pages of a quota that a user is charged with, too.
struct Locked(Arc<Quota>);

impl Account for Locked {
    fn count(&self) -> &Atomic<usize> {
        &self.0.locked
    }
}

/// Pages charged to one account; dropping it gives them back.
///
/// # Invariants
///
/// The account counts `pages` for it.
struct Share<A: Account> {
    account: A,
    pages: usize,
}

impl<A: Account> Share<A> {
    /// Charges, unless that would pass the limit.
    fn new(account: A, limit: usize, pages: usize) -> Option<Self> {
        let mut used = account.count().load(Relaxed);
        // A user's limit can be lowered below what is used.
        while pages <= limit.saturating_sub(used) {
            match account.count().cmpxchg(used, used + pages, Relaxed) {
                // INVARIANT: just counted.
                Ok(_) => return Some(Self { account, pages }),
                Err(now) => used = now,
            }
        }
        None
    }
}

impl<A: Account> Drop for Share<A> {
    fn drop(&mut self) {
        self.account.count().fetch_sub(self.pages, Relaxed);
    }
}

/// What a buffer is charged with; dropping it gives all of it back, in any context.
pub(crate) struct Charge {
    // Before the context's: what is locked of it is no more than what is used.
    /// [`None`] if the user may lock any number of pages.
    _memlock: Option<(Share<User>, Share<Locked>)>,
    _context: Share<Arc<Quota>>,
    _device: Share<Arc<Quota>>,
}

impl Charge {
    /// Charges the context, the device and the caller with so many pages, or none of them.
    ///
    /// # Errors
    ///
    /// Which limit would be passed.
    pub(crate) fn new(
        context: &Arc<Quota>,
        device: &Arc<Quota>,
        pages: usize,
    ) -> Result<Self, Refused> {
        // What has been charged is given back on the way out.
        Ok(Self {
            _context: Share::new(context.clone(), context.limit, pages).ok_or(Refused::Context)?,
            _device: Share::new(device.clone(), device.limit, pages).ok_or(Refused::Device)?,
            _memlock: match User::limited() {
                None => None,
                Some((user, limit)) => {
                    let user = Share::new(user, limit, pages).ok_or(Refused::Memlock)?;
                    let locked = Locked(context.clone());
                    // INVARIANT: the context was charged with as much.
                    Share::new(locked, usize::MAX, pages).map(|locked| (user, locked))
                }
            },
        })
    }
}
