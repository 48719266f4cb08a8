// SPDX-License-Identifier: GPL-2.0

//! The arithmetic of quotas, with simulated users.

// Not all of it is used here.
#![allow(dead_code)]

#[path = "../../src"]
mod src {
    pub(crate) mod memory {
        pub(crate) mod quota;
    }
}

/// The driver's `kernel_ext::mm::memlock` for the host: the test sets the caller.
mod kernel_ext {
    pub(crate) mod gfp {
        pub(crate) use kernel::prelude::GFP_ACCOUNT_MAYFAIL;
    }
    pub(crate) mod mm {
        pub(crate) mod memlock {
            use kernel::sync::atomic::Atomic;
            use std::{cell::RefCell, sync::Arc};

            #[derive(Clone)]
            pub(crate) struct MemlockUser(Arc<Atomic<usize>>);

            thread_local! {
                static CALLER: RefCell<Option<(MemlockUser, usize)>> = const { RefCell::new(None) };
            }

            impl MemlockUser {
                pub(crate) fn new(locked: usize) -> Self {
                    Self(Arc::new(Atomic::new(locked)))
                }

                /// Makes this thread act for the user, with this limit of locked pages.
                pub(crate) fn calls(&self, limit: usize) {
                    CALLER.set(Some((self.clone(), limit)));
                }

                pub(crate) fn limited() -> Option<(Self, usize)> {
                    CALLER.with_borrow(|caller| caller.clone())
                }

                pub(crate) fn locked(&self) -> &Atomic<usize> {
                    &self.0
                }

                pub(crate) fn references(&self) -> usize {
                    Arc::strong_count(&self.0)
                }
            }
        }
    }
}

use kernel::{
    prelude::*,
    sync::{atomic::Relaxed, Arc},
};
use kernel_ext::mm::memlock::MemlockUser;
use src::memory::quota::{Charge, Quota, Refused};
use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        Barrier,
    },
    thread,
};

fn quota(limit: usize) -> Arc<Quota> {
    Quota::new(limit).unwrap()
}

fn refused(charge: Result<Charge, Refused>) -> Option<Refused> {
    charge.err()
}

#[test]
fn charges_and_gives_back() {
    let (context, device) = (quota(10), quota(20));
    let one = Charge::new(&context, &device, 4).unwrap();
    let two = Charge::new(&context, &device, 6).unwrap();
    assert_eq!((context.used(), device.used()), (10, 10));
    assert_eq!((context.limit(), device.limit()), (10, 20));
    drop(one);
    assert_eq!((context.used(), device.used()), (6, 6));
    drop(two);
    assert_eq!((context.used(), device.used()), (0, 0));
}

#[test]
fn exactly_the_limit_and_no_more() {
    let (context, device) = (quota(10), quota(15));
    let all = Charge::new(&context, &device, 10).unwrap();
    assert_eq!(refused(Charge::new(&context, &device, 1)), Some(Refused::Context));
    let other = quota(10);
    assert_eq!(refused(Charge::new(&other, &device, 6)), Some(Refused::Device));
    assert_eq!(other.used(), 0, "what was refused must not be charged in part");
    let rest = Charge::new(&other, &device, 5).unwrap();
    assert_eq!(refused(Charge::new(&other, &device, 1)), Some(Refused::Device));
    drop((all, rest));
    assert_eq!((context.used(), other.used(), device.used()), (0, 0, 0));
}

#[test]
fn nothing_overflows() {
    let (context, device) = (quota(usize::MAX), quota(usize::MAX));
    let some = Charge::new(&context, &device, usize::MAX - 1).unwrap();
    assert_eq!(refused(Charge::new(&context, &device, 2)), Some(Refused::Context));
    assert_eq!(refused(Charge::new(&context, &device, usize::MAX)), Some(Refused::Context));
    let last = Charge::new(&context, &device, 1).unwrap();
    drop((some, last));
    assert_eq!(context.used(), 0);
}

#[test]
fn nothing_is_always_allowed() {
    let (context, device) = (quota(0), quota(0));
    assert!(Charge::new(&context, &device, 0).is_ok());
    assert_eq!(refused(Charge::new(&context, &device, 1)), Some(Refused::Context));
}

