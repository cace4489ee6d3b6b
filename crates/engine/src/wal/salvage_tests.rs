//! What repair can still tell from a log whose header or records are damaged.

use super::group::{GroupEntry, GroupHeader, encode_entry};
use super::harness::*;
use super::salvage::SalvagedLog;
use tanada_format::{KeyspaceId, LogId, SeqNo, ValueKind};

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
    SalvagedLog::read(bytes, &path(log), DATABASE, LogId(log), None).unwrap()
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
        wal.append(&[&group(seqnos.next().unwrap(), &[b'k'; 200])]).unwrap();
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
