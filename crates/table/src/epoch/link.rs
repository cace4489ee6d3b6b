//! Links that are read under a pin, without a count or a lock, and replaced by one who
//! unlinks through a limbo.

#[cfg(loom)]
use super::NOW;
use super::limbo::Limbo;
use super::{Pin, is_pinned_here, pin};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use tanada_vfs::sync::atomic::AtomicPtr;
use tanada_vfs::sync::{Mutex, lock_free};

/// So many may wait for readers; with more, who replaces waits for them too. A reader that
/// is not running may take long, and whoever replaces may hold locks that others need.
/// A checker of concurrency tries both anyway.
const MOST_WAITING: usize = if cfg!(any(loom, shuttle)) { 1 } else { 64 };

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
        drop(self.swap(to, 1));
    }

    /// As [`Published::store`], for whoever holds locks that others need: does not wait for
    /// readers unless many are behind, and answers what none of them has any more, which may
    /// be large, to be dropped once the locks are released.
    #[must_use = "what is dropped here should have been stored"]
    pub fn replace(&self, to: Arc<T>) -> Vec<Arc<T>> {
        self.swap(to, MOST_WAITING)
    }

    fn swap(&self, to: Arc<T>, most_waiting: usize) -> Vec<Arc<T>> {
        let mut limbo = self.limbo.lock();
        let old = self.link.swap(Arc::into_raw(to).cast_mut(), SeqCst);
        // SAFETY: `old` came from `Arc::into_raw`, and its count is the link's.
        limbo.add(unsafe { Arc::from_raw(old) });
        limbo.collect(most_waiting)
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

// SAFETY: hands out `&T` and `Arc<T>` to whoever shares it, as an `Arc<T>` does.
unsafe impl<T: Send + Sync> Send for Published<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Published<T> {}

impl<T> std::fmt::Debug for Published<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Published").finish_non_exhaustive()
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

impl<T> std::fmt::Debug for Pinned<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pinned").finish_non_exhaustive()
    }
}
