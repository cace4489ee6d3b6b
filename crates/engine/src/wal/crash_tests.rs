//! The log under crashes at every moment, and under damage to every byte.
//!
//! The rule: synced ⊆ recovered ⊆ appended or in flight, and recovered is a
//! prefix of what was appended; or an error, after damage only.

use super::harness::*;
use super::recover::RecoverFrom;
use super::writer::WalWriter;
use crate::types::error::Error;
use std::sync::Arc;
use tanada_format::{LogId, LogPosition};
use tanada_vfs::MemoryMachine;
use tanada_vfs::fault::Faults;
use tanada_vfs::memory::Dice;
use tanada_vfs::sync::Mutex;

/// What was asked of a log, and what it has answered.
#[derive(Clone, Debug, Default)]
struct Promises {
    /// Every record that was appended, the one in flight included.
    appended: Vec<Vec<u8>>,
    /// How many of them `append` has returned for.
    acknowledged: usize,
    /// How many of them a sync has returned for.
    synced: usize,
}

impl Promises {
    /// Checks what a successor of the machine finds.
    fn check(&self, found: &[Vec<u8>], at_least: usize, what: &str) {
        assert!(found.len() >= at_least, "{what}: {} of {at_least} records", found.len());
        assert!(found.len() <= self.appended.len(), "{what}: records from nowhere");
        assert!(found == &self.appended[..found.len()], "{what}: no prefix");
    }
}

/// Does `steps` random things to the log.
fn work(wal: &mut WalWriter, promises: &Mutex<Promises>, dice: &mut Dice, steps: u64) {
    for _ in 0..steps {
        match dice.below(10) {
            0 => wal.sync().unwrap(),
            1 => wal.handle().sync_up_to(wal.position()).unwrap(),
            2 => {
                wal.handle().prepare_next().unwrap();
                continue;
            }
            _ => {
                let number = promises.lock().appended.len() as u64;
                let payload = payload(number, dice);
                promises.lock().appended.push(payload.clone());
                let (front, back) = payload.split_at(payload.len() / 3);
                wal.append(&[front, back]).unwrap();
                promises.lock().acknowledged += 1;
                continue;
            }
        }
        let mut promises = promises.lock();
        promises.synced = promises.acknowledged;
    }
}

/// Crashes `machine` before each change that `steps` random steps make, and
/// gives the successors to `then`.
fn crash_everywhere(
    seed: u64,
    steps: u64,
    crashes: u64,
    then: impl Fn(MemoryMachine, Promises, String) + Send + Sync + 'static,
) {
    let machine = machine();
    let faults = Faults::over_memory(&machine);
    let promises = Arc::new(Mutex::new(Promises::default()));
    let env = faults.env(&machine.env());
    let mut wal = create(&env, &super::segment::Tail::new_database()).unwrap();
    {
        let (machine, promises) = (machine.clone(), Arc::clone(&promises));
        faults.before_each_change(move |nth, call| {
            let promises = promises.lock().clone();
            let what = format!("seed {seed}, before call {nth}, {call}");
            let (_, found) = read(&machine.kill()).unwrap();
            promises.check(&found, promises.acknowledged, &format!("{what}, killed"));
            for crash in 0..crashes {
                let what = format!("{what}, crash {crash}");
                let crashed = machine.crash(nth * 1000 + crash);
                let (_, found) = read(&crashed).unwrap_or_else(|e| panic!("{what}: {e}"));
                promises.check(&found, promises.synced, &what);
                then(crashed, promises.clone(), what);
            }
        });
    }
    work(&mut wal, &promises, &mut Dice::new(seed), steps);
    faults.remove_hook();
    let (_, found) = read(&machine.crash(seed)).unwrap();
    let promises = promises.lock();
    promises.check(&found, promises.synced, "at the end");
}

#[test]
fn a_crash_at_any_moment_leaves_a_prefix_with_all_that_was_synced() {
    for seed in 0..12 {
        crash_everywhere(seed, 60, 6, |_, _, _| {});
    }
}

