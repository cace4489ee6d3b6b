//! A reader that enters while a job asks who reads, in every order that loom knows.

use super::*;
use std::sync::atomic::Ordering::{Acquire, Release};
use tanada_vfs::sync::lock_free;
use tanada_vfs::sync::loom::thread;
use tanada_vfs::sync::{Without, check};

/// When a reader asks for its number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    UnderTheLock,
    Before,
}

struct World {
    holders: Holders,
    visible: lock_free::AtomicU64,
    /// Of one key, by their numbers.
    versions: Mutex<Vec<u64>>,
}

/// A second version is written, and a job drops the first unless somebody reads at it.
fn write_and_merge(world: &World) {
    world.versions.lock().push(2);
    world.visible.store(2, Release);
    let moment = world.holders.job_moment(0);
    world
        .versions
        .lock()
        .retain(|&version| version == 2 || moment.seqnos.contains(&SeqNo(version)));
}

/// A reader finds the version of its own number.
fn read(world: &World, asked: Asked) {
    let visible = || SeqNo(world.visible.load(Acquire));
    let early = (asked == Asked::Before).then(visible);
    let kind = (HolderKind::Snapshot, KeyspaceId::DEFAULT);
    let (place, at) = world.holders.enter(kind, (0, 0), || early.unwrap_or_else(visible));
    let versions = world.versions.lock().clone();
    assert!(versions.contains(&at.seqno.0), "a job took the version that a reader sees");
    world.holders.leave(place);
}

fn body(asked: Asked) {
    let visible = lock_free::AtomicU64::new(1);
    let versions = Mutex::new(vec![1]);
    let world = Arc::new(World { holders: Holders::default(), visible, versions });
    let job = thread::spawn({
        let world = Arc::clone(&world);
        move || write_and_merge(&world)
    });
    read(&world, asked);
    job.join().unwrap();
}

#[test]
fn models_of_a_reader_that_enters_beside_a_job() {
    check("a reader that enters beside a job", Without::Nothing, || body(Asked::UnderTheLock));
}

#[test]
#[should_panic = "a job took the version that a reader sees"]
fn models_of_a_reader_that_is_numbered_before_it_is_listed_fail() {
    check("a reader numbered before it is listed", Without::Nothing, || body(Asked::Before));
}
