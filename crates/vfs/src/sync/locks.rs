//! Locks of `std`, or of a checker of concurrency, that no panic poisons.
//!
//! Why not `parking_lot`'s: it keeps those who wait in one table of the process, linked
//! through memory of their threads. A forked child inherits the table with the threads of
//! its parent in it, takes their memory for threads of its own, and the first of these
//! that waits may link itself to itself; nobody ever gets past it. A lock of `std` is a
//! word of its own: those that a child makes owe nothing to its parent's.

#[cfg(loom)]
use loom::sync as of;
#[cfg(shuttle)]
use shuttle::sync as of;
use std::ops::{Deref, DerefMut};
#[cfg(not(any(loom, shuttle)))]
use std::sync as of;
use std::sync::{PoisonError, TryLockError};
use std::time::Duration;

/// How often a thread lets others run before it sleeps at a lock.
#[cfg(not(any(loom, shuttle)))]
const YIELDS: u32 = 8;

/// A turn of the others that took longer was no short one: there are more of them than
/// processors, and the next may be as long.
#[cfg(not(any(loom, shuttle)))]
const SHORT_TURN: Duration = Duration::from_micros(100);

/// As that of `std`, but for poison.
#[derive(Debug, Default)]
pub struct Mutex<T>(of::Mutex<T>);

/// As that of `std`. `None` only while a [`Condvar`] waits with it.
#[derive(Debug)]
pub struct MutexGuard<'l, T>(Option<of::MutexGuard<'l, T>>);

impl<T> Mutex<T> {
    /// An unlocked one.
    pub fn new(value: T) -> Mutex<T> {
        Mutex(of::Mutex::new(value))
    }

    /// Waits for its turn.
    #[inline]
    #[cfg_attr(shuttle, track_caller)]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        note_place();
        // A checker decides at the one call whether it waits.
        let free = if cfg!(any(loom, shuttle)) { None } else { self.try_lock() };
        free.unwrap_or_else(|| self.lock_contended())
    }

    /// Lets others run before it sleeps, as `parking_lot` does: most locks are held for a
    /// few lines, and waking up takes longer. A new leader, who meets the old one at the
    /// queue's lock, lets the writers that were just answered queue up meanwhile: eight
    /// writers with a sync each commit in groups larger by an eighth. Where 64 threads want
    /// two processors each turn of the others is some 100 ms, and who sleeps is woken before
    /// them: there it sleeps at once.
    #[cold]
    #[allow(clippy::disallowed_methods)] // no wait of the engine's: no clock of its own
    fn lock_contended(&self) -> MutexGuard<'_, T> {
        #[cfg(not(any(loom, shuttle)))]
        for _ in 0..YIELDS {
            let before = std::time::Instant::now();
            std::thread::yield_now();
            if let Some(guard) = self.try_lock() {
                return guard;
            }
            if before.elapsed() > SHORT_TURN {
                break;
            }
        }
        MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Does not wait.
    #[inline]
    #[cfg_attr(shuttle, track_caller)]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        note_place();
        match self.0.try_lock() {
            Ok(guard) => Some(MutexGuard(Some(guard))),
            Err(TryLockError::Poisoned(poisoned)) => Some(MutexGuard(Some(poisoned.into_inner()))),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Nobody else has it.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody else has it.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.as_ref().expect("nobody looks while it waits")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("nobody looks while it waits")
    }
}

/// As that of `std`.
#[derive(Debug, Default)]
pub struct Condvar(of::Condvar);

impl Condvar {
    /// One that nobody waits for.
    pub fn new() -> Condvar {
        Condvar(of::Condvar::new())
    }

    /// Lets go of the lock until it is notified.
    #[cfg_attr(shuttle, track_caller)]
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        note_place();
        let held = guard.0.take().expect("held");
        guard.0 = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    /// As [`Condvar::wait`], for so long at most; answers whether that has passed. In a
    /// checker's world no time passes.
    #[cfg_attr(shuttle, track_caller)]
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, longest: Duration) -> bool {
        #[cfg(not(any(loom, shuttle)))]
        {
            let held = guard.0.take().expect("held");
            let waited = self.0.wait_timeout(held, longest);
            let (held, outcome) = waited.unwrap_or_else(PoisonError::into_inner);
            guard.0 = Some(held);
            outcome.timed_out()
        }
        #[cfg(any(loom, shuttle))]
        {
            let _ = longest;
            self.wait(guard);
            false
        }
    }

    /// Wakes one.
    #[cfg_attr(shuttle, track_caller)]
    pub fn notify_one(&self) {
        note_place();
        self.0.notify_one();
    }

    /// Wakes all.
    #[cfg_attr(shuttle, track_caller)]
    pub fn notify_all(&self) {
        note_place();
        self.0.notify_all();
    }
}

/// As that of `std`: a place that is filled once.
#[derive(Debug)]
pub struct OnceLock<T>(std::sync::OnceLock<T>);

impl<T> OnceLock<T> {
    /// An empty one.
    pub const fn new() -> OnceLock<T> {
        OnceLock(std::sync::OnceLock::new())
    }

    /// What it was filled with.
    #[inline]
    #[cfg_attr(shuttle, track_caller)]
    pub fn get(&self) -> Option<&T> {
        may_change_threads();
        self.0.get()
    }

    /// Fills it.
    ///
    /// # Errors
    /// `value` comes back when it was filled before.
    #[cfg_attr(shuttle, track_caller)]
    pub fn set(&self, value: T) -> Result<(), T> {
        may_change_threads();
        self.0.set(value)
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

/// Lets an order of shuttle's know where in the source its thread may be changed now.
#[inline]
#[cfg_attr(shuttle, track_caller)]
fn note_place() {
    #[cfg(shuttle)]
    super::sites::note();
}

/// Here shuttle may let another thread run: in front of what it has no stand-in for.
#[inline]
#[cfg_attr(shuttle, track_caller)]
pub(super) fn may_change_threads() {
    #[cfg(shuttle)]
    super::sites::AtomicBool::new(false).load(std::sync::atomic::Ordering::SeqCst);
}

/// As that of `std`, but for poison.
#[derive(Debug, Default)]
pub struct RwLock<T>(of::RwLock<T>);

impl<T> RwLock<T> {
    /// An unlocked one.
    pub fn new(value: T) -> RwLock<T> {
        RwLock(of::RwLock::new(value))
    }

    /// Waits until nobody writes.
    #[inline]
    #[cfg_attr(shuttle, track_caller)]
    pub fn read(&self) -> of::RwLockReadGuard<'_, T> {
        note_place();
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else has it.
    #[inline]
    #[cfg_attr(shuttle, track_caller)]
    pub fn write(&self) -> of::RwLockWriteGuard<'_, T> {
        note_place();
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
