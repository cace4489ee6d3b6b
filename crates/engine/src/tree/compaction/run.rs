//! Carrying out a plan.
//!
//! A job is a function of its plan, the snapshots and the moment it began: it
//! reads nothing else, changes nothing but the files it makes, and answers the
//! edit that would put them into the tree. Whoever asked for it installs that
//! edit, or removes the files.

use super::cut::Cutter;
use super::job_io::JobIo;
use super::older::Older;
use super::output::{Output, Written};
use super::plan::{Method, Plan, Reason};
use super::visible::{JobTime, Retention};
use crate::tree::merge::MergeCursor;
use crate::tree::run_cursor::RunCursor;
use crate::tree::version::{AddedTable, RunId, TableStore, VersionEdit};
use crate::types::error::Result;
use tanada_format::{Corruption, Level, SeqNo, planted};
use tanada_table::{Cursor, CursorOptions};
use tanada_vfs::Threads;
use tanada_vfs::sync::Mutex;

/// Files synced at once: the disk makes one flush of what waits for it together.
const SYNCS_AT_ONCE: usize = 16;

/// A part of a job is worth a thread from this size on.
const LEAST_PART_BYTES: u64 = 16 << 20;

/// How a flush writes.
#[derive(Clone, Debug)]
pub(crate) struct OutputOptions<'a> {
    /// As for [`Retention::new`].
    pub(crate) snapshots: &'a [SeqNo],
    pub(crate) time: JobTime,
    /// Size at which a table is cut; [`super::Config::table_bytes`].
    pub(crate) table_bytes: u64,
    /// Keys to cut at as well; [`super::flush_guards`].
    pub(crate) guards: &'a [Box<[u8]>],
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

/// Carries out `plan` and answers the edit that installs it. The outputs are
/// durable then, names included. A move or a drop does no I/O.
///
/// `snapshots` and `time` as for [`Retention::new`]. Memory: 1 MiB and some percent
/// of a table for what it builds; for what it reads the rest of [`JobIo::share_bytes`],
/// divided among the input runs, though 16 KiB each at least and 512 KiB at most; and one
/// value, if it is longer than that.
///
/// # Errors
/// Of any input, damage included: the job ends, its outputs are removed, its
/// inputs are untouched. Of writing. [`crate::Error::Closed`] when
/// [`JobIo::should_stop`] says so.
pub(crate) fn run_job(
    plan: &Plan,
    snapshots: &[SeqNo],
    time: impl Into<JobTime>,
    io: &JobIo<'_>,
) -> Result<JobOutput> {
    if plan.method != Method::Merge {
        let id = (io.next_id)()?;
        let edit = plan.edit_without_merge(|| id).expect("only a merge needs merging");
        return Ok(JobOutput { edit, ..JobOutput::default() });
    }
    let parts = parts_worth_it(plan, io.threads.parallelism());
    run_in_parts(plan, split_ranges(plan, parts), snapshots, time.into(), io)
}

/// Parts that a job falls into where so many threads can run at once.
fn parts_worth_it(plan: &Plan, parallelism: usize) -> usize {
    // In the background one thread is enough: the others belong to the writers.
    let threads = match plan.reason {
        Reason::Manual => parallelism,
        _ => 1,
    };
    threads.min((plan.input_bytes() / LEAST_PART_BYTES) as usize).max(1)
}

/// Merges all `parts` of a plan at once, and puts them together.
fn run_in_parts(
    plan: &Plan,
    parts: Vec<KeyPart>,
    snapshots: &[SeqNo],
    time: JobTime,
    io: &JobIo<'_>,
) -> Result<JobOutput> {
    let outcomes: Vec<_> = parts.iter().map(|_| Mutex::new(None)).collect();
    let tasks = parts.into_iter().zip(&outcomes).map(|(part, outcome)| {
        let task = move || *outcome.lock() = Some(run_part(plan, part, snapshots, time, io));
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
        None => join_parts(plan, done, io),
        Some(e) => Err(e),
    }
}

/// A part of a plan's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyPart {
    /// First key, inclusive; `None` for all from the first.
    start: Option<Box<[u8]>>,
    /// Behind the last key; `None` for all to the last.
    end: Option<Box<[u8]>>,
}

/// Cuts a plan's keys into at most `parts` ranges of about equal work. The cuts
/// lie where tables begin.
fn split_ranges(plan: &Plan, parts: usize) -> Vec<KeyPart> {
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
    starts.zip(ends).map(|(start, end)| KeyPart { start, end }).collect()
}

