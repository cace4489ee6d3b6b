//! Whole records, under right checksums, that say what no version of this
//! program writes: each is refused, and none is skipped.

use super::super::codec::encode;
use super::super::edit::EditNumber;
use super::super::log::{KIND_EDIT, KIND_MARKER, KIND_SNAPSHOT};
use super::*;
use tanada_format::{MAX_RECORD_LEN, RECORD_FRAME_LEN, TableId, WriterEpoch, write_varint};
use tanada_vfs::fault::{EIO, Faults, Op, Rule};

/// Behind a manifest with a table: a record.
fn with_record(kind: u16, payload: &[u8]) -> (MemoryMachine, u64, AddedTable) {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    let edit = flush(&mut manifest, ("a", "c"));
    manifest.append(&edit).unwrap();
    let at = manifest.size_bytes();
    manifest.log.as_mut().unwrap().append(kind, payload).unwrap();
    (machine, at, edit.changed[0].tables.added[0].clone())
}

fn damage_of(machine: &MemoryMachine) -> Corruption {
    match open(&machine.env()) {
        Err(Error::Corruption(found)) => found,
        other => panic!("{:?}", other.map(drop)),
    }
}

#[test]
fn a_record_or_a_field_of_a_newer_version_asks_for_a_newer_version() {
    let mut field = Vec::new();
    write_varint(&mut field, 99 << 1);
    write_varint(&mut field, 0);
    for (kind, payload, what) in [(9, &[][..], "kind 9"), (KIND_EDIT, &field, "field 99")] {
        let (machine, ..) = with_record(kind, payload);
        match open(&machine.env()) {
            Err(Error::Unsupported { what: found, .. }) => assert!(found.contains(what), "{found}"),
            other => panic!("{:?}", other.map(drop)),
        }
    }
}

#[test]
fn a_second_snapshot_is_damage() {
    let (machine, at, _) = with_record(KIND_SNAPSHOT, &encode(&first_edit()));
    let found = damage_of(&machine);
    assert_eq!((found.offset, &*found.what), (at, "a snapshot belongs first"));
}

#[test]
fn an_edit_that_cannot_be_read_is_damage_at_its_byte() {
    let mut payload = encode(&first_edit());
    let whole = payload.len() as u64;
    payload.push(2);
    let (machine, at, _) = with_record(KIND_EDIT, &payload);
    // The length behind the tag is missing.
    assert_eq!(damage_of(&machine).offset, at + RECORD_FRAME_LEN as u64 + whole + 1);
}

#[test]
fn an_edit_that_does_not_fit_is_damage_when_read_and_refused_when_asked_for() {
    let (_, _, table) = with_record(KIND_MARKER, &[]);
    let tables = |added, removed| Edit::of_tables(KS, VersionEdit { added, removed });
    let mut unreserved = table.clone();
    unreserved.meta.id = TableId(1 << 40);
    let nowhere = RemovedTable { level: Level(3), id: table.meta.id };
    let cases = [
        (tables(vec![table], Vec::new()), "added twice"),
        (tables(vec![unreserved], Vec::new()), "was not reserved"),
        (tables(Vec::new(), vec![nowhere]), "to remove"),
        (Edit { dropped: vec![KeyspaceId(9)], ..Edit::default() }, "there is no keyspace 9"),
        (Edit { created: vec![keyspace(1, "")], ..Edit::default() }, "or empty"),
        (Edit { created: vec![keyspace(0, "new")], ..Edit::default() }, "is used twice"),
    ];
    for (edit, what) in cases {
        let numbered = Edit { number: Some(EditNumber(3)), ..edit.clone() };
        let (machine, at, _) = with_record(KIND_EDIT, &encode(&numbered));
        let found = damage_of(&machine);
        assert_eq!(found.offset, at);
        assert!(found.what.contains(what), "{}", found.what);

        let (machine, ..) = with_record(KIND_MARKER, &[]);
        let mut manifest = open(&machine.env()).unwrap();
        let before = snapshot(&manifest);
        let refused = manifest.append(&edit).map(drop);
        assert!(matches!(refused, Err(Error::InvalidArgument(_))), "{what}: {refused:?}");
        assert!(!manifest.is_poisoned());
        assert_eq!(snapshot(&manifest), before);
    }
}

#[test]
fn a_table_in_two_keyspaces_is_damage() {
    let (_, _, table) = with_record(KIND_MARKER, &[]);
    let mut edit =
        Edit::of_tables(KeyspaceId(1), VersionEdit { added: vec![table], removed: Vec::new() });
    edit.created = vec![keyspace(1, "second")];
    edit.number = Some(EditNumber(3));
    let (machine, ..) = with_record(KIND_EDIT, &encode(&edit));
    let found = damage_of(&machine);
    assert!(found.what.contains("is in two keyspaces"), "{}", found.what);
}

