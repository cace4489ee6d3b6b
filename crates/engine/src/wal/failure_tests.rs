//! Failures that really happened to logs of other engines, one test each, and
//! the ways in which this one may fail without losing anything.

use super::handle::SegmentSizes;
use super::harness::*;
use super::header::{LOG_HEADER_LEN, LogHeader};
use super::recover::RecoverFrom;
use super::segment::Tail;
use super::writer::WalWriter;
use crate::types::error::Error;
use std::sync::Arc;
use tanada_format::{
    DatabaseId, LogId, LogPosition, MAX_RECORD_LEN, RECORD_FRAME_LEN, RecordFile, RecordFrame,
    RecordSalt, SHORT_FRAME_LEN, record_len, short_record_len,
};
use tanada_vfs::Env;
use tanada_vfs::fault::{EIO, ENOSPC, Faults, Op, Rule};
use tanada_vfs::sync::Mutex;

/// Appends records `from..to`, 120 bytes each, so that some 14 fill the first file.
fn fill(wal: &mut WalWriter, numbers: std::ops::Range<u64>) {
    for number in numbers {
        wal.append(&[&number.to_le_bytes(), &[7; 112]]).unwrap();
    }
}

fn numbers(records: &[Vec<u8>]) -> Vec<u64> {
    records.iter().map(|r| u64::from_le_bytes(*r.first_chunk().unwrap())).collect()
}

fn upto(n: u64) -> Vec<u64> {
    (0..n).collect()
}

const RECORD: u64 = short_record_len(120);

fn offset_of(nth: u64) -> u64 {
    LOG_HEADER_LEN + nth * RECORD
}

fn salt(log: u64) -> RecordSalt {
    RecordSalt::new(RecordFile::Log, DATABASE, log)
}

#[test]
fn midlog_corruption_silent() {
    // pebble #453, #864; fjall #311: a damaged record in the middle of a log was
    // taken for the torn tail of a crash, and every record after it, synced and
    // acknowledged, was dropped without a word.
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..5);
    wal.sync().unwrap();
    fill(&mut wal, 5..6);
    for nth in 0..5 {
        let mut file = bytes(&machine, 1);
        file[offset_of(nth) as usize + SHORT_FRAME_LEN + 3] ^= 1;
        let found = damage(read(&with_bytes(&machine, 1, &file)));
        assert_eq!((found.file.as_path(), found.offset), (path(1).as_path(), offset_of(nth)));
    }
    // The record that had not been synced may go.
    let mut file = bytes(&machine, 1);
    let last = (0..file.len()).rev().find(|&at| file[at] == 7).unwrap();
    file[last] ^= 1;
    let (recovered, records) = read(&with_bytes(&machine, 1, &file)).unwrap();
    assert_eq!(numbers(&records), upto(5));
    assert!(recovered.torn.is_some());
}

#[test]
fn midlog_corruption_is_told_by_a_later_log_too() {
    // The same, where the only witness lies in a later file.
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..14);
    let first_log_end = wal.position();
    fill(&mut wal, 14..20);
    assert_eq!(wal.current_log(), LogId(2));
    wal.sync().unwrap();
    let mut file = bytes(&machine, 1);
    file[offset_of(13) as usize] ^= 1;
    let found = damage(read(&with_bytes(&machine, 1, &file)));
    assert_eq!((found.file.as_path(), found.offset), (path(1).as_path(), offset_of(13)));
    assert!(found.what.contains("log 000002 says"), "{}", found.what);
    // And where the manifest is the only one.
    let machine = without(&with_bytes(&machine, 1, &file), 2);
    let from = RecoverFrom { log: LogId(1), synced: first_log_end };
    assert_eq!(damage(read_from(&machine, from)).offset, offset_of(13));
}

#[test]
fn append_after_torn_tail() {
    // amelie #17, cqlite #1379: after a crash new records were appended behind
    // the torn one, and the next opening stopped at it and lost them.
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..3);
    wal.sync().unwrap();
    fill(&mut wal, 3..6);
    let mut file = bytes(&machine, 1);
    let torn_at = offset_of(3) + record_len(0); // a mark lies between
    file[torn_at as usize + 50] ^= 1;
    let machine = with_bytes(&machine, 1, &file);

    let (recovered, found) = read(&machine).unwrap();
    assert_eq!(numbers(&found), upto(3));
    let torn = recovered.torn.unwrap();
    assert_eq!((torn.file, torn.offset, torn.ignored), (path(1), torn_at, vec![]));
    let mut wal = create(&machine.env(), &recovered.tail).unwrap();
    fill(&mut wal, 3..9);
    wal.sync().unwrap();
    assert_eq!(wal.current_log(), LogId(2));
    for seed in 0..20 {
        // The old tail, records 4 and 5 in it, is cut for ever.
        assert_eq!(numbers(&records(&machine.crash(seed))), upto(9));
    }
}

