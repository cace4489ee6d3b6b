//! Edits as bytes: tagged fields with lengths.
//!
//! | bytes | field |
//! |---|---|
//! | varint | tag: twice the field's number, plus 1 when a reader that does not know it may skip it |
//! | varint | length of the content |
//! | length | content: `u8`, `u32`, `u64` little-endian, bytes, or fields again |
//!
//! A field that is not known and may not be skipped says that a newer version
//! wrote it. docs/format/manifest.md lists the fields.

use super::edit::{ChangedKeyspace, CreatedKeyspace, Edit};
use crate::control::belief::DurableTime;
use crate::tree::version::{AddedTable, RemovedTable, RunId, TableMeta, VersionEdit};
use tanada_format::{
    KeyspaceId, Level, Lineage, LogId, LogPosition, SeqNo, TableId, read_varint, write_varint,
};
use tanada_table::ExpiryQuantiles;

/// Longest name of a keyspace, in bytes.
pub(crate) const MAX_NAME_LEN: usize = 255;
/// Longest options of a keyspace, in bytes.
pub(crate) const MAX_OPTIONS_LEN: usize = 64 << 10;

/// Why a payload is not an edit, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DecodeError {
    /// Offset in the payload.
    pub(crate) offset: usize,
    /// What is wrong there.
    pub(crate) problem: Problem,
}

/// Damage, or the future.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// No version wrote this.
    Damaged(&'static str),
    /// A newer version wrote this: the number of a field that must be known.
    Unknown(u64),
}

// Field numbers. They are on disk.
mod top {
    pub(super) const NEXT_TABLE_ID: u64 = 1;
    pub(super) const OLDEST_LOG: u64 = 2;
    pub(super) const NEXT_KEYSPACE_ID: u64 = 3;
    pub(super) const LAST_SEQNO: u64 = 4;
    pub(super) const CLOCK_HIGH_MS: u64 = 5;
    pub(super) const LOG_SYNCED: u64 = 6;
    pub(super) const CREATED: u64 = 8;
    pub(super) const CHANGED: u64 = 9;
    pub(super) const DROPPED: u64 = 10;
    pub(super) const SEQNO_CEILING: u64 = 11;
    pub(super) const TIME: u64 = 12;
    pub(super) const LINEAGE: u64 = 13;
}
mod time {
    pub(super) const FLOOR_MS: u64 = 1;
    pub(super) const SEEN_MS: u64 = 2;
    pub(super) const EVIDENCE_MS: u64 = 3;
}
mod keyspace {
    pub(super) const ID: u64 = 1;
    pub(super) const NAME: u64 = 2;
    pub(super) const OPTIONS: u64 = 3;
    pub(super) const FLUSHED_TO: u64 = 4;
    pub(super) const ADDED: u64 = 8;
    pub(super) const REMOVED: u64 = 9;
}
mod table {
    pub(super) const ID: u64 = 1;
    pub(super) const LEVEL: u64 = 2;
    pub(super) const RUN: u64 = 3;
    pub(super) const SIZE_BYTES: u64 = 4;
    pub(super) const RAW_BYTES: u64 = 5;
    pub(super) const ENTRIES: u64 = 6;
    pub(super) const TOMBSTONES: u64 = 7;
    pub(super) const MIN_KEY: u64 = 8;
    pub(super) const MAX_KEY: u64 = 9;
    pub(super) const MIN_SEQNO: u64 = 10;
    pub(super) const MAX_SEQNO: u64 = 11;
    pub(super) const CREATED_MS: u64 = 12;
    pub(super) const EXPIRING: u64 = 13;
    pub(super) const MIN_EXPIRES_AT_MS: u64 = 14;
    pub(super) const MAX_EXPIRES_AT_MS: u64 = 15;
    pub(super) const SUPERSEDED: u64 = 16;
    pub(super) const EXPIRY_QUANTILES: u64 = 17;
}

