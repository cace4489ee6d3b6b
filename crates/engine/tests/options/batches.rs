//! What each method of a batch does, and each condition.

use crate::{World, builder, found};
use std::time::Duration;
use tanada::vfs::{Clock, MemoryMachine};
use tanada::{Batch, Condition, Error, PutOptions, SeqNo, UnixMillis};

const TIME: Duration = Duration::from_secs(10);

impl World {
    /// Whether a batch was written: all of it, or nothing for a condition that did not hold.
    fn writes(&self, mut batch: Batch) -> bool {
        batch.put("mark", "v");
        let is_written = match self.db.write(batch) {
            Ok(_) => true,
            Err(Error::Conflict(_)) => false,
            Err(e) => panic!("{e}"),
        };
        assert_eq!(self.db.contains("mark").unwrap(), is_written);
        self.db.delete("mark").unwrap();
        is_written
    }

    /// Writes what `fill` puts into a batch.
    fn write(&self, fill: impl FnOnce(&mut Batch)) {
        let before = (self.get("k"), self.get("other"));
        let newest = self.db.snapshot().seqno();
        let mut batch = Batch::new();
        fill(&mut batch);
        assert_eq!((self.get("k"), self.get("other")), before, "nothing is done before");
        let last = newest.plus(batch.len() as u64);
        assert_eq!(self.db.write(batch).unwrap(), last);
    }

    /// Both keyspaces have `k` and `other`.
    fn filled() -> World {
        let world = World::new();
        for key in ["k", "other"] {
            world.db.put(key, "old").unwrap();
            world.side.put(key, "old").unwrap();
        }
        world
    }

    /// Nothing has become of `other`.
    fn other_is_left(&self) {
        assert_eq!(self.get("other"), found(Some("old"), Some("old")));
    }
}

pub(crate) fn new() {
    let world = World::filled();
    let batch = Batch::new();
    assert!(batch.is_empty());
    assert_eq!((batch.len(), batch.size_bytes()), (0, 0));
    let newest = world.db.snapshot().seqno();
    assert_eq!(world.db.write(batch).unwrap(), newest);
    assert_eq!(world.db.snapshot().seqno(), newest, "nothing was written");
}

pub(crate) fn put() {
    let world = World::filled();
    world.write(|batch| {
        batch.put("k", "first");
        batch.put("k", "new");
    });
    assert_eq!(world.get("k"), found(Some("new"), Some("old")));
    world.other_is_left();
}

pub(crate) fn put_in() {
    let world = World::filled();
    world.write(|batch| batch.put_in(&world.side, "k", "new"));
    assert_eq!(world.get("k"), found(Some("old"), Some("new")));
    world.write(|batch| batch.put_in(world.db.default_keyspace(), "k", "newer"));
    assert_eq!(world.get("k"), found(Some("newer"), Some("new")));
    world.other_is_left();
    let foreign = builder(&MemoryMachine::new(2)).open().unwrap();
    let mut batch = Batch::new();
    batch.put_in(foreign.default_keyspace(), "k", "of another");
    let refused = world.db.write(batch).unwrap_err();
    assert!(matches!(refused, Error::InvalidArgument(_)), "{refused}");
}

/// When the key of each keyspace expires.
fn expiries(world: &World) -> [Option<UnixMillis>; 2] {
    [world.db.default_keyspace(), &world.side]
        .map(|keyspace| keyspace.get_record("k").unwrap().unwrap().expires_at)
}

pub(crate) fn put_with() {
    let world = World::filled();
    let end = UnixMillis(world.machine.clock().wall_ms() + TIME.as_millis() as u64);
    world.write(|batch| batch.put_with("k", "new", PutOptions::new().ttl(TIME)));
    assert_eq!(world.get("k"), found(Some("new"), Some("old")));
    assert_eq!(expiries(&world), [Some(end), None]);
    world.write(|batch| batch.put_with("k", "newer", PutOptions::new()));
    assert_eq!(expiries(&world), [None, None]);
    world.other_is_left();
}

