//! One compaction as data: all that decides what it writes.
//!
//! A job is a function from its [`CompactionJob`] and the tables that it names to
//! [`Outputs`]: whoever has both may carry it out, in this process or elsewhere, and
//! writes the same bytes. It is made of a [`Plan`](super::Plan), which lives among the
//! tables of an open tree, and of what the tree's owner adds: who reads at which moment,
//! what time it is, how tables are built, and the ids of the tables that come out.
//! It knows no file and no thread: [`run_job`](super::run_job) has these.

mod parts;
mod tables;
mod outputs;
mod frame;
mod codec;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod framed;

pub(crate) use frame::JobBytesError;
pub(crate) use outputs::{EntryCounts, JobHash, Outputs, PartOutputs};
pub(crate) use parts::{JobPart, split_ranges};
pub(crate) use tables::{InputTable, KeySpan, Neighbour};

use super::plan::{InputRun, Plan};
use super::visible::JobTime;
use crate::tree::version::{TableHandle, TableMeta};
use std::collections::HashSet;
use std::sync::Arc;
use tanada_format::{
    DatabaseId, KeyspaceId, Level, MAX_KEY_LEN, MAX_LEVELS, Origin, SeqNo, TableId, WriterEpoch,
};
use tanada_table::{Compression, TableOptions};

/// Parts of a job: more threads than this do not carry one out.
pub(crate) const MAX_PARTS: usize = 64;
/// A data block is cut at 1 MiB at most.
const MAX_BLOCK_SIZE: u32 = 1 << 20;
/// A filter has 64 bits a key at most, in thousandths.
const MAX_FILTER_MILLIBITS: u64 = 64_000;

/// How the tables that come out are built, whichever they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableFormat {
    /// How blocks are compressed.
    pub(crate) compression: Compression,
    /// Data blocks are cut at this many bytes, before compression.
    pub(crate) block_size: u32,
    /// Filter bits for each key, in thousandths; 0 for no filter.
    pub(crate) filter_millibits_per_key: u64,
}

impl TableFormat {
    /// Of tables that are built so.
    pub(crate) fn of(options: &TableOptions) -> TableFormat {
        TableFormat {
            compression: options.compression,
            block_size: options.block_size,
            filter_millibits_per_key: (options.bits_per_key.max(0.0) * 1000.0).round() as u64,
        }
    }
}

/// A merge of tables, decided to the last detail. `T` is what it knows of a table that
/// goes in, `N` of one beside it: [facts](TableMeta) where the job was read from bytes,
/// handles where it is carried out in the process that decided it.
///
/// Invariants, checked by [`CompactionJob::check`] for bytes that come from elsewhere:
/// 1. the inputs are runs, newest first; the tables of a run are sorted and share no key,
///    and no table goes in twice;
/// 2. so are the tables of each run of `older`, and the grandparents;
/// 3. the snapshots are ascending;
/// 4. the parts are all keys, in order, without a gap; the ids of each are its own, and
///    those of no input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CompactionJob<T = TableMeta, N = Neighbour> {
    /// Whose tables come out; bound into them.
    pub(crate) database: DatabaseId,
    /// The epoch in which they are written; bound into them.
    pub(crate) epoch: WriterEpoch,
    /// The keyspace of the tree.
    pub(crate) keyspace: KeyspaceId,
    /// What goes in, newest run first.
    pub(crate) inputs: Vec<InputRun<T>>,
    /// The level that the outputs go to.
    pub(crate) target: Level,
    /// As [`Plan::older`](super::Plan).
    pub(crate) older: Vec<Vec<N>>,
    /// As [`Plan::grandparents`](super::Plan).
    pub(crate) grandparents: Vec<N>,
    /// Bytes of the grandparents that one output may overlap.
    pub(crate) grandparent_bytes: u64,
    /// Size at which an output is cut.
    pub(crate) table_bytes: u64,
    /// How outputs are built.
    pub(crate) format: TableFormat,
    /// Seqnos that somebody reads at, ascending; as for [`Retention::new`](super::visible::Retention::new).
    pub(crate) snapshots: Vec<SeqNo>,
    /// By which times expiry is judged. Tables are written at `clock_ms`, wherever and
    /// whenever that is.
    pub(crate) time: JobTime,
    /// Ranges of keys that may be merged at the same time; one at least.
    pub(crate) parts: Vec<JobPart>,
}

/// A job in the process that decided it: it holds the tables of the tree.
pub(crate) type OwnJob = CompactionJob<Arc<TableHandle>, Arc<TableHandle>>;

/// What a job has beside its plan.
#[derive(Clone, Debug)]
pub(crate) struct JobSettings {
    pub(crate) database: DatabaseId,
    pub(crate) epoch: WriterEpoch,
    pub(crate) keyspace: KeyspaceId,
    pub(crate) format: TableFormat,
    pub(crate) snapshots: Vec<SeqNo>,
    pub(crate) time: JobTime,
}

impl OwnJob {
    /// The job of a plan that merges, in at most so many parts; its outputs have no ids
    /// yet.
    pub(crate) fn new(plan: &Plan, settings: JobSettings, parts: usize) -> OwnJob {
        let JobSettings { database, epoch, keyspace, format, snapshots, time } = settings;
        CompactionJob {
            database,
            epoch,
            keyspace,
            inputs: plan.inputs.clone(),
            target: plan.target,
            older: plan.older.clone(),
            grandparents: plan.grandparents.clone(),
            grandparent_bytes: plan.grandparent_bytes,
            table_bytes: plan.table_bytes,
            format,
            snapshots,
            time,
            parts: split_ranges(plan, parts.clamp(1, MAX_PARTS)),
        }
    }

