//! A writer and a reader of one MemTable in every order that loom knows, with nodes of
//! two entries; and the same without what makes the sequence lock sound, which loom must
//! find. "Found" says what else was broken by hand, once, and made that model fail.

use super::*;
use tanada_format::ValueKind;
use tanada_vfs::sync::Without;
use tanada_vfs::sync::loom::{sync::Arc as Shared, sync::atomic, thread};

struct World {
    memtable: MemTable,
    /// The newest write that readers know of: of loom itself, so that nothing is left
    /// out of it.
    visible: atomic::AtomicU64,
}

impl World {
    /// One that holds these keys, written in this order.
    fn of(keys: &[&str]) -> (Shared<World>, WriterToken) {
        let memtable = MemTable::new(ChunkPool::new(0, crate::control::account::Account::new()));
        let world = World { memtable, visible: atomic::AtomicU64::new(0) };
        let mut token = WriterToken::new();
        keys.iter().for_each(|key| world.write(&mut token, key));
        (Shared::new(world), token)
    }

    /// Writes the next seqno, as the value as well.
    fn write(&self, token: &mut WriterToken, key: &str) {
        let n = self.visible.load(atomic::Ordering::Relaxed) + 1;
        let (key, seqno) = (key.as_bytes(), SeqNo(n));
        let (kind, value) = (ValueKind::Put, &n.to_le_bytes()[..]);
        self.memtable.insert(token, EntryRef { key, seqno, kind, expires_at_ms: 0, value });
        self.visible.store(n, atomic::Ordering::Release);
    }

    fn get(&self, key: &str, seqno: u64) -> Option<u64> {
        let key = key.as_bytes();
        let entry = self.memtable.get(key, hash_key(key), SeqNo(seqno))?;
        assert_eq!((entry.key, entry.value), (key, &entry.seqno.0.to_le_bytes()[..]));
        assert!(entry.seqno.0 <= seqno);
        Some(entry.seqno.0)
    }
}

fn check(name: &str, without: Without, body: impl Fn() + Send + Sync + 'static) {
    tanada_vfs::sync::check(&format!("memtable, {name}"), without, body);
}

/// A reader in a thread of its own while `key` is written.
fn beside(world: (Shared<World>, WriterToken), key: &str, reader: fn(&World)) {
    let (world, mut token) = world;
    let other = thread::spawn({
        let world = world.clone();
        move || reader(&world)
    });
    world.write(&mut token, key);
    other.join().unwrap();
}

// Found: a get that looks at no seqno; a seqno made visible before its insert.
#[test]
fn models_who_knows_of_a_write_finds_it() {
    check("publication", Without::Nothing, || {
        beside(World::of(&[]), "b", |world| {
            let visible = world.visible.load(atomic::Ordering::Acquire);
            assert_eq!(world.get("b", visible), (visible == 1).then_some(1));
        });
    });
}

/// An entry goes in front of another one, which moves.
fn an_insert_in_front() {
    beside(World::of(&["b"]), "a", |world| {
        assert_eq!(world.get("b", 1), Some(1), "it was there before");
        assert!(matches!(world.get("a", 9), None | Some(2)));
    });
}

// Found: a reader that does not look at the version again.
#[test]
fn models_an_entry_that_moves_is_always_found() {
    check("an insert in front", Without::Nothing, an_insert_in_front);
}

#[test]
#[should_panic(expected = "it was there before")]
fn models_without_fences_a_reader_believes_what_it_saw_half_moved() {
    check("an insert in front", Without::Fences, an_insert_in_front);
}

#[test]
#[should_panic(expected = "it was there before")]
fn models_without_release_the_lock_opens_before_all_is_moved() {
    check("an insert in front", Without::Release, an_insert_in_front);
}

/// A leaf is split, and a root grows over the halves.
fn a_split() {
    beside(World::of(&["a", "c"]), "b", |world| {
        assert_eq!(world.get("c", 2), Some(2), "it was there before");
        assert!(matches!(world.get("b", 9), None | Some(3)));
    });
}

// Found: a way down that does not look at the root again.
#[test]
fn models_a_split_hides_nothing() {
    check("a split", Without::Nothing, a_split);
}

/// A leaf is split, and the root above gets a third child: `b` moves to the new leaf.
// Found: a way down that does not look at the version of the node above again.
#[test]
fn models_a_split_below_a_root_hides_nothing() {
    check("a split below a root", Without::Nothing, || {
        beside(World::of(&["a", "c", "b"]), "aa", |world| {
            assert_eq!(world.get("b", 3), Some(3), "it was there before");
        });
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn models_without_acquire_a_node_is_entered_before_it_is_made() {
    check("a split", Without::Acquire, a_split);
}

/// A key gets a second version.
fn a_second_version() {
    beside(World::of(&["a"]), "a", |world| {
        let newest = world.get("a", 9);
        assert!(matches!(newest, Some(1 | 2)));
        assert_eq!(world.get("a", 1), Some(1), "a snapshot sees what it saw");
        assert!(world.get("a", 9) >= newest, "no version is taken back");
    });
}

// Found: a version that does not lead to the one before.
#[test]
fn models_old_versions_stay_behind_new_ones() {
    check("a second version", Without::Nothing, a_second_version);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn models_without_release_a_version_is_found_before_it_is_written() {
    check("a second version", Without::Release, a_second_version);
}
