//! Free pages of the heap that are worth giving back to the system: who finds that asks
//! for it, and a thread of the background does it.
//!
//! It takes milliseconds, or many where the heap is large, and others who allocate wait
//! meanwhile. Who finds it is a writer with its locks, or a reader.

use std::sync::atomic::Ordering;
use tanada_vfs::sync::OnceLock;
use tanada_vfs::sync::atomic::AtomicBool;

/// Wakes whoever gives back.
type Wake = Box<dyn Fn() + Send + Sync>;

/// Whether it is time to give back free pages.
pub(crate) struct FreedHeap {
    /// Relaxed: waking orders it, for whoever is woken.
    due: AtomicBool,
    wake: OnceLock<Wake>,
}

impl Default for FreedHeap {
    fn default() -> FreedHeap {
        FreedHeap { due: AtomicBool::new(false), wake: OnceLock::new() }
    }
}

impl FreedHeap {
    /// Says how a thread is woken that looks at [`FreedHeap::take`]. Without any, nothing
    /// is given back.
    pub(crate) fn served_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        // A database has its threads started once.
        let _ = self.wake.set(Box::new(wake));
    }

    /// Asks for free pages to be given back soon.
    pub(crate) fn ask(&self) {
        self.due.store(true, Ordering::Relaxed);
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// Whether somebody has asked; then it is this caller's to do.
    pub(crate) fn take(&self) -> bool {
        self.due.load(Ordering::Relaxed) && self.due.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tanada_vfs::sync::atomic::AtomicU64;

    #[test]
    fn who_asks_wakes_whoever_serves_and_what_was_asked_for_twice_is_done_once() {
        let (heap, woken) = (FreedHeap::default(), Arc::new(AtomicU64::new(0)));
        heap.ask();
        let counted = Arc::clone(&woken);
        heap.served_by(move || {
            counted.store(counted.load(Ordering::Relaxed) + 1, Ordering::Relaxed)
        });
        heap.ask();
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert!(heap.take() && !heap.take());
    }
}
