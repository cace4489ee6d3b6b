//! Epochs: how readers look at what others may unlink, without a count or a lock
//! for each thing they look at.
//!
//! A reader pins once for all it looks at: it writes the number of the epoch into a
//! place of its own. Who unlinks a thing begins a new epoch, and frees the thing when
//! no place holds an older number. Pins are short: nothing waits for the disk under
//! one. Fraser, "Practical lock-freedom", 2004; crossbeam-epoch. Unlike there, what
//! is unlinked is freed by the one who unlinked it, nearly always at once.
//!
//! # Why nothing is freed under a reader
//!
//! A reader (a) loads the epoch `n`, (b) swaps it into its place, (c) loads a link. A
//! remover (d) swaps the link, (e) begins epoch `m`, (f) loads all places. (b), (c),
//! (d) and (f) are SeqCst, so they stand in one order. Let (c) have read what (d)
//! unlinked: then (c) stands before (d), hence (b) before (f), and (f) reads `n` or
//! something later from that place.
//!
//! - It reads `n`: `n < m`, for had (a) read `m` or more, (a)'s Acquire of (e) would
//!   have made (d) visible to (c). So the thing stays.
//! - It reads something later: every store to a place is Release, (f) is Acquire, so
//!   the reader's use of the thing under `n` happened before the thing is freed.
//!
//! If (f) reads something from before (b), (c) comes behind (d) and cannot have read
//! the thing. The same if (f) does not meet the place at all: a place is put on the list
//! by a SeqCst exchange before (b), and (f) begins with a SeqCst load of the list.
//!
//! # Forks
//!
//! A forked child has the places of all its parent's threads and one of the threads.
//! What the others had pinned would stay so for ever, and who waits for them would wait
//! for ever. So the child frees their places as soon as it is forked. For its sake no
//! lock guards the list: it might be held at the fork.

#![allow(unsafe_code)]

mod limbo;
mod link;

pub use limbo::Limbo;
pub use link::{Link, Pinned, Published};

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use tanada_vfs::sync::lock_free::{self, AtomicBool, AtomicPtr, AtomicU64};
use tanada_vfs::sync::thread_local;

/// The number of the epoch. Never 0.
#[cfg(not(loom))]
static NOW: AtomicU64 = AtomicU64::new(1);

/// The newest of all places there ever were. As many as threads were reading at the same
/// time; a place is used again, and never freed.
#[cfg(not(loom))]
static PLACES: AtomicPtr<Place> = AtomicPtr::new(std::ptr::null_mut());

// Anew for each order that loom tries.
#[cfg(loom)]
tanada_vfs::sync::loom::lazy_static! {
    static ref NOW: AtomicU64 = AtomicU64::new(1);
    static ref PLACES: AtomicPtr<Place> = AtomicPtr::new(std::ptr::null_mut());
}

/// Where one thread says since which epoch it is looking at something.
#[repr(align(128))]
struct Place {
    /// 0 when it is not. Written by the thread that has taken the place.
    pinned: AtomicU64,
    /// Set with Acquire by who takes it, cleared with Release: that orders one thread's
    /// writes to the place, and to what is its by the number, before the next one's.
    taken: AtomicBool,
    /// Its index among all places.
    number: usize,
    /// The one made before it.
    next: Option<&'static Place>,
}

/// All places.
fn places() -> impl Iterator<Item = &'static Place> {
    // SAFETY: a place on the list was put there by `take`, and is never freed.
    let newest = unsafe { PLACES.load(SeqCst).as_ref() };
    std::iter::successors(newest, |place| place.next)
}

impl Place {
    #[cold]
    fn take() -> &'static Place {
        // One whose pin was never dropped is used by nobody again.
        let take = |place: &&Place| {
            place.pinned.load(Relaxed) == 0
                && place.taken.compare_exchange(false, true, Acquire, Relaxed).is_ok()
        };
        places().find(take).unwrap_or_else(Place::make)
    }

    /// One more, taken.
    fn make() -> &'static Place {
        #[cfg(not(any(loom, shuttle, miri)))]
        tanada_vfs::run_in_children(free_places_of_absent_threads);
        let mut newest = PLACES.load(SeqCst);
        let (pinned, taken) = (AtomicU64::new(0), AtomicBool::new(true));
        let place = Box::into_raw(Box::new(Place { pinned, taken, number: 0, next: None }));
        loop {
            // SAFETY: `place` is not on the list yet, so it is this thread's alone; one on
            // the list is never freed.
            unsafe {
                (*place).next = newest.as_ref();
                (*place).number = (*place).next.map_or(0, |next| next.number + 1);
            }
            match PLACES.compare_exchange(newest, place, SeqCst, SeqCst) {
                // SAFETY: leaked just now.
                Ok(_) => return unsafe { &*place },
                Err(other) => newest = other,
            }
        }
    }

    fn give_back(&self) {
        self.taken.store(false, Release);
    }
}

