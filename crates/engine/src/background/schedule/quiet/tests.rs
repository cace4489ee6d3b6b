//! Quiet nights: nobody writes, and the threads' work is done by hand, as they would do it:
//! whoever finds nothing sleeps for as long as a thread would, on the machine's clock.

use super::*;
use crate::core::lineup::FEW;
use crate::{Db, Keyspace, KeyspaceOptions, PutOptions};
use tanada_vfs::MemoryMachine;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

struct Night {
    machine: MemoryMachine,
    db: Db,
}

/// What happened in a part of a night.
#[derive(Debug, Default, PartialEq, Eq)]
struct Spell {
    jobs: u64,
    /// How often a thread looked for work because of the time.
    wakes: u64,
}

impl Night {
    /// A database whose work is done by its callers, until it gets quiet.
    fn new() -> Night {
        let machine = MemoryMachine::new(1);
        let db = Db::builder("/db").memory(64 << 20).env(machine.env()).open().unwrap();
        db.default_keyspace().core().listen_to_readers();
        Night { machine, db }
    }

    fn core(&self) -> &Arc<Core> {
        self.db.default_keyspace().core()
    }

    /// From now on nothing is done but by [`Night::passes`].
    fn falls(&self) {
        self.core().background.inline.store(false, Ordering::Relaxed);
    }

    /// Nothing happens for so long.
    fn passes(&self, time: Duration) -> Spell {
        let core = self.core();
        let clock = self.machine.clock();
        let end_ns = core.reading.env.clock.monotonic_ns() + time.as_nanos() as u64;
        let mut spell = Spell::default();
        for looks in 0.. {
            assert!(looks < 1_000_000, "it looks for work again and again: {spell:?}");
            while let Some(job) = self.next() {
                core.run(job);
                spell.jobs += 1;
                assert!(spell.jobs < 10_000, "it rewrites again and again");
            }
            let patience = core.patience(&mut core.background.state.lock(), Worker::Compactor);
            let left = end_ns.saturating_sub(core.reading.env.clock.monotonic_ns());
            match patience {
                Patience::None => continue,
                Patience::Until(wait) if (wait.as_nanos() as u64) < left => clock.advance(wait),
                _ => {
                    clock.advance(Duration::from_nanos(left));
                    return spell;
                }
            }
            spell.wakes += 1;
        }
        unreachable!("the time passes, or an assertion ends it");
    }

    fn next(&self) -> Option<Job> {
        let core = self.core();
        let workers = [Worker::Flusher, Worker::Remover, Worker::Compactor];
        let mut state = core.background.state.lock();
        loop {
            let job = workers.iter().find_map(|&worker| core.next_job(&mut state, worker));
            if job.is_some() || !std::mem::take(&mut state.swept_a_part) {
                return job;
            }
        }
    }

    /// Whether a reader has told of its end. Few keyspaces are never swept.
    fn was_woken(&self) -> bool {
        self.core().background.state.lock().lineup.awaits_sweep(0)
    }

    fn entries(&self) -> u64 {
        self.db.stats().keyspaces.iter().map(|k| k.table_entries).sum()
    }

    fn bytes(&self) -> u64 {
        self.db.stats().keyspaces.iter().map(|k| k.table_bytes).sum()
    }

    fn load(&self, keys: std::ops::Range<u32>, value: usize) {
        for n in keys {
            self.db.put(n.to_be_bytes(), vec![n as u8; value]).unwrap();
        }
    }

    fn delete(&self, keys: std::ops::Range<u32>) {
        for n in keys {
            self.db.delete(n.to_be_bytes()).unwrap();
        }
    }
}

fn brief(seconds: u64) -> PutOptions {
    PutOptions::new().ttl(Duration::from_secs(seconds))
}

/// 100,000 pairs with three seconds to live were in the tables after forty seconds of
/// quiet, and for good.
#[test]
fn what_expires_goes_though_nobody_writes() {
    let night = Night::new();
    for n in 0..100_000u32 {
        night.db.put_with(n.to_be_bytes(), "value", brief(3)).unwrap();
    }
    night.db.put("stays", "value").unwrap();
    night.db.flush().unwrap();
    night.falls();
    night.passes(2 * MINUTE);
    assert_eq!(night.entries(), 1);
    assert_eq!(night.passes(24 * HOUR), Spell::default(), "nothing is due any more");
}

