//! The block cache: one budget of bytes for the blocks of all open tables.
//!
//! There is no map from block to memory. Each open table has an array with a
//! slot for each of its blocks, so a lookup is one load of a slot and takes no
//! lock. The cache itself only keeps the order in which blocks are given up and
//! the sum of what they take, behind a lock that misses take and hits do not.

mod run_lists;
pub(crate) mod slots;
pub(crate) mod sieve;
mod doorkeeper;
mod admission;

pub(crate) use admission::Turn;

use crate::counters::Counters;
use crate::epoch::{Limbo, Pin, pin};
use crate::get::FilterStats;
use crate::memory::block::{Block, Kind};
use crate::memory::block_memory::{BlockMemory, LONG_BYTES, RunId};
use doorkeeper::Doorkeeper;
use run_lists::RunLists;
use sieve::{Node, Sieve};
use slots::Slots;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::{TableId, planted};
use tanada_vfs::sync::atomic::AtomicU64;
use tanada_vfs::sync::lock_free::yield_now;
use tanada_vfs::sync::{Mutex, MutexGuard};

// What a get counts lies in one cache line.
const HITS: usize = 0; // + kind
const FILTERS: usize = 3; // + answer
const INSERTED: usize = 6;
const EVICTED: usize = 7;
const MISSES: usize = 8; // + kind
const READS_BEGUN: usize = 11;
const READS_ENDED: usize = 12;

/// How the filter of a table answered a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FilterAnswer {
    /// "Never".
    Negative = 0,
    /// "Maybe", and the table had it.
    TruePositive = 1,
    /// "Maybe", and it had not.
    FalsePositive = 2,
}

/// Part of the capacity that is for blocks however much open tables keep resident.
/// Who opens tables bounds that to less; held for longer by readers it can be more.
const LEAST_FOR_BLOCKS: u64 = 4;

/// A cache of decoded blocks, shared by any number of tables.
///
/// 1. A block is in its slot exactly when it is on the list.
/// 2. `blocks` is the sum of the listed blocks' bytes, `resident` of what open tables
///    keep resident; what is used is both. The blocks take what that leaves of the
///    capacity, and a quarter of it at least: so both together exceed the capacity only
///    by what is resident beyond three quarters, or between an insertion and the
///    evictions that follow it.
///
/// Who wants one of the three never takes the difference of the two others: they are read
/// one after the other, and a table that is opened or closed in between would make it
/// less than nothing.
pub struct BlockCache {
    /// Guards the list, and every write to a slot.
    order: Mutex<Order>,
    /// Written under the lock; read without it, for statistics and decisions
    /// that may be a moment late (relaxed).
    blocks_bytes: AtomicU64,
    resident_bytes: AtomicU64,
    capacity_bytes: AtomicU64,
    /// Where the blocks lie.
    memory: Arc<BlockMemory>,
    /// Of the listed blocks, what lies in `memory`.
    listed_bytes: AtomicU64,
    /// Of that, what long blocks take.
    listed_long_bytes: AtomicU64,
    /// Of the capacity, what the listed blocks leave to what is not listed. Without it
    /// they would grow into what was just given back, and runs would go and come.
    withheld_bytes: AtomicU64,
    /// Bytes of long blocks that have been admitted and not yet taken. Sequentially
    /// consistent with the capacity: either who changes that sees them, or who admits them
    /// sees the new one.
    pending_bytes: AtomicU64,
    /// Held by who reads a long block, over the read: others that want the same one find
    /// it when their turn comes, and who waits for room has the next that there is.
    /// Nothing is locked under it but the cache.
    long_reads: Mutex<()>,
    /// How often one who had that turn has waited for room and found none. Relaxed: who
    /// reads it before and behind the lock knows how long others waited meanwhile.
    vain_waits: AtomicU64,
    /// Where the read-ahead of jobs lies: they count it.
    job_memory: Arc<BlockMemory>,
    doorkeeper: Doorkeeper,
    counters: Counters<13>,
}

/// A block on the list: whose it is, and which.
struct Listed {
    slots: Arc<Slots>,
    number: u32,
    /// The run in which it lies, and its bytes there.
    home: Option<(RunId, u64)>,
}

/// Holes in runs that the cache may have above its capacity: this part of it, within
/// bounds. A hole is filled by the next block of its size.
const HOLES_PART: u64 = 32;
const HOLES_BYTES: (u64, u64) = (1 << 20, 8 << 20);