/// Merges one part of a plan. On an error no output of this part is left.
fn run_part(
    plan: &Plan,
    part: KeyPart,
    snapshots: &[SeqNo],
    time: JobTime,
    io: &JobIo<'_>,
) -> Result<Written> {
    // Past the block cache, which a merge would only empty, and with large reads.
    let reading = CursorOptions {
        read_ahead_bytes: read_ahead(io.share_bytes, plan.inputs.len()),
        ..CursorOptions::compaction()
    };
    let inputs = plan.inputs.iter().map(|run| {
        let cursor = RunCursor::of_part(run.tables.clone(), reading);
        if plan.inputs.len() > 1 { cursor.on_demand() } else { cursor }
    });
    let mut merged = MergeCursor::new(inputs.collect());
    match &part.start {
        None => merged.seek_first()?,
        Some(start) => merged.seek(start, SeqNo::MAX)?,
    }
    let mut retention = Retention::new(snapshots, time);
    let mut cutter = Cutter::new(plan.table_bytes, &plan.grandparents, plan.grandparent_bytes);
    let mut older = Older::new(&plan.older);
    let input_bytes = plan.inputs.len() as u64 * u64::from(reading.read_ahead_bytes);
    let mut output = Output::new(io, plan.target, time.clock_ms, input_bytes);
    let may_hold = |key: &[u8]| older.may_hold(key);
    output.write(&mut merged, part.end.as_deref(), &mut retention, &mut cutter, may_hold)?;
    output.finish()
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

/// Puts all parts of a plan together and makes their names durable, or removes
/// them.
fn join_parts(plan: &Plan, parts: Vec<Written>, io: &JobIo<'_>) -> Result<JobOutput> {
    check_nothing_was_missed(plan, &parts)?;
    let mut output = complete(parts, io)?;
    let tables: Vec<_> = output.edit.added.drain(..).map(|added| added.meta).collect();
    // A new run takes the number of its first table.
    let first = tables.iter().map(|meta| meta.id).min();
    let number = first.map_or_else(io.next_id, Ok)?;
    output.edit = plan.edit(plan.run(|| number), tables);
    output.bytes_read = plan.input_bytes();
    Ok(output)
}

/// The inputs gave as many entries as the manifest says they have: else a reader
/// took something unreadable for the end, and the edit would delete it for good.
fn check_nothing_was_missed(plan: &Plan, parts: &[Written]) -> Result<()> {
    let found: u64 = parts.iter().map(|part| part.entries_in).sum();
    let expected: u64 = plan.tables().map(|table| table.meta().entries).sum();
    if found == expected {
        return Ok(());
    }
    let names: Vec<_> = plan.tables().map(|table| format!("{}.sst", table.id())).collect();
    let what = format!(
        "the tables {} gave {found} entries where the manifest names {expected}",
        names.join(", ")
    );
    let first = plan.tables().next().expect("a plan has inputs");
    Err(Corruption::new(first.path(), 0, what).into())
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
    let mut output = Output::new(io, Level(0), options.time.clock_ms, 0).synced_later();
    output.write(&mut cursor, None, &mut retention, &mut cutter, may_be_below)?;
    output.finish()
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
    Ok(written.into_iter().map(|part| sum_up(vec![part])).collect())
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

/// Makes the names of all tables durable and sums the parts up.
fn complete(parts: Vec<Written>, io: &JobIo<'_>) -> Result<JobOutput> {
    if parts.iter().any(|part| !part.is_empty()) {
        io.files.publish()?;
    }
    Ok(sum_up(parts))
}

/// Sums parts up, as tables added to level 0 in a run of their own.
fn sum_up(mut parts: Vec<Written>) -> JobOutput {
    let mut output = JobOutput {
        entries_in: parts.iter().map(|part| part.entries_in).sum(),
        entries_out: parts.iter().map(|part| part.entries_out).sum(),
        ..JobOutput::default()
    };
    let tables: Vec<_> = parts.iter_mut().flat_map(Written::take_tables).collect();
    output.bytes_written = tables.iter().map(|meta| meta.size_bytes).sum();
    if let Some(first) = tables.iter().map(|meta| meta.id).min() {
        let added = |meta| AddedTable { level: Level(0), run: RunId(first.0), meta };
        output.edit.added = tables.into_iter().map(added).collect();
    }
    output
}

#[cfg(test)]
mod tests;
