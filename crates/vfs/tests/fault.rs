//! Which calls the failing file system lets fail, and what it leaves.
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::path::Path;
use tanada_vfs::fault::{Call, EIO, EMFILE, ENOSPC, EROFS, Faults, Op, Rule};
use tanada_vfs::{FileSystem, MemoryMachine, is_disk_full, raw_os_error};

fn faults() -> (MemoryMachine, Faults) {
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    (machine, faults)
}

/// Seven changing calls and two that change nothing.
fn workload(fs: &dyn FileSystem) -> std::io::Result<()> {
    fs.create_dir_all(Path::new("/db"))?;
    let mut file = fs.create(Path::new("/db/tmp"))?;
    file.append(b"bytes")?;
    file.sync()?;
    fs.rename(Path::new("/db/tmp"), Path::new("/db/file"))?;
    fs.sync_dir(Path::new("/db"))?;
    fs.open(Path::new("/db/file"))?.read_exact_at(&mut [0; 5], 0)?;
    fs.remove(Path::new("/db/file"))
}

#[test]
fn calls_are_counted_and_recorded_in_order() {
    let (_, faults) = faults();
    faults.start_recording();
    workload(&*faults.fs()).unwrap();
    assert_eq!((faults.calls(), faults.changes()), (9, 7));
    let calls: Vec<String> = faults.take_recorded().iter().map(Call::to_string).collect();
    assert_eq!(
        calls,
        [
            "CreateDirAll /db",
            "Create /db/tmp",
            "Append /db/tmp",
            "Sync /db/tmp",
            "Rename /db/file",
            "SyncDir /db",
            "Open /db/file",
            "Read /db/file",
            "Remove /db/file",
        ]
    );
    assert_eq!(faults.take_recorded(), []);
}

#[test]
fn a_cut_lets_exactly_so_many_changes_through_and_nothing_after() {
    for k in 0..=7 {
        let (machine, faults) = faults();
        let fs = faults.fs();
        faults.cut_after(k);
        assert_eq!(workload(&*fs).is_ok(), k == 7);
        assert_eq!(faults.is_cut(), k < 7);
        let real = machine.env().fs;
        let there = |path: &str| real.exists(Path::new(path)).unwrap();
        assert_eq!(there("/db"), k >= 1, "k = {k}");
        assert_eq!(there("/db/tmp"), (2..5).contains(&k), "k = {k}");
        assert_eq!(there("/db/file"), (5..7).contains(&k), "k = {k}");
        if k < 7 {
            assert!(fs.exists(Path::new("/db")).is_err(), "after the cut reads fail too");
            let error = fs.create(Path::new("/db/more")).unwrap_err();
            assert_eq!(raw_os_error(&error), Some(EIO));
            faults.clear();
            assert!(fs.exists(Path::new("/")).unwrap());
        }
    }
}

#[test]
fn rules_choose_by_kind_suffix_predicate_and_number() {
    let (_, faults) = faults();
    let fs = faults.fs();
    faults.add(Rule::fail(ENOSPC).on(Op::Create).path_suffix(".table").nth(2));
    faults.add(Rule::fail(EMFILE).on(Op::Open).on(Op::OpenAppend).from_nth(2).times(2));
    faults.add(Rule::fail(EROFS).matching(|call| call.path == Path::new("/guarded")));
    let create = |path: &str| fs.create(Path::new(path)).map(drop);
    create("/1.table").unwrap();
    create("/1.log").unwrap();
    let error = create("/2.table").unwrap_err();
    assert!(is_disk_full(&error) && error.to_string().contains("cannot create /2.table"));
    create("/2.table").unwrap();
    let open = || fs.open(Path::new("/1.log")).map(drop);
    open().unwrap();
    assert_eq!(raw_os_error(&open().unwrap_err()), Some(EMFILE));
    assert!(fs.open_append(Path::new("/1.log")).is_err());
    open().unwrap();
    for _ in 0..3 {
        assert_eq!(create("/guarded").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    }
    faults.clear();
    create("/guarded").unwrap();
}

#[test]
fn a_rule_knows_which_bytes_a_read_asks_for() {
    let (_, faults) = faults();
    let fs = faults.fs();
    let path = Path::new("/1.table");
    fs.create(path).unwrap().append(&[7; 2000]).unwrap();
    let file = fs.open(path).unwrap();
    faults.add(Rule::fail(EIO).matching(|call| call.bytes.contains(&600)));
    let read = |offset: u64, len: usize| file.read_exact_at(&mut vec![0; len], offset);
    read(0, 600).unwrap();
    read(601, 1399).unwrap();
    for (offset, len) in [(0, 601), (600, 1), (512, 512), (0, 2000)] {
        assert_eq!(raw_os_error(&read(offset, len).unwrap_err()), Some(EIO), "{offset}, {len}");
    }
}

#[test]
fn a_short_write_leaves_its_bytes_and_a_handle_that_takes_no_more() {
    let (machine, faults) = faults();
    let fs = faults.fs();
    faults.add(Rule::short_write(3, ENOSPC).on(Op::LogAppend).on(Op::Append).nth(2));
    let path = Path::new("/1.log");
    let mut log = fs.create_log(path, 100).unwrap();
    log.append(b"abcd").unwrap();
    assert!(is_disk_full(&log.append(b"efgh").unwrap_err()));
    assert_eq!(log.len(), 4);
    assert!(log.append(b"ijkl").is_err());
    let mut bytes = [0; 100];
    machine.env().fs.open(path).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes[..8], b"abcdefg\0");
}

#[test]
fn an_applied_call_may_report_failure() {
    let (machine, faults) = faults();
    let fs = faults.fs();
    fs.create(Path::new("/a")).map(drop).unwrap();
    faults.add(Rule::apply_and_fail(EIO).on(Op::Rename));
    assert!(fs.rename(Path::new("/a"), Path::new("/b")).is_err());
    assert!(machine.env().fs.exists(Path::new("/b")).unwrap());
    faults.add(Rule::apply_and_fail(EIO).on(Op::LogAppend));
    let mut log = fs.create_log(Path::new("/c"), 10).unwrap();
    assert!(log.append(b"xyz").is_err());
    let mut bytes = [0; 3];
    fs.open(Path::new("/c")).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"xyz");
}

#[test]
fn the_first_of_two_matching_rules_decides_and_both_count() {
    let (_, faults) = faults();
    let fs = faults.fs();
    faults.add(Rule::fail(EIO).on(Op::Create).nth(1));
    faults.add(Rule::fail(ENOSPC).on(Op::Create).nth(2));
    let create = |path: &str| raw_os_error(&fs.create(Path::new(path)).unwrap_err());
    assert_eq!(create("/a"), Some(EIO));
    assert_eq!(create("/a"), Some(ENOSPC));
    fs.create(Path::new("/a")).map(drop).unwrap();
}