/// Blocks take more again when so much less is taken than allowed: two runs, so that
/// the next one does not make them go again.
const AGAIN_BYTES: u64 = 512 << 10;

/// A reader reads a table's file, and may wait for the disk: see [`BlockCache::begin_read`].
#[must_use]
pub struct ReadInFlight<'c>(&'c BlockCache);

impl Drop for ReadInFlight<'_> {
    fn drop(&mut self) {
        self.0.counters.bump(READS_ENDED);
    }
}

struct Order {
    list: Sieve<Listed>,
    /// Those of the list that lie in `memory`, by run.
    runs: RunLists,
    /// Blocks out of their slots that a reader may still be looking at.
    limbo: Limbo<Block>,
}

/// Blocks that may wait in limbo for readers; more, and who evicts waits for them.
/// Shuttle's readers are few: it tries that, too.
const LIMBO_BLOCKS: usize = if cfg!(shuttle) { 1 } else { 64 };

/// A moment of a [`BlockCache`]. Counters run from its creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the field's own
pub struct BlockCacheStats {
    pub data_hits: u64,
    pub data_misses: u64,
    pub index_hits: u64,
    pub index_misses: u64,
    pub filter_hits: u64,
    pub filter_misses: u64,
    pub insertions: u64,
    pub evictions: u64,
    /// Blocks held.
    pub blocks: u64,
    /// All bytes: blocks, their bookkeeping, and resident parts of tables.
    pub used_bytes: u64,
    /// Of these, what open tables need as long as they are open: top indexes and slots.
    pub resident_bytes: u64,
    /// The others: blocks and their bookkeeping.
    pub block_bytes: u64,
    /// Beside these: blocks that only readers still hold, and holes between blocks.
    pub unlisted_bytes: u64,
    /// Of all these, what lies on huge pages.
    pub huge_page_bytes: u64,
    /// What was copied to huge pages since the cache was made. A cache that shrinks and
    /// grows copies the same parts again: at most 32 bytes for each that it takes anew.
    pub collapsed_bytes: u64,
    pub capacity_bytes: u64,
}

impl BlockCacheStats {
    /// Lookups that found their block, of all three kinds.
    pub fn hits(&self) -> u64 {
        self.data_hits + self.index_hits + self.filter_hits
    }

    /// Lookups that had to read, of all three kinds.
    pub fn misses(&self) -> u64 {
        self.data_misses + self.index_misses + self.filter_misses
    }
}

impl BlockCache {
    /// A cache of `capacity_bytes`. 0 is allowed: then nothing stays.
    pub fn new(capacity_bytes: u64) -> Arc<BlockCache> {
        Arc::new(BlockCache {
            order: Mutex::new(Order {
                list: Sieve::new(),
                runs: RunLists::default(),
                limbo: Limbo::new(),
            }),
            blocks_bytes: AtomicU64::new(0),
            resident_bytes: AtomicU64::new(0),
            capacity_bytes: AtomicU64::new(capacity_bytes),
            memory: Arc::new(BlockMemory::new()),
            listed_bytes: AtomicU64::new(0),
            listed_long_bytes: AtomicU64::new(0),
            withheld_bytes: AtomicU64::new(0),
            pending_bytes: AtomicU64::new(0),
            long_reads: Mutex::new(()),
            vain_waits: AtomicU64::new(0),
            job_memory: Arc::new(BlockMemory::new()),
            doorkeeper: Doorkeeper::new(capacity_bytes),
            counters: Counters::new(),
        })
    }

    /// Where blocks lie that are read for this cache.
    pub(crate) fn memory(&self) -> &Arc<BlockMemory> {
        &self.memory
    }

    /// Where jobs have what they read ahead. Not counted here: whoever has a job's cursors
    /// counts what they may take.
    pub(crate) fn job_memory(&self) -> &Arc<BlockMemory> {
        &self.job_memory
    }

    /// Gives up blocks for what was just taken from the memory and is not listed: a long
    /// block, before its pages are touched.
    pub(crate) fn make_room(&self) {
        if self.excess_bytes() > 0 {
            self.shrink();
        }
    }

    /// Bytes taken for blocks that are not listed, and for holes between blocks.
    pub(crate) fn unlisted_bytes(&self) -> u64 {
        let resident = self.memory.resident_bytes();
        resident.saturating_sub(self.listed_bytes.load(Ordering::Relaxed))
    }