/// The first write wakes a thread, which looks before it can see any: then for twice as long
/// as a database is quiet nothing was flushed, and another time for ten minutes.
#[test]
fn what_expires_in_a_memtable_goes_within_half_a_minute() {
    let night = Night::new();
    night.falls();
    for round in 0..3 {
        night.passes(Duration::from_secs(1));
        for n in 0..30_000u32 {
            night.db.put_with(n.to_be_bytes(), [round; 100], brief(3)).unwrap();
        }
        assert!(night.db.stats().keyspaces.iter().any(|k| k.memtable_entries > 0));
        night.passes(Duration::from_secs(30));
        let stats = night.db.stats();
        let left = |k: &crate::KeyspaceStats| k.memtable_entries + k.table_entries;
        assert_eq!(stats.keyspaces.iter().map(left).sum::<u64>(), 0, "round {round}");
    }
}

/// 200,000 keys were deleted, and 82 MiB of them stayed: the deletes lay in a MemTable that
/// never got full.
#[test]
fn what_was_deleted_goes_though_nobody_writes() {
    let night = Night::new();
    night.load(0..200_000, 100);
    night.db.compact(..).unwrap();
    assert!(night.bytes() > 1 << 20);
    night.falls();
    night.delete(0..200_000);
    night.passes(10 * MINUTE);
    assert_eq!((night.entries(), night.bytes()), (0, 0));
    let stats = night.db.stats();
    assert!(stats.wal.bytes_on_disk <= 2 << 20, "the logs have gone too: {:?}", stats.wal);
    assert_eq!((stats.obsolete.files, stats.obsolete.held_tables), (0, 0));
}

/// Who had to tell the background that the last reader was gone was the next writer.
#[test]
fn what_was_kept_for_a_snapshot_goes_with_it_though_nobody_writes() {
    let night = Night::new();
    night.load(0..20_000, 100);
    night.db.compact(..).unwrap();
    let snapshot = night.db.snapshot();
    let another = snapshot.clone();
    night.delete(0..20_000);
    night.db.flush().unwrap();
    night.falls();
    night.passes(HOUR);
    assert!(night.entries() >= 20_000, "it is read at");
    assert_eq!(snapshot.iter().count(), 20_000);
    let asleep = night.passes(6 * HOUR);
    assert!(asleep.wakes <= 6 && asleep.jobs == 0, "{asleep:?}");
    // Others come and go, and look back as far or less: that wakes nobody.
    for _ in 0..10 {
        assert_eq!(night.db.iter().count(), 0);
        assert_eq!(another.iter().count(), 20_000);
    }
    drop(snapshot);
    assert!(!night.was_woken(), "another one looks back as far");
    drop(another);
    assert!(night.was_woken(), "it was the last");
    night.passes(10 * MINUTE);
    assert_eq!(night.entries(), 0);
}

/// What was overwritten under a snapshot stayed for good: nothing told it from the rest.
#[test]
fn what_was_overwritten_under_a_snapshot_goes_with_it_though_nobody_writes() {
    let night = Night::new();
    night.load(0..20_000, 100);
    night.db.compact(..).unwrap();
    let single = night.bytes();
    let snapshot = night.db.snapshot();
    night.load(0..20_000, 101);
    night.db.compact(..).unwrap();
    assert_eq!(night.entries(), 40_000);
    night.falls();
    night.passes(HOUR);
    assert_eq!(night.entries(), 40_000, "it is read at");
    drop(snapshot);
    assert!(night.was_woken());
    night.passes(10 * MINUTE);
    assert_eq!(night.entries(), 20_000);
    assert!(night.bytes() < single + single / 4);
}

/// Of more than 64 keyspaces none was asked before some job had ended.
#[test]
fn what_expires_goes_from_many_keyspaces_though_no_job_ends() {
    let night = Night::new();
    let open = |i| night.db.keyspace(&format!("ks {i}"), KeyspaceOptions::new()).unwrap();
    let all: Vec<Keyspace> = (0..FEW + 10).map(open).collect();
    for keyspace in &all {
        keyspace.put_with("key", "value", brief(7200)).unwrap();
    }
    night.db.flush().unwrap();
    night.falls();
    night.passes(HOUR);
    assert_eq!(night.entries(), all.len() as u64);
    night.passes(HOUR + MINUTE);
    assert_eq!(night.entries(), 0);
    assert_eq!(night.passes(24 * HOUR), Spell::default());
}

