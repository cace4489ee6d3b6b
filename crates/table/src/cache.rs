//! The block cache: one budget of bytes for the blocks of all open tables.
//!
//! There is no map from block to memory. Each open table has an array with a
//! slot for each of its blocks, so a lookup is one load of a slot and takes no
//! lock. The cache itself only keeps the order in which blocks are given up and
//! the sum of what they take, behind a lock that misses take and hits do not.

use crate::block::{Block, Decoded, Kind};
use crate::counters::Counters;
use crate::doorkeeper::{self, Doorkeeper};
use crate::epoch::{Limbo, Pin, pin};
use crate::get::FilterStats;
use crate::sieve::Sieve;
use crate::slots::Slots;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::{TableId, planted};
use tanada_vfs::sync::Mutex;
use tanada_vfs::sync::atomic::AtomicU64;

// What a get counts lies in one cache line.
const HITS: usize = 0; // + kind
const FILTERS: usize = 3; // + answer
const INSERTED: usize = 6;
const EVICTED: usize = 7;
const MISSES: usize = 8; // + kind

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
/// 2. `used` is the sum of the listed blocks' bytes and of what open tables
///    keep resident. The blocks take what that leaves of the capacity, and a quarter
///    of it at least: so `used` exceeds the capacity only by what is resident beyond
///    three quarters, or between an insertion and the evictions that follow it.
pub struct BlockCache {
    /// Guards the list, and every write to a slot.
    order: Mutex<Order>,
    /// Written under the lock; read without it, for statistics and decisions
    /// that may be a moment late (relaxed).
    used_bytes: AtomicU64,
    resident_bytes: AtomicU64,
    capacity_bytes: AtomicU64,
    doorkeeper: Doorkeeper,
    counters: Counters<11>,
}

/// A block on the list: whose it is, and which.
struct Listed {
    slots: Arc<Slots>,
    number: u32,
}

struct Order {
    list: Sieve<Listed>,
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
            order: Mutex::new(Order { list: Sieve::new(), limbo: Limbo::new() }),
            used_bytes: AtomicU64::new(0),
            resident_bytes: AtomicU64::new(0),
            capacity_bytes: AtomicU64::new(capacity_bytes),
            doorkeeper: Doorkeeper::new(capacity_bytes),
            counters: Counters::new(),
        })
    }

    /// Changes the capacity; gives up blocks at once when it shrinks.
    pub fn set_capacity(&self, capacity_bytes: u64) {
        self.capacity_bytes.store(capacity_bytes, Ordering::Relaxed);
        self.shrink();
    }

    /// The capacity in bytes.
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes.load(Ordering::Relaxed)
    }

    /// Bytes in use: blocks, bookkeeping, and resident parts of open tables.
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Statistics.
    pub fn stats(&self) -> BlockCacheStats {
        let sum = |i| self.counters.sum(i);
        BlockCacheStats {
            data_hits: sum(HITS + Kind::Data as usize),
            data_misses: sum(MISSES + Kind::Data as usize),
            index_hits: sum(HITS + Kind::Index as usize),
            index_misses: sum(MISSES + Kind::Index as usize),
            filter_hits: sum(HITS + Kind::Filter as usize),
            filter_misses: sum(MISSES + Kind::Filter as usize),
            insertions: sum(INSERTED),
            evictions: sum(EVICTED),
            blocks: self.order.lock().list.len() as u64,
            used_bytes: self.used_bytes(),
            resident_bytes: self.resident_bytes.load(Ordering::Relaxed),
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

    /// Whether a block that a lookup has just read should be kept: while there is room,
    /// or when it was read before, not long ago.
    pub(crate) fn admits(&self, table: TableId, number: u32, block: &Block) -> bool {
        let cost = listed_bytes(block);
        self.block_bytes() + cost <= self.room_bytes() || self.doorkeeper.knows(table, number)
    }

    /// What blocks may take now.
    fn room_bytes(&self) -> u64 {
        let capacity = self.capacity_bytes();
        let resident = self.resident_bytes.load(Ordering::Relaxed);
        capacity.saturating_sub(resident).max(capacity / LEAST_FOR_BLOCKS)
    }

    /// What blocks take. The two sums are read one after the other: a moment late.
    fn block_bytes(&self) -> u64 {
        let resident = self.resident_bytes.load(Ordering::Relaxed);
        self.used_bytes().saturating_sub(resident)
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
                self.used_bytes.fetch_add(cost, Ordering::Relaxed);
            }
            return winner.clone();
        }
        block.set_node(order.list.push(Listed { slots: slots.clone(), number }, cost));
        slots.slot(number).fill(block.clone());
        self.used_bytes.fetch_add(cost, Ordering::Relaxed);
        drop(order);
        self.counters.bump(INSERTED);
        if self.block_bytes() > self.room_bytes() {
            self.shrink();
        }
        block
    }

    /// Gives up blocks until the rest fits.
    fn shrink(&self) {
        // Blocks are freed after the lock is released; a few at a time, so
        // that others who miss get their turn.
        const AT_ONCE: usize = 16;
        loop {
            let mut evicted = 0;
            let mut order = self.order.lock();
            let Order { list, limbo } = &mut *order;
            while evicted < AT_ONCE && self.block_bytes() > self.room_bytes() {
                let next = list.evict(|node| {
                    let pin = pin();
                    let block = node.item.slots.get(node.item.number, &pin);
                    block.is_some_and(|b| b.take_visited())
                });
                let Some(node) = next else { break };
                self.used_bytes.fetch_sub(node.cost_bytes, Ordering::Relaxed);
                node.item.slots.slot(node.item.number).unlink(limbo);
                evicted += 1;
            }
            let freed = limbo.collect(LIMBO_BLOCKS);
            drop(order);
            drop(freed);
            self.counters.add(EVICTED, evicted as u64);
            if evicted < AT_ONCE {
                return;
            }
        }
    }

    /// Takes note of an opened table's resident bytes.
    pub(crate) fn add_resident(&self, bytes: u64) {
        self.resident_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.block_bytes() > self.room_bytes() {
            self.shrink();
        }
    }

    /// Drops all blocks of a table that no one can read any more.
    pub(crate) fn release(&self, slots: &Slots, resident_bytes: u64) {
        const AT_ONCE: usize = 256;
        for chunk in slots.all().chunks(AT_ONCE) {
            let mut order = self.order.lock();
            let Order { list, limbo } = &mut *order;
            for slot in chunk {
                if let Some(block) = slot.unlink(limbo) {
                    let node = list.remove(block.node());
                    self.used_bytes.fetch_sub(node.cost_bytes, Ordering::Relaxed);
                }
            }
            let freed = limbo.collect(LIMBO_BLOCKS);
            drop(order);
            drop(freed);
        }
        self.resident_bytes.fetch_sub(resident_bytes, Ordering::Relaxed);
        self.used_bytes.fetch_sub(resident_bytes, Ordering::Relaxed);
    }
}

/// What a block costs on the list, with its part of the list and of the doorkeeper.
fn listed_bytes(block: &Block) -> u64 {
    block.cost_bytes() + Sieve::<Listed>::NODE_BYTES + doorkeeper::BYTES_A_BLOCK
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BlockCache").field(&self.stats()).finish()
    }
}

#[cfg(test)]
#[cfg(shuttle)]
mod schedules;