    /// What blocks may take, with holes between them, and what they do take.
    fn allowed_and_taken(&self) -> (u64, u64) {
        let (least, most) = HOLES_BYTES;
        let holes = (self.capacity_bytes() / HOLES_PART).clamp(least, most);
        let pending = self.pending_bytes.load(Ordering::SeqCst);
        (self.room_bytes() + holes, self.block_bytes() + self.unlisted_bytes() + pending)
    }

    /// Bytes above what is allowed: what readers still hold of blocks that went.
    pub fn excess_bytes(&self) -> u64 {
        let (allowed, taken) = self.allowed_and_taken();
        taken.saturating_sub(allowed)
    }

    /// What listed blocks may take now.
    fn limit_bytes(&self) -> u64 {
        self.room_bytes().saturating_sub(self.withheld_bytes.load(Ordering::Relaxed))
    }

    /// Lets the listed blocks have more, when far less is taken than allowed.
    fn withhold_less(&self) {
        let withheld = self.withheld_bytes.load(Ordering::Relaxed);
        if withheld > 0 {
            let (allowed, taken) = self.allowed_and_taken();
            let more = allowed.saturating_sub(taken + AGAIN_BYTES);
            self.withheld_bytes.store(withheld.saturating_sub(more), Ordering::Relaxed);
        }
    }

    /// Changes the capacity; gives up blocks at once when it shrinks.
    pub fn set_capacity(&self, capacity_bytes: u64) {
        let before = self.capacity_bytes.swap(capacity_bytes, Ordering::SeqCst);
        self.shrink();
        if capacity_bytes > before {
            self.memory.tell_of_room();
        }
    }

