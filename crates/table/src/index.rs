//! The index: partitions that say where data blocks lie, and above them one
//! top index that says where the partitions and their filters lie.
//!
//! A partition:
//!
//! | size | field |
//! |---|---|
//! | 8 | file offset of the first data block |
//! | .. | fences of the data blocks ([`crate::fences`]), `n` of them |
//! | .. | n varints: length of each sealed data block; they lie one behind the other |
//!
//! The top index:
//!
//! | size | field |
//! |---|---|
//! | .. | fences of the partitions, `p` of them |
//! | .. | p times four varints: number of data blocks; length of the sealed partition; file offset and length of the sealed filter, length 0 when there is none |
//! | 8 | file offset of the first partition; they lie one behind the other |

pub(crate) mod fences;

use crate::damage::{Damage, Fields};
use fences::{FenceBuilder, Fences};
use tanada_format::{SeqNo, planted, write_varint};

/// Where a sealed block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

impl Handle {
    /// The first offset behind the block.
    pub(crate) fn end(self) -> u64 {
        self.offset.saturating_add(u64::from(self.len))
    }
}

/// Collects one partition.
#[derive(Default)]
pub(crate) struct PartitionBuilder {
    fences: FenceBuilder,
    lens: Vec<u32>,
    offset: u64,
}

impl PartitionBuilder {
    /// Adds the data block behind the last one.
    pub(crate) fn push(&mut self, fence: (&[u8], SeqNo), block: Handle) {
        if self.lens.is_empty() {
            self.offset = block.offset;
        }
        self.fences.push(fence.0, fence.1);
        self.lens.push(block.len);
    }

    pub(crate) fn count(&self) -> usize {
        self.lens.len()
    }

    /// About what the partition takes in memory once decoded.
    pub(crate) fn decoded_len(&self) -> usize {
        self.fences.decoded_len() + self.lens.len() * 4
    }

    /// The fence of the first block. There must be one.
    pub(crate) fn first_fence(&self) -> (&[u8], SeqNo) {
        self.fences.first()
    }

    /// File offset of the first block.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Encodes the partition, and starts anew.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let mut out = self.offset.to_le_bytes().to_vec();
        self.fences.finish(&mut out);
        self.lens.drain(..).for_each(|len| write_varint(&mut out, u64::from(len)));
        out
    }
}

/// A partition in memory.
pub(crate) struct Partition {
    fences: Fences,
    offset: u64,
    /// Where each block ends, from `offset`.
    ends: Box<[u32]>,
}

impl Partition {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Partition, Damage> {
        let mut fields = Fields(bytes);
        let mut offset = fields.u64()?;
        if planted!(over_4GiB_offsets) {
            offset &= u64::from(u32::MAX);
        }
        let fences = Fences::parse(&mut fields)?;
        let mut ends = Vec::with_capacity(fences.count());
        let mut end = 0u32;
        for _ in 0..fences.count() {
            end = end.checked_add(fields.varint_u32()?).ok_or("an index partition is too long")?;
            ends.push(end);
        }
        fields.end()?;
        offset.checked_add(u64::from(end)).ok_or("an index partition points behind any file")?;
        Ok(Partition { fences, offset, ends: ends.into() })
    }

    /// Bytes of memory behind this structure.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.fences.heap_bytes() + self.ends.len() * 4
    }

    pub(crate) fn fences(&self) -> &Fences {
        &self.fences
    }

    /// Number of data blocks.
    #[inline]
    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Where data block `i` of this partition lies.
    #[inline]
    pub(crate) fn handle(&self, i: usize) -> Handle {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        Handle { offset: self.offset + u64::from(start), len: self.ends[i] - start }
    }

    /// The first offset behind the partition's data blocks.
    pub(crate) fn end(&self) -> u64 {
        self.offset + u64::from(self.ends.last().copied().unwrap_or(0))
    }
}

/// Where one partition and its filter lie, and which data blocks are its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartitionHandle {
    pub(crate) index: Handle,
    /// Length 0: no filter.
    pub(crate) filter: Handle,
    /// Number of the partition's first data block within the table.
    pub(crate) first_block: u32,
    pub(crate) blocks: u32,
}

/// Collects the top index.
#[derive(Default)]
pub(crate) struct TopBuilder {
    fences: FenceBuilder,
    handles: Vec<(u32, Handle, Handle)>,
}

