//! Failures that happened to others, by the names under which they are listed.

use super::*;
use tanada_format::Corruption;
use tanada_vfs::fault::{EIO, ENOSPC, EOPNOTSUPP, EROFS, Faults, Op, Rule};

/// rocksdb #10573, #5287, #14780, leveldb #195: CURRENT was renamed and the
/// directory not synced; after a power cut CURRENT named a manifest that had
/// gone, or the old one, which had been deleted.
#[test]
fn current_rename_not_dirsynced() {
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let mut manifest = create(&faults.env(&machine.env()));
    let edit = flush(&mut manifest, ("a", "c"));
    manifest.append(&edit).unwrap();
    let before = snapshot(&manifest);
    drop(manifest);

    faults.start_recording();
    let mut manifest = open(&faults.env(&machine.env())).unwrap();
    manifest.settle().unwrap();
    delete_obsolete(&manifest);
    let calls = faults.take_recorded();
    let place = |op: Op, suffix: &str| {
        let found = calls.iter().position(|c| c.op == op && c.path.ends_with(suffix));
        found.unwrap_or_else(|| panic!("no {op:?} of {suffix}"))
    };
    let synced_dir = |from: usize, to: usize| calls[from..to].iter().any(|c| c.op == Op::SyncDir);
    let rename = place(Op::Rename, "CURRENT");
    assert!(place(Op::Sync, "MANIFEST-000002") < rename);
    assert!(place(Op::Sync, "CURRENT.tmp") < rename);
    assert!(synced_dir(place(Op::Create, "MANIFEST-000002"), rename));
    assert!(synced_dir(rename, place(Op::Remove, "MANIFEST-000001")));

    for seed in 0..50 {
        let again = open(&machine.crash(seed).env()).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let Edit { number, next_table_id, .. } = before;
        let found = Edit { number, next_table_id, ..snapshot(&again) };
        assert_eq!(found, before, "seed {seed}");
    }
}

/// rocksdb #5379: a sync of the manifest failed, and the files that the edit
/// would have freed were deleted all the same; whichever state the disk then
/// had, some files of it were gone.
#[test]
fn manifest_sync_fail_then_delete() {
    for rule in [
        Rule::fail(EIO).on(Op::Sync),
        Rule::apply_and_fail(EIO).on(Op::Sync),
        Rule::fail(EIO).on(Op::Append),
    ] {
        let machine = MemoryMachine::new(1);
        let faults = Faults::over_memory(&machine);
        let mut manifest = create(&faults.env(&machine.env()));
        let edit = flush(&mut manifest, ("a", "c"));
        manifest.append(&edit).unwrap();
        let before = snapshot(&manifest);
        let edit = compact(&mut manifest);
        faults.add(rule.matching(|c| c.path.to_string_lossy().contains("MANIFEST")).nth(1));
        let first = manifest.append(&edit).unwrap_err();
        assert!(first.to_string().contains("MANIFEST-000001"), "{first}");
        assert_eq!(snapshot(&manifest), before, "nothing was acted upon");
        // A second try must not be answered by a sync that only seems to succeed.
        for _ in 0..2 {
            let later = manifest.append(&Edit::default()).unwrap_err();
            let Error::Poisoned { reason } = &later else { panic!("{later}") };
            assert_eq!(*reason, first.to_string());
        }
        assert!(matches!(manifest.settle(), Ok(())), "nothing is left to settle");
        delete_obsolete(&manifest);
        let files = names(&machine.env());
        for id in edit.changed[0].tables.removed.iter().map(|r| r.id) {
            assert!(files.contains(&format!("{id}.sst")), "{id} was deleted");
        }
        drop(manifest);
        // Whichever state the disk has, its tables are there.
        for seed in 0..30 {
            let again = open(&machine.crash(seed).env());
            let again = again.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert_eq!(again.state().keyspaces[&KS].tables.table_count(), 1);
        }
    }
}