pub(crate) fn put_in_with() {
    let world = World::filled();
    let end = UnixMillis(world.machine.clock().wall_ms() + TIME.as_millis() as u64);
    let options = PutOptions::new().expires_at(end);
    world.write(|batch| batch.put_in_with(&world.side, "k", "new", options));
    assert_eq!(world.get("k"), found(Some("old"), Some("new")));
    assert_eq!(expiries(&world), [None, Some(end)]);
    world.other_is_left();
}

pub(crate) fn delete() {
    let world = World::filled();
    world.write(|batch| batch.delete("k"));
    assert_eq!(world.get("k"), found(None, Some("old")));
    world.write(|batch| batch.delete("never there"));
    world.other_is_left();
}

pub(crate) fn delete_in() {
    let world = World::filled();
    world.write(|batch| batch.delete_in(&world.side, "k"));
    assert_eq!(world.get("k"), found(Some("old"), None));
    world.other_is_left();
}

pub(crate) fn put_if_version() {
    let world = World::new();
    let version = world.db.put("k", "old").unwrap();
    let with = |version: u64| {
        let mut batch = Batch::new();
        batch.put_if_version("k", "new", SeqNo(version));
        world.writes(batch)
    };
    assert!(!with(version.0 + 1));
    assert_eq!(world.get("k"), found(Some("old"), None));
    assert!(with(version.0));
    assert_eq!(world.get("k"), found(Some("new"), None));
    assert!(!with(version.0), "it has another one now");
}

pub(crate) fn check_version() {
    let world = World::new();
    let version = world.db.put("k", "v").unwrap();
    let with = |key: &str, version: u64| {
        let mut batch = Batch::new();
        batch.check_version(key, SeqNo(version));
        world.writes(batch)
    };
    assert!(with("k", version.0));
    assert!(!with("k", version.0 + 1) && !with("never", version.0));
    assert_eq!(world.get("k"), found(Some("v"), None), "it is asked for, not written");
}

pub(crate) fn check_absent() {
    let world = World::new();
    world.db.put("k", "v").unwrap();
    world.side.put("of side", "v").unwrap();
    let with = |key: &str| {
        let mut batch = Batch::new();
        batch.check_absent(key);
        world.writes(batch)
    };
    assert!(with("never") && with("of side") && !with("k"));
}

pub(crate) fn check() {
    let world = World::new();
    world.db.put("k", "v").unwrap();
    let with = |conditions: &[(&str, Condition)]| {
        let mut batch = Batch::new();
        conditions.iter().for_each(|(key, condition)| batch.check(key, condition.clone()));
        world.writes(batch)
    };
    let (present, absent) = (Condition::Present, Condition::Absent);
    assert!(with(&[("k", present.clone())]) && !with(&[("k", absent.clone())]));
    assert!(with(&[("k", present.clone()), ("never", absent.clone())]));
    assert!(!with(&[("k", present.clone()), ("never", present)]), "all of them");
    assert!(!with(&[("k", absent.clone()), ("never", absent)]), "all of them");
}

pub(crate) fn check_in() {
    let world = World::new();
    world.db.put("k", "v").unwrap();
    let with = |condition: Condition| {
        let mut batch = Batch::new();
        batch.check_in(&world.side, "k", condition);
        world.writes(batch)
    };
    assert!(with(Condition::Absent) && !with(Condition::Present), "of the default keyspace");
    world.side.put("k", "v").unwrap();
    world.db.delete("k").unwrap();
    assert!(with(Condition::Present) && !with(Condition::Absent));
}

/// A batch of a put, a delete and a condition.
fn mixed() -> Batch {
    let mut batch = Batch::new();
    batch.put("k", "v");
    batch.delete("other");
    batch.check_absent("k");
    batch
}

pub(crate) fn len() {
    let mut batch = mixed();
    assert_eq!(batch.len(), 2, "a condition is no write");
    batch.put("k", "again");
    assert_eq!(batch.len(), 3);
    batch.put("", "what is faulty is not added");
    assert_eq!(batch.len(), 3);
}

