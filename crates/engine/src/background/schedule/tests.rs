//! Which thread does what.

use super::quiet::BLOCKS_STAY;
use super::{Job, Worker};
use crate::read::row_cache::{Tally, Verdict};
use crate::{Db, Durability};
use std::sync::Arc;
use tanada_vfs::{Env, MemoryMachine};

const MEMORY: u64 = 256 << 20;

/// A writer gave free pages of the heap back itself, with its locks held and all others
/// who allocate waiting: each time that the row cache had dropped 8 MiB.
#[test]
fn the_heap_of_rows_that_are_dropped_is_given_back_by_the_thread_that_prepares_logs() {
    let builder = Db::builder("/db").memory(MEMORY).durability(Durability::Buffered);
    let db = builder.env(Env::memory(1)).open().unwrap();
    // So few gets that nobody looks yet whether the row cache pays.
    let keys = || (0..8_000u64).map(u64::to_be_bytes);
    for key in keys() {
        db.put(key, [7; 2000]).unwrap();
    }
    db.flush().unwrap();
    let core = Arc::clone(db.default_keyspace().core());
    // It has its whole share once reads have shown that blocks do not fit.
    let tally = Tally { gets: 1_000, disk_reads: 900, ..Tally::default() };
    assert_eq!(core.reading.row_cache_worth.look(tally, false), Verdict::Returned);
    core.reading.rebalance();
    for key in keys() {
        assert!(db.get(key).unwrap().is_some());
    }
    let rows = db.stats().memory.row_cache_bytes;
    assert!(rows > 12 << 20, "{rows}");
    let given_back = |worker| {
        let job = core.next_job(&mut core.background.state.lock(), worker);
        matches!(job, Some(Job::GiveBackHeap))
    };
    assert!(!given_back(Worker::LogKeeper), "no row has gone");
    let mut claim = db.claim_memory(1 << 20).unwrap();
    while claim.grow(1 << 20).is_ok() {
        assert!(claim.bytes() <= MEMORY, "{} bytes are claimed", claim.bytes());
    }
    assert!(db.stats().memory.row_cache_bytes < 4 << 20);
    for worker in [Worker::Caller, Worker::Flusher, Worker::Compactor] {
        assert!(!given_back(worker), "not who writers wait for");
    }
    assert!(given_back(Worker::LogKeeper));
    assert!(!given_back(Worker::LogKeeper), "once");
}

/// Who touches a page first would wait for the system to find 2 MiB. A thread of low priority
/// would hold up all that the process maps.
#[test]
fn blocks_are_put_on_huge_pages_by_the_thread_that_prepares_logs() {
    let builder = Db::builder("/db").memory(MEMORY).durability(Durability::Buffered);
    let db = builder.env(Env::memory(1)).open().unwrap();
    let keys = || (0..4_000u64).map(u64::to_be_bytes);
    for key in keys() {
        db.put(key, [7; 2000]).unwrap();
    }
    db.flush().unwrap();
    let core = Arc::clone(db.default_keyspace().core());
    let collapses = |worker| {
        let job = core.next_job(&mut core.background.state.lock(), worker);
        matches!(job, Some(Job::CollapsePages))
    };
    assert!(!collapses(Worker::LogKeeper), "no block has been read");
    for key in keys() {
        assert!(db.get(key).unwrap().is_some());
    }
    assert!(db.stats().memory.block_cache_bytes > 4 << 20);
    for worker in [Worker::Caller, Worker::Flusher, Worker::Compactor, Worker::Remover] {
        assert!(!collapses(worker));
    }
    if !tanada_vfs::Reserved::can_be_huge() {
        assert!(!collapses(Worker::LogKeeper));
        return;
    }
    assert!(collapses(Worker::LogKeeper));
    (0..100).for_each(|_| core.run(Job::CollapsePages));
    assert!(!collapses(Worker::LogKeeper), "all of it is done");
    let memory = db.stats().memory;
    assert!(memory.block_cache_huge_page_bytes >= 2 << 20);
    assert!(memory.block_cache_huge_page_bytes <= memory.block_cache_bytes);
    assert_eq!(memory.block_cache_collapsed_bytes, memory.block_cache_huge_page_bytes);
}

/// While flushes and compactions replaced tables, each part of the cache was copied again and
/// again: reads beside a writer fell to two thirds, and the longest took 150 ms.
#[test]
fn blocks_are_put_on_huge_pages_only_when_the_cache_has_given_none_back_for_a_while() {
    if !tanada_vfs::Reserved::can_be_huge() {
        return;
    }
    let machine = MemoryMachine::new(1);
    let builder = Db::builder("/db").memory(MEMORY).durability(Durability::Buffered);
    let db = builder.env(machine.env()).open().unwrap();
    let fill = || {
        let keys = || (0..8_000u64).map(u64::to_be_bytes);
        keys().for_each(|key| assert!(db.put(key, [7; 2000]).is_ok()));
        db.flush().unwrap();
        keys().for_each(|key| assert!(db.get(key).unwrap().is_some()));
    };
    let core = Arc::clone(db.default_keyspace().core());
    let collapses = || {
        let job = core.next_job(&mut core.background.state.lock(), Worker::LogKeeper);
        matches!(job, Some(Job::CollapsePages))
    };
    fill();
    assert!(collapses(), "no block has gone");
    fill();
    db.compact(..).unwrap();
    fill();
    assert!(core.reading.block_cache.released_runs() > 0);
    assert!(core.reading.block_cache.may_collapse_pages());
    let copied = || db.stats().memory.block_cache_collapsed_bytes;
    let before = copied();
    assert!(!collapses(), "blocks have just gone");
    machine.clock().advance(BLOCKS_STAY / 2);
    assert!(!collapses(), "and not long ago");
    machine.clock().advance(BLOCKS_STAY);
    assert!(collapses());
    core.run(Job::CollapsePages);
    assert!(copied() > before);
}
