//! The row cache (L1): from a key to its newest version in tables.
//!
//! A get asks it behind all MemTables and before all tables. It holds values only, no
//! tombstones; it knows neither tables nor MemTables, and may lose any row at any time.
//!
//! # Why it never serves a stale value
//!
//! What may be served for a key is its newest version in tables, as the reader's view
//! has them. That changes for a reader only when a MemTable leaves the view and its
//! table comes in: compaction moves versions, but leaves the newest. So a flush does,
//! in this order:
//!
//! 1. it begins only when all writes in its MemTable are visible to new readers;
//! 2. [`RowCache::begin_invalidation`]: the generation moves on;
//! 3. [`RowCache::remove`] for every key of the MemTable;
//! 4. the new view: without the MemTable, with its table.
//!
//! And a get does:
//!
//! 1. [`RowCache::generation`]; 2. it pins the view; 3. it takes the newest visible
//!    seqno; 4. it asks the view's MemTables, the row cache, the view's tables;
//! 5. [`RowCache::insert`] of what a table said, with the generation of 1.
//!
//! Let the flush of a MemTable M, which holds key k, have ended, and suppose that a row
//! of k older than M's is in the cache. Who put it there?
//!
//! - A reader with a generation from before 2. Its insert looks at the generation
//!   under the shard's lock. If it did so before `remove(k)` took that lock, the row
//!   was removed; if after, it saw the new generation and was refused.
//! - A reader with the generation from 2 or later that had pinned a view with M. It
//!   came after 1, so its seqno covers M's version of k: it found that in M, and never
//!   got as far as the tables.
//! - A reader with a view from 4 or later: its tables have M's version. (When another
//!   flush is under way by then, the same argument holds for that one.)
//!
//! So nobody. Before 4, a stale row is harmless: readers that have M in their view ask M
//! first. A reader of a snapshot may take a row whose version it sees (the seqno is
//! passed to [`RowCache::get`]): were there a newer one that it sees as well, the row
//! would be stale for new readers, too. It must not insert, for step 3 is not its own.
//! Whatever else changes tables by more than moving (ingestion, dropping ranges) calls
//! [`RowCache::clear`] between 2 and 4.
//!
//! # Cost
//!
//! A hit takes a shared lock on one of 64 shards, sets a flag if it is not set yet, and
//! clones a `Value`. A miss in an empty shard takes no lock. When the cache is full, a
//! row that comes for the first time costs a shared lock and four bytes written.
mod index;
mod shard;
mod worth;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;

pub(crate) use self::worth::{Tally, Verdict, Worth};

use self::shard::{Name, Shard};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use tanada_format::{KeyspaceId, SeqNo, planted};
use tanada_table::Value;
use tanada_vfs::sync::atomic::{AtomicU64, AtomicUsize};
use tanada_vfs::sync::{RwLock, unchecked};

/// Shuttle looks at two shards: each one more is two more places to change threads.
const SHARD_BITS: u32 = if cfg!(shuttle) { 1 } else { 6 };
const SHARDS: usize = 1 << SHARD_BITS;

/// Rows that go at a time once they do not pay: about 100 us of a reader's time.
const ROWS_A_STEP: usize = 1024;

/// A version of a key, as the tables have it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) value: Value,
    pub(crate) seqno: SeqNo,
    /// 0 for never. The reader judges it: an expired row stays until it is evicted.
    pub(crate) expires_at_ms: u64,
}

/// A moment's figures; counters run from the cache's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowCacheStats {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) entries: u64,
    pub(crate) used_bytes: u64,
    pub(crate) capacity_bytes: u64,
    pub(crate) evictions: u64,
}

/// The row cache of a database. See the module's docs for the protocol.
pub(crate) struct RowCache {
    generation: AtomicU64,
    capacity: AtomicU64,
    shards: Box<[Cell; SHARDS]>,
}