pub(crate) fn is_empty() {
    let mut batch = Batch::new();
    batch.check_absent("k");
    assert!(batch.is_empty(), "a condition is no write");
    assert!(!mixed().is_empty());
}

pub(crate) fn size_bytes() {
    let size = |value_len: usize, deletes: u8| {
        let mut batch = Batch::new();
        batch.put("k", vec![7; value_len]);
        (0..deletes).for_each(|n| batch.delete([n]));
        batch.size_bytes()
    };
    assert_eq!(size(300, 0) - size(200, 0), 100, "a byte for each");
    assert!(size(200, 0) > 200 && size(200, 0) < 220, "{}", size(200, 0));
    let of_deletes = size(200, 10) - size(200, 0);
    assert!((10..100).contains(&of_deletes), "{of_deletes} for ten deletes");
    let mut batch = mixed();
    let before = batch.size_bytes();
    batch.check_absent("not in the log");
    assert_eq!(batch.size_bytes(), before);
}

pub(crate) fn clear() {
    let world = World::filled();
    let foreign = builder(&MemoryMachine::new(2)).open().unwrap();
    let mut batch = mixed();
    batch.put_in(foreign.default_keyspace(), "k", "of another");
    batch.put("", "no key");
    batch.put_with("k", "v", PutOptions::new().ttl(TIME));
    batch.clear();
    assert!(batch.is_empty());
    assert_eq!((batch.len(), batch.size_bytes()), (0, 0));
    // Neither conditions nor faults are left, nor a time to live.
    batch.put("k", "new");
    assert!(world.writes(batch));
    assert_eq!(world.get("k"), found(Some("new"), Some("old")));
    assert_eq!(expiries(&world), [None, None]);
    world.other_is_left();
}

/// Whether a condition holds of a key that is there, and of three that are not: one never
/// written, one deleted, one that has expired. It is made of the version that is there.
fn holds(condition: impl Fn(SeqNo) -> Condition) -> [bool; 4] {
    let world = World::new();
    let db = &world.db;
    let version = db.put("there", "v").unwrap();
    db.put("deleted", "v").unwrap();
    db.delete("deleted").unwrap();
    db.put_with("expired", "v", PutOptions::new().ttl(TIME)).unwrap();
    world.machine.clock().advance(TIME);
    ["there", "never", "deleted", "expired"].map(|key| {
        let mut batch = Batch::new();
        batch.check(key, condition(version));
        world.writes(batch)
    })
}

const ALL: [bool; 4] = [true; 4];
const NONE: [bool; 4] = [false; 4];
const THERE: [bool; 4] = [true, false, false, false];
const NOT_THERE: [bool; 4] = [false, true, true, true];

pub(crate) fn absent() {
    assert_eq!(holds(|_| Condition::Absent), NOT_THERE);
}

pub(crate) fn present() {
    assert_eq!(holds(|_| Condition::Present), THERE);
}

pub(crate) fn version() {
    assert_eq!(holds(Condition::Version), THERE);
    assert_eq!(holds(|version| Condition::Version(version.plus(1))), NONE);
}

pub(crate) fn version_in() {
    assert_eq!(holds(|version| Condition::VersionIn(vec![version.plus(7), version])), THERE);
    // That of the key that has been deleted, among others.
    assert_eq!(holds(|version| Condition::VersionIn(vec![version.plus(1)])), NONE);
    assert_eq!(holds(|_| Condition::VersionIn(vec![])), NONE);
}

pub(crate) fn version_not_in() {
    assert_eq!(holds(|v| Condition::VersionNotIn(vec![v.plus(7), v])), NOT_THERE);
    assert_eq!(holds(|version| Condition::VersionNotIn(vec![version.plus(1)])), ALL);
    assert_eq!(holds(|_| Condition::VersionNotIn(vec![])), ALL);
}
