//! A slot that is filled and emptied beside a reader, in every order that loom knows.
//! "Found" says what was broken by hand, once, and made the model fail.

use super::*;
use crate::epoch::pin;
use crate::filter;
use crate::memory::block::{Kind, decode};
use std::sync::Mutex;
use tanada_vfs::sync::loom::cell::UnsafeCell;
use tanada_vfs::sync::loom::{sync::Arc as Shared, thread};
use tanada_vfs::sync::{Without, check};

const BLOCKS: usize = 2;

/// Stands for the bytes of one block, which loom does not see: written just before the
/// block is filled in, read just after it was found, written again when it is freed.
struct Bytes {
    cell: UnsafeCell<()>,
    freed: Mutex<bool>,
}

struct World {
    slots: Arc<Slots>,
    bytes: [Bytes; BLOCKS],
    /// A count of each block, so that a model that fails looks at no other memory.
    kept: Mutex<Vec<Block>>,
}

impl World {
    fn new() -> World {
        let bytes = |_| Bytes { cell: UnsafeCell::new(()), freed: Mutex::new(false) };
        let kept = Mutex::default();
        World { slots: Slots::new(1), bytes: std::array::from_fn(bytes), kept }
    }

    fn fill(&self, number: usize) {
        let built = filter::build(&[number as u64], 10.0, 6);
        let block = decode(Kind::Filter, &built, number as u64, None).unwrap();
        self.kept.lock().unwrap().push(block.clone());
        self.bytes[number].cell.with_mut(|_| ());
        self.slots.slot(0).fill(block);
    }

    fn free(&self, blocks: Vec<Block>) {
        for block in blocks {
            let bytes = &self.bytes[block.offset() as usize];
            bytes.cell.with_mut(|_| ());
            *bytes.freed.lock().unwrap() = true;
        }
    }

    fn look(&self, block: &Block) -> u64 {
        let bytes = &self.bytes[block.offset() as usize];
        bytes.cell.with(|_| ());
        assert!(!*bytes.freed.lock().unwrap(), "a reader looks at what was freed");
        block.offset()
    }
}

fn a_slot_beside_a_reader() {
    let world = Shared::new(World::new());
    let reader = thread::spawn({
        let world = world.clone();
        move || {
            let pin = pin();
            let seen = world.slots.get(0, &pin);
            let Some(seen) = seen else { return };
            let number = world.look(&seen);
            assert_eq!(world.look(&seen), number);
        }
    });
    let mut limbo = Limbo::new();
    for number in 0..BLOCKS {
        world.fill(number);
        assert!(world.slots.slot(0).unlink(&mut limbo).is_some());
        world.free(limbo.collect(usize::MAX));
    }
    reader.join().unwrap();
    world.free(limbo.collect(usize::MAX));
    assert!(world.bytes.iter().all(|bytes| *bytes.freed.lock().unwrap()), "nothing is lost");
}

// Found: a block filled in with Relaxed; one freed although a pin of the epoch before is
// there.
#[test]
fn models_a_block_that_is_found_is_whole_and_stays_while_the_pin_lives() {
    check("slots, a slot beside a reader", Without::Nothing, a_slot_beside_a_reader);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn models_without_sequential_consistency_a_block_is_freed_under_its_reader() {
    check("slots, a slot beside a reader", Without::SeqCst, a_slot_beside_a_reader);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn models_without_release_a_block_is_freed_while_it_is_read() {
    check("slots, a slot beside a reader", Without::Release, a_slot_beside_a_reader);
}
