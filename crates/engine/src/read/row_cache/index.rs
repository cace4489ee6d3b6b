//! From a hash to the slot of a row: open addressing with linear probing.
//!
//! Eight bytes a bucket, so that a lookup costs one cache line; what is deleted is
//! closed up again, so that lookups never step over graves. Knows hashes and slot
//! numbers, and not what a row is.

/// Number of a row in its shard's slab.
pub(super) type Slot = u32;

const EMPTY: Slot = Slot::MAX;
const LEAST_BUCKETS: usize = 16;

/// `hash`: the low half of the row's hash, which decides where it belongs.
#[derive(Clone, Copy)]
struct Bucket {
    hash: u32,
    slot: Slot,
}

/// Invariant: between a row's home, `hash & mask`, and its bucket none is empty; and
/// an eighth of the buckets at least is.
pub(super) struct Index {
    /// A power of two, or none at all.
    buckets: Vec<Bucket>,
    len: usize,
}

impl Index {
    /// An index that only grew takes at most so many bytes for each of its rows, and …
    pub(super) const BYTES_A_ROW: usize = 2 * 8 * size_of::<Bucket>() / 7 + 1;
    /// … so many besides.
    pub(super) const LEAST_BYTES: usize = LEAST_BUCKETS * size_of::<Bucket>();

    pub(super) fn new() -> Index {
        Index { buckets: Vec::new(), len: 0 }
    }

    pub(super) fn allocated_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }

    /// Bytes that one more row will take beyond what is allocated.
    pub(super) fn growth_bytes(&self) -> usize {
        if self.is_full() { self.grown() * size_of::<Bucket>() - self.allocated_bytes() } else { 0 }
    }

    fn is_full(&self) -> bool {
        (self.len + 1) * 8 > self.buckets.len() * 7
    }

    fn grown(&self) -> usize {
        (self.buckets.len() * 2).max(LEAST_BUCKETS)
    }

    /// The slot with this hash that `is_it` accepts.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(Slot) -> bool) -> Option<Slot> {
        let mask = self.buckets.len().checked_sub(1)?;
        let mut at = hash as u32 as usize & mask;
        loop {
            let bucket = self.buckets[at];
            if bucket.slot == EMPTY {
                return None;
            }
            if bucket.hash == hash as u32 && is_it(bucket.slot) {
                return Some(bucket.slot);
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds a slot that is not in yet.
    pub(super) fn insert(&mut self, hash: u64, slot: Slot) {
        if self.is_full() {
            let empty = vec![Bucket { hash: 0, slot: EMPTY }; self.grown()];
            let old = std::mem::replace(&mut self.buckets, empty);
            old.into_iter().filter(|b| b.slot != EMPTY).for_each(|b| self.place(b));
        }
        self.place(Bucket { hash: hash as u32, slot });
        self.len += 1;
    }

    fn place(&mut self, bucket: Bucket) {
        let mask = self.buckets.len() - 1;
        let mut at = bucket.hash as usize & mask;
        while self.buckets[at].slot != EMPTY {
            at = (at + 1) & mask;
        }
        self.buckets[at] = bucket;
    }

    /// Takes out a slot that is in.
    pub(super) fn remove(&mut self, hash: u64, slot: Slot) {
        let mask = self.buckets.len() - 1;
        let mut hole = hash as u32 as usize & mask;
        while self.buckets[hole].slot != slot {
            assert!(self.buckets[hole].slot != EMPTY, "only what is in is taken out");
            hole = (hole + 1) & mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let bucket = self.buckets[at];
            if bucket.slot == EMPTY {
                break;
            }
            // It may close the hole unless that lies in front of its home.
            let from_home = at.wrapping_sub(bucket.hash as usize) & mask;
            if from_home >= at.wrapping_sub(hole) & mask {
                self.buckets[hole] = bucket;
                hole = at;
            }
        }
        self.buckets[hole].slot = EMPTY;
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn whatever_goes_in_and_out_a_map_agrees() {
        let mut index = Index::new();
        let mut model: HashMap<Slot, u64> = HashMap::new();
        let mut random = 1u64;
        for step in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Few distinct homes, many of them at the end: long runs that wrap.
            let hash = (random >> 33) % 97 * 0x0fff_fff1;
            let slot = (random >> 50) as Slot % 700;
            match model.remove(&slot) {
                Some(hash) => index.remove(hash, slot),
                None => {
                    index.insert(hash, slot);
                    model.insert(slot, hash);
                }
            }
            if step % 500 == 0 {
                for slot in 0..700 {
                    for hash in (0..97).map(|h| h * 0x0fff_fff1) {
                        let found = index.find(hash, |s| s == slot).is_some();
                        assert_eq!(found, model.get(&slot) == Some(&hash));
                    }
                }
            }
        }
    }
}
