//! What the tests of the log share: a log on a machine in memory whose files
//! are small, and files that can be changed behind its back.

use super::handle::SegmentSizes;
use super::recover::{RecoverFrom, Recovered, recover};
use super::segment::{Tail, log_path};
use super::writer::WalWriter;
use crate::types::error::{Error, Result};
use std::path::{Path, PathBuf};
use tanada_format::{Corruption, DatabaseId, LogId, LogPosition};
use tanada_vfs::memory::Dice;
use tanada_vfs::{Env, MemoryMachine};

pub(super) const DATABASE: DatabaseId = DatabaseId([0xda; 16]);

/// Files so small that a few records fill one.
pub(super) const SMALL: SegmentSizes =
    SegmentSizes { min_bytes: 2096, max_bytes: 4096, held_bytes: u64::MAX };

pub(super) fn dir() -> &'static Path {
    Path::new("/db")
}

/// A machine with the directory of a database that has no log yet.
pub(super) fn machine() -> MemoryMachine {
    let machine = MemoryMachine::new(1);
    let fs = machine.env().fs;
    fs.create_dir_all(dir()).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    machine
}

pub(super) fn create(env: &Env, tail: &Tail) -> Result<WalWriter> {
    WalWriter::create(env, dir(), DATABASE, tail, SMALL)
}

/// A writer of a new database on `machine`.
pub(super) fn new_log(machine: &MemoryMachine) -> WalWriter {
    create(&machine.env(), &Tail::new_database()).unwrap()
}

/// Recovers from log 1 on, knowing nothing else.
pub(super) fn read(machine: &MemoryMachine) -> Result<(Recovered, Vec<Vec<u8>>)> {
    read_from(machine, RecoverFrom { log: LogId(1), synced: LogPosition(0) })
}

pub(super) fn read_from(
    machine: &MemoryMachine,
    from: RecoverFrom,
) -> Result<(Recovered, Vec<Vec<u8>>)> {
    let mut records = Vec::new();
    let mut position = None;
    let recovered = recover(&machine.env(), dir(), DATABASE, from, |place, payload| {
        assert!(place.start < place.end && position <= Some(place.start));
        position = Some(place.end);
        records.push(payload.to_vec());
        Ok(())
    })?;
    assert_eq!(recovered.records, records.len() as u64);
    assert!(position.is_none_or(|position| position <= recovered.tail.position));
    Ok((recovered, records))
}

/// The records that a machine's logs hold; they must be readable.
pub(super) fn records(machine: &MemoryMachine) -> Vec<Vec<u8>> {
    read(machine).unwrap().1
}

/// A payload that names its number, of a length by dice.
pub(super) fn payload(number: u64, dice: &mut Dice) -> Vec<u8> {
    let len = if dice.chance(50) { 4000 } else { 200 };
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(8 + dice.below(len) as usize, number as u8 | 1);
    payload
}

pub(super) fn path(log: u64) -> PathBuf {
    log_path(dir(), LogId(log))
}

/// All bytes of a log file.
pub(super) fn bytes(machine: &MemoryMachine, log: u64) -> Vec<u8> {
    let file = machine.env().fs.open(&path(log)).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// `machine` with a log file replaced, durably.
pub(super) fn with_bytes(machine: &MemoryMachine, log: u64, bytes: &[u8]) -> MemoryMachine {
    let machine = machine.kill();
    let fs = machine.env().fs;
    if fs.exists(&path(log)).unwrap() {
        fs.remove(&path(log)).unwrap();
    }
    let mut file = fs.create(&path(log)).unwrap();
    file.append(bytes).unwrap();
    file.sync().unwrap();
    fs.sync_dir(dir()).unwrap();
    machine
}

/// `machine` without a log file.
pub(super) fn without(machine: &MemoryMachine, log: u64) -> MemoryMachine {
    let machine = machine.kill();
    machine.env().fs.remove(&path(log)).unwrap();
    machine
}

/// The damage that `result` names; the test fails when it is anything else.
pub(super) fn damage<T>(result: Result<T>) -> Corruption {
    match result {
        Err(Error::Corruption(corruption)) => corruption,
        Err(other) => panic!("not damage: {other}"),
        Ok(_) => panic!("the damage went unnoticed"),
    }
}
