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

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use tanada_vfs::sync::lock_free::{self, AtomicBool, AtomicPtr, AtomicU64};
use tanada_vfs::sync::{Mutex, thread_local};

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

/// How often who frees looks again for readers that are done, before it leaves what
/// they may look at for later. A checker of concurrency tries both anyway.
const TURNS: u32 = if cfg!(any(loom, shuttle)) { 0 } else { 32 };

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

/// What has been unlinked and may still be looked at. Belongs to whoever unlinks, and
/// lies under its lock.
pub struct Limbo<T> {
    /// With the epoch begun after its unlinking, ascending.
    waiting: Vec<(u64, T)>,
    /// Unlinked since then.
    fresh: Vec<T>,
}

impl<T> Limbo<T> {
    /// An empty one.
    pub const fn new() -> Limbo<T> {
        Limbo { waiting: Vec::new(), fresh: Vec::new() }
    }

    /// Takes in what has just been unlinked, by a SeqCst swap of its last link.
    pub(crate) fn add(&mut self, thing: T) -> &T {
        self.fresh.push(thing);
        &self.fresh[self.fresh.len() - 1]
    }

    /// Whether more than `bound` things wait for readers, and this thread may wait for
    /// them too: it is not pinned itself.
    pub fn must_wait(&self, bound: usize) -> bool {
        self.waiting.len() + self.fresh.len() > bound && !is_pinned_here()
    }

    /// What no reader can look at any more, to be dropped. Waits when more than
    /// `bound` things would stay: pins are short. Does not wait in a thread that is
    /// pinned itself.
    // There `TURNS` is 0.
    #[cfg_attr(any(loom, shuttle), allow(clippy::absurd_extreme_comparisons))]
    pub fn collect(&mut self, bound: usize) -> Vec<T> {
        if !self.fresh.is_empty() {
            let epoch = NOW.fetch_add(1, AcqRel) + 1;
            self.waiting.extend(self.fresh.drain(..).map(|thing| (epoch, thing)));
        }
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let mut turns = 0u32;
        loop {
            let oldest = oldest_pinned();
            let free = self.waiting.partition_point(|(epoch, _)| *epoch <= oldest);
            // A reader that runs is done in less; one that does not may take long.
            let patient = turns < TURNS || self.waiting.len() - free > bound;
            if free == self.waiting.len() || !patient || is_pinned_here() {
                return self.waiting.drain(..free).map(|(_, thing)| thing).collect();
            }
            turns += 1;
            if turns < TURNS { lock_free::spin_loop() } else { lock_free::yield_now() }
        }
    }
}

impl<T> Default for Limbo<T> {
    fn default() -> Limbo<T> {
        Limbo::new()
    }
}

impl<T> std::fmt::Debug for Limbo<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limbo").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

/// A link to a `T` that is read by anyone and replaced as a whole.
pub struct Published<T> {
    /// From [`Arc::into_raw`]; owns one count.
    link: AtomicPtr<T>,
    /// What it linked to before. Guards nothing else; taken alone.
    limbo: Mutex<Limbo<Arc<T>>>,
    owns: PhantomData<Arc<T>>,
}

impl<T> Published<T> {
    /// A link to `to`.
    pub fn new(to: Arc<T>) -> Published<T> {
        let link = AtomicPtr::new(Arc::into_raw(to).cast_mut());
        Published { link, limbo: Mutex::new(Limbo::new()), owns: PhantomData }
    }

    /// What it links to now, for as long as the pin lives. One load.
    #[inline]
    pub fn read<'p>(&'p self, _pin: &'p Pin) -> Pinned<'p, T> {
        Pinned { link: self.link.load(SeqCst), borrowed: PhantomData }
    }

    /// What it links to now, kept alive by a count of its own.
    pub fn load(&self) -> Arc<T> {
        self.read(&pin()).keep()
    }

