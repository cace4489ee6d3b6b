//! Logs of writers in other epochs.

use super::harness::*;
use super::header::LogOwner;
use super::recover::{RecoverFrom, Recovered, recover};
use super::segment::{Tail, log_path};
use super::writer::WalWriter;
use crate::types::error::{Error, Result};
use tanada_format::{LogId, LogPosition, WriterEpoch};
use tanada_vfs::MemoryMachine;

fn of_epoch(epoch: u64) -> LogOwner {
    LogOwner { epoch: WriterEpoch(epoch), ..DATABASE.into() }
}

/// Goes on behind `tail` as the writer of an epoch, with one record.
fn write(machine: &MemoryMachine, epoch: u64, tail: &Tail, record: u8) {
    let mut wal = WalWriter::create(&machine.env(), dir(), of_epoch(epoch), tail, SMALL).unwrap();
    wal.append(&[&[record; 40]]).unwrap();
    wal.handle().sync_up_to(wal.position()).unwrap();
}

fn read_as(machine: &MemoryMachine, epoch: u64) -> Result<Recovered> {
    let from = RecoverFrom { log: LogId(1), synced: LogPosition(0) };
    recover(&machine.env(), dir(), of_epoch(epoch), from, |_, _| Ok(()))
}

#[test]
fn logs_of_earlier_epochs_are_replayed_and_those_of_later_ones_are_anothers() {
    let machine = machine();
    write(&machine, 0, &Tail::new_database(), 1);
    write(&machine, 3, &read_as(&machine, 3).unwrap().tail, 2);
    write(&machine, 7, &read_as(&machine, 7).unwrap().tail, 3);
    assert_eq!(read_as(&machine, 7).unwrap().records, 3);
    assert_eq!(read_as(&machine, 9).unwrap().records, 3);
    for epoch in [0, 3, 6] {
        let error = read_as(&machine, epoch).unwrap_err();
        assert!(error.to_string().contains("another writer's"), "{error}");
        assert!(matches!(error, Error::Corruption(_)), "{error}");
    }
}

/// A directory is filled again from a copy, and a log of the same number lies there from a
/// life in another epoch: its records are whole, and are not this log's.
#[test]
fn records_of_a_log_of_another_epoch_are_not_taken_for_its_own() {
    let (ours, theirs) = (machine(), machine());
    write(&ours, 5, &Tail::new_database(), 1);
    write(&theirs, 4, &Tail::new_database(), 2);
    let path = log_path(dir(), LogId(1));
    let bytes = |machine: &MemoryMachine| {
        let file = machine.env().fs.open(&path).unwrap();
        let mut bytes = vec![0; file.len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    assert_eq!(read_as(&ours, 5).unwrap().records, 1);
    let mut mixed = bytes(&ours);
    let foreign = bytes(&theirs);
    mixed[256..].copy_from_slice(&foreign[256..]);
    let fs = ours.env().fs;
    fs.remove(&path).unwrap();
    fs.create(&path).unwrap().append(&mixed).unwrap();
    assert_eq!(read_as(&ours, 5).unwrap().records, 0);
}

#[test]
fn a_log_of_an_earlier_epoch_does_not_follow_one_of_a_later() {
    let machine = machine();
    write(&machine, 5, &Tail::new_database(), 1);
    write(&machine, 4, &read_as(&machine, 5).unwrap().tail, 2);
    let error = read_as(&machine, 5).unwrap_err();
    assert!(error.to_string().contains("an earlier epoch than the one it follows"), "{error}");
}

/// The owner of a new epoch had said so in the manifest and died before it began a log. What
/// the one before it had synced lay behind a header that was damaged then, and nothing of it
/// was recognised: it passed for a torn tail.
#[test]
fn synced_records_behind_a_lost_header_are_no_torn_tail_in_a_later_epoch() {
    for (epoch, manifest) in [(0, 0), (6, 6), (6, 7), (6, 9)] {
        let machine = machine();
        write(&machine, 0, &Tail::new_database(), 1);
        let mut wal = {
            let tail = read_as(&machine, epoch).unwrap().tail;
            WalWriter::create(&machine.env(), dir(), of_epoch(epoch), &tail, SMALL).unwrap()
        };
        for record in 2..5 {
            wal.append(&[&[record; 40]]).unwrap();
            wal.handle().sync_up_to(wal.position()).unwrap();
        }
        drop(wal);
        let path = log_path(dir(), LogId(2));
        let file = machine.env().fs.open(&path).unwrap();
        let mut bytes = vec![0; file.len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes[..256].fill(7);
        machine.env().fs.remove(&path).unwrap();
        machine.env().fs.create(&path).unwrap().append(&bytes).unwrap();
        let error = read_as(&machine, manifest).unwrap_err();
        assert!(matches!(error, Error::Corruption(_)), "{epoch}, {manifest}: {error}");
    }
}
