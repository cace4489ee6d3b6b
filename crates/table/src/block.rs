//! A decoded block in memory, as the cache keeps it.

use crate::damage::Damage;
use crate::data_block::DataBlock;
use crate::filter::Filter;
use crate::index::Partition;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What a block holds. Partitions are large and few, so they lie apart.
enum Content {
    Data(DataBlock),
    Index(Box<Partition>),
    Filter(Filter),
}

/// The three kinds, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data = 0,
    Index = 1,
    Filter = 2,
}

/// A decoded block, shared by the cache and by those who read it. With its
/// reference counts it takes 64 bytes: a lookup touches one line of it.
pub(crate) struct Block {
    content: Content,
    /// Where it lies in its file.
    offset: u64,
    /// Read since the eviction hand last passed. Relaxed: a lost or late mark
    /// makes the cache a little worse, never wrong. Written only when it is
    /// not set, so that readers of a hot block share its line.
    visited: AtomicBool,
    /// Its place in the cache's list; read and written under the cache's lock.
    node: AtomicU32,
}

impl Block {
    /// Decodes a block that has been checked and decompressed.
    pub(crate) fn parse(kind: Kind, bytes: Vec<u8>, offset: u64) -> Result<Block, Damage> {
        let content = match kind {
            Kind::Data => Content::Data(DataBlock::parse(bytes)?),
            Kind::Index => Content::Index(Box::new(Partition::parse(&bytes)?)),
            Kind::Filter => Content::Filter(Filter::parse(&bytes)?),
        };
        let visited = AtomicBool::new(false);
        Ok(Block { content, offset, visited, node: AtomicU32::new(u32::MAX) })
    }

    /// Bytes of memory, the reference counts included.
    pub(crate) fn cost_bytes(&self) -> u64 {
        let heap = match &self.content {
            Content::Data(b) => b.heap_bytes(),
            Content::Index(b) => b.heap_bytes() + size_of::<Partition>(),
            Content::Filter(b) => b.heap_bytes(),
        };
        (heap + size_of::<Block>() + 2 * size_of::<usize>()) as u64
    }

    /// Where the block lies in its file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// This block as a data block. Slots are numbered by kind, so a caller
    /// knows what it asked for.
    #[inline]
    pub(crate) fn data(&self) -> &DataBlock {
        match &self.content {
            Content::Data(b) => b,
            _ => unreachable!("the slots of data blocks hold data blocks"),
        }
    }

    /// This block as an index partition.
    #[inline]
    pub(crate) fn index(&self) -> &Partition {
        match &self.content {
            Content::Index(b) => b,
            _ => unreachable!("the slots of partitions hold partitions"),
        }
    }

    /// This block as a filter.
    #[inline]
    pub(crate) fn filter(&self) -> &Filter {
        match &self.content {
            Content::Filter(b) => b,
            _ => unreachable!("the slots of filters hold filters"),
        }
    }

    /// The decompressed bytes of a data block.
    #[inline]
    pub(crate) fn data_bytes(&self) -> &[u8] {
        self.data().bytes()
    }

    /// Notes a read.
    #[inline]
    pub(crate) fn visit(&self) {
        if !self.visited.load(Ordering::Relaxed) {
            self.visited.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was read since this was last asked.
    pub(crate) fn take_visited(&self) -> bool {
        self.visited.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn node(&self) -> u32 {
        self.node.load(Ordering::Relaxed)
    }

    pub(crate) fn set_node(&self, node: u32) {
        self.node.store(node, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_and_its_reference_counts_take_one_cache_line() {
        assert_eq!(size_of::<Block>() + 2 * size_of::<usize>(), 64);
    }
}
