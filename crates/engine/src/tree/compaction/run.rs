//! Carrying out a plan.
//!
//! A job is a function of its plan, the snapshots and the moment it began: it
//! reads nothing else, changes nothing but the files it makes, and answers the
//! edit that would put them into the tree. Whoever asked for it installs that
//! edit, or removes the files.

use super::cut::Cutter;
use super::job_io::JobIo;
use super::older::Older;
use super::output::Output;
use super::plan::{Method, Plan, Reason};
use super::visible::Retention;
use crate::tree::merge::MergeCursor;
use crate::tree::run_cursor::RunCursor;
use crate::tree::version::{AddedTable, RunId, TableMeta, VersionEdit};
use crate::types::error::Result;
use tanada_format::{Corruption, Level, SeqNo, planted};
use tanada_table::{Cursor, CursorOptions};
use tanada_vfs::sync::Mutex;

/// A part of a job is worth a thread from this size on.
const LEAST_PART_BYTES: u64 = 16 << 20;

/// How a flush writes.
#[derive(Clone, Debug)]
pub(crate) struct OutputOptions<'a> {
    /// The level that receives the tables, as a new run.
    pub(crate) level: Level,
    /// As for [`Retention::new`].
    pub(crate) snapshots: &'a [SeqNo],
    /// Wall-clock milliseconds.
    pub(crate) now_ms: u64,
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

/// Carries out `plan` and answers the edit that installs it. The outputs are
/// durable then, names included. A move or a drop does no I/O.
///
/// `snapshots` and `now_ms` as for [`Retention::new`]. Memory: 1 MiB and some percent
/// of a table for what it builds; for what it reads the rest of [`JobIo::share_bytes`],
/// divided among the input runs, though 16 KiB each at least and 512 KiB at most.
///
/// # Errors
/// Of any input, damage included: the job ends, its outputs are removed, its
/// inputs are untouched. Of writing. [`crate::Error::Closed`] when
/// [`JobIo::should_stop`] says so.
pub(crate) fn run_job(
    plan: &Plan,
    snapshots: &[SeqNo],
    now_ms: u64,
    io: &JobIo<'_>,
) -> Result<JobOutput> {
    if plan.method != Method::Merge {
        let id = (io.next_id)()?;
        let edit = plan.edit_without_merge(|| id).expect("only a merge needs merging");
        return Ok(JobOutput { edit, ..JobOutput::default() });
    }
    let parts = parts_worth_it(plan, io.threads.parallelism());
    run_in_parts(plan, split_ranges(plan, parts), snapshots, now_ms, io)
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
    now_ms: u64,
    io: &JobIo<'_>,
) -> Result<JobOutput> {
    let outcomes: Vec<_> = parts.iter().map(|_| Mutex::new(None)).collect();
    let tasks = parts.into_iter().zip(&outcomes).map(|(part, outcome)| {
        let task = move || *outcome.lock() = Some(run_part(plan, part, snapshots, now_ms, io));
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
        Some(e) => {
            discard(&done, io);
            Err(e)
        }
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

/// Tables that hold the merged entries of one part of a plan.
#[derive(Debug)]
struct PartOutput {
    tables: Vec<TableMeta>,
    entries_in: u64,
    entries_out: u64,
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
    now_ms: u64,
    io: &JobIo<'_>,
) -> Result<PartOutput> {
    // Past the block cache, which a merge would only empty, and with large reads.
    let reading = CursorOptions {
        read_ahead_bytes: read_ahead(io.share_bytes, plan.inputs.len()),
        ..CursorOptions::compaction()
    };
    let inputs = plan.inputs.iter().map(|run| RunCursor::of_part(run.tables.clone(), reading));
    let mut merged = MergeCursor::new(inputs.collect());
    match &part.start {
        None => merged.seek_first()?,
        Some(start) => merged.seek(start, SeqNo::MAX)?,
    }
    let mut retention = Retention::new(snapshots, now_ms);
    let mut cutter = Cutter::new(plan.table_bytes, &plan.grandparents, plan.grandparent_bytes);
    let mut older = Older::new(&plan.older);
    let input_bytes = plan.inputs.len() as u64 * u64::from(reading.read_ahead_bytes);
    let mut output = Output::new(io, plan.target, now_ms, input_bytes);
    let may_hold = |key: &[u8]| older.may_hold(key);
    output.write(&mut merged, part.end.as_deref(), &mut retention, &mut cutter, may_hold)?;
    let (entries_in, entries_out) = (output.entries_in, output.entries_out);
    Ok(PartOutput { tables: output.finish()?, entries_in, entries_out })
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
fn join_parts(plan: &Plan, parts: Vec<PartOutput>, io: &JobIo<'_>) -> Result<JobOutput> {
    if let Err(e) = check_nothing_was_missed(plan, &parts) {
        discard(&parts, io);
        return Err(e);
    }
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
fn check_nothing_was_missed(plan: &Plan, parts: &[PartOutput]) -> Result<()> {
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

/// Removes the tables of parts whose job has failed.
fn discard(parts: &[PartOutput], io: &JobIo<'_>) {
    let tables = parts.iter().flat_map(|part| &part.tables);
    tables.for_each(|meta| io.files.discard(meta.id));
}

/// Writes sorted entries, newer than all tables, as a new run: a flush.
/// `cursor` stands on the first of them. The tables are durable when it answers.
///
/// # Errors
/// As [`run_job`].
pub(crate) fn write_tables(
    mut cursor: impl Cursor,
    options: &OutputOptions<'_>,
    io: &JobIo<'_>,
) -> Result<JobOutput> {
    let mut retention = Retention::new(options.snapshots, options.now_ms);
    let mut cutter = Cutter::with_guards(options.table_bytes, options.guards);
    let mut output = Output::new(io, options.level, options.now_ms, 0);
    output.write(&mut cursor, None, &mut retention, &mut cutter, |_| true)?;
    let (entries_in, entries_out) = (output.entries_in, output.entries_out);
    let part = PartOutput { tables: output.finish()?, entries_in, entries_out };
    let mut output = complete(vec![part], io)?;
    for added in &mut output.edit.added {
        added.level = options.level;
    }
    Ok(output)
}

/// Sums parts up, as tables added to level 0 in a run of their own.
fn complete(parts: Vec<PartOutput>, io: &JobIo<'_>) -> Result<JobOutput> {
    if parts.iter().any(|part| !part.tables.is_empty())
        && let Err(e) = io.files.publish()
    {
        discard(&parts, io);
        return Err(e);
    }
    let mut output = JobOutput {
        entries_in: parts.iter().map(|part| part.entries_in).sum(),
        entries_out: parts.iter().map(|part| part.entries_out).sum(),
        ..JobOutput::default()
    };
    let tables: Vec<_> = parts.into_iter().flat_map(|part| part.tables).collect();
    output.bytes_written = tables.iter().map(|meta| meta.size_bytes).sum();
    if let Some(first) = tables.iter().map(|meta| meta.id).min() {
        let added = |meta| AddedTable { level: Level(0), run: RunId(first.0), meta };
        output.edit.added = tables.into_iter().map(added).collect();
    }
    Ok(output)
}

#[cfg(test)]
mod tests;
