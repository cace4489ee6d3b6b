//! What each call of those who follow the changes does.

use crate::World;
use std::time::Duration;
use tanada::{Changes, Error, Operation, SeqNo, Since};

/// The keys that the stream shows, one by one.
fn shown(changes: &mut Changes) -> Vec<String> {
    let mut keys = Vec::new();
    while let Some(group) = changes.next().unwrap() {
        for change in group.changes() {
            assert!(matches!(change.operation, Operation::Put { .. }), "{change:?}");
            keys.push(String::from_utf8(change.key.to_vec()).unwrap());
        }
    }
    keys
}

/// Names of who follows.
fn names(world: &World) -> Vec<String> {
    world.db.stats().wal.oldest_consumers.into_iter().map(|consumer| consumer.name).collect()
}

pub(crate) fn named() {
    let world = World::new();
    let changes = world.db.changes(Since::Now).unwrap();
    assert_eq!(names(&world), ["changes"]);
    let changes = changes.named("search index");
    assert_eq!(names(&world), ["search index"]);
    drop(changes);
    assert_eq!(names(&world), Vec::<String>::new());
}

pub(crate) fn next() {
    let world = World::new();
    let mut changes = world.db.changes(Since::Now).unwrap();
    assert!(changes.next().unwrap().is_none());
    world.db.put("a", "1").unwrap();
    world.side.put("b", "2").unwrap();
    assert_eq!(shown(&mut changes), ["a", "b"]);
    assert_eq!(shown(&mut changes), Vec::<String>::new());
}

pub(crate) fn wait() {
    let world = World::new();
    let mut changes = world.db.changes(Since::Now).unwrap();
    assert!(!changes.wait(Duration::from_millis(1)).unwrap());
    world.db.put("a", "1").unwrap();
    assert!(changes.wait(Duration::ZERO).unwrap());
    assert_eq!(shown(&mut changes), ["a"]);
    world.db.close().unwrap();
    let closed = changes.wait(Duration::from_secs(60)).unwrap_err();
    assert!(matches!(closed, Error::Closed), "{closed}");
}

pub(crate) fn position() {
    let world = World::new();
    let mut changes = world.db.changes(Since::Now).unwrap();
    world.db.put("a", "1").unwrap();
    let before = changes.position();
    assert_eq!(shown(&mut changes), ["a"]);
    let behind = changes.position();
    assert!(behind.log_bytes() > before.log_bytes());
    let from = |position| shown(&mut world.db.changes(Since::Position(position)).unwrap());
    assert_eq!(from(before), ["a"]);
    assert_eq!(from(behind), Vec::<String>::new());
}

/// Fills logs and flushes, so that only who holds them keeps them. The values stand in the
/// log as they are: nothing compresses there.
fn write_and_flush(world: &World) {
    for n in 0..3 {
        world.db.put(format!("k{n}"), vec![7; 2_000_000]).unwrap();
        world.db.flush().unwrap();
    }
}

pub(crate) fn hold_position() {
    let world = World::new();
    let position = world.db.changes(Since::Now).unwrap().position();
    let hold = world.db.hold_changes(position).unwrap();
    write_and_flush(&world);
    assert_eq!(hold.position(), position);
    let mut changes = world.db.changes(hold.position()).unwrap();
    assert_eq!(shown(&mut changes), ["k0", "k1", "k2"]);
}

pub(crate) fn hold_named() {
    let world = World::new();
    let position = world.db.changes(Since::Now).unwrap().position();
    let hold = world.db.hold_changes(position).unwrap().named("archive");
    assert_eq!(names(&world), ["archive"]);
    drop(hold);
    assert_eq!(names(&world), Vec::<String>::new());
}

pub(crate) fn hold_move_to() {
    let world = World::new();
    let first = world.db.changes(Since::Now).unwrap().position();
    let mut hold = world.db.hold_changes(first).unwrap();
    write_and_flush(&world);
    let held = || world.db.stats().wal.held_bytes;
    assert!(held() > 0);
    let end = world.db.changes(Since::Now).unwrap().position();
    hold.move_to(end).unwrap();
    assert_eq!(hold.position(), end);
    assert_eq!(held(), 0, "what lies before is let go of");
    let gone = world.db.changes(Since::Write(SeqNo(0))).unwrap_err();
    assert!(matches!(gone, Error::WindowGone { .. }), "{gone}");
    hold.move_to(first).unwrap();
    assert_eq!(hold.position(), end, "it never moves back");
}
