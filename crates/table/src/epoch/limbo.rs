//! What has been unlinked and waits until no reader can look at it any more.

use super::{NOW, is_pinned_here, oldest_pinned};
use std::sync::atomic::Ordering::AcqRel;
use tanada_vfs::sync::lock_free;

/// How often who frees looks again for readers that are done, before it leaves what
/// they may look at for later. A checker of concurrency tries both anyway.
const TURNS: u32 = if cfg!(any(loom, shuttle)) { 0 } else { 32 };

/// What has been unlinked and may still be looked at. Belongs to whoever unlinks, and
/// lies under its lock.
pub struct Limbo<T> {
    /// With the epoch begun after its unlinking, ascending.
    pub(super) waiting: Vec<(u64, T)>,
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
