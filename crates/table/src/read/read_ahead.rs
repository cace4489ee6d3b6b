//! Reads data blocks that follow each other in few large reads.

use crate::Error;
use crate::get::CacheUse;
use crate::index::Handle;
use crate::memory::block::{Block, Kind, Room};
use crate::read::table::Table;

/// A stretch of a table's file, read at once when blocks are asked for in order.
pub(crate) struct ReadAhead {
    /// Most bytes read at once.
    limit: usize,
    /// What becomes of the blocks: says where `bytes` lie.
    cache: CacheUse,
    /// Bytes to read at once next time, when the walk goes on in order.
    step: usize,
    /// In the cache's memory, which counts it. A compaction has one of these a run, and
    /// they are in its own account.
    bytes: Option<Room>,
    /// Where `bytes` begins in the file.
    start: u64,
    /// The end of the block given out last.
    expected: u64,
}

impl ReadAhead {
    pub(crate) fn new(limit: u32, cache: CacheUse) -> ReadAhead {
        ReadAhead { limit: limit as usize, cache, step: 0, bytes: None, start: 0, expected: 0 }
    }

    /// The data block at `handle`. Blocks up to `end` may be read with it.
    pub(crate) fn block(
        &mut self,
        table: &Table,
        handle: Handle,
        end: u64,
    ) -> Result<Block, Error> {
        table.check_inside(handle)?;
        let in_order = handle.offset == self.expected;
        self.expected = handle.end();
        let len = handle.len as usize;
        if let Some(sealed) = self.held(handle) {
            return table.decode(Kind::Data, handle, sealed, self.cache);
        }
        // The second block alone, too: a short scan reads one or two, and what
        // is read for nothing costs as much as what is needed.
        self.step = match self.step {
            _ if !in_order => 0,
            0 => 1,
            step => (step * 2).max(4 * len).min(self.limit),
        };
        if self.step <= len {
            return table.read(Kind::Data, handle, self.cache);
        }
        let end = end.min(table.file().len()).max(handle.end());
        let step = self.step.min((end - handle.offset) as usize);
        // The old stretch first: the new one may take its place.
        let room = self.bytes.take().filter(|room| room.len() == step);
        let mut room =
            room.unwrap_or_else(|| Room::new(step, Some(table.read_ahead_memory(self.cache))));
        let in_flight = table.begin_read(self.cache);
        table.file().read_exact_at(&mut room, handle.offset)?;
        drop(in_flight);
        self.start = handle.offset;
        let room = self.bytes.insert(room);
        table.decode(Kind::Data, handle, &room[..len], self.cache)
    }

    /// The sealed block, when it lies in what was read.
    pub(crate) fn held(&self, handle: Handle) -> Option<&[u8]> {
        let at = usize::try_from(handle.offset.checked_sub(self.start)?).ok()?;
        self.bytes.as_deref()?.get(at..)?.get(..handle.len as usize)
    }
}
