//! What a table says of itself.
//!
//! A sealed block (never compressed) of fields, each: varint tag, varint
//! length, value. Numbers are `u64`, little-endian. A reader skips tags that it
//! does not know; a writer writes each known one, in the order of their tags.
//! The tags stand in [`TableProperties::encode`].

use crate::damage::{Damage, Fields};
use crate::index::Handle;
use crate::meta::expiries::ExpiryQuantiles;
use crate::seal::compression::Compression;
use tanada_format::{EntryRef, KeyspaceId, SeqNo, ValueKind, WriterEpoch, write_varint};

/// Counts and bounds of one table.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct TableProperties {
    /// Entries: versions of keys, deletes included.
    pub entries: u64,
    /// Different user keys.
    pub keys: u64,
    /// Entries that are deletes.
    pub tombstones: u64,
    /// Entries that are range deletes.
    pub range_tombstones: u64,
    /// Entries that are merge operands.
    pub merge_operands: u64,
    /// Entries that point into blob files.
    pub blob_refs: u64,
    /// Entries that expire.
    pub expiring: u64,
    /// When the first of them does, milliseconds since 1970; 0 when none does.
    pub min_expires_at_ms: u64,
    /// When the last of them does; 0 when none does.
    pub max_expires_at_ms: u64,
    /// Smallest user key; empty in a table without entries.
    pub min_key: Vec<u8>,
    /// Greatest user key.
    pub max_key: Vec<u8>,
    /// Oldest write.
    pub min_seqno: SeqNo,
    /// Newest write.
    pub max_seqno: SeqNo,
    /// Bytes of all keys, as given.
    pub raw_key_bytes: u64,
    /// Bytes of all values, as given.
    pub raw_value_bytes: u64,
    /// Data blocks.
    pub data_blocks: u64,
    /// Bytes of data blocks before compression.
    pub raw_block_bytes: u64,
    /// Bytes of data blocks in the file.
    pub data_bytes: u64,
    /// Bytes of index partitions and top index in the file.
    pub index_bytes: u64,
    /// Bytes of filters in the file.
    pub filter_bytes: u64,
    /// Index partitions.
    pub partitions: u64,
    /// What the builder was told to compress with; a block that it would not
    /// have made smaller is stored raw.
    pub compression: Compression,
    /// Filter bits for each key, in thousandths; 0 means no filter.
    pub filter_millibits_per_key: u64,
    /// Bits that the filter sets and asks for each key.
    pub filter_probes: u64,
    /// Length of the longest block before compression; bounds what any block may declare.
    pub max_block_len: u64,
    /// What blocks were cut at, before compression.
    pub block_size: u64,
    /// When each eighth of the entries that expire has; `None` when all expire at about the
    /// same time, or the table does not say.
    pub expiry_quantiles: Option<Box<ExpiryQuantiles>>,
    /// The keyspace whose entries these are; not every table says so.
    pub keyspace: Option<KeyspaceId>,
    /// The epoch in which the database wrote it.
    pub epoch: WriterEpoch,
    pub(crate) top: TopHandle,
}

/// Where the top index lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct TopHandle {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

impl TableProperties {
    /// Filter bits for each key; 0 means no filter.
    pub fn filter_bits_per_key(&self) -> f64 {
        self.filter_millibits_per_key as f64 / 1000.0
    }

    /// Rate at which the filter says "maybe" to an absent key, by theory.
    pub fn theoretical_false_positive_rate(&self) -> f64 {
        crate::filter::theoretical_false_positive_rate(self.filter_bits_per_key())
    }

    /// Entries of kinds that are [reserved](ValueKind::is_reserved).
    pub fn reserved_entries(&self) -> u64 {
        let kinds = [self.range_tombstones, self.merge_operands, self.blob_refs];
        kinds.into_iter().fold(0, u64::saturating_add)
    }

    pub(crate) fn top_handle(&self) -> Result<Handle, Damage> {
        let len = u32::try_from(self.top.len).map_err(|_| "the top index's length is too large")?;
        Ok(Handle { offset: self.top.offset, len })
    }

