//! What repair can still tell from a log whose header or records are damaged.

use super::group::{GroupEntry, GroupHeader, encode_entry};
use super::harness::*;
use super::salvage::{SalvagedLog, database_of};
use tanada_format::{KeyspaceId, LogId, LogPosition, SeqNo, ValueKind, WriterEpoch, crc32c};

/// A commit group of one write.
fn group(seqno: u64, key: &[u8]) -> Vec<u8> {
    let mut payload = GroupHeader::new(SeqNo(seqno), 1).bytes().to_vec();
    let (keyspace, kind) = (KeyspaceId::DEFAULT, ValueKind::Put);
    encode_entry(
        &mut payload,
        &GroupEntry { keyspace, kind, expires_at_ms: 0, key, value: b"value" },
    );
    payload
}

fn salvage(bytes: &[u8], log: u64) -> SalvagedLog {
    SalvagedLog::read(bytes, &path(log), DATABASE, LogId(log), &[WriterEpoch(0)], None).unwrap()
}

#[test]
fn a_header_with_nothing_but_its_chain_damaged_is_mended_from_the_first_record() {
    let machine = machine();
    let mut wal = new_log(&machine);
    for seqno in 1..60 {
        wal.append(&[&group(seqno, &[b'k'; 200])]).unwrap();
    }
    wal.begin_anew().unwrap();
    let log = wal.current_log().0;
    assert!(log > 2, "the chain begins somewhere");
    // The first record in it names a position that its header did not know.
    wal.handle().sync_up_to(wal.position()).unwrap();
    wal.append(&[&group(60, b"sixty")]).unwrap();
    wal.append(&[&group(61, b"sixty-one")]).unwrap();
    let mut file = bytes(&machine, log);
    file[80..84].iter_mut().for_each(|byte| *byte ^= 0x55);
    let found = salvage(&file, log);
    assert!(found.header.is_none() && !found.blank);
    let seqnos: Vec<_> = found.groups.iter().map(|group| (group.first, group.last)).collect();
    assert_eq!(seqnos, [(SeqNo(60), SeqNo(60)), (SeqNo(61), SeqNo(61))]);
    assert!(found.damage.iter().all(|damage| !damage.followed), "{:?}", found.damage);
    assert_eq!(found.end_position(), None, "nothing tells where it stood");
}

#[test]
fn a_whole_record_that_is_no_commit_group_is_lost_and_told() {
    let machine = machine();
    let mut wal = new_log(&machine);
    wal.append(&[&group(1, b"one")]).unwrap();
    let before = wal.position().0;
    let no_group = [group(2, b"two"), b"and more".to_vec()].concat();
    wal.append(&[&no_group]).unwrap();
    wal.append(&[&group(3, b"three")]).unwrap();
    let found = salvage(&bytes(&machine, 1), 1);
    let seqnos: Vec<_> = found.groups.iter().map(|group| group.first.0).collect();
    assert_eq!(seqnos, [1, 3]);
    let lost = found.damage.iter().find(|damage| damage.followed).unwrap();
    let header = super::header::LOG_HEADER_LEN;
    assert!(lost.bytes.start >= header + before, "{lost:?}");
    assert_eq!(lost.bytes.end - lost.bytes.start, no_group.len() as u64);
    assert_eq!(lost.behind, 1);
}

#[test]
fn a_whole_log_tells_where_its_records_end() {
    let machine = machine();
    let mut wal = new_log(&machine);
    let mut seqnos = 1..;
    while wal.current_log() == LogId(1) {
        let seqno = seqnos.next().unwrap();
        assert!(seqno < 1_000, "a log of 4 KiB is never full");
        wal.append(&[&group(seqno, &[b'k'; 200])]).unwrap();
    }
    let second = wal.handle().segments()[1].start;
    assert_eq!(salvage(&bytes(&machine, 1), 1).end_position(), Some(second));
    assert_eq!(salvage(&bytes(&machine, 2), 2).end_position(), Some(wal.position()));
}