#[test]
fn recycled_wal_stale_records() {
    // rocksdb #12918, pebble #111: a log file used again still held records of
    // its former life behind the new ones, and recovery replayed them.
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..12);
    let old = bytes(&machine, 1);
    // Another log, another database, another place: the old bytes lie exactly
    // where the next record would be, and none of them passes.
    for (log, database) in [(2, DATABASE), (1, DatabaseId([1; 16]))] {
        let mut tail = Tail::new_database();
        tail.next_log = LogId(log);
        let other = super::harness::machine();
        let mut wal = WalWriter::create(&other.env(), dir(), database, &tail, SMALL).unwrap();
        fill(&mut wal, 100..103);
        let mut file = bytes(&other, log);
        file[offset_of(3) as usize..].copy_from_slice(&old[offset_of(3) as usize..]);
        let other = with_bytes(&other, log, &file);
        let mut seen = Vec::new();
        let from = RecoverFrom { log: LogId(log), synced: LogPosition(0) };
        let recovered = super::recover(&other.env(), dir(), database, from, |_, payload| {
            seen.push(payload.to_vec());
            Ok(())
        });
        assert!(recovered.unwrap().torn.is_some());
        assert_eq!(numbers(&seen), [100, 101, 102]);
    }
    let mut moved = bytes(&machine, 1);
    moved.copy_within(offset_of(2) as usize..offset_of(4) as usize, offset_of(12) as usize);
    assert_eq!(numbers(&records(&with_bytes(&machine, 1, &moved))), upto(12));
}

#[test]
fn older_wal_lost_newer_kept() {
    // leveldb #193: one log was lost, a later one replayed: what came back was
    // no prefix of what had been written.
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..14);
    let first_log_end = wal.position();
    fill(&mut wal, 14..50);
    assert!(wal.handle().segments().len() >= 3);
    // Nothing had been synced: the first log's records are a prefix.
    let (recovered, found) = read(&without(&machine, 2)).unwrap();
    assert_eq!(numbers(&found), upto(14));
    assert_eq!(recovered.torn.unwrap().ignored, [LogId(3)]);
    assert_eq!(recovered.tail.position, first_log_end);
    // All had been: refuse, and name what is missing.
    wal.sync().unwrap();
    match read(&without(&machine, 2)) {
        Err(Error::MissingFile { file }) => assert_eq!(file, path(2)),
        other => panic!("{:?}", other.map(drop)),
    }
    let mut file = bytes(&machine, 2);
    file[20] ^= 1;
    let found = damage(read(&with_bytes(&machine, 2, &file)));
    assert_eq!((found.file.as_path(), found.offset), (path(2).as_path(), 0));
}

#[test]
fn only_latest_wal_replayed() {
    // surrealkv #264: recovery read the newest log and none before it.
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..100);
    assert!(wal.handle().segments().len() >= 4);
    assert_eq!(numbers(&records(&machine.kill())), upto(100));
    let (recovered, _) = read(&machine).unwrap();
    let mut second = create(&machine.env(), &recovered.tail).unwrap();
    fill(&mut second, 100..130);
    assert_eq!(numbers(&records(&machine.kill())), upto(130));
}

