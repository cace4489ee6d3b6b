//! Carrying out a job.
//!
//! What is written is a function of the job and of the tables that go in: nothing else is
//! read, nothing is changed but the files that are made, and what they are is answered.
//! Whoever asked for it installs that, or removes the files.

use super::cut::Cutter;
use super::job::{CompactionJob, InputTable, JobPart, KeySpan, Outputs, PartOutputs};
use super::job_io::JobIo;
use super::older::Older;
use super::output::{Output, OutputIds, Written};
use super::plan::{Plan, Reason};
use super::visible::{JobTime, Retention};
use crate::tree::merge::MergeCursor;
use crate::tree::run_cursor::RunCursor;
use crate::tree::version::{AddedTable, RunId, TableHandle, TableStore, VersionEdit};
use crate::types::error::Result;
use std::sync::Arc;
use tanada_format::{Corruption, Level, SeqNo, TableId, planted};
use tanada_table::{Cursor, CursorOptions, TableOptions};
use tanada_vfs::Threads;
use tanada_vfs::sync::Mutex;

/// Files synced at once: the disk makes one flush of what waits for it together.
const SYNCS_AT_ONCE: usize = 16;

/// A part of a job is worth a thread from this size on.
const LEAST_PART_BYTES: u64 = 16 << 20;

/// How a flush writes.
#[derive(Clone)]
pub(crate) struct OutputOptions<'a> {
    /// As for [`Retention::new`].
    pub(crate) snapshots: &'a [SeqNo],
    pub(crate) time: JobTime,
    /// Size at which a table is cut; [`super::Config::table_bytes`].
    pub(crate) table_bytes: u64,
    /// Keys to cut at as well; [`super::flush_guards`].
    pub(crate) guards: &'a [Box<[u8]>],
    /// How tables are built, but for their ids.
    pub(crate) table: TableOptions,
    /// An unused number of the table counter; may have to reserve more in the manifest.
    pub(crate) next_id: &'a (dyn Fn() -> Result<TableId> + Sync),
}

/// What a job has done.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobOutput {
    /// What remains to be done: to put the outputs in the inputs' place.
    pub(crate) edit: VersionEdit,
    /// Bytes of the input files.
    pub(crate) bytes_read: u64,
    /// Bytes of the output files.
    pub(crate) bytes_written: u64,
    /// Entries read.
    pub(crate) entries_in: u64,
    /// Entries written.
    pub(crate) entries_out: u64,
}

impl JobOutput {
    /// What these come to together, edits apart.
    pub(crate) fn sum_of(outputs: &[JobOutput]) -> JobOutput {
        let sum = |of: fn(&JobOutput) -> u64| outputs.iter().map(of).sum();
        JobOutput {
            edit: VersionEdit::default(),
            bytes_read: sum(|output| output.bytes_read),
            bytes_written: sum(|output| output.bytes_written),
            entries_in: sum(|output| output.entries_in),
            entries_out: sum(|output| output.entries_out),
        }
    }
}

/// Parts that a plan falls into where so many threads can run at once.
pub(crate) fn parts_worth_it(plan: &Plan, parallelism: usize) -> usize {
    // In the background one thread is enough: the others belong to the writers.
    let threads = match plan.reason {
        Reason::Manual => parallelism,
        _ => 1,
    };
    threads.min((plan.input_bytes() / LEAST_PART_BYTES) as usize).max(1)
}

/// The input tables of a job that was read from bytes, in a store that has them. No I/O.
pub(crate) fn find_inputs(job: &CompactionJob, files: &Arc<TableStore>) -> Inputs {
    let find = |meta: &_| TableHandle::new(Clone::clone(meta), Arc::clone(files));
    job.inputs.iter().map(|run| run.tables.iter().map(find).collect()).collect()
}

/// The tables of each input run of a job.
pub(crate) type Inputs = Vec<Vec<Arc<TableHandle>>>;

