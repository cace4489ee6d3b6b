//! One shard: rows in a slab, an index over them, and who must go when it is full.
//!
//! The policy is SIEVE (Zhang et al., NSDI 2024): rows stand in the order in which
//! they came, a hand walks from the oldest to the newest, spares once what was read
//! since it last passed, and takes out the first that was not. A hit only sets a
//! flag, so that it needs no exclusive lock. Before a full shard stands a doorkeeper
//! as in TinyLFU (Einziger et al., TOS 2017), a probation that holds no values: a row
//! is let in only if its fingerprint is remembered from an earlier try. What is read
//! once costs four bytes written, and neither a copy nor anybody's place.

use super::Row;
use super::index::{Index, Slot};
use std::sync::atomic::Ordering::Relaxed;
use tanada_format::{KeyspaceId, planted};
use tanada_table::Value;
use tanada_vfs::sync::unchecked::{AtomicBool, AtomicU32};

const NONE: Slot = Slot::MAX;
/// What the allocator keeps beside each piece of memory, its rounding included.
const ALLOCATOR_BYTES: usize = 16;
/// A row may take this part of its shard at most: large values gain the least here.
const LARGEST_PART: usize = 8;
/// So many rows that were read are spared in a row, for all who want the shard wait.
const MOST_PASSED: usize = 256;

/// What a row is known by.
#[derive(Clone, Copy)]
pub(super) struct Name<'k> {
    pub(super) hash: u64,
    pub(super) keyspace: KeyspaceId,
    pub(super) key: &'k [u8],
}

struct Entry {
    hash: u64,
    keyspace: KeyspaceId,
    /// A `Value` only because that keeps short bytes inside itself.
    key: Value,
    row: Row,
    /// Read since the hand last passed. Relaxed: a hint, whoever sees it when.
    visited: AtomicBool,
    /// The neighbours in the order of coming.
    newer: Slot,
    older: Slot,
}

impl Entry {
    /// What it takes beside its place in the slab.
    fn heap_bytes(&self) -> usize {
        let with_allocator = |bytes| if bytes == 0 { 0 } else { bytes + ALLOCATOR_BYTES };
        with_allocator(self.key.heap_bytes()) + with_allocator(self.row.value.heap_bytes())
    }

    fn is(&self, name: Name<'_>) -> bool {
        let same_space = self.keyspace == name.keyspace || planted!(cache_key_reuse);
        let same_key = match planted!(sixteen_bytes_taken_for_keys) {
            true => self.key[..self.key.len().min(16)] == name.key[..name.key.len().min(16)],
            false => *self.key == *name.key,
        };
        same_space && same_key
    }
}

/// What was taken out of a shard: it only waits to be dropped.
pub(super) struct Taken {
    _some: Vec<Entry>,
    _all: Option<Shard>,
}

/// A place in the slab.
enum Place {
    /// Links to the next free one.
    Free(Slot),
    Filled(Entry),
}

/// The state of a shard, behind its lock.
///
/// Invariants: 1. `used_bytes() <= capacity` after every method, as long as anything
/// is in it; 2. each filled place is in the index once and in the list once;
/// 3. `heap` is the sum of the entries' `heap_bytes`, `len` their number.
pub(super) struct Shard {
    slab: Vec<Place>,
    free: Slot,
    len: usize,
    index: Index,
    newest: Slot,
    oldest: Slot,
    /// The next that the hand judges; `NONE` for the oldest.
    hand: Slot,
    heap: usize,
    capacity: usize,
    /// Fingerprints of what was turned away; a power of two, or none before the slab
    /// has places. Written under a shared lock, hence atomic; Relaxed: a hint.
    doorkeeper: Vec<AtomicU32>,
    evictions: u64,
}

impl Shard {
    pub(super) fn new(capacity: usize) -> Shard {
        Shard {
            slab: Vec::new(),
            free: NONE,
            len: 0,
            index: Index::new(),
            newest: NONE,
            oldest: NONE,
            hand: NONE,
            heap: 0,
            capacity,
            doorkeeper: Vec::new(),
            evictions: 0,
        }
    }

    /// Rows in it.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Rows that had to go for others.
    pub(super) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Memory it holds: slab, index, doorkeeper, keys and values.
    pub(super) fn used_bytes(&self) -> usize {
        self.slab.capacity() * size_of::<Place>()
            + self.index.allocated_bytes()
            + self.doorkeeper.capacity() * size_of::<AtomicU32>()
            + self.heap
    }