#[test]
fn fsync_retry_lies() {
    // PostgreSQL 2018: after a failed fsync the kernel had dropped the pages, and
    // a second fsync answered success with nothing written.
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..3);
    machine.fail_next_sync(&path(1)).unwrap();
    let first = wal.sync().unwrap_err();
    assert!(matches!(first, Error::Io(_)));
    let handle = wal.handle().clone();
    let again = [
        wal.sync(),
        wal.append(&[b"x"]).map(drop),
        handle.sync_up_to(LogPosition(1)),
        handle.prepare_next(),
        wal.close(),
    ];
    for answer in again {
        match answer {
            Err(Error::Poisoned { reason }) => assert_eq!(reason, first.to_string()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(handle.synced_position(), LogPosition(0));
}

#[test]
fn fsync_retry_lies_to_the_next_opening_too() {
    // The same, one process later: the records that were never written can still
    // be read, and syncing their file answers success. What is acknowledged
    // behind them must not stand on that.
    for seed in 0..40 {
        let machine = machine();
        let mut wal = new_log(&machine);
        fill(&mut wal, 0..5);
        wal.sync().unwrap();
        fill(&mut wal, 5..20);
        machine.fail_next_sync(&path(1 + seed % 2)).unwrap();
        assert!(wal.sync().is_err());
        drop(wal);

        let machine = machine.kill();
        let (recovered, found) = read(&machine).unwrap();
        assert_eq!(numbers(&found), upto(20));
        let mut wal = create(&machine.env(), &recovered.tail).unwrap();
        assert_eq!(numbers(&records(&machine.crash(seed))), upto(20));
        let (again, _) = read(&machine.kill()).unwrap();
        assert_eq!(again.tail.synced, recovered.tail.position, "nothing to carry over again");
        fill(&mut wal, 20..40);
        wal.sync().unwrap();
        let machine = machine.crash(seed);
        assert_eq!(numbers(&records(&machine)), upto(40));
        // The new log stands for what it carries: the old ones may go.
        let first_new = wal.handle().segments().iter().position(|s| s.id == LogId(3)).unwrap();
        assert_eq!(wal.handle().segments()[first_new].start, recovered.tail.synced);
    }
}

#[test]
fn leftover_temp_blocks_open() {
    // sled #1527: a temporary file from a crash made the database unopenable.
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..20);
    let (recovered, _) = read(&machine).unwrap();
    let faults = Faults::over_memory(&machine);
    faults.add(Rule::fail(EIO).on(Op::Rename));
    assert!(create(&faults.env(&machine.env()), &recovered.tail).is_err());
    let left = path(3).with_extension("log.tmp");
    assert!(machine.env().fs.exists(&left).unwrap());
    let (recovered, found) = read(&machine).unwrap();
    assert_eq!(numbers(&found), upto(20));
    create(&machine.env(), &recovered.tail).unwrap();
    assert!(!machine.env().fs.exists(&left).unwrap());
    assert_eq!(numbers(&records(&machine.crash(1))), upto(20));
}

#[test]
fn wal_error_swallowed() {
    // fjall #304, #308: a failed write of the log did not stop the database, and
    // batches acknowledged after it were lost on reopening.
    for (op, times) in [
        (Op::LogAppend, u64::MAX),
        (Op::LogSync, u64::MAX),
        (Op::SyncDir, u64::MAX),
        // The disk is well again after one failure; the log is not.
        (Op::LogAppend, 1),
        (Op::LogSync, 1),
        (Op::SyncDir, 1),
    ] {
        let machine = machine();
        let faults = Faults::over_memory(&machine);
        let mut wal = create(&faults.env(&machine.env()), &Tail::new_database()).unwrap();
        fill(&mut wal, 0..14);
        wal.sync().unwrap();
        faults.add(Rule::fail(EIO).on(op).times(times));
        let mut failed = 0;
        for number in 14..30_u64 {
            let appended = wal.append(&[&number.to_le_bytes(), &[7; 112]]);
            let result = appended.and_then(|_| wal.sync());
            assert_eq!(failed > 0 || result.is_err(), result.is_err(), "{op:?}: never again");
            failed += usize::from(result.is_err());
        }
        assert!(failed > 0);
        let found = numbers(&records(&machine.crash(3)));
        assert!(found.len() >= 30 - failed && found == upto(found.len() as u64));
    }
}

#[test]
fn a_full_disk_stops_the_writer_until_there_is_room() {
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..14);
    machine.set_disk_size(machine.used_space() + 100);
    for _ in 0..3 {
        let error = wal.append(&[&[1; 120]]).unwrap_err();
        assert!(matches!(error, Error::Io(_)), "{error}");
    }
    wal.sync().unwrap();
    machine.set_disk_size(1 << 30);
    fill(&mut wal, 14..20);
    wal.sync().unwrap();
    assert_eq!(numbers(&records(&machine.crash(1))), upto(20));
}

