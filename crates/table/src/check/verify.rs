//! Reads a whole table and checks what is said of it in more than one place.

use crate::Error;
use crate::damage::Damage;
use crate::data::key_buffer::KeyBuffer;
use crate::filter::Filter;
use crate::get::CacheUse;
use crate::index::Partition;
use crate::memory::block::{Block, Kind};
use crate::meta::expiries::EXPIRY_PARTS;
use crate::meta::properties::TableProperties;
use crate::read::read_ahead::ReadAhead;
use crate::read::table::{Opened, Table};
use std::cmp::Ordering;
use tanada_format::{EntryRef, SeqNo, compare_internal, hash_key};

/// Bytes read at once.
const READ_BYTES: u32 = 512 << 10;

/// What [`Table::verify`] has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Entries.
    pub entries: u64,
    /// Blocks of all kinds.
    pub blocks: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What has been seen so far.
#[derive(Default)]
struct Walk {
    counted: TableProperties,
    /// Entries that have expired by each quantile that the table tells.
    expired: [u64; EXPIRY_PARTS as usize - 1],
    key: Vec<u8>,
    seqno: SeqNo,
    /// The partition walked.
    part: usize,
    /// The end of the last data block.
    end: u64,
    report: VerifyReport,
}

impl Table {
    /// Reads all of the file, past the cache, and checks every checksum, the
    /// order of entries, counts and bounds, that the index leads to each entry
    /// and that the filter knows each key. Reads each byte once; holds some
    /// hundred KiB.
    ///
    /// # Errors
    /// The first thing that is wrong: [`Error::Corruption`] naming its offset.
    pub fn verify(&self) -> Result<VerifyReport, Error> {
        let opened = Opened::read(self.file(), self.origin())?;
        let properties = &opened.properties;
        let mut walk = Walk::default();
        let mut ahead = ReadAhead::new(READ_BYTES, CacheUse::Fill);
        let mut lens = (0u64, 0u64);
        for (p, handle) in opened.top.partitions().iter().enumerate() {
            let index = self.read(Kind::Index, handle.index, CacheUse::Fill)?;
            let filter = match handle.filter.len {
                0 => None,
                _ => Some(self.read(Kind::Filter, handle.filter, CacheUse::Fill)?),
            };
            let damaged = |what: &'static str| self.damaged(handle.index.offset, what.into());
            let fences = index.index().fences();
            if fences.count() != handle.blocks as usize {
                return Err(damaged("an index partition and the top index count other blocks"));
            }
            let top = opened.top.fences();
            if (top.key(p), top.seqno(p)) != (fences.key(0), fences.seqno(0)) {
                return Err(damaged("an index partition begins elsewhere than the top index says"));
            }
            if properties.filter_millibits_per_key > 0 && filter.is_none() {
                return Err(damaged("a filter is missing"));
            }
            walk.part = p;
            self.walk_partition(&mut walk, &mut ahead, &opened, &index, filter.as_ref())?;
            lens.0 += u64::from(handle.filter.len);
            lens.1 += u64::from(handle.index.len);
            walk.report.blocks += 1 + u64::from(filter.is_some());
        }
        lens.1 += properties.top.len;
        self.check_counts(&mut walk, properties, opened.properties_at, lens)?;
        walk.report.entries = properties.entries;
        walk.report.blocks += properties.data_blocks + 2;
        walk.report.bytes = self.size_bytes();
        Ok(walk.report)
    }

    fn walk_partition(
        &self,
        walk: &mut Walk,
        ahead: &mut ReadAhead,
        opened: &Opened,
        index: &Block,
        filter: Option<&Block>,
    ) -> Result<(), Error> {
        let partition = index.index();
        for b in 0..partition.count() {
            let handle = partition.handle(b);
            if handle.offset != walk.end {
                let what = "data blocks do not lie one behind the other";
                return Err(self.damaged(handle.offset, what.into()));
            }
            walk.end = handle.end();
            let block = ahead.block(self, handle, partition.end())?;
            walk.block(&block, opened, (partition, b), filter.map(|f| f.filter()))
                .map_err(|what| self.damaged(handle.offset, what))?;
        }
        Ok(())
    }

