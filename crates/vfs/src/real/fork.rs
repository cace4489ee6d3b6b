//! What a fork does to an open file and to a process's memory, and how a child is told.
//!
//! Three things are here. [`this_process`] marks the process in a page that the kernel
//! wipes in every forked child (`MADV_WIPEONFORK`, Linux 4.14): whoever holds the mark
//! compares one number, without a system call. Ids are not enough, since they come
//! again: in a container parent and child may both be process 1. A handler of
//! `pthread_atfork` would not be enough either: `_Fork` and `clone` do not call it.
//!
//! [`ClosedInChildren`] closes a descriptor in children as soon as they are forked. A
//! child that executes a program closes it then anyway, all of ours being opened with
//! `O_CLOEXEC`; one that does not would keep the open file, and with it the lock of a
//! parent that was killed, for as long as it lives. Here the handler suffices: the lock
//! is let go of without it whenever the parent closes, see [`super::lock`].
//!
//! [`run_in_children`] lets others put their process-wide memory right in a child.
#![allow(unsafe_code)]

use crate::Process;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering};

#[cfg(target_os = "linux")]
pub(super) fn this_process() -> Process {
    use std::sync::atomic::AtomicU64;

    /// The last number given. A child goes on from its parent's, so no number comes
    /// twice among the ancestors of a process.
    static LAST: AtomicU64 = AtomicU64::new(0);

    let Some(cell) = wiped_in_children() else { return Process::by_id() };
    let number = match cell.load(Ordering::Acquire) {
        0 => {
            let fresh = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            // Release: a child that can see a mark of this number must find it used.
            match cell.compare_exchange(0, fresh, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => fresh,
                Err(other) => other,
            }
        }
        number => number,
    };
    Process::marked(cell, number)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn this_process() -> Process {
    Process::by_id()
}

/// A number that is 0 in every process until it is set there. `None` where the kernel
/// does not know how. Takes no lock: a forked child could find it held.
#[cfg(target_os = "linux")]
fn wiped_in_children() -> Option<&'static std::sync::atomic::AtomicU64> {
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};
    use std::sync::atomic::AtomicU64;

    static CELL: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
    /// The kernel makes a page of it.
    const BYTES: usize = 4096;

    // SAFETY: what is published was mapped below, zeroed and aligned to a page, and is
    // never unmapped; a child has the same mapping.
    let shared = |cell: *mut AtomicU64| unsafe { cell.as_ref() };
    let known = CELL.load(Ordering::Acquire);
    if !known.is_null() {
        return shared(known);
    }
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at an address the kernel chooses concerns nobody; it is
    // unmapped only where it was not published.
    unsafe {
        let page = mmap_anonymous(ptr::null_mut(), BYTES, access, MapFlags::PRIVATE).ok()?;
        if madvise(page, BYTES, Advice::LinuxWipeOnFork).is_err() {
            let _ = munmap(page, BYTES);
            return None;
        }
        let fresh: *mut AtomicU64 = page.cast();
        match CELL.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => shared(fresh),
            Err(other) => {
                let _ = munmap(page, BYTES);
                shared(other)
            }
        }
    }
}

/// Closes a descriptor in children as soon as they are forked, while it lives.
///
/// Drop it before the descriptor is closed: the number may be another file's soon.
#[derive(Debug)]
pub(super) struct ClosedInChildren {
    slot: &'static Slot,
    process: Process,
}

/// A descriptor to be closed. Slots are used again and never freed, and no lock guards
/// their list: the handler runs in a child, where a lock may be held by nobody.
#[derive(Debug)]
struct Slot {
    /// `FREE`, or the descriptor. Relaxed throughout: a child has a copy of the memory
    /// of the thread that forks, which has seen whatever it depends on.
    fd: AtomicI32,
    next: *const Slot,
}

// SAFETY: `next` is written once, before the slot is published, and points to a slot
// that is never freed.
unsafe impl Sync for Slot {}

const FREE: RawFd = -1;