/// Files had grown to their full size, and a disk with room for many small ones refused
/// each write.
#[test]
fn where_a_large_log_finds_no_room_a_smaller_one_is_tried() {
    let machine = machine();
    let sizes = SegmentSizes { min_bytes: 4096, max_bytes: 1 << 20, held_bytes: u64::MAX };
    let tail = Tail::new_database();
    let mut wal = WalWriter::create(&machine.env(), dir(), DATABASE, &tail, sizes).unwrap();
    let mut written = 0;
    while wal.handle().segments().last().unwrap().bytes < 1 << 20 {
        assert!(written < 1_000_000, "logs do not grow");
        written += 1;
        fill(&mut wal, written - 1..written);
    }
    machine.set_disk_size(machine.used_space() + (100 << 10));
    while wal.handle().segments().last().unwrap().bytes == 1 << 20 {
        assert!(written < 1_000_000, "no smaller log is begun");
        written += 1;
        fill(&mut wal, written - 1..written);
    }
    let bytes = wal.handle().segments().last().unwrap().bytes;
    assert!((32 << 10..=100 << 10).contains(&bytes), "{bytes}");
    wal.sync().unwrap();
    assert_eq!(numbers(&records(&machine.crash(1))), upto(written));
    // The thread that prepares logs is content with a smaller one too.
    let files = || machine.env().fs.read_dir(dir()).unwrap().len();
    let before = files();
    wal.handle().prepare_next().unwrap();
    assert_eq!(files(), before + 1);
}

/// The writer tried a smaller log under a new id while a thread had one ready with the id
/// between: that came next, behind a file with a higher id, and no opening read it.
#[test]
fn a_log_made_ready_while_the_writer_tries_smaller_ones_never_comes_behind_them() {
    let machine = machine();
    let faults = Faults::over_memory(&machine);
    let env = faults.env(&machine.env());
    let sizes = SegmentSizes { min_bytes: 4096, max_bytes: 1 << 16, held_bytes: u64::MAX };
    let mut wal = WalWriter::create(&env, dir(), DATABASE, &Tail::new_database(), sizes).unwrap();
    let mut written = 0;
    while wal.handle().segments().last().unwrap().bytes < 1 << 16 {
        assert!(written < 1_000_000, "logs do not grow");
        written += 1;
        fill(&mut wal, written - 1..written);
    }
    let handle = wal.handle().clone();
    let busy = std::sync::atomic::AtomicBool::new(false);
    faults.before_each_change(move |_, call| {
        use std::sync::atomic::Ordering::SeqCst;
        if call.op == Op::CreateLog && !busy.swap(true, SeqCst) {
            // Between the writer's first try and its second.
            handle.prepare_next().unwrap();
        }
    });
    faults.add(Rule::fail(ENOSPC).on(Op::CreateLog).nth(1));
    for _ in 0..40_000 {
        written += 1;
        fill(&mut wal, written - 1..written);
    }
    faults.remove_hook();
    let segments = wal.handle().segments();
    assert!(segments.is_sorted_by_key(|segment| segment.id), "{segments:?}");
    wal.sync().unwrap();
    assert_eq!(numbers(&records(&machine.crash(1))), upto(written));
}

/// A disk with no room for a log of the usual size must still let a database be opened.
#[test]
fn a_writer_begins_on_a_nearly_full_disk_with_a_small_log() {
    let machine = machine();
    machine.set_disk_size(machine.used_space() + (80 << 10));
    let sizes = SegmentSizes { min_bytes: 1 << 20, max_bytes: 1 << 20, held_bytes: u64::MAX };
    let tail = Tail::new_database();
    let mut wal = WalWriter::create(&machine.env(), dir(), DATABASE, &tail, sizes).unwrap();
    fill(&mut wal, 0..20);
    wal.sync().unwrap();
    assert_eq!(numbers(&records(&machine.crash(1))), upto(20));
}

#[test]
fn a_log_file_that_cannot_be_prepared_harms_nothing() {
    let machine = machine();
    let faults = Faults::over_memory(&machine);
    let mut wal = create(&faults.env(&machine.env()), &Tail::new_database()).unwrap();
    faults.add(Rule::fail(ENOSPC).on(Op::CreateLog));
    assert!(wal.handle().prepare_next().is_err());
    faults.clear();
    faults.add(Rule::fail(EIO).on(Op::LogWarm).times(1));
    assert!(wal.handle().prepare_next().is_err());
    fill(&mut wal, 0..3);
    wal.sync().unwrap();
    // Where commits are synced, a spare is as well.
    faults.add(Rule::fail(EIO).on(Op::LogSync).times(1));
    assert!(wal.handle().prepare_next().is_err());
    fill(&mut wal, 3..50);
    wal.sync().unwrap();
    assert_eq!(numbers(&records(&machine.crash(1))), upto(50));
}

