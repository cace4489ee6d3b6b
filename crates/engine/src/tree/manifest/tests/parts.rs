//! States too large for one record, and edits of which nothing may be left.

use super::super::open::SNAPSHOT_PART_BYTES;
use super::*;
use tanada_vfs::fault::{ENOSPC, Faults, Op, Rule};

/// Tables with the longest keys there may be: some forty of them fill a part of a snapshot.
fn with_long_keys(machine: &MemoryMachine, count: usize) -> Manifest {
    let mut manifest = create(&machine.env());
    manifest.append(&Edit { created: vec![keyspace(1, "second")], ..Edit::default() }).unwrap();
    for i in 0..count {
        let key = |end: &str| format!("{i:05}{}{end}", "k".repeat(65_000));
        let mut added = table(&mut manifest, 6, (&key("a"), &key("b")));
        added.run = RunId(1);
        let id = KeyspaceId(i as u32 % 2);
        let tables = VersionEdit { added: vec![added], removed: Vec::new() };
        manifest.append(&Edit::of_tables(id, tables)).unwrap();
    }
    manifest.append(&Edit { created: vec![keyspace(2, "third")], ..Edit::default() }).unwrap();
    manifest
}

/// A snapshot was one record, and a record has a bound: 8,000 tables with keys of 64 KiB
/// reached it, and the database could not be opened for writing any more.
#[test]
fn a_state_larger_than_a_record_is_cut_into_several_and_read_back_whole() {
    let machine = MemoryMachine::new(1);
    let manifest = with_long_keys(&machine, 100);
    // An opening reserves table ids of its own.
    let content =
        |manifest: &Manifest| Edit { number: None, next_table_id: None, ..snapshot(manifest) };
    let before = content(&manifest);
    let mut parts = 0;
    let count = |_: &Edit| {
        parts += 1;
        Ok(())
    };
    manifest.state().snapshot_in_parts(SNAPSHOT_PART_BYTES, count).unwrap();
    assert!(parts > 2, "{parts} parts");
    drop(manifest);

    // What is found is written anew, in parts; power goes then.
    let mut again = open(&machine.env()).unwrap();
    assert_eq!(content(&again), before);
    again.settle().unwrap();
    again.verify().unwrap();
    drop(again);
    let mut last = open(&machine.crash(7).env()).unwrap();
    assert_eq!(content(&last), before);
    assert_eq!(last.torn_at(), None);
    let edit = flush(&mut last, ("a", "c"));
    last.append(&edit).unwrap();
    last.verify().unwrap();
}

/// The parts behind the first are edits like others, and the last edit of a file may be
/// torn: but these were synced before the file was named.
#[test]
fn damage_in_any_part_of_a_snapshot_is_damage_and_no_torn_tail() {
    let machine = MemoryMachine::new(1);
    drop(with_long_keys(&machine, 100));
    let mut manifest = open(&machine.env()).unwrap();
    manifest.settle().unwrap();
    let (env, path) = (machine.env(), manifest.current.clone());
    let last_part = manifest.log.as_ref().unwrap().snapshot_bytes - 40;
    drop(manifest);
    let whole = read_all(&*env.fs, &path);
    for at in [100, whole.len() as u64 / 3, whole.len() as u64 / 2, last_part] {
        let mut bytes = whole.clone();
        bytes[at as usize] ^= 1;
        replace(&*env.fs, &path, &bytes);
        match open(&env) {
            Err(Error::Corruption(found)) => assert_eq!(found.file, path, "byte {at}"),
            other => panic!("byte {at} of {}: {:?}", whole.len(), other.map(drop)),
        }
    }
}

/// An edit was made in a copy of the whole state. Made in place, one that cannot be
/// written must leave nothing behind: no table, no keyspace, no name, no number.
#[test]
fn an_edit_that_cannot_be_written_leaves_the_state_as_it_was_and_may_come_again() {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    for keys in [("a", "c"), ("b", "d")] {
        let edit = flush(&mut manifest, keys);
        manifest.append(&edit).unwrap();
    }
    drop(manifest);
    let faults = Faults::over_memory(&machine);
    let env = faults.env(&machine.env());
    let mut manifest = open(&env).unwrap();
    let mut edit = compact(&mut manifest);
    edit.created = vec![keyspace(1, "users")];
    edit.changed.push(ChangedKeyspace {
        id: KeyspaceId(1),
        flushed_to: Some(LogPosition(77)),
        ..ChangedKeyspace::default()
    });
    drop(manifest);
    // The first append after an opening writes a new manifest; for want of room it fails
    // without harm.
    let mut manifest = open(&env).unwrap();
    let before = snapshot(&manifest);
    edit.next_table_id = Some(TableId(before.next_table_id.unwrap().0 + 1000));
    faults.add(Rule::fail(ENOSPC).on(Op::Sync).nth(1));
    manifest.append(&edit).unwrap_err();
    assert!(!manifest.is_poisoned());
    assert_eq!(snapshot(&manifest), before);
    assert_eq!(manifest.state().keyspace_named("users"), None);
    assert_eq!(manifest.state().log_synced(), open(&machine.env()).unwrap().state().log_synced());
    let appended = manifest.append(&edit).unwrap();
    assert_eq!(appended.versions[0].1.table_count(), 1);
    assert_eq!(manifest.state().keyspace_named("users"), Some(KeyspaceId(1)));
    let again = open(&machine.kill().env()).unwrap();
    assert_eq!(snapshot(&again), snapshot(&manifest));
}
