//! The reading side of an open database: all that gets and scans need, and nothing of
//! logs, commits and the background. A database that is only read, or that follows
//! another, has this side alone.

use crate::control::account::Part;
use crate::control::belief::DurableTime;
use crate::control::budget::{Budget, CHUNK_BYTES, RowCacheUse};
use crate::control::counters::{Count, Counters};
use crate::control::freed_heap::FreedHeap;
use crate::control::health::Health;
use crate::control::wall_time::{Believed, WallTime};
use crate::memtable::ChunkPool;
use crate::read::dead_spans::DeadSpans;
use crate::read::holders::Holders;
use crate::read::keyspaces::{KeyspaceNames, Keyspaces};
use crate::read::row_cache::{RowCache, Worth};
use crate::read::view::{KeyspaceState, View};
use crate::tree::version::TableStore;
use crate::types::stats::ClockStats;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::{DatabaseId, Lineage, SeqNo, WriterEpoch, planted};
use tanada_table::BlockCache;
use tanada_vfs::Env;
use tanada_vfs::sync::atomic::{AtomicBool, AtomicU64};
use tanada_vfs::sync::{ArcSwap, Mutex, MutexGuard, OnceLock};

/// Blocks that the cache may hold above its capacity for a moment: those that threads
/// have just inserted, before they give up others.
const IN_PASSING_BYTES: u64 = 256 << 10;

/// When the row cache has dropped so much, and this part of what it had, or a little and
/// it was the last, free pages of the heap are given back: that takes the longer the
/// larger the heap is.
const DROPPED_ROWS_BYTES: u64 = 8 << 20;
const DROPPED_ROWS_PART: u64 = 8;

/// A write takes no more than this from the block cache at once: some hundred blocks go.
const MOST_FROM_BLOCKS: u64 = 6 << 20;

/// What has been given back to the budget is left where it is up to here.
const LEAST_HANDED_ON: u64 = 1 << 20;

/// … and what readers have given back up to this part of the budget: they come and go, and
/// writers may need it the next moment.
const HANDED_ON_PART: u64 = 16;

/// What reads look at.
pub(crate) struct Reading {
    // Constants.
    pub(crate) env: Env,
    pub(crate) path: PathBuf,
    pub(crate) database_id: DatabaseId,
    pub(crate) lineage: Lineage,
    /// In which it was opened.
    pub(crate) epoch: WriterEpoch,

    // Tiers and accounts, each with locks of its own inside.
    pub(crate) block_cache: Arc<BlockCache>,
    pub(crate) row_cache: RowCache,
    pub(crate) row_cache_worth: Worth,
    pub(crate) tables: Arc<TableStore>,
    pub(crate) budget: Budget,
    /// Held to divide the memory anew; only the locks of the caches and of the open
    /// tables are taken under it.
    pub(crate) balancing: Mutex<()>,
    /// What rows took at most since there was none.
    /// Read and written under `balancing`: relaxed.
    pub(crate) rows_high_bytes: AtomicU64,
    /// The same, since free pages of the heap in which they lie were last given back.
    pub(crate) rows_kept_bytes: AtomicU64,
    /// Whether it is time to give back free pages of the heap.
    pub(crate) freed_heap: FreedHeap,
    pub(crate) counters: Counters,
    pub(crate) health: Health,
    pub(crate) holders: Holders,
    pub(crate) dead_spans: DeadSpans,
    /// Whether scans have paid for the flush of some keyspace's MemTable. A hint: relaxed.
    pub(crate) seals_paid: AtomicBool,
    /// Called when the last of those readers goes that the background waits for: set once,
    /// where there are threads.
    pub(crate) on_release: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Of all MemTables.
    pub(crate) chunks: Arc<ChunkPool>,

    /// The newest write that readers see. Stored with Release by the commit
    /// leader after the MemTables hold the write; loaded with Acquire by
    /// readers after they have pinned a view.
    pub(crate) visible: Visible,
    /// How often MemTables have gone from a view. Release behind the new view; Acquire
    /// before a view is loaded, so that it is no older. The look before each move is
    /// relaxed: it may find out a step later.
    pub(crate) retired: Retired,
    /// The time by which expiry is judged.
    pub(crate) time: WallTime,

    /// Held to replace any keyspace's view: each replacement builds on the last.
    pub(crate) views: Mutex<()>,
    /// Keyspaces by id. Replaced under the manifest's lock.
    pub(crate) keyspaces: ArcSwap<Keyspaces>,
    /// Their names. Changed under the manifest's lock, after `keyspaces`; held for a
    /// search or an insertion.
    pub(crate) keyspace_names: Mutex<KeyspaceNames>,
}

/// A seqno that changes with every write: on lines of its own, for what lies beside
/// changes rarely and is read as often.
#[repr(align(128))]
pub(crate) struct Visible(pub(crate) AtomicU64);

/// On lines of its own: every step of every cursor looks at it.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Retired(pub(crate) AtomicU64);