/// rocksdb #6316: the disk was full in the middle of an edit; later edits were
/// appended behind the half one, and the manifest could not be read any more.
#[test]
fn manifest_enospc_middle() {
    // Nothing of the edit was written, and there is room again; or a part of it was.
    let short = [0, 1, 23, 24, 40, 100].map(|bytes| Rule::short_write(bytes, ENOSPC));
    for rule in [Rule::fail(ENOSPC)].into_iter().chain(short) {
        let machine = MemoryMachine::new(1);
        let faults = Faults::over_memory(&machine);
        let mut manifest = create(&faults.env(&machine.env()));
        let edit = flush(&mut manifest, ("a", "c"));
        manifest.append(&edit).unwrap();
        let acknowledged = snapshot(&manifest);
        let refused = flush(&mut manifest, ("b", "d"));
        faults.add(rule.on(Op::Append).path_suffix("MANIFEST-000001").nth(1));
        let error = manifest.append(&refused).unwrap_err();
        assert!(matches!(&error, Error::Io(e) if tanada_vfs::raw_os_error(e) == Some(ENOSPC)));
        assert!(!manifest.is_poisoned() && snapshot(&manifest) == acknowledged);
        for machine in [machine.kill(), machine.crash(1), machine.crash(2), machine.crash(3)] {
            assert_eq!(snapshot(&open(&machine.env()).unwrap()), acknowledged);
        }
        manifest.append(&refused).unwrap();
        let acknowledged = snapshot(&manifest);
        drop(manifest);

        let mut again = open(&machine.crash(4).env()).unwrap();
        assert_eq!(snapshot(&again), acknowledged);
        let edit = flush(&mut again, ("c", "e"));
        again.append(&edit).unwrap();
        let third = open(&Env { fs: again.files.fs.clone(), ..machine.env() }).unwrap();
        assert_eq!(snapshot(&third), snapshot(&again));
    }
}

/// A full disk ended the writing for good, though nothing was lost: an edit met it in the
/// middle of its append. What edits take is reserved ahead, as logs do.
#[test]
fn an_edit_on_a_full_disk_has_its_room_or_changes_nothing_and_heals() {
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let mut manifest = create(&faults.env(&machine.env()));
    manifest.append(&Edit::default()).unwrap();
    machine.set_disk_size(machine.used_space());
    faults.start_recording();
    let noted = |n| Edit { clock_high_ms: Some(n), ..Edit::default() };
    let mut edits = 0;
    let error = loop {
        edits += 1;
        assert!(edits < 10_000, "the disk never gets full");
        match manifest.append(&noted(edits)) {
            Ok(_) => {}
            Err(e) => break e,
        }
    };
    assert!(edits > 200, "{edits} edits found the room that was reserved");
    assert!(matches!(&error, Error::Io(e) if tanada_vfs::is_disk_full(e)), "{error}");
    let calls = faults.take_recorded();
    let made = |op: Op| calls.iter().filter(|call| call.op == op).count() as u64;
    assert_eq!((made(Op::Append), made(Op::Truncate)), (2 * (edits - 1), 0), "none met it");
    assert!(!manifest.is_poisoned());
    assert_eq!(manifest.state().clock_high_ms, edits - 1);
    for machine in [machine.kill(), machine.crash(1), machine.crash(2)] {
        assert_eq!(open(&machine.env()).unwrap().state().clock_high_ms, edits - 1);
    }
    machine.set_disk_size(u64::MAX);
    manifest.append(&noted(edits)).unwrap();
    assert_eq!(open(&machine.crash(3).env()).unwrap().state().clock_high_ms, edits);
}

/// NFS and ZFS reserve nothing: there an append meets the full disk, and what it has left
/// is removed, durably, before anybody goes on.
#[test]
fn where_nothing_can_be_reserved_what_a_full_disk_left_of_an_edit_is_taken_back() {
    for sabotaged in [None, Some(Op::Truncate), Some(Op::Sync)] {
        let machine = MemoryMachine::new(1);
        let faults = Faults::over_memory(&machine);
        faults.add(Rule::fail(EOPNOTSUPP).on(Op::Reserve));
        let mut manifest = create(&faults.env(&machine.env()));
        let noted = |n| Edit { clock_high_ms: Some(n), ..Edit::default() };
        manifest.append(&noted(1)).unwrap();
        machine.set_disk_size(machine.used_space() + 30);
        if let Some(op) = sabotaged {
            faults.add(Rule::fail(EIO).on(op).nth(1));
        }
        let error = manifest.append(&noted(2)).unwrap_err();
        assert!(matches!(&error, Error::Io(e) if tanada_vfs::is_disk_full(e)), "{error}");
        for seed in 0..20 {
            assert_eq!(open(&machine.crash(seed).env()).unwrap().state().clock_high_ms, 1);
        }
        machine.set_disk_size(u64::MAX);
        assert_eq!(manifest.is_poisoned(), sabotaged.is_some());
        if sabotaged.is_none() {
            manifest.append(&noted(3)).unwrap();
            assert_eq!(open(&machine.crash(1).env()).unwrap().state().clock_high_ms, 3);
        }
    }
}

