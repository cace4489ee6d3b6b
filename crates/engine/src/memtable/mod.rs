//! The MemTable: what was written last and is not in a table yet, in key order.
//!
//! A B+tree in an arena ([`tree`], [`node`]), one slot a user key, the versions of a
//! key in a chain behind it ([`entry`]), and a filter of the keys in front ([`key_filter`]). One writer at a time; readers take no lock,
//! write nothing shared, and wait only while the writer is inside the very node they
//! read. Entries never change once a reader can see them, and nothing is freed before
//! the MemTable is: so what a read returns borrows from the MemTable itself.
//!
//! Knows nothing of logs, keyspaces and commit groups. Why a B+tree and not a
//! skiplist: docs/decisions/0001-memtable.md.
#![allow(dead_code, unsafe_code)]

mod prefetch;
mod chunk_pool;
mod arena;
mod key_filter;
mod entry;
mod node;
mod tree;
mod cursor;
mod footprint;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[cfg(loom)]
mod models;

pub(crate) use chunk_pool::ChunkPool;
pub(crate) use cursor::MemTableCursor;
pub(crate) use footprint::{Fixed, Footprint, Growth, splits_bytes};

use self::key_filter::{Added, KeyFilter};
use self::tree::Tree;
use crate::control::account::Part;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tanada_format::{EntryRef, SeqNo, hash_key};
use tanada_vfs::sync::atomic::AtomicU64;
use tanada_vfs::sync::{lock_free, unchecked};

/// The right to write into MemTables.
///
/// An insert takes a token by `&mut`, so whoever holds it is alone; and a MemTable
/// takes for life the token of its first insert, and no other. Both together make
/// "one writer at a time" a matter of types and one comparison, without a lock: a
/// database has one token, in the state that its commit leader holds, and uses it for
/// all of its MemTables. Handing the token from thread to thread is what orders one
/// thread's inserts before the next one's.
#[derive(Debug)]
pub(crate) struct WriterToken {
    /// Never 0 and never used twice in a process: 64 bits do not run out.
    id: u64,
}

impl WriterToken {
    /// A token that no MemTable knows yet.
    pub(crate) fn new() -> WriterToken {
        static NEXT: unchecked::AtomicU64 = unchecked::AtomicU64::new(1);
        // Relaxed: only that no two are equal matters.
        WriterToken { id: NEXT.fetch_add(1, Relaxed) }
    }
}

/// Sorted entries in memory. See the module's docs.
pub(crate) struct MemTable {
    pool: Arc<ChunkPool>,
    tree: Tree,
    filter: KeyFilter,
    /// The id of the one token that may write; 0 before the first insert.
    writer: lock_free::AtomicU64,
    figures: Figures,
}

/// Written with every insert, by the writer alone, after the entry is in the tree: on
/// lines of their own, for gets read those beside them. Relaxed: figures, not promises;
/// a sealed MemTable's are exact for whoever saw it sealed.
#[repr(align(128))]
struct Figures {
    entries: AtomicU64,
    min_seqno: AtomicU64,
    max_seqno: AtomicU64,
}

impl MemTable {
    /// An empty one, of about 5 KB, that will grow by chunks of `pool`.
    pub(crate) fn new(pool: Arc<ChunkPool>) -> MemTable {
        MemTable {
            filter: KeyFilter::new(pool.max_bytes()),
            tree: Tree::new(Arc::clone(&pool)),
            pool,
            writer: lock_free::AtomicU64::new(0),
            figures: Figures {
                entries: AtomicU64::new(0),
                min_seqno: AtomicU64::new(SeqNo::MAX.0),
                max_seqno: AtomicU64::new(0),
            },
        }
    }

    /// Adds `entry`; readers see it when this returns, or a little earlier. Copies key
    /// and value once, into memory that is taken in pieces of up to 2 MiB (or as large
    /// as the entry).
    ///
    /// # Panics
    /// When this MemTable has been written with another token; when the key has a
    /// version with this seqno or a newer one; when key or value are longer than
    /// [`tanada_format`] allows.
    pub(crate) fn insert(&self, token: &mut WriterToken, entry: EntryRef<'_>) {
        // Relaxed: the id only tells tokens apart; what orders the inserts is that
        // `token` is borrowed mutably.
        if self.writer.load(Relaxed) != token.id {
            let first = self.writer.compare_exchange(0, token.id, Relaxed, Relaxed);
            assert!(first.is_ok(), "a MemTable is written with one token only");
        }
        if self.filter.add(hash_key(entry.key)) == Added::WithAFilter {
            self.pool.account().take(Part::MemTables, self.filter.heap_bytes() as u64);
        }
        // SAFETY: only the holder of the token of this id gets here, tokens are not
        // cloned, and this call borrows it mutably.
        unsafe { self.tree.insert(entry) };
        let (n, figures) = (entry.seqno.0, &self.figures);
        figures.entries.store(figures.entries.load(Relaxed) + 1, Relaxed);
        figures.min_seqno.store(figures.min_seqno.load(Relaxed).min(n), Relaxed);
        figures.max_seqno.store(figures.max_seqno.load(Relaxed).max(n), Relaxed);
    }

    /// The newest version of `key`, whose [`hash_key`] is `hash`, not newer than
    /// `seqno`; tombstones included. One cache line when there is none, mostly; else
    /// O(log keys), then one comparison if the newest version will do, else
    /// O(log versions). Allocates nothing.
    #[inline]
    pub(crate) fn get(&self, key: &[u8], hash: u64, seqno: SeqNo) -> Option<EntryRef<'_>> {
        // Whoever knows of a write by its seqno sees its writer here, and its key in
        // the filter: both were stored before the seqno became visible.
        if self.writer.load(Relaxed) == 0 || !self.filter.may_hold(hash) {
            return None;
        }
        Some(self.tree.find(key)?.newest_at(seqno)?.entry())
    }

    /// A cursor over all versions of all keys, standing nowhere yet;
    /// [`MemTableCursor::visible_at`] makes it show one version a key.
    pub(crate) fn cursor(self: &Arc<Self>) -> MemTableCursor {
        MemTableCursor::new(Arc::clone(self))
    }

    /// Memory taken, in bytes: the filter, and all chunks of the arena, used or not yet.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<MemTable>() + self.filter.heap_bytes() + self.tree.allocated_bytes()
    }

    /// Entries, every version counted.
    pub(crate) fn entries(&self) -> u64 {
        self.figures.entries.load(Relaxed)
    }

    /// Whether nothing was ever inserted.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries() == 0
    }

    /// The lowest seqno inserted; [`SeqNo::MAX`] when empty.
    pub(crate) fn min_seqno(&self) -> SeqNo {
        SeqNo(self.figures.min_seqno.load(Relaxed))
    }

    /// The highest seqno inserted; [`SeqNo::ZERO`] when empty.
    pub(crate) fn max_seqno(&self) -> SeqNo {
        SeqNo(self.figures.max_seqno.load(Relaxed))
    }
}

impl Drop for MemTable {
    fn drop(&mut self) {
        self.pool.account().give(Part::MemTables, self.filter.heap_bytes() as u64);
    }
}

impl std::fmt::Debug for MemTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemTable")
            .field("entries", &self.entries())
            .field("size_bytes", &self.size_bytes())
            .finish_non_exhaustive()
    }
}
