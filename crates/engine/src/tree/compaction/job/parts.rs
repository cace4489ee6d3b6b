//! A job's keys in parts that may be merged at the same time, and the ids of the tables
//! that come out of each.

use super::{CompactionJob, InputTable, KeySpan};
use crate::tree::compaction::plan::Plan;
use crate::tree::version::TableMeta;
use tanada_format::TableId;

/// An output is cut at this share of its size at the earliest: see
/// [`Cutter`](crate::tree::compaction::cut::Cutter).
const LEAST_SHARE: u64 = 8;
/// What an entry takes in a table beside its key and value, at most.
const ENTRY_BYTES: u64 = 32;
/// Ids of one part, whatever its inputs say of themselves.
const MOST_IDS: u64 = 1 << 20;

/// A range of a job's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobPart {
    /// First key, inclusive; `None` for all from the first.
    pub(crate) start: Option<Box<[u8]>>,
    /// Behind the last key; `None` for all to the last.
    pub(crate) end: Option<Box<[u8]>>,
    /// The id of its first output; the others follow.
    pub(crate) first_id: TableId,
    /// Behind the last id that it may give. What is left when it is given is not cut.
    pub(crate) end_id: TableId,
}

impl JobPart {
    /// Whether a table with this id is an output of it.
    pub(crate) fn has_id(&self, id: TableId) -> bool {
        self.first_id <= id && id < self.end_id
    }

    /// Whether a key belongs to it.
    pub(crate) fn has_key(&self, key: &[u8]) -> bool {
        self.start.as_ref().is_none_or(|start| **start <= *key)
            && self.end.as_ref().is_none_or(|end| *key < **end)
    }
}

/// Cuts a plan's keys into at most `parts` ranges of about equal work. The cuts
/// lie where tables begin. None has ids yet.
pub(crate) fn split_ranges(plan: &Plan, parts: usize) -> Vec<JobPart> {
    let mut starts: Vec<(&[u8], u64)> =
        plan.tables().map(|t| (&*t.meta().min_key, t.meta().size_bytes)).collect();
    starts.sort_unstable();
    let share = plan.input_bytes().div_ceil(parts as u64);
    let mut cuts: Vec<Box<[u8]>> = Vec::new();
    let (mut passed, mut last) = (0, starts.first().map(|s| s.0));
    for (key, bytes) in starts {
        if passed >= share * (cuts.len() as u64 + 1) && last != Some(key) {
            cuts.push(key.into());
            last = Some(key);
        }
        passed += bytes;
    }
    let starts = std::iter::once(None).chain(cuts.iter().cloned().map(Some));
    let ends = cuts.iter().cloned().map(Some).chain([None]);
    let (first_id, end_id) = (TableId(0), TableId(0));
    starts.zip(ends).map(|(start, end)| JobPart { start, end, first_id, end_id }).collect()
}

impl<T: InputTable, N: KeySpan> CompactionJob<T, N> {
    /// How many ids its outputs may need, all parts together: as many for each as if all of
    /// its inputs were cut as early as can be.
    pub(crate) fn ids_wanted(&self) -> u64 {
        self.ids_of_a_part() * self.parts.len() as u64
    }

    fn ids_of_a_part(&self) -> u64 {
        let bytes = |meta: &TableMeta| {
            let entries = meta.entries.saturating_mul(ENTRY_BYTES);
            meta.raw_bytes.saturating_add(entries).max(meta.size_bytes)
        };
        let bytes = self.metas().map(bytes).fold(0, u64::saturating_add);
        // The cuts of parts lie where tables begin: one may be larger than the others.
        let parts = self.parts.len() as u64;
        let share = if parts > 1 { bytes / parts * 2 } else { bytes };
        let cuts = share / (self.table_bytes / LEAST_SHARE).max(1);
        cuts.saturating_add(2).min(MOST_IDS)
    }

    /// Gives the outputs the ids from `first` on, [`CompactionJob::ids_wanted`] of them.
    pub(crate) fn number_outputs(&mut self, first: TableId) {
        let ids = self.ids_of_a_part();
        for (n, part) in (0..).zip(&mut self.parts) {
            part.first_id = TableId(first.0 + n * ids);
            part.end_id = TableId(part.first_id.0 + ids);
        }
    }
}
