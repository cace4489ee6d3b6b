//! An open table: opening, finding blocks, looking keys up.

use crate::cache::slots::{BlockRef, Slots};
use crate::cache::{BlockCache, FilterAnswer};
use crate::damage::Damage;
use crate::epoch::{Pin, pin};
use crate::get::{CacheUse, Found, GetContext, InMemory, Missing, ReadMode};
use crate::index::{Handle, PartitionHandle, Top};
use crate::memory::block::{self, Block, Kind, Room};
use crate::memory::block_memory::BlockMemory;
use crate::meta::footer::{FOOTER_LEN, Footer};
use crate::meta::properties::TableProperties;
use crate::seal::sealed;
use crate::{Error, Value};
use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use tanada_format::{Corruption, DatabaseId, MAX_KEY_LEN, SeqNo, TableId};
use tanada_vfs::ReadFile;

/// What is read at once when a table is opened: nearly always all it takes.
const TAIL_LEN: u64 = 8 << 10;
/// No properties are longer: two keys and some numbers.
const MAX_PROPERTIES_LEN: usize = 2 * MAX_KEY_LEN + (64 << 10);
/// Sealed blocks up to this long are read through a buffer that each thread keeps.
const SCRATCH_LEN: usize = 64 << 10;

thread_local! {
    /// Blocks as they lie in the file.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Blocks decompressed.
    static RAW: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One open table file. Immutable; read by many threads at once.
///
/// Resident memory: the top index, 8 bytes a block, and some hundred bytes; all else
/// is in the [`BlockCache`], which counts the resident part too, and what the filter
/// answers.
pub struct Table {
    file: Arc<dyn ReadFile>,
    id: TableId,
    properties: TableProperties,
    top: Top,
    max_block_len: usize,
    slots: Arc<Slots>,
    cache: Arc<BlockCache>,
}

/// Blocks of one lookup that had to be read: the cache may not have kept them.
#[derive(Default)]
struct Own {
    filter: Option<Block>,
    index: Option<Block>,
}

/// A block in hand, for as long as a pin lives.
enum Held<'p> {
    Cached(BlockRef<'p>),
    Own(&'p Block),
}

impl Deref for Held<'_> {
    type Target = Block;
    #[inline]
    fn deref(&self) -> &Block {
        match self {
            Held::Cached(block) => block,
            Held::Own(block) => block,
        }
    }
}

/// How far a lookup came.
enum Step {
    Absent,
    Found(Found),
    Missing(Missing),
}

impl Table {
    /// Opens a table: reads footer, properties and top index, in one read when
    /// the table is not large.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when a newer version wrote it,
    /// [`Error::Corruption`] when it is damaged or is not this table of this
    /// database, [`Error::Io`].
    pub fn open(
        file: Arc<dyn ReadFile>,
        id: TableId,
        database: DatabaseId,
        cache: &Arc<BlockCache>,
    ) -> Result<Table, Error> {
        let opened = Opened::read(&*file, id, database)?;
        let partitions = opened.top.partitions().len();
        let slots = Slots::new(opened.top.blocks() as usize + 2 * partitions);
        let table = Table {
            file,
            id,
            max_block_len: opened.properties.max_block_len.min(sealed::MAX_RAW_LEN as u64) as usize,
            properties: opened.properties,
            top: opened.top,
            slots,
            cache: cache.clone(),
        };
        cache.add_resident(table.resident_bytes());
        Ok(table)
    }

    /// The table's id.
    pub fn id(&self) -> TableId {
        self.id
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
            + self.file.path().as_os_str().len() as u64
            + size_of::<Table>() as u64
    }

    /// Whether the filter knows `key`, whose [`tanada_format::hash_key`] is
    /// `hash`: `false` means that no version of it is here. `true` when the
    /// table has no filter. Counts nothing.
    ///
    /// # Errors
    /// Those of reading the filter.
    pub fn may_contain(
        &self,
        key: &[u8],
        hash: u64,
        context: &GetContext<'_>,
    ) -> Result<bool, Error> {
        if self.top.partitions().is_empty() {
            return Ok(false);
        }
        let p = self.top.fences().part(key, SeqNo::MAX);
        // Versions of one key may go on in the partitions behind.
        let last = self.top.fences().part(key, SeqNo::ZERO);
        for p in p..=last {
            match self.filter(p, context)? {
                Some(filter) if !filter.filter().may_contain(hash) => {}
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// The newest version of `key` that is not newer than `seqno`. `hash` is
    /// the key's [`tanada_format::hash_key`].
    ///
    /// Cost when all is cached: that of [`Table::get_in_memory`].
    ///
    /// # Errors
    /// Those of reading blocks; [`Error::WouldBlock`] when the context forbids
    /// reading and a block is not in memory.
    pub fn get(
        &self,
        key: &[u8],
        hash: u64,
        seqno: SeqNo,
        context: &GetContext<'_>,
    ) -> Result<Option<Found>, Error> {
        // A pin made in the `match` itself would live through its arms.
        let step = self.step(key, hash, seqno, context, &Own::default(), &pin())?;
        match step {
            Step::Absent => Ok(None),
            Step::Found(found) => Ok(Some(found)),
            Step::Missing(missing) => self.get_from(missing, key, hash, seqno, context),
        }
    }

    /// As [`Table::get`], with all the same, from where [`Table::get_in_memory`] ended.
    ///
    /// # Errors
    /// As [`Table::get`].
    pub fn get_from(
        &self,
        missing: Missing,
        key: &[u8],
        hash: u64,
        seqno: SeqNo,
        context: &GetContext<'_>,
    ) -> Result<Option<Found>, Error> {
        let (mut own, mut missing) = (Own::default(), missing);
        loop {
            // Under no pin.
            let block = self.read_missing(missing.kind, missing.number, context, missing.handle)?;
            match missing.kind {
                Kind::Filter => own.filter = Some(block),
                Kind::Index => own.index = Some(block),
                Kind::Data => {
                    context.note(|t| t.data_cached = Some(false));
                    return self.find_in(&block, missing.filtered, key, seqno, context, &pin());
                }
            }
            missing = match self.step(key, hash, seqno, context, &own, &pin())? {
                Step::Absent => return Ok(None),
                Step::Found(found) => return Ok(Some(found)),
                Step::Missing(missing) => missing,
            };
        }
    }

    /// As [`Table::get`] from memory alone, under a pin that may serve several tables.
    ///
    /// Cost when all is cached: one line of the filter; when that says "maybe",
    /// a search of the index partition and of one data block. No lock, no
    /// allocation, no counter that threads share, except the reference count of
    /// the block that the value is handed out from.
    ///
    /// # Errors
    /// Damage.
    #[inline]
    pub fn get_in_memory(
        &self,
        key: &[u8],
        hash: u64,
        seqno: SeqNo,
        pin: &Pin,
    ) -> Result<InMemory, Error> {
        const NONE: Own = Own { filter: None, index: None };
        Ok(match self.step(key, hash, seqno, &GetContext::default(), &NONE, pin)? {
            Step::Absent => InMemory::Absent,
            Step::Found(found) => InMemory::Found(found),
            Step::Missing(missing) => InMemory::Unknown(missing),
        })
    }

    /// Looks the key up in the blocks in memory and in `own`.
    #[inline(always)] // one caller is hot, and knows most arguments
    fn step(
        &self,
        key: &[u8],
        hash: u64,
        seqno: SeqNo,
        context: &GetContext<'_>,
        own: &Own,
        pin: &Pin,
    ) -> Result<Step, Error> {
        if self.top.partitions().is_empty() {
            return Ok(Step::Absent);
        }
        // The partition, and the block in it, that hold the answer if any does.
        let p = self.top.fences().part(key, seqno);
        let partition = &self.top.partitions()[p];
        // Blocks are needed in this order: before one was read, those before it were there.
        let had_filter = own.index.is_some();
        let number = self.filter_number(p);
        let mut filtered = false;
        if partition.filter.len != 0 {
            let Some(filter) =
                self.held(Kind::Filter, number, context, (&own.filter, had_filter), pin)
            else {
                return Ok(Step::Missing(Missing {
                    kind: Kind::Filter,
                    number,
                    handle: partition.filter,
                    filtered,
                }));
            };
            let maybe = filter.filter().may_contain(hash);
            context.note(|t| {
                t.filter_maybe = Some(maybe);
                t.filter_cached = Some(own.filter.is_none());
            });
            if !maybe {
                self.cache.count_filter(FilterAnswer::Negative, pin);
                return Ok(Step::Absent);
            }
            filtered = true;
        }
        let number = self.top.blocks() + p as u32;
        let Some(index) = self.held(Kind::Index, number, context, (&own.index, false), pin) else {
            let handle = partition.index;
            return Ok(Step::Missing(Missing { kind: Kind::Index, number, handle, filtered }));
        };
        context.note(|t| t.index_cached = Some(own.index.is_none()));
        let b = index.index().fences().part(key, seqno);
        let number = partition.first_block + b as u32;
        self.slots.prefetch(number);
        let Some(data) = self.held(Kind::Data, number, context, (&None, false), pin) else {
            let handle = index.index().handle(b);
            return Ok(Step::Missing(Missing { kind: Kind::Data, number, handle, filtered }));
        };
        context.note(|t| t.data_cached = Some(true));
        let found = self.find_in(&data, filtered, key, seqno, context, pin)?;
        Ok(found.map_or(Step::Absent, Step::Found))
    }

    /// Looks the key up in the one data block that may have it; `filtered` says that a
    /// filter said "maybe".
    #[inline(always)] // one caller is hot
    fn find_in(
        &self,
        data: &Block,
        filtered: bool,
        key: &[u8],
        seqno: SeqNo,
        context: &GetContext<'_>,
        pin: &Pin,
    ) -> Result<Option<Found>, Error> {
        context.note(|t| t.data_offset = Some(data.offset()));
        let found = match data.data().get(key, seqno) {
            Ok(None) => None,
            Ok(Some(slot)) => {
                let (seqno, kind, expires_at_ms) = (slot.seqno, slot.kind, slot.expires_at_ms);
                let value = if Value::fits_inline(slot.value.len()) {
                    Value::from(slot.value)
                } else {
                    let (at, len) = (slot.value_at, slot.value.len() as u32);
                    Value::in_block(data.clone(), at, len)
                };
                Some(Found { value, seqno, kind, expires_at_ms })
            }
            Err(damage) => return Err(self.damaged(data.offset(), damage)),
        };
        if filtered {
            let answer = match found {
                Some(_) => FilterAnswer::TruePositive,
                None => FilterAnswer::FalsePositive,
            };
            self.cache.count_filter(answer, pin);
        }
        context.note(|t| t.found = found.is_some());
        Ok(found)
    }

    /// A block that was read before, or that is in the cache: a hit, unless this
    /// lookup has counted it.
    #[inline(always)]
    fn held<'p>(
        &'p self,
        kind: Kind,
        number: u32,
        context: &GetContext<'_>,
        (own, counted): (&'p Option<Block>, bool),
        pin: &'p Pin,
    ) -> Option<Held<'p>> {
        if let Some(block) = own {
            return Some(Held::Own(block));
        }
        let block = self.slots.get(number, pin)?;
        if context.cache == CacheUse::Fill && !counted {
            block.visit();
            self.cache.count_hit(kind, pin);
        }
        Some(Held::Cached(block))
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

    pub(crate) fn file(&self) -> &dyn ReadFile {
        &*self.file
    }

    pub(crate) fn partition_handle(&self, p: usize) -> &PartitionHandle {
        &self.top.partitions()[p]
    }

    /// The filter of partition `p`, when the table has filters.
    pub(crate) fn filter(
        &self,
        p: usize,
        context: &GetContext<'_>,
    ) -> Result<Option<Block>, Error> {
        let handle = self.partition_handle(p).filter;
        if handle.len == 0 {
            return Ok(None);
        }
        self.block(Kind::Filter, self.filter_number(p), context, handle).map(Some)
    }

    /// Index partition `p`.
    pub(crate) fn index(&self, p: usize, context: &GetContext<'_>) -> Result<Block, Error> {
        let number = self.top.blocks() + p as u32;
        self.block(Kind::Index, number, context, self.partition_handle(p).index)
    }

    /// A block, from the cache or from the file.
    fn block(
        &self,
        kind: Kind,
        number: u32,
        context: &GetContext<'_>,
        handle: Handle,
    ) -> Result<Block, Error> {
        if let Some(block) = self.held(kind, number, context, (&None, false), &pin()) {
            return Ok(block.clone());
        }
        self.read_missing(kind, number, context, handle)
    }

    /// Reads a block that is not in the cache, and puts it there unless told not to.
    #[cold]
    fn read_missing(
        &self,
        kind: Kind,
        number: u32,
        context: &GetContext<'_>,
        handle: Handle,
    ) -> Result<Block, Error> {
        if context.mode == ReadMode::MemoryOnly {
            return Err(Error::WouldBlock);
        }
        // Others that miss the same long block find it when their turn comes.
        let turn = self.cache.turn_of(handle.len);
        if turn.is_some()
            && let Some(block) = self.held(kind, number, context, (&None, true), &pin())
        {
            return Ok(block.clone());
        }
        let block = self.read_now(kind, handle)?;
        drop(turn);
        if kind == Kind::Index {
            let p = (number - self.top.blocks()) as usize;
            if block.index().count() != self.partition_handle(p).blocks as usize {
                let what = "an index partition and the top index count other blocks";
                return Err(self.damaged(handle.offset, what.into()));
            }
        }
        if context.cache == CacheUse::Bypass {
            return Ok(block);
        }
        // An index partition or a filter serves many data blocks.
        if kind == Kind::Data && !self.cache.admits(self.id, number, &block) {
            self.cache.count_miss(kind);
            return Ok(block);
        }
        Ok(self.admit(kind, number, block))
    }

    /// Counts a miss and puts a block that was read into the cache.
    pub(crate) fn admit(&self, kind: Kind, number: u32, block: Block) -> Block {
        self.cache.count_miss(kind);
        self.cache.insert(&self.slots, number, block)
    }

    /// Asks the processor for the first lines of the data block with this number in
    /// the table, if it is in the cache.
    #[inline]
    pub(crate) fn prefetch_data(&self, number: u32) {
        self.slots.prefetch(number);
    }

    /// The data block with this number in the table, if it is in the cache.
    #[inline]
    pub(crate) fn cached_data(&self, number: u32, cache: CacheUse) -> Option<Block> {
        let context = GetContext { cache, ..GetContext::default() };
        let pin = pin();
        let block = self.held(Kind::Data, number, &context, (&None, false), &pin)?;
        Some(block.clone())
    }

    /// Reads, checks and decodes one block. One read of the file.
    pub(crate) fn read(&self, kind: Kind, handle: Handle) -> Result<Block, Error> {
        let _turn = self.cache.turn_of(handle.len);
        self.read_now(kind, handle)
    }

    fn read_now(&self, kind: Kind, handle: Handle) -> Result<Block, Error> {
        self.check_inside(handle)?;
        let len = handle.len as usize;
        if len > SCRATCH_LEN {
            return self.read_long(kind, handle);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            if scratch.len() < len {
                scratch.resize(len.next_power_of_two().max(8 << 10), 0);
            }
            self.file.read_exact_at(&mut scratch[..len], handle.offset)?;
            self.decode(kind, handle, &scratch[..len])
        })
    }

    /// The same for one that each thread should not keep a buffer for.
    #[cold]
    fn read_long(&self, kind: Kind, handle: Handle) -> Result<Block, Error> {
        let memory = Some(self.memory());
        let mut sealed = Room::new(handle.len as usize, memory);
        self.cache.make_room();
        self.file.read_exact_at(&mut sealed, handle.offset)?;
        if kind != Kind::Data {
            return self.decode(kind, handle, &sealed);
        }
        let damaged = |damage| self.damaged(handle.offset, damage);
        let checked = sealed::check(&sealed, self.id, handle.offset, self.max_block_len);
        let checked = checked.map_err(damaged)?;
        let raw = if checked.is_raw() {
            let raw_len = checked.raw_len;
            sealed.truncate(raw_len);
            sealed
        } else {
            let mut raw = Room::new(checked.raw_len, memory);
            self.cache.make_room();
            checked.decompress(&mut raw).map_err(damaged)?;
            raw
        };
        raw.into_data(handle.offset).map_err(damaged)
    }

    /// Checks and decodes a sealed block.
    pub(crate) fn decode(&self, kind: Kind, handle: Handle, sealed: &[u8]) -> Result<Block, Error> {
        let memory = Some(self.memory());
        if kind == Kind::Data {
            return sealed::check(sealed, self.id, handle.offset, self.max_block_len)
                .and_then(|checked| block::unseal(&checked, handle.offset, memory))
                .map_err(|damage| self.damaged(handle.offset, damage));
        }
        RAW.with_borrow_mut(|raw| {
            let block = sealed::open(sealed, self.id, handle.offset, self.max_block_len, raw)
                .and_then(|raw| block::decode(kind, raw, handle.offset, memory));
            if raw.len() > SCRATCH_LEN {
                *raw = Vec::new();
            }
            block.map_err(|damage| self.damaged(handle.offset, damage))
        })
    }

    /// Refuses a handle that points outside the file, before memory is taken for it.
    pub(crate) fn check_inside(&self, handle: Handle) -> Result<(), Error> {
        if handle.end() > self.file.len() {
            return Err(self.damaged(handle.offset, "a block ends behind the file's end".into()));
        }
        Ok(())
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

/// What opening reads.
pub(crate) struct Opened {
    pub(crate) properties: TableProperties,
    pub(crate) top: Top,
    /// Where the properties begin; everything before is blocks.
    pub(crate) properties_at: u64,
}

impl Opened {
    pub(crate) fn read(
        file: &dyn ReadFile,
        id: TableId,
        database: DatabaseId,
    ) -> Result<Opened, Error> {
        let path = file.path();
        let damaged = |offset, what: Damage| Error::from(Corruption::new(path, offset, what.0));
        let len = file.len();
        let footer_at = len
            .checked_sub(FOOTER_LEN as u64)
            .ok_or_else(|| damaged(0, "it is shorter than a table's footer".into()))?;
        let tail_at = len.saturating_sub(TAIL_LEN);
        let mut tail = vec![0; (len - tail_at) as usize];
        file.read_exact_at(&mut tail, tail_at)?;

        let footer = tail.last_chunk().expect("the tail is longer than the footer");
        let footer = Footer::parse(footer).map_err(|what| damaged(footer_at, what))?;
        if let Some(what) = footer.unsupported() {
            return Err(Error::Unsupported { file: path.to_path_buf(), what });
        }
        if footer.database != database {
            let what = format!("it belongs to database {}, not {database}", footer.database);
            return Err(damaged(footer_at, what.into()));
        }
        if footer.table != id {
            let what = format!("it is table {}, not {id}", footer.table);
            return Err(damaged(footer_at, what.into()));
        }
        if footer.file_len != len {
            let what = format!("it has {len} bytes and was written with {}", footer.file_len);
            return Err(damaged(footer_at, what.into()));
        }

        // From the tail when it lies there, else read.
        let sealed = |handle: Handle, max_len: usize| -> Result<Vec<u8>, Error> {
            if handle.end() > footer_at {
                return Err(damaged(handle.offset, "a block reaches into the footer".into()));
            }
            let read;
            let bytes = match handle.offset.checked_sub(tail_at) {
                Some(start) => &tail[start as usize..][..handle.len as usize],
                None => {
                    let mut bytes = vec![0; handle.len as usize];
                    file.read_exact_at(&mut bytes, handle.offset)?;
                    read = bytes;
                    &read
                }
            };
            sealed::open_alone(bytes.to_vec(), id, handle.offset, max_len)
                .map_err(|what| damaged(handle.offset, what))
        };
        let at = footer.properties;
        let properties = sealed(at, MAX_PROPERTIES_LEN)?;
        let properties =
            TableProperties::parse(&properties).map_err(|what| damaged(at.offset, what))?;
        let top_at = properties.top_handle().map_err(|what| damaged(at.offset, what))?;
        let max_len = usize::try_from(properties.max_block_len).unwrap_or(usize::MAX);
        let top = Top::parse(&sealed(top_at, max_len)?, footer_at)
            .map_err(|what| damaged(top_at.offset, what))?;
        if u64::from(top.blocks()) != properties.data_blocks
            || top.partitions().len() as u64 != properties.partitions
        {
            return Err(damaged(top_at.offset, "the top index counts other blocks".into()));
        }
        Ok(Opened { properties, top, properties_at: at.offset })
    }
}
