//! Jobs as bytes: a [header](super::frame), then fields. docs/format/job.md lists them.

use super::frame::{self, HEADER_LEN, JobBytesError, Kind};
use super::{CompactionJob, InputTable, JobPart, KeySpan, MAX_PARTS, Neighbour, TableFormat};
use crate::tree::compaction::plan::InputRun;
use crate::tree::compaction::visible::JobTime;
use crate::tree::fields::{DecodeError, Field, Fields, once, put, put_u32, put_u64};
use crate::tree::table_fields::{decode_table, put_table};
use crate::tree::version::{AddedTable, TableMeta};
use tanada_format::{KeyspaceId, Level, MAX_KEY_LEN, SeqNo, TableId, WriterEpoch};
use tanada_table::Compression;

// Field numbers. They leave the process.
mod top {
    pub(super) const KEYSPACE: u64 = 1;
    pub(super) const TARGET: u64 = 2;
    pub(super) const TABLE_BYTES: u64 = 3;
    pub(super) const GRANDPARENT_BYTES: u64 = 4;
    pub(super) const FORMAT: u64 = 5;
    pub(super) const TIME: u64 = 6;
    pub(super) const SNAPSHOTS: u64 = 7;
    pub(super) const INPUT: u64 = 8;
    pub(super) const OLDER_RUN: u64 = 9;
    pub(super) const GRANDPARENT: u64 = 10;
    pub(super) const PART: u64 = 11;
    pub(super) const EPOCH: u64 = 12;
}
mod format {
    pub(super) const COMPRESSION: u64 = 1;
    pub(super) const BLOCK_SIZE: u64 = 2;
    pub(super) const FILTER_MILLIBITS: u64 = 3;
}
mod time {
    pub(super) const HELD_MS: u64 = 1;
    pub(super) const CLOCK_MS: u64 = 2;
}
mod neighbour {
    pub(super) const MIN_KEY: u64 = 1;
    pub(super) const MAX_KEY: u64 = 2;
    pub(super) const SIZE_BYTES: u64 = 3;
}
mod run {
    pub(super) const TABLE: u64 = 1;
}
mod part {
    pub(super) const START: u64 = 1;
    pub(super) const END: u64 = 2;
    pub(super) const FIRST_ID: u64 = 3;
    pub(super) const END_ID: u64 = 4;
}

impl<T: InputTable, N: KeySpan> CompactionJob<T, N> {
    /// The job as bytes, for another process.
    ///
    /// # Errors
    /// [`JobBytesError::TooLong`].
    pub(crate) fn encode(&self) -> Result<Vec<u8>, JobBytesError> {
        let mut out = frame::begin(Kind::Job, self.database);
        put_u32(&mut out, top::KEYSPACE, Some(self.keyspace.0));
        put_u64(&mut out, top::EPOCH, Some(self.epoch.0));
        put(&mut out, top::TARGET, &[self.target.0]);
        put_u64(&mut out, top::TABLE_BYTES, Some(self.table_bytes));
        put_u64(&mut out, top::GRANDPARENT_BYTES, Some(self.grandparent_bytes));
        // Nested fields are built beside the output, since their length comes first.
        let (mut inner, mut leaf) = (Vec::new(), Vec::new());
        put(&mut inner, format::COMPRESSION, &[self.format.compression as u8]);
        put_u32(&mut inner, format::BLOCK_SIZE, Some(self.format.block_size));
        put_u64(&mut inner, format::FILTER_MILLIBITS, Some(self.format.filter_millibits_per_key));
        put(&mut out, top::FORMAT, &inner);
        inner.clear();
        put_u64(&mut inner, time::HELD_MS, Some(self.time.held_ms));
        put_u64(&mut inner, time::CLOCK_MS, Some(self.time.clock_ms));
        put(&mut out, top::TIME, &inner);
        inner.clear();
        inner.extend(self.snapshots.iter().flat_map(|seqno| seqno.0.to_le_bytes()));
        put(&mut out, top::SNAPSHOTS, &inner);
        for InputRun { level, run, tables } in &self.inputs {
            for table in tables {
                inner.clear();
                let meta = table.meta().clone();
                put_table(&mut inner, &AddedTable { level: *level, run: *run, meta });
                put(&mut out, top::INPUT, &inner);
            }
        }
        for tables in &self.older {
            inner.clear();
            for table in tables {
                leaf.clear();
                put_neighbour(&mut leaf, table);
                put(&mut inner, run::TABLE, &leaf);
            }
            put(&mut out, top::OLDER_RUN, &inner);
        }
        for table in &self.grandparents {
            inner.clear();
            put_neighbour(&mut inner, table);
            put(&mut out, top::GRANDPARENT, &inner);
        }
        for JobPart { start, end, first_id, end_id } in &self.parts {
            inner.clear();
            start.iter().for_each(|key| put(&mut inner, part::START, key));
            end.iter().for_each(|key| put(&mut inner, part::END, key));
            put_u64(&mut inner, part::FIRST_ID, Some(first_id.0));
            put_u64(&mut inner, part::END_ID, Some(end_id.0));
            put(&mut out, top::PART, &inner);
        }
        frame::finish(out)
    }
}

