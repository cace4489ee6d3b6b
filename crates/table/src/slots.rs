//! The slots of one open table's blocks: where the cache's blocks are found.

use crate::block::Block;
use arc_swap::{ArcSwapAny, Guard};
use std::sync::Arc;

/// A slot for each block of a table: data blocks, then index partitions, then
/// filters. Read by anyone, written under the cache's lock.
pub(crate) struct Slots(Box<[Slot]>);

/// Holds one block, or none.
pub(crate) type Slot = ArcSwapAny<Option<Block>>;

impl Slots {
    pub(crate) fn new(blocks: usize) -> Arc<Slots> {
        Arc::new(Slots((0..blocks).map(|_| Slot::new(None)).collect()))
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.len() as u64 * size_of::<Slot>() as u64
    }

    /// The block, if it is in memory. No lock, no shared counter.
    #[inline]
    pub(crate) fn load(&self, number: u32) -> Guard<Option<Block>> {
        self.0[number as usize].load()
    }

    /// One slot, for the cache.
    pub(crate) fn slot(&self, number: u32) -> &Slot {
        &self.0[number as usize]
    }

    /// All slots, for the cache.
    pub(crate) fn all(&self) -> &[Slot] {
        &self.0
    }
}