/// A shard, alone on its cache lines. The counters share them with the lock, which
/// every lookup moves anyway.
#[repr(align(128))]
struct Cell {
    /// Guards all of the shard. Taken alone: no other lock is taken under it.
    shard: RwLock<Shard>,
    /// Rows in the shard. Changed under the exclusive lock; read without, as a hint,
    /// but for what `begin_invalidation` says.
    len: AtomicUsize,
    hits: unchecked::AtomicU64,
    misses: unchecked::AtomicU64,
}

impl RowCache {
    /// An empty one that will hold up to `capacity_bytes`, all its overhead included.
    pub(crate) fn new(capacity_bytes: u64) -> RowCache {
        let capacity = share(capacity_bytes);
        let cell = |_| Cell {
            shard: RwLock::new(Shard::new(capacity)),
            len: AtomicUsize::new(0),
            hits: unchecked::AtomicU64::new(0),
            misses: unchecked::AtomicU64::new(0),
        };
        RowCache {
            generation: AtomicU64::new(0),
            capacity: AtomicU64::new(capacity_bytes),
            shards: Box::new(std::array::from_fn(cell)),
        }
    }

    /// To be taken before the view is pinned, and given to [`RowCache::insert`].
    #[inline]
    pub(crate) fn generation(&self) -> u64 {
        // Pairs with the Release in `begin_invalidation`: who sees the new generation
        // sees the flush's writes as visible; and no later load moves before this one.
        self.generation.load(Acquire)
    }

    /// The row of `key`, if it is here and `seqno` sees it. `hash` is
    /// [`tanada_format::hash_key`] of the key.
    #[inline]
    pub(crate) fn get(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        hash: u64,
        seqno: SeqNo,
    ) -> Option<Row> {
        let (cell, name) = self.locate(keyspace, key, hash);
        // Relaxed: a row that is just coming in may be missed.
        if cell.len.load(Relaxed) == 0 {
            cell.misses.fetch_add(1, Relaxed);
            return None;
        }
        let shard = cell.shard.read();
        let row = shard.get(name).filter(|row| row.seqno <= seqno).cloned();
        drop(shard);
        let counter = if row.is_some() { &cell.hits } else { &cell.misses };
        counter.fetch_add(1, Relaxed);
        row
    }

    /// Offers what a table said. Refused when a flush has begun since `generation` was
    /// taken; when the cache is full and the key comes for the first time; and when the
    /// value is longer than an eighth of a shard. Copies key and value when it is not.
    pub(crate) fn insert(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        hash: u64,
        row: &Row,
        generation: u64,
    ) {
        let (cell, name) = self.locate(keyspace, key, hash);
        if !cell.shard.read().admits(name, row.value.len()) {
            return;
        }
        // Copied before the lock is taken. The value may point into a block, which a
        // row must not keep.
        let row = Row { value: row.value.detached(), ..*row };
        let key = Value::from(key);
        let mut shard = cell.shard.write();
        // Relaxed: if `remove` had this lock before, the lock makes the new generation
        // visible; if not, it is still to come.
        if self.generation.load(Relaxed) != generation && !planted!(row_cache_stale_under_race) {
            return;
        }
        shard.insert(name, key, row);
        cell.len.store(shard.len(), Relaxed);
    }

    /// From now on refuses what readers have found before. To be followed by
    /// [`RowCache::remove`] for every key that changes in tables; that may be left out
    /// when this answers false: there is nothing to remove.
    pub(crate) fn begin_invalidation(&self) -> bool {
        self.generation.fetch_add(1, AcqRel);
        // Whoever inserts with an older generation has done so when this has had the
        // shard's lock, or never will: so `remove` can trust a `len` of 0.
        let mut rows = 0;
        for cell in self.shards.iter() {
            let shard = cell.shard.write();
            rows += shard.len();
        }
        rows > 0
    }

    /// Takes out the row of `key`, if there is one.
    pub(crate) fn remove(&self, keyspace: KeyspaceId, key: &[u8], hash: u64) {
        let (cell, name) = self.locate(keyspace, key, hash);
        // Relaxed: `begin_invalidation` has seen under the lock every row that must go.
        if cell.len.load(Relaxed) == 0 {
            return;
        }
        let mut shard = cell.shard.write();
        shard.remove(name);
        cell.len.store(shard.len(), Relaxed);
    }