#[test]
fn a_log_file_that_cannot_be_prepared_is_not_asked_for_again_until_the_next() {
    // Whoever prepares logs would otherwise try without a pause: on a full disk, or
    // on a log that is poisoned.
    for errno in [EIO, ENOSPC] {
        let machine = machine();
        let faults = Faults::over_memory(&machine);
        let mut wal = create(&faults.env(&machine.env()), &Tail::new_database()).unwrap();
        fill(&mut wal, 0..5);
        assert!(wal.handle().wants_next());
        faults.start_recording();
        faults.add(Rule::fail(errno).on(Op::CreateLog));
        assert!(wal.handle().prepare_next().is_err());
        faults.clear();
        assert!(!wal.handle().wants_next());
        // Each try has an id of its own.
        let tries = faults.take_recorded().iter().filter(|c| c.op == Op::CreateLog).count() as u64;
        assert_eq!(tries, if errno == ENOSPC { 2 } else { 1 });
        fill(&mut wal, 5..20);
        assert_eq!(wal.current_log(), LogId(2 + tries), "the writer made its own");
        assert!(wal.handle().wants_next());
        wal.handle().poison(std::io::Error::from_raw_os_error(EIO));
        assert!(wal.handle().prepare_next().is_err());
        assert!(!wal.handle().wants_next());
    }
}

#[test]
fn a_prepared_log_is_used_in_order_or_not_at_all() {
    let machine = machine();
    let mut wal = new_log(&machine);
    assert!(!wal.handle().wants_next());
    fill(&mut wal, 0..10);
    assert!(wal.handle().wants_next());
    wal.handle().prepare_next().unwrap();
    wal.handle().prepare_next().unwrap();
    assert!(!wal.handle().wants_next());
    fill(&mut wal, 10..20);
    assert_eq!(wal.current_log(), LogId(2));
    // Too small for this record: a larger one takes its place, and it goes.
    wal.handle().prepare_next().unwrap();
    wal.append(&[&20_u64.to_le_bytes(), &[7; 10_000]]).unwrap();
    assert_eq!(wal.current_log(), LogId(4));
    assert!(!machine.env().fs.exists(&path(3)).unwrap());
    // One that was never used is no torn tail.
    wal.handle().prepare_next().unwrap();
    wal.close().unwrap();
    let (recovered, found) = read(&machine).unwrap();
    assert_eq!(numbers(&found), upto(21));
    assert_eq!(recovered.torn, None);
    assert_eq!(recovered.tail.next_log, LogId(6));
}

#[test]
fn a_needed_log_that_is_missing_is_named() {
    let machine = machine();
    fill(&mut new_log(&machine), 0..20);
    for machine in [super::harness::machine(), without(&machine, 1)] {
        match read(&machine) {
            Err(Error::MissingFile { file }) => assert_eq!(file, path(1)),
            other => panic!("{:?}", other.map(drop)),
        }
    }
}

#[test]
fn a_new_log_whose_header_was_torn_is_a_torn_tail() {
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..14);
    wal.sync().unwrap();
    fill(&mut wal, 14..16);
    for keep in [0, 10, 100, LOG_HEADER_LEN as usize - 1] {
        let mut file = bytes(&machine, 2);
        file[keep..].fill(0);
        let torn_machine = with_bytes(&machine, 2, &file);
        let (recovered, found) = read(&torn_machine).unwrap();
        assert_eq!(numbers(&found), upto(14));
        assert_eq!(recovered.torn.is_some(), keep > 0);
        // The new log is neither the torn one nor confused by it.
        let mut wal = create(&torn_machine.env(), &recovered.tail).unwrap();
        assert_eq!(wal.current_log(), LogId(3));
        fill(&mut wal, 14..30);
        wal.sync().unwrap();
        assert_eq!(numbers(&records(&torn_machine)), upto(30));
        let gone = wal.take_before(LogId(3));
        assert_eq!(gone, [path(1)]);
        let superseded = wal.take_superseded();
        assert_eq!(superseded.iter().map(|(path, _)| path).collect::<Vec<_>>(), [&path(2)]);
        assert!(wal.take_superseded().is_empty(), "once");
    }
}

