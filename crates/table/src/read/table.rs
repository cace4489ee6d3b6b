//! An open table: opening, finding blocks, looking keys up.

mod blocks;
mod long;
mod lookup;
mod opened;

pub(crate) use long::Bare;
pub(crate) use opened::Opened;

use crate::Error;
use crate::cache::slots::Slots;
use crate::cache::{BlockCache, ReadInFlight};
use crate::damage::Damage;
use crate::get::CacheUse;
use crate::index::{PartitionHandle, Top};
use crate::memory::block_memory::BlockMemory;
use crate::meta::properties::TableProperties;
use crate::seal::sealed;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use tanada_format::{BlockSalt, Corruption, Origin};
use tanada_vfs::ReadFile;

/// One open table file. Immutable; read by many threads at once.
///
/// Resident memory: the top index, 8 bytes a block, and some hundred bytes; all else
/// is in the [`BlockCache`], which counts the resident part too, and what the filter
/// answers.
pub struct Table {
    file: Arc<dyn ReadFile>,
    origin: Origin,
    /// Binds its blocks to it.
    salt: BlockSalt,
    properties: TableProperties,
    top: Top,
    slots: Arc<Slots>,
    cache: Arc<BlockCache>,
}

impl Table {
    /// Opens a table: reads footer, properties and top index, in one read when
    /// the table is not large.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when a newer version wrote it,
    /// [`Error::Corruption`] when it is damaged or comes from elsewhere, [`Error::Io`].
    pub fn open(
        file: Arc<dyn ReadFile>,
        origin: Origin,
        cache: &Arc<BlockCache>,
    ) -> Result<Table, Error> {
        let opened = Opened::read(&*file, origin)?;
        let partitions = opened.top.partitions().len();
        let slots = Slots::new(opened.top.blocks() as usize + 2 * partitions);
        let table = Table {
            file,
            origin,
            salt: BlockSalt::of(&origin),
            properties: opened.properties,
            top: opened.top,
            slots,
            cache: cache.clone(),
        };
        cache.add_resident(table.resident_bytes());
        Ok(table)
    }

    /// Where it comes from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Counts and bounds.
    pub fn properties(&self) -> &TableProperties {
        &self.properties
    }

    /// Bytes of the file.
    pub fn size_bytes(&self) -> u64 {
        self.file.len()
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Bytes of memory that the table holds as long as it is open; its cache
    /// counts them.
    pub fn resident_bytes(&self) -> u64 {
        self.slots.bytes()
            + self.top.heap_bytes() as u64
            + (self.properties.min_key.len() + self.properties.max_key.len()) as u64
            + self.properties.expiry_quantiles.as_deref().map_or(0, size_of_val) as u64
            + self.file.path().as_os_str().len() as u64
            + size_of::<Table>() as u64
    }

    /// Length of the longest block before compression, as far as any may be.
    pub(crate) fn max_block_len(&self) -> usize {
        self.properties.max_block_len.min(sealed::MAX_RAW_LEN as u64) as usize
    }

    #[inline]
    fn filter_number(&self, p: usize) -> u32 {
        self.top.blocks() + (self.top.partitions().len() + p) as u32
    }

    pub(crate) fn top(&self) -> &Top {
        &self.top
    }

    /// Where blocks that are read for it lie.
    pub(crate) fn memory(&self) -> &Arc<BlockMemory> {
        self.cache.memory()
    }

    /// Where what is read ahead of a walk lies.
    pub(crate) fn read_ahead_memory(&self, cache: CacheUse) -> &Arc<BlockMemory> {
        match cache {
            CacheUse::Fill => self.cache.memory(),
            CacheUse::Bypass => self.cache.job_memory(),
        }
    }

    pub(crate) fn file(&self) -> &dyn ReadFile {
        &*self.file
    }

    /// Held over a read of the file: counts it, unless it is a job's.
    pub(crate) fn begin_read(&self, cache: CacheUse) -> Option<ReadInFlight<'_>> {
        (cache == CacheUse::Fill).then(|| self.cache.begin_read())
    }

    pub(crate) fn partition_handle(&self, p: usize) -> &PartitionHandle {
        &self.top.partitions()[p]
    }

    pub(crate) fn damaged(&self, offset: u64, damage: Damage) -> Error {
        Corruption::new(self.file.path(), offset, damage.0).into()
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.cache.release(&self.slots, self.resident_bytes());
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("path", &self.file.path())
            .field("entries", &self.properties.entries)
            .finish_non_exhaustive()
    }
}
