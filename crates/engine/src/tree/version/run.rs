//! A sorted run: tables in key order that do not overlap.
//!
//! A lookup finds the one table that may hold a key without touching the
//! tables: the largest keys' heads (eight bytes behind the prefix that all of
//! them share, big-endian) lie in one array, searched without branches; keys
//! are compared in full only where heads tie.

use super::TableHandle;
use std::ops::Bound;
use std::sync::Arc;

/// Places a run among the runs of its level: the higher, the newer.
///
/// Numbers come from the same counter as table ids (a new run takes the id of
/// its first table), so a run that is created later stands before all older ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunId(pub(crate) u64);

/// Tables in key order.
///
/// Invariants, checked at construction:
/// 1. At least one table.
/// 2. Each table's largest key is smaller than the next one's smallest: no two
///    tables share a user key, so all versions of a key lie in one table.
pub(crate) struct Run {
    id: RunId,
    tables: Vec<Arc<TableHandle>>,
    /// `heads[i]` is the head of table i's largest key behind `prefix`.
    heads: Box<[u64]>,
    /// `lows[i]` is the head of table i's smallest key, from its first byte on.
    lows: Box<[u64]>,
    /// What all largest keys begin with.
    prefix: Box<[u8]>,
    size_bytes: u64,
}

impl Run {
    /// A run of `tables`, which it sorts. Cost: n log n key comparisons.
    ///
    /// # Errors
    /// A sentence, when the tables overlap or there is none.
    pub(crate) fn new(id: RunId, mut tables: Vec<Arc<TableHandle>>) -> Result<Run, String> {
        tables.sort_unstable_by(|a, b| a.meta().min_key.cmp(&b.meta().min_key));
        for pair in tables.windows(2) {
            if pair[0].meta().max_key >= pair[1].meta().min_key {
                return Err(format!("tables {:?} and {:?} of one run overlap", pair[0], pair[1]));
            }
        }
        let (Some(first), Some(last)) = (tables.first(), tables.last()) else {
            return Err("a run has no table".into());
        };
        // The keys are sorted: what the first and the last share, all share.
        let (first, last) = (&first.meta().max_key, &last.meta().max_key);
        let shared = first.iter().zip(last.iter()).take_while(|(a, b)| a == b).count();
        let prefix: Box<[u8]> = first[..shared].into();
        let heads = tables.iter().map(|t| head(&t.meta().max_key[shared..])).collect();
        let lows = tables.iter().map(|t| head(&t.meta().min_key)).collect();
        let size_bytes = tables.iter().map(|t| t.meta().size_bytes).sum();
        Ok(Run { id, tables, heads, lows, prefix, size_bytes })
    }

    /// Its place among the runs of its level.
    pub(crate) fn id(&self) -> RunId {
        self.id
    }

    /// The tables in key order.
    pub(crate) fn tables(&self) -> &[Arc<TableHandle>] {
        &self.tables
    }

    /// Bytes of all files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Smallest user key of the run.
    pub(crate) fn min_key(&self) -> &[u8] {
        &self.tables[0].meta().min_key
    }

    /// Largest user key of the run.
    pub(crate) fn max_key(&self) -> &[u8] {
        &self.tables[self.tables.len() - 1].meta().max_key
    }

    /// The only table that may hold `key`. Cost: log2(n) steps in one array,
    /// then usually one or two key comparisons.
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Option<&Arc<TableHandle>> {
        let at = self.lower_bound(key);
        let table = self.tables.get(at)?;
        let (low, wanted) = (self.lows[at], head(key));
        (low < wanted || (low == wanted && *table.meta().min_key <= *key)).then_some(table)
    }

    /// Index of the first table whose largest key is `>= key`; the number of
    /// tables when there is none. Where a forward scan from `key` begins.
    #[inline]
    pub(crate) fn lower_bound(&self, key: &[u8]) -> usize {
        // An empty slice points nowhere, and comparing it reads there with no lane
        // enabled: the processor takes a hundred cycles to find that no fault is due.
        let rest = if self.prefix.is_empty() { Some(key) } else { key.strip_prefix(&*self.prefix) };
        let Some(rest) = rest else {
            // `key` leaves the prefix: it sorts before all or behind all.
            return if *key < *self.prefix { 0 } else { self.tables.len() };
        };
        let wanted = head(rest);
        let mut at = partition(&self.heads, wanted);
        if self.heads.get(at) != Some(&wanted) {
            return at;
        }
        // Equal heads leave the order open. Ties are rare and usually short,
        // but keys with long shared parts could make all tie: search, not walk.
        let ties = self.heads[at..].partition_point(|&h| h == wanted);
        at += self.tables[at..at + ties].partition_point(|t| *t.meta().max_key < *key);
        at
    }

    /// Index behind the last table whose smallest key is `< key`. Where a
    /// backward scan from `key` (exclusive) begins, one before it.
    pub(crate) fn upper_bound(&self, key: &[u8]) -> usize {
        let at = self.lower_bound(key);
        match self.tables.get(at) {
            Some(table) if *table.meta().min_key < *key => at + 1,
            _ => at,
        }
    }

    /// The tables that may hold keys of the range.
    pub(crate) fn overlapping(
        &self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
    ) -> &[Arc<TableHandle>] {
        let from = match lower {
            Bound::Unbounded => 0,
            Bound::Included(key) => self.lower_bound(key),
            Bound::Excluded(key) => {
                let at = self.lower_bound(key);
                let ends_there = self.tables.get(at).is_some_and(|t| *t.meta().max_key == *key);
                at + usize::from(ends_there)
            }
        };
        let to = match upper {
            Bound::Unbounded => self.tables.len(),
            Bound::Excluded(key) => self.upper_bound(key),
            Bound::Included(key) => {
                let at = self.lower_bound(key);
                let begins = self.tables.get(at).is_some_and(|t| *t.meta().min_key <= *key);
                at + usize::from(begins)
            }
        };
        self.tables.get(from..to).unwrap_or(&[])
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "run {} {:?}", self.id.0, self.tables)
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