/// A rewrite whose rename finds no room for the name leaves CURRENT as it is.
#[test]
fn a_rename_for_which_the_directory_has_no_room_is_tried_again() {
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    drop(create(&machine.env()));
    let mut manifest = open(&faults.env(&machine.env())).unwrap();
    let before = snapshot(&manifest);
    faults.add(Rule::fail(ENOSPC).on(Op::Rename).nth(1));
    manifest.settle().unwrap_err();
    assert!(!manifest.is_poisoned() && snapshot(&manifest) == before);
    manifest.settle().unwrap();
    assert_eq!(snapshot(&open(&machine.crash(1).env()).unwrap()), snapshot(&manifest));
}

/// A database on a full disk must open, or nobody could delete anything in it.
#[test]
fn a_full_disk_lets_a_database_be_opened_and_settled_once_there_is_room() {
    let machine = MemoryMachine::new(1);
    let mut manifest = create(&machine.env());
    let edit = flush(&mut manifest, ("a", "c"));
    manifest.append(&edit).unwrap();
    let before = snapshot(&manifest);
    drop(manifest);
    // What has been removed is room, too, until that is durable.
    let leave = |room| {
        machine.env().fs.sync_dir(DIR.as_ref()).unwrap();
        machine.set_disk_size(machine.used_space() + room);
    };
    for room in [0, 100, 400] {
        leave(room);
        let mut manifest = open(&machine.env()).unwrap();
        assert_eq!(snapshot(&manifest), before);
        let error = manifest.settle().unwrap_err();
        assert!(matches!(&error, Error::Io(e) if tanada_vfs::raw_os_error(e) == Some(ENOSPC)));
        assert!(!manifest.is_poisoned() && manifest.files.deletions.is_empty());
        assert_eq!(snapshot(&open(&machine.kill().env()).unwrap()), before);
        machine.set_disk_size(u64::MAX);
    }
    let mut manifest = open(&machine.env()).unwrap();
    leave(0);
    manifest.settle().unwrap_err();
    machine.set_disk_size(u64::MAX);
    manifest.settle().unwrap();
    let edit = flush(&mut manifest, ("b", "d"));
    manifest.append(&edit).unwrap();
    assert_eq!(snapshot(&open(&machine.kill().env()).unwrap()), snapshot(&manifest));
}

/// No room for a shorter manifest is no reason to stop while the long one works.
#[test]
fn a_rewrite_that_fails_leaves_the_present_manifest_in_use() {
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let mut manifest = create(&faults.env(&machine.env()));
    manifest.rewrite_bytes = 1;
    let rule = Rule::fail(ENOSPC).on(Op::Create);
    faults.add(rule.matching(|c| c.path.to_string_lossy().contains("MANIFEST")));
    for _ in 0..20 {
        let edit = flush(&mut manifest, ("a", "c"));
        manifest.append(&edit).unwrap();
        let edit = compact(&mut manifest);
        manifest.append(&edit).unwrap();
    }
    assert!(manifest.rewrite_bytes > 1, "it was tried");
    assert_eq!(snapshot(&open(&machine.kill().env()).unwrap()), snapshot(&manifest));
    faults.clear();
    let mut edits = 0;
    while manifest.current.ends_with("MANIFEST-000001") {
        let edit = flush(&mut manifest, ("a", "c"));
        manifest.append(&edit).unwrap();
        edits += 1;
        assert!(edits < 10_000, "it is never rewritten");
    }
    assert_eq!(snapshot(&open(&machine.kill().env()).unwrap()), snapshot(&manifest));
}

#[test]
fn a_rewrite_that_failed_is_tried_again_at_twice_the_length() {
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let mut manifest = create(&faults.env(&machine.env()));
    let edit = flush(&mut manifest, ("a", "c"));
    let log = manifest.log.as_mut().unwrap();
    log.snapshot_bytes = 1;
    let len = log.at.offset();
    manifest.rewrite_bytes = 1;
    faults.add(Rule::fail(ENOSPC).on(Op::Create));
    manifest.append(&edit).unwrap();
    assert_eq!(manifest.rewrite_bytes, 2 * len);
}