#[test]
fn crash_after_crash_leaves_a_prefix_with_all_that_was_synced() {
    for seed in 100..106 {
        crash_everywhere(seed, 40, 2, |mut machine, promises, what| {
            // Old logs are never taken away here, so each generation stands on
            // the torn ends of all before.
            let mut promises = promises;
            for generation in 0..3 {
                let (recovered, found) = read(&machine).unwrap();
                let mut dice = Dice::new(found.len() as u64 + generation);
                // Not all recoveries come to an end.
                let faults = Faults::over_memory(&machine);
                let cut = if dice.chance(500) { dice.below(8) } else { u64::MAX / 2 };
                faults.cut_after(cut);
                let mut next = Promises {
                    acknowledged: found.len(),
                    synced: promises.synced,
                    appended: found,
                };
                if let Ok(mut wal) = create(&faults.env(&machine.env()), &recovered.tail) {
                    faults.clear();
                    next.synced = next.acknowledged;
                    let shared = Mutex::new(next);
                    work(&mut wal, &shared, &mut dice, 12);
                    if dice.chance(200) {
                        // The next generation reads what no disk has.
                        machine.fail_next_sync(&path(wal.current_log().0)).unwrap();
                        let _ = wal.sync(); // succeeds when there was nothing to sync
                        (machine, promises) = (machine.kill(), shared.into_inner());
                        let (_, found) = read(&machine).unwrap();
                        promises.check(&found, promises.acknowledged, &what);
                        continue;
                    }
                    next = shared.into_inner();
                }
                let crashed =
                    if dice.chance(300) { machine.kill() } else { machine.crash(generation) };
                let what = format!("{what}, generation {generation}");
                let (_, found) = read(&crashed).unwrap_or_else(|e| panic!("{what}: {e}"));
                next.check(&found, next.synced, &what);
                (machine, promises) = (crashed, next);
            }
        });
    }
}

/// A closed log of three files with synced records in each.
fn closed_log() -> (MemoryMachine, Vec<Vec<u8>>, LogPosition) {
    let machine = machine();
    let mut wal = new_log(&machine);
    let mut appended = Vec::new();
    for number in 0..45_u64 {
        let payload = [&number.to_le_bytes()[..], &[number as u8 | 1; 125]].concat();
        wal.append(&[&payload]).unwrap();
        appended.push(payload);
        if number % 5 == 0 {
            wal.sync().unwrap();
        }
        if wal.handle().wants_next() {
            wal.handle().prepare_next().unwrap();
        }
    }
    wal.sync().unwrap();
    let synced = wal.handle().synced_position();
    assert_eq!(wal.current_log(), LogId(3));
    wal.close().unwrap();
    (machine, appended, synced)
}

/// Either every record is there, or an error names a file and an offset in it.
fn check_damaged(machine: &MemoryMachine, all: &[Vec<u8>], synced: LogPosition, what: &str) {
    match read_from(machine, RecoverFrom { log: LogId(1), synced }) {
        Ok((_, found)) => assert!(found == all, "{what}: {} records", found.len()),
        Err(Error::Corruption(damage)) => {
            let len = machine.env().fs.len(&damage.file).unwrap();
            assert!(damage.offset <= len, "{what}: {damage}");
        }
        Err(Error::MissingFile { .. }) => assert!(what.contains("removed")),
        Err(other) => panic!("{what}: {other}"),
    }
}

#[test]
fn no_flipped_byte_of_a_closed_log_goes_unnoticed() {
    let (machine, all, _) = closed_log();
    for log in 1..=3 {
        let file = bytes(&machine, log);
        let used = file.len() - file.iter().rev().take_while(|&&b| b == 0).count();
        let end = file.len().min(used + 64);
        // Behind the end every 7th byte will do.
        for at in (0..end).chain((end..file.len()).step_by(7)) {
            let mut flipped = file.clone();
            flipped[at] ^= 1 << (at % 8);
            let what = format!("log {log}, byte {at}");
            // Without a word from the manifest: the log alone can tell.
            check_damaged(&with_bytes(&machine, log, &flipped), &all, LogPosition(0), &what);
        }
    }
}