impl TopBuilder {
    pub(crate) fn push(
        &mut self,
        fence: (&[u8], SeqNo),
        blocks: u32,
        index: Handle,
        filter: Handle,
    ) {
        self.fences.push(fence.0, fence.1);
        self.handles.push((blocks, index, filter));
    }

    /// Encodes the top index.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.fences.finish(&mut out);
        for (blocks, index, filter) in &self.handles {
            write_varint(&mut out, u64::from(*blocks));
            write_varint(&mut out, u64::from(index.len));
            write_varint(&mut out, filter.offset);
            write_varint(&mut out, u64::from(filter.len));
        }
        let first = self.handles.first().map_or(0, |h| h.1.offset);
        out.extend_from_slice(&first.to_le_bytes());
        out
    }
}

/// The top index in memory, for as long as the table is open.
pub(crate) struct Top {
    fences: Fences,
    partitions: Box<[PartitionHandle]>,
    blocks: u32,
}

impl Top {
    /// Reads the top index of a file whose blocks all end before `limit`.
    pub(crate) fn parse(bytes: &[u8], limit: u64) -> Result<Top, Damage> {
        let mut fields = Fields(bytes);
        let fences = Fences::parse(&mut fields)?;
        let mut partitions = Vec::with_capacity(fences.count());
        let mut blocks = 0u32;
        for _ in 0..fences.count() {
            let count = fields.varint_u32()?;
            if count == 0 {
                return Err("an index partition has no blocks".into());
            }
            let index = Handle { offset: 0, len: fields.varint_u32()? };
            let filter = Handle { offset: fields.varint()?, len: fields.varint_u32()? };
            if filter.end() > limit {
                return Err("a filter lies outside the file".into());
            }
            partitions.push(PartitionHandle { index, filter, first_block: blocks, blocks: count });
            blocks = blocks.checked_add(count).ok_or("the top index counts too many blocks")?;
        }
        let mut offset = fields.u64()?;
        fields.end()?;
        for p in &mut partitions {
            p.index.offset = offset;
            offset = p.index.end();
        }
        // Each data block takes at least a trailer's bytes of the file, so that
        // the slots below are bounded by the file.
        if offset > limit || u64::from(blocks) > limit / crate::seal::sealed::TRAILER_LEN as u64 {
            return Err("an index partition lies outside the file".into());
        }
        Ok(Top { fences, partitions: partitions.into(), blocks })
    }

    /// Bytes of memory behind this structure.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.fences.heap_bytes() + self.partitions.len() * size_of::<PartitionHandle>()
    }

    pub(crate) fn fences(&self) -> &Fences {
        &self.fences
    }

    /// Number of data blocks of the table.
    pub(crate) fn blocks(&self) -> u32 {
        self.blocks
    }

    pub(crate) fn partitions(&self) -> &[PartitionHandle] {
        &self.partitions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// redb #515: an offset went through 32 bits, and what lay behind the first
    /// 4 GiB of a file was read from its beginning.
    #[test]
    fn over_4gib_offsets() {
        for first in [0, u64::from(u32::MAX) - 50, 5 << 30, 1 << 45] {
            let handles = [(0, 100), (100, 70), (170, 4096)];
            let handles = handles.map(|(at, len)| Handle { offset: first + at, len });
            let mut builder = PartitionBuilder::default();
            for (handle, key) in handles.iter().zip(["a", "b", "c"]) {
                builder.push((key.as_bytes(), SeqNo::MAX), *handle);
            }
            assert_eq!(builder.offset(), first);
            let partition = Partition::parse(&builder.finish()).unwrap();
            assert_eq!([0, 1, 2].map(|i| partition.handle(i)), handles);
            assert_eq!(partition.end(), handles[2].end());

            let index = Handle { offset: partition.end(), len: 300 };
            let filter = Handle { offset: index.end() + 1000, len: 200 };
            let mut builder = TopBuilder::default();
            builder.push((b"a", SeqNo::MAX), 3, index, filter);
            let limit = filter.end();
            let top = Top::parse(&builder.finish(), limit).unwrap();
            let partition = &top.partitions()[0];
            assert_eq!((partition.index, partition.filter), (index, filter));
        }
    }
}
