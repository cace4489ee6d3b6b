//! A snapshot is one moment, its time included; and every way to read tells the whole
//! record.

#![allow(clippy::unwrap_used)] // of outcomes that must not fail

use std::time::Duration;
use tanada::vfs::{Clock, MemoryMachine};
use tanada::{
    Db, Error, Keyspace, KeyspaceOptions, MAX_EXPIRES_AT_MS, PutOptions, Record, Snapshot,
    UnixMillis,
};

const TTL: Duration = Duration::from_secs(10);

fn open(machine: &MemoryMachine) -> Db {
    Db::builder("/db").memory(16 << 20).env(machine.env()).open().unwrap()
}

fn ttl() -> PutOptions {
    PutOptions::new().ttl(TTL)
}

/// Everything of one keyspace, by each way to read it.
fn all_ways(snapshot: &Snapshot, keyspace: &Keyspace, keys: &[&str]) -> Vec<Vec<Record>> {
    let forward: Vec<_> = snapshot.range_in(keyspace, ..).records().map(Result::unwrap).collect();
    let mut backward: Vec<_> =
        snapshot.range_in(keyspace, ..).records().rev().map(Result::unwrap).collect();
    backward.reverse();
    let gets: Vec<_> =
        keys.iter().filter_map(|key| snapshot.get_record_in(keyspace, key).unwrap()).collect();
    let values = snapshot.multi_get_in(keyspace, keys).unwrap();
    for (key, value) in keys.iter().zip(values) {
        let record = gets.iter().find(|record| *record.key == *key.as_bytes());
        assert_eq!(value.as_ref(), record.map(|record| &record.value), "multi_get of {key}");
        assert_eq!(snapshot.get_in(keyspace, key).unwrap(), value, "get of {key}");
    }
    let mut cursor = snapshot.cursor_in(keyspace);
    let mut stepped = Vec::new();
    cursor.seek_first().unwrap();
    while let Some(at) = cursor.record() {
        stepped.push(Record {
            key: at.key.into(),
            value: at.value.into(),
            version: at.version,
            expires_at: at.expires_at,
        });
        cursor.next().unwrap();
    }
    let pairs: Vec<_> = snapshot.prefix_in(keyspace, "").map(Result::unwrap).collect();
    assert!(pairs.iter().map(|(key, _)| key).eq(forward.iter().map(|record| &record.key)));
    vec![forward, backward, gets, stepped]
}

#[test]
fn a_snapshot_shows_the_same_before_and_behind_the_end_of_a_ttl_a_flush_and_a_compaction() {
    // A get at a snapshot looked at the clock, and an iterator of it at the clock of its
    // beginning: keys went from the snapshot as their time passed, first for the gets,
    // and with a compaction for good.
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    let users = db.keyspace("users", KeyspaceOptions::new()).unwrap();
    let keys = ["in a table", "in memory", "older below", "stays"];
    for space in [db.default_keyspace(), &users] {
        space.put("older below", "older").unwrap();
        space.put_with("in a table", "v", ttl()).unwrap();
        space.put("stays", "v").unwrap();
        space.flush().unwrap();
        space.put_with("in memory", "v", ttl()).unwrap();
        space.put_with("older below", "newer", ttl()).unwrap();
    }
    let snapshot = db.snapshot();
    let began = all_ways(&snapshot, &users, &keys);
    assert_eq!(began[0].len(), 4);
    for way in &began {
        assert_eq!(way, &began[0]);
    }
    let mut begun = snapshot.range_in(&users, ..).records();
    let first = begun.next().unwrap().unwrap();

    let same = |when: &str| {
        for space in [db.default_keyspace(), &users] {
            let now = all_ways(&snapshot, space, &keys);
            let texts = |records: &[Record]| {
                let text = |record: &Record| (record.key.clone(), record.value.clone());
                records.iter().map(text).collect::<Vec<_>>()
            };
            for way in &now {
                assert_eq!(texts(way), texts(&began[0]), "{when}: {space:?}");
            }
        }
        assert_eq!(all_ways(&snapshot, &users, &keys), began, "{when}");
    };
    machine.clock().advance(TTL);
    assert_eq!(db.get("in memory").unwrap(), None, "gone for others");
    same("expired");
    db.flush().unwrap();
    same("flushed");
    for space in [db.default_keyspace(), &users] {
        space.put("stays", "changed").unwrap();
        space.compact(..).unwrap();
    }
    same("compacted");
    let late = snapshot.clone();
    machine.clock().advance(TTL);
    assert_eq!(all_ways(&late, &users, &keys), began, "of a clone");
    assert!([first].into_iter().chain(begun.map(Result::unwrap)).eq(began[0].iter().cloned()));

    // And then it is let go of.
    drop((snapshot, late));
    for space in [db.default_keyspace(), &users] {
        space.put("stays", "again").unwrap();
        space.compact(..).unwrap();
        assert_eq!(space.range(..).count(), 1);
    }
    assert_eq!(
        db.stats()
            .keyspaces
            .iter()
            .map(|k| k.levels.iter().map(|l| l.entries).sum::<u64>())
            .sum::<u64>(),
        2
    );
}