    /// The row of this name. Sets a flag at most; needs a shared lock only.
    #[inline]
    pub(super) fn get(&self, name: Name<'_>) -> Option<&Row> {
        let entry = self.entry(self.find(name)?);
        if !entry.visited.load(Relaxed) {
            entry.visited.store(true, Relaxed);
        }
        Some(&entry.row)
    }

    /// Whether a row with a value so long shall come in now; remembers it if it shall
    /// not. Needs a shared lock only.
    pub(super) fn admits(&self, name: Name<'_>, value_len: usize) -> bool {
        // A little too much: short ones lie in their handles.
        let heap = name.key.len() + value_len + 2 * ALLOCATOR_BYTES;
        if heap + size_of::<Place>() > self.capacity / LARGEST_PART {
            return false;
        }
        if self.has_room(heap) || self.doorkeeper.is_empty() {
            return true;
        }
        let place = &self.doorkeeper[name.hash as usize & (self.doorkeeper.len() - 1)];
        let fingerprint = (name.hash >> 24) as u32;
        if place.load(Relaxed) == fingerprint {
            return true;
        }
        place.store(fingerprint, Relaxed);
        false
    }

    /// Puts a row in, or in the place of an older one of that name; what is in the way
    /// goes. `key` is the name's, on its own.
    pub(super) fn insert(&mut self, name: Name<'_>, key: Value, row: Row) {
        if let Some(slot) = self.find(name) {
            if self.entry(slot).row.seqno >= row.seqno {
                return;
            }
            self.take_out(slot);
        }
        let Name { hash, keyspace, .. } = name;
        let visited = AtomicBool::new(false);
        let entry = Entry { hash, keyspace, key, row, visited, newer: NONE, older: NONE };
        let heap = entry.heap_bytes();
        while !self.has_room(heap) {
            if !self.evict_one() {
                return;
            }
            // Rows have become larger: their slab takes what values should.
            if self.len * 4 < self.slab.len() {
                self.repack();
            }
        }
        self.push(entry);
    }

    /// Takes out the row of this name, if it is in.
    pub(super) fn remove(&mut self, name: Name<'_>) {
        if let Some(slot) = self.find(name) {
            self.take_out(slot);
        }
    }

    /// Takes out the oldest rows, `most` of them, to be dropped when the lock is no longer
    /// held; with the last goes what they lay in.
    pub(super) fn take_oldest(&mut self, most: usize) -> Taken {
        if self.len <= most {
            let empty = Shard { evictions: self.evictions, ..Shard::new(self.capacity) };
            let all = std::mem::replace(self, empty);
            return Taken { _some: Vec::new(), _all: Some(all) };
        }
        let mut some = Vec::with_capacity(most);
        for _ in 0..most {
            some.push(self.take_out(self.oldest));
        }
        Taken { _some: some, _all: None }
    }

    /// Takes out everything.
    pub(super) fn clear(&mut self) {
        *self = Shard { evictions: self.evictions, ..Shard::new(self.capacity) };
    }

