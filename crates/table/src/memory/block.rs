//! A decoded block in memory, as the cache keeps it.

#![allow(unsafe_code)]

use crate::damage::Damage;
use crate::data::data_block::DataBlock;
use crate::filter::{self, Filter};
use crate::index::Partition;
use crate::memory::block_memory::{BlockMemory, Piece, RunId};
use crate::seal::sealed::Checked;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_vfs::sync::unchecked::{AtomicBool, AtomicU32, fence};

/// A decoded block, shared by the cache and by those who read it: one piece of
/// memory with a reference count, a header, and the block's bytes. So a lookup
/// that comes from a slot meets the bytes behind the header, and not one cache
/// miss later.
///
/// Invariants: 1. `0` points to an initialized [`Head`] with `len` initialized bytes
/// behind it; 2. `count` is the number of `Block`s that point there; 3. nothing in it
/// but atomics changes once a second one does.
pub(crate) struct Block(NonNull<Head>);

// SAFETY: shares its head, which is `Send` and `Sync`, and plain bytes, as an `Arc` does.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

/// What lies before a block's bytes: one cache line.
#[repr(align(64))]
struct Head {
    count: AtomicU32,
    /// Of the bytes behind.
    len: u32,
    /// Bytes taken for it all.
    size: u32,
    /// Where in `home` it lies.
    run: RunId,
    /// Where the memory goes back to; `None`: it is the allocator's.
    home: Option<Arc<BlockMemory>>,
    header: Header,
}

/// What the bytes of a block are.
enum Content {
    Data {
        counts: u32,
        prefix_len: u32,
    },
    /// Without bytes of its own: it has several arrays.
    Index(Box<Partition>),
    Filter {
        probes: u32,
    },
}

/// The three kinds, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data = 0,
    Index = 1,
    Filter = 2,
}

/// What a block is, and what the cache notes of it.
struct Header {
    content: Content,
    /// Where it lies in its file.
    offset: u64,
    /// Its place in the cache's list; read and written under the cache's lock.
    node: AtomicU32,
    /// Read since the eviction hand last passed. Relaxed: a lost or late mark
    /// makes the cache a little worse, never wrong. Written only when it is
    /// not set, so that readers of a hot block share its line.
    visited: AtomicBool,
}

const HEAD_BYTES: usize = size_of::<Head>();

/// A block being made: its bytes can still be changed.
pub(crate) struct Room(Block);

impl Room {
    /// Room for `len` bytes in `memory`, or in the allocator's when there is none; what
    /// lies there is anybody's guess. Aborts, as every allocation does, when the system
    /// has no more.
    pub(crate) fn new(len: usize, memory: Option<&Arc<BlockMemory>>) -> Room {
        let len_u32 = u32::try_from(len).expect("a block is bounded by MAX_RAW_LEN");
        let own = memory.and_then(|memory| Some((memory, memory.take(HEAD_BYTES + len).ok()?)));
        let (piece, home) = match own {
            Some((memory, piece)) => (piece, Some(Arc::clone(memory))),
            None => (allocate(HEAD_BYTES + len), None),
        };
        let header = Header {
            content: Content::Data { counts: 0, prefix_len: 0 },
            offset: 0,
            node: AtomicU32::new(u32::MAX),
            visited: AtomicBool::new(false),
        };
        let size = u32::try_from(piece.size_bytes).expect("a little more than `len`");
        let count = AtomicU32::new(1);
        let head = Head { count, len: len_u32, size, run: piece.run, home, header };
        let at = piece.at.cast::<Head>();
        // SAFETY: the memory is ours, aligned for a head and long enough for it and
        // `len` bytes; those behind it are initialized, as both who give it promise.
        unsafe { at.write(head) };
        Room(Block(at))
    }

    fn of(bytes: &[u8], memory: Option<&Arc<BlockMemory>>) -> Room {
        let mut room = Room::new(bytes.len(), memory);
        room.copy_from_slice(bytes);
        room
    }

