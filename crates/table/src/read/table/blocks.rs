//! A table's blocks: from the cache, or read, checked and decoded.

use super::Table;
use crate::Error;
use crate::cache::Turn;
use crate::epoch::pin;
use crate::get::{CacheUse, GetContext, ReadMode};
use crate::index::Handle;
use crate::memory::block::{self, Block, Kind};
use crate::memory::block_memory::LONG_BYTES;
use crate::seal::sealed;
use std::cell::RefCell;
use tanada_vfs::sync::thread_local;

/// Sealed blocks up to this long are read through a buffer that each thread keeps.
const SCRATCH_LEN: usize = 64 << 10;

thread_local! {
    /// Blocks as they lie in the file.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Blocks decompressed.
    static RAW: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Table {
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
    pub(crate) fn block(
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
    pub(super) fn read_missing(
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
        let block = self.read_now(kind, handle, context.cache, turn.as_ref())?;
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
        if kind == Kind::Data && !self.cache.admits(self.origin.table, number, &block) {
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

    /// Reads, checks and decodes one block. One read of the file; a second one, of some
    /// bytes, for a long block.
    pub(crate) fn read(&self, kind: Kind, handle: Handle, cache: CacheUse) -> Result<Block, Error> {
        let turn = self.cache.turn_of(handle.len);
        self.read_now(kind, handle, cache, turn.as_ref())
    }

    fn read_now(
        &self,
        kind: Kind,
        handle: Handle,
        cache: CacheUse,
        turn: Option<&Turn<'_>>,
    ) -> Result<Block, Error> {
        self.check_inside(handle)?;
        let len = handle.len as usize;
        if len > SCRATCH_LEN {
            return self.read_long(kind, handle, cache, turn);
        }
        SCRATCH.with(|scratch| {
            let scratch = &mut *scratch.borrow_mut();
            if scratch.len() < len {
                scratch.resize(len.next_power_of_two().max(8 << 10), 0);
            }
            let in_flight = self.begin_read(cache);
            self.file.read_exact_at(&mut scratch[..len], handle.offset)?;
            drop(in_flight);
            self.decode(kind, handle, &scratch[..len], cache)
        })
    }

    /// Checks and decodes a sealed block.
    pub(crate) fn decode(
        &self,
        kind: Kind,
        handle: Handle,
        sealed: &[u8],
        cache: CacheUse,
    ) -> Result<Block, Error> {
        let memory = Some(self.memory());
        if kind == Kind::Data {
            let damaged = |damage| self.damaged(handle.offset, damage);
            let checked = sealed::check(sealed, self.salt, handle.offset, self.max_block_len());
            let checked = checked.map_err(damaged)?;
            let permit = match checked.raw_len > LONG_BYTES {
                true => Some(self.cache.admit_long(checked.raw_len, cache, None)?),
                false => None,
            };
            let block = block::unseal(&checked, handle.offset, memory).map_err(damaged);
            drop(permit);
            return block;
        }
        RAW.with(|raw| {
            let raw = &mut *raw.borrow_mut();
            let block = sealed::open(sealed, self.salt, handle.offset, self.max_block_len(), raw)
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
}