#[test]
fn two_torn_logs_at_the_end_leave_the_prefix_before_the_first() {
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..4);
    wal.sync().unwrap();
    fill(&mut wal, 4..20);
    let (mut first, mut second) = (bytes(&machine, 1), bytes(&machine, 2));
    let torn_at = offset_of(9) + record_len(0);
    first[torn_at as usize..][..40].fill(0);
    second[100..].fill(0);
    let machine = with_bytes(&with_bytes(&machine, 1, &first), 2, &second);
    let (recovered, found) = read(&machine).unwrap();
    assert_eq!(numbers(&found), upto(9));
    let torn = recovered.torn.unwrap();
    assert_eq!((torn.file, torn.offset), (path(1), torn_at));
    assert_eq!(torn.ignored, [LogId(2)]);
    let mut wal = create(&machine.env(), &recovered.tail).unwrap();
    fill(&mut wal, 9..30);
    assert_eq!(numbers(&records(&machine)), upto(30));
}

#[test]
fn a_log_that_was_abandoned_stays_so_even_if_the_next_crash_comes_at_once() {
    // Log 1 torn, log 2 whole but behind the tear, log 3 the continuation: it
    // names log 1, as log 2 does, and knew better.
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..20);
    let mut first = bytes(&machine, 1);
    first[offset_of(9) as usize + 1] ^= 1;
    let machine = with_bytes(&machine, 1, &first);
    let (recovered, found) = read(&machine).unwrap();
    assert_eq!(numbers(&found), upto(9));
    let wal = create(&machine.env(), &recovered.tail).unwrap();
    assert_eq!(numbers(&records(&machine.crash(1))), upto(9));
    drop(wal);
    let (recovered, _) = read(&machine.crash(2)).unwrap();
    let mut wal = create(&machine.env(), &recovered.tail).unwrap();
    fill(&mut wal, 9..12);
    wal.sync().unwrap();
    assert_eq!(numbers(&records(&machine.crash(3))), upto(12));
    // Should the header of the continuation be damaged, log 2 is not revived.
    let mut last = bytes(&machine, 4);
    last[60] ^= 1;
    let found = damage(read(&with_bytes(&machine, 4, &last)));
    assert_eq!((found.file.as_path(), found.offset), (path(4).as_path(), 0));
}

#[test]
fn a_declared_length_takes_no_memory_that_the_file_does_not_have() {
    let name = "wal::failure_tests::a_declared_length_takes_no_memory_that_the_file_does_not_have";
    crate::alone::grows_by_less_than(32 << 20, name, || {
        let machine = machine();
        let mut wal = new_log(&machine);
        fill(&mut wal, 0..2);
        for payload_len in [2000, MAX_RECORD_LEN as u32, u32::MAX] {
            let frame = RecordFrame { payload_len, body_crc: 0, kind: 1, flags: 0, synced: 0 };
            let mut file = bytes(&machine, 1);
            let at = offset_of(2);
            file[at as usize..][..RECORD_FRAME_LEN].copy_from_slice(&frame.encode(salt(1), at));
            let (recovered, found) = read(&with_bytes(&machine, 1, &file)).unwrap();
            assert_eq!(numbers(&found), upto(2));
            assert_eq!(recovered.torn.unwrap().offset, at);
        }
    });
}

