//! Logs written by the first version of the format. Every later version must
//! read them; this one must still write them byte for byte.

use super::group::{GroupEntry, GroupHeader, encode_entry};
use super::harness::*;
use tanada_format::{KeyspaceId, SeqNo, ValueKind};
use tanada_vfs::MemoryMachine;

/// Without the zeros behind the last record.
const GOLDEN: [&[u8]; 2] = [
    include_bytes!("../../tests/golden/000001.log"),
    include_bytes!("../../tests/golden/000002.log"),
];

fn groups() -> Vec<Vec<u8>> {
    let put = |keyspace, expires_at_ms, key, value| GroupEntry {
        keyspace: KeyspaceId(keyspace),
        kind: ValueKind::Put,
        expires_at_ms,
        key,
        value,
    };
    let delete = GroupEntry { kind: ValueKind::Delete, ..put(0, 0, &b"apple"[..], &b""[..]) };
    let long = [b'v'; 300];
    let groups = [
        vec![put(0, 0, b"apple", b"red")],
        vec![
            put(0, 1_700_000_000_000, b"banana", b"yellow"),
            put(300, 0, b"cherry", &long),
            delete,
        ],
        vec![put(1, 0, b"date", &[b'd'; 1400])],
        vec![put(0, 0, b"elder", b"black")],
    ];
    let mut seqno = SeqNo(1);
    let mut encoded = Vec::new();
    for group in groups {
        let mut payload = GroupHeader::new(seqno, group.len() as u32).bytes().to_vec();
        group.iter().for_each(|entry| encode_entry(&mut payload, entry));
        encoded.push(payload);
        seqno = seqno.plus(group.len() as u64);
    }
    encoded
}

fn written() -> MemoryMachine {
    let machine = machine();
    let mut wal = new_log(&machine);
    for group in groups() {
        wal.append(&[&group]).unwrap();
        wal.sync().unwrap();
    }
    wal.close().unwrap();
    machine
}

#[test]
fn the_first_format_is_still_written_byte_for_byte() {
    let machine = written();
    let mut differences = String::new();
    for (log, golden) in (1..).zip(GOLDEN) {
        let file = bytes(&machine, log);
        let used = file.len() - file.iter().rev().take_while(|&&b| b == 0).count();
        if &file[..used] != golden {
            let hex: String = file[..used].iter().map(|b| format!("{b:02x}")).collect();
            differences += &format!("log {log} differs; written now, for `xxd -r -p`:\n{hex}\n");
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn the_first_format_still_reads_back() {
    let mut machine = written();
    for (log, golden) in (1..).zip(GOLDEN) {
        let mut file = golden.to_vec();
        file.resize(bytes(&machine, log).len(), 0);
        machine = with_bytes(&machine, log, &file);
    }
    assert_eq!(records(&machine), groups());
}
