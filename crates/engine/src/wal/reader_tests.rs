//! What is read from a log, wherever in the file it lies, and by how many reads.

use super::harness::*;
use super::header::LOG_HEADER_LEN;
use super::reader::LogReader;
use super::recover::RecoverFrom;
use super::segment::kind;
use super::writer::WalWriter;
use crate::types::error::{Error, Result};
use tanada_format::{
    LogId, LogPosition, MAX_RECORD_LEN, RECORD_FRAME_LEN, RecordCursor, RecordFile, RecordFrame,
    RecordSalt,
};
use tanada_vfs::fault::{Faults, Op};
use tanada_vfs::{Env, MemoryMachine};

fn salt() -> RecordSalt {
    RecordSalt::new(RecordFile::Log, DATABASE, 1)
}

/// Recovers from log 1 on, with this for each commit group.
fn visit_all(
    env: &Env,
    visit: impl FnMut(super::RecordPlace<'_>, &[u8]) -> Result<()>,
) -> Result<()> {
    let from = RecoverFrom { log: LogId(1), synced: LogPosition(0) };
    super::recover(env, dir(), DATABASE, from, visit).map(drop)
}

/// A machine with log 1, and in it two groups and this frame.
fn with_frame_behind_two_groups(
    frame: impl FnOnce(&mut RecordCursor) -> [u8; RECORD_FRAME_LEN],
) -> (MemoryMachine, u64) {
    let machine = machine();
    let mut wal = new_log(&machine);
    let mut cursor = RecordCursor::new(salt(), LOG_HEADER_LEN, 0);
    for group in [b"sown in spring..", b"reaped in autumn"] {
        wal.append(&[group]).unwrap();
        cursor.write_short(kind::GROUP, &[group]);
    }
    let at = cursor.offset();
    let mut file = bytes(&machine, 1);
    file[at as usize..][..RECORD_FRAME_LEN].copy_from_slice(&frame(&mut cursor));
    (with_bytes(&machine, 1, &file), at)
}

#[test]
fn damage_in_a_payload_is_named_by_its_byte_in_the_file() {
    let machine = machine();
    let mut wal = new_log(&machine);
    wal.append(&[b"before"]).unwrap();
    let group: Vec<u8> = (0..200).collect();
    wal.append(&[&group]).unwrap();
    let file = bytes(&machine, 1);
    for at in [0, 1, 77, 199] {
        let found = damage(visit_all(&machine.env(), |place, payload| match payload.len() {
            200 => Err(place.corruption(at, "a withered leaf")),
            _ => Ok(()),
        }));
        assert_eq!(found.file, path(1));
        assert_eq!(file[found.offset as usize], group[at], "byte {at}");
    }
}

/// The frame behind damage may be the only one that proves it, so a scan must not
/// miss one that lies across the end of what is read at once.
#[test]
fn a_scan_finds_a_frame_wherever_it_lies() {
    let machine = machine();
    let (start, window) = (LOG_HEADER_LEN, 512 << 10);
    let len = start + 2 * window + 1000;
    let around = |place: u64| (place - 64..place + 64).step_by(8);
    let places =
        [start].into_iter().chain(around(start + window)).chain(around(start + 2 * window));
    for at in places.chain([len - RECORD_FRAME_LEN as u64]) {
        let frame =
            RecordFrame { payload_len: 9, body_crc: 7, kind: kind::MARK, flags: 0, synced: at };
        let mut file = vec![0; len as usize];
        file[at as usize..][..RECORD_FRAME_LEN].copy_from_slice(&frame.encode(salt(), at));
        let machine = with_bytes(&machine, 1, &file);
        let mut log = LogReader::open(&machine.env(), dir(), DATABASE, LogId(1)).unwrap();
        let remains = log.scan(start).unwrap();
        assert_eq!((remains.named, remains.nonzero), (Some(LogPosition(at)), true), "at {at}");
    }
}

#[test]
fn a_log_is_read_by_the_window_and_a_record_longer_than_that_once() {
    let machine = machine();
    let sizes =
        super::SegmentSizes { min_bytes: 2 << 20, max_bytes: 2 << 20, held_bytes: u64::MAX };
    let tail = super::Tail::new_database();
    let mut wal = WalWriter::create(&machine.env(), dir(), DATABASE, &tail, sizes).unwrap();
    for _ in 0..2000 {
        wal.append(&[&[7; 500]]).unwrap();
    }
    wal.append(&[&[8; 700 << 10]]).unwrap();
    let faults = Faults::over_memory(&machine);
    faults.start_recording();
    let mut groups = 0;
    visit_all(&faults.env(&machine.env()), |_, _| {
        groups += 1;
        Ok(())
    })
    .unwrap();
    assert_eq!((groups, wal.current_log()), (2001, LogId(1)));
    // The header, the two windows of the small records, the large one, and what is behind.
    let reads = faults.take_recorded().iter().filter(|call| call.op == Op::Read).count();
    assert!(reads <= 6, "{reads} reads");
}

#[test]
fn a_record_that_says_that_what_follows_it_is_synced_is_none() {
    let (machine, at) = with_frame_behind_two_groups(|cursor| {
        let start = cursor.offset() - LOG_HEADER_LEN;
        cursor.write(kind::MARK, start + 1, &[])
    });
    let found = damage(read(&machine));
    assert_eq!((found.file.as_path(), found.offset), (path(1).as_path(), at));
    assert!(found.what.contains("1 more bytes"), "{}", found.what);
    // That all before it is synced it may say.
    let (machine, _) = with_frame_behind_two_groups(|cursor| {
        let start = cursor.offset() - LOG_HEADER_LEN;
        cursor.write(kind::MARK, start, &[])
    });
    assert_eq!(records(&machine).len(), 2);
}

/// The limit is looked at before anything else that the frame says.
#[test]
fn a_frame_of_a_newer_version_is_called_newer_up_to_the_longest_record() {
    let longest = MAX_RECORD_LEN as u32;
    for (payload_len, newer) in [(8, true), (longest, true), (longest + 1, false)] {
        let frame = RecordFrame { payload_len, body_crc: 0, kind: 3, flags: 0, synced: 0 };
        let (machine, at) =
            with_frame_behind_two_groups(|cursor| frame.encode(salt(), cursor.offset()));
        match read(&machine) {
            Err(Error::Unsupported { file, .. }) => assert!(newer && file == path(1)),
            Ok((recovered, _)) => assert!(!newer && recovered.torn.unwrap().offset == at),
            Err(other) => panic!("{payload_len} bytes: {other}"),
        }
    }
}

/// A mark follows a sync only when the writer is told of it; another thread's sync
/// is named by the next group alone.
#[test]
fn damage_is_proved_by_a_later_group_as_well_as_by_a_mark() {
    let machine = machine();
    let mut wal = new_log(&machine);
    wal.append(&[b"one"]).unwrap();
    wal.append(&[b"two"]).unwrap();
    wal.handle().sync_up_to(wal.position()).unwrap();
    wal.append(&[b"three"]).unwrap();
    let mut file = bytes(&machine, 1);
    file[LOG_HEADER_LEN as usize] ^= 1;
    let found = damage(read(&with_bytes(&machine, 1, &file)));
    assert_eq!((found.file.as_path(), found.offset), (path(1).as_path(), LOG_HEADER_LEN));
}
