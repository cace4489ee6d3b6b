//! Ranges of logs: together they are the bytes of the files, each can be checked on its own,
//! and nothing that is not durable, nor anything damaged, is in one.

use super::group::{Group, GroupEntry, GroupHeader, encode_entry};
use super::harness::*;
use super::header::LogHeader;
use super::header::Parsed;
use super::range::{LogDir, LogRange, RangeReader};
use super::records::{self, Next};
use super::segment::Segment;
use super::writer::WalWriter;
use crate::types::error::{Error, Result};
use std::collections::BTreeMap;
use tanada_format::{KeyspaceId, LogId, LogPosition, SeqNo, ValueKind};
use tanada_vfs::MemoryMachine;
use tanada_vfs::memory::Dice;

/// A group of one put whose value has `len` bytes.
fn group(seqno: u64, len: usize) -> Vec<u8> {
    let value = vec![seqno as u8 | 1; len];
    let mut payload = GroupHeader::new(SeqNo(seqno), 1).bytes().to_vec();
    encode_entry(
        &mut payload,
        &GroupEntry {
            keyspace: KeyspaceId(0),
            kind: ValueKind::Put,
            expires_at_ms: 0,
            key: b"key",
            value: &value,
        },
    );
    payload
}

fn place(machine: &MemoryMachine) -> LogDir {
    LogDir { env: machine.env(), dir: dir().to_path_buf(), database: DATABASE }
}

fn reader(machine: &MemoryMachine, wal: &WalWriter) -> RangeReader {
    let (hold, segment) = wal.handle().hold(LogPosition(0)).unwrap();
    RangeReader::at_start(place(machine), wal.handle().clone(), hold, &segment).unwrap()
}

/// All ranges there are, with their bytes.
fn ranges(reader: &mut RangeReader) -> Result<Vec<(LogRange, Vec<u8>)>> {
    let (mut found, mut buffer) = (Vec::new(), Vec::new());
    while let Some(range) = reader.next_range(&mut buffer, &mut |_| Ok(()))? {
        found.push((range, buffer.clone()));
    }
    Ok(found)
}

/// Writes `count` groups, syncing now and then; answers how many are synced.
fn write(wal: &mut WalWriter, count: u64, seed: u64) -> u64 {
    let (mut dice, mut synced) = (Dice::new(seed), 0);
    for seqno in 1..=count {
        let len = if dice.chance(30) { 3000 } else { 60 };
        wal.append(&[&group(seqno, dice.below(len) as usize)]).unwrap();
        if dice.chance(300) {
            wal.sync().unwrap();
            synced = seqno;
        }
    }
    synced
}

#[test]
fn ranges_are_the_bytes_of_the_files_up_to_what_is_synced_and_each_stands_for_itself() {
    for seed in 1..20 {
        let machine = machine();
        let mut wal = new_log(&machine);
        let mut reader = reader(&machine, &wal);
        assert_eq!(ranges(&mut reader).unwrap(), [], "nothing was written");
        let synced = write(&mut wal, 200, seed);
        let segments: BTreeMap<LogId, Segment> =
            wal.handle().segments().into_iter().map(|segment| (segment.id, segment)).collect();
        assert!(segments.len() > 3);
        let found = ranges(&mut reader).unwrap();
        let (mut position, mut seqno) = (LogPosition(0), 0);
        for (range, range_bytes) in &found {
            assert_eq!(range.positions.start, position);
            position = range.positions.end;
            let file = bytes(&machine, range.log.0);
            let Ok(Parsed::Header(header)) =
                LogHeader::parse(&file, &path(range.log.0), DATABASE, range.log)
            else {
                panic!()
            };
            let offsets = range.offsets.start as usize..range.offsets.end as usize;
            assert_eq!(range_bytes[..], file[offsets]);
            assert_eq!(header.position(range.offsets.start), range.positions.start);
            assert_eq!(header.position(range.offsets.end), range.positions.end);
            assert!(segments[&range.log].end >= range.positions.end);
            // What was stored elsewhere is checked by what is known of it.
            let (mut at, mut used, mut seqnos) = (range.cursor(), 0, Vec::new());
            while used < range_bytes.len() {
                let Next::Record(record) = records::next(&mut at, &range_bytes[used..]) else {
                    panic!()
                };
                used = (at.offset() - range.offsets.start) as usize;
                if record.is_group {
                    seqnos.push(Group::parse(record.payload).unwrap().first_seqno.0);
                }
            }
            assert_eq!(at.offset(), range.offsets.end);
            for &found in &seqnos {
                seqno += 1;
                assert_eq!(found, seqno);
            }
            let ends = seqnos.first().zip(seqnos.last());
            assert_eq!(range.seqnos, ends.map(|(a, b)| SeqNo(*a)..=SeqNo(*b)));
        }
        assert_eq!((seqno, position), (synced, wal.handle().synced_position()));
        assert_eq!(reader.position(), position);
        wal.close().unwrap();
        let rest = ranges(&mut reader).unwrap();
        assert_eq!(reader.position(), wal.position());
        assert_eq!(rest.is_empty(), synced == 200 && position == wal.position());
    }
}

