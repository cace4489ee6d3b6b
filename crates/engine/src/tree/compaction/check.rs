//! Whether outputs are what a job must have written: asked by the owner of the tree before
//! the inputs go for them.
//!
//! What a job may not do cannot be seen in its outputs alone: that needs the job again.
//! What can be seen is that no entry is unaccounted for, that no table reaches beyond its
//! part of the keys, the seqnos or the ids, and that each file is the table that is told
//! of. A worker that loses, doubles or misplaces something, or a store that hands out
//! another file, is found so; the inputs stay.

use super::job::{CompactionJob, InputTable, KeySpan, Outputs, PartOutputs};
use super::output::describe;
use crate::tree::version::{TableMeta, TableStore};
use crate::types::error::Result;
use std::fmt;
use tanada_format::{Corruption, SeqNo, TableId, planted};
use tanada_table::{Table, TableSummary};

/// Why outputs are refused. They are to be removed; the inputs are as they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadOutputs {
    /// The parts are not those of the job.
    Parts { found: usize, expected: usize },
    /// The inputs gave another number of entries than the manifest says they have.
    Read { found: u64, expected: u64 },
    /// It is not known of each entry what became of it.
    Lost { read: u64, accounted: u64 },
    /// The tables have another number of entries than were written to them.
    Written { found: u64, expected: u64 },
    /// A table is not one that this part of the job may write.
    Table { id: TableId, what: &'static str },
}

impl fmt::Display for BadOutputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadOutputs::Parts { found, expected } => {
                write!(f, "a compaction of {expected} parts has {found} outcomes")
            }
            BadOutputs::Read { found, expected } => write!(
                f,
                "the inputs of a compaction gave {found} entries where the manifest names {expected}"
            ),
            BadOutputs::Lost { read, accounted } => write!(
                f,
                "of {read} entries that a compaction read, {accounted} were written or dropped"
            ),
            BadOutputs::Written { found, expected } => {
                write!(f, "a compaction wrote {expected} entries, and its tables have {found}")
            }
            BadOutputs::Table { id, what } => {
                write!(f, "a compaction's output {id}.sst {what}")
            }
        }
    }
}

/// Checks what is told of the outputs of `job` against the job. Reads no file. Cost: some
/// comparisons a table.
///
/// # Errors
/// [`BadOutputs`]: the first thing that is wrong.
pub(crate) fn check_outputs<T: InputTable, N: KeySpan>(
    job: &CompactionJob<T, N>,
    outputs: &Outputs,
) -> Result<(), BadOutputs> {
    if planted!(outputs_committed_unchecked) {
        return Ok(());
    }
    let (found, expected) = (outputs.parts.len(), job.parts.len());
    if found != expected {
        return Err(BadOutputs::Parts { found, expected });
    }
    let counts = outputs.counts();
    let expected = job.entries();
    if counts.read != expected {
        return Err(BadOutputs::Read { found: counts.read, expected });
    }
    for part in &outputs.parts {
        check_counts(part)?;
    }
    let seqnos = job.metas().fold((SeqNo::MAX, SeqNo::ZERO), |(min, max), meta| {
        (min.min(meta.min_seqno), max.max(meta.max_seqno))
    });
    let keys = (
        job.metas().map(|meta| &*meta.min_key).min().unwrap_or_default(),
        job.metas().map(|meta| &*meta.max_key).max().unwrap_or_default(),
    );
    let mut last: Option<&TableMeta> = None;
    for (part, outputs) in job.parts.iter().zip(&outputs.parts) {
        let mut last_id = None;
        for table in &outputs.tables {
            let wrong = |what| Err(BadOutputs::Table { id: table.id, what });
            if let Err(what) = table.check() {
                return wrong(what);
            }
            if !part.has_id(table.id) || last_id.is_some_and(|last| last >= table.id) {
                return wrong("has an id that the job did not give it");
            }
            let inside = |key: &[u8]| part.has_key(key) && keys.0 <= key && key <= keys.1;
            if !inside(&table.min_key) || !inside(&table.max_key) {
                return wrong("has keys outside of its part of the job");
            }
            if last.is_some_and(|last| last.max_key >= table.min_key) {
                return wrong("shares keys with the output before it");
            }
            if table.min_seqno < seqnos.0 || table.max_seqno > seqnos.1 {
                return wrong("has writes that no input has");
            }
            if table.origin != job.origin_of(table.id) {
                return wrong("comes from elsewhere");
            }
            if table.created_ms != job.time.clock_ms {
                return wrong("was not written at the time of the job");
            }
            last_id = Some(table.id);
            last = Some(table);
        }
    }
    Ok(())
}

fn check_counts(part: &PartOutputs) -> Result<(), BadOutputs> {
    let PartOutputs { tables, counts } = part;
    if !counts.is_complete() {
        let dropped = counts.superseded.saturating_add(counts.deletes);
        let accounted = dropped.saturating_add(counts.expired).saturating_add(counts.written);
        return Err(BadOutputs::Lost { read: counts.read, accounted });
    }
    let found = tables.iter().map(|table| table.entries).fold(0, u64::saturating_add);
    match found == counts.written {
        true => Ok(()),
        false => Err(BadOutputs::Written { found, expected: counts.written }),
    }
}

/// Opens each output, and checks that it is the table that is told of: its length, its
/// counts and its bounds, and the checksums of all that lies at its end. One or two small
/// reads a table.
///
/// # Errors
/// [`Error::Corruption`](crate::Error::Corruption) naming the table; those of opening it.
pub(crate) fn check_files(outputs: &Outputs, files: &TableStore) -> Result<()> {
    for told in outputs.tables() {
        let table = files.open(told)?;
        if described(&table, told) != *told {
            let what = "it is not the table that the compaction says it has written";
            return Err(Corruption::new(files.path(told.id), 0, what).into());
        }
    }
    Ok(())
}

/// What a table says of itself. When it was written it does not say.
fn described(table: &Table, told: &TableMeta) -> TableMeta {
    let summary = TableSummary {
        origin: table.origin(),
        size_bytes: table.size_bytes(),
        properties: table.properties().clone(),
    };
    describe(summary, told.created_ms)
}

#[cfg(test)]
mod tests;
