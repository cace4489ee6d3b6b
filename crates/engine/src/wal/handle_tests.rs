//! Which syncs the handle does, and which it spares.

use super::handle::SegmentSizes;
use super::harness::*;
use super::recover::RecoverFrom;
use super::segment::Tail;
use super::writer::WalWriter;
use tanada_format::{LogId, LogPosition};
use tanada_vfs::MemoryMachine;
use tanada_vfs::fault::{EIO, Faults, Op, Rule};

/// A writer whose calls can be let fail.
fn on_faults(machine: &MemoryMachine) -> (WalWriter, Faults) {
    let faults = Faults::over_memory(machine);
    let wal = create(&faults.env(&machine.env()), &Tail::new_database()).unwrap();
    (wal, faults)
}

/// Appends until a new log is begun, and answers where that begins.
fn fill_log(wal: &mut WalWriter) -> LogPosition {
    let (log, mut end) = (wal.current_log(), wal.position());
    for records in 0.. {
        if wal.current_log() != log {
            break;
        }
        assert!(records < 1_000, "a log of 4 KiB is never full");
        end = wal.position();
        wal.append(&[&[7; 300]]).unwrap();
    }
    end
}

/// The first logs of a stream go once nothing needs them; then none is left whose
/// name is durable.
#[test]
fn the_first_sync_of_a_log_makes_its_name_durable() {
    let machine = machine();
    let mut wal = new_log(&machine);
    fill_log(&mut wal);
    let log = wal.current_log();
    assert_eq!(wal.handle().take_before(log).len(), 1);
    wal.sync().unwrap();
    let from = RecoverFrom { log, synced: wal.handle().synced_position() };
    for seed in 0..20 {
        let (recovered, found) = read_from(&machine.crash(seed), from).unwrap();
        assert_eq!(recovered.tail.synced, from.synced, "seed {seed}");
        assert_eq!(found.len(), 1, "seed {seed}");
    }
}

#[test]
fn what_is_durable_is_not_synced_again() {
    let machine = machine();
    let (mut wal, faults) = on_faults(&machine);
    wal.append(&[&[7; 300]]).unwrap();
    let before = wal.position();
    wal.sync().unwrap();
    fill_log(&mut wal);
    faults.add(Rule::fail(EIO).on(Op::LogSync));
    wal.handle().sync_up_to(before).unwrap();
    wal.handle().sync_up_to(LogPosition(0)).unwrap();
    assert!(wal.handle().sync_up_to(wal.position()).is_err(), "the rest is not");
}

#[test]
fn a_log_that_begins_where_a_sync_ends_is_durable_after_it() {
    let machine = machine();
    let mut wal = new_log(&machine);
    let boundary = fill_log(&mut wal);
    // First the log before it alone, so that all its bytes are durable.
    wal.handle().sync_up_to(LogPosition(boundary.0 - 1)).unwrap();
    assert_eq!(wal.handle().synced_position(), boundary);
    assert_eq!(wal.handle().oldest_needed_for(boundary), LogId(1));
    wal.handle().sync_up_to(boundary).unwrap();
    assert_eq!(wal.handle().oldest_needed_for(boundary), wal.current_log());
}

#[test]
fn a_log_that_is_full_and_durable_is_not_synced_again() {
    let machine = machine();
    let (mut wal, faults) = on_faults(&machine);
    fill_log(&mut wal);
    wal.sync().unwrap();
    let first = Rule::fail(EIO).on(Op::LogSync);
    faults.add(first.matching(|call| call.path.to_string_lossy().contains("000001")));
    wal.append(&[&[7; 300]]).unwrap();
    wal.sync().unwrap();
}

#[test]
fn only_a_failure_poisons() {
    let machine = machine();
    let (mut wal, faults) = on_faults(&machine);
    wal.append(&[b"planted"]).unwrap();
    wal.sync().unwrap();
    assert!(!wal.handle().is_poisoned());
    wal.append(&[b"harvested"]).unwrap();
    faults.add(Rule::fail(EIO).on(Op::LogSync));
    wal.sync().unwrap_err();
    assert!(wal.handle().is_poisoned());
}

#[test]
fn files_grow_to_half_a_memtable_in_whole_mebibytes() {
    const MIB: u64 = 1 << 20;
    let sizes = [(0, 1), (MIB, 1), (3 * MIB, 2), (16 * MIB, 8), (20 * MIB + 2, 11), (1 << 40, 32)];
    for (memtable, mebibytes) in sizes {
        let sizes = SegmentSizes::new(memtable, 0);
        let SegmentSizes { min_bytes, max_bytes, .. } = sizes;
        assert_eq!((min_bytes, max_bytes), (MIB, mebibytes * MIB), "of {memtable} bytes");
    }
}
