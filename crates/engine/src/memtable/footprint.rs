//! What entries will take in a MemTable, before they are in one.
//!
//! Writers are admitted by it, and a replayed record is, so it must not say less than
//! what the arena then grows by; but for what a chunk is rounded up by, which is taken
//! once a MemTable and counted as soon as it is.

use super::arena::MAX_CHUNK_BYTES;
use super::entry::MOST_OVERHEAD_BYTES;
use super::key_filter::{FIRST_KEYS, KeyFilter};
use super::node::{INNER_BYTES, LEAF_BYTES, SLOTS};
use super::{ChunkPool, MemTable};
use std::sync::Arc;

/// Least bytes of a leaf that is full, its entries included.
const FULL_LEAF_BYTES: u64 = (LEAF_BYTES + SLOTS * 24) as u64;

/// What the MemTables of a database cost beside their entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed {
    /// Of one that has anything in it.
    table: u64,
    /// Of its filter, which it has from so many keys on.
    filter: u64,
}

impl Fixed {
    /// Of those that take their chunks from `pool`.
    pub(crate) fn of(pool: &Arc<ChunkPool>) -> Fixed {
        let table = MemTable::new(Arc::clone(pool)).size_bytes() as u64;
        Fixed { table, filter: KeyFilter::bytes_for(pool.max_bytes()) as u64 }
    }
}

/// How MemTables grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Growth {
    /// By entries, nodes, filters.
    pub(crate) bytes: u64,
    /// By chunks that are not full, at most.
    pub(crate) rounding_bytes: u64,
}

impl Growth {
    pub(crate) fn most_bytes(self) -> u64 {
        self.bytes + self.rounding_bytes
    }
}

/// Entries that go into one MemTable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    entries: u64,
    bytes: u64,
    /// The longest of those that share chunks: what a change of chunks leaves unused is
    /// shorter.
    longest: u64,
}

impl Footprint {
    #[inline]
    pub(crate) fn add(&mut self, key_len: usize, value_len: usize) {
        // With what only some entries have: an expiry, and older versions behind them.
        let bytes = (MOST_OVERHEAD_BYTES + key_len + value_len).next_multiple_of(8) as u64;
        self.entries += 1;
        self.bytes += bytes;
        if bytes <= MAX_CHUNK_BYTES as u64 / 4 {
            self.longest = self.longest.max(bytes);
        }
    }

    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    pub(crate) fn join(&mut self, other: &Footprint) {
        self.entries += other.entries;
        self.bytes += other.bytes;
        self.longest = self.longest.max(other.longest);
    }

    /// Bytes that they add to a MemTable that has room in its last chunk, the leaves
    /// that they split beside those of [`splits_bytes`] included.
    #[inline]
    pub(crate) fn growth_bytes(&self) -> u64 {
        // A leaf is split when it is full, and its halves take half of that many more
        // before they are.
        let half = SLOTS as u64 / 2;
        let leaves = (self.entries / half + 1).min(self.entries);
        let nodes = leaves * LEAF_BYTES as u64 + (leaves / half + 1) * INNER_BYTES as u64;
        let pieces = self.bytes + nodes;
        let until_a_change = MAX_CHUNK_BYTES as u64 - self.longest;
        if pieces < until_a_change {
            return pieces;
        }
        pieces + pieces / until_a_change * self.longest
    }

    /// Bytes that they add to a MemTable that holds `entries` (none: it is new), with
    /// what its chunks, which double from a small one on, may be larger than what they
    /// hold.
    pub(crate) fn growth(&self, entries: u64, fixed: Fixed) -> Growth {
        let growth = self.growth_bytes();
        let table = if entries == 0 { fixed.table } else { 0 };
        let first_keys = FIRST_KEYS as u64;
        let gets_filter = entries < first_keys && entries + self.entries >= first_keys;
        let filter = if gets_filter { fixed.filter } else { 0 };
        let rounding_bytes = growth.min(MAX_CHUNK_BYTES as u64);
        Growth { bytes: table + filter + growth, rounding_bytes }
    }
}

