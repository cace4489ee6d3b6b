//! What a job has written, as data: for the owner of the tree, who checks it and puts it
//! in the inputs' place.
//!
//! As bytes: a [header](super::frame), then fields. docs/format/job.md lists them.

use super::CompactionJob;
use super::frame::{self, HEADER_LEN, JobBytesError, Kind};
use super::tables::{InputTable, KeySpan};
use crate::tree::fields::{DecodeError, Field, Fields, once, put, put_u64};
use crate::tree::table_fields::{decode_table, put_table};
use crate::tree::version::{AddedTable, RunId, TableMeta};
use tanada_format::{DatabaseId, Level, hash_key};

// Field numbers. They leave the process.
mod top {
    pub(super) const JOB: u64 = 1;
    pub(super) const PART: u64 = 8;
}
mod part {
    pub(super) const READ: u64 = 1;
    pub(super) const WRITTEN: u64 = 2;
    pub(super) const SUPERSEDED: u64 = 3;
    pub(super) const DELETES: u64 = 4;
    pub(super) const EXPIRED: u64 = 5;
    pub(super) const TABLE: u64 = 8;
}

/// What became of the entries of a job, or of a part of it.
///
/// Each entry that was read was written or dropped for one reason: see
/// [`EntryCounts::is_complete`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EntryCounts {
    /// Entries of the inputs.
    pub(crate) read: u64,
    /// Entries of the outputs.
    pub(crate) written: u64,
    /// Dropped: everybody sees a newer version of the key.
    pub(crate) superseded: u64,
    /// Dropped: deletes that hide nothing.
    pub(crate) deletes: u64,
    /// Dropped: puts that have expired, and hide nothing.
    pub(crate) expired: u64,
}

impl EntryCounts {
    /// Whether it is known of each entry what became of it.
    pub(crate) fn is_complete(&self) -> bool {
        let all = [self.written, self.superseded, self.deletes, self.expired];
        all.iter().try_fold(0, |sum: u64, n| sum.checked_add(*n)) == Some(self.read)
    }

    /// These and `other` together; no sum is greater than [`u64::MAX`].
    pub(crate) fn and(self, other: EntryCounts) -> EntryCounts {
        EntryCounts {
            read: self.read.saturating_add(other.read),
            written: self.written.saturating_add(other.written),
            superseded: self.superseded.saturating_add(other.superseded),
            deletes: self.deletes.saturating_add(other.deletes),
            expired: self.expired.saturating_add(other.expired),
        }
    }
}

/// What came of one [part](super::JobPart).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartOutputs {
    /// The tables, in key order.
    pub(crate) tables: Vec<TableMeta>,
    pub(crate) counts: EntryCounts,
}

/// What came of a job: of each of its parts, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outputs {
    pub(crate) parts: Vec<PartOutputs>,
}

/// Names a job by its bytes, so that nobody takes the outputs of one for another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JobHash(u64);

impl JobHash {
    /// Of the job that [`CompactionJob::encode`] has written so.
    pub(crate) fn of(job: &[u8]) -> JobHash {
        JobHash(hash_key(job))
    }
}

impl Outputs {
    /// All tables, in key order.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &TableMeta> {
        self.parts.iter().flat_map(|part| &part.tables)
    }

    /// What became of all entries.
    pub(crate) fn counts(&self) -> EntryCounts {
        self.parts.iter().fold(EntryCounts::default(), |sum, part| sum.and(part.counts))
    }

    /// The outputs of `job` as bytes.
    ///
    /// # Errors
    /// [`JobBytesError::TooLong`].
    pub(crate) fn encode<T: InputTable, N: KeySpan>(
        &self,
        job: &CompactionJob<T, N>,
        hash: JobHash,
    ) -> Result<Vec<u8>, JobBytesError> {
        let mut out = frame::begin(Kind::Outputs, job.database);
        put_hash(&mut out, hash);
        let (mut inner, mut leaf) = (Vec::new(), Vec::new());
        for PartOutputs { tables, counts } in &self.parts {
            inner.clear();
            put_u64(&mut inner, part::READ, Some(counts.read));
            put_u64(&mut inner, part::WRITTEN, Some(counts.written));
            put_u64(&mut inner, part::SUPERSEDED, Some(counts.superseded));
            put_u64(&mut inner, part::DELETES, Some(counts.deletes));
            put_u64(&mut inner, part::EXPIRED, Some(counts.expired));
            for meta in tables {
                leaf.clear();
                // The run is the owner's to choose.
                let (level, run, meta) = (job.target, RunId(0), meta.clone());
                put_table(&mut leaf, &AddedTable { level, run, meta });
                put(&mut inner, part::TABLE, &leaf);
            }
            put(&mut out, top::PART, &inner);
        }
        frame::finish(out)
    }

    /// The outputs in `bytes`, of the job in `database` with this hash, for the level
    /// `target`. Whether they are right is still to be checked.
    ///
    /// # Errors
    /// [`JobBytesError`]; never panics, whatever the bytes.
    pub(crate) fn decode(
        bytes: &[u8],
        database: DatabaseId,
        hash: JobHash,
        target: Level,
    ) -> Result<Outputs, JobBytesError> {
        let (whose, content) = frame::open(Kind::Outputs, bytes)?;
        let wrong = |what| JobBytesError::Damaged { offset: HEADER_LEN, what };
        let (mut job, mut parts) = (None, Vec::new());
        let mut fields = Fields::new(content, HEADER_LEN);
        while let Some(field) = fields.next()? {
            match field.number {
                top::JOB => once(&mut job, JobHash(field.u64()?), &field)?,
                top::PART => parts.push(decode_part(&field, target)?),
                _ => field.skip()?,
            }
        }
        if whose != database || job != Some(hash) {
            return Err(wrong("these are the outputs of another job"));
        }
        Ok(Outputs { parts })
    }
}

/// Says whose outputs these are.
pub(super) fn put_hash(out: &mut Vec<u8>, JobHash(hash): JobHash) {
    put_u64(out, top::JOB, Some(hash));
}

fn decode_part(outer: &Field<'_>, target: Level) -> Result<PartOutputs, DecodeError> {
    let mut tables = Vec::new();
    // The numbers by field number, all of them `u64`.
    let mut numbers = [None; part::EXPIRED as usize + 1];
    let mut fields = outer.fields();
    while let Some(field) = fields.next()? {
        match field.number {
            known @ part::READ..=part::EXPIRED => {
                once(&mut numbers[known as usize], field.u64()?, &field)?
            }
            part::TABLE => {
                let AddedTable { level, run, meta } = decode_table(&field)?;
                if (level, run) != (target, RunId(0)) {
                    return Err(field.damaged("an output lies where its job did not put it"));
                }
                tables.push(meta);
            }
            _ => field.skip()?,
        }
    }
    let missing = || outer.damaged("what became of a job's entries is not said");
    let need = |n: u64| numbers[n as usize].ok_or_else(missing);
    let counts = EntryCounts {
        read: need(part::READ)?,
        written: need(part::WRITTEN)?,
        superseded: need(part::SUPERSEDED)?,
        deletes: need(part::DELETES)?,
        expired: need(part::EXPIRED)?,
    };
    Ok(PartOutputs { tables, counts })
}
