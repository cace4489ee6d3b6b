//! Chunks of MemTables that were flushed, kept for those that are being filled.
//!
//! A fresh chunk costs its zeroing, page by page, in the path of the writes that
//! fill it; one that was in use a moment ago costs nothing. The pool's bytes are
//! those that the budget holds back for the MemTable being filled: what that one
//! takes, it takes from here.

use std::io;
use std::sync::Arc;
use tanada_vfs::HugePages;
use tanada_vfs::sync::Mutex;

/// Chunks of [`HugePages::PAGE_BYTES`], all of one database.
pub(crate) struct ChunkPool {
    max_chunks: usize,
    /// Held for a push or a pop: chunks that no arena refers to.
    free: Mutex<Vec<HugePages>>,
}

impl ChunkPool {
    /// An empty pool that keeps up to `max_bytes`.
    pub(crate) fn new(max_bytes: u64) -> Arc<ChunkPool> {
        let max_chunks = max_bytes as usize / HugePages::PAGE_BYTES;
        Arc::new(ChunkPool { max_chunks, free: Mutex::default() })
    }

    /// What it keeps at most: what a MemTable takes that is full.
    pub(super) fn max_bytes(&self) -> usize {
        self.max_chunks * HugePages::PAGE_BYTES
    }

    /// A chunk; what lies in it is anybody's guess.
    ///
    /// # Errors
    /// As [`HugePages::new`], when none is free.
    pub(super) fn take(&self) -> io::Result<HugePages> {
        let free = self.free.lock().pop();
        free.map_or_else(|| HugePages::new(1), Ok)
    }

    /// Keeps what fits; the rest goes back to the system.
    pub(super) fn give_back(&self, chunks: &mut Vec<HugePages>) {
        let mut free = self.free.lock();
        let room = self.max_chunks.saturating_sub(free.len()).min(chunks.len());
        free.extend(chunks.drain(..room));
        drop(free);
        chunks.clear(); // unmapping takes its time: not under the lock
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_taken_again_up_to_the_limit() {
        let pool = ChunkPool::new(2 * HugePages::PAGE_BYTES as u64);
        let mut chunks: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
        let known: Vec<_> = chunks.iter().map(HugePages::as_ptr).collect();
        pool.give_back(&mut chunks);
        assert!(chunks.is_empty());
        assert_eq!(pool.free.lock().len(), 2, "the third went back to the system");
        for _ in 0..2 {
            assert!(known.contains(&pool.take().unwrap().as_ptr()));
        }
        assert!(pool.free.lock().is_empty());
    }
}