    /// Takes out everything, and refuses what readers have found before.
    pub(crate) fn clear(&self) {
        self.generation.fetch_add(1, AcqRel);
        for cell in self.shards.iter() {
            let mut shard = cell.shard.write();
            shard.clear();
            cell.len.store(0, Relaxed);
        }
    }

    /// Holds no more than `capacity_bytes` when this returns, and from then on. Cheap
    /// when nothing changes; else O(rows evicted), or O(rows) when it shrinks.
    pub(crate) fn set_capacity(&self, capacity_bytes: u64) {
        if self.capacity.swap(capacity_bytes, Relaxed) == capacity_bytes {
            return;
        }
        for cell in self.shards.iter() {
            let mut shard = cell.shard.write();
            shard.set_capacity(share(capacity_bytes));
            cell.len.store(shard.len(), Relaxed);
        }
    }

    /// Takes out [`ROWS_A_STEP`] rows, or all that there are; answers false when there is
    /// none. So that who does it has little to do at a time.
    pub(crate) fn empty_a_step(&self) -> bool {
        let mut left = ROWS_A_STEP;
        // Relaxed: a row that is just coming in stays for the next time.
        for cell in self.shards.iter().filter(|cell| cell.len.load(Relaxed) > 0) {
            let mut shard = cell.shard.write();
            let before = shard.len();
            let rows = shard.take_oldest(left);
            left -= before - shard.len();
            cell.len.store(shard.len(), Relaxed);
            drop(shard);
            drop(rows);
            if left == 0 {
                break;
            }
        }
        left < ROWS_A_STEP
    }

    /// What it may hold. Takes no lock.
    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.capacity.load(Relaxed)
    }

    /// What it holds now. Locks the shards one after the other.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.stats().used_bytes
    }

    /// Whether it holds no row. Takes no lock.
    pub(crate) fn is_empty(&self) -> bool {
        self.shards.iter().all(|cell| cell.len.load(Relaxed) == 0)
    }

    /// Found so far. Takes no lock.
    pub(crate) fn hits(&self) -> u64 {
        self.shards.iter().map(|cell| cell.hits.load(Relaxed)).sum()
    }

    /// Figures of now. Locks the shards one after the other.
    pub(crate) fn stats(&self) -> RowCacheStats {
        // What it takes without a row it takes also where it has stepped aside.
        let without_rows = size_of::<[Cell; SHARDS]>() as u64;
        let mut stats = RowCacheStats {
            capacity_bytes: self.capacity.load(Relaxed).max(without_rows),
            used_bytes: without_rows,
            ..RowCacheStats::default()
        };
        for cell in self.shards.iter() {
            stats.hits += cell.hits.load(Relaxed);
            stats.misses += cell.misses.load(Relaxed);
            let shard = cell.shard.read();
            stats.entries += shard.len() as u64;
            stats.used_bytes += shard.used_bytes() as u64;
            stats.evictions += shard.evictions();
        }
        stats
    }

    #[inline]
    fn locate<'k>(&self, keyspace: KeyspaceId, key: &'k [u8], hash: u64) -> (&Cell, Name<'k>) {
        // Keyspaces with the same keys shall not crowd the same shards and buckets.
        let apart = u64::from(keyspace.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = if planted!(cache_key_reuse) { hash } else { hash ^ apart };
        let cell = &self.shards[(hash >> (64 - SHARD_BITS)) as usize];
        (cell, Name { hash, keyspace, key })
    }
}

/// A shard's part of the capacity: the shards' own lines are taken off first.
fn share(capacity_bytes: u64) -> usize {
    let lines = size_of::<[Cell; SHARDS]>() as u64;
    (capacity_bytes.saturating_sub(lines) / SHARDS as u64) as usize
}

impl std::fmt::Debug for RowCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RowCache")
            .field("capacity_bytes", &self.capacity.load(Relaxed))
            .finish_non_exhaustive()
    }
}