/// Gives the thread's place back when the thread ends.
struct Tenant(&'static Place);

impl Drop for Tenant {
    fn drop(&mut self) {
        if lock_free::is_given_up() {
            return;
        }
        // Already gone, perhaps, but for the one of `std`, which has no destructor.
        let _ = HERE.try_with(|here| here.set(None));
        // Loom ends its statics before the last of its threads.
        if !cfg!(loom) {
            self.0.give_back();
        }
    }
}

thread_local! {
    /// The thread's place. Without a destructor, so that finding it is one load.
    static HERE: Cell<Option<&'static Place>> = const { Cell::new(None) };
    static TENANT: Tenant = Tenant(Place::take());
}

/// This thread's place; `None` for a thread that is about to end.
#[inline]
fn here() -> Option<&'static Place> {
    HERE.with(Cell::get).or_else(move_in)
}

#[cold]
fn move_in() -> Option<&'static Place> {
    let place = TENANT.try_with(|tenant| tenant.0).ok();
    HERE.with(|here| here.set(place));
    place
}

/// A small number that no other living thread has, if this one has one.
#[inline]
pub(crate) fn thread_number() -> Option<usize> {
    here().map(|place| place.number)
}

/// While it lives, nothing that its thread reaches through a [`Published`] (or a
/// slot of a table) is freed. Hold it for microseconds, never while waiting for the
/// disk or for another thread's pin to end.
#[derive(Debug)]
pub struct Pin {
    place: &'static Place,
    /// The thread was not pinned before.
    outermost: bool,
    /// The place was taken for this pin alone.
    lone: bool,
    /// A place is its thread's.
    not_send: PhantomData<*mut ()>,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.number)
    }
}

/// Pins this moment. Cost: one atomic swap of a line that no other thread writes;
/// nothing at all inside another pin.
#[inline]
pub fn pin() -> Pin {
    let (place, lone) = match here() {
        Some(place) => (place, false),
        None => (Place::take(), true),
    };
    // Relaxed: only this thread writes it.
    let outermost = place.pinned.load(Relaxed) == 0;
    if outermost {
        place.pinned.swap(NOW.load(Acquire), SeqCst);
    }
    Pin { place, outermost, lone, not_send: PhantomData }
}

impl Pin {
    /// As the function of that name.
    #[inline]
    pub(crate) fn thread_number(&self) -> usize {
        self.place.number
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        if self.outermost {
            self.place.pinned.store(0, Release);
        }
        if self.lone {
            self.place.give_back();
        }
    }
}

/// Runs in a forked child before `fork` returns there: frees the places of all threads
/// but the one that forked, the others being absent. Takes no lock and no memory.
#[cfg(not(any(loom, shuttle, miri)))]
fn free_places_of_absent_threads() {
    let own = HERE.with(Cell::get);
    for place in places().filter(|place| !own.is_some_and(|own| std::ptr::eq(own, *place))) {
        // Relaxed: there is no other thread.
        place.pinned.store(0, Relaxed);
        place.taken.store(false, Relaxed);
    }
}

/// The oldest epoch that a reader may still be looking at.
fn oldest_pinned() -> u64 {
    let pinned = places().map(|place| place.pinned.load(SeqCst));
    pinned.filter(|&epoch| epoch != 0).min().unwrap_or(u64::MAX)
}

fn is_pinned_here() -> bool {
    here().is_some_and(|place| place.pinned.load(Relaxed) != 0)
}

#[cfg(test)]
#[cfg(loom)]
pub(crate) mod models;

#[cfg(test)]
#[cfg(not(loom))]
#[allow(clippy::disallowed_methods)] // real threads are what is tested
mod tests;
