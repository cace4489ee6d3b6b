//! The slots of one open table's blocks: where the cache's blocks are found.
//!
//! A slot owns one count of its block. Readers borrow the block under a pin
//! ([`crate::epoch`]); the cache unlinks it into a limbo, where it stays until no
//! pin is left from before.

#![allow(unsafe_code)]

use crate::epoch::{Limbo, Pin};
use crate::memory::block::Block;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use tanada_vfs::sync::lock_free::{self, AtomicPtr};

/// A slot for each block of a table: data blocks, then index partitions, then
/// filters. Read by anyone, written under the cache's lock.
pub(crate) struct Slots(Box<[Slot]>);

/// Holds one block, or none. From [`Block::into_raw`]; owns one count.
///
/// SeqCst throughout: see [`crate::epoch`] for the argument.
pub(crate) struct Slot(AtomicPtr<c_void>);

/// A block borrowed from its slot.
pub(crate) struct BlockRef<'p> {
    block: ManuallyDrop<Block>,
    borrowed: PhantomData<&'p Pin>,
}

impl Deref for BlockRef<'_> {
    type Target = Block;
    #[inline]
    fn deref(&self) -> &Block {
        &self.block
    }
}

impl Slots {
    pub(crate) fn new(blocks: usize) -> Arc<Slots> {
        Arc::new(Slots((0..blocks).map(|_| Slot(AtomicPtr::new(ptr::null_mut()))).collect()))
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.len() as u64 * size_of::<Slot>() as u64
    }

    /// The block, if it is in memory. No lock, no counter: one load.
    #[inline]
    pub(crate) fn get<'p>(&'p self, number: u32, _pin: &'p Pin) -> Option<BlockRef<'p>> {
        let link = self.0[number as usize].0.load(SeqCst);
        if link.is_null() {
            return None;
        }
        // SAFETY: a link that is not null is from `Block::into_raw`. The slot's count
        // of it is given up only through a limbo, which keeps it while the pin lives,
        // or with the slots, which are borrowed. The block made here is never dropped,
        // so it takes no count.
        let block = ManuallyDrop::new(unsafe { Block::from_raw(link) });
        Some(BlockRef { block, borrowed: PhantomData })
    }

    /// Asks the processor for the first lines of the block, if it is in memory: where
    /// a lookup in it begins.
    #[inline]
    pub(crate) fn prefetch(&self, number: u32) {
        let _link = self.0[number as usize].0.load(SeqCst);
        #[cfg(target_arch = "x86_64")]
        for line in 0..PREFETCHED_LINES {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: prefetching reads nothing, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(_link.cast::<i8>().wrapping_add(line * 64)) };
        }
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

/// Asks the processor for the two lines behind the one where `bytes[at]` lies.
#[inline]
pub(crate) fn prefetch_behind(bytes: &[u8], at: usize) {
    let _at = bytes.as_ptr().wrapping_add(at);
    #[cfg(target_arch = "x86_64")]
    for line in 1..=2 {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching reads nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(_at.cast::<i8>().wrapping_add(line * 64)) };
    }
}

/// Header, heads and offsets of a block of small entries.
#[cfg(target_arch = "x86_64")]
const PREFETCHED_LINES: usize = 5;

impl Slot {
    /// Puts a block into an empty slot. Under the cache's lock.
    pub(crate) fn fill(&self, block: Block) {
        let link = block.into_raw();
        let before = self.0.swap(link, SeqCst);
        assert!(before.is_null(), "a slot is emptied before it is filled");
    }

    /// Empties the slot; answers the block that was there and now is in limbo.
    pub(crate) fn unlink<'l>(&self, limbo: &'l mut Limbo<Block>) -> Option<&'l Block> {
        let link = self.0.swap(ptr::null_mut(), SeqCst);
        if link.is_null() {
            return None;
        }
        // SAFETY: from `Block::into_raw`; this takes the slot's count over.
        Some(limbo.add(unsafe { Block::from_raw(link) }))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if lock_free::is_given_up() {
            return;
        }
        // Relaxed: nobody else has it.
        let link = self.0.load(Relaxed);
        if !link.is_null() {
            // SAFETY: as in `unlink`. Nobody reads: readers borrow the slots.
            drop(unsafe { Block::from_raw(link) });
        }
    }
}

#[cfg(test)]
#[cfg(loom)]
mod models;

#[cfg(test)]
#[cfg(not(loom))]
#[allow(clippy::disallowed_methods)] // real threads are what is tested
mod tests {
    use super::*;
    use crate::epoch::pin;
    use crate::filter;
    use crate::memory::block::{Kind, decode};
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::{Acquire, Release};

    /// Ends the readers of a scope, which it waits for, though an assertion beside them fails.
    struct End<'f>(&'f AtomicBool);

    impl Drop for End<'_> {
        fn drop(&mut self) {
            self.0.store(true, Release);
        }
    }

    fn block(hash: u64) -> Block {
        let bytes = filter::build(&[hash], 10.0, 6);
        decode(Kind::Filter, &bytes, hash, None).unwrap()
    }

    #[test]
    fn a_block_unlinked_under_a_pin_stays_until_the_pin_ends() {
        let (slots, mut limbo) = (Slots::new(2), Limbo::new());
        slots.slot(1).fill(block(7));
        let pinned = pin();
        let seen = slots.get(1, &pinned).unwrap();
        assert!(slots.slot(1).unlink(&mut limbo).is_some());
        assert!(limbo.collect(1).is_empty());
        assert!(slots.get(1, &pinned).is_none() && seen.filter().may_contain(7));
        let kept = (*seen).clone();
        drop(pinned);
        assert_eq!(limbo.collect(0).len(), 1);
        assert_eq!(kept.offset(), 7);
        // What is left in a slot goes with it.
        slots.slot(0).fill(block(8));
    }

    #[test]
    fn readers_race_with_filling_and_emptying_and_meet_whole_blocks_only() {
        let rounds = if cfg!(miri) { 40 } else { 20_000 };
        let (slots, end) = (Slots::new(1), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut kept = None;
                    while !end.load(Acquire) {
                        let pin = pin();
                        let Some(seen) = slots.get(0, &pin) else { continue };
                        assert!(seen.filter().may_contain(seen.offset()));
                        if seen.offset() % 3 == 0 {
                            kept = Some((*seen).clone());
                        }
                    }
                    assert!(kept.is_none_or(|k| k.filter().may_contain(k.offset())));
                });
            }
            let mut limbo = Limbo::new();
            let _end = End(&end);
            for hash in 1..=rounds {
                slots.slot(0).fill(block(hash));
                slots.prefetch(0);
                assert!(slots.slot(0).unlink(&mut limbo).is_some());
                drop(limbo.collect(2));
            }
        });
    }
}