    /// Holds no more than `capacity` bytes from now on.
    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        if self.used_bytes() <= capacity {
            return;
        }
        // What is left must fit with a slab, a doorkeeper and an index of its own.
        let a_row = size_of::<Place>() + size_of::<AtomicU32>() * 2 + Index::BYTES_A_ROW;
        let least = Index::LEAST_BYTES;
        while self.len * a_row + least + self.heap > capacity && self.evict_one() {}
        self.repack();
    }

    // ---- Inside.

    fn find(&self, name: Name<'_>) -> Option<Slot> {
        self.index.find(name.hash, |slot| self.entry(slot).is(name))
    }

    fn entry(&self, slot: Slot) -> &Entry {
        match &self.slab[slot as usize] {
            Place::Filled(entry) => entry,
            Place::Free(_) => unreachable!("index and list name filled places only"),
        }
    }

    fn entry_mut(&mut self, slot: Slot) -> &mut Entry {
        match &mut self.slab[slot as usize] {
            Place::Filled(entry) => entry,
            Place::Free(_) => unreachable!("index and list name filled places only"),
        }
    }

    /// Whether one more row with so many bytes outside of the slab fits.
    fn has_room(&self, heap: usize) -> bool {
        self.used_bytes() + self.growth_bytes() + heap <= self.capacity
    }

    /// What one more row takes in slab, index and doorkeeper beyond what is allocated.
    fn growth_bytes(&self) -> usize {
        let mut bytes = self.index.growth_bytes();
        if self.free == NONE && self.slab.len() == self.slab.capacity() {
            let places = self.grown();
            let fingerprints = places.next_power_of_two();
            bytes += (places - self.slab.capacity()) * size_of::<Place>();
            bytes += (fingerprints - self.doorkeeper.len()) * size_of::<AtomicU32>();
        }
        bytes
    }

    /// Places after the next growth: a quarter more, so that little is held unused.
    fn grown(&self) -> usize {
        self.slab.capacity() + (self.slab.capacity() / 4).max(16)
    }

    fn reserve(&mut self, places: usize) {
        self.slab.reserve_exact(places - self.slab.len());
        let fingerprints = self.slab.capacity().next_power_of_two();
        if fingerprints > self.doorkeeper.len() {
            // What was remembered is forgotten: rare, and only costs a later admission.
            self.doorkeeper = (0..fingerprints).map(|_| AtomicU32::new(0)).collect();
        }
    }

    /// Adds `entry` as the newest.
    fn push(&mut self, mut entry: Entry) {
        entry.older = self.newest;
        entry.newer = NONE;
        self.heap += entry.heap_bytes();
        let hash = entry.hash;
        let slot = if self.free == NONE {
            if self.slab.len() == self.slab.capacity() {
                self.reserve(self.grown());
            }
            self.slab.push(Place::Filled(entry));
            (self.slab.len() - 1) as Slot
        } else {
            let slot = self.free;
            let place = &mut self.slab[slot as usize];
            let Place::Free(next) = *place else { unreachable!("linked as free") };
            self.free = next;
            *place = Place::Filled(entry);
            slot
        };
        self.index.insert(hash, slot);
        match self.newest {
            NONE => self.oldest = slot,
            newest => self.entry_mut(newest).newer = slot,
        }
        self.newest = slot;
        self.len += 1;
    }

    fn take_out(&mut self, slot: Slot) -> Entry {
        let place = std::mem::replace(&mut self.slab[slot as usize], Place::Free(self.free));
        let Place::Filled(entry) = place else { unreachable!("only filled places are named") };
        self.free = slot;
        match entry.newer {
            NONE => self.newest = entry.older,
            newer => self.entry_mut(newer).older = entry.older,
        }
        match entry.older {
            NONE => self.oldest = entry.newer,
            older => self.entry_mut(older).newer = entry.newer,
        }
        if self.hand == slot {
            self.hand = entry.newer;
        }
        self.index.remove(entry.hash, slot);
        self.heap -= entry.heap_bytes();
        self.len -= 1;
        entry
    }

    /// Lets the hand find one that must go; false when nothing is in. Looks at each
    /// row twice at most: the first look clears what would spare it; and at no more than
    /// [`MOST_PASSED`], then one goes that was used.
    fn evict_one(&mut self) -> bool {
        let mut passed = 0;
        loop {
            let slot = if self.hand == NONE { self.oldest } else { self.hand };
            if slot == NONE {
                return false;
            }
            let entry = self.entry_mut(slot);
            if std::mem::take(entry.visited.get_mut()) && passed < MOST_PASSED {
                passed += 1;
                self.hand = entry.newer;
            } else {
                self.take_out(slot);
                self.evictions += 1;
                return true;
            }
        }
    }

    /// Moves all rows, in their order, to a slab and an index of just their number.
    fn repack(&mut self) {
        let mut packed = Shard { evictions: self.evictions, ..Shard::new(self.capacity) };
        if self.len > 0 {
            packed.reserve(self.len);
        }
        while self.oldest != NONE {
            let entry = self.take_out(self.oldest);
            packed.push(entry);
        }
        *self = packed;
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        assert!(self.len == 0 || self.used_bytes() <= self.capacity);
        let (mut seen, mut heap, mut slot, mut older) = (0, 0, self.oldest, NONE);
        while slot != NONE {
            let entry = self.entry(slot);
            assert_eq!(entry.older, older);
            let Entry { hash, keyspace, .. } = *entry;
            assert_eq!(self.find(Name { hash, keyspace, key: &entry.key }), Some(slot));
            (seen, heap) = (seen + 1, heap + entry.heap_bytes());
            (older, slot) = (slot, entry.newer);
        }
        assert_eq!((seen, heap, older), (self.len, self.heap, self.newest));
    }
}