#[test]
fn a_position_between_records_is_found_again_and_no_other_place_is_taken_for_one() {
    let machine = machine();
    let mut wal = new_log(&machine);
    write(&mut wal, 60, 7);
    wal.close().unwrap();
    let mut ends = vec![(LogPosition(0), 0)];
    for (range, range_bytes) in ranges(&mut reader(&machine, &wal)).unwrap() {
        let (mut at, mut used) = (range.cursor(), 0);
        while used < range_bytes.len() {
            let Next::Record(_) = records::next(&mut at, &range_bytes[used..]) else { panic!() };
            used = (at.offset() - range.offsets.start) as usize;
            ends.push((LogPosition(range.positions.start.0 + used as u64), at.chain()));
        }
    }
    let mut buffer = Vec::new();
    for place in (0..=wal.position().0).step_by(8) {
        let mut reader = reader(&machine, &wal);
        let found = reader.skip_to(LogPosition(place), &mut buffer, &mut |_| Ok(())).unwrap();
        let known = ends.iter().find(|(end, _)| end.0 == place);
        assert_eq!(found, known.is_some(), "at {place}");
        if let Some((_, chain)) = known {
            assert_eq!((reader.position().0, reader.chain()), (place, *chain));
        }
    }
}

#[test]
fn a_changed_byte_is_an_error_that_names_the_file_and_nothing_behind_it_is_read() {
    let machine = machine();
    let mut wal = new_log(&machine);
    write(&mut wal, 40, 3);
    wal.sync().unwrap();
    let whole = ranges(&mut reader(&machine, &wal)).unwrap();
    let shown = |found: &[(LogRange, Vec<u8>)]| -> Vec<u8> {
        found.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
    };
    let whole_bytes = shown(&whole);
    let mut damages = 0;
    for (range, _) in &whole {
        let file = bytes(&machine, range.log.0);
        for at in (range.offsets.start..range.offsets.end).step_by(5) {
            let mut changed = file.clone();
            changed[at as usize] ^= 0x41;
            let damaged = with_bytes(&machine, range.log.0, &changed);
            // The writer's machine is another: only the reader sees this one.
            let (hold, segment) = wal.handle().hold(LogPosition(0)).unwrap();
            let mut reader =
                RangeReader::at_start(place(&damaged), wal.handle().clone(), hold, &segment)
                    .unwrap();
            let (mut before, mut buffer) = (Vec::new(), Vec::new());
            let error = loop {
                match reader.next_range(&mut buffer, &mut |_| Ok(())) {
                    Ok(Some(_)) => before.extend_from_slice(&buffer),
                    Ok(None) => break None,
                    Err(e) => break Some(e),
                }
            };
            match error {
                Some(Error::Corruption(damage)) => {
                    damages += 1;
                    assert_eq!(damage.file, path(range.log.0));
                    assert!(damage.offset <= at, "{} behind {at}", damage.offset);
                    assert!(whole_bytes.starts_with(&before));
                    let stands = reader.position();
                    let again = reader.next_range(&mut buffer, &mut |_| Ok(()));
                    assert!(again.is_err() && reader.position() == stands);
                }
                Some(other) => panic!("{other}"),
                // Padding: not a byte of a record.
                None => assert_eq!(before.len(), whole_bytes.len()),
            }
        }
    }
    assert!(damages > 200);
}

#[test]
fn a_hold_keeps_its_log_and_all_later_ones_and_moves_forward() {
    let machine = machine();
    let mut wal = new_log(&machine);
    write(&mut wal, 300, 5);
    wal.close().unwrap();
    let segments = wal.handle().segments();
    let (first, second, current) = (segments[0].id, segments[1].id, segments.last().unwrap().id);
    let (mut hold, _) = wal.handle().hold(LogPosition(0)).unwrap();
    let (late, segment) = wal.handle().hold(segments[2].start).unwrap();
    assert_eq!((hold.log(), late.log(), segment.id), (first, segments[2].id, segments[2].id));
    assert_eq!(wal.handle().take_before(current), []);
    let held = wal.handle().held_logs(current, 9);
    assert_eq!((held.files, held.count), (segments.len() as u64 - 1, 2));
    assert!(hold.move_to(second) && !hold.move_to(second));
    let gone: Vec<_> = wal.handle().take_before(current).into_iter().map(|(p, _)| p).collect();
    assert_eq!(gone, [path(first.0)]);
    let Err(oldest) = wal.handle().hold(LogPosition(0)) else { panic!("it is gone") };
    assert_eq!(oldest.id, second);
    drop((hold, late));
    assert_eq!(wal.handle().take_before(current).len(), segments.len() - 2);
    assert_eq!(wal.handle().held_logs(current, 9).bytes, 0);
}