/// Carries out `job`, whose input runs are `inputs`, and answers what it has written. The
/// files are durable then. Their names are so after [`TableStore::publish`], which is the
/// database's to call: it alone knows which syncs of its directory have failed.
///
/// Memory: 1 MiB and some percent of a table for what it builds; for what it reads the
/// rest of [`JobIo::share_bytes`], divided among the input runs, though 16 KiB each at
/// least and 512 KiB at most; and one value, if it is longer than that.
///
/// # Errors
/// Of any input, damage included: the job ends, its outputs are removed, its
/// inputs are untouched. Of writing. [`crate::Error::Closed`] when
/// [`JobIo::should_stop`] says so.
pub(crate) fn run_job<T: InputTable + Sync, N: KeySpan + Sync>(
    job: &CompactionJob<T, N>,
    inputs: &Inputs,
    io: &JobIo<'_>,
) -> Result<Outputs> {
    let outcomes: Vec<_> = job.parts.iter().map(|_| Mutex::new(None)).collect();
    let tasks = job.parts.iter().zip(&outcomes).map(|(part, outcome)| {
        let task = move || *outcome.lock() = Some(run_part(job, part, inputs, io));
        Box::new(task) as Box<dyn FnOnce() + Send + '_>
    });
    io.threads.run_all(tasks.collect());
    let mut done = Vec::new();
    let mut failure = None;
    for outcome in outcomes {
        match outcome.into_inner().expect("every task has run") {
            Ok(part) => done.push(part),
            Err(e) => failure = failure.or(Some(e)),
        }
    }
    match failure {
        None => sum_up_parts(job, done, io.files),
        Some(e) => Err(e),
    }
}

/// Merges one part of a job. On an error no output of this part is left.
fn run_part<T: InputTable, N: KeySpan>(
    job: &CompactionJob<T, N>,
    part: &JobPart,
    inputs: &Inputs,
    io: &JobIo<'_>,
) -> Result<Written> {
    // Past the block cache, which a merge would only empty, and with large reads.
    let reading = CursorOptions {
        read_ahead_bytes: read_ahead(io.share_bytes, inputs.len()),
        ..CursorOptions::compaction()
    };
    let cursors = inputs.iter().map(|tables| {
        let cursor = RunCursor::of_part(tables.clone(), reading);
        if inputs.len() > 1 { cursor.on_demand() } else { cursor }
    });
    let mut merged = MergeCursor::new(cursors.collect());
    match &part.start {
        None => merged.seek_first()?,
        Some(start) => merged.seek(start, SeqNo::MAX)?,
    }
    let mut retention = Retention::new(&job.snapshots, job.time);
    let mut cutter = Cutter::new(job.table_bytes, &job.grandparents, job.grandparent_bytes);
    let mut older = Older::new(&job.older);
    let input_bytes = inputs.len() as u64 * u64::from(reading.read_ahead_bytes);
    let ids = OutputIds::Named(part.first_id, part.end_id);
    let mut output = Output::new(io, job.table_options(part.first_id), ids, input_bytes);
    let may_hold = |key: &[u8]| older.may_hold(key);
    output.write(&mut merged, part.end.as_deref(), &mut retention, &mut cutter, may_hold)?;
    output.finish(retention.dropped())
}

/// What a job's builder takes, about: the rest of its share is for reading.
const BUILDER_BYTES: u64 = 1 << 20;
/// Reads shorter than this cost more than the memory is worth.
const LEAST_READ_BYTES: u64 = 16 << 10;

/// Bytes read at once from each of `inputs`: together they stay within the job's share.
fn read_ahead(share_bytes: u64, inputs: usize) -> u32 {
    let most = u64::from(CursorOptions::compaction().read_ahead_bytes);
    if planted!(wide_merge_takes_all_memory) {
        return most as u32;
    }
    let each = share_bytes.saturating_sub(BUILDER_BYTES) / inputs.max(1) as u64;
    // Fits: it is no more than `most`, which has 32 bits.
    each.clamp(LEAST_READ_BYTES, most) as u32
}

/// What all parts have written; nothing is left of it when they have missed anything.
fn sum_up_parts<T: InputTable, N: KeySpan>(
    job: &CompactionJob<T, N>,
    mut parts: Vec<Written>,
    files: &TableStore,
) -> Result<Outputs> {
    check_nothing_was_missed(job, &parts, files)?;
    if planted!(job_syncs_the_directory) {
        files.publish()?;
    }
    let done = |part: &mut Written| PartOutputs { tables: part.take_tables(), counts: part.counts };
    Ok(Outputs { parts: parts.iter_mut().map(done).collect() })
}

/// The inputs gave as many entries as the manifest says they have: else a reader
/// took something unreadable for the end, and the edit would delete it for good.
fn check_nothing_was_missed<T: InputTable, N: KeySpan>(
    job: &CompactionJob<T, N>,
    parts: &[Written],
    files: &TableStore,
) -> Result<()> {
    let found = parts.iter().map(|part| part.counts.read).fold(0, u64::saturating_add);
    let expected = job.entries();
    if found == expected {
        return Ok(());
    }
    let names: Vec<_> = job.metas().map(|meta| format!("{}.sst", meta.id)).collect();
    let what = format!(
        "the tables {} gave {found} entries where the manifest names {expected}",
        names.join(", ")
    );
    let first = job.metas().next().expect("a job has inputs");
    Err(Corruption::new(files.path(first.id), 0, what).into())
}

