//! Memory that is handed out piece by piece and taken back all at once.
//!
//! Nothing is ever moved or freed before the arena itself goes: that is what
//! lets readers follow a pointer they loaded without asking who else holds it.
//! Knows nothing of what lies in it.

#![allow(unsafe_code)]

use super::chunk_pool::ChunkPool;
use crate::control::account::Part;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;
use std::sync::Arc;
use tanada_vfs::{HugePages, Reserved};

/// The first chunk: an empty MemTable shall cost kilobytes, not megabytes.
const FIRST_CHUNK_BYTES: usize = 4 << 10;
/// Chunks double up to this, which comes straight from the system: with 64 MiB of
/// entries, gets gain a half by it (docs/decisions/0001-memtable.md).
pub(super) const MAX_CHUNK_BYTES: usize = HugePages::PAGE_BYTES;
/// A piece from this size on has a mapping of its own, which goes back to the system with
/// the arena: an allocator keeps up to 32 MiB of one for who asks next.
const MAPPED_BYTES: usize = 512 << 10;
/// Every chunk begins on a cache line, so that nodes can.
const CHUNK_ALIGN: usize = 64;

/// Chunks of growing size.
///
/// Invariants: 1. `at..end` lies in one chunk and is handed to no one yet;
/// 2. a chunk is freed only by `drop`.
pub(super) struct Arena {
    heap_chunks: Vec<(NonNull<u8>, Layout)>,
    huge_chunks: Vec<HugePages>,
    mapped_chunks: Vec<Reserved>,
    /// What was asked of these: whole pages are a little more.
    mapped_bytes: u64,
    /// Where huge chunks come from, and go to.
    pool: Arc<ChunkPool>,
    at: NonNull<u8>,
    left: usize,
    allocated: usize,
}

// SAFETY: the arena owns its chunks, as a `Vec<Box<[u8]>>` would; nothing in it
// is bound to a thread.
unsafe impl Send for Arena {}

impl Arena {
    pub(super) fn new(pool: Arc<ChunkPool>) -> Arena {
        Arena {
            heap_chunks: Vec::new(),
            huge_chunks: Vec::new(),
            mapped_chunks: Vec::new(),
            mapped_bytes: 0,
            pool,
            at: NonNull::dangling(),
            left: 0,
            allocated: 0,
        }
    }

    /// Bytes taken from the system.
    pub(super) fn allocated_bytes(&self) -> usize {
        self.allocated
    }

    /// `size_bytes` of uninitialized memory that stay in place until the arena is
    /// dropped. Aborts, as every allocation does, when the system has no more.
    #[inline]
    pub(super) fn alloc(&mut self, size_bytes: usize, align: usize) -> NonNull<u8> {
        debug_assert!(align.is_power_of_two() && align <= CHUNK_ALIGN);
        let padding = self.at.as_ptr().addr().wrapping_neg() & (align - 1);
        if let Some(left) = self.left.checked_sub(padding + size_bytes) {
            // SAFETY: both offsets are within the `self.left` bytes behind `at`,
            // which lie in one chunk (invariant 1).
            let piece = unsafe { self.at.add(padding) };
            // SAFETY: as above.
            self.at = unsafe { piece.add(size_bytes) };
            self.left = left;
            return piece;
        }
        self.alloc_from_new_chunk(size_bytes)
    }

    #[cold]
    fn alloc_from_new_chunk(&mut self, size_bytes: usize) -> NonNull<u8> {
        // Chunks grow with what there is, whether pieces are small or large. A piece
        // that is large beside them gets a chunk to itself, and the chunk in use goes
        // on: what a change of chunks wastes stays below a quarter.
        let size = self.allocated.next_power_of_two().clamp(FIRST_CHUNK_BYTES, MAX_CHUNK_BYTES);
        if size_bytes > size / 4 {
            return self.new_chunk(size_bytes);
        }
        let piece = self.new_chunk(size);
        // SAFETY: `size_bytes` is at most a quarter of the chunk.
        self.at = unsafe { piece.add(size_bytes) };
        self.left = size - size_bytes;
        piece
    }

