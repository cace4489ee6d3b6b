//! What each option of a walk does, and each form of range.

use crate::{World, builder};
use std::ops::Bound;
use std::time::Duration;
use tanada::vfs::{Clock, MemoryMachine};
use tanada::{Error, Iter, KeyRange, PutOptions, Record, UnixMillis};

pub(crate) fn records() {
    let World { machine, db, .. } = World::new();
    let time = Duration::from_secs(10);
    let first = db.put("a", "1").unwrap();
    let second = db.put_with("b", "2", PutOptions::new().ttl(time)).unwrap();
    let end = UnixMillis(machine.clock().wall_ms() + time.as_millis() as u64);
    let all = || db.iter().records();
    let told = |record: Record| (record.value.to_vec(), record.version, record.expires_at);
    let expected = [(b"1".to_vec(), first, None), (b"2".to_vec(), second, Some(end))];
    assert_eq!(all().map(|record| told(record.unwrap())).collect::<Vec<_>>(), expected);
    let backwards = all().rev().map(|record| told(record.unwrap())).collect::<Vec<_>>();
    assert!(backwards.iter().eq(expected.iter().rev()), "{backwards:?}");
    assert!(all().map(|record| record.unwrap().key).eq(db.iter().map(|item| item.unwrap().0)));
}

pub(crate) fn keys() {
    let db = builder(&MemoryMachine::new(1)).open().unwrap();
    db.put("short", "v").unwrap();
    // The last one: it is in a MemTable, from where each item is a copy of its own.
    db.put("long", vec![7; 2 << 20]).unwrap();
    assert_eq!(keys_of(db.iter()), "longshort");
    assert_eq!(keys_of(db.prefix("s")), "short");
    let last = db.iter().keys().next_back().unwrap().unwrap();
    assert_eq!(last, "short");
    // Values that are held fill the budget, and keys do not.
    let held: Vec<_> = (0..20).map(|_| db.iter().next().unwrap()).collect();
    assert!(held.iter().any(|item| matches!(item, Err(Error::MemoryFull { .. }))));
    drop(held);
    let held: Vec<_> = (0..20).map(|_| db.iter().keys().next().unwrap()).collect();
    assert!(held.iter().all(|key| key.as_ref().unwrap() == "long"));
}

/// Keys, one behind the other.
fn keys_of(iter: Iter) -> String {
    iter.keys().map(|key| String::from_utf8(key.unwrap().to_vec()).unwrap()).collect()
}

/// Checks which of the keys `a` to `e` lie in a range, for each that takes one, from either
/// end.
fn holds(range: impl KeyRange + Clone, expected: &str) {
    let World { db, side, .. } = World::new();
    for key in ["a", "b", "c", "d", "e"] {
        db.put(key, "v").unwrap();
        side.put(key, "v").unwrap();
    }
    let snapshot = db.snapshot();
    let walks = || {
        [
            db.range(range.clone()),
            side.range(range.clone()),
            snapshot.range(range.clone()),
            snapshot.range_in(&side, range.clone()),
        ]
    };
    for walk in walks() {
        assert_eq!(keys_of(walk), expected);
    }
    for walk in walks() {
        let backwards = walk.keys().rev().map(|key| char::from(key.unwrap()[0]));
        assert_eq!(backwards.collect::<String>(), expected.chars().rev().collect::<String>());
    }
}

pub(crate) fn full() {
    holds(.., "abcde");
}

pub(crate) fn range() {
    holds("b".."d", "bc");
    holds("aa".."dd", "bcd");
    holds("b".."b", "");
}

pub(crate) fn inclusive() {
    holds("b"..="d", "bcd");
    holds("aa"..="dd", "bcd");
}

pub(crate) fn from() {
    holds("c".., "cde");
    holds("f".., "");
}

pub(crate) fn to() {
    holds(.."c", "ab");
    holds(.."a", "");
}

pub(crate) fn to_inclusive() {
    holds(..="c", "abc");
}

pub(crate) fn bounds() {
    holds((Bound::Excluded("b"), Bound::Excluded("d")), "c");
    holds((Bound::Excluded("b"), Bound::Included("d")), "cd");
    holds((Bound::Included("b"), Bound::Excluded("d")), "bc");
    holds((Bound::Included("b"), Bound::Included("d")), "bcd");
    let unbounded = Bound::<&str>::Unbounded;
    holds((unbounded, Bound::Excluded("c")), "ab");
    holds((Bound::Excluded("c"), unbounded), "de");
    holds((unbounded, unbounded), "abcde");
}
