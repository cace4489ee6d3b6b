//! A part of a sorted run, shared by all versions that have it unchanged.
//!
//! A run of tens of thousands of tables is a list of segments. An edit copies the
//! segments that it touches, a few hundred pointers each, and shares all others.
//! Each segment, and each run over its segments, keeps sums and bounds over its
//! tables, so that neither a statistic nor the picker walks the tables for them.

use super::{GARBAGE_PERCENT, TableHandle, TableMeta};
use std::sync::Arc;
use tanada_format::SeqNo;

/// Most tables of a segment. A simulation has trees of a few tables: it makes
/// segments so small that these, too, have borders between them.
pub(super) const MOST_TABLES: usize =
    if cfg!(all(feature = "simulation", not(test))) { 5 } else { 256 };

/// What is known of many tables without a look at each.
///
/// A bound may say less than a walk would find, never something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Bytes of all files.
    pub(crate) size_bytes: u64,
    /// Versions of keys, tombstones included.
    pub(crate) entries: u64,
    /// Entries that delete.
    pub(crate) tombstones: u64,
    /// Oldest write.
    pub(crate) min_seqno: SeqNo,
    /// Newest write.
    pub(crate) max_seqno: SeqNo,
    /// The least of the tables' newest writes.
    pub(crate) first_max_seqno: SeqNo,
    /// When the oldest table was written.
    pub(crate) first_created_ms: u64,
    /// The largest share of [useless](TableMeta::useless) entries in one table, in
    /// thousandths, rounded up.
    pub(crate) most_useless: u64,
    /// The earliest moment at which values that expire make some table [`GARBAGE_PERCENT`]
    /// garbage; `u64::MAX` when none do. What is so without them does not count.
    pub(crate) first_garbage_ms: u64,
    /// The earliest moment at which all of some table has expired; `u64::MAX` when
    /// no table can.
    pub(crate) first_dead_ms: u64,
    /// Bytes of memory that the tree takes for these tables, opened or not.
    pub(crate) memory_bytes: u64,
}

impl Sums {
    /// Those of no table.
    pub(crate) const NONE: Sums = Sums {
        size_bytes: 0,
        entries: 0,
        tombstones: 0,
        min_seqno: SeqNo(u64::MAX),
        max_seqno: SeqNo(0),
        first_max_seqno: SeqNo(u64::MAX),
        first_created_ms: u64::MAX,
        most_useless: 0,
        first_garbage_ms: u64::MAX,
        first_dead_ms: u64::MAX,
        memory_bytes: 0,
    };

    fn of(meta: &TableMeta) -> Sums {
        let quantiles = meta.expiry_quantiles.as_deref().map_or(0, size_of_val);
        // The pointer to the table, its heads, and the counters of its `Arc`.
        let in_runs = 3 * size_of::<u64>() + 2 * size_of::<usize>();
        let handle = size_of::<TableHandle>() + meta.min_key.len() + meta.max_key.len();
        Sums {
            size_bytes: meta.size_bytes,
            entries: meta.entries,
            tombstones: meta.tombstones,
            min_seqno: meta.min_seqno,
            max_seqno: meta.max_seqno,
            first_max_seqno: meta.max_seqno,
            first_created_ms: meta.created_ms,
            most_useless: (meta.useless() * 1000).div_ceil(meta.entries),
            first_garbage_ms: match meta.is_garbage_from(GARBAGE_PERCENT) {
                None | Some(0) => u64::MAX,
                Some(at_ms) => at_ms,
            },
            first_dead_ms: meta.dead_from_ms(),
            memory_bytes: (in_runs + handle + quantiles) as u64,
        }
    }

    /// Those of both.
    pub(crate) fn and(self, other: Sums) -> Sums {
        Sums {
            size_bytes: self.size_bytes + other.size_bytes,
            entries: self.entries + other.entries,
            tombstones: self.tombstones + other.tombstones,
            min_seqno: self.min_seqno.min(other.min_seqno),
            max_seqno: self.max_seqno.max(other.max_seqno),
            first_max_seqno: self.first_max_seqno.min(other.first_max_seqno),
            first_created_ms: self.first_created_ms.min(other.first_created_ms),
            most_useless: self.most_useless.max(other.most_useless),
            first_garbage_ms: self.first_garbage_ms.min(other.first_garbage_ms),
            first_dead_ms: self.first_dead_ms.min(other.first_dead_ms),
            memory_bytes: self.memory_bytes + other.memory_bytes,
        }
    }
}

/// Keys in order, searched by their heads: eight bytes behind the prefix that all of
/// them share, big-endian. They lie in one array, searched without branches; keys are
/// compared in full only where heads tie.
#[derive(Debug)]
pub(super) struct Heads {
    heads: Box<[u64]>,
    /// What all keys begin with.
    prefix: Box<[u8]>,
}