#[test]
fn no_zeroed_sector_of_a_closed_log_goes_unnoticed() {
    let (machine, all, synced) = closed_log();
    for log in 1..=3 {
        let file = bytes(&machine, log);
        for at in (0..file.len()).step_by(512) {
            let mut zeroed = file.clone();
            zeroed[at..].iter_mut().take(512).for_each(|b| *b = 0);
            let what = format!("log {log}, sector {at}");
            let zeroed = with_bytes(&machine, log, &zeroed);
            // The last records and the mark behind them may be gone together:
            // then only the manifest can tell.
            let told = if log == 3 { synced } else { LogPosition(0) };
            check_damaged(&zeroed, &all, told, &what);
        }
    }
}

#[test]
fn no_cut_of_a_closed_log_goes_unnoticed() {
    let (machine, all, synced) = closed_log();
    for log in 1..=3 {
        let file = bytes(&machine, log);
        for len in 0..file.len() {
            let what = format!("log {log} cut to {len}");
            let cut = with_bytes(&machine, log, &file[..len]);
            // The last log without so much as a header could be one that was never
            // begun: only the manifest can tell.
            let told = if log == 3 && len < 256 { synced } else { LogPosition(0) };
            check_damaged(&cut, &all, told, &what);
        }
    }
}

#[test]
fn no_removed_log_goes_unnoticed() {
    let (machine, all, synced) = closed_log();
    for log in 1..=2 {
        check_damaged(&without(&machine, log), &all, LogPosition(0), "removed");
    }
    // That the last log of all is missing, only the manifest can tell.
    check_damaged(&without(&machine, 3), &all, synced, "removed");
    assert!(read(&without(&machine, 3)).is_ok());
}

#[test]
fn damage_behind_what_was_synced_shortens_the_tail_and_no_more() {
    let machine = machine();
    let mut wal = new_log(&machine);
    let mut all: Vec<Vec<u8>> = Vec::new();
    for number in 0..30_u64 {
        let payload = payload(number, &mut Dice::new(number));
        wal.append(&[&payload]).unwrap();
        all.push(payload);
        if number == 9 {
            wal.sync().unwrap();
        }
    }
    let logs: Vec<_> = wal.handle().segments();
    let synced = wal.handle().synced_position();
    for segment in logs {
        let log = segment.id.0;
        let file = bytes(&machine, log);
        for at in (0..file.len()).step_by(3) {
            let mut flipped = file.clone();
            flipped[at] ^= 0x10;
            let behind = segment.start.0 + (at as u64).saturating_sub(256) >= synced.0;
            match read(&with_bytes(&machine, log, &flipped)) {
                Ok((_, found)) => {
                    assert!(found.len() >= 10 && found == all[..found.len()], "log {log}, {at}");
                }
                Err(e) => assert!(!behind, "log {log}, byte {at}: {e}"),
            }
        }
    }
}

#[test]
fn a_sync_from_another_thread_covers_what_was_appended_before_it() {
    let machine = machine();
    let mut wal = new_log(&machine);
    let handle = wal.handle().clone();
    let mut appended = Vec::new();
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| {
            let mut last = LogPosition(0);
            for _ in 0..200 {
                let position = handle.position();
                handle.sync_up_to(position).unwrap();
                if handle.wants_next() {
                    handle.prepare_next().unwrap();
                }
                let synced = handle.synced_position();
                assert!(synced >= position && synced >= last);
                last = synced;
            }
        });
        for number in 0..3000_u64 {
            let payload = payload(number, &mut Dice::new(number));
            wal.append(&[&payload]).unwrap();
            appended.push(payload);
        }
        syncing.join().unwrap();
    });
    let synced = handle.synced_position();
    let (recovered, found) = read(&machine.crash(7)).unwrap();
    assert!(recovered.tail.position >= synced);
    assert!(found == appended[..found.len()]);
}
