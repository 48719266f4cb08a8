//! Processes: which one this is, of those that fork(2) makes.

use std::{
    ptr,
    sync::atomic::{AtomicPtr, AtomicU64, Ordering},
};

use rustix::{
    io,
    mm::{self, Advice, MapFlags, ProtFlags},
    param,
};

/// A process. Its number in the kernel would not do, which it has within its PID namespace: a child that is the first process of another
/// namespace has the same as a parent that is the first one, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u64);

/// The number of this process, in a page of which a child gets zeros in place of a copy (`MADV_WIPEONFORK`). Null until it is needed.
///
/// # Invariants
///
/// If it is not null, a page is mapped there, readable and writable, and never unmapped.
static NUMBER: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// The last number that was given to this process, or to one that it descends from. A child has a copy, and gets another number.
static LAST: AtomicU64 = AtomicU64::new(0);

impl Process {
    /// This one.
    ///
    /// # Errors
    ///
    /// Those of mmap(2), and of madvise(2) if the kernel wipes no pages.
    pub(crate) fn current() -> io::Result<Self> {
        if number().is_none() {
            map()?;
        }
        let number = number().ok_or(io::Errno::NOMEM)?;
        match number.load(Ordering::Relaxed) {
            0 => {
                let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
                let given = number.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed);
                // Another thread may have been faster.
                Ok(Self(given.map_or_else(|given| given, |_| next)))
            }
            given => Ok(Self(given)),
        }
    }

    /// Whether it is this one.
    pub(crate) fn is_current(self) -> bool {
        number().is_some_and(|number| number.load(Ordering::Relaxed) == self.0)
    }
}

/// The number of this process, which is 0 if it has none yet; none before the page is mapped.
fn number() -> Option<&'static AtomicU64> {
    // SAFETY: By the invariant, a page is mapped there forever, which only this function gives access to.
    unsafe { NUMBER.load(Ordering::Acquire).as_ref() }
}

/// Maps the page.
fn map() -> io::Result<()> {
    let (size, access) = (param::page_size(), ProtFlags::READ | ProtFlags::WRITE);
    // SAFETY: Without an address (and MAP_FIXED), existing mappings are not changed.
    let page = unsafe { mm::mmap_anonymous(ptr::null_mut(), size, access, MapFlags::PRIVATE) }?;
    // SAFETY: The page is mapped above, and has no content yet.
    let advised = unsafe { mm::madvise(page, size, Advice::LinuxWipeOnFork) };
    let unused = ptr::null_mut();
    // INVARIANT: as mapped above, and unmapped below only if it is not stored.
    if advised.is_err() || NUMBER.compare_exchange(unused, page.cast(), Ordering::AcqRel, Ordering::Relaxed).is_err() {
        // SAFETY: There are no references into it.
        unsafe { mm::munmap(page, size) }?;
    }
    advised
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    /// Whether this is true in a child.
    fn in_child(act: impl FnOnce() -> bool) -> bool {
        // SAFETY: What the child does takes no lock but those of the allocator, which glibc releases in it.
        match unsafe { libc::fork() } {
            -1 => panic!("fork"),
            0 => {
                let code = i32::from(!act());
                // SAFETY: It ends the child without running what the test program has registered for its own end.
                unsafe { libc::_exit(code) }
            }
            child => {
                let mut status = 0;
                // SAFETY: The status is a variable of the type that the call writes.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                status == 0
            }
        }
    }

    #[test]
    fn a_child_is_another_process() {
        let first = Process::current().unwrap();
        assert!(first.is_current());
        assert_eq!(Process::current(), Ok(first));
        assert!(in_child(|| {
            let before = first.is_current();
            let second = Process::current().unwrap();
            let third = || {
                let before = first.is_current() || second.is_current();
                let third = Process::current().unwrap();
                !before && third.is_current() && third != first && third != second
            };
            !before && !first.is_current() && second.is_current() && second != first && in_child(third)
        }));
        assert!(first.is_current());
    }

    #[test]
    fn a_child_with_the_number_of_its_parent() {
        // SAFETY: It changes no memory: children of this process then are in another PID namespace.
        let unshare = || unsafe { libc::unshare(libc::CLONE_NEWPID) } == 0;
        assert!(in_child(|| {
            let first_of_another = || {
                let parent = Process::current().unwrap();
                process::id() == 1 && unshare() && in_child(|| process::id() == 1 && !parent.is_current())
            };
            // Users may make no such namespace.
            !unshare() || in_child(first_of_another)
        }));
    }
}
