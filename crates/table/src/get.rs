//! What a point lookup is asked with, and what it answers.

use crate::Value;
use crate::index::Handle;
use crate::memory::block::Kind;
use std::cell::Cell;
use tanada_format::{SeqNo, ValueKind};

/// The version of a key that a table holds for a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The value; empty for a delete. Not copied out of the block unless short.
    pub value: Value,
    /// When it was written.
    pub seqno: SeqNo,
    /// What was written.
    pub kind: ValueKind,
    /// Milliseconds since 1970 after which it counts as deleted; 0: never.
    pub expires_at_ms: u64,
}

/// Whether a lookup may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ReadMode {
    /// Blocks that are not in memory are read.
    #[default]
    MayRead,
    /// [`crate::Error::WouldBlock`] instead of reading.
    MemoryOnly,
}

/// Whether blocks that had to be read stay in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CacheUse {
    /// They stay, and reading marks them as in use.
    #[default]
    Fill,
    /// They do not, and blocks that are there are read without marking them:
    /// for compaction, which reads everything once.
    Bypass,
}

/// How to look a key up.
#[derive(Clone, Copy, Debug, Default)]
pub struct GetContext<'a> {
    /// Whether to wait for the disk.
    pub mode: ReadMode,
    /// Whether to keep what was read.
    pub cache: CacheUse,
    /// Where to note what happened, for `explain`. Costs nothing when absent.
    pub trace: Option<&'a Cell<GetTrace>>,
}

impl GetContext<'_> {
    /// Notes something, if anyone wants to know.
    #[inline]
    pub(crate) fn note(&self, change: impl FnOnce(&mut GetTrace)) {
        if let Some(cell) = self.trace {
            let mut trace = cell.get();
            change(&mut trace);
            cell.set(trace);
        }
    }
}

/// What one lookup in one table met, in order. `None`: not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GetTrace {
    /// The filter said "maybe" (`true`) or "never" (`false`).
    pub filter_maybe: Option<bool>,
    /// The filter was in the cache.
    pub filter_cached: Option<bool>,
    /// The index partition was in the cache.
    pub index_cached: Option<bool>,
    /// The data block was in the cache.
    pub data_cached: Option<bool>,
    /// File offset of the data block.
    pub data_offset: Option<u64>,
    /// A version of the key was found.
    pub found: bool,
}

/// What a table says of a key without reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InMemory {
    /// No version that the reader sees is here.
    Absent,
    /// This is the newest one that the reader sees.
    Found(Found),
    /// A block that is needed is not in memory.
    Unknown(Missing),
}

/// A block that a lookup needs and that is not in memory: where
/// [`crate::Table::get_from`] goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub(crate) kind: Kind,
    pub(crate) number: u32,
    pub(crate) handle: Handle,
    /// A filter has said "maybe".
    pub(crate) filtered: bool,
}

/// What the filters of a cache's tables have answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterStats {
    /// "Never".
    pub negatives: u64,
    /// "Maybe", and the table had a version of the key for the reader.
    pub true_positives: u64,
    /// "Maybe", and it had none.
    pub false_positives: u64,
}

impl FilterStats {
    /// Times the filter was asked by a lookup that came to its end.
    pub fn probes(&self) -> u64 {
        self.negatives + self.true_positives + self.false_positives
    }
}

impl std::ops::AddAssign for FilterStats {
    fn add_assign(&mut self, other: FilterStats) {
        self.negatives += other.negatives;
        self.true_positives += other.true_positives;
        self.false_positives += other.false_positives;
    }
}