/// The first slot. Published with Release, read with Acquire.
static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());

fn slots() -> impl Iterator<Item = &'static Slot> {
    // SAFETY: a published slot is never freed, and neither are those behind it.
    let slot = |at: *const Slot| unsafe { at.as_ref() };
    std::iter::successors(slot(SLOTS.load(Ordering::Acquire)), move |at| slot(at.next))
}

impl ClosedInChildren {
    /// For as long as the answer lives; `file` must stay open for longer.
    pub(super) fn new(file: &impl AsFd) -> ClosedInChildren {
        install_handler();
        let process = this_process();
        let fd = BorrowedFd::as_raw_fd(&file.as_fd());
        let take = |slot: &&Slot| {
            slot.fd.compare_exchange(FREE, fd, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        if let Some(slot) = slots().find(take) {
            return ClosedInChildren { slot, process };
        }
        let slot = Box::leak(Box::new(Slot { fd: AtomicI32::new(fd), next: ptr::null() }));
        let mut first = SLOTS.load(Ordering::Acquire);
        loop {
            slot.next = first;
            let at: *mut Slot = slot;
            match SLOTS.compare_exchange(first, at, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return ClosedInChildren { slot, process },
                Err(other) => first = other,
            }
        }
    }
}

impl Drop for ClosedInChildren {
    fn drop(&mut self) {
        // In a child the handler has freed the slot, and others may use it.
        if self.process.is_this() {
            self.slot.fd.store(FREE, Ordering::Relaxed);
        }
    }
}

fn install_handler() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    // Set behind the call, so that a child forked meanwhile installs it for its own
    // children. Twice does no harm.
    if !INSTALLED.load(Ordering::Acquire) {
        // SAFETY: the handler does only what may be done between fork and exec: it
        // reads and writes atomics, and calls the kernel. Failing for want of memory leaves
        // children with what they have without it.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        INSTALLED.store(true, Ordering::Release);
    }
}

/// What a child runs as soon as it is forked.
struct Hook {
    run: fn(),
    next: *const Hook,
}

/// The hook added last. Published with Release, read with Acquire; none is ever freed.
static HOOKS: AtomicPtr<Hook> = AtomicPtr::new(ptr::null_mut());

/// Runs `hook` in every child that is forked from now on, before `fork` returns there.
/// Once a child, however often it is asked for. Costs a little memory for each hook.
///
/// The child has no thread but the one that forked. `hook` may read and write atomics and
/// memory that no other thread could be changing, and call the kernel; it must take no
/// lock and no memory from the allocator.
pub fn run_in_children(hook: fn()) {
    install_handler();
    let mut first = HOOKS.load(Ordering::Acquire);
    let added = Box::into_raw(Box::new(Hook { run: hook, next: ptr::null() }));
    loop {
        if hooks(first).any(|known| ptr::fn_addr_eq(known.run, hook)) {
            // SAFETY: made above, and not published.
            drop(unsafe { Box::from_raw(added) });
            return;
        }
        // SAFETY: as above, so nobody else looks at it.
        unsafe { (*added).next = first };
        match HOOKS.compare_exchange(first, added, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return,
            Err(other) => first = other,
        }
    }
}

fn hooks(first: *const Hook) -> impl Iterator<Item = &'static Hook> {
    // SAFETY: a published hook is never freed, and neither are those behind it.
    let hook = |at: *const Hook| unsafe { at.as_ref() };
    std::iter::successors(hook(first), move |at| hook(at.next))
}

/// Runs in a child, in its only thread, before `fork` returns there.
extern "C" fn in_child() {
    hooks(HOOKS.load(Ordering::Acquire)).for_each(|hook| (hook.run)());
    for slot in slots() {
        let fd = slot.fd.swap(FREE, Ordering::Relaxed);
        if fd != FREE {
            // SAFETY: the slot's owner keeps the descriptor open while it is in the
            // slot, and in a child never closes it.
            unsafe { rustix::io::close(fd) };
        }
    }
}