fn put_neighbour(out: &mut Vec<u8>, table: &impl KeySpan) {
    put(out, neighbour::MIN_KEY, table.min_key());
    put(out, neighbour::MAX_KEY, table.max_key());
    put_u64(out, neighbour::SIZE_BYTES, Some(table.size_bytes()));
}

/// Runs outside of a job that its bytes may name. An empty one takes two bytes there, and
/// twelve times that in memory.
pub(super) const MAX_OLDER_RUNS: usize = 1 << 16;

impl CompactionJob {
    /// The job in `bytes`. Takes some ten times their length of memory at most.
    ///
    /// # Errors
    /// [`JobBytesError`]; never panics, whatever the bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<CompactionJob, JobBytesError> {
        let (database, content) = frame::open(Kind::Job, bytes)?;
        let (mut keyspace, mut epoch, mut target, mut table_bytes) = (None, None, None, None);
        let (mut grandparent_bytes, mut format, mut time, mut snapshots) = (None, None, None, None);
        let mut inputs: Vec<InputRun<TableMeta>> = Vec::new();
        let (mut older, mut grandparents, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        let mut fields = Fields::new(content, HEADER_LEN);
        while let Some(field) = fields.next()? {
            match field.number {
                top::KEYSPACE => once(&mut keyspace, KeyspaceId(field.u32()?), &field)?,
                top::EPOCH => once(&mut epoch, WriterEpoch(field.u64()?), &field)?,
                top::TARGET => once(&mut target, Level(field.u8()?), &field)?,
                top::TABLE_BYTES => once(&mut table_bytes, field.u64()?, &field)?,
                top::GRANDPARENT_BYTES => once(&mut grandparent_bytes, field.u64()?, &field)?,
                top::FORMAT => once(&mut format, decode_format(&field)?, &field)?,
                top::TIME => once(&mut time, decode_time(&field)?, &field)?,
                top::SNAPSHOTS => once(&mut snapshots, decode_seqnos(&field)?, &field)?,
                top::INPUT => {
                    let AddedTable { level, run, meta } = decode_table(&field)?;
                    match inputs.last_mut() {
                        Some(last) if (last.level, last.run) == (level, run) => {
                            last.tables.push(meta);
                        }
                        _ => inputs.push(InputRun { level, run, tables: vec![meta] }),
                    }
                }
                top::OLDER_RUN if older.len() >= MAX_OLDER_RUNS => {
                    let what = "a job names more older runs than there can be";
                    return Err(field.damaged(what).into());
                }
                top::PART if parts.len() >= MAX_PARTS => {
                    let what = "a job has more parts than it may";
                    return Err(field.damaged(what).into());
                }
                top::OLDER_RUN => older.push(decode_run(&field)?),
                top::GRANDPARENT => grandparents.push(decode_neighbour(&field)?),
                top::PART => parts.push(decode_part(&field)?),
                _ => field.skip()?,
            }
        }
        let missing = JobBytesError::Damaged { offset: HEADER_LEN, what: "it lacks a field" };
        let missing = || missing.clone();
        let job = CompactionJob {
            database,
            epoch: epoch.ok_or_else(missing)?,
            keyspace: keyspace.ok_or_else(missing)?,
            inputs,
            target: target.ok_or_else(missing)?,
            older,
            grandparents,
            grandparent_bytes: grandparent_bytes.ok_or_else(missing)?,
            table_bytes: table_bytes.ok_or_else(missing)?,
            format: format.ok_or_else(missing)?,
            snapshots: snapshots.ok_or_else(missing)?,
            time: time.ok_or_else(missing)?,
            parts,
        };
        let wrong = |what| JobBytesError::Damaged { offset: HEADER_LEN, what };
        job.check().map_err(wrong)?;
        Ok(job)
    }
}

