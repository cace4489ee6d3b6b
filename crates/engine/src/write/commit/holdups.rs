//! What a writer that fills a MemTable does not wait for, while it holds the lock that all
//! other writers wait for.

use crate::{Compression, Db, Durability};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use tanada_vfs::{Env, MemoryMachine};

const MEMORY: u64 = 64 << 20;

/// Longer than any machine takes that is not stuck.
const STUCK: Duration = Duration::from_secs(20);

/// A database with threads.
fn open(dir: &std::path::Path) -> Db {
    let builder = Db::builder(dir).memory(MEMORY).durability(Durability::Memory);
    builder.env(Env::real()).open().unwrap()
}

/// Writes until a MemTable has been sealed and the next one has begun.
fn fill_a_memtable(db: &Db) {
    let core = db.default_keyspace().core();
    let value = [7; 1000];
    for n in 0..core.reading.budget.memtable_seal / 1000 + 1000 {
        db.put(n.to_be_bytes(), value).unwrap();
    }
}

/// Fills a MemTable in another thread while this one has `held`, and lets that go at last.
fn fills_beside<T>(db: &Db, held: T, what: &str) {
    let (done, is_done) = channel();
    let answer = std::thread::scope(|scope| {
        scope.spawn(move || {
            fill_a_memtable(db);
            done.send(()).unwrap();
        });
        let answer = is_done.recv_timeout(STUCK);
        drop(held);
        answer
    });
    assert!(answer.is_ok(), "a writer waits for {what}");
}

/// Threads of the lowest priority look for compactions under this lock: on a busy machine a
/// writer that sealed a MemTable waited until the scheduler let one of them go on.
#[test]
fn a_seal_waits_for_no_thread_that_looks_for_work() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path());
    let core = Arc::clone(db.default_keyspace().core());
    fills_beside(&db, core.background.state.lock(), "the state of the background");
    db.flush().unwrap();
}

/// A seal divided the memory anew, and so gave up blocks for a whole MemTable at once.
#[test]
fn a_write_gives_up_few_blocks_at_a_time_however_full_the_caches_are() {
    const PAIRS: u32 = 60_000;
    let machine = MemoryMachine::new(1);
    let builder = Db::builder("/db").memory(4 * MEMORY).durability(Durability::Memory);
    let db = builder.compression(Compression::None).env(machine.env()).open().unwrap();
    let value = [7; 4000];
    for n in 0..PAIRS {
        db.put(n.to_be_bytes(), value).unwrap();
    }
    db.flush().unwrap();
    for n in 0..PAIRS {
        db.get(n.to_be_bytes()).unwrap();
    }
    let cache = || db.stats().block_cache;
    assert!(cache().used_bytes > MEMORY * 2, "{:?}", cache());

    let (flushes, evictions) = (db.stats().flush.jobs, cache().evictions);
    let (mut most, mut all) = (0, 0);
    while db.stats().flush.jobs < flushes + 3 {
        let before = cache().evictions;
        db.put((all as u32).to_be_bytes(), [8; 1000]).unwrap();
        let gone = cache().evictions - before;
        (most, all) = (most.max(gone), all + 1);
        assert!(all < 2_000_000, "{:?}", db.stats().flush);
    }
    assert!(cache().evictions > evictions, "no write took anything from the caches");
    // 4,096 bytes each, of the six megabytes that a write may take.
    assert!(most < 1_600, "one write gave up {most} blocks");
}