impl Reading {
    /// The newest visible write. Load it after pinning the view it is used
    /// with: the other way round, a compaction between the two could drop the
    /// versions that this number needs.
    #[inline]
    pub(crate) fn visible(&self) -> SeqNo {
        SeqNo(self.visible.0.load(Ordering::Acquire))
    }

    /// The last of those readers has gone that the background waits for.
    #[cold]
    pub(crate) fn tell_of_release(&self) {
        if let Some(tell) = self.on_release.get() {
            tell();
        }
    }

    /// Counts a scan that begins.
    pub(crate) fn count_scan(&self) {
        if !self.health.owner.is_forked() {
            self.counters.add(Count::Scans, 1);
        }
    }

    /// Wall time in milliseconds as far as it is believed: what has expired by then has
    /// expired. It never goes back, but where a clock is set right that was wrong.
    #[inline]
    pub(crate) fn now_ms(&self) -> u64 {
        if planted!(ttl_revived_by_clock_set_back) {
            return self.env.clock.wall_ms();
        }
        let believed = self.time.now(&*self.env.clock);
        if believed.went_back {
            self.time_went_back(believed);
        }
        believed.now_ms
    }

    /// What jobs judge expiry by: what has expired by then may be removed. Behind
    /// [`Reading::now_ms`], so that a clock set right finds the keys that it needs.
    pub(crate) fn removable_ms(&self) -> u64 {
        match planted!(ttl_revived_by_clock_set_back) {
            true => self.env.clock.wall_ms(),
            false => {
                self.look_at_clock();
                self.time.removable_ms()
            }
        }
    }

    /// What the manifest is to know of the time.
    pub(crate) fn durable_time(&self) -> DurableTime {
        self.look_at_clock();
        self.time.durable()
    }

    fn look_at_clock(&self) {
        let believed = self.time.look(&*self.env.clock);
        if believed.went_back {
            self.time_went_back(believed);
        }
    }

    /// The clock is right now, whoever says so.
    pub(crate) fn trust_clock(&self) {
        let believed = self.time.trust(&*self.env.clock);
        self.time_went_back(believed);
    }

    /// What is known of the clock.
    pub(crate) fn clock_stats(&self) -> ClockStats {
        self.look_at_clock();
        self.time.stats(&*self.env.clock)
    }

    /// Jobs may have judged by a later time than is believed now: what they removed is gone,
    /// so the row cache must not have it either.
    #[cold]
    fn time_went_back(&self, Believed { now_ms, .. }: Believed) {
        self.holders.judged_at_most(now_ms);
        self.row_cache.clear();
    }

    /// Replaces a keyspace's view by what `change` makes of it.
    pub(crate) fn change_view(&self, keyspace: &KeyspaceState, change: impl FnOnce(&View) -> View) {
        let turn = self.views.lock();
        let present = keyspace.view.load();
        let next = change(&present);
        let (before, after) = (present.version.memory_bytes(), next.version.memory_bytes());
        self.budget.account.take(Part::Trees, after);
        self.budget.account.give(Part::Trees, before);
        let gone = keyspace.view.replace(Arc::new(next));
        // Writers wait for this lock, and with the old views whole MemTables may go.
        drop(turn);
        drop((present, gone));
    }

    /// Gives the caches what the budget leaves them now.
    pub(crate) fn rebalance(&self) {
        self.rebalance_for(0);
    }

    /// Gives the caches what claims have given back, once that is enough for a long value:
    /// readers wait for room for theirs, and there may be nobody who writes.
    pub(crate) fn hand_on(&self) {
        if self.budget.ungranted() >= LEAST_HANDED_ON {
            self.rebalance();
        }
    }

    /// Whether the caches would have much more, were the memory divided anew: what readers
    /// have given back is MemTables, and while somebody writes the next flush divides.
    pub(crate) fn has_much_to_hand_on(&self) -> bool {
        self.budget.ungranted() >= self.budget.total / HANDED_ON_PART
    }

    /// Gives the caches what a reader that let go of MemTables has given back, unless that is
    /// little, or somebody divides the memory at this moment.
    #[inline]
    pub(crate) fn hand_on_mems(&self) {
        if self.has_much_to_hand_on() && !planted!(readers_that_end_hand_nothing_on) {
            self.divide_what_readers_gave_back();
        }
    }

    #[cold]
    fn divide_what_readers_gave_back(&self) {
        let Some(turn) = self.balancing.try_lock() else { return };
        // Another reader may have been here before.
        let (_, dropped_rows) = match self.has_much_to_hand_on() {
            true => self.divide_under(turn, 0),
            false => return,
        };
        if dropped_rows {
            self.freed_heap.ask();
        }
    }

    /// As [`Reading::rebalance`], so that `needed` bytes more can be taken. Answers
    /// whether they can.
    pub(crate) fn rebalance_for(&self, needed: u64) -> bool {
        let (has_room, dropped_rows) = self.divide_for(needed);
        if dropped_rows {
            // Not here: this may be a writer, with the locks that all others wait for.
            self.freed_heap.ask();
        }
        has_room
    }