    fn check_counts(
        &self,
        walk: &mut Walk,
        told: &TableProperties,
        at: u64,
        (filter_bytes, index_bytes): (u64, u64),
    ) -> Result<(), Error> {
        walk.counted.max_key = std::mem::take(&mut walk.key);
        walk.counted.data_bytes = walk.end;
        walk.counted.filter_bytes = filter_bytes;
        walk.counted.index_bytes = index_bytes;
        // What cannot be counted is taken as told.
        let counted = TableProperties {
            partitions: told.partitions,
            compression: told.compression,
            filter_millibits_per_key: told.filter_millibits_per_key,
            filter_probes: told.filter_probes,
            max_block_len: told.max_block_len,
            block_size: told.block_size,
            keyspace: told.keyspace,
            epoch: told.epoch,
            expiry_quantiles: told.expiry_quantiles.clone(),
            top: told.top,
            ..walk.counted.clone()
        };
        if counted != *told {
            return Err(self.damaged(at, "the properties are not those of the entries".into()));
        }
        if let Some(quantiles) = &told.expiry_quantiles {
            let least = |part: u64| (told.expiring * part).div_ceil(EXPIRY_PARTS);
            let enough = (1..).zip(walk.expired).all(|(part, expired)| expired >= least(part));
            if !enough || quantiles.0.last() > Some(&told.max_expires_at_ms) {
                return Err(self.damaged(at, "the quantiles of expiry are not the entries'".into()));
            }
        }
        if told.data_bytes + filter_bytes + index_bytes != at {
            return Err(self.damaged(at, "there are bytes that no block accounts for".into()));
        }
        Ok(())
    }
}

impl Walk {
    /// Checks one data block: number `b` of `partition`.
    fn block(
        &mut self,
        block: &Block,
        opened: &Opened,
        (partition, b): (&Partition, usize),
        filter: Option<Filter<'_>>,
    ) -> Result<(), Damage> {
        let data = block.data();
        self.counted.data_blocks += 1;
        self.counted.raw_block_bytes += data.bytes.len() as u64;
        let fences = partition.fences();
        let fence = (fences.key(b), fences.seqno(b));
        if self.counted.entries > 0
            && compare_internal((&self.key, self.seqno), (&fence.0, fence.1)) != Ordering::Less
        {
            return Err("the block before reaches over the fence of this one".into());
        }
        let mut key = KeyBuffer::default();
        key.set_prefix(data.prefix());
        for i in 0..data.count() {
            let slot = data.slot(i)?;
            data.write_key(i, &slot, &mut key);
            let entry = EntryRef {
                key: &key,
                seqno: slot.seqno,
                kind: slot.kind,
                expires_at_ms: slot.expires_at_ms,
                value: slot.value,
            };
            self.entry(&entry, (&fence.0, fence.1), filter)?;
            if let Some(quantiles) =
                opened.properties.expiry_quantiles.as_deref().filter(|_| entry.expires_at_ms != 0)
            {
                let by_then = quantiles.0.map(|at_ms| u64::from(entry.expires_at_ms <= at_ms));
                self.expired.iter_mut().zip(by_then).for_each(|(count, more)| *count += more);
            }
            let led = opened.top.fences().part(&key, slot.seqno) == self.part
                && fences.part(&key, slot.seqno) == b
                && data.lower_bound(&key, slot.seqno)? == i;
            if !led {
                return Err("the index does not lead to an entry".into());
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &EntryRef<'_>,
        fence: (&[u8], SeqNo),
        filter: Option<Filter<'_>>,
    ) -> Result<(), Damage> {
        let here = (entry.key, entry.seqno);
        let first = self.counted.entries == 0;
        if !first && compare_internal((&self.key, self.seqno), here) != Ordering::Less {
            return Err("entries are out of order".into());
        }
        if compare_internal(fence, here) == Ordering::Greater {
            return Err("an entry lies before its block's fence".into());
        }
        if filter.is_some_and(|f| !f.may_contain(hash_key(entry.key))) {
            return Err("the filter does not know a key of this block".into());
        }
        let new_key = first || self.key != entry.key;
        if first {
            self.counted.min_key = entry.key.to_vec();
        }
        self.counted.count(entry, new_key);
        if new_key {
            self.key.clear();
            self.key.extend_from_slice(entry.key);
        }
        self.seqno = entry.seqno;
        Ok(())
    }
}