#[test]
fn a_record_of_a_newer_version_is_called_newer() {
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..2);
    for (kind, flags) in [(3, 0), (1, 1)] {
        let frame = RecordFrame { payload_len: 0, body_crc: 0, kind, flags, synced: 0 };
        let mut file = bytes(&machine, 1);
        let at = offset_of(2);
        file[at as usize..][..RECORD_FRAME_LEN].copy_from_slice(&frame.encode(salt(1), at));
        match read(&with_bytes(&machine, 1, &file)) {
            Err(Error::Unsupported { file, .. }) => assert_eq!(file, path(1)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_record_over_a_gigabyte_long_is_refused_and_one_of_40_mib_reads_back() {
    let machine = machine();
    let env: Env = machine.env();
    let sizes = SegmentSizes::new(64 << 20, 256 << 20);
    let mut wal = WalWriter::create(&env, dir(), DATABASE, &Tail::new_database(), sizes).unwrap();
    let part = vec![5; 1 << 20];
    let too_many = vec![&part[..]; (MAX_RECORD_LEN >> 20) + 1];
    let error = wal.append(&too_many).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
    wal.append(&[b"small"]).unwrap();
    wal.append(&vec![&part[..]; 40]).unwrap();
    wal.append(&[b"small"]).unwrap();
    wal.sync().unwrap();
    assert_eq!(wal.handle().segments().len(), 2);
    let found = records(&machine.crash(1));
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [5, 40 << 20, 5]);
    assert!(found[1].iter().all(|&b| b == 5));
}

#[test]
fn a_quiet_log_says_how_far_it_was_synced() {
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..3);
    let end = wal.position();
    wal.sync().unwrap();
    let marked = wal.position();
    assert!(marked > end);
    // Syncing again costs nothing, and marks nothing.
    wal.sync().unwrap();
    wal.handle().sync_up_to(end).unwrap();
    assert_eq!((wal.position(), wal.handle().synced_position()), (marked, end));
    let (recovered, _) = read(&machine).unwrap();
    assert_eq!(recovered.tail.synced, end);
    // The very last record cannot be damaged unseen.
    let mut file = bytes(&machine, 1);
    file[offset_of(2) as usize + 30] ^= 1;
    assert_eq!(damage(read(&with_bytes(&machine, 1, &file))).offset, offset_of(2));
}

#[test]
fn the_manifest_is_told_only_of_logs_that_a_power_cut_cannot_take() {
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..14);
    let end = wal.position();
    fill(&mut wal, 14..20);
    assert_eq!(wal.current_log(), LogId(2));
    assert_eq!(wal.handle().oldest_needed_for(wal.position()), LogId(1));
    // All that is needed for `end` may be durable, with log 2 still without a
    // durable name.
    wal.handle().sync_up_to(end).unwrap();
    assert_eq!(wal.handle().oldest_needed_for(end), LogId(2));
    assert_eq!(wal.handle().oldest_needed_for(LogPosition(end.0 - 1)), LogId(1));
    for seed in 0..20 {
        let from = RecoverFrom { log: LogId(2), synced: end };
        read_from(&machine.crash(seed), from).unwrap();
    }
}

#[test]
fn old_logs_are_handed_out_once_and_never_the_one_being_written() {
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..60);
    let current = wal.current_log();
    let segments = wal.handle().segments();
    assert_eq!(segments.last().unwrap().id, current);
    assert!(segments.windows(2).all(|pair| pair[0].end == pair[1].start));
    assert_eq!(segments.last().unwrap().end, wal.position());
    assert_eq!(wal.take_before(LogId(2)), [path(1)]);
    let rest = wal.take_before(LogId(u64::MAX));
    assert_eq!(rest.len(), segments.len() - 2);
    assert!(wal.take_before(current).is_empty());
    for file in [path(1)].iter().chain(&rest) {
        machine.env().fs.remove(file).unwrap();
    }
    // Unsynced bytes of logs that are gone are nobody's concern.
    wal.sync().unwrap();
    fill(&mut wal, 60..61);
    let from = RecoverFrom { log: current, synced: LogPosition(0) };
    let (_, found) = read_from(&machine, from).unwrap();
    assert_eq!(numbers(&found).last(), Some(&60));
}

#[test]
fn a_log_of_a_newer_version_or_another_database_stops_recovery() {
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..20);
    let LogHeader { base, .. } = read_header(&machine, 2);
    assert_eq!(base.0, 14 * RECORD);
    let mut file = bytes(&machine, 2);
    file[8] = 2;
    let crc = tanada_format::crc32c(&file[..252]);
    file[252..256].copy_from_slice(&crc.to_le_bytes());
    match read(&with_bytes(&machine, 2, &file)) {
        Err(Error::Unsupported { file, .. }) => assert_eq!(file, path(2)),
        other => panic!("{other:?}"),
    }
}

