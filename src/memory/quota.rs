// SPDX-License-Identifier: GPL-2.0

//! Quotas: limits for the memory in buffers of a context, a device and a user.
//!
//! Charging and uncharging are a few atomic instructions, which are allowed in any context: a
//! buffer may be freed under a lock, in another process than the one that allocated it, or in a
//! kernel thread. Concurrent charges never exceed a limit. A charge that fails is briefly visible
//! in the other quotas, and can make a concurrent charge fail.
//!
//! This module uses no hardware. It is also compiled and tested on the host, with a model of
//! `memlock`.

use crate::kernel_ext::{
    gfp::GFP_ACCOUNT_MAYFAIL,
    mm::memlock::MemlockUser, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    }, //
};

/// The limit of a context or a device, and its use, in pages.
///
/// # Invariants
///
/// `used` is at most `limit`, and `locked` is at most `used`.
pub(crate) struct Quota {
    used: Atomic<usize>,
    limit: usize,
    /// The number of used pages that are also charged to a user.
    locked: Atomic<usize>,
}

impl Quota {
    /// Creates an unused quota.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new(limit: usize) -> Result<Arc<Self>> {
        // INVARIANT: nothing is used.
        let quota = Self {
            used: Atomic::new(0),
            limit,
            locked: Atomic::new(0),
        };
        Ok(Arc::new(quota, GFP_ACCOUNT_MAYFAIL)?)
    }

    /// Returns the number of used pages.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Returns the limit, in pages.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the number of used pages that are charged to a user as locked memory.
    pub(crate) fn locked(&self) -> usize {
        self.locked.load(Relaxed)
    }
}

/// The limits for buffers, in pages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The limit of each context.
    pub(crate) context: usize,
    /// The limit of each device.
    pub(crate) device: usize,
}

/// The limit that a refused charge would exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The limit of the user, `RLIMIT_MEMLOCK`.
    Memlock,
    /// The limit of the context.
    Context,
    /// The limit of the device.
    Device,
}

impl From<Refused> for Error {
    /// Returns [`ENOMEM`] for `RLIMIT_MEMLOCK`, as mlock(2) does, otherwise [`EDQUOT`].
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Memlock => ENOMEM,
            Refused::Context | Refused::Device => EDQUOT,
        }
    }
}

/// A counter of pages.
trait Account {
    fn count(&self) -> &Atomic<usize>;
}

impl Account for Arc<Quota> {
    fn count(&self) -> &Atomic<usize> {
        &self.used
    }
}

impl Account for MemlockUser {
    fn count(&self) -> &Atomic<usize> {
        self.locked()
    }
}

/// The pages of a quota that are also charged to a user.
struct Locked(Arc<Quota>);

impl Account for Locked {
    fn count(&self) -> &Atomic<usize> {
        &self.0.locked
    }
}

/// Pages that are charged to one account. Dropping the share uncharges them.
///
/// # Invariants
///
/// The account counts `pages` for this share.
struct Share<A: Account> {
    account: A,
    pages: usize,
}

impl<A: Account> Share<A> {
    /// Charges `pages` to `account`. Returns [`None`] if that would exceed the limit.
    fn new(account: A, limit: usize, pages: usize) -> Option<Self> {
        let mut used = account.count().load(Relaxed);
        // A user's limit can be lowered below the number of used pages.
        while pages <= limit.saturating_sub(used) {
            match account.count().cmpxchg(used, used + pages, Relaxed) {
                // INVARIANT: just counted.
                Ok(_) => return Some(Self { account, pages }),
                Err(now) => used = now,
            }
        }
        None
    }

    /// Uncharges `pages` pages, or all if there are fewer.
    fn release(&mut self, pages: usize) {
        let pages = pages.min(self.pages);
        // INVARIANT: The next line uncharges as many.
        self.pages -= pages;
        self.account.count().fetch_sub(pages, Relaxed);
    }
}

impl<A: Account> Drop for Share<A> {
    fn drop(&mut self) {
        self.release(self.pages);
    }
}

/// A charge of pages to a context, its device and its user. Dropping it uncharges them, which is
/// allowed in any context.
pub(crate) struct Charge {
    // Dropped before `context`, so that a quota has no more locked pages than used ones.
    /// [`None`] if the user has no limit.
    memlock: Option<(Share<MemlockUser>, Share<Locked>)>,
    context: Share<Arc<Quota>>,
    device: Share<Arc<Quota>>,
}

impl Charge {
    /// Charges `pages` pages to the context, the device and the caller, or to none of them.
    ///
    /// # Errors
    ///
    /// The limit that would be exceeded.
    pub(crate) fn new(
        context: &Arc<Quota>,
        device: &Arc<Quota>,
        pages: usize,
    ) -> Result<Self, Refused> {
        // If a charge fails, the earlier ones are dropped. The device comes last, so that one that
        // fails is never visible to other users.
        Ok(Self {
            context: Share::new(context.clone(), context.limit, pages).ok_or(Refused::Context)?,
            memlock: match MemlockUser::limited() {
                None => None,
                Some((user, limit)) => {
                    let user = Share::new(user, limit, pages).ok_or(Refused::Memlock)?;
                    let locked = Locked(context.clone());
                    // INVARIANT: `context` has charged the same number of pages.
                    Share::new(locked, usize::MAX, pages).map(|locked| (user, locked))
                }
            },
            device: Share::new(device.clone(), device.limit, pages).ok_or(Refused::Device)?,
        })
    }

    /// Uncharges `pages` pages, or all if there are fewer.
    pub(crate) fn release(&mut self, pages: usize) {
        if let Some((user, locked)) = &mut self.memlock {
            user.release(pages);
            locked.release(pages);
        }
        self.context.release(pages);
        self.device.release(pages);
    }
}