    /// Counts one entry. `new_key`: the one before had another user key.
    #[inline]
    pub(crate) fn count(&mut self, entry: &EntryRef<'_>, new_key: bool) {
        if self.entries == 0 {
            self.min_seqno = entry.seqno;
            self.max_seqno = entry.seqno;
        }
        self.entries += 1;
        self.keys += u64::from(new_key);
        self.min_seqno = self.min_seqno.min(entry.seqno);
        self.max_seqno = self.max_seqno.max(entry.seqno);
        self.raw_key_bytes += entry.key.len() as u64;
        self.raw_value_bytes += entry.value.len() as u64;
        match entry.kind {
            ValueKind::Put => {}
            ValueKind::Delete => self.tombstones += 1,
            ValueKind::RangeDelete => self.range_tombstones += 1,
            ValueKind::Merge => self.merge_operands += 1,
            ValueKind::BlobRef => self.blob_refs += 1,
        }
        if entry.expires_at_ms != 0 {
            self.min_expires_at_ms = match self.expiring {
                0 => entry.expires_at_ms,
                _ => self.min_expires_at_ms.min(entry.expires_at_ms),
            };
            self.max_expires_at_ms = self.max_expires_at_ms.max(entry.expires_at_ms);
            self.expiring += 1;
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut bytes = |tag: u64, value: &[u8]| {
            write_varint(&mut out, tag);
            write_varint(&mut out, value.len() as u64);
            out.extend_from_slice(value);
        };
        bytes(1, &self.min_key);
        bytes(2, &self.max_key);
        let numbers = [
            self.entries,
            self.keys,
            self.tombstones,
            self.range_tombstones,
            self.merge_operands,
            self.blob_refs,
            self.expiring,
            self.min_expires_at_ms,
            self.max_expires_at_ms,
            self.min_seqno.0,
            self.max_seqno.0,
            self.raw_key_bytes,
            self.raw_value_bytes,
            self.data_blocks,
            self.raw_block_bytes,
            self.data_bytes,
            self.index_bytes,
            self.filter_bytes,
            self.partitions,
            self.compression as u64,
            self.filter_millibits_per_key,
            self.filter_probes,
            self.max_block_len,
            self.block_size,
            self.top.offset,
            self.top.len,
        ];
        for (tag, n) in (3..).zip(numbers) {
            bytes(tag, &n.to_le_bytes());
        }
        if let Some(keyspace) = self.keyspace {
            bytes(29, &keyspace.0.to_le_bytes());
        }
        if let Some(quantiles) = &self.expiry_quantiles {
            bytes(30, &quantiles.encode());
        }
        if self.epoch != WriterEpoch(0) {
            bytes(31, &self.epoch.0.to_le_bytes());
        }
        out
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<TableProperties, Damage> {
        let mut p = TableProperties::default();
        let mut fields = Fields(bytes);
        let mut seen = 0u64;
        while !fields.0.is_empty() {
            let tag = fields.varint()?;
            let len = fields.varint_u32()? as usize;
            let value = fields.bytes(len)?;
            if tag < 64 {
                seen |= 1 << tag;
            }
            match tag {
                1 => p.min_key = value.to_vec(),
                2 => p.max_key = value.to_vec(),
                3..=28 => {
                    let n = value.try_into().map_err(|_| "a property is not a number")?;
                    p.set(tag, u64::from_le_bytes(n))?;
                }
                29 => {
                    let id = value.try_into().map_err(|_| "a keyspace's id is not a number")?;
                    p.keyspace = Some(KeyspaceId(u32::from_le_bytes(id)));
                }
                30 => p.expiry_quantiles = Some(Box::new(ExpiryQuantiles::parse(value)?)),
                31 => {
                    let epoch = value.try_into().map_err(|_| "the epoch is not a number")?;
                    p.epoch = WriterEpoch(u64::from_le_bytes(epoch));
                }
                _ => {}
            }
        }
        if seen >> 1 & ((1 << 28) - 1) != (1 << 28) - 1 {
            return Err("a property is missing".into());
        }
        Ok(p)
    }

    fn set(&mut self, tag: u64, n: u64) -> Result<(), Damage> {
        match tag {
            3 => self.entries = n,
            4 => self.keys = n,
            5 => self.tombstones = n,
            6 => self.range_tombstones = n,
            7 => self.merge_operands = n,
            8 => self.blob_refs = n,
            9 => self.expiring = n,
            10 => self.min_expires_at_ms = n,
            11 => self.max_expires_at_ms = n,
            12 => self.min_seqno = SeqNo(n),
            13 => self.max_seqno = SeqNo(n),
            14 => self.raw_key_bytes = n,
            15 => self.raw_value_bytes = n,
            16 => self.data_blocks = n,
            17 => self.raw_block_bytes = n,
            18 => self.data_bytes = n,
            19 => self.index_bytes = n,
            20 => self.filter_bytes = n,
            21 => self.partitions = n,
            22 => {
                self.compression = u8::try_from(n)
                    .ok()
                    .and_then(Compression::from_u8)
                    .ok_or("the table's compression is unknown")?;
            }
            23 => self.filter_millibits_per_key = n,
            24 => self.filter_probes = n,
            25 => self.max_block_len = n,
            26 => self.block_size = n,
            27 => self.top.offset = n,
            _ => self.top.len = n,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_read_back_and_unknown_ones_are_skipped() {
        let mut p = TableProperties { min_key: b"a".to_vec(), ..Default::default() };
        for (i, kind) in
            [ValueKind::Delete, ValueKind::Put, ValueKind::Merge].into_iter().enumerate()
        {
            let i = i as u64;
            let expires_at_ms = i * 70;
            let entry =
                EntryRef { key: b"abc", seqno: SeqNo(5 + i), kind, expires_at_ms, value: b"" };
            p.count(&entry, i == 0);
        }
        assert_eq!((p.entries, p.keys, p.tombstones, p.expiring), (3, 1, 1, 2));
        assert_eq!((p.min_expires_at_ms, p.max_expires_at_ms), (70, 140));
        assert_eq!((p.min_seqno, p.max_seqno), (SeqNo(5), SeqNo(7)));
        p.compression = Compression::Zstd;
        p.top = TopHandle { offset: 7, len: 9 };
        let with_keyspace = TableProperties { keyspace: Some(KeyspaceId(3)), ..p.clone() };
        assert_eq!(TableProperties::parse(&with_keyspace.encode()).unwrap(), with_keyspace);
        let expiry_quantiles = Some(Box::new(ExpiryQuantiles([70, 71, 72, 73, 74, 75, 76])));
        let with_quantiles = TableProperties { expiry_quantiles, ..with_keyspace };
        assert_eq!(TableProperties::parse(&with_quantiles.encode()).unwrap(), with_quantiles);
        let with_epoch = TableProperties { epoch: WriterEpoch(9), ..with_quantiles };
        assert_eq!(TableProperties::parse(&with_epoch.encode()).unwrap(), with_epoch);
        let mut bytes = p.encode();
        assert_eq!(TableProperties::parse(&bytes).unwrap(), p);
        for cut in 0..bytes.len() {
            assert!(TableProperties::parse(&bytes[..cut]).is_err());
        }
        bytes.extend_from_slice(&[0xe8, 0x07, 2, 1, 1]);
        assert_eq!(TableProperties::parse(&bytes).unwrap(), p);
    }
}