fn read_header(machine: &tanada_vfs::MemoryMachine, log: u64) -> LogHeader {
    let file = bytes(machine, log);
    match LogHeader::parse(&file, &path(log), DATABASE, LogId(log)).unwrap() {
        super::header::Parsed::Header(header) => header,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_log_begun_anew_lets_go_of_all_before_it_once_that_is_synced() {
    let machine = machine();
    let mut wal = new_log(&machine);
    wal.begin_anew().unwrap();
    assert_eq!(wal.current_log(), LogId(1), "it is small itself");
    fill(&mut wal, 0..20);
    wal.handle().prepare_next().unwrap();
    assert_eq!(wal.current_log(), LogId(2));
    wal.begin_anew().unwrap();
    assert_eq!(wal.current_log(), LogId(4));
    assert!(!machine.env().fs.exists(&path(3)).unwrap(), "the spare is gone");
    let end = wal.position();
    assert_eq!(wal.handle().oldest_needed_for(end), LogId(1));
    wal.handle().sync_up_to(end).unwrap();
    assert_eq!(wal.handle().oldest_needed_for(end), LogId(4));
    assert_eq!(wal.take_before(LogId(4)), [path(1), path(2)]);
    fill(&mut wal, 20..22);
    for seed in 0..20 {
        let from = RecoverFrom { log: LogId(4), synced: end };
        let (_, found) = read_from(&machine.crash(seed), from).unwrap();
        assert!(numbers(&found).len() <= 2);
    }
    assert_eq!(numbers(&records(&machine.kill())), upto(22));
}

/// A process dies when the log it writes has never been synced, and all before it has.
/// The next one carries its records over. Then the power fails, and takes that log.
#[test]
fn a_log_that_was_never_synced_may_vanish_after_its_records_were_carried_over() {
    let machine = machine();
    let mut wal = new_log(&machine);
    let first_log = wal.current_log();
    let mut earlier = wal.position();
    for records in 0.. {
        if wal.current_log() != first_log {
            break;
        }
        assert!(records < 1_000, "a log of 4 KiB is never full");
        earlier = wal.position();
        wal.append(&[&[7; 300]]).unwrap();
    }
    let in_first_log = LogPosition(earlier.0 - 1);
    wal.handle().sync_up_to(in_first_log).unwrap();
    // It says how much is synced.
    wal.append(&[&[7; 300]]).unwrap();
    let killed = machine.kill();
    let (recovered, found) = read(&killed).unwrap();
    assert_eq!(recovered.tail.synced, earlier, "the first log to its end");
    let wal = create(&killed.env(), &recovered.tail).unwrap();
    for seed in 0..20 {
        let (_, after) = read(&killed.crash(seed)).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(after, found, "seed {seed}");
    }
    drop(wal);
}

/// The log's header with the bytes at `at` replaced and its checksum made right again.
fn with_header(machine: &tanada_vfs::MemoryMachine, log: u64, fields: &[(usize, u64)]) -> Vec<u8> {
    let mut file = bytes(machine, log);
    for (at, value) in fields {
        file[*at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    let crc = tanada_format::crc32c(&file[..252]);
    file[252..256].copy_from_slice(&crc.to_le_bytes());
    file
}

#[test]
fn sound_headers_that_contradict_the_log_before_are_damage() {
    let machine = machine();
    let mut wal = new_log(&machine);
    fill(&mut wal, 0..60);
    let second = read_header(&machine, 2);
    let third = read_header(&machine, 3);
    assert_eq!((second.synced, third.synced), (LogPosition(0), LogPosition(0)));
    // Its base, where its predecessor ends; and the checksum of all records before.
    let cases = [
        (2, 56, second.base.0 - 8, (1, offset_of(13)), "reaches over the place"),
        (3, 56, second.base.0 - 8, (3, 56), "begins before the one it follows"),
        (2, 80, u64::from(!second.chain), (2, 80), "behind other records"),
    ];
    for (log, at, value, (named, offset), what) in cases {
        let file = with_header(&machine, log, &[(at, value)]);
        let found = damage(read(&with_bytes(&machine, log, &file)));
        assert_eq!((found.file.as_path(), found.offset), (path(named).as_path(), offset));
        assert!(found.what.contains(what), "{}", found.what);
    }
}

#[test]
fn a_log_prepared_too_late_is_given_back() {
    let machine = machine();
    let faults = Faults::over_memory(&machine);
    let wal = create(&faults.env(&machine.env()), &Tail::new_database()).unwrap();
    let handle = wal.handle().clone();
    handle.commit_syncs();
    // While log 2 is being synced the writer needs one, and takes log 3.
    let wal = Arc::new(Mutex::new(wal));
    let writer = Arc::clone(&wal);
    faults.before_each_change(move |_, call| {
        if call.op == Op::LogSync && call.path == path(2) {
            fill(&mut writer.lock(), 0..20);
        }
    });
    handle.prepare_next().unwrap();
    assert_eq!(wal.lock().current_log(), LogId(3));
    assert!(!machine.env().fs.exists(&path(2)).unwrap(), "nobody will ever write to it");
    assert_eq!(numbers(&records(&machine)), upto(20));
}
