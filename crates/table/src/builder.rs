//! Writes one table from sorted entries.
//!
//! File order: data blocks; filters; index partitions; top index; properties;
//! footer. All that a reader needs besides data lies together at the end.

mod long_block;

use crate::Error;
use crate::data::data_block::DataBlockBuilder;
use crate::filter;
use crate::index::fences;
use crate::index::{Handle, PartitionBuilder, TopBuilder};
use crate::meta::expiries::ExpiryCounts;
use crate::meta::footer::{BOUND_TO_ORIGIN, FORMAT_VERSION, Footer};
use crate::meta::properties::{TableProperties, TopHandle};
use crate::seal::compression::{Compression, Compressor};
use crate::seal::sealed::{MAX_RAW_LEN, TRAILER_LEN, seal};
use long_block::LongBlock;
use std::fmt;
use std::path::{Path, PathBuf};
use tanada_format::{
    BlockSalt, DatabaseId, EntryRef, KeyspaceId, MAX_KEY_LEN, MAX_VALUE_LEN, Origin, SeqNo,
    TableId, WriterEpoch, hash_key,
};
use tanada_vfs::WriteFile;

/// Bytes gathered before the file is appended to.
const WRITE_BYTES: usize = 512 << 10;
/// An entry from this size on gets a block of its own.
const ALONE_BYTES: usize = 128 << 10;
/// An index partition is cut at about this size in memory.
const PARTITION_BYTES: usize = 16 << 10;
/// A partition is cut so that its filter is not much longer than this.
const FILTER_BYTES: usize = 64 << 10;
/// Blocks of one partition lie within this span, so that 32 bits reach them.
const PARTITION_SPAN: u64 = 1 << 30;

/// What a [`TableBuilder`] is told.
#[derive(Clone, Debug)]
pub struct TableOptions {
    /// The table's id; bound into every checksum, with the two that follow.
    pub id: TableId,
    /// The database's id.
    pub database: DatabaseId,
    /// The epoch in which the database writes it.
    pub epoch: WriterEpoch,
    /// How blocks are compressed.
    pub compression: Compression,
    /// Data blocks are cut at this many bytes, before compression.
    pub block_size: u32,
    /// Filter bits for each key; 0.0 means no filter. Kept in thousandths.
    pub bits_per_key: f64,
    /// The keyspace whose entries these are, for who has nothing but the file.
    pub keyspace: Option<KeyspaceId>,
    /// When the table is written, milliseconds since 1970: it says when parts of it have
    /// expired. `None`: it says no more than when the first and the last entry do.
    pub written_ms: Option<u64>,
}

impl TableOptions {
    /// LZ4, blocks that take 4 KiB of memory with their bookkeeping, 10 bits a key.
    pub fn new(id: TableId, database: DatabaseId) -> TableOptions {
        let compression = Compression::Lz4;
        TableOptions {
            id,
            database,
            epoch: WriterEpoch(0),
            compression,
            block_size: 4032,
            bits_per_key: 10.0,
            keyspace: None,
            written_ms: None,
        }
    }

