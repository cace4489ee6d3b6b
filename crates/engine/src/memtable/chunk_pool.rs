//! Chunks of MemTables that were flushed, kept for those that are being filled.
//!
//! A fresh chunk costs its zeroing, page by page, in the path of the writes that
//! fill it; one that was in use a moment ago costs nothing. The pool's bytes are
//! those that the budget holds back for the MemTable being filled: what that one
//! takes, it takes from here.

use crate::control::account::{Account, Part};
use std::io;
use std::sync::Arc;
use tanada_vfs::HugePages;
use tanada_vfs::sync::Mutex;

/// Chunks of [`HugePages::PAGE_BYTES`], all of one database.
pub(crate) struct ChunkPool {
    max_chunks: usize,
    /// Where MemTables are counted that grow by these chunks.
    account: Arc<Account>,
    /// Held for a push or a pop: chunks that no arena refers to.
    free: Mutex<Vec<HugePages>>,
}

impl ChunkPool {
    /// An empty pool that keeps up to `max_bytes`, of MemTables counted in `account`.
    pub(crate) fn new(max_bytes: u64, account: Arc<Account>) -> Arc<ChunkPool> {
        let max_chunks = max_bytes as usize / HugePages::PAGE_BYTES;
        Arc::new(ChunkPool { max_chunks, account, free: Mutex::default() })
    }

    /// The account of the MemTables.
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// What it keeps at most: what a MemTable takes that is full.
    pub(super) fn max_bytes(&self) -> usize {
        self.max_chunks * HugePages::PAGE_BYTES
    }

    /// A chunk, counted as a MemTable's; what lies in it is anybody's guess.
    ///
    /// # Errors
    /// As [`HugePages::new`], when none is free.
    pub(super) fn take(&self) -> io::Result<HugePages> {
        if let Some(chunk) = self.free.lock().pop() {
            self.account.pass_on(Part::Pool, Part::MemTables, HugePages::PAGE_BYTES as u64);
            return Ok(chunk);
        }
        let chunk = HugePages::new(1)?;
        self.account.take(Part::MemTables, HugePages::PAGE_BYTES as u64);
        Ok(chunk)
    }

    /// Keeps what fits; the rest goes back to the system.
    pub(super) fn give_back(&self, chunks: &mut Vec<HugePages>) {
        let mut free = self.free.lock();
        let room = self.max_chunks.saturating_sub(free.len()).min(chunks.len());
        free.extend(chunks.drain(..room));
        drop(free);
        let page = HugePages::PAGE_BYTES as u64;
        if room > 0 {
            self.account.pass_on(Part::MemTables, Part::Pool, room as u64 * page);
        }
        let gone = chunks.len() as u64;
        chunks.clear(); // unmapping takes its time: not under the lock
        if gone > 0 {
            self.account.give(Part::MemTables, gone * page);
        }
    }

    /// Gives all that it keeps back to the system: memory is short.
    pub(crate) fn clear(&self) {
        let chunks = std::mem::take(&mut *self.free.lock());
        let bytes = (chunks.len() * HugePages::PAGE_BYTES) as u64;
        drop(chunks);
        if bytes > 0 {
            self.account.give(Part::Pool, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_taken_again_up_to_the_limit() {
        let page = HugePages::PAGE_BYTES as u64;
        let account = Account::new();
        let pool = ChunkPool::new(2 * page, Arc::clone(&account));
        let mut chunks: Vec<_> = (0..3).map(|_| pool.take().unwrap()).collect();
        let known: Vec<_> = chunks.iter().map(HugePages::as_ptr).collect();
        assert_eq!((account.of(Part::MemTables), account.of(Part::Pool)), (3 * page, 0));
        pool.give_back(&mut chunks);
        assert_eq!((account.of(Part::MemTables), account.of(Part::Pool)), (0, 2 * page));
        assert!(chunks.is_empty());
        assert_eq!(pool.free.lock().len(), 2, "the third went back to the system");
        let again = pool.take().unwrap();
        assert!(known.contains(&again.as_ptr()));
        assert_eq!(account.taken(), 2 * page);
        pool.clear();
        assert!(pool.free.lock().is_empty());
        assert_eq!((account.of(Part::MemTables), account.of(Part::Pool)), (page, 0));
    }
}
