//! What a power cut and the death of a process leave of the machine in memory.
#![allow(clippy::unwrap_used)]

#[path = "house/alone.rs"]
mod alone;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tanada_vfs::fault::{EIO, Faults, Op, Rule};
use tanada_vfs::memory::Dice;
use tanada_vfs::{Clock, FileSystem, MemoryMachine, is_disk_full};

const SEEDS: u64 = 300;

fn read(fs: &dyn FileSystem, path: &str) -> Option<Vec<u8>> {
    if !fs.exists(Path::new(path)).unwrap() {
        return None;
    }
    let file = fs.open(Path::new(path)).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

fn write_synced(fs: &dyn FileSystem, path: &str, bytes: &[u8]) {
    let mut file = fs.create(Path::new(path)).unwrap();
    file.append(bytes).unwrap();
    file.sync().unwrap();
}

/// A machine with a durable directory /db.
fn machine_with_db() -> MemoryMachine {
    let machine = MemoryMachine::new(1);
    let fs = machine.env().fs;
    fs.create_dir_all(Path::new("/db")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    machine
}

/// What `look` sees after a power cut, over many seeds.
fn outcomes<T: Ord>(machine: &MemoryMachine, look: impl Fn(&dyn FileSystem) -> T) -> BTreeSet<T> {
    (0..SEEDS).map(|seed| look(&*machine.crash(seed).env().fs)).collect()
}

#[test]
fn synced_bytes_under_a_synced_name_survive_every_cut() {
    let machine = machine_with_db();
    let fs = machine.env().fs;
    write_synced(&*fs, "/db/1.table", &[5; 10_000]);
    fs.sync_dir(Path::new("/db")).unwrap();
    assert_eq!(outcomes(&machine, |fs| read(fs, "/db/1.table")), [Some(vec![5; 10_000])].into());
}

/// Syncing a file does not sync its name (current_rename_not_dirsynced).
#[test]
fn a_created_name_may_vanish_until_its_directory_is_synced() {
    let machine = machine_with_db();
    let fs = machine.env().fs;
    write_synced(&*fs, "/db/1.table", b"rows");
    let seen = outcomes(&machine, |fs| read(fs, "/db/1.table"));
    assert_eq!(seen, [None, Some(b"rows".to_vec())].into());
    fs.sync_dir(Path::new("/")).unwrap();
    let seen = outcomes(&machine, |fs| fs.exists(Path::new("/db/1.table")).unwrap());
    assert_eq!(seen.len(), 2, "the sync of another directory does not help");
}

#[test]
fn a_rename_is_there_whole_or_not_at_all() {
    let machine = machine_with_db();
    let fs = machine.env().fs;
    write_synced(&*fs, "/db/CURRENT", b"old");
    write_synced(&*fs, "/db/CURRENT.tmp", b"new");
    fs.sync_dir(Path::new("/db")).unwrap();
    fs.rename(Path::new("/db/CURRENT.tmp"), Path::new("/db/CURRENT")).unwrap();
    let look = |fs: &dyn FileSystem| (read(fs, "/db/CURRENT"), read(fs, "/db/CURRENT.tmp"));
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    assert_eq!(outcomes(&machine, look), [(old, new.clone()), (new.clone(), None)].into());
    fs.sync_dir(Path::new("/db")).unwrap();
    assert_eq!(outcomes(&machine, look), [(new, None)].into());
}

#[test]
fn a_removed_name_may_come_back_until_its_directory_is_synced() {
    let machine = machine_with_db();
    let fs = machine.env().fs;
    write_synced(&*fs, "/db/1.log", b"records");
    fs.sync_dir(Path::new("/db")).unwrap();
    fs.remove(Path::new("/db/1.log")).unwrap();
    let look = |fs: &dyn FileSystem| read(fs, "/db/1.log");
    assert_eq!(outcomes(&machine, look), [None, Some(b"records".to_vec())].into());
    fs.sync_dir(Path::new("/db")).unwrap();
    assert_eq!(outcomes(&machine, look), [None].into());
}

#[test]
fn each_unsynced_name_is_kept_or_dropped_on_its_own() {
    let machine = machine_with_db();
    let fs = machine.env().fs;
    for name in ["/db/a", "/db/b", "/db/c"] {
        write_synced(&*fs, name, b"");
    }
    fs.hard_link(Path::new("/db/a"), Path::new("/db/d")).unwrap();
    let seen = outcomes(&machine, |fs| {
        let names = fs.read_dir(Path::new("/db")).unwrap();
        names.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
    });
    assert_eq!(seen.len(), 16, "every subset of four names: {seen:?}");
}

#[test]
fn a_directory_not_synced_in_its_parent_vanishes_with_all_it_holds() {
    let machine = MemoryMachine::new(1);
    let fs = machine.env().fs;
    fs.create_dir_all(Path::new("/db")).unwrap();
    write_synced(&*fs, "/db/1.table", b"rows");
    fs.sync_dir(Path::new("/db")).unwrap();
    let seen = outcomes(&machine, |fs| read(fs, "/db/1.table"));
    assert_eq!(seen, [None, Some(b"rows".to_vec())].into());
}

#[test]
fn a_renamed_directory_is_there_whole_under_one_of_its_names() {
    let machine = machine_with_db();
    let fs = machine.env().fs;
    let (from, to) = (Path::new("/copy.tmp"), Path::new("/copy"));
    fs.create_dir(from).unwrap();
    write_synced(&*fs, "/copy.tmp/1.table", b"rows");
    fs.sync_dir(from).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs.rename(from, to).unwrap();
    let names = |fs: &dyn FileSystem| {
        (read(fs, "/copy.tmp/1.table").is_some(), read(fs, "/copy/1.table").is_some())
    };
    assert_eq!(outcomes(&machine, names), [(true, false), (false, true)].into());
    fs.sync_dir_once(Path::new("/")).unwrap();
    assert_eq!(outcomes(&machine, names), [(false, true)].into());
}

#[test]
fn a_directory_removed_unsynced_may_come_back() {
    let machine = machine_with_db();
    let fs = machine.env().fs;
    fs.create_dir(Path::new("/db/below")).unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    fs.remove_dir(Path::new("/db/below")).unwrap();
    let there = |fs: &dyn FileSystem| fs.exists(Path::new("/db/below")).unwrap();
    assert_eq!(outcomes(&machine, there), [false, true].into());
}

#[test]
fn two_names_of_one_file_share_its_fate() {
    let machine = machine_with_db();
    let fs = machine.env().fs;
    let mut file = fs.create(Path::new("/db/a")).unwrap();
    file.append(&[1; 8192]).unwrap();
    fs.hard_link(Path::new("/db/a"), Path::new("/db/b")).unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    let seen = outcomes(&machine, |fs| (read(fs, "/db/a"), read(fs, "/db/b")));
    assert!(seen.len() > 20, "{}", seen.len());
    assert!(seen.iter().all(|(a, b)| a == b));
}

#[test]
fn unsynced_log_records_survive_as_any_choice_of_sectors_and_lengths() {
    let machine = machine_with_db();
    let fs = machine.env().fs;
    let path = Path::new("/db/1.log");
    let mut log = fs.create_log(path, 64 << 10).unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    let lengths = outcomes(&machine, |fs| fs.len(path).unwrap());
    assert!(lengths.contains(&0) && lengths.contains(&(64 << 10)) && lengths.len() > 5);
    log.append(&[1; 3000]).unwrap();
    log.sync().unwrap();
    log.append(&[2; 3000]).unwrap();
    let seen = outcomes(&machine, |fs| read(fs, "/db/1.log").unwrap());
    assert!(seen.len() > 50, "{}", seen.len());
    for bytes in &seen {
        assert_eq!(bytes.len(), 64 << 10, "the length was synced");
        assert!(bytes[..3000].iter().all(|b| *b == 1));
        assert!(bytes[3000..6000].iter().all(|b| [0, 2].contains(b)));
        assert!(bytes[6000..].iter().all(|b| *b == 0));
    }
    let survivors = |bytes: &Vec<u8>| bytes[3000..6000].iter().filter(|b| **b == 2).count();
    assert!(seen.iter().any(|bytes| survivors(bytes) == 0));
    assert!(seen.iter().any(|bytes| survivors(bytes) == 3000));
}

#[test]
fn a_killed_process_loses_nothing_but_its_locks() {
    let machine = machine_with_db();
    let fs = machine.env().fs;
    let lock = fs.lock(Path::new("/db/LOCK")).unwrap();
    let mut log = fs.create_log(Path::new("/db/1.log"), 8192).unwrap();
    log.append(b"not synced").unwrap();
    let killed = machine.kill();
    let after = killed.env().fs;
    assert_eq!(&read(&*after, "/db/1.log").unwrap()[..10], b"not synced");
    let lock_after = after.lock(Path::new("/db/LOCK")).unwrap();
    drop(lock);
    assert!(after.lock(Path::new("/db/LOCK")).is_err(), "the dead process releases no lock");
    drop(lock_after);
    let seen = outcomes(&killed, |fs| read(fs, "/db/1.log"));
    assert!(seen.contains(&None) && seen.len() > 2, "what was not synced is still at risk");
}

#[test]
fn handles_of_a_crashed_machine_touch_only_the_dead_world() {
    let machine = machine_with_db();
    let fs = machine.env().fs;
    let mut file = fs.create(Path::new("/db/a")).unwrap();
    file.append(b"before").unwrap();
    file.sync().unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    for next in [machine.crash(3), machine.kill()] {
        file.append(b" after").unwrap();
        file.sync().unwrap();
        fs.create(Path::new("/db/b")).map(drop).unwrap();
        fs.remove(Path::new("/db/b")).unwrap();
        let next = next.env().fs;
        assert!(read(&*next, "/db/a").unwrap().starts_with(b"before"));
        assert!(!next.exists(Path::new("/db/b")).unwrap());
    }
    let next = machine.crash(4);
    let len = read(&*fs, "/db/a").unwrap().len();
    let mut other = next.env().fs.open_append(Path::new("/db/a")).unwrap();
    other.append(b"elsewhere").unwrap();
    assert_eq!(read(&*fs, "/db/a").unwrap().len(), len, "nor the other way round");
}

#[test]
fn a_crash_of_a_crashed_machine_takes_nothing_more() {
    let machine = machine_with_db();
    let fs = machine.env().fs;
    for n in 0..20 {
        let mut file = fs.create(Path::new(&format!("/db/{n}"))).unwrap();
        file.append(&[n; 5000]).unwrap();
    }
    let first = machine.crash(11);
    let state = |machine: &MemoryMachine| {
        let fs = machine.env().fs;
        let names = fs.read_dir(Path::new("/db")).unwrap();
        names.into_iter().map(|e| read(&*fs, &format!("/db/{}", e.name))).collect::<Vec<_>>()
    };
    assert_eq!(state(&first), state(&machine.crash(11)), "a seed decides it all");
    for seed in 0..20 {
        assert_eq!(state(&first.crash(seed)), state(&first));
    }
}

#[test]
fn the_same_seed_gives_the_same_clock_and_bits() {
    let run = |seed| {
        let machine = MemoryMachine::new(seed);
        let env = machine.env();
        env.clock.sleep(Duration::from_millis(1500));
        let next = machine.crash(9).env();
        let bits = [env.random_u64(), env.random_u64(), next.random_u64()];
        (bits, env.clock.wall_ms(), env.clock.monotonic_ns(), next.clock.wall_ms())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
    let (_, wall, monotonic, wall_after) = run(1);
    assert_eq!((monotonic, wall_after), (1_500_000_000, wall));
}

#[test]
fn wall_time_can_be_set_back_and_monotonic_time_cannot() {
    let machine = MemoryMachine::new(1);
    let clock = machine.clock();
    clock.advance(Duration::from_secs(10));
    clock.set_wall_ms(5_000);
    assert_eq!((clock.wall_ms(), clock.monotonic_ns()), (5_000, 10_000_000_000));
    clock.sleep(Duration::from_millis(7));
    assert_eq!((clock.wall_ms(), clock.monotonic_ns()), (5_007, 10_007_000_000));
}

#[test]
fn a_full_disk_takes_what_fits_and_recovers_when_files_go() {
    let machine = machine_with_db();
    let fs = machine.env().fs;
    machine.set_disk_size(10_000);
    assert!(is_disk_full(&fs.create_log(Path::new("/db/1.log"), 10_001).unwrap_err()));
    assert!(!fs.exists(Path::new("/db/1.log")).unwrap(), "a refused log leaves no name");
    let mut log = fs.create_log(Path::new("/db/1.log"), 8_000).unwrap();
    assert_eq!(fs.free_space(Path::new("/db")).unwrap(), 2_000);
    let mut file = fs.create(Path::new("/db/1.table")).unwrap();
    file.append(&[1; 1_500]).unwrap();
    let error = file.append(&[2; 1_500]).unwrap_err();
    assert!(is_disk_full(&error), "{error}");
    assert_eq!((file.len(), fs.len(Path::new("/db/1.table")).unwrap()), (1_500, 2_000));
    log.append(&[3; 8_000]).unwrap();
    drop(file);
    fs.remove(Path::new("/db/1.table")).unwrap();
    assert_eq!(machine.used_space(), 10_000, "an unsynced removal may be undone");
    fs.sync_dir(Path::new("/db")).unwrap();
    assert_eq!(machine.used_space(), 8_000);
    assert_eq!(machine.kill().used_space(), 8_000);
}

/// A file system with a journal commits it rather than say that the disk is full.
#[test]
fn the_space_of_a_removed_file_is_there_at_once_and_its_use_makes_the_removal_durable() {
    let machine = machine_with_db();
    let fs = machine.env().fs;
    let write = |name: &str, len: usize| {
        let mut file = fs.create(Path::new(name)).unwrap();
        file.append(&vec![1; len]).and_then(|()| file.sync()).map(|()| file)
    };
    machine.set_disk_size(10_000);
    drop(write("/db/1.table", 6_000).unwrap());
    fs.sync_dir(Path::new("/db")).unwrap();
    let open = write("/db/2.table", 3_000).unwrap();
    fs.remove(Path::new("/db/1.table")).unwrap();
    fs.remove(Path::new("/db/2.table")).unwrap();
    let free = || fs.free_space(Path::new("/db")).unwrap();
    assert_eq!(free(), 7_000, "an open file keeps its bytes");
    drop(open);
    assert_eq!((free(), machine.used_space()), (10_000, 9_000));
    let has_1 = |seed| machine.crash(seed).env().fs.exists(Path::new("/db/1.table")).unwrap();
    assert!((0..20).any(has_1), "nobody needed its space yet");
    drop(write("/db/3.table", 500).unwrap());
    assert!((0..20).any(has_1), "there was enough without it");
    drop(write("/db/4.table", 9_000).unwrap());
    assert!(!(0..20).any(has_1), "its bytes are another's now");
    assert_eq!((free(), machine.used_space()), (500, 9_500));
    assert!(is_disk_full(&write("/db/5.table", 501).unwrap_err()));
}

/// fsync_retry_lies (PostgreSQL, 2018).
#[test]
fn a_second_sync_after_a_failed_one_succeeds_and_writes_nothing() {
    let machine = machine_with_db();
    let faults = Faults::over_memory(&machine);
    faults.add(Rule::fail(EIO).on(Op::LogSync).nth(1));
    let fs = faults.fs();
    let mut log = fs.create_log(Path::new("/db/1.log"), 4096).unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
    log.append(&[1; 512]).unwrap();
    assert!(log.syncer().sync().is_err());
    log.sync().unwrap();
    log.append(&[2; 512]).unwrap();
    log.sync().unwrap();
    assert_eq!(read(&*fs, "/db/1.log").unwrap()[..512], [1; 512]);
    let seen = outcomes(&machine, |fs| {
        let mut bytes = read(fs, "/db/1.log").unwrap();
        bytes.resize(4096, 0);
        (bytes[..512] == [1; 512], bytes[512..1024] == [2; 512])
    });
    assert!(seen.contains(&(false, true)), "lost, though two syncs succeeded after: {seen:?}");
}

#[test]
fn a_second_sync_of_a_directory_after_a_failed_one_succeeds_and_keeps_only_newer_names() {
    let machine = machine_with_db();
    let faults = Faults::over_memory(&machine);
    faults.add(Rule::fail(EIO).on(Op::SyncDir).nth(1));
    let fs = faults.fs();
    for name in ["/db/lost", "/db/again"] {
        write_synced(&*fs, name, b"old");
    }
    assert!(fs.sync_dir(Path::new("/db")).is_err());
    fs.remove(Path::new("/db/again")).unwrap();
    write_synced(&*fs, "/db/again", b"new");
    fs.sync_dir(Path::new("/db")).unwrap();
    assert_eq!(read(&*fs, "/db/lost"), Some(b"old".to_vec()), "while the machine runs");
    let seen = outcomes(&machine, |fs| (read(fs, "/db/lost").is_some(), read(fs, "/db/again")));
    let new = || Some(b"new".to_vec());
    assert_eq!(seen, [(false, new()), (true, new())].into());
}

#[test]
fn what_is_reserved_counts_as_used_and_an_append_in_it_meets_no_full_disk() {
    let machine = machine_with_db();
    let fs = machine.env().fs;
    let mut file = fs.create(Path::new("/db/manifest")).unwrap();
    file.append(&[1; 100]).unwrap();
    machine.set_disk_size(machine.used_space() + 1000);
    assert!(is_disk_full(&file.reserve(1101).unwrap_err()));
    assert_eq!(machine.used_space(), 100);
    file.reserve(1100).unwrap();
    assert_eq!((machine.used_space(), file.len()), (1100, 100));
    let mut other = fs.create(Path::new("/db/other")).unwrap();
    assert!(is_disk_full(&other.append(&[2; 1]).unwrap_err()));
    file.append(&[1; 1000]).unwrap();
    assert!(is_disk_full(&file.append(&[1; 1]).unwrap_err()));
    file.truncate(50).unwrap();
    assert_eq!(machine.used_space(), 50);
    file.sync().unwrap();
    let left = outcomes(&machine, |fs| fs.len(Path::new("/db/manifest")).unwrap_or(50));
    assert_eq!(left, [50].into());
}

/// The way an engine enumerates crashes: numbers are acknowledged after a
/// sync; each moment of the run is cut with several seeds.
#[test]
fn every_moment_of_a_workload_is_cut_in_one_run_of_it() {
    let machine = machine_with_db();
    let faults = Faults::over_memory(&machine);
    let fs = faults.fs();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let moments = Arc::new(AtomicU64::new(0));
    let hook = {
        let (machine, acknowledged, moments) =
            (machine.clone(), acknowledged.clone(), moments.clone());
        move |change, call: &_| {
            moments.fetch_add(1, Ordering::Relaxed);
            let acknowledged = acknowledged.load(Ordering::Relaxed);
            for seed in 0..10 {
                let found = recover(&*machine.crash(seed).env().fs);
                assert!(
                    found == acknowledged || found == acknowledged + 1,
                    "cut before change {change} ({call}), seed {seed}: {found} for {acknowledged}"
                );
            }
        }
    };
    faults.before_each_change(hook);
    for n in 1..=50u64 {
        commit(&*fs, n);
        acknowledged.store(n, Ordering::Relaxed);
    }
    assert_eq!(moments.load(Ordering::Relaxed), 250, "five changes a commit");
}

/// Replaces /db/VALUE: write, sync, rename, sync of the directory.
fn commit(fs: &dyn FileSystem, n: u64) {
    write_synced(fs, "/db/VALUE.tmp", &n.to_le_bytes());
    fs.rename(Path::new("/db/VALUE.tmp"), Path::new("/db/VALUE")).unwrap();
    fs.sync_dir(Path::new("/db")).unwrap();
}

fn recover(fs: &dyn FileSystem) -> u64 {
    read(fs, "/db/VALUE").map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
}

/// A database of a few files of 64 KiB and a log: thousands of cuts must be cheap.
#[test]
fn crashes_share_what_they_did_not_change() {
    // 300 machines that shared nothing would have 300 MiB of tables.
    alone::grows_by_less_than(64 << 20, "crashes_share_what_they_did_not_change", || {
        let machine = machine_with_db();
        let fs = machine.env().fs;
        for n in 0..16 {
            write_synced(&*fs, &format!("/db/{n}.table"), &[n; 64 << 10]);
        }
        let mut log = fs.create_log(Path::new("/db/1.log"), 16 << 20).unwrap();
        fs.sync_dir(Path::new("/db")).unwrap();
        log.sync().unwrap();
        log.append(&[7; 20_000]).unwrap();
        let mut dice = Dice::new(5);
        let mut next = machine.crash(0);
        for _ in 0..2_000 {
            next = machine.crash(dice.next_u64());
        }
        let kept: Vec<_> = (0..300).map(|_| machine.crash(dice.next_u64())).collect();
        for left in kept.iter().chain([&next]) {
            assert_eq!(read(&*left.env().fs, "/db/3.table").unwrap(), [3; 64 << 10]);
            assert_eq!(left.used_space(), machine.used_space());
        }
    });
}