    /// Where the table comes from, for ever.
    pub fn origin(&self) -> Origin {
        Origin { database: self.database, epoch: self.epoch, table: self.id }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct TableSummary {
    /// The table's id, and who wrote it.
    pub origin: Origin,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// Counts and bounds.
    pub properties: TableProperties,
}

/// Writes one table from entries in internal order.
///
/// Holds up to about 1 MiB, and of each finished part of the table its index
/// and filter, some 2 % of the data. After an error the file is useless: call
/// [`TableBuilder::abandon`] or drop the builder, and remove the file.
pub struct TableBuilder {
    file: Box<dyn WriteFile>,
    path: PathBuf,
    options: TableOptions,
    /// Binds its blocks to it.
    salt: BlockSalt,
    probes: u32,
    compressor: Compressor,
    properties: TableProperties,
    expiries: Option<ExpiryCounts>,
    /// Sealed bytes not yet appended to the file.
    out: Vec<u8>,
    /// Bytes appended to the file.
    written: u64,
    block: DataBlockBuilder,
    raw: Vec<u8>,
    /// The fence before the block being filled.
    fence: Vec<u8>,
    fence_seqno: SeqNo,
    last_key: Vec<u8>,
    last_seqno: SeqNo,
    partition: PartitionBuilder,
    /// Hashes of the different keys of the partition.
    hashes: Vec<u64>,
    finished: Vec<FinishedPartition>,
    finished_bytes: usize,
}

struct FinishedPartition {
    fence: Vec<u8>,
    fence_seqno: SeqNo,
    blocks: u32,
    index: Vec<u8>,
    filter: Option<Vec<u8>>,
}

impl TableBuilder {
    /// A builder that fills `file`, new and empty. `path` is for messages.
    pub fn new(
        file: Box<dyn WriteFile>,
        path: impl Into<PathBuf>,
        options: TableOptions,
    ) -> TableBuilder {
        assert!(file.is_empty(), "a table is written from the start of its file");
        let millibits = (options.bits_per_key.max(0.0) * 1000.0).round() as u64;
        let probes = if millibits > 0 { filter::probes_for(millibits as f64 / 1000.0) } else { 0 };
        let properties = TableProperties {
            compression: options.compression,
            filter_millibits_per_key: millibits,
            filter_probes: u64::from(probes),
            block_size: u64::from(options.block_size),
            keyspace: options.keyspace,
            epoch: options.epoch,
            ..TableProperties::default()
        };
        TableBuilder {
            file,
            path: path.into(),
            probes,
            compressor: Compressor::new(options.compression),
            expiries: options.written_ms.map(ExpiryCounts::new),
            salt: BlockSalt::of(&options.origin()),
            options,
            properties,
            out: Vec::with_capacity(WRITE_BYTES + (64 << 10)),
            written: 0,
            block: DataBlockBuilder::default(),
            raw: Vec::new(),
            fence: Vec::new(),
            fence_seqno: SeqNo::MAX,
            last_key: Vec::new(),
            last_seqno: SeqNo::ZERO,
            partition: PartitionBuilder::default(),
            hashes: Vec::new(),
            finished: Vec::new(),
            finished_bytes: 0,
        }
    }

    /// Adds the entry that follows all others in internal order.
    ///
    /// # Errors
    /// What the file answers when it is appended to, about each 512 KiB.
    ///
    /// # Panics
    /// When the entry does not follow the last one, or is over a limit: the
    /// table would answer wrongly for ever.
    pub fn add(&mut self, entry: EntryRef<'_>) -> Result<(), Error> {
        let first = self.properties.entries == 0;
        let order = (*self.last_key).cmp(entry.key);
        let new_key = first || order.is_lt();
        assert!(
            new_key || (order.is_eq() && entry.seqno < self.last_seqno),
            "entries come in internal order, each once"
        );
        assert!(
            (1..=MAX_KEY_LEN).contains(&entry.key.len()) && entry.value.len() <= MAX_VALUE_LEN,
            "keys and values are within their limits"
        );
        assert!(entry.seqno <= SeqNo::MAX, "seqnos have 56 bits");
        let alone = entry.key.len() + entry.value.len() >= ALONE_BYTES;
        let mut grown = self.block.grown(&entry);
        if !self.block.is_empty() && (alone || grown.len > self.options.block_size as usize) {
            self.finish_block()?;
            grown = self.block.grown(&entry);
        }
        if self.block.is_empty() {
            self.place_fence(&entry, first);
        }
        if new_key {
            if self.probes > 0 {
                self.hashes.push(hash_key(entry.key));
            }
            self.last_key.clear();
            self.last_key.extend_from_slice(entry.key);
        } else if self.hashes.is_empty() && self.probes > 0 {
            // The key's versions go on in a new partition, whose filter is its own.
            self.hashes.push(hash_key(entry.key));
        }
        if first {
            self.properties.min_key = entry.key.to_vec();
        }
        self.last_seqno = entry.seqno;
        self.properties.count(&entry, new_key);
        if entry.expires_at_ms != 0
            && let Some(expiries) = &mut self.expiries
        {
            expiries.count(entry.expires_at_ms);
        }
        if alone {
            return self.write_alone(&entry);
        }
        self.block.add(&entry, grown);
        Ok(())
    }

    /// Bytes that the file will have if no more is added, within some percent.
    pub fn estimated_size(&self) -> u64 {
        let hashes = self.hashes.len() as u64 * self.properties.filter_millibits_per_key / 8000;
        self.offset()
            + self.block.len() as u64
            + self.partition.decoded_len() as u64
            + self.finished_bytes as u64
            + hashes
            + 512
    }

    /// Bytes of memory that it has, within some percent.
    pub fn memory_bytes(&self) -> u64 {
        let buffers = self.out.capacity() + self.raw.capacity() + self.block.len();
        let buffers = buffers + self.compressor.memory_bytes();
        let partition = self.partition.decoded_len() + 8 * self.hashes.capacity();
        (buffers + partition + self.finished_bytes) as u64
    }

    /// Entries added.
    pub fn entries(&self) -> u64 {
        self.properties.entries
    }

    /// The path given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of memory that the finished parts of the table take until it is written.
    pub fn held_bytes(&self) -> u64 {
        self.finished_bytes as u64
    }

    /// Writes what is left, syncs the file and says what is in it. The name in
    /// the directory is the caller's to sync.
    ///
    /// # Errors
    /// What the file answers; the table is then not to be used.
    pub fn finish(self) -> Result<TableSummary, Error> {
        let (summary, mut file) = self.finish_unsynced()?;
        file.sync()?;
        Ok(summary)
    }

    /// As [`TableBuilder::finish`], but the file is the caller's to sync as well: many
    /// small ones are synced together in the time of one.
    ///
    /// # Errors
    /// As [`TableBuilder::finish`].
    pub fn finish_unsynced(mut self) -> Result<(TableSummary, Box<dyn WriteFile>), Error> {
        if !self.block.is_empty() {
            self.finish_block()?;
        }
        self.finish_partition();
        self.properties.max_key = std::mem::take(&mut self.last_key);
        let max_ms = self.properties.max_expires_at_ms;
        self.properties.expiry_quantiles =
            self.expiries.as_ref().and_then(|expiries| expiries.quantiles(max_ms)).map(Box::new);
        self.properties.data_bytes = self.offset();
        self.properties.partitions = self.finished.len() as u64;

        // Filters first, so that the much smaller indexes lie beside the top
        // index and one read brings them all.
        let mut finished = std::mem::take(&mut self.finished);
        let mut filters = Vec::with_capacity(finished.len());
        for partition in &mut finished {
            let handle = match partition.filter.take() {
                Some(filter) => self.seal_plain(&filter)?,
                None => Handle { offset: 0, len: 0 },
            };
            filters.push(handle);
        }
        self.properties.filter_bytes = self.offset() - self.properties.data_bytes;
        let indexes_at = self.offset();
        let mut top = TopBuilder::default();
        for (partition, filter) in finished.into_iter().zip(filters) {
            let index = self.seal_block(&partition.index)?;
            top.push((&partition.fence, partition.fence_seqno), partition.blocks, index, filter);
        }
        let top = self.seal_block(&top.finish())?;
        self.properties.top = TopHandle { offset: top.offset, len: u64::from(top.len) };
        self.properties.index_bytes = self.offset() - indexes_at;

        // From here on nothing is counted: the properties cannot count themselves.
        let told = self.properties.clone();
        // They say which epoch it is, so they are not bound to it.
        self.salt = BlockSalt::of_id(self.options.id);
        let properties = self.seal_plain(&told.encode())?;
        let footer = Footer {
            properties,
            file_len: self.offset() + crate::meta::footer::FOOTER_LEN as u64,
            required_features: match self.options.epoch {
                WriterEpoch(0) => 0,
                _ => BOUND_TO_ORIGIN,
            },
            optional_features: 0,
            database: self.options.database,
            table: self.options.id,
            version: FORMAT_VERSION,
        };
        self.out.extend_from_slice(&footer.encode());
        self.flush()?;
        let (origin, size_bytes) = (self.options.origin(), self.written);
        Ok((TableSummary { origin, size_bytes, properties: told }, self.file))
    }

    /// Gives up. Returns the path of the file, which the caller removes.
    pub fn abandon(self) -> PathBuf {
        self.path
    }

    /// Where the next sealed byte will lie.
    fn offset(&self) -> u64 {
        self.written + self.out.len() as u64
    }

    /// Notes the fence between the last entry and the block that begins with `entry`.
    fn place_fence(&mut self, entry: &EntryRef<'_>, first: bool) {
        let (len, seqno) = if first {
            (entry.key.len(), SeqNo::MAX)
        } else {
            fences::between((&self.last_key, self.last_seqno), (entry.key, entry.seqno))
        };
        self.fence.clear();
        self.fence.extend_from_slice(&entry.key[..len]);
        self.fence_seqno = seqno;
    }

    fn finish_block(&mut self) -> Result<(), Error> {
        let mut raw = std::mem::take(&mut self.raw);
        self.block.finish(&mut raw);
        let handle = self.seal_block(&raw)?;
        self.finished_block(handle, raw.len());
        self.raw = raw;
        Ok(())
    }

    /// Writes a block of this entry alone, from where the value lies.
    fn write_alone(&mut self, entry: &EntryRef<'_>) -> Result<(), Error> {
        let (salt, offset) = (self.salt, self.offset());
        let block = LongBlock::new(entry);
        let raw_len = block.raw_len();
        let mut compressor = self.take_compressor();
        let len = block.seal(salt, offset, &mut compressor, &mut |bytes| self.append(bytes));
        compressor.trim(2 * ALONE_BYTES);
        self.compressor = compressor;
        let handle = Handle { offset, len: len? as u32 };
        self.properties.max_block_len = self.properties.max_block_len.max(raw_len as u64);
        self.finished_block(handle, raw_len);
        Ok(())
    }

    /// Appends a part of a sealed block; a long one from where it lies.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let direct = bytes.len() >= WRITE_BYTES / 4;
        if direct || self.out.len() + bytes.len() > WRITE_BYTES {
            self.flush()?;
        }
        if !direct {
            self.out.extend_from_slice(bytes);
            return Ok(());
        }
        self.file.append(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Counts a written data block, and ends the partition where it is full.
    fn finished_block(&mut self, handle: Handle, raw_len: usize) {
        self.properties.data_blocks += 1;
        self.properties.raw_block_bytes += raw_len as u64;
        self.partition.push((&self.fence, self.fence_seqno), handle);

        let filter_bits =
            self.hashes.len() as u64 * self.properties.filter_millibits_per_key / 1000;
        let span = handle.end() - self.partition.offset();
        if self.partition.decoded_len() >= PARTITION_BYTES
            || filter_bits >= 8 * FILTER_BYTES as u64
            || span >= PARTITION_SPAN
        {
            self.finish_partition();
        }
    }

    fn finish_partition(&mut self) {
        if self.partition.count() == 0 {
            return;
        }
        let (fence, fence_seqno) = self.partition.first_fence();
        let fence = fence.to_vec();
        let blocks = self.partition.count() as u32;
        let index = self.partition.finish();
        let bits_per_key = self.properties.filter_bits_per_key();
        let filter =
            (self.probes > 0).then(|| filter::build(&self.hashes, bits_per_key, self.probes));
        self.hashes.clear();
        self.finished_bytes += index.len() + filter.as_ref().map_or(0, Vec::len) + fence.len();
        self.finished_bytes += 2 * TRAILER_LEN + 16;
        self.finished.push(FinishedPartition { fence, fence_seqno, blocks, index, filter });
    }

    /// Seals a block as the options say and appends it.
    fn seal_block(&mut self, raw: &[u8]) -> Result<Handle, Error> {
        let offset = self.offset();
        assert!(raw.len() <= MAX_RAW_LEN, "a block holds one entry of the largest size");
        self.properties.max_block_len = self.properties.max_block_len.max(raw.len() as u64);
        let len = seal(&mut self.out, raw, self.salt, offset, &mut self.compressor) as u32;
        if self.out.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(Handle { offset, len })
    }

    /// Seals a block that compression would not make smaller, or that is read
    /// before it is known how long blocks may be.
    fn seal_plain(&mut self, raw: &[u8]) -> Result<Handle, Error> {
        let compressor = self.take_compressor();
        let sealed = self.seal_block(raw);
        self.compressor = compressor;
        sealed
    }

    /// The compressor, to put back; meanwhile there is one that compresses nothing.
    fn take_compressor(&mut self) -> Compressor {
        std::mem::replace(&mut self.compressor, Compressor::new(Compression::None))
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.file.append(&self.out)?;
        self.written += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }
}

impl fmt::Debug for TableBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableBuilder")
            .field("path", &self.path)
            .field("entries", &self.properties.entries)
            .finish_non_exhaustive()
    }
}