/// The payload of `edit`.
pub(crate) fn encode(edit: &Edit) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    put_u64(&mut out, top::NEXT_TABLE_ID, edit.next_table_id.map(|id| id.0));
    put_u64(&mut out, top::OLDEST_LOG, edit.oldest_log.map(|id| id.0));
    put_u32(&mut out, top::NEXT_KEYSPACE_ID, edit.next_keyspace_id.map(|id| id.0));
    put_u64(&mut out, top::LAST_SEQNO, edit.last_seqno.map(|n| n.0));
    put_u64(&mut out, top::CLOCK_HIGH_MS, edit.clock_high_ms);
    put_u64(&mut out, top::LOG_SYNCED, edit.log_synced.map(|p| p.0));
    // Who does not know these three leaves them out of the next manifest. Then nobody knows
    // any more how far numbers have been given: the next opening begins another lineage.
    if let Some(ceiling) = edit.seqno_ceiling {
        put_tagged(&mut out, top::SEQNO_CEILING << 1 | 1, &ceiling.0.to_le_bytes());
    }
    if let Some(lineage) = edit.lineage {
        put_tagged(&mut out, top::LINEAGE << 1 | 1, &lineage.0);
    }
    if let Some(known) = edit.time {
        let mut fields = Vec::with_capacity(30);
        put_u64(&mut fields, time::FLOOR_MS, Some(known.floor_ms));
        put_u64(&mut fields, time::SEEN_MS, Some(known.seen_ms));
        put_u64(&mut fields, time::EVIDENCE_MS, Some(known.evidence_ms));
        put_tagged(&mut out, top::TIME << 1 | 1, &fields);
    }
    // Nested fields are built beside the output, since their length comes first.
    let mut inner = Vec::new();
    let mut leaf = Vec::new();
    for created in &edit.created {
        inner.clear();
        put_u32(&mut inner, keyspace::ID, Some(created.id.0));
        put(&mut inner, keyspace::NAME, created.name.as_bytes());
        put(&mut inner, keyspace::OPTIONS, &created.options);
        put(&mut out, top::CREATED, &inner);
    }
    for changed in &edit.changed {
        inner.clear();
        put_u32(&mut inner, keyspace::ID, Some(changed.id.0));
        put_u64(&mut inner, keyspace::FLUSHED_TO, changed.flushed_to.map(|p| p.0));
        if let Some(options) = &changed.options {
            put(&mut inner, keyspace::OPTIONS, options);
        }
        for added in &changed.tables.added {
            leaf.clear();
            put_table(&mut leaf, added);
            put(&mut inner, keyspace::ADDED, &leaf);
        }
        for removed in &changed.tables.removed {
            leaf.clear();
            put_u64(&mut leaf, table::ID, Some(removed.id.0));
            put(&mut leaf, table::LEVEL, &[removed.level.0]);
            put(&mut inner, keyspace::REMOVED, &leaf);
        }
        put(&mut out, top::CHANGED, &inner);
    }
    for dropped in &edit.dropped {
        put_u32(&mut out, top::DROPPED, Some(dropped.0));
    }
    out
}

fn put_table(out: &mut Vec<u8>, AddedTable { level, run, meta }: &AddedTable) {
    put_u64(out, table::ID, Some(meta.id.0));
    put(out, table::LEVEL, &[level.0]);
    put_u64(out, table::RUN, Some(run.0));
    put_u64(out, table::SIZE_BYTES, Some(meta.size_bytes));
    put_u64(out, table::RAW_BYTES, Some(meta.raw_bytes));
    put_u64(out, table::ENTRIES, Some(meta.entries));
    put_u64(out, table::TOMBSTONES, Some(meta.tombstones));
    put(out, table::MIN_KEY, &meta.min_key);
    put(out, table::MAX_KEY, &meta.max_key);
    put_u64(out, table::MIN_SEQNO, Some(meta.min_seqno.0));
    put_u64(out, table::MAX_SEQNO, Some(meta.max_seqno.0));
    put_u64(out, table::CREATED_MS, Some(meta.created_ms));
    if meta.expiring != 0 {
        put_u64(out, table::EXPIRING, Some(meta.expiring));
        put_u64(out, table::MIN_EXPIRES_AT_MS, Some(meta.min_expires_at_ms));
        put_u64(out, table::MAX_EXPIRES_AT_MS, Some(meta.max_expires_at_ms));
    }
    if meta.superseded != 0 {
        // Who does not know it leaves the garbage where it is.
        put_tagged(out, table::SUPERSEDED << 1 | 1, &meta.superseded.to_le_bytes());
    }
    if let Some(quantiles) = &meta.expiry_quantiles {
        // Who does not know it judges the table by its last value that expires.
        put_tagged(out, table::EXPIRY_QUANTILES << 1 | 1, &quantiles.encode());
    }
}