    /// The capacity in bytes.
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes.load(Ordering::Relaxed)
    }

    /// Whether blocks may lie on huge pages that do not yet. A hint.
    pub fn may_collapse_pages(&self) -> bool {
        self.memory.may_collapse()
    }

    /// How many runs of blocks the cache has given back to the system so far: while they
    /// go, pages that are huge now may have to be made small again soon.
    pub fn released_runs(&self) -> u64 {
        self.memory.released_runs()
    }

    /// Puts some more of the blocks' memory on huge pages: up to 2 MiB. Answers whether there
    /// was any to put. Some 0.5 ms, and at times as long as the system looks for room.
    pub fn collapse_pages(&self) -> bool {
        self.memory.collapse()
    }

    /// Says how a thread is woken that calls [`BlockCache::collapse_pages`]. Without any, blocks
    /// stay on small pages.
    pub fn pages_collapsed_by(&self, wake: impl Fn() + Send + Sync + 'static) {
        self.memory.collapsed_by(Box::new(wake));
    }

    /// Bytes in use: blocks, bookkeeping, and resident parts of open tables.
    pub fn used_bytes(&self) -> u64 {
        self.block_bytes() + self.resident_bytes.load(Ordering::Relaxed)
    }

    /// Statistics. Takes the cache's lock, under which a block is either listed or not:
    /// one that goes meanwhile is counted once.
    pub fn stats(&self) -> BlockCacheStats {
        let sum = |i| self.counters.sum(i);
        let order = self.order.lock();
        let (blocks, block_bytes) = (order.list.len() as u64, self.block_bytes());
        let unlisted_bytes = self.unlisted_bytes();
        drop(order);
        let (huge_page_bytes, collapsed_bytes) = self.memory.huge_and_collapsed_bytes();
        let resident_bytes = self.resident_bytes.load(Ordering::Relaxed);
        BlockCacheStats {
            data_hits: sum(HITS + Kind::Data as usize),
            data_misses: sum(MISSES + Kind::Data as usize),
            index_hits: sum(HITS + Kind::Index as usize),
            index_misses: sum(MISSES + Kind::Index as usize),
            filter_hits: sum(HITS + Kind::Filter as usize),
            filter_misses: sum(MISSES + Kind::Filter as usize),
            insertions: sum(INSERTED),
            evictions: sum(EVICTED),
            blocks,
            used_bytes: block_bytes + resident_bytes,
            resident_bytes,
            block_bytes,
            unlisted_bytes,
            huge_page_bytes,
            collapsed_bytes,
            capacity_bytes: self.capacity_bytes(),
        }
    }

    /// What the filters of all its tables have answered, of those closed since too.
    pub fn filter_stats(&self) -> FilterStats {
        let sum = |answer| self.counters.sum(FILTERS + answer as usize);
        FilterStats {
            negatives: sum(FilterAnswer::Negative),
            true_positives: sum(FilterAnswer::TruePositive),
            false_positives: sum(FilterAnswer::FalsePositive),
        }
    }

    #[inline]
    pub(crate) fn count_filter(&self, answer: FilterAnswer, pin: &Pin) {
        self.counters.add_pinned(pin, FILTERS + answer as usize, 1);
    }

    #[inline]
    pub(crate) fn count_hit(&self, kind: Kind, pin: &Pin) {
        self.counters.add_pinned(pin, HITS + kind as usize, 1);
    }

    #[inline]
    pub(crate) fn count_miss(&self, kind: Kind) {
        self.counters.bump(MISSES + kind as usize);
    }

    /// Counts a reader as reading a table's file until the answer is dropped.
    pub fn begin_read(&self) -> ReadInFlight<'_> {
        self.counters.bump(READS_BEGUN);
        ReadInFlight(self)
    }

    /// Reads of tables' files that readers have begun so far, and how many of these have not
    /// ended; those of jobs do not count. Costs a look at each thread's counters.
    pub fn reads(&self) -> (u64, u64) {
        // In this order: of one that begins in between the begin is seen alone.
        let ended = self.counters.sum(READS_ENDED);
        let begun = self.counters.sum(READS_BEGUN);
        (begun, begun.saturating_sub(ended))
    }

    /// Whether a block that a lookup has just read should be kept: while there is room,
    /// or when it was read before, not long ago.
    pub(crate) fn admits(&self, table: TableId, number: u32, block: &Block) -> bool {
        let cost = listed_bytes(block);
        self.block_bytes() + cost <= self.limit_bytes() || self.doorkeeper.knows(table, number)
    }

    /// What blocks may take now.
    fn room_bytes(&self) -> u64 {
        let capacity = self.capacity_bytes();
        let resident = self.resident_bytes.load(Ordering::Relaxed);
        capacity.saturating_sub(resident).max(capacity / LEAST_FOR_BLOCKS)
    }

    /// What blocks take.
    fn block_bytes(&self) -> u64 {
        self.blocks_bytes.load(Ordering::Relaxed)
    }

    /// Puts a block that was just read into its slot and makes room for it.
    /// When another thread was faster, its block is returned and this one
    /// dropped, so that each slot is paid for once.
    pub(crate) fn insert(&self, slots: &Arc<Slots>, number: u32, block: Block) -> Block {
        let cost = listed_bytes(&block);
        if cost > self.room_bytes() {
            return block;
        }
        let mut order = self.order.lock();
        if let Some(winner) = slots.get(number, &pin()) {
            if planted!(block_cache_pays_twice) {
                self.blocks_bytes.fetch_add(cost, Ordering::Relaxed);
            }
            return winner.clone();
        }
        let home = block.home();
        let place = order.list.push(Listed { slots: slots.clone(), number, home }, cost);
        if let Some((run, bytes)) = home {
            order.runs.join(run, place);
            self.listed_bytes.fetch_add(bytes, Ordering::Relaxed);
            if bytes > LONG_BYTES as u64 {
                self.listed_long_bytes.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        block.set_node(place);
        slots.slot(number).fill(block.clone());
        self.blocks_bytes.fetch_add(cost, Ordering::Relaxed);
        drop(order);
        self.counters.bump(INSERTED);
        self.withhold_less();
        if self.block_bytes() > self.limit_bytes() || self.excess_bytes() > 0 {
            self.shrink();
        }
        block
    }

    /// Gives up blocks until the rest fits.
    fn shrink(&self) {
        if self.excess_bytes() > 0 && !planted!(evicted_memory_not_returned) {
            self.empty_runs();
        }
        // Blocks are freed after the lock is released; a few at a time, so
        // that others who miss get their turn.
        const AT_ONCE: usize = 16;
        loop {
            let mut evicted = 0;
            let mut order = self.order.lock();
            while evicted < AT_ONCE && self.block_bytes() > self.limit_bytes() {
                let Some(node) = next_to_go(&mut order.list) else { break };
                self.give_up(&mut order, &node);
                evicted += 1;
            }
            self.end_turn(order);
            self.counters.add(EVICTED, evicted as u64);
            if evicted < AT_ONCE {
                break;
            }
        }
    }

    /// Lets the cache's lock go, and frees what no reader looks at any more. Waits for readers
    /// where too much waits for them, but not under the lock: they may be about to take it.
    fn end_turn<'a>(&'a self, mut order: MutexGuard<'a, Order>) {
        loop {
            let freed = order.limbo.collect(usize::MAX);
            let must_wait = order.limbo.must_wait(LIMBO_BLOCKS);
            drop(order);
            drop(freed);
            if !must_wait {
                return;
            }
            yield_now();
            order = self.order.lock();
        }
    }

    /// Gives up runs of blocks until enough is given back, those of the blocks that would
    /// go next: single blocks lie here and there. What readers keep of them comes back
    /// later.
    #[cold]
    fn empty_runs(&self) {
        self.memory.give_back_spare();
        let mut excess = self.excess_bytes();
        if excess == 0 {
            return;
        }
        while excess > 0 {
            let mut order = self.order.lock();
            let Some(node) = next_to_go(&mut order.list) else { break };
            let (mut evicted, mut bytes) = (1, node.item.home.map_or(node.cost_bytes, |(_, b)| b));
            self.give_up(&mut order, &node);
            while let Some((run, _)) = node.item.home
                && let Some(mate) = order.runs.first(run)
            {
                let mate = order.list.remove(mate);
                bytes += mate.item.home.map_or(0, |(_, bytes)| bytes);
                self.give_up(&mut order, &mate);
                evicted += 1;
            }
            self.end_turn(order);
            self.counters.add(EVICTED, evicted);
            excess = excess.saturating_sub(bytes);
        }
        let unused = self.room_bytes().saturating_sub(self.block_bytes());
        self.withheld_bytes.store(unused, Ordering::Relaxed);
        self.memory.give_back_spare();
    }

    /// Empties the slot of a block that was taken off the list.
    fn give_up(&self, order: &mut Order, node: &Node<Listed>) {
        let Listed { slots, number, home } = &node.item;
        let block = slots.slot(*number).unlink(&mut order.limbo);
        let place = block.expect("a block on the list is in its slot").node();
        self.note_removed(&mut order.runs, place, node.cost_bytes, *home);
    }

    /// Notes that the block at `place` is no longer on the list.
    fn note_removed(
        &self,
        runs: &mut RunLists,
        place: u32,
        cost_bytes: u64,
        home: Option<(RunId, u64)>,
    ) {
        self.blocks_bytes.fetch_sub(cost_bytes, Ordering::Relaxed);
        if let Some((run, bytes)) = home {
            runs.leave(run, place);
            self.listed_bytes.fetch_sub(bytes, Ordering::Relaxed);
            if bytes > LONG_BYTES as u64 {
                self.listed_long_bytes.fetch_sub(bytes, Ordering::Relaxed);
            }
        }
    }

    /// Takes note of an opened table's resident bytes.
    pub(crate) fn add_resident(&self, bytes: u64) {
        self.resident_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.block_bytes() > self.limit_bytes() {
            self.shrink();
        }
    }

    /// Drops all blocks of a table that no one can read any more.
    pub(crate) fn release(&self, slots: &Slots, resident_bytes: u64) {
        const AT_ONCE: usize = 256;
        for chunk in slots.all().chunks(AT_ONCE) {
            let mut order = self.order.lock();
            let Order { list, runs, limbo } = &mut *order;
            for slot in chunk {
                if let Some(block) = slot.unlink(limbo) {
                    let place = block.node();
                    let node = list.remove(place);
                    self.note_removed(runs, place, node.cost_bytes, node.item.home);
                }
            }
            self.end_turn(order);
        }
        self.resident_bytes.fetch_sub(resident_bytes, Ordering::Relaxed);
    }
}

/// Takes the block that goes first off the list.
fn next_to_go(list: &mut Sieve<Listed>) -> Option<Node<Listed>> {
    list.evict(|node| {
        let pin = pin();
        let block = node.item.slots.get(node.item.number, &pin);
        block.is_some_and(|b| b.take_visited())
    })
}

/// What a block costs on the list, with its part of the list and of the doorkeeper.
fn listed_bytes(block: &Block) -> u64 {
    let listing = Sieve::<Listed>::NODE_BYTES + run_lists::LINK_BYTES;
    block.cost_bytes() + listing + doorkeeper::BYTES_A_BLOCK
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlockCache").field(&self.stats()).finish()
    }
}

#[cfg(test)]
#[cfg(shuttle)]
mod schedules;
