//! Room for long blocks: asked for before their memory is taken.
//!
//! A block of a few KiB goes where another goes out; one of 50 MB is a large part of all
//! that blocks may take, and several readers want theirs at once.

use super::BlockCache;
use crate::get::CacheUse;
use crate::memory::block::Room;
use crate::memory::block_memory::LONG_BYTES;
use crate::{Error, Value};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tanada_format::planted;
use tanada_vfs::sync::MutexGuard;

/// How often, and how long each time, a long block waits for room: a second in all, and a
/// fifth of one when no other long block is in the way.
const WAITS: u32 = 10;
const WAITS_ALONE: u32 = 2;
const A_WAIT: Duration = Duration::from_millis(100);
/// So often it looks at most: memory that is given back and does not suffice is no wait.
const MOST_LOOKS: u32 = 10_000;

/// The turn to read a long block.
pub(crate) struct Turn<'c> {
    _one: MutexGuard<'c, ()>,
    /// How often others waited in vain, one behind the other, while this one was in line.
    waits: u32,
}

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
    /// Waits for the turn to read a block of this sealed length; none for one that is
    /// not long.
    pub(crate) fn turn_of(&self, len: u32) -> Option<Turn<'_>> {
        (len as usize > LONG_BYTES).then(|| self.turn_since(self.vain_waits()))
    }

    /// Waits for the turn of one who came when there had been so many waits in vain.
    fn turn_since(&self, vain_waits: u64) -> Turn<'_> {
        let one = self.long_reads.lock();
        let waits = (self.vain_waits() - vain_waits).min(u64::from(WAITS)) as u32;
        Turn { _one: one, waits }
    }

    fn vain_waits(&self) -> u64 {
        self.vain_waits.load(Ordering::Relaxed)
    }

    /// Bytes that long blocks take of which the cache has let go: readers hold them.
    fn held_long_bytes(&self) -> u64 {
        let listed = self.listed_long_bytes.load(Ordering::Relaxed);
        self.memory.long_bytes().saturating_sub(listed)
    }

    /// Asks for room for a long block, before its memory is taken: gives up other blocks
    /// for it, and waits for readers to let go of theirs, a second at most. A job is not
    /// refused then, for the tree depends on it, nor is a block when readers hold no
    /// other long one: it could never be read. Who has waited for its turn while others
    /// waited for room has waited with them.
    ///
    /// What the permit stands for counts as taken until it is dropped, which is when the
    /// memory counts itself.
    ///
    /// # Errors
    /// [`Error::MemoryFull`].
    pub(crate) fn admit_long(
        &self,
        bytes: usize,
        cache: CacheUse,
        turn: Option<&Turn<'_>>,
    ) -> Result<Permit<'_>, Error> {
        if bytes <= LONG_BYTES {
            return Ok(Permit { cache: self, bytes: 0 });
        }
        let (bytes, mut waits) = (bytes as u64, turn.map_or(0, |turn| turn.waits));
        for _ in 0..MOST_LOOKS {
            let returns = self.memory.returns();
            let before = self.pending_bytes.fetch_add(bytes, Ordering::SeqCst);
            let permit = Permit { cache: self, bytes };
            // Below this no giving up of listed blocks leads.
            let least = self.unlisted_bytes() + before + bytes;
            let alone = || before + self.held_long_bytes() == 0;
            let allowed = self.allowed_and_taken().0;
            if self.excess_bytes() > 0 && (alone() || least <= allowed) {
                self.shrink();
                // What readers looked at as it went.
                self.end_turn(self.order.lock());
            }
            // Nothing that others give back makes room for more than all.
            if self.excess_bytes() == 0
                || (alone() && (waits >= WAITS_ALONE || bytes > allowed))
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
                if turn.is_some() {
                    self.vain_waits.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        let (allowed, held) = (self.allowed_and_taken().0, self.held_long_bytes());
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
        let turn = self.turn_since(self.vain_waits());
        let permit = self.admit_long(value.len(), CacheUse::Fill, Some(&turn))?;
        let mut room = Room::new(value.len(), Some(&self.memory));
        drop(permit);
        room.copy_from_slice(value);
        Ok(Value::in_block(room.into_bytes(), 0, value.len() as u32))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Each waited a second, one behind the other: the last of a hundred readers was
    /// refused after as many seconds.
    #[test]
    fn who_was_in_line_while_others_waited_in_vain_does_not_wait_as_long_again() {
        let cache = BlockCache::new(0);
        let held = cache.copy_of(&vec![1; 2 * LONG_BYTES]).unwrap();
        let ask = |vain_waits| {
            let turn = cache.turn_since(vain_waits);
            let refused = cache.admit_long(2 * LONG_BYTES, CacheUse::Fill, Some(&turn));
            assert!(matches!(refused, Err(Error::MemoryFull { .. })));
            cache.vain_waits()
        };
        let came = cache.vain_waits();
        let first = ask(came);
        assert_eq!(first - came, u64::from(WAITS));
        assert_eq!(ask(came), first, "it came when the first did");
        assert_eq!(ask(first - 2), first + u64::from(WAITS) - 2, "it came later");
        drop(held);
        let turn = cache.turn_since(came);
        assert!(cache.admit_long(2 * LONG_BYTES, CacheUse::Fill, Some(&turn)).is_ok());
    }
}