fn put(out: &mut Vec<u8>, number: u64, content: &[u8]) {
    put_tagged(out, number << 1, content);
}

fn put_tagged(out: &mut Vec<u8>, tag: u64, content: &[u8]) {
    write_varint(out, tag);
    write_varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn put_u64(out: &mut Vec<u8>, number: u64, value: Option<u64>) {
    if let Some(value) = value {
        put(out, number, &value.to_le_bytes());
    }
}

fn put_u32(out: &mut Vec<u8>, number: u64, value: Option<u32>) {
    if let Some(value) = value {
        put(out, number, &value.to_le_bytes());
    }
}

/// The edit in `payload`. Takes no memory beyond the payload's own length.
///
/// # Errors
/// [`DecodeError`]; never panics, whatever the bytes.
pub(crate) fn decode(payload: &[u8]) -> Result<Edit, DecodeError> {
    let mut edit = Edit::default();
    let mut fields = Fields::new(payload, 0);
    while let Some(field) = fields.next()? {
        match field.number {
            top::NEXT_TABLE_ID => once(&mut edit.next_table_id, TableId(field.u64()?), &field)?,
            top::OLDEST_LOG => once(&mut edit.oldest_log, LogId(field.u64()?), &field)?,
            top::NEXT_KEYSPACE_ID => {
                once(&mut edit.next_keyspace_id, KeyspaceId(field.u32()?), &field)?
            }
            top::LAST_SEQNO => once(&mut edit.last_seqno, SeqNo(field.u64()?), &field)?,
            top::CLOCK_HIGH_MS => once(&mut edit.clock_high_ms, field.u64()?, &field)?,
            top::LOG_SYNCED => once(&mut edit.log_synced, LogPosition(field.u64()?), &field)?,
            top::SEQNO_CEILING => once(&mut edit.seqno_ceiling, SeqNo(field.u64()?), &field)?,
            top::LINEAGE => once(&mut edit.lineage, Lineage(field.array()?), &field)?,
            top::TIME => once(&mut edit.time, decode_time(&field)?, &field)?,
            top::CREATED => edit.created.push(decode_created(&field)?),
            top::CHANGED => edit.changed.push(decode_changed(&field)?),
            top::DROPPED => edit.dropped.push(KeyspaceId(field.u32()?)),
            _ => field.skip()?,
        }
    }
    Ok(edit)
}

fn decode_time(outer: &Field<'_>) -> Result<DurableTime, DecodeError> {
    let (mut floor, mut seen, mut evidence) = (None, None, None);
    let mut fields = outer.fields();
    while let Some(field) = fields.next()? {
        match field.number {
            time::FLOOR_MS => once(&mut floor, field.u64()?, &field)?,
            time::SEEN_MS => once(&mut seen, field.u64()?, &field)?,
            time::EVIDENCE_MS => once(&mut evidence, field.u64()?, &field)?,
            _ => field.skip()?,
        }
    }
    let missing = || outer.damaged("the time lacks a field");
    Ok(DurableTime {
        floor_ms: floor.ok_or_else(missing)?,
        seen_ms: seen.ok_or_else(missing)?,
        evidence_ms: evidence.ok_or_else(missing)?,
    })
}

fn decode_created(outer: &Field<'_>) -> Result<CreatedKeyspace, DecodeError> {
    let (mut id, mut name, mut options) = (None, None, None);
    let mut fields = outer.fields();
    while let Some(field) = fields.next()? {
        match field.number {
            keyspace::ID => once(&mut id, KeyspaceId(field.u32()?), &field)?,
            keyspace::NAME => {
                let text = std::str::from_utf8(field.bytes_up_to(MAX_NAME_LEN)?);
                let text = text.map_err(|_| field.damaged("a keyspace's name is not UTF-8"))?;
                once(&mut name, text.to_owned(), &field)?
            }
            keyspace::OPTIONS => {
                once(&mut options, field.bytes_up_to(MAX_OPTIONS_LEN)?.to_vec(), &field)?
            }
            _ => field.skip()?,
        }
    }
    Ok(CreatedKeyspace {
        id: id.ok_or_else(|| outer.damaged("a new keyspace has no id"))?,
        name: name.ok_or_else(|| outer.damaged("a new keyspace has no name"))?,
        options: options.ok_or_else(|| outer.damaged("a new keyspace has no options"))?,
    })
}

fn decode_changed(outer: &Field<'_>) -> Result<ChangedKeyspace, DecodeError> {
    let (mut id, mut flushed_to, mut options) = (None, None, None);
    let mut tables = VersionEdit::default();
    let mut fields = outer.fields();
    while let Some(field) = fields.next()? {
        match field.number {
            keyspace::ID => once(&mut id, KeyspaceId(field.u32()?), &field)?,
            keyspace::FLUSHED_TO => once(&mut flushed_to, LogPosition(field.u64()?), &field)?,
            keyspace::OPTIONS => {
                once(&mut options, field.bytes_up_to(MAX_OPTIONS_LEN)?.to_vec(), &field)?
            }
            keyspace::ADDED => tables.added.push(decode_added(&field)?),
            keyspace::REMOVED => tables.removed.push(decode_removed(&field)?),
            _ => field.skip()?,
        }
    }
    let id = id.ok_or_else(|| outer.damaged("a changed keyspace has no id"))?;
    Ok(ChangedKeyspace { id, flushed_to, options, tables })
}

fn decode_removed(outer: &Field<'_>) -> Result<RemovedTable, DecodeError> {
    let (mut id, mut level) = (None, None);
    let mut fields = outer.fields();
    while let Some(field) = fields.next()? {
        match field.number {
            table::ID => once(&mut id, TableId(field.u64()?), &field)?,
            table::LEVEL => once(&mut level, Level(field.u8()?), &field)?,
            _ => field.skip()?,
        }
    }
    let missing = || outer.damaged("a removed table lacks a field");
    Ok(RemovedTable { level: level.ok_or_else(missing)?, id: id.ok_or_else(missing)? })
}

fn decode_added(outer: &Field<'_>) -> Result<AddedTable, DecodeError> {
    let (mut level, mut min_key, mut max_key) = (None, None, None);
    let mut expiry_quantiles = None;
    // The numbers by field number, all of them `u64`.
    let mut numbers = [None; table::SUPERSEDED as usize + 1];
    let mut fields = outer.fields();
    while let Some(field) = fields.next()? {
        let key = || field.bytes_up_to(tanada_format::MAX_KEY_LEN).map(Box::from);
        match field.number {
            table::LEVEL => once(&mut level, Level(field.u8()?), &field)?,
            table::MIN_KEY => once(&mut min_key, key()?, &field)?,
            table::MAX_KEY => once(&mut max_key, key()?, &field)?,
            table::EXPIRY_QUANTILES => {
                let quantiles = ExpiryQuantiles::decode(field.content);
                let quantiles = quantiles.map_err(|what| field.damaged(what))?;
                once(&mut expiry_quantiles, Box::new(quantiles), &field)?
            }
            known @ table::ID..=table::SUPERSEDED => {
                once(&mut numbers[known as usize], field.u64()?, &field)?
            }
            _ => field.skip()?,
        }
    }
    let missing = || outer.damaged("an added table lacks a field");
    let number = |number: u64| numbers[number as usize];
    let need = |n: u64| number(n).ok_or_else(missing);
    let meta = TableMeta {
        id: TableId(need(table::ID)?),
        size_bytes: need(table::SIZE_BYTES)?,
        raw_bytes: need(table::RAW_BYTES)?,
        entries: need(table::ENTRIES)?,
        tombstones: need(table::TOMBSTONES)?,
        min_key: min_key.ok_or_else(missing)?,
        max_key: max_key.ok_or_else(missing)?,
        min_seqno: SeqNo(need(table::MIN_SEQNO)?),
        max_seqno: SeqNo(need(table::MAX_SEQNO)?),
        created_ms: need(table::CREATED_MS)?,
        expiring: number(table::EXPIRING).unwrap_or(0),
        min_expires_at_ms: number(table::MIN_EXPIRES_AT_MS).unwrap_or(0),
        max_expires_at_ms: number(table::MAX_EXPIRES_AT_MS).unwrap_or(0),
        expiry_quantiles,
        superseded: number(table::SUPERSEDED).unwrap_or(0),
    };
    meta.check().map_err(|what| outer.damaged(what))?;
    let level = level.ok_or_else(missing)?;
    Ok(AddedTable { level, run: RunId(need(table::RUN)?), meta })
}

/// Sets a field that may stand once.
fn once<T>(slot: &mut Option<T>, value: T, field: &Field<'_>) -> Result<(), DecodeError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(field.damaged("a field stands twice")),
    }
}