#[test]
fn a_record_too_long_for_its_frame_is_refused_before_anything_is_written() {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    let before = manifest.size_bytes();
    let refused = manifest.log.as_mut().unwrap().append(KIND_EDIT, &vec![0; MAX_RECORD_LEN + 1]);
    assert!(matches!(refused, Err(Error::InvalidArgument(_))), "{refused:?}");
    assert_eq!(manifest.size_bytes(), before);
    assert_eq!(read_all(&*machine.env().fs, &manifest.current).len() as u64, before);
}

#[test]
fn verifying_notices_a_manifest_that_says_something_else() {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    let mut manifest = create(&env);
    let older = read_all(&*env.fs, &manifest.current);
    let edit = flush(&mut manifest, ("a", "c"));
    manifest.append(&edit).unwrap();
    assert_eq!(manifest.verify().unwrap(), manifest.size_bytes());
    replace(&*env.fs, &manifest.current, &older);
    match manifest.verify() {
        Err(Error::Corruption(found)) => assert_eq!(found.file, manifest.current),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_manifest_that_failed_is_not_called_right() {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    manifest.verify().unwrap();
    machine.fail_next_sync(&manifest.current).unwrap();
    manifest.append(&Edit::default()).unwrap_err();
    assert!(matches!(manifest.verify(), Err(Error::Poisoned { .. })));
}

#[test]
fn a_directory_that_cannot_be_listed_is_not_taken_for_an_empty_one() {
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let env = faults.env(&machine.env());
    drop(create(&env));
    faults.add(Rule::fail(EIO).on(Op::ReadDir));
    let error = inspect(&*env.fs, Path::new(DIR)).unwrap_err();
    assert!(matches!(error, Error::Io(_)), "{error}");
}

#[test]
fn what_whole_edits_of_a_damaged_manifest_say_is_salvaged() {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    let make = |id, name: &str| Edit { created: vec![keyspace(id, name)], ..Edit::default() };
    manifest.append(&make(1, "users")).unwrap();
    let mut options = Edit::of_tables(KS, VersionEdit::default());
    options.changed[0].options = Some(vec![7]);
    manifest.append(&options).unwrap();
    assert_eq!(open(&machine.env()).unwrap().state().keyspaces[&KS].options, [7]);
    manifest.append(&Edit { dropped: vec![KeyspaceId(1)], ..Edit::default() }).unwrap();
    let at = manifest.size_bytes() + RECORD_FRAME_LEN as u64;
    manifest.log.as_mut().unwrap().append(KIND_EDIT, &[2]).unwrap();
    manifest.log.as_mut().unwrap().append(KIND_EDIT, &encode(&make(2, "later"))).unwrap();

    let (database, known) =
        Known::read(&*machine.env().fs, Path::new(DIR), &[WriterEpoch(0)], |_| None).unwrap();
    assert_eq!((database, known.complete), (ID, false));
    let named = known.keyspaces.iter().map(|(id, (name, options))| (id.0, &**name, &**options));
    assert_eq!(named.collect::<Vec<_>>(), [(0, "default", &[7][..]), (2, "later", &[1, 2, 3])]);
    let lost = format!("no edit at offset {}", at + 1);
    assert!(known.damage.iter().any(|(_, what)| *what == lost), "{:?}", known.damage);
}

#[test]
fn the_oldest_log_is_salvaged_as_soon_as_an_edit_has_named_one() {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    let oldest_log = || {
        Known::read(&*machine.env().fs, Path::new(DIR), &[WriterEpoch(0)], |_| None)
            .unwrap()
            .1
            .oldest_log
    };
    assert_eq!(oldest_log(), None);
    manifest.append(&Edit { oldest_log: Some(LogId(4)), ..Edit::default() }).unwrap();
    assert_eq!(oldest_log(), Some(LogId(4)));
}

/// Without `CURRENT`, each manifest says which database it is of; where none can be
/// believed, whoever salvages has to know it.
#[test]
fn the_database_is_what_sound_headers_of_manifests_say() {
    let machine = MemoryMachine::new(1);
    let manifest = create(&machine.env());
    let (env, path) = (machine.env(), manifest.current.clone());
    env.fs.remove(&Path::new(DIR).join("CURRENT")).unwrap();
    let bytes = read_all(&*env.fs, &path);
    let told = || {
        let mut told = None;
        let guess = |ids: &[DatabaseId]| {
            told = Some(ids.to_vec());
            Some(ID)
        };
        Known::read(&*env.fs, Path::new(DIR), &[WriterEpoch(0)], guess).unwrap();
        told.expect("CURRENT does not tell")
    };
    assert_eq!(told(), [ID]);
    let mut other_magic = bytes.clone();
    other_magic[0] ^= 1;
    let crc = tanada_format::crc32c(&other_magic[..124]);
    other_magic[124..128].copy_from_slice(&crc.to_le_bytes());
    let mut damaged = bytes.clone();
    damaged[40] ^= 1;
    for refused in [&other_magic[..], &damaged, &bytes[..127]] {
        replace(&*env.fs, &path, refused);
        assert_eq!(told(), []);
    }
}