    fn new_chunk(&mut self, size_bytes: usize) -> NonNull<u8> {
        // When the system refuses (it limits mappings), the allocator may still have some.
        if size_bytes == MAX_CHUNK_BYTES
            && let Ok(pages) = self.pool.take()
        {
            let chunk = pages.as_ptr();
            self.huge_chunks.push(pages);
            self.allocated += size_bytes;
            return chunk;
        }
        if size_bytes > MAPPED_BYTES
            && size_bytes != MAX_CHUNK_BYTES
            && let Ok(mapped) = Reserved::new(size_bytes)
        {
            let chunk = mapped.as_ptr();
            self.mapped_bytes += size_bytes as u64;
            self.allocated += size_bytes;
            self.pool.account().take(Part::MemTables, size_bytes as u64);
            self.mapped_chunks.push(mapped);
            return chunk;
        }
        let layout = Layout::from_size_align(size_bytes.max(1), CHUNK_ALIGN)
            .expect("no entry comes near half of the address space");
        // SAFETY: the layout's size is not zero.
        let Some(chunk) = NonNull::new(unsafe { alloc(layout) }) else {
            handle_alloc_error(layout)
        };
        self.heap_chunks.push((chunk, layout));
        self.allocated += layout.size();
        self.pool.account().take(Part::MemTables, layout.size() as u64);
        chunk
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.pool.give_back(&mut self.huge_chunks);
        self.mapped_chunks.clear();
        let mut bytes = self.mapped_bytes;
        for (chunk, layout) in self.heap_chunks.drain(..) {
            // SAFETY: allocated by `new_chunk` with this layout, freed only here.
            unsafe { dealloc(chunk.as_ptr(), layout) };
            bytes += layout.size() as u64;
        }
        self.pool.account().give(Part::MemTables, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::account::Account;

    #[test]
    fn every_chunk_is_on_the_account_until_the_arena_is_gone() {
        let account = Account::new();
        let pool = ChunkPool::new(4 << 20, Arc::clone(&account));
        let mut arena = Arena::new(pool);
        for size in [100, 5_000, 300_000, 3 << 20].repeat(30) {
            arena.alloc(size, 8);
            assert_eq!(account.of(Part::MemTables), arena.allocated_bytes() as u64);
        }
        assert!(arena.huge_chunks.len() > 2, "some are kept for later, some are not");
        drop(arena);
        assert_eq!(account.of(Part::MemTables), 0);
        assert_eq!(account.of(Part::Pool), 4 << 20);
    }

    #[test]
    fn pieces_are_aligned_and_never_overlap() {
        let mut arena = Arena::new(ChunkPool::new(0, Account::new()));
        let mut pieces = Vec::new();
        for i in 0..5_000usize {
            let (size, align) = (i * 7 % 900 + 1, [1, 8, 64][i % 3]);
            let piece = arena.alloc(size, align);
            assert_eq!(piece.as_ptr().addr() % align, 0);
            // SAFETY: `alloc` gave `size` bytes.
            unsafe { piece.write_bytes(i as u8, size) };
            pieces.push((piece, size, i as u8));
        }
        let big = arena.alloc(10 << 20, 8);
        // SAFETY: `alloc` gave so many bytes.
        unsafe { big.write_bytes(0xee, 10 << 20) };
        for (piece, size, byte) in pieces {
            // SAFETY: written above, `size` bytes.
            let bytes = unsafe { std::slice::from_raw_parts(piece.as_ptr(), size) };
            assert!(bytes.iter().all(|&b| b == byte));
        }
        assert!(arena.allocated_bytes() < (10 << 20) + 5_000 * 450 * 5 / 4 + (2 << 20));
    }

    #[test]
    fn the_first_chunk_is_small() {
        let mut arena = Arena::new(ChunkPool::new(0, Account::new()));
        arena.alloc(100, 8);
        assert_eq!(arena.allocated_bytes(), FIRST_CHUNK_BYTES);
    }
}
