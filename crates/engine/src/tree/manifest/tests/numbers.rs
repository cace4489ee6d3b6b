//! Edits that are missing or stand twice, and who wrote them.

use super::super::codec::encode;
use super::super::header;
use super::super::log::KIND_EDIT;
use super::*;

fn number_of(manifest: &Manifest) -> u64 {
    manifest.state().edit_number.0
}

fn note(log: u64) -> Edit {
    Edit { oldest_log: Some(LogId(log)), ..Edit::default() }
}

#[test]
fn edits_are_counted_from_the_first_over_openings_and_new_manifests() {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    assert_eq!(number_of(&manifest), 1);
    for n in 2..=5 {
        manifest.append(&note(n)).unwrap();
        assert_eq!(number_of(&manifest), n);
    }
    drop(manifest);
    let mut manifest = open(&machine.env()).unwrap();
    assert_eq!(number_of(&manifest), 5, "what was read");
    manifest.append(&note(6)).unwrap();
    assert_eq!(number_of(&manifest), 6, "the first edit of another manifest");
    manifest.append(&note(7)).unwrap();
    manifest.note(&note(8));
    drop(manifest);
    assert_eq!(number_of(&open(&machine.env()).unwrap()), 8);
}

/// A snapshot that is cut into parts is one edit, with one number.
#[test]
fn a_snapshot_in_parts_has_one_number() {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    let edit = flush(&mut manifest, ("a", "c"));
    manifest.append(&edit).unwrap();
    let edit = flush(&mut manifest, ("d", "f"));
    manifest.append(&edit).unwrap();
    let before = number_of(&manifest);
    drop(manifest);
    let mut manifest = open(&machine.env()).unwrap();
    manifest.snapshot_part_bytes = 100;
    manifest.append(&Edit::default()).unwrap();
    drop(manifest);
    let manifest = open(&machine.env()).unwrap();
    assert_eq!(number_of(&manifest), before + 1);
}

#[test]
fn an_edit_that_failed_leaves_its_number_to_the_next() {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    let twice = Edit { created: vec![keyspace(1, "default")], ..Edit::default() };
    assert!(matches!(manifest.append(&twice), Err(Error::InvalidArgument(_))));
    assert_eq!(number_of(&manifest), 1);
    manifest.append(&note(2)).unwrap();
    assert_eq!(number_of(&manifest), 2);
}

/// Behind edit 2, the record of an edit with this number.
fn with_number(number: Option<u64>) -> Result<u64> {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    manifest.append(&note(2)).unwrap();
    let edit = Edit { number: number.map(edit::EditNumber), ..note(3) };
    manifest.log.as_mut().unwrap().append(KIND_EDIT, &encode(&edit)).unwrap();
    open(&machine.env()).map(|manifest| number_of(&manifest))
}

/// Each record is whole, under a right checksum: the number alone tells.
#[test]
fn an_edit_that_is_missing_or_stands_twice_is_damage() {
    assert_eq!(with_number(Some(3)).unwrap(), 3);
    for number in [Some(4), Some(2), Some(1), Some(0), None] {
        match with_number(number) {
            Err(Error::Corruption(found)) => assert!(found.what.contains("edit"), "{found}"),
            other => panic!("{number:?}: {other:?}"),
        }
    }
}

#[test]
fn the_epoch_is_in_the_next_manifest_and_never_falls() {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    let mut manifest = create(&env);
    let number = |manifest: &Manifest| manifest.current.clone();
    manifest.append(&note(2)).unwrap();
    let (first, edits) = (number(&manifest), number_of(&manifest));
    manifest.begin_epoch(WriterEpoch(0)).unwrap();
    manifest.append(&note(3)).unwrap();
    assert_eq!(number(&manifest), first, "nothing has changed");
    manifest.begin_epoch(WriterEpoch(5)).unwrap();
    manifest.append(&note(4)).unwrap();
    assert_ne!(number(&manifest), first);
    assert_eq!(number_of(&manifest), edits + 2);
    manifest.append(&note(5)).unwrap();
    drop(manifest);

    let mut manifest = open(&env).unwrap();
    assert_eq!(manifest.state().epoch, WriterEpoch(5));
    manifest.verify().unwrap();
    let error = manifest.begin_epoch(WriterEpoch(4)).unwrap_err();
    assert!(matches!(&error, Error::InvalidArgument(what) if what.contains("epoch 5")), "{error}");
    manifest.begin_epoch(WriterEpoch(5)).unwrap();
    manifest.append(&note(6)).unwrap();
    let bytes = read_all(&*env.fs, &manifest.current);
    assert_eq!(header::epoch_of(&bytes), Some(WriterEpoch(5)));
    assert_eq!(bytes[16], 1, "who does not know it refuses the manifest");
}

/// Bits are kept for what databases will hold one day: records that this version would
/// read in part, and answer wrongly.
#[test]
fn a_manifest_that_requires_what_is_kept_for_later_is_refused() {
    for bit in 1..64 {
        let machine = MemoryMachine::new(1);
        let manifest = create(&machine.env());
        let mut bytes = read_all(&*machine.env().fs, &manifest.current);
        bytes[16 + bit / 8] |= 1 << (bit % 8);
        let crc = tanada_format::crc32c(&bytes[..124]);
        bytes[124..128].copy_from_slice(&crc.to_le_bytes());
        replace(&*machine.env().fs, &manifest.current, &bytes);
        let opened = open(&machine.env());
        assert!(matches!(opened, Err(Error::Unsupported { .. })), "bit {bit}");
    }
}