#[test]
fn a_log_is_blank_when_all_of_it_is_zero() {
    let mut file = vec![0; 4096];
    assert!(salvage(&file, 1).blank);
    file[3000] = 1;
    assert!(!salvage(&file, 1).blank);
}

#[test]
fn damage_is_told_with_the_groups_before_it() {
    let machine = machine();
    let mut wal = new_log(&machine);
    let mut ends = Vec::new();
    for seqno in 1..6 {
        wal.append(&[&group(seqno, b"terrace")]).unwrap();
        ends.push(wal.position().0);
    }
    let header = super::header::LOG_HEADER_LEN;
    for damaged in 1..5 {
        let mut file = bytes(&machine, 1);
        file[(header + ends[damaged] - 12) as usize] ^= 1;
        let found = salvage(&file, 1);
        assert_eq!(found.groups.len(), 4);
        let behind: Vec<_> = found.damage.iter().map(|damage| damage.behind).collect();
        assert_eq!(behind, [damaged]);
    }
}

#[test]
fn damage_counts_up_to_where_the_next_log_begins() {
    let machine = machine();
    let mut wal = new_log(&machine);
    wal.append(&[&group(1, b"terrace")]).unwrap();
    let end = wal.position();
    wal.append(&[&group(2, b"terrace")]).unwrap();
    let mut file = bytes(&machine, 1);
    file[(super::header::LOG_HEADER_LEN + end.0) as usize + 9] ^= 1;
    for (next, left) in [(end.0, 0), (end.0 + 1, 1)] {
        let mut found = salvage(&file, 1);
        assert_eq!(found.damage.len(), 1);
        found.forget_damage_from(LogPosition(next));
        assert_eq!(found.damage.len(), left, "the next log begins at {next}");
    }
}

/// With either frame before it.
#[test]
fn damage_is_told_with_the_keys_that_it_seems_to_name() {
    let machine = machine();
    let mut wal = new_log(&machine);
    let mut ends = Vec::new();
    let keys = ["barley", "millet", "rye", "wheat"];
    for (seqno, key) in (1..).zip(keys) {
        wal.append(&[&group(seqno, key.as_bytes())]).unwrap();
        ends.push(wal.position().0);
        // So that the next frame is a full one.
        if key == "millet" {
            wal.handle().sync_up_to(wal.position()).unwrap();
        }
    }
    let header = super::header::LOG_HEADER_LEN;
    let frame = |n: usize| ends[n] - ends[n - 1];
    assert!(frame(2) > frame(1));
    for (key, end) in keys.iter().zip(&ends) {
        let mut file = bytes(&machine, 1);
        // In its value, before the padding.
        let record = &file[..(header + end) as usize];
        let value = record.iter().rposition(|&byte| byte == b'e').unwrap();
        file[value] ^= 1;
        let seem: Vec<_> = salvage(&file, 1).damage.into_iter().map(|damage| damage.seem).collect();
        let wanted = (KeyspaceId::DEFAULT, key.as_bytes().to_vec());
        assert_eq!(seem, [vec![wanted]], "{key}");
    }
    // What names no key seems to be nothing.
    let mut file = bytes(&machine, 1);
    file[(header + ends[0]) as usize..(header + ends[1]) as usize].fill(0xff);
    assert_eq!(salvage(&file, 1).damage[0].seem, []);
}

#[test]
fn a_log_tells_its_database_when_its_header_is_whole() {
    let machine = machine();
    let _wal = new_log(&machine);
    let file = bytes(&machine, 1);
    assert_eq!(database_of(&file), Some(DATABASE));
    let mut damaged = file.clone();
    damaged[100] ^= 1;
    assert_eq!(database_of(&damaged), None, "its checksum is wrong");
    let mut other = file;
    other[0] ^= 1;
    let crc = crc32c(&other[..252]);
    other[252..256].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(database_of(&other), None, "it is no log");
    assert_eq!(database_of(&other[..255]), None);
}
