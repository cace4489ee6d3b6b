//! The sizes at which the writer does something else.

use super::handle::SegmentSizes;
use super::harness::*;
use super::header::LOG_HEADER_LEN;
use super::segment::Tail;
use super::writer::WalWriter;
use crate::types::error::Error;
use tanada_format::{
    LogId, MAX_RECORD_LEN, RECORD_FRAME_LEN, SHORT_PAYLOAD_END, record_len, short_record_len,
};
use tanada_vfs::MemoryMachine;
use tanada_vfs::fault::{ENOSPC, Faults, Op, Rule};

/// A writer whose first file has so many bytes.
fn with_capacity(machine: &MemoryMachine, bytes: u64) -> WalWriter {
    let sizes = SegmentSizes { min_bytes: bytes, max_bytes: bytes, held_bytes: u64::MAX };
    let tail = Tail::new_database();
    WalWriter::create(&machine.env(), dir(), DATABASE, &tail, sizes).unwrap()
}

#[test]
fn a_group_of_the_largest_size_is_accepted_and_one_byte_more_is_not() {
    let machine = machine();
    let faults = Faults::over_memory(&machine);
    let mut wal = create(&faults.env(&machine.env()), &Tail::new_database()).unwrap();
    // It would need a file of a gibibyte, so it gets no further than to ask for one.
    faults.add(Rule::fail(ENOSPC).on(Op::CreateLog));
    let mebibyte = vec![5; 1 << 20];
    let mut parts = vec![&mebibyte[..]; MAX_RECORD_LEN >> 20];
    assert_eq!(parts.len() << 20, MAX_RECORD_LEN);
    let error = wal.append(&parts).unwrap_err();
    assert!(matches!(error, Error::Io(_)), "{error}");
    parts.push(&[5]);
    let error = wal.append(&parts).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument(_)), "{error}");
}

/// A file of 4096 bytes with a synced record in it, and how long the next may be.
fn with_one_record(machine: &MemoryMachine) -> (WalWriter, usize) {
    let mut wal = with_capacity(machine, 4096);
    let end = wal.append(&[b"the first"]).unwrap();
    wal.handle().sync_up_to(end).unwrap();
    let room = 4096 - LOG_HEADER_LEN - end.0;
    (wal, (room - record_len(0)) as usize - RECORD_FRAME_LEN)
}

#[test]
fn a_log_is_filled_to_its_last_byte_with_a_mark_at_the_end() {
    let machine = machine();
    let (mut wal, longest) = with_one_record(&machine);
    let end = wal.append(&[&vec![7; longest]]).unwrap();
    assert_eq!(wal.current_log(), LogId(1));
    wal.sync().unwrap();
    assert_eq!(wal.position().0, 4096 - LOG_HEADER_LEN, "no byte is left");
    let (recovered, found) = read(&machine).unwrap();
    assert_eq!((recovered.tail.synced, found.len()), (end, 2), "the mark says that all is synced");
}

#[test]
fn a_record_that_leaves_no_room_for_a_mark_goes_to_the_next_log() {
    let machine = machine();
    let (mut wal, longest) = with_one_record(&machine);
    wal.append(&[&vec![7; longest + 1]]).unwrap();
    assert_eq!(wal.current_log(), LogId(2));
}

#[test]
fn the_next_log_is_asked_for_when_more_than_an_eighth_is_used_and_once() {
    let machine = machine();
    let mut wal = with_capacity(&machine, 4096);
    wal.append(&[&[7; 248]]).unwrap();
    let used = LOG_HEADER_LEN + short_record_len(248);
    assert_eq!((used, wal.position().0), (4096 / 8, used - LOG_HEADER_LEN));
    assert!(!wal.handle().wants_next());
    wal.append(&[b"one more"]).unwrap();
    assert!(wal.handle().wants_next());
    // Whoever prepares it fails, and is not asked again for the same one.
    machine.set_disk_size(machine.used_space());
    wal.handle().prepare_next().unwrap_err();
    wal.append(&[b"and another"]).unwrap();
    assert_eq!((wal.current_log(), wal.handle().wants_next()), (LogId(1), false));
}

#[test]
fn a_record_up_to_16_kib_is_one_append_and_a_longer_one_is_not_copied() {
    let machine = machine();
    let faults = Faults::over_memory(&machine);
    let sizes = SegmentSizes { min_bytes: 1 << 20, max_bytes: 1 << 20, held_bytes: u64::MAX };
    let tail = Tail::new_database();
    let env = faults.env(&machine.env());
    let mut wal = WalWriter::create(&env, dir(), DATABASE, &tail, sizes).unwrap();
    // In two parts: longer ones are appended as frame, parts and padding.
    for (len, appends) in [(2, 1), (16 << 10, 1), ((16 << 10) + 1, 4), (100_000, 4)] {
        faults.start_recording();
        let payload = vec![7; len];
        let (front, back) = payload.split_at(len / 2);
        wal.append(&[front, back]).unwrap();
        let ops: Vec<_> = faults.take_recorded().into_iter().map(|call| call.op).collect();
        assert_eq!(ops, vec![Op::LogAppend; appends], "{len} bytes");
    }
    assert_eq!(records(&machine).len(), 4);
}

#[test]
fn records_on_both_sides_of_the_longest_short_frame_read_back() {
    let machine = machine();
    let mut wal = with_capacity(&machine, 64 << 20);
    let zeros = vec![0; SHORT_PAYLOAD_END];
    for len in [SHORT_PAYLOAD_END - 1, SHORT_PAYLOAD_END] {
        // Behind a record in the same part of the file a full frame is not needed.
        wal.append(&[&[7; 4096]]).unwrap();
        wal.append(&[b"small"]).unwrap();
        wal.append(&[&zeros[..len]]).unwrap();
    }
    let lens: Vec<_> = records(&machine).iter().map(Vec::len).collect();
    assert_eq!(lens, [4096, 5, SHORT_PAYLOAD_END - 1, 4096, 5, SHORT_PAYLOAD_END]);
}