#[test]
fn a_leftover_that_cannot_be_removed_is_why_nothing_is_rewritten() {
    let machine = MemoryMachine::new(1);
    drop(create(&machine.env()));
    let faults = Faults::over_memory(&machine);
    let mut manifest = open(&faults.env(&machine.env())).unwrap();
    faults.add(Rule::fail(EIO).on(Op::Remove));
    // The first edit after opening begins a new manifest.
    let edit = Edit { created: vec![keyspace(1, "users")], ..Edit::default() };
    let error = manifest.append(&edit).unwrap_err();
    assert!(error.to_string().starts_with("cannot remove"), "{error}");
}

/// In a container the volume's parent is often a read-only root.
#[test]
fn a_parent_that_cannot_be_synced_is_no_reason_not_to_create() {
    for (errno, created) in [(EROFS, true), (EIO, false)] {
        let machine = MemoryMachine::new(1);
        let faults = Faults::over_memory(&machine);
        let rule = Rule::fail(errno).on(Op::SyncDir);
        faults.add(rule.matching(|c| !c.path.ends_with(DIR)));
        let made = Manifest::create(files(&faults.env(&machine.env())), &first_edit());
        assert_eq!(made.is_ok(), created, "{made:?}");
    }
}

/// A switch that fails half-way leaves it unknown which manifest counts: both stay.
#[test]
fn a_rename_of_current_that_fails_poisons_and_deletes_nothing() {
    for rule in [Rule::apply_and_fail(EIO).on(Op::Rename), Rule::fail(EIO).on(Op::Rename)] {
        let machine = MemoryMachine::new(1);
        let faults = Faults::over_memory(&machine);
        drop(create(&machine.env()));
        let mut manifest = open(&faults.env(&machine.env())).unwrap();
        let before = snapshot(&manifest);
        faults.add(rule);
        manifest.settle().unwrap_err();
        assert!(manifest.is_poisoned() && manifest.files.deletions.is_empty());
        assert!(matches!(manifest.settle(), Err(Error::Poisoned { .. })));
        for seed in 0..20 {
            let again = snapshot(&open(&machine.crash(seed).env()).unwrap());
            assert_eq!(again.changed, before.changed, "seed {seed}");
        }
    }
}

/// sled #1527: a temporary file left by a crash made the database unopenable.
#[test]
fn leftover_temp_blocks_open() {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    let mut manifest = create(&env);
    let edit = flush(&mut manifest, ("a", "c"));
    manifest.append(&edit).unwrap();
    let before = snapshot(&manifest);
    drop(manifest);
    let leftovers =
        ["CURRENT.tmp", "MANIFEST-000002", "MANIFEST-000009", "000002.sst", "000003.sst.tmp"];
    for name in leftovers {
        let mut file = env.fs.create(&Path::new(DIR).join(name)).unwrap();
        file.append(b"half of something").unwrap();
    }
    let mut manifest = open(&env).unwrap();
    let now = Edit { next_table_id: before.next_table_id, ..snapshot(&manifest) };
    assert_eq!(now, before);
    manifest.settle().unwrap();
    delete_obsolete(&manifest);
    assert_eq!(names(&env), ["000001.sst", "CURRENT", "MANIFEST-000010"]);
    let edit = flush(&mut manifest, ("b", "d"));
    manifest.append(&edit).unwrap();
    assert_eq!(snapshot(&open(&env).unwrap()), snapshot(&manifest));
}

/// A database whose creation was cut short is created again; nothing had been
/// acknowledged in it.
#[test]
fn a_creation_that_never_ended_does_not_stand_in_the_way() {
    for leftovers in [&["MANIFEST-000001"][..], &["MANIFEST-000001", "CURRENT.tmp", "LOCK"]] {
        let env = MemoryMachine::new(1).env();
        env.fs.create_dir_all(Path::new(DIR)).unwrap();
        for name in leftovers {
            env.fs.create(&Path::new(DIR).join(name)).unwrap();
        }
        assert_eq!(inspect(&*env.fs, Path::new(DIR)).unwrap(), Found::Nothing);
        drop(create(&env));
        open(&env).unwrap();
    }
}

