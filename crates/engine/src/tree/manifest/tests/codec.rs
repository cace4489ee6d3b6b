//! Edits as bytes.

use super::super::codec::{Problem, decode, encode};
use super::*;
use tanada_format::{TableId, write_varint};
use tanada_table::ExpiryQuantiles;

fn full_edit() -> Edit {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    let mut edit = flush(&mut manifest, ("a", "m"));
    edit.changed[0].tables.added.push(table(&mut manifest, 6, ("b", "\u{7f}")));
    edit.changed[0].tables.removed = vec![RemovedTable { level: Level(3), id: TableId(77) }];
    edit.changed[0].options = Some(vec![0; 300]);
    edit.created = vec![keyspace(1, "users"), keyspace(2, "人")];
    edit.dropped = vec![KeyspaceId(1), KeyspaceId(9)];
    edit.next_table_id = Some(TableId(u64::MAX));
    edit.next_keyspace_id = Some(KeyspaceId(u32::MAX));
    edit.last_seqno = Some(SeqNo::MAX);
    edit
}

#[test]
fn edits_read_back() {
    for edit in [Edit::default(), first_edit(), full_edit()] {
        assert_eq!(decode(&encode(&edit)), Ok(edit));
    }
}

#[test]
fn quantiles_of_expiry_read_back_and_must_lie_within_the_range() {
    let mut edit = full_edit();
    let tables = &mut edit.changed[0].tables.added;
    let expires = tables.iter_mut().find(|added| added.meta.expiring > 0).unwrap();
    let set = |meta: &mut TableMeta, quantiles| {
        meta.expiry_quantiles = Some(Box::new(ExpiryQuantiles(quantiles)));
    };
    set(&mut expires.meta, [5, 5, 6, 7, 8, 8, 9]);
    let bytes = encode(&edit);
    assert_eq!(decode(&bytes).as_ref(), Ok(&edit));
    for bad in [[4, 5, 6, 7, 8, 8, 9], [5, 5, 6, 7, 8, 8, 10], [6, 5, 6, 7, 8, 8, 9]] {
        let tables = &mut edit.changed[0].tables.added;
        let expires = tables.iter_mut().find(|added| added.meta.expiring > 0).unwrap();
        set(&mut expires.meta, bad);
        let error = decode(&encode(&edit)).unwrap_err();
        assert!(
            matches!(error.problem, Problem::Damaged(w) if w.contains("quantiles")),
            "{error:?}"
        );
    }
}

#[test]
fn no_change_of_the_bytes_makes_decoding_panic_or_go_unnoticed_as_the_same_edit() {
    let edit = full_edit();
    let bytes = encode(&edit);
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // A tag's lowest bit only says whether a stranger may skip the field.
        if let Ok(other) = decode(&bytes) {
            assert!(other != edit || bit % 8 == 0, "bit {bit}");
        }
    }
    for len in 0..bytes.len() {
        assert_ne!(decode(&bytes[..len]).as_ref(), Ok(&edit), "cut to {len}");
    }
}

fn with_field(number: u64, optional: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = encode(&full_edit());
    write_varint(&mut bytes, number << 1 | optional);
    write_varint(&mut bytes, content.len() as u64);
    bytes.extend_from_slice(content);
    bytes
}

#[test]
fn a_field_of_a_newer_version_is_skipped_only_where_it_says_so() {
    assert_eq!(decode(&with_field(99, 1, b"whatever")), Ok(full_edit()));
    let error = decode(&with_field(99, 0, b"whatever")).unwrap_err();
    assert_eq!(error.problem, Problem::Unknown(99));
}

#[test]
fn a_field_that_stands_twice_or_has_a_wrong_length_is_damage() {
    for (content, what) in [(&[1u8; 8][..], "twice"), (&[1; 7], "wrong length")] {
        let error = decode(&with_field(1, 0, content)).unwrap_err();
        assert!(matches!(error.problem, Problem::Damaged(w) if w.contains(what)), "{error:?}");
        assert_eq!(error.offset, encode(&full_edit()).len() + 2);
    }
}

#[test]
fn a_declared_length_takes_no_memory() {
    let mut bytes = Vec::new();
    write_varint(&mut bytes, 8 << 1);
    write_varint(&mut bytes, u64::MAX);
    let name = "tree::manifest::tests::codec::a_declared_length_takes_no_memory";
    crate::alone::grows_by_less_than(16 << 20, name, || {
        let error = decode(&bytes).unwrap_err();
        let is_told = |what: &str| what.contains("longer than its record");
        assert!(matches!(error.problem, Problem::Damaged(what) if is_told(what)));
    });
}

#[test]
fn a_name_longer_than_names_may_be_is_damage() {
    let named = |len| Edit { created: vec![keyspace(1, &"n".repeat(len))], ..Edit::default() };
    assert_eq!(decode(&encode(&named(255))), Ok(named(255)));
    let error = decode(&encode(&named(256))).unwrap_err();
    assert_eq!(error.problem, Problem::Damaged("a field is too long"));
}