#[test]
fn a_user_is_charged_too() {
    let user = MemlockUser::new(3);
    user.calls(8);
    let (context, device) = (quota(100), quota(100));
    let charge = Charge::new(&context, &device, 5).unwrap();
    assert_eq!((user.locked().load(Relaxed), context.locked()), (8, 5));
    assert_eq!(refused(Charge::new(&context, &device, 1)), Some(Refused::Memlock));
    assert_eq!((context.used(), device.used(), context.locked()), (5, 5, 5));
    drop(charge);
    assert_eq!((user.locked().load(Relaxed), context.locked()), (3, 0));
}

/// Two contexts of one user share one limit.
#[test]
fn a_user_is_one_whatever_the_context() {
    let user = MemlockUser::new(0);
    user.calls(8);
    let (one, other, device) = (quota(100), quota(100), quota(100));
    let charge = Charge::new(&one, &device, 5).unwrap();
    assert_eq!(refused(Charge::new(&other, &device, 4)), Some(Refused::Memlock));
    drop(charge);
    assert!(Charge::new(&other, &device, 4).is_ok());
}

/// The limit is lowered below the number of locked pages.
#[test]
fn a_lowered_limit() {
    let user = MemlockUser::new(0);
    user.calls(8);
    let (context, device) = (quota(100), quota(100));
    let charge = Charge::new(&context, &device, 8).unwrap();
    user.calls(2);
    assert_eq!(refused(Charge::new(&context, &device, 1)), Some(Refused::Memlock));
    drop(charge);
    assert!(Charge::new(&context, &device, 2).is_ok());
}

/// A process can free a buffer that another process has allocated.
#[test]
fn given_back_to_the_user_who_was_charged() {
    let (payer, other) = (MemlockUser::new(0), MemlockUser::new(0));
    payer.calls(8);
    let (context, device) = (quota(100), quota(100));
    let charge = Charge::new(&context, &device, 5).unwrap();
    other.calls(8);
    drop(charge);
    assert_eq!((payer.locked().load(Relaxed), other.locked().load(Relaxed)), (0, 0));
}

#[test]
fn the_user_is_let_go() {
    let user = MemlockUser::new(0);
    user.calls(8);
    let before = user.references();
    let (context, device) = (quota(100), quota(100));
    let charge = Charge::new(&context, &device, 5).unwrap();
    assert_eq!(user.references(), before + 1);
    assert!(Charge::new(&context, &device, 5).is_err());
    drop(charge);
    assert_eq!(user.references(), before);
}

#[test]
fn what_userspace_is_told() {
    assert_eq!(Error::from(Refused::Memlock), ENOMEM);
    assert_eq!(Error::from(Refused::Context), EDQUOT);
    assert_eq!(Error::from(Refused::Device), EDQUOT);
}

/// Concurrently, in two contexts of one device: no limit is ever exceeded, and all charges end.
#[test]
fn races() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 20_000;
    let user = MemlockUser::new(0);
    let contexts = [quota(20), quota(20)];
    let device = quota(30);
    let all_ready = Barrier::new(THREADS);
    let granted: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let (context, device) = (&contexts[number % 2], &device);
                let (user, all_ready) = (&user, &all_ready);
                scope.spawn(move || {
                    user.calls(25);
                    all_ready.wait();
                    let mut granted = 0;
                    for round in 0..ROUNDS {
                        let charge = Charge::new(context, device, 1 + (round + number) % 9);
                        assert!(context.used() <= 20);
                        assert!(device.used() <= 30);
                        assert!(user.locked().load(Relaxed) <= 25);
                        granted += usize::from(charge.is_ok());
                    }
                    granted
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(granted > 0);
    assert_eq!(user.locked().load(Relaxed), 0);
    assert_eq!((contexts[0].used(), contexts[1].used(), device.used()), (0, 0, 0));
    assert_eq!((contexts[0].locked(), contexts[1].locked()), (0, 0));
}

#[test]
fn a_refused_charge_is_not_visible_to_other_users() {
    let device = quota(10);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            MemlockUser::new(0).calls(0);
            let context = quota(10);
            while !over.load(Ordering::Relaxed) {
                assert_eq!(refused(Charge::new(&context, &device, 10)), Some(Refused::Memlock));
            }
        });
        let context = quota(10);
        let refused = (0..300_000).filter(|_| Charge::new(&context, &device, 1).is_err()).count();
        over.store(true, Ordering::Relaxed);
        assert_eq!(refused, 0);
    });
}