fn decode_format(outer: &Field<'_>) -> Result<TableFormat, DecodeError> {
    let (mut compression, mut block_size, mut millibits) = (None, None, None);
    let mut fields = outer.fields();
    while let Some(field) = fields.next()? {
        match field.number {
            format::COMPRESSION => {
                let unknown = || field.damaged("a job's compression is unknown");
                let known = Compression::from_u8(field.u8()?).ok_or_else(unknown)?;
                once(&mut compression, known, &field)?
            }
            format::BLOCK_SIZE => once(&mut block_size, field.u32()?, &field)?,
            format::FILTER_MILLIBITS => once(&mut millibits, field.u64()?, &field)?,
            _ => field.skip()?,
        }
    }
    let missing = || outer.damaged("how a job's tables are built is not said");
    Ok(TableFormat {
        compression: compression.ok_or_else(missing)?,
        block_size: block_size.ok_or_else(missing)?,
        filter_millibits_per_key: millibits.ok_or_else(missing)?,
    })
}

fn decode_time(outer: &Field<'_>) -> Result<JobTime, DecodeError> {
    let (mut held, mut clock) = (None, None);
    let mut fields = outer.fields();
    while let Some(field) = fields.next()? {
        match field.number {
            time::HELD_MS => once(&mut held, field.u64()?, &field)?,
            time::CLOCK_MS => once(&mut clock, field.u64()?, &field)?,
            _ => field.skip()?,
        }
    }
    let missing = || outer.damaged("a job's time lacks a field");
    let (held_ms, clock_ms) = (held.ok_or_else(missing)?, clock.ok_or_else(missing)?);
    Ok(JobTime { held_ms, clock_ms })
}

fn decode_seqnos(field: &Field<'_>) -> Result<Vec<SeqNo>, DecodeError> {
    let (seqnos, rest) = field.content.as_chunks::<8>();
    match rest.is_empty() {
        true => Ok(seqnos.iter().map(|bytes| SeqNo(u64::from_le_bytes(*bytes))).collect()),
        false => Err(field.damaged("a job's snapshots are cut off")),
    }
}

fn decode_run(outer: &Field<'_>) -> Result<Vec<Neighbour>, DecodeError> {
    let mut tables = Vec::new();
    let mut fields = outer.fields();
    while let Some(field) = fields.next()? {
        match field.number {
            run::TABLE => tables.push(decode_neighbour(&field)?),
            _ => field.skip()?,
        }
    }
    Ok(tables)
}

fn decode_neighbour(outer: &Field<'_>) -> Result<Neighbour, DecodeError> {
    let (mut min_key, mut max_key, mut size_bytes) = (None, None, None);
    let mut fields = outer.fields();
    while let Some(field) = fields.next()? {
        match field.number {
            neighbour::MIN_KEY => once(&mut min_key, key(&field)?, &field)?,
            neighbour::MAX_KEY => once(&mut max_key, key(&field)?, &field)?,
            neighbour::SIZE_BYTES => once(&mut size_bytes, field.u64()?, &field)?,
            _ => field.skip()?,
        }
    }
    let missing = || outer.damaged("a table beside a job lacks a field");
    Ok(Neighbour {
        min_key: min_key.ok_or_else(missing)?,
        max_key: max_key.ok_or_else(missing)?,
        size_bytes: size_bytes.ok_or_else(missing)?,
    })
}

fn decode_part(outer: &Field<'_>) -> Result<JobPart, DecodeError> {
    let (mut start, mut end, mut first_id, mut end_id) = (None, None, None, None);
    let mut fields = outer.fields();
    while let Some(field) = fields.next()? {
        match field.number {
            part::START => once(&mut start, key(&field)?, &field)?,
            part::END => once(&mut end, key(&field)?, &field)?,
            part::FIRST_ID => once(&mut first_id, TableId(field.u64()?), &field)?,
            part::END_ID => once(&mut end_id, TableId(field.u64()?), &field)?,
            _ => field.skip()?,
        }
    }
    let missing = || outer.damaged("a part of a job lacks a field");
    let (first_id, end_id) = (first_id.ok_or_else(missing)?, end_id.ok_or_else(missing)?);
    Ok(JobPart { start, end, first_id, end_id })
}

fn key(field: &Field<'_>) -> Result<Box<[u8]>, DecodeError> {
    field.bytes_up_to(MAX_KEY_LEN).map(Box::from)
}
