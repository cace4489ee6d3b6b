//! Where recovery says that the stream goes on, and whom it blames when it cannot.

use super::harness::*;
use super::header::LOG_HEADER_LEN;
use super::recover::RecoverFrom;
use super::segment::kind;
use super::writer::WalWriter;
use tanada_format::{LogId, LogPosition, RecordCursor, RecordFile, RecordSalt};

/// Appends until a new log is begun, and answers where that begins.
fn fill_log(wal: &mut WalWriter) -> LogPosition {
    let log = wal.current_log();
    for records in 0.. {
        if wal.current_log() != log {
            break;
        }
        assert!(records < 1_000, "a log of 4 KiB is never full");
        wal.append(&[&[7; 300]]).unwrap();
    }
    wal.handle().segments().last().unwrap().start
}

/// Those before need not be read again, nor written.
#[test]
fn only_logs_with_records_behind_what_is_synced_are_carried_over() {
    let machine = machine();
    let mut wal = new_log(&machine);
    let boundary = fill_log(&mut wal);
    // Exactly the first log.
    wal.handle().sync_up_to(LogPosition(boundary.0 - 1)).unwrap();
    assert_eq!(wal.handle().synced_position(), boundary);
    fill_log(&mut wal);
    let (recovered, _) = read(&machine).unwrap();
    assert_eq!(recovered.tail.synced, boundary);
    assert_eq!(recovered.tail.unsynced, [LogId(2), LogId(3)]);
    // Of the same logs, had nothing been synced.
    let machine = self::machine();
    let mut wal = new_log(&machine);
    fill_log(&mut wal);
    fill_log(&mut wal);
    let (recovered, _) = read(&machine).unwrap();
    assert_eq!(recovered.tail.unsynced, [LogId(1), LogId(2), LogId(3)]);
}

/// The format lets any record have one. No mark was ever written with it, but
/// opening such a log ended in a panic.
#[test]
fn a_mark_under_a_short_frame_is_carried_over_as_it_is() {
    let machine = machine();
    let mut wal = new_log(&machine);
    let salt = RecordSalt::new(RecordFile::Log, DATABASE, 1);
    let mut cursor = RecordCursor::new(salt, LOG_HEADER_LEN, 0);
    wal.append(&[b"rice"]).unwrap();
    cursor.write_short(kind::GROUP, &[b"rice"]);
    let at = cursor.offset() as usize;
    let mut file = bytes(&machine, 1);
    let mark = cursor.write_short(kind::MARK, &[]);
    file[at..at + mark.len()].copy_from_slice(&mark);
    let machine = with_bytes(&machine, 1, &file);
    let (recovered, found) = read(&machine).unwrap();
    assert_eq!(recovered.tail.position.0, cursor.offset() - LOG_HEADER_LEN);
    let mut wal = create(&machine.env(), &recovered.tail).unwrap();
    wal.append(&[b"more rice"]).unwrap();
    assert_eq!(records(&machine), [&found[..], &[b"more rice".to_vec()]].concat());
}

/// All records had been synced, and the manifest alone still says so.
#[test]
fn a_last_log_that_was_cut_or_overwritten_is_blamed_and_a_blank_one_is_not() {
    let machine = machine();
    let mut wal = new_log(&machine);
    let boundary = fill_log(&mut wal);
    wal.close().unwrap();
    let synced = wal.handle().synced_position();
    let file = bytes(&machine, 2);
    let blank = |len| vec![0; len];
    let overwritten = [b"not a header"[..].to_vec(), blank(file.len() - 12)].concat();
    let header = LOG_HEADER_LEN as usize;
    let cases = [
        (overwritten, (2, 0)),
        (file[..100].to_vec(), (2, 0)),
        (blank(0), (2, 0)),
        (blank(header - 1), (2, 0)),
        (blank(header), (1, LOG_HEADER_LEN + boundary.0)),
        (blank(file.len()), (1, LOG_HEADER_LEN + boundary.0)),
    ];
    for (second, (log, offset)) in cases {
        let len = second.len();
        let machine = with_bytes(&machine, 2, &second);
        let found = damage(read_from(&machine, RecoverFrom { log: LogId(1), synced }));
        assert_eq!((found.file, found.offset), (path(log), offset), "{len} bytes in log 2");
    }
}