    /// Makes it end earlier. The memory stays.
    pub(crate) fn truncate(&mut self, len: usize) {
        let head = self.head_mut();
        assert!(len <= head.len as usize, "a room cannot grow");
        head.len = len as u32;
    }

    /// A data block, which has been checked and decompressed into this room.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn into_data(self, offset: u64) -> Result<Block, Damage> {
        let DataBlock { counts, prefix_len, .. } = DataBlock::parse(&self)?;
        Ok(self.finish(Content::Data { counts, prefix_len }, offset))
    }

    /// Bytes that are no block of a file.
    pub(crate) fn into_bytes(self) -> Block {
        self.finish(Content::Data { counts: 0, prefix_len: 0 }, 0)
    }

    fn finish(mut self, content: Content, offset: u64) -> Block {
        let header = &mut self.head_mut().header;
        (header.content, header.offset) = (content, offset);
        self.0
    }

    fn head_mut(&mut self) -> &mut Head {
        // SAFETY: nobody else has a pointer to it before `finish`.
        unsafe { self.0.0.as_mut() }
    }
}

impl Deref for Room {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.0.head().len as usize;
        // SAFETY: invariant 1; nobody else has a pointer to it before `finish`.
        unsafe { std::slice::from_raw_parts_mut(self.0.first_byte(), len) }
    }
}

/// Zeroed memory of the allocator.
fn allocate(size_bytes: usize) -> Piece {
    let layout = heap_layout(size_bytes);
    // SAFETY: there is a head at least.
    let at = NonNull::new(unsafe { alloc_zeroed(layout) });
    let at = at.unwrap_or_else(|| handle_alloc_error(layout));
    Piece { at, run: RunId(u32::MAX), size_bytes }
}

/// How a block lies in memory of the allocator.
fn heap_layout(size_bytes: usize) -> Layout {
    Layout::from_size_align(size_bytes, align_of::<Head>())
        .expect("no block comes near half of the address space")
}

/// Decodes a data block that has been checked: decompressed to where it stays.
pub(crate) fn unseal(
    checked: &Checked<'_>,
    offset: u64,
    memory: Option<&Arc<BlockMemory>>,
) -> Result<Block, Damage> {
    if checked.is_raw() {
        return decode(Kind::Data, checked.stored, offset, memory);
    }
    let mut room = Room::new(checked.raw_len, memory);
    checked.decompress(&mut room)?;
    room.into_data(offset)
}

/// Decodes a block that has been checked and decompressed.
pub(crate) fn decode(
    kind: Kind,
    bytes: &[u8],
    offset: u64,
    memory: Option<&Arc<BlockMemory>>,
) -> Result<Block, Damage> {
    match kind {
        Kind::Data => Room::of(bytes, memory).into_data(offset),
        // Few of them, and each is several pieces of the allocator's anyway.
        Kind::Index => {
            let content = Content::Index(Box::new(Partition::parse(bytes)?));
            Ok(Room::new(0, None).finish(content, offset))
        }
        Kind::Filter => {
            let (probes, lines) = filter::parse(bytes)?;
            Ok(Room::of(lines, memory).finish(Content::Filter { probes }, offset))
        }
    }
}

impl Block {
    fn head(&self) -> &Head {
        // SAFETY: invariant 1, for as long as this `Block` is counted.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn first_byte(&self) -> *mut u8 {
        self.0.as_ptr().wrapping_add(1).cast()
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        // SAFETY: invariants 1 and 3.
        unsafe { std::slice::from_raw_parts(self.first_byte(), self.head().len as usize) }
    }

    /// For a slot: a pointer that owns this count.
    pub(crate) fn into_raw(self) -> *mut c_void {
        ManuallyDrop::new(self).0.as_ptr().cast()
    }

    /// # Safety
    /// `link` is from [`Block::into_raw`], and its count is taken over only once.
    #[inline]
    pub(crate) unsafe fn from_raw(link: *mut c_void) -> Block {
        // SAFETY: a block's pointer is not null.
        Block(unsafe { NonNull::new_unchecked(link.cast()) })
    }