/// Most bytes that so many entries take besides where they go into leaves that were full
/// before: none is left full by it, and MemTables of `held` bytes have only so many.
#[inline]
pub(crate) fn splits_bytes(entries: u64, held: u64) -> u64 {
    const SPLIT_BYTES: u64 = (LEAF_BYTES + INNER_BYTES / 16) as u64;
    entries.min(held / FULL_LEAF_BYTES) * SPLIT_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memtable::WriterToken;
    use tanada_format::{EntryRef, SeqNo, ValueKind};

    /// What a change of chunks, and the last chunk, may take more than was foretold.
    const ROUNDING: u64 = MAX_CHUNK_BYTES as u64 * 5 / 4;

    /// Inserts keys of `numbers` with values of this length, and answers by how much the
    /// MemTable grew and what had been foretold.
    fn grown(
        table: &MemTable,
        token: &mut WriterToken,
        numbers: impl Iterator<Item = u64>,
        key_len: usize,
        value: &[u8],
    ) -> (u64, u64) {
        let before = table.size_bytes() as u64;
        let mut footprint = Footprint::default();
        let mut seqno = table.max_seqno().0;
        for number in numbers {
            let mut key = number.to_be_bytes().to_vec();
            key.resize(key_len.max(8), 7);
            seqno += 1;
            let (kind, expires_at_ms) = (ValueKind::Put, number % 2);
            let entry = EntryRef { key: &key, seqno: SeqNo(seqno), kind, expires_at_ms, value };
            footprint.add(key.len(), value.len());
            table.insert(token, entry);
        }
        let foretold = footprint.growth_bytes() + splits_bytes(footprint.entries, before);
        (table.size_bytes() as u64 - before, foretold)
    }

    fn scattered(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    #[test]
    fn a_memtable_never_grows_by_more_than_was_foretold() {
        let most = if cfg!(miri) { 100 } else { 100_000 };
        let value = vec![1; 3 << 20];
        for (count, key_len, value_len) in [
            (most, 8, 0),
            (most, 8, 5),
            (most / 10, 8, 100),
            (most / 100, 60_000, 5),
            (most / 100, 8, 4_000),
            (40, 8, 300 << 10),
            (40, 8, 511 << 10),
            (3, 8, 3 << 20),
            (1, 8, 1),
        ] {
            for sorted in [false, true] {
                let (table, mut token) = (
                    MemTable::new(ChunkPool::new(0, crate::control::account::Account::new())),
                    WriterToken::new(),
                );
                let value = &value[..value_len];
                let (grown, foretold) = match sorted {
                    true => grown(&table, &mut token, 0..count, key_len, value),
                    false => grown(&table, &mut token, scattered(count), key_len, value),
                };
                let what = format!("{count} of {key_len} + {value_len}, sorted {sorted}");
                assert!(grown <= foretold + ROUNDING, "{what}: {grown}, {foretold} foretold");
                let real = count * (key_len + value_len + 120) as u64;
                assert!(foretold <= real * 3 / 2 + (16 << 10), "{what}: {foretold} for {real}");
            }
        }
    }

    /// Leaves that were filled in order are full, and each of them is split by one key.
    #[test]
    fn an_entry_that_splits_a_full_leaf_was_counted_with_the_leaf() {
        let count = if cfg!(miri) { 1_000 } else { 200_000 };
        let (table, mut token) = (
            MemTable::new(ChunkPool::new(0, crate::control::account::Account::new())),
            WriterToken::new(),
        );
        let keys = (0..count).map(|n| n * 10);
        grown(&table, &mut token, keys, 8, b"");
        let keys = (0..count / 64).map(|n| n * 640 + 5);
        let (grown, foretold) = grown(&table, &mut token, keys, 8, b"");
        assert!(grown <= foretold + ROUNDING, "{grown}, {foretold} foretold");
    }

    #[test]
    fn versions_of_one_key_are_counted_with_their_chain() {
        let count = if cfg!(miri) { 100 } else { 100_000 };
        let (table, mut token) = (
            MemTable::new(ChunkPool::new(0, crate::control::account::Account::new())),
            WriterToken::new(),
        );
        let (grown, foretold) = grown(&table, &mut token, (0..count).map(|_| 1), 8, b"");
        assert!(grown <= foretold + ROUNDING, "{grown}, {foretold} foretold");
    }

    /// A batch over many keyspaces: each gets its first chunk.
    #[test]
    fn many_small_memtables_take_no_more_than_was_foretold_to_the_byte() {
        let pool = ChunkPool::new(2 << 20, crate::control::account::Account::new());
        let fixed = Fixed::of(&pool);
        for (count, value_len) in [(1, 5), (3, 100), (40, 60), (511, 5), (600, 5), (2, 9_000)] {
            let (table, mut token) = (MemTable::new(Arc::clone(&pool)), WriterToken::new());
            let value = vec![1; value_len];
            let mut footprint = Footprint::default();
            (0..count).for_each(|_| footprint.add(8, value_len));
            let foretold = footprint.growth(0, fixed).most_bytes();
            grown(&table, &mut token, scattered(count), 8, &value);
            let taken = table.size_bytes() as u64;
            assert!(taken <= foretold, "{count} of {value_len}: {taken}, {foretold} foretold");
        }
    }
}