#[test]
fn a_quiet_day_with_nothing_due_takes_a_few_looks_and_rewrites_nothing() {
    let night = Night::new();
    night.load(0..50_000, 100);
    // Some deletes, too few for a rewrite, and one value that lives for a year.
    night.delete(0..500);
    night.db.put_with("a year", "value", brief(365 * 86_400)).unwrap();
    night.falls();
    let first = night.passes(HOUR);
    assert!(first.wakes < 20, "{first:?}");
    let written = night.db.stats().flush.bytes_written;
    assert!(written > 0, "the MemTable was flushed");
    let rest = night.passes(24 * HOUR);
    assert!(rest.wakes <= 5 * 24 && rest.jobs == 0, "{rest:?}");
    // A write an hour: a flush for each at most.
    let mut jobs = 0;
    for hour in 0..12u32 {
        night.db.put(hour.to_be_bytes(), "new").unwrap();
        let spell = night.passes(HOUR);
        assert!(spell.wakes < 20, "{spell:?}");
        jobs += spell.jobs;
    }
    assert!(jobs <= 12 * 8, "{jobs}");
}

/// One value that lives for a year kept all that had expired beside it: a table was judged by
/// the last of its values that expires.
#[test]
fn what_expires_goes_though_each_table_has_a_value_that_lives_for_a_year() {
    let night = Night::new();
    let year = 365 * 86_400;
    for n in 0..100_000u32 {
        let seconds = if n.is_multiple_of(500) { year } else { 3 };
        night.db.put_with(n.to_be_bytes(), [n as u8; 50], brief(seconds)).unwrap();
    }
    night.db.flush().unwrap();
    let full = night.bytes();
    night.falls();
    night.passes(2 * MINUTE);
    assert_eq!(night.entries(), 200);
    assert!(night.bytes() < full / 100, "{} of {full}", night.bytes());
    let rest = night.passes(24 * HOUR);
    assert!(
        rest.wakes <= 5 * 24 && rest.jobs == 0,
        "nothing is due before the year is over: {rest:?}"
    );
    night.passes(366 * 24 * HOUR);
    assert_eq!(night.entries(), 0);
}

/// Values that expire one after the other, for days: what has expired is never much, and each
/// byte is rewritten a few times at most.
#[test]
fn what_expires_by_and_by_goes_by_and_by_and_is_rewritten_a_few_times_only() {
    let night = Night::new();
    let keys = 60_000u32;
    let seconds = |n: u32| match n % 10 {
        0 => 365 * 86_400,
        // Of all times up to 100 hours, in each table.
        _ => 3_600 + u64::from(n.wrapping_mul(2_654_435_761) % (99 * 3_600)),
    };
    for n in 0..keys {
        night.db.put_with(n.to_be_bytes(), [n as u8; 100], brief(seconds(n))).unwrap();
    }
    night.db.compact(..).unwrap();
    let written = |night: &Night| night.db.stats().compaction.bytes_written;
    let (full, before) = (night.bytes(), written(&night));
    night.falls();
    for hour in 1..=101u64 {
        night.passes(HOUR);
        let alive = (0..keys).filter(|&n| seconds(n) > hour * 3_600).count() as u64;
        // A quarter is garbage before anything is done, and an eighth may not be known yet.
        assert!(night.entries() * 5 <= alive * 9, "hour {hour}: {alive} of {}", night.entries());
    }
    night.passes(20 * HOUR);
    assert!(night.entries() < u64::from(keys) / 10 * 9 / 5, "{}", night.entries());
    let again = written(&night) - before;
    assert!(again <= 4 * full, "{again} bytes were written again, of {full}");
    night.passes(370 * 24 * HOUR);
    assert_eq!(night.entries(), 0);
}

/// A server whose disk had been full was not ready for a minute after there was room: only a
/// write looked for it, and a load balancer sends none to a server that is not ready.
#[test]
fn room_on_a_full_disk_is_noticed_though_nobody_writes() {
    let night = Night::new();
    night.machine.set_disk_size(night.machine.used_space() + (3 << 20));
    let refused = (0..100u8).find_map(|n| night.db.put([n], vec![n; 100_000]).err());
    assert!(matches!(refused, Some(crate::Error::ReadOnly { .. })), "{refused:?}");
    night.falls();
    let full = night.passes(MINUTE);
    assert!(night.db.stats().read_only.is_some(), "it is as full as before");
    assert!(full.wakes <= 61, "{full:?}");
    night.machine.set_disk_size(u64::MAX);
    night.passes(Duration::from_secs(3));
    assert_eq!(night.db.stats().read_only, None);
}
