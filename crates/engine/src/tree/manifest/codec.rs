//! Edits as bytes: fields, whose numbers docs/format/manifest.md lists.

use super::edit::{ChangedKeyspace, CreatedKeyspace, Edit, EditNumber};
use crate::control::belief::DurableTime;
pub(crate) use crate::tree::fields::{DecodeError, Problem};
use crate::tree::fields::{Field, Fields, once, put, put_tagged, put_u32, put_u64};
use crate::tree::table_fields::{decode_table, put_table, table};
use crate::tree::version::{RemovedTable, VersionEdit};
use tanada_format::{KeyspaceId, Level, Lineage, LogId, LogPosition, SeqNo, TableId};

/// Longest name of a keyspace, in bytes.
pub(crate) const MAX_NAME_LEN: usize = 255;
/// Longest options of a keyspace, in bytes.
pub(crate) const MAX_OPTIONS_LEN: usize = 64 << 10;

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
    pub(super) const NUMBER: u64 = 14;
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

/// The payload of `edit`.
pub(crate) fn encode(edit: &Edit) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    put_u64(&mut out, top::NEXT_TABLE_ID, edit.next_table_id.map(|id| id.0));
    put_u64(&mut out, top::OLDEST_LOG, edit.oldest_log.map(|id| id.0));
    put_u32(&mut out, top::NEXT_KEYSPACE_ID, edit.next_keyspace_id.map(|id| id.0));
    put_u64(&mut out, top::LAST_SEQNO, edit.last_seqno.map(|n| n.0));
    put_u64(&mut out, top::CLOCK_HIGH_MS, edit.clock_high_ms);
    put_u64(&mut out, top::LOG_SYNCED, edit.log_synced.map(|p| p.0));
    if let Some(number) = edit.number {
        // Who does not know it counts no edits: the next that does begins anew.
        put_tagged(&mut out, top::NUMBER << 1 | 1, &number.0.to_le_bytes());
    }
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
            top::NUMBER => once(&mut edit.number, EditNumber(field.u64()?), &field)?,
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
            keyspace::ADDED => tables.added.push(decode_table(&field)?),
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