    /// Divides the memory anew. Answers whether `needed` bytes more can be taken, and
    /// whether so many rows have gone that their heap is worth giving back: the allocator
    /// keeps it otherwise, and 60 MiB were resident that were in no account.
    fn divide_for(&self, needed: u64) -> (bool, bool) {
        let first = self.divide_under(self.balancing.lock(), needed);
        // A reader that gave back memory meanwhile found the lock taken, and left it to this
        // thread. A writer leaves it to the flush of what it writes.
        if needed > 0 || !self.has_much_to_hand_on() {
            return first;
        }
        let (has_room, dropped_rows) = self.divide_under(self.balancing.lock(), 0);
        (has_room, dropped_rows || first.1)
    }

    /// Two at once could leave the caches with parts of different divisions: hence `_turn`.
    fn divide_under(&self, _turn: MutexGuard<'_, ()>, needed: u64) -> (bool, bool) {
        let (worth, capacity) = (&self.row_cache_worth, self.row_cache.capacity_bytes());
        let row_cache = match (worth.pays(), worth.is_tried()) {
            (true, true) => RowCacheUse::Asked { capacity },
            (true, false) => RowCacheUse::Untried,
            (false, _) if !self.row_cache.is_empty() => RowCacheUse::Leaving { capacity },
            (false, _) => RowCacheUse::Aside,
        };
        let shares = self.budget.divide(row_cache, needed);
        // Nobody may have divided while they came.
        let rows_before = self.row_cache.used_bytes();
        self.row_cache.set_capacity(shares.row_cache);
        // The row cache itself takes a little even without rows.
        let rows = self.row_cache.used_bytes();
        let most = |of: &AtomicU64| rows_before.max(rows).max(of.load(Ordering::Relaxed));
        let (high, kept) = (most(&self.rows_high_bytes), most(&self.rows_kept_bytes));
        let all_gone = self.row_cache.is_empty();
        let least = match all_gone {
            true => DROPPED_ROWS_BYTES / 32,
            false => DROPPED_ROWS_BYTES.max(kept / DROPPED_ROWS_PART),
        };
        let dropped_rows = kept - rows >= least;
        self.rows_kept_bytes.store(if dropped_rows { rows } else { kept }, Ordering::Relaxed);
        // Rows that go lie between others: hardly a page becomes free before the last goes.
        let charged = if all_gone { rows } else { high };
        self.rows_high_bytes.store(charged, Ordering::Relaxed);
        let beyond = charged.saturating_sub(shares.row_cache);
        self.block_cache.set_capacity(shares.block_cache.saturating_sub(beyond));
        self.tables.fit();
        self.note_what_is_held(rows);
        (self.budget.has_room(needed), dropped_rows)
    }

    /// Takes what a write needs from the block cache, if that is little: a division of all
    /// would take milliseconds, and others wait for the locks of who writes. The next flush
    /// divides anew when it has ended. Answers whether there is room now.
    fn take_from_blocks(&self, needed: u64) -> bool {
        let _turn = self.balancing.lock();
        let capacity = self.block_cache.capacity_bytes();
        // Open tables have half of it at most: their part is for a division to say.
        let most = (capacity / 4).min(MOST_FROM_BLOCKS);
        // A chunk more, or the next write would be back for a few bytes.
        let take_back = |more| self.budget.take_back(needed + more, most);
        let Some(back) = take_back(CHUNK_BYTES).or_else(|| take_back(0)) else { return false };
        self.block_cache.set_capacity(capacity - back);
        self.note_what_is_held(self.row_cache.used_bytes());
        self.budget.has_room(needed)
    }

    /// Notes what the caches could not give back, with `rows` bytes in the row cache. Under
    /// the lock `balancing`.
    fn note_what_is_held(&self, rows: u64) {
        // Blocks that readers hold stay where they are. What open tables keep is not for
        // writers to wait for: it is bounded where tables are opened.
        let cached = self.block_cache.stats();
        let blocks = cached.block_bytes;
        let blocks = match self.block_cache.excess_bytes() {
            0 => blocks,
            excess => blocks.max(cached.capacity_bytes + excess),
        };
        self.budget.caches_hold((rows + blocks).saturating_sub(IN_PASSING_BYTES));
    }

    /// Notes that the buffers of jobs take `change` bytes more. What they take beyond
    /// the share that is kept for them comes from the caches.
    pub(crate) fn job_buffers(&self, change: i64) {
        let jobs = &self.budget.job_bytes;
        let before = jobs.fetch_add(change as u64, Ordering::Relaxed); // wraps: subtracts
        if before.wrapping_add(change as u64) > self.budget.jobs && !self.budget.has_room(0) {
            self.rebalance();
        }
    }

    /// Whether `needed` bytes more can be taken, with what the caches and the pool of
    /// chunks can give up.
    pub(crate) fn has_room(&self, needed: u64) -> bool {
        self.budget.has_room(needed)
            || self.take_from_blocks(needed)
            || self.rebalance_for(needed)
            || {
                self.chunks.clear();
                self.rebalance_for(needed)
            }
    }
}