    /// Links to `to` from now on. What it linked to before is let go of when no
    /// reader is left: nearly always before this returns, else by the next call, or
    /// by [`Published::settle`].
    pub fn store(&self, to: Arc<T>) {
        let mut limbo = self.limbo.lock();
        let old = self.link.swap(Arc::into_raw(to).cast_mut(), SeqCst);
        // SAFETY: `old` came from `Arc::into_raw`, and its count is the link's.
        limbo.add(unsafe { Arc::from_raw(old) });
        let free = limbo.collect(1);
        drop(limbo);
        drop(free);
    }

    /// Waits until everything it linked to before has been let go of: for whoever
    /// replaced something large, which must not stay until it is replaced again.
    /// Readers hold it for microseconds, unless they are not running. Does not wait
    /// in a thread that is pinned itself.
    pub fn settle(&self) {
        loop {
            let mut limbo = self.limbo.lock();
            let free = limbo.collect(usize::MAX);
            let done = limbo.waiting.is_empty();
            // Not under the lock: others may want to store meanwhile.
            drop(limbo);
            drop(free);
            if done || is_pinned_here() {
                return;
            }
            lock_free::yield_now();
        }
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        if lock_free::is_given_up() {
            return;
        }
        // Relaxed: nobody else has it.
        let link = self.link.load(Relaxed);
        // SAFETY: as in `store`. Nobody reads: `read` borrows `self`.
        drop(unsafe { Arc::from_raw(link) });
    }
}

/// A link to a `T`, or to nothing, that is read by anyone and filled and emptied by
/// whoever holds one lock. What was unlinked waits in a limbo that many links share.
pub struct Link<T> {
    /// From [`Arc::into_raw`]; owns one count. Null for nothing.
    link: AtomicPtr<T>,
    owns: PhantomData<Arc<T>>,
}

impl<T> Link<T> {
    /// A link to nothing.
    pub fn empty() -> Link<T> {
        Link { link: AtomicPtr::new(std::ptr::null_mut()), owns: PhantomData }
    }

    /// What it links to now, for as long as the pin lives. One load.
    #[inline]
    pub fn read<'p>(&'p self, _pin: &'p Pin) -> Option<Pinned<'p, T>> {
        let link = self.link.load(SeqCst);
        if link.is_null() { None } else { Some(Pinned { link, borrowed: PhantomData }) }
    }

    /// Links to `to`.
    ///
    /// # Panics
    /// When it links to something: that would have to go through a limbo first.
    pub fn fill(&self, to: Arc<T>) {
        let before = self.link.swap(Arc::into_raw(to).cast_mut(), SeqCst);
        assert!(before.is_null(), "a link is emptied before it is filled");
    }

    /// Links to nothing from now on; what it linked to is in limbo. Answers whether
    /// there was anything.
    pub fn empty_into(&self, limbo: &mut Limbo<Arc<T>>) -> bool {
        let link = self.link.swap(std::ptr::null_mut(), SeqCst);
        if link.is_null() {
            return false;
        }
        // SAFETY: from `Arc::into_raw`; this takes the link's count over.
        limbo.add(unsafe { Arc::from_raw(link) });
        true
    }
}

impl<T> Drop for Link<T> {
    fn drop(&mut self) {
        if lock_free::is_given_up() {
            return;
        }
        // Relaxed: nobody else has it.
        let link = self.link.load(Relaxed);
        if !link.is_null() {
            // SAFETY: as in `empty_into`. Nobody reads: `read` borrows `self`.
            drop(unsafe { Arc::from_raw(link) });
        }
    }
}

// SAFETY: hands out `&T` and `Arc<T>` to whoever shares it, as an `Arc<T>` does.
unsafe impl<T: Send + Sync> Send for Link<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Link<T> {}

impl<T> std::fmt::Debug for Link<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

/// What a [`Published`] or a [`Link`] links to, borrowed for as long as a pin lives.
///
/// Invariant: `link` is from [`Arc::into_raw`], and its count stays above zero for
/// `'p`: the link owned a count, and `store` or `empty_into` lets go of that only
/// through a limbo, which keeps it while the pin lives.
pub struct Pinned<'p, T> {
    link: *const T,
    borrowed: PhantomData<&'p T>,
}