/// Writes sorted entries, newer than all tables, as a new run of level 0: a flush.
/// `cursor` stands on the first of them. Deletes go of which `may_be_below`, asked for
/// ascending keys, says that no table holds an older version of the key. [`sync_written`] makes the tables durable.
///
/// # Errors
/// As [`run_job`].
pub(crate) fn write_unsynced(
    mut cursor: impl Cursor,
    may_be_below: impl FnMut(&[u8]) -> bool,
    options: &OutputOptions<'_>,
    io: &JobIo<'_>,
) -> Result<Written> {
    let mut retention = Retention::new(options.snapshots, options.time);
    let mut cutter = Cutter::with_guards(options.table_bytes, options.guards);
    let table = TableOptions { written_ms: Some(options.time.clock_ms), ..options.table.clone() };
    let ids = OutputIds::Counter(options.next_id);
    let mut output = Output::new(io, table, ids, 0).synced_later();
    output.write(&mut cursor, None, &mut retention, &mut cutter, may_be_below)?;
    output.finish(retention.dropped())
}

/// Makes tables durable that [`write_unsynced`] has written, their names with them, and
/// answers what is to be done with each: all files at once, then the directory once.
///
/// # Errors
/// Of any file: all of them are removed.
pub(crate) fn sync_written(
    mut written: Vec<Written>,
    files: &TableStore,
    threads: &dyn Threads,
) -> Result<Vec<JobOutput>> {
    let mut unsynced: Vec<_> = written.iter_mut().flat_map(Written::take_unsynced).collect();
    let share = unsynced.len().div_ceil(SYNCS_AT_ONCE).max(1);
    let failure = Mutex::new(None);
    let tasks = unsynced.chunks_mut(share).map(|files| {
        let failure = &failure;
        let task = move || {
            for file in files {
                if let Err(e) = file.sync() {
                    failure.lock().get_or_insert(e);
                    return;
                }
            }
        };
        Box::new(task) as Box<dyn FnOnce() + Send + '_>
    });
    threads.run_all(tasks.collect());
    if let Some(e) = failure.into_inner() {
        return Err(e.into());
    }
    if written.iter().any(|part| !part.is_empty()) {
        files.publish()?;
    }
    Ok(written.into_iter().map(sum_up).collect())
}

/// As [`write_unsynced`] and [`sync_written`], for one keyspace.
#[cfg(test)]
pub(crate) fn write_tables(
    cursor: impl Cursor,
    options: &OutputOptions<'_>,
    io: &JobIo<'_>,
) -> Result<JobOutput> {
    let written = write_unsynced(cursor, |_| true, options, io)?;
    Ok(sync_written(vec![written], io.files, io.threads)?.remove(0))
}

/// What a flush of one keyspace has done: tables for level 0, in a run of their own.
fn sum_up(mut written: Written) -> JobOutput {
    let counts = written.counts;
    let tables = written.take_tables();
    let mut output = JobOutput {
        bytes_written: tables.iter().map(|meta| meta.size_bytes).sum(),
        entries_in: counts.read,
        entries_out: counts.written,
        ..JobOutput::default()
    };
    if let Some(first) = tables.iter().map(|meta| meta.id).min() {
        let added = |meta| AddedTable { level: Level(0), run: RunId(first.0), meta };
        output.edit.added = tables.into_iter().map(added).collect();
    }
    output
}

impl JobOutput {
    /// What a plan that was carried out by a job has done. `next_id` answers an unused
    /// number of the table counter; it is asked when there are no outputs.
    pub(crate) fn of_outputs(
        plan: &Plan,
        outputs: Outputs,
        next_id: impl FnOnce() -> Result<TableId>,
    ) -> Result<JobOutput> {
        let counts = outputs.counts();
        let tables: Vec<_> = outputs.parts.into_iter().flat_map(|part| part.tables).collect();
        // A new run takes the number of its first table.
        let first = tables.iter().map(|meta| meta.id).min();
        let number = first.map_or_else(next_id, Ok)?;
        Ok(JobOutput {
            bytes_read: plan.input_bytes(),
            bytes_written: tables.iter().map(|meta| meta.size_bytes).sum(),
            entries_in: counts.read,
            entries_out: counts.written,
            edit: plan.edit(plan.run(|| number), tables),
        })
    }
}

#[cfg(test)]
pub(super) mod tests;
