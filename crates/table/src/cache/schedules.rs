//! Readers, evictions and tables that go, with shuttle's threads: it may change them at
//! the cache's lock, at its sum of bytes, and while a reader looks at a block.
//! "Found" says what was broken by hand, once, and made that test fail.

use super::*;
use crate::data::data_block;
use crate::memory::block;
use tanada_format::{EntryRef, SeqNo, ValueKind};
use tanada_vfs::sync::{explore, shuttle::thread};

/// Blocks of each table.
const BLOCKS: u32 = 2;
/// What each takes while it is open.
const RESIDENT_BYTES: u64 = 100;
/// What each block takes: their lengths are the same.
const BLOCK_BYTES: u64 = 1_000;

/// The cache, and every block that was ever put into it.
struct World {
    cache: Arc<BlockCache>,
    /// With a count of each: a block that the cache has let go of has no other, and a
    /// test that fails looks at no freed memory.
    kept: std::sync::Mutex<Vec<Block>>,
}

/// Of an open table what the cache knows.
struct Table {
    world: Arc<World>,
    name: u8,
    slots: Arc<Slots>,
}

impl World {
    /// With room for so many tables and blocks.
    fn new(tables: u64, blocks: u64) -> Arc<World> {
        let cache = BlockCache::new(room(tables, blocks));
        Arc::new(World { cache, kept: std::sync::Mutex::default() })
    }

    fn open(self: &Arc<World>, name: u8) -> Arc<Table> {
        self.cache.add_resident(RESIDENT_BYTES);
        Arc::new(Table { world: self.clone(), name, slots: Slots::new(BLOCKS as usize) })
    }

    /// The invariants of [`BlockCache`], while nobody uses it and these tables are open.
    fn check(&self, open: &[&Arc<Table>]) {
        let order = self.cache.order.lock();
        let listed = order.list.walk();
        let pin = pin();
        for (place, node) in &listed {
            let Listed { slots, number, .. } = &node.item;
            let block = slots.get(*number, &pin).expect("what is listed is in its slot");
            assert_eq!((block.node(), node.cost_bytes), (*place, listed_bytes(&block)));
        }
        let filled = |table: &&Arc<Table>| {
            (0..BLOCKS).filter(|&number| table.slots.get(number, &pin).is_some()).count()
        };
        assert_eq!(open.iter().map(filled).sum::<usize>(), listed.len(), "no other slot is full");
        let resident = RESIDENT_BYTES * open.len() as u64;
        assert_eq!(self.cache.resident_bytes.load(Ordering::Relaxed), resident);
        let used = resident + listed.iter().map(|(_, node)| node.cost_bytes).sum::<u64>();
        assert_eq!(self.cache.used_bytes(), used, "what is in it is what it has counted");
        assert!(used - resident <= self.cache.room_bytes(), "{used} bytes");
    }
}

impl Table {
    /// Reads a block as tables do: from its slot, or else from the file.
    fn read(&self, number: u32) {
        let pinned = pin();
        if let Some(seen) = self.slots.get(number, &pinned) {
            seen.visit();
            for _ in 0..2 {
                self.check(number, &seen);
                thread::yield_now();
                assert!(seen.count() > 1, "freed under its reader");
            }
            return self.check(number, &seen);
        }
        drop(pinned);
        thread::yield_now();
        let read = self.world.cache.insert(&self.slots, number, self.block(number));
        self.check(number, &read);
    }

    fn block(&self, number: u32) -> Block {
        let value = [[self.name, number as u8]; BLOCK_BYTES as usize / 2 - 100].concat();
        let entry = EntryRef {
            key: &[self.name, number as u8],
            seqno: SeqNo(1),
            kind: ValueKind::Put,
            expires_at_ms: 0,
            value: &value,
        };
        let bytes = [data_block::alone_head(&entry), value.clone()].concat();
        let block = block::decode(Kind::Data, &bytes, number.into(), None).unwrap();
        assert!(listed_bytes(&block) <= BLOCK_BYTES && 2 * listed_bytes(&block) > BLOCK_BYTES);
        self.world.kept.lock().unwrap().push(block.clone());
        block
    }

    /// A block is this table's, and that of this number.
    fn check(&self, number: u32, block: &Block) {
        let key = [self.name, number as u8];
        let found = block.data().get(&key, SeqNo::MAX).unwrap().expect("another block's bytes");
        assert!(found.value.chunks(2).all(|part| part == key));
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.world.cache.release(&self.slots, RESIDENT_BYTES);
    }
}

/// Bytes of so many open tables and blocks.
fn room(tables: u64, blocks: u64) -> u64 {
    tables * RESIDENT_BYTES + blocks * BLOCK_BYTES
}

/// Two tables of two blocks in a cache that holds two of the four, and then but one;
/// readers of both, of which the last one closes one of them; and a third table, opened,
/// read and closed beside them.
// Found: the epoch of a pin not looked at, or none begun after an unlinking; a slot that
// is not emptied; a block looked for before the lock is taken; the sum loaded and stored
// in two steps, by an insert, an eviction or a closed table; the capacity read before the
// insert; a shrunk capacity that gives up nothing; a limbo that is never emptied. And a
// planted bug: whoever misses the same block pays for it as well.
#[test]
fn schedules_of_readers_beside_evictions() {
    explore("readers_beside_evictions", 200, || {
        let world = World::new(3, 2);
        let (stays, goes) = (world.open(1), world.open(2));
        let readers = [[0, 1], [1, 0]].map(|[first, second]| {
            let (stays, goes) = (stays.clone(), goes.clone());
            thread::spawn(move || {
                stays.read(first);
                goes.read(0);
                goes.read(second);
                drop(goes);
                stays.read(first);
            })
        });
        drop(goes);
        let third = thread::spawn({
            let world = world.clone();
            move || {
                let brief = world.open(3);
                brief.read(0);
                brief.read(1);
                world.cache.set_capacity(room(3, 1));
            }
        });
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        third.join().unwrap();
        world.check(&[&stays]);
        drop(stays);
        world.check(&[]);
        assert_eq!(world.cache.used_bytes(), 0);
        let kept = world.kept.lock().unwrap();
        assert!(kept.iter().all(|block| block.count() == 1), "one was not freed");
    });
}