#[test]
fn every_way_to_read_tells_version_and_expiry() {
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    let at = UnixMillis(machine.clock().wall_ms() + 5_001);
    let first = db.put("a", "1").unwrap();
    let second = db.put_with("b", "2", PutOptions::new().expires_at(at)).unwrap();
    db.flush().unwrap();
    let third = db.put_with("c", "3", ttl()).unwrap();
    let end = UnixMillis(machine.clock().wall_ms() + TTL.as_millis() as u64);
    let record = |key: &str, value: &str, version, expires_at| Record {
        key: key.as_bytes().into(),
        value: value.as_bytes().into(),
        version,
        expires_at,
    };
    let expected = [
        record("a", "1", first, None),
        record("b", "2", second, Some(at)),
        record("c", "3", third, Some(end)),
    ];
    let keys = ["a", "b", "c"];
    for way in all_ways(&db.snapshot(), db.default_keyspace(), &keys) {
        assert_eq!(way, expected);
    }
    assert!(db.iter().records().map(Result::unwrap).eq(expected.clone()));
    assert!(keys.iter().map(|key| db.get_record(key).unwrap().unwrap()).eq(expected.clone()));
    let found = db.iter().keys().rev().map(Result::unwrap).collect::<Vec<_>>();
    assert!(found.iter().map(|key| &**key).eq([b"c", b"b", b"a"].map(|key| &key[..])));
    // Turned round, it tells of the version that it stands on.
    let mut cursor = db.cursor();
    cursor.seek("c").unwrap();
    cursor.prev().unwrap();
    assert_eq!(cursor.record().unwrap().expires_at, Some(at));
    cursor.next().unwrap();
    assert_eq!(cursor.record().unwrap().version, third);
}

#[test]
fn what_would_expire_behind_the_year_9999_is_refused_and_nothing_of_it_is_done() {
    // Such a time was taken, and written by the server as year 12027, which its own
    // client could not read: a dump ended there.
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    let left = MAX_EXPIRES_AT_MS - machine.clock().wall_ms();
    let in_ms = |ms| PutOptions::new().ttl(Duration::from_millis(ms));
    let at_ms = |ms| PutOptions::new().expires_at(UnixMillis(ms));
    for options in [in_ms(left + 1), in_ms(u64::MAX), at_ms(MAX_EXPIRES_AT_MS + 1)] {
        let mut batch = tanada::Batch::new();
        batch.put("beside it", "v");
        batch.put_with("k", "v", options);
        for refused in [db.put_with("k", "v", options), db.write(batch)] {
            match refused {
                Err(Error::InvalidArgument(what)) => assert!(what.contains("9999-12-31"), "{what}"),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(db.iter().count(), 0);
    for (key, options) in [("ttl", in_ms(left)), ("at", at_ms(MAX_EXPIRES_AT_MS))] {
        db.put_with(key, "v", options).unwrap();
        let record = db.get_record(key).unwrap().unwrap();
        assert_eq!(record.expires_at, Some(UnixMillis(MAX_EXPIRES_AT_MS)));
    }
    // What is past hides what is older, and is not seen.
    db.put("past", "v").unwrap();
    db.put_with("past", "v", at_ms(0)).unwrap();
    assert_eq!(db.get("past").unwrap(), None);
}

#[test]
fn what_a_snapshot_does_not_see_goes_when_its_time_has_passed() {
    // A snapshot keeps what it sees. Had it kept the time of all that came behind it,
    // too, a cache of short lives would have grown as long as one was open.
    let machine = MemoryMachine::new(1);
    let db = open(&machine);
    db.put_with("seen", "v", ttl()).unwrap();
    let snapshot = db.snapshot();
    for n in 0..1000u32 {
        db.put_with(n.to_be_bytes(), "v", ttl()).unwrap();
    }
    machine.clock().advance(TTL);
    db.flush().unwrap();
    db.compact(..).unwrap();
    let stats = db.stats();
    let levels = stats.keyspaces[0].levels.iter();
    let (entries, tombstones) =
        levels.fold((0, 0), |(e, t), level| (e + level.entries, t + level.tombstones));
    assert_eq!(entries - tombstones, 1, "only what the snapshot sees");
    assert_eq!(snapshot.iter().count(), 1);
    assert_eq!(db.iter().count(), 0);
}