impl<T> Pinned<'_, T> {
    /// The same, kept alive by a count of its own.
    pub fn keep(&self) -> Arc<T> {
        // Loom does not see counts: here it may change threads before this one is taken.
        #[cfg(loom)]
        NOW.load(Relaxed);
        // SAFETY: the invariant; the count that `from_raw` takes over is added here.
        unsafe {
            Arc::increment_strong_count(self.link);
            Arc::from_raw(self.link)
        }
    }
}

impl<T> std::ops::Deref for Pinned<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the invariant.
        unsafe { &*self.link }
    }
}

// SAFETY: hands out `&T` and `Arc<T>` to whoever shares it, as an `Arc<T>` does.
unsafe impl<T: Send + Sync> Send for Published<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Published<T> {}

impl<T> std::fmt::Debug for Pinned<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Published").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(loom)]
pub(crate) mod models;

#[cfg(test)]
#[cfg(not(loom))]
#[allow(clippy::disallowed_methods)] // real threads are what is tested
mod tests {
    use super::*;

    /// Says whether it is alive, and how many of its kind are.
    struct Witness {
        alive: u64,
        number: u64,
        count: Arc<AtomicU64>,
    }

    const ALIVE: u64 = 0x6c69_7665;

    impl Witness {
        fn new(number: u64, count: &Arc<AtomicU64>) -> Arc<Witness> {
            count.fetch_add(1, Relaxed);
            Arc::new(Witness { alive: ALIVE, number, count: Arc::clone(count) })
        }
    }

    impl Drop for Witness {
        fn drop(&mut self) {
            self.alive = 0;
            self.count.fetch_sub(1, Relaxed);
        }
    }