#[test]
fn a_directory_without_current_is_never_taken_for_a_new_database() {
    for (present, missing) in [
        (&["000001.sst"][..], true),
        (&["000001.log"], true),
        (&["MANIFEST-000002"], true),
        (&["MANIFEST-000001", "000001.log", "000001.sst", "notes.txt"], true),
        (&["notes.txt"], false),
        (&["notes.txt", "LOCK"], false),
    ] {
        let env = MemoryMachine::new(1).env();
        env.fs.create_dir_all(Path::new(DIR)).unwrap();
        for name in present {
            env.fs.create(&Path::new(DIR).join(name)).unwrap();
        }
        let error = inspect(&*env.fs, Path::new(DIR)).unwrap_err();
        match error {
            Error::MissingFile { file } if missing => assert!(file.ends_with("CURRENT")),
            Error::NotADatabase { path, why } if !missing => {
                assert!(path.ends_with(DIR) && why.contains("notes.txt"));
            }
            other => panic!("{present:?}: {other}"),
        }
    }
    let env = MemoryMachine::new(1).env();
    assert_eq!(inspect(&*env.fs, Path::new(DIR)).unwrap(), Found::Nothing, "it is not there");
    env.fs.create_dir_all(&Path::new(DIR).join("lost+found")).unwrap();
    assert_eq!(inspect(&*env.fs, Path::new(DIR)).unwrap(), Found::Nothing, "a disk of its own");
}

#[test]
fn a_damaged_current_is_named() {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    drop(create(&env));
    let path = Path::new(DIR).join("CURRENT");
    for bytes in [&b""[..], b"MANIFEST-000001\n", &[b'x'; 300]] {
        replace(&*env.fs, &path, bytes);
        let error = inspect(&*env.fs, Path::new(DIR)).unwrap_err();
        assert!(matches!(&error, Error::Corruption(Corruption { file, .. }) if *file == path));
    }
}

/// Whatever a newer version writes into it, it does so within 256 bytes.
#[test]
fn a_current_is_read_up_to_its_greatest_length_and_no_further() {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    drop(create(&env));
    let path = Path::new(DIR).join("CURRENT");
    let faults = Faults::over_memory(&machine);
    let inspected = |len: usize| {
        let body = format!("{:x<1$}", "tanada 2 ", len - " 01234567\n".len());
        let line = format!("{body} {:08x}\n", tanada_format::crc32c(body.as_bytes()));
        assert_eq!(line.len(), len);
        replace(&*env.fs, &path, line.as_bytes());
        faults.start_recording();
        let error = inspect(&*faults.fs(), Path::new(DIR)).unwrap_err();
        let reads = faults.take_recorded().iter().filter(|call| call.op == Op::Read).count();
        (error, reads)
    };
    for len in [200, 256] {
        let (error, reads) = inspected(len);
        assert!(matches!(&error, Error::Unsupported { .. }), "{len}: {error}");
        assert_eq!(reads, 1, "of {len} bytes");
    }
    for len in [257, 10_000] {
        let (error, reads) = inspected(len);
        assert!(matches!(&error, Error::Corruption(c) if c.what == "it is too long"), "{error}");
        assert_eq!(reads, 0, "of {len} bytes");
    }
}

/// rocksdb #9208, #7369, #10083: a backup linked a file while it was being
/// deleted. Here the half inside one process: who holds a version can link
/// every file that it names, whatever is compacted and deleted meanwhile.
#[test]
fn backup_vs_deletion() {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    let mut manifest = create(&env);
    for _ in 0..3 {
        let edit = flush(&mut manifest, ("a", "c"));
        manifest.append(&edit).unwrap();
    }
    let backup = manifest.state().keyspaces[&KS].tables.clone();
    for _ in 0..3 {
        let edit = compact(&mut manifest);
        manifest.append(&edit).unwrap();
        delete_obsolete(&manifest);
    }
    env.fs.create_dir_all(Path::new("backup")).unwrap();
    let paths: Vec<PathBuf> = backup.tables().map(|t| t.path()).collect();
    for path in &paths {
        let to = Path::new("backup").join(path.file_name().unwrap());
        env.fs.hard_link(path, &to).unwrap();
    }
    drop(backup);
    delete_obsolete(&manifest);
    assert!(paths.iter().all(|path| !env.fs.exists(path).unwrap()), "then they go");
    assert_eq!(names(&env).iter().filter(|name| name.ends_with(".sst")).count(), 1);
}