impl Heads {
    /// Of keys in order; at least one.
    pub(super) fn of<'k>(keys: impl DoubleEndedIterator<Item = &'k [u8]> + Clone) -> Heads {
        let (mut from_front, mut from_back) = (keys.clone(), keys.clone());
        let first = from_front.next().unwrap_or_default();
        let last = from_back.next_back().unwrap_or(first);
        // The keys are sorted: what the first and the last share, all share.
        let shared = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let heads = keys.map(|key| head(&key[shared..])).collect();
        Heads { heads, prefix: first[..shared].into() }
    }

    /// Index of the first key `>= key`, their number when there is none. `at(i)` is
    /// key `i`.
    #[inline]
    pub(super) fn lower_bound<'k>(&self, key: &[u8], at: impl Fn(usize) -> &'k [u8]) -> usize {
        // An empty slice points nowhere, and comparing it reads there with no lane
        // enabled: the processor takes a hundred cycles to find that no fault is due.
        let rest = if self.prefix.is_empty() { Some(key) } else { key.strip_prefix(&*self.prefix) };
        let Some(rest) = rest else {
            // `key` leaves the prefix: it sorts before all or behind all.
            return if *key < *self.prefix { 0 } else { self.heads.len() };
        };
        let wanted = head(rest);
        let first = partition(&self.heads, wanted);
        if self.heads.get(first) != Some(&wanted) {
            return first;
        }
        // Equal heads leave the order open. Ties are rare and usually short,
        // but keys with long shared parts could make all tie: search, not walk.
        let ties = self.heads[first..].partition_point(|&h| h == wanted);
        let (mut low, mut high) = (first, first + ties);
        while low < high {
            let middle = low + (high - low) / 2;
            if at(middle) < key { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// Tables in key order, a part of a run.
///
/// Invariants, of who makes it: at least one table, sorted, free of overlap.
pub(super) struct Segment {
    tables: Box<[Arc<TableHandle>]>,
    /// Of the tables' largest keys.
    heads: Heads,
    /// `lows[i]` is the head of table i's smallest key, from its first byte on.
    lows: Box<[u64]>,
    sums: Sums,
}

impl Segment {
    pub(super) fn new(tables: Vec<Arc<TableHandle>>) -> Arc<Segment> {
        Arc::new(Segment {
            heads: Heads::of(tables.iter().map(|t| &*t.meta().max_key)),
            lows: tables.iter().map(|t| head(&t.meta().min_key)).collect(),
            sums: tables.iter().map(|t| Sums::of(t.meta())).fold(Sums::NONE, Sums::and),
            tables: tables.into(),
        })
    }

    #[inline]
    pub(super) fn tables(&self) -> &[Arc<TableHandle>] {
        &self.tables
    }

    pub(super) fn sums(&self) -> Sums {
        self.sums
    }

    pub(super) fn min_key(&self) -> &[u8] {
        &self.tables[0].meta().min_key
    }

    pub(super) fn max_key(&self) -> &[u8] {
        &self.tables[self.tables.len() - 1].meta().max_key
    }

    /// The only table of the segment that may hold `key`. Cost: log2(n) steps in one
    /// array, then usually one or two key comparisons.
    #[inline]
    pub(super) fn find(&self, key: &[u8]) -> Option<&Arc<TableHandle>> {
        let at = self.lower_bound(key);
        let table = self.tables.get(at)?;
        let (low, wanted) = (self.lows[at], head(key));
        (low < wanted || (low == wanted && *table.meta().min_key <= *key)).then_some(table)
    }

    /// Index of the first table whose largest key is `>= key`; the number of
    /// tables when there is none.
    #[inline]
    pub(super) fn lower_bound(&self, key: &[u8]) -> usize {
        self.heads.lower_bound(key, |i| &self.tables[i].meta().max_key)
    }
}

/// The first eight bytes as a number that sorts as they do; short keys are
/// filled with zeros, so that a tie only means "compare in full".
#[inline]
fn head(bytes: &[u8]) -> u64 {
    if let Some(eight) = bytes.first_chunk::<8>() {
        return u64::from_be_bytes(*eight);
    }
    u64::from_be_bytes(std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0)))
}

/// Index of the first head `>= wanted`. The step is a conditional move: which
/// way a lookup turns is a coin toss that no branch predictor guesses.
#[inline]
fn partition(heads: &[u64], wanted: u64) -> usize {
    let mut base = 0;
    let mut size = heads.len();
    while size > 1 {
        let half = size / 2;
        base = if heads[base + half - 1] < wanted { base + half } else { base };
        size -= half;
    }
    base + usize::from(size == 1 && heads[base] < wanted)
}