    #[test]
    fn what_is_replaced_goes_when_no_reader_is_left_and_stays_under_a_pin() {
        let count = Arc::default();
        let link = Published::new(Witness::new(0, &count));
        link.store(Witness::new(1, &count));
        // Not at once: other tests of this process pin as well.
        link.settle();
        assert_eq!(count.load(Relaxed), 1);
        let (seen, go, done) =
            (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let pin = pin();
                let old = link.read(&pin);
                seen.store(true, Release);
                while !go.load(Acquire) {
                    std::thread::yield_now();
                }
                assert_eq!((old.alive, old.number), (ALIVE, 1));
                assert_eq!(link.load().number, 2);
                drop(pin);
                done.store(true, Release);
            });
            while !seen.load(Acquire) {
                std::thread::yield_now();
            }
            link.store(Witness::new(2, &count));
            assert_eq!(count.load(Relaxed), 2);
            go.store(true, Release);
            while !done.load(Acquire) {
                std::thread::yield_now();
            }
        });
        link.store(Witness::new(3, &count));
        link.settle();
        assert_eq!(count.load(Relaxed), 1);
        drop(link);
        assert_eq!(count.load(Relaxed), 0);
    }

    #[test]
    fn settling_waits_for_the_reader_that_outlasts_the_store() {
        let count = Arc::default();
        let link = Published::new(Witness::new(0, &count));
        let (seen, go) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let pin = pin();
                let old = link.read(&pin);
                seen.store(true, Release);
                while !go.load(Acquire) {
                    std::thread::yield_now();
                }
                assert_eq!(old.alive, ALIVE);
            });
            while !seen.load(Acquire) {
                std::thread::yield_now();
            }
            link.store(Witness::new(1, &count));
            assert_eq!(count.load(Relaxed), 2, "the store did not wait");
            go.store(true, Release);
            link.settle();
            assert_eq!(count.load(Relaxed), 1);
        });
    }

    #[test]
    fn a_pin_inside_a_pin_ends_nothing() {
        let count = Arc::default();
        let link = Published::new(Witness::new(0, &count));
        let outer = pin();
        let first = link.read(&outer);
        drop(pin());
        link.store(Witness::new(1, &count));
        assert_eq!((first.alive, first.number), (ALIVE, 0));
        link.settle(); // does not wait for its own thread
        assert_eq!(first.number, 0);
        drop(outer);
        link.store(Witness::new(2, &count));
        link.settle();
        assert_eq!(count.load(Relaxed), 1);
    }

    #[test]
    fn readers_and_a_writer_race_and_nobody_meets_the_dead() {
        let rounds: u64 = if cfg!(miri) { 60 } else { 30_000 };
        let count = Arc::default();
        let link = Published::new(Witness::new(0, &count));
        let end = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for reader in 0..3 {
                let (link, end) = (&link, &end);
                scope.spawn(move || {
                    let mut last = 0;
                    while !end.load(Acquire) {
                        let kept = (reader == 0).then(|| link.load());
                        let pin = pin();
                        let now = link.read(&pin);
                        assert_eq!(now.alive, ALIVE);
                        assert!(now.number >= last && kept.is_none_or(|k| k.number <= now.number));
                        last = now.number;
                        assert_eq!(now.alive, ALIVE);
                    }
                });
            }
            for number in 1..=rounds {
                link.store(Witness::new(number, &count));
                assert!(count.load(Relaxed) <= 4, "one linked, one in limbo, one kept");
            }
            end.store(true, Release);
        });
        link.store(Witness::new(rounds + 1, &count));
        link.settle();
        assert_eq!(count.load(Relaxed), 1);
    }

    #[test]
    fn what_a_link_lost_under_a_pin_goes_when_the_pin_ends() {
        let (count, mut limbo) = (Arc::default(), Limbo::new());
        let link = Link::empty();
        assert!(!link.empty_into(&mut limbo));
        link.fill(Witness::new(1, &count));
        let outer = pin();
        let seen = link.read(&outer).unwrap();
        let kept = seen.keep();
        assert!(link.empty_into(&mut limbo));
        assert!(limbo.collect(0).is_empty() && link.read(&outer).is_none());
        assert_eq!((seen.alive, seen.number), (ALIVE, 1));
        drop(outer);
        assert_eq!(limbo.collect(0).len(), 1);
        assert_eq!(kept.number, 1);
        drop(kept);
        assert_eq!(count.load(Relaxed), 0);
        link.fill(Witness::new(2, &count));
        drop(link);
        assert_eq!(count.load(Relaxed), 0);
    }

    #[test]
    fn readers_race_with_filling_and_emptying_a_link_and_nobody_meets_the_dead() {
        let rounds: u64 = if cfg!(miri) { 60 } else { 30_000 };
        let count = Arc::default();
        let (link, end) = (Link::<Witness>::empty(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for reader in 0..3 {
                let (link, end) = (&link, &end);
                scope.spawn(move || {
                    let mut kept: Option<Arc<Witness>> = None;
                    while !end.load(Acquire) {
                        let pin = pin();
                        let Some(now) = link.read(&pin) else { continue };
                        assert_eq!(now.alive, ALIVE);
                        if reader == 0 {
                            kept = Some(now.keep());
                        }
                    }
                    assert!(kept.is_none_or(|kept| kept.alive == ALIVE));
                });
            }
            let mut limbo = Limbo::new();
            for number in 1..=rounds {
                link.fill(Witness::new(number, &count));
                assert!(link.empty_into(&mut limbo));
                drop(limbo.collect(0));
                assert!(count.load(Relaxed) <= 2, "one kept by a reader, one about to be");
            }
            end.store(true, Release);
        });
        assert_eq!(count.load(Relaxed), 0);
    }

    #[test]
    fn threads_that_come_and_go_use_the_same_places() {
        let before = places().count();
        let threads = if cfg!(miri) { 50 } else { 500 };
        for _ in 0..threads {
            std::thread::scope(|scope| {
                scope.spawn(|| drop(pin()));
            });
        }
        // Other tests of this process take places, too; and a scope does not wait
        // for its threads to give theirs back.
        let most = if cfg!(miri) { 40 } else { 250 };
        assert!(places().count() < before + most);
    }
}