/// One field of a payload.
struct Field<'a> {
    number: u64,
    may_skip: bool,
    content: &'a [u8],
    /// Where the content begins in the payload.
    offset: usize,
}

impl<'a> Field<'a> {
    fn damaged(&self, what: &'static str) -> DecodeError {
        DecodeError { offset: self.offset, problem: Problem::Damaged(what) }
    }

    fn array<const N: usize>(&self) -> Result<[u8; N], DecodeError> {
        self.content.try_into().map_err(|_| self.damaged("a number has the wrong length"))
    }

    fn u64(&self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    fn u32(&self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u8(&self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    fn bytes_up_to(&self, limit: usize) -> Result<&'a [u8], DecodeError> {
        if self.content.len() > limit {
            return Err(self.damaged("a field is too long"));
        }
        Ok(self.content)
    }

    fn fields(&self) -> Fields<'a> {
        Fields::new(self.content, self.offset)
    }

    /// For a field that is not known here.
    fn skip(&self) -> Result<(), DecodeError> {
        if self.may_skip {
            return Ok(());
        }
        Err(DecodeError { offset: self.offset, problem: Problem::Unknown(self.number) })
    }
}

/// Walks fields that stand one behind the other.
struct Fields<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8], offset: usize) -> Fields<'a> {
        Fields { rest: bytes, offset }
    }

    fn next(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let len = self.varint()?;
        let len = usize::try_from(len).ok().filter(|&len| len <= self.rest.len());
        let Some(len) = len else { return Err(self.damaged("a field is longer than its record")) };
        let (content, rest) = self.rest.split_at(len);
        let field =
            Field { number: tag >> 1, may_skip: tag & 1 == 1, content, offset: self.offset };
        self.rest = rest;
        self.offset += len;
        Ok(Some(field))
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let Some((n, len)) = read_varint(self.rest) else {
            return Err(self.damaged("a field's tag or length is cut off"));
        };
        self.rest = &self.rest[len..];
        self.offset += len;
        Ok(n)
    }

    fn damaged(&self, what: &'static str) -> DecodeError {
        DecodeError { offset: self.offset, problem: Problem::Damaged(what) }
    }
}
