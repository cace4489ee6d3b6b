//! A decoded block in memory, as the cache keeps it.

use crate::damage::Damage;
use crate::data_block::DataBlock;
use crate::filter::Filter;
use crate::index::Partition;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use triomphe::ThinArc;

/// A decoded block, shared by the cache and by those who read it: one
/// allocation of a reference count, the header, and a data block's bytes. So a
/// lookup that comes from a slot meets the bytes behind the header, and not
/// one cache miss later.
pub(crate) type Block = ThinArc<Header, u8>;

/// Data blocks above this length lie in an allocation of their own: they are
/// not copied when they are decoded.
const LONG: usize = 64 << 10;

/// What a block holds beside its bytes.
enum Content {
    Data { counts: u32, prefix_len: u32 },
    LongData { counts: u32, prefix_len: u32, bytes: Box<[u8]> },
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

/// What a block is, and what the cache notes of it. One cache line with count
/// and length.
pub(crate) struct Header {
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

/// Decodes a block that has been checked and decompressed.
pub(crate) fn decode(kind: Kind, bytes: &[u8], offset: u64) -> Result<Block, Damage> {
    let content = match kind {
        Kind::Data if bytes.len() > LONG => return decode_long(kind, bytes.to_vec(), offset),
        Kind::Data => {
            let DataBlock { counts, prefix_len, .. } = DataBlock::parse(bytes)?;
            Content::Data { counts, prefix_len }
        }
        Kind::Index => Content::Index(Box::new(Partition::parse(bytes)?)),
        Kind::Filter => Content::Filter(Filter::parse(bytes)?),
    };
    let bytes = if kind == Kind::Data { bytes } else { &[] };
    Ok(ThinArc::from_header_and_slice(Header::new(content, offset), bytes))
}

/// The same for a block in memory of its own, which is kept when it is long.
pub(crate) fn decode_long(kind: Kind, bytes: Vec<u8>, offset: u64) -> Result<Block, Damage> {
    if kind != Kind::Data || bytes.len() <= LONG {
        return decode(kind, &bytes, offset);
    }
    let DataBlock { counts, prefix_len, .. } = DataBlock::parse(&bytes)?;
    let content = Content::LongData { counts, prefix_len, bytes: bytes.into() };
    Ok(ThinArc::from_header_and_slice(Header::new(content, offset), &[]))
}

impl Header {
    fn new(content: Content, offset: u64) -> Header {
        let visited = AtomicBool::new(false);
        Header { content, offset, visited, node: AtomicU32::new(u32::MAX) }
    }
}

/// What can be asked of a [`Block`].
pub(crate) trait Decoded {
    /// Bytes of memory, the reference count included.
    fn cost_bytes(&self) -> u64;
    /// Where the block lies in its file.
    fn offset(&self) -> u64;
    /// This block as a data block. Slots are numbered by kind, so a caller
    /// knows what it asked for.
    fn data(&self) -> DataBlock<'_>;
    /// This block as an index partition.
    fn index(&self) -> &Partition;
    /// This block as a filter.
    fn filter(&self) -> &Filter;
    /// Notes a read.
    fn visit(&self);
    /// Whether it was read since this was last asked.
    fn take_visited(&self) -> bool;
    /// Its place in the cache's list.
    fn node(&self) -> u32;
    /// Puts it there.
    fn set_node(&self, node: u32);
}

impl Decoded for Block {
    fn cost_bytes(&self) -> u64 {
        let heap = match &self.header.header.content {
            Content::Data { .. } => 0,
            Content::LongData { bytes, .. } => bytes.len(),
            Content::Index(b) => b.heap_bytes() + size_of::<Partition>(),
            Content::Filter(b) => b.heap_bytes(),
        };
        (heap + self.slice.len() + size_of::<Header>() + 2 * size_of::<usize>()) as u64
    }

    fn offset(&self) -> u64 {
        self.header.header.offset
    }

    #[inline]
    fn data(&self) -> DataBlock<'_> {
        match &self.header.header.content {
            Content::Data { counts, prefix_len } => {
                DataBlock { bytes: &self.slice, counts: *counts, prefix_len: *prefix_len }
            }
            Content::LongData { counts, prefix_len, bytes } => {
                DataBlock { bytes, counts: *counts, prefix_len: *prefix_len }
            }
            _ => unreachable!("the slots of data blocks hold data blocks"),
        }
    }

    #[inline]
    fn index(&self) -> &Partition {
        match &self.header.header.content {
            Content::Index(b) => b,
            _ => unreachable!("the slots of partitions hold partitions"),
        }
    }

    #[inline]
    fn filter(&self) -> &Filter {
        match &self.header.header.content {
            Content::Filter(b) => b,
            _ => unreachable!("the slots of filters hold filters"),
        }
    }

    #[inline]
    fn visit(&self) {
        let visited = &self.header.header.visited;
        if !visited.load(Ordering::Relaxed) {
            visited.store(true, Ordering::Relaxed);
        }
    }

    fn take_visited(&self) -> bool {
        self.header.header.visited.swap(false, Ordering::Relaxed)
    }

    fn node(&self) -> u32 {
        self.header.header.node.load(Ordering::Relaxed)
    }

    fn set_node(&self, node: u32) {
        self.header.header.node.store(node, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_count_and_length_takes_one_cache_line() {
        assert!(size_of::<Header>() + 2 * size_of::<usize>() <= 64);
        assert_eq!(size_of::<Block>(), 8);
    }
}
