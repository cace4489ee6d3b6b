//! What the tree knows of a table, as fields: in the manifest's edits and in compaction
//! jobs alike. docs/format/manifest.md lists the fields.

use crate::tree::fields::{DecodeError, Field, once, put, put_tagged, put_u64};
use crate::tree::version::{AddedTable, RunId, TableMeta};
use tanada_format::{DatabaseId, Level, Origin, SeqNo, TableId, WriterEpoch};
use tanada_table::ExpiryQuantiles;

// Field numbers. They are on disk.
pub(crate) mod table {
    pub(crate) const ID: u64 = 1;
    pub(crate) const LEVEL: u64 = 2;
    pub(crate) const RUN: u64 = 3;
    pub(crate) const SIZE_BYTES: u64 = 4;
    pub(crate) const RAW_BYTES: u64 = 5;
    pub(crate) const ENTRIES: u64 = 6;
    pub(crate) const TOMBSTONES: u64 = 7;
    pub(crate) const MIN_KEY: u64 = 8;
    pub(crate) const MAX_KEY: u64 = 9;
    pub(crate) const MIN_SEQNO: u64 = 10;
    pub(crate) const MAX_SEQNO: u64 = 11;
    pub(crate) const CREATED_MS: u64 = 12;
    pub(crate) const EXPIRING: u64 = 13;
    pub(crate) const MIN_EXPIRES_AT_MS: u64 = 14;
    pub(crate) const MAX_EXPIRES_AT_MS: u64 = 15;
    pub(crate) const SUPERSEDED: u64 = 16;
    pub(crate) const EXPIRY_QUANTILES: u64 = 17;
    pub(crate) const ORIGIN: u64 = 18;
    pub(crate) const TAIL_BYTES: u64 = 19;
}

mod origin {
    pub(super) const DATABASE: u64 = 1;
    pub(super) const EPOCH: u64 = 2;
    pub(super) const TABLE: u64 = 3;
}

/// A table, and where it lies in the tree.
pub(crate) fn put_table(out: &mut Vec<u8>, AddedTable { level, run, meta }: &AddedTable) {
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
    if let Some(origin) = meta.origin.as_deref() {
        let mut fields = Vec::with_capacity(40);
        put(&mut fields, origin::DATABASE, &origin.database.0);
        put_u64(&mut fields, origin::EPOCH, Some(origin.epoch.0));
        put_u64(&mut fields, origin::TABLE, Some(origin.table.0));
        put(out, table::ORIGIN, &fields);
    }
    if meta.tail_bytes != 0 {
        // Who does not know it finds out when it opens the table.
        put_tagged(out, table::TAIL_BYTES << 1 | 1, &meta.tail_bytes.to_le_bytes());
    }
}

/// The table of this field, and where it lies in the tree.
///
/// # Errors
/// [`DecodeError`]; facts that contradict each other too.
pub(crate) fn decode_table(outer: &Field<'_>) -> Result<AddedTable, DecodeError> {
    let (mut level, mut min_key, mut max_key) = (None, None, None);
    let (mut expiry_quantiles, mut origin, mut tail_bytes) = (None, None, None);
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
            table::ORIGIN => once(&mut origin, Box::new(decode_origin(&field)?), &field)?,
            table::TAIL_BYTES => once(&mut tail_bytes, field.u64()?, &field)?,
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
        origin,
        size_bytes: need(table::SIZE_BYTES)?,
        tail_bytes: tail_bytes.unwrap_or(0),
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

fn decode_origin(outer: &Field<'_>) -> Result<Origin, DecodeError> {
    let (mut database, mut epoch, mut id) = (None, None, None);
    let mut fields = outer.fields();
    while let Some(field) = fields.next()? {
        match field.number {
            origin::DATABASE => once(&mut database, DatabaseId(field.array()?), &field)?,
            origin::EPOCH => once(&mut epoch, WriterEpoch(field.u64()?), &field)?,
            origin::TABLE => once(&mut id, TableId(field.u64()?), &field)?,
            _ => field.skip()?,
        }
    }
    let missing = || outer.damaged("a table's origin lacks a field");
    Ok(Origin {
        database: database.ok_or_else(missing)?,
        epoch: epoch.ok_or_else(missing)?,
        table: id.ok_or_else(missing)?,
    })
}