    /// How many there are of it.
    #[cfg(test)]
    #[cfg(shuttle)]
    pub(crate) fn count(&self) -> u32 {
        self.head().count.load(Ordering::Acquire)
    }

    /// Bytes of memory, the reference count included.
    pub(crate) fn cost_bytes(&self) -> u64 {
        let head = self.head();
        let behind = match &head.header.content {
            Content::Index(b) => (b.heap_bytes() + size_of::<Partition>()) as u64,
            _ => 0,
        };
        u64::from(head.size) + behind
    }

    /// Bytes of these that lie in block memory, and the run in which they do.
    pub(crate) fn home(&self) -> Option<(RunId, u64)> {
        let head = self.head();
        head.home.as_ref().map(|_| (head.run, u64::from(head.size)))
    }

    /// Where the block lies in its file.
    pub(crate) fn offset(&self) -> u64 {
        self.head().header.offset
    }

    /// This block as a data block. Slots are numbered by kind, so a caller
    /// knows what it asked for.
    #[inline]
    pub(crate) fn data(&self) -> DataBlock<'_> {
        match self.head().header.content {
            Content::Data { counts, prefix_len } => {
                DataBlock { bytes: self.bytes(), counts, prefix_len }
            }
            _ => unreachable!("the slots of data blocks hold data blocks"),
        }
    }

    /// This block as an index partition.
    #[inline]
    pub(crate) fn index(&self) -> &Partition {
        match &self.head().header.content {
            Content::Index(b) => b,
            _ => unreachable!("the slots of partitions hold partitions"),
        }
    }

    /// This block as a filter.
    #[inline]
    pub(crate) fn filter(&self) -> Filter<'_> {
        match self.head().header.content {
            Content::Filter { probes } => Filter::new(self.bytes(), probes),
            _ => unreachable!("the slots of filters hold filters"),
        }
    }

    /// Notes a read.
    #[inline]
    pub(crate) fn visit(&self) {
        let visited = &self.head().header.visited;
        if !visited.load(Ordering::Relaxed) {
            visited.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was read since this was last asked.
    pub(crate) fn take_visited(&self) -> bool {
        self.head().header.visited.swap(false, Ordering::Relaxed)
    }

    /// Its place in the cache's list.
    pub(crate) fn node(&self) -> u32 {
        self.head().header.node.load(Ordering::Relaxed)
    }

    /// Puts it there.
    pub(crate) fn set_node(&self, node: u32) {
        self.head().header.node.store(node, Ordering::Relaxed);
    }
}

impl Clone for Block {
    #[inline]
    fn clone(&self) -> Block {
        // Relaxed: who clones has one, so the block is not about to go. As in `Arc`.
        let before = self.head().count.fetch_add(1, Ordering::Relaxed);
        if before > u32::MAX / 2 {
            std::process::abort(); // two thousand million values of one block, all leaked
        }
        Block(self.0)
    }
}

impl Drop for Block {
    #[inline]
    fn drop(&mut self) {
        // Release, and Acquire in the last: all uses come before the memory goes.
        if self.head().count.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: this was the last.
            unsafe { free(self.0) };
        }
    }
}

/// Gives a block's memory back.
///
/// # Safety
/// No [`Block`] points to it any more.
#[cold]
unsafe fn free(at: NonNull<Head>) {
    // SAFETY: invariant 1; nobody else can look at it. It is read out once, and then
    // is memory without a value.
    let Head { size, run, home, header, .. } = unsafe { ptr::read(at.as_ptr()) };
    drop(header);
    match home {
        // SAFETY: `Room::new` took this piece there, and it is put back only here.
        Some(memory) => unsafe { memory.put_back(at.cast(), run) },
        // SAFETY: `allocate` made it with this layout.
        None => unsafe { dealloc(at.as_ptr().cast(), heap_layout(size as usize)) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_takes_one_cache_line() {
        assert_eq!(HEAD_BYTES, 64);
        assert_eq!(size_of::<Block>(), 8);
        assert_eq!(size_of::<Option<Block>>(), 8);
    }
}
