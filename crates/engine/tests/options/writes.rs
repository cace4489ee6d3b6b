//! What each option of a write and of a put does.

use crate::{World, builder};
use std::time::Duration;
use tanada::vfs::{Clock, MemoryMachine};
use tanada::{Batch, Db, Durability, Error, PutOptions, Record, UnixMillis, WriteOptions};

/// Power cuts of so many kinds are tried.
const CUTS: u64 = 64;

/// Whether any kind of power cut takes the key `k`.
pub(crate) fn may_be_lost_by_a_power_cut(machine: &MemoryMachine) -> bool {
    (0..CUTS).any(|seed| is_lost(&machine.crash(seed)))
}

fn is_lost(left: &MemoryMachine) -> bool {
    !builder(left).open().unwrap().contains("k").unwrap()
}

/// The key `k`, written with options to a database that asks for `usual`; and how many syncs
/// that took.
fn write(usual: Durability, options: WriteOptions) -> (MemoryMachine, Db, u64) {
    let machine = MemoryMachine::new(1);
    let db = builder(&machine).durability(usual).open().unwrap();
    let before = db.stats().wal.syncs;
    let mut batch = Batch::new();
    batch.put("k", "v");
    db.write_with(batch, options).unwrap();
    let syncs = db.stats().wal.syncs - before;
    (machine, db, syncs)
}

pub(crate) fn write_new() {
    for (usual, may_be_lost) in [(Durability::Synced, false), (Durability::Buffered, true)] {
        let (machine, _db, _) = write(usual, WriteOptions::new());
        assert_eq!(may_be_lost_by_a_power_cut(&machine), may_be_lost, "{usual:?}");
    }
}

pub(crate) fn write_durability() {
    for (usual, asked, may_be_lost) in [
        (Durability::Synced, Durability::Memory, true),
        (Durability::Synced, Durability::Buffered, true),
        (Durability::Memory, Durability::Synced, false),
        (Durability::Buffered, Durability::Synced, false),
    ] {
        let options = WriteOptions::new().durability(asked);
        let (machine, db, _) = write(usual, options);
        let lost = may_be_lost_by_a_power_cut(&machine);
        assert_eq!(lost, may_be_lost, "{asked:?} instead of {usual:?}");
        // The next one is as usual again.
        let before = db.stats().wal.syncs;
        db.put("next", "v").unwrap();
        let syncs = db.stats().wal.syncs - before;
        assert_eq!(syncs > 0, usual == Durability::Synced, "behind {asked:?}");
        // So is each of several that are handed in together.
        let mut batch = Batch::new();
        batch.put("each", "v");
        let before = db.stats().wal.syncs;
        db.write_each([(batch, options)]).remove(0).unwrap();
        let syncs = db.stats().wal.syncs - before;
        assert_eq!(syncs > 0, asked == Durability::Synced, "{asked:?} by `write_each`");
    }
}

/// Syncs, and whether the end of the process or a power cut may take it.
fn outcome(durability: Durability) -> (u64, bool, bool) {
    // Whatever is usual.
    let usual = match durability {
        Durability::Synced => Durability::Memory,
        _ => Durability::Synced,
    };
    let (machine, _db, syncs) = write(usual, WriteOptions::new().durability(durability));
    (syncs, is_lost(&machine.kill()), may_be_lost_by_a_power_cut(&machine))
}

pub(crate) fn in_memory() {
    // Whether the end of the process takes it is left open.
    let (syncs, _, by_power_cut) = outcome(Durability::Memory);
    assert_eq!((syncs, by_power_cut), (0, true));
}

pub(crate) fn buffered() {
    assert_eq!(outcome(Durability::Buffered), (0, false, true));
}

pub(crate) fn synced() {
    assert_eq!(outcome(Durability::Synced), (1, false, false));
}

/// Puts a key in each way that takes options.
fn put_in_each_way(world: &World, options: PutOptions) {
    let World { db, side, .. } = world;
    db.put_with("db", "v", options).unwrap();
    side.put_with("keyspace", "v", options).unwrap();
    let mut batch = Batch::new();
    batch.put_with("batch", "v", options);
    batch.put_in_with(side, "batch", "v", options);
    db.write(batch).unwrap();
}

/// What is there of these keys.
fn records(world: &World) -> [Option<Record>; 4] {
    let World { db, side, .. } = world;
    [
        db.get_record("db").unwrap(),
        side.get_record("keyspace").unwrap(),
        db.get_record("batch").unwrap(),
        side.get_record("batch").unwrap(),
    ]
}

/// Checks that all of the keys are there and expire at that moment, or none is there.
fn expire_at(world: &World, expected: Option<UnixMillis>, what: &str) {
    for record in records(world) {
        assert_eq!(record.expect(what).expires_at, expected, "{what}");
    }
}

fn are_gone(world: &World, what: &str) {
    assert!(records(world).iter().all(Option::is_none), "{what}: {:?}", records(world));
    let World { db, side, .. } = world;
    assert_eq!(db.iter().count() + side.iter().count(), 0, "{what}");
}

const TIME: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);

pub(crate) fn put_new() {
    let world = World::new();
    put_in_each_way(&world, PutOptions::new());
    expire_at(&world, None, "at first");
    world.machine.clock().advance(Duration::from_secs(1_000 * 24 * 3600));
    expire_at(&world, None, "1000 days later");
}

pub(crate) fn ttl() {
    let world = World::new();
    let clock = world.machine.clock();
    put_in_each_way(&world, PutOptions::new().ttl(TIME));
    let end = UnixMillis(clock.wall_ms() + TIME.as_millis() as u64);
    expire_at(&world, Some(end), "at first");
    clock.advance(TIME - MS);
    expire_at(&world, Some(end), "a millisecond before");
    clock.advance(MS);
    are_gone(&world, "at the end");
    // It begins with each put anew.
    put_in_each_way(&world, PutOptions::new().ttl(TIME));
    expire_at(&world, Some(UnixMillis(end.0 + TIME.as_millis() as u64)), "put again");
    is_refused(&world, PutOptions::new().ttl(Duration::ZERO));
}

pub(crate) fn expires_at() {
    let world = World::new();
    let clock = world.machine.clock();
    let end = UnixMillis(clock.wall_ms() + TIME.as_millis() as u64);
    clock.advance(TIME / 2);
    put_in_each_way(&world, PutOptions::new().expires_at(end));
    expire_at(&world, Some(end), "at first");
    clock.advance(TIME / 2 - MS);
    expire_at(&world, Some(end), "a millisecond before");
    clock.advance(MS);
    are_gone(&world, "at the end");
    // What is past hides what was there.
    put_in_each_way(&world, PutOptions::new());
    put_in_each_way(&world, PutOptions::new().expires_at(UnixMillis(1)));
    are_gone(&world, "past");
    is_refused(&world, PutOptions::new().ttl(TIME).expires_at(end));
}

fn is_refused(world: &World, options: PutOptions) {
    let refused = world.db.put_with("refused", "v", options).unwrap_err();
    assert!(matches!(refused, Error::InvalidArgument(_)), "{refused}");
    assert!(!world.db.contains("refused").unwrap());
}
