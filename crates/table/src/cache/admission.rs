//! Room for long blocks: asked for before their memory is taken.
//!
//! A block of a few KiB goes where another goes out; one of 50 MB is a large part of all
//! that blocks may take, and several readers want theirs at once.

use super::{BlockCache, LIMBO_BLOCKS};
use crate::get::CacheUse;
use crate::memory::block::Room;
use crate::memory::block_memory::LONG_BYTES;
use crate::{Error, Value};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tanada_format::planted;

/// How often, and how long each time, a long block waits for room: a second in all, and a
/// fifth of one when no other long block is in the way.
const WAITS: u32 = 10;
const WAITS_ALONE: u32 = 2;
const A_WAIT: Duration = Duration::from_millis(100);
/// So often it looks at most: memory that is given back and does not suffice is no wait.
const MOST_LOOKS: u32 = 10_000;

/// Room for a long block whose memory is about to be taken.
pub(crate) struct Permit<'c> {
    cache: &'c BlockCache,
    bytes: u64,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.cache.pending_bytes.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

impl BlockCache {
    /// Asks for room for a long block, before its memory is taken: gives up other blocks
    /// for it, and waits for readers to let go of theirs, a second at most. A job is not
    /// refused then, for the tree depends on it, nor is a block that no other long one
    /// stands in the way of: it could never be read.
    ///
    /// What the permit stands for counts as taken until it is dropped, which is when the
    /// memory counts itself.
    ///
    /// # Errors
    /// [`Error::MemoryFull`].
    pub(crate) fn admit_long(&self, bytes: usize, cache: CacheUse) -> Result<Permit<'_>, Error> {
        if bytes <= LONG_BYTES {
            return Ok(Permit { cache: self, bytes: 0 });
        }
        let (bytes, mut waits) = (bytes as u64, 0);
        for _ in 0..MOST_LOOKS {
            let returns = self.memory.returns();
            let before = self.pending_bytes.fetch_add(bytes, Ordering::SeqCst);
            let permit = Permit { cache: self, bytes };
            // Below this no giving up of listed blocks leads.
            let least = self.unlisted_bytes() + before + bytes;
            let alone = before + self.memory.long_bytes() == 0;
            if self.excess_bytes() > 0 && (alone || least <= self.allowed_and_taken().0) {
                self.shrink();
                // What readers looked at as it went.
                drop(self.order.lock().limbo.collect(LIMBO_BLOCKS));
            }
            let alone = before + self.memory.long_bytes() == 0;
            if self.excess_bytes() == 0
                || (alone && waits >= WAITS_ALONE)
                || (cache == CacheUse::Bypass && waits >= WAITS)
                || planted!(long_blocks_not_admitted)
            {
                return Ok(permit);
            }
            if waits >= WAITS {
                break;
            }
            drop(permit);
            if !self.memory.wait_past(returns, A_WAIT) {
                waits += 1;
            }
        }
        let (allowed, held) = (self.allowed_and_taken().0, self.memory.long_bytes());
        Err(Error::MemoryFull { needed: bytes, held, allowed })
    }

    /// A copy of a value that lies elsewhere, to be handed out: in the memory of blocks,
    /// which counts it, when it is long.
    ///
    /// # Errors
    /// [`Error::MemoryFull`] after a second without room for it.
    pub fn copy_of(&self, value: &[u8]) -> Result<Value, Error> {
        if value.len() <= LONG_BYTES {
            return Ok(Value::from(value));
        }
        let _turn = self.long_reads.lock();
        let permit = self.admit_long(value.len(), CacheUse::Fill)?;
        let mut room = Room::new(value.len(), Some(&self.memory));
        drop(permit);
        room.copy_from_slice(value);
        Ok(Value::in_block(room.into_bytes(), 0, value.len() as u32))
    }
}