    /// The tables of the inputs, as [`run_job`](super::run_job) takes them.
    pub(crate) fn held_inputs(&self) -> Vec<Vec<Arc<TableHandle>>> {
        self.inputs.iter().map(|run| run.tables.clone()).collect()
    }
}

impl<T: InputTable, N: KeySpan> CompactionJob<T, N> {
    /// The facts about all inputs.
    pub(crate) fn metas(&self) -> impl Iterator<Item = &TableMeta> {
        self.inputs.iter().flat_map(|run| &run.tables).map(InputTable::meta)
    }

    /// Entries of all inputs.
    pub(crate) fn entries(&self) -> u64 {
        // Whatever they say of themselves.
        self.metas().map(|meta| meta.entries).fold(0, u64::saturating_add)
    }

    /// How the output with this id is to be built.
    pub(super) fn table_options(&self, id: TableId) -> TableOptions {
        TableOptions {
            compression: self.format.compression,
            block_size: self.format.block_size,
            bits_per_key: self.format.filter_millibits_per_key as f64 / 1000.0,
            keyspace: Some(self.keyspace),
            written_ms: Some(self.time.clock_ms),
            epoch: self.epoch,
            ..TableOptions::new(id, self.database)
        }
    }

    /// What is to be said of where the output with this id comes from.
    pub(crate) fn origin_of(&self, id: TableId) -> Option<Box<Origin>> {
        let origin = Origin { database: self.database, epoch: self.epoch, table: id };
        (self.epoch != WriterEpoch(0)).then(|| Box::new(origin))
    }

    /// What is wrong with these facts, if anything is.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        let format = &self.format;
        if self.target.index() >= MAX_LEVELS {
            return Err("a job's target is no level");
        }
        if !(1..=MAX_BLOCK_SIZE).contains(&format.block_size)
            || format.filter_millibits_per_key > MAX_FILTER_MILLIBITS
            || self.table_bytes == 0
        {
            return Err("a job's tables cannot be built so");
        }
        if !self.snapshots.is_sorted() || self.snapshots.last() > Some(&SeqNo::MAX) {
            return Err("a job's snapshots are not ascending");
        }
        self.check_inputs()?;
        for run in self.older.iter().chain([&self.grandparents]) {
            check_run(run.iter().map(|n| (n.min_key(), n.max_key())))?;
        }
        self.check_parts()
    }

    fn check_inputs(&self) -> Result<(), &'static str> {
        if self.inputs.is_empty() || self.inputs.iter().any(|run| run.tables.is_empty()) {
            return Err("a job has nothing to merge");
        }
        let newest_first = |pair: &[InputRun<T>]| {
            (pair[0].level, std::cmp::Reverse(pair[0].run))
                < (pair[1].level, std::cmp::Reverse(pair[1].run))
        };
        if !self.inputs.windows(2).all(newest_first)
            || self.inputs.iter().any(|run| run.level.index() >= MAX_LEVELS)
        {
            return Err("a job's runs are not newest first");
        }
        let mut ids = HashSet::new();
        for run in &self.inputs {
            let metas = || run.tables.iter().map(InputTable::meta);
            check_run(metas().map(|meta| (&*meta.min_key, &*meta.max_key)))?;
            if !metas().all(|meta| ids.insert(meta.id)) {
                return Err("a table goes into a job twice");
            }
        }
        Ok(())
    }

    fn check_parts(&self) -> Result<(), &'static str> {
        let bad_key = |key: &Option<Box<[u8]>>| {
            key.as_ref().is_some_and(|key| !(1..=MAX_KEY_LEN).contains(&key.len()))
        };
        let ends = [self.parts.first().map(|p| &p.start), self.parts.last().map(|p| &p.end)];
        if self.parts.len() > MAX_PARTS || ends.iter().any(|end| *end != Some(&None)) {
            return Err("a job's parts are not all keys");
        }
        for pair in self.parts.windows(2) {
            let (end, start) = (&pair[0].end, &pair[1].start);
            if end != start || end.is_none() || bad_key(end) {
                return Err("a job's parts leave a gap");
            }
            if pair[1].end.is_some() && pair[1].end <= pair[1].start {
                return Err("a job's parts are not ascending");
            }
            if pair[0].end_id > pair[1].first_id {
                return Err("two parts of a job share ids");
            }
        }
        if self.parts.iter().any(|part| part.first_id >= part.end_id) {
            return Err("a part of a job has no ids for its tables");
        }
        let is_output = |id: TableId| self.parts.iter().any(|part| part.has_id(id));
        match self.metas().any(|meta| is_output(meta.id)) {
            true => Err("an output of a job has an input's id"),
            false => Ok(()),
        }
    }
}

/// The tables of one run, by their smallest and largest keys.
fn check_run<'k>(keys: impl Iterator<Item = (&'k [u8], &'k [u8])>) -> Result<(), &'static str> {
    let mut last: Option<&[u8]> = None;
    for (min, max) in keys {
        let bad_len = |key: &[u8]| !(1..=MAX_KEY_LEN).contains(&key.len());
        if bad_len(min) || bad_len(max) || min > max {
            return Err("a table's border keys are impossible");
        }
        if last.is_some_and(|last| last >= min) {
            return Err("tables of one run are not sorted");
        }
        last = Some(max);
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
