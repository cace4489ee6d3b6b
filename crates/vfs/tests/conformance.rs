//! What every file system must do alike: the real one, the one in memory, and
//! the failing one over each, as long as it is told nothing.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "house/skip.rs"]
mod skip;

use skip::skip;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use tanada_vfs::fault::Faults;
use tanada_vfs::{
    DescriptorBound, DirEntry, Env, FileSystem, LockHeld, OpenFiles, ReadFile, raw_os_error,
};

/// A name and a check in an empty directory.
type Check = (&'static str, fn(&dyn FileSystem, &Path));

const CHECKS: &[Check] = &[
    ("appended bytes are read back at any offset", appended_bytes_are_read_back),
    ("reading past the end fails and names the file", reading_past_the_end_fails),
    ("a name can be created once", a_name_can_be_created_once),
    ("open_append goes on behind the end", open_append_goes_on),
    ("what is reserved and cut off is not read", reserved_and_cut_off),
    ("a listing is sorted and says what is what", a_listing_is_sorted),
    ("directories are made with those above, once or twice", directories_are_made),
    ("a directory is created once, and removed when it is empty", a_directory_is_created_once),
    ("a directory is renamed with all it holds, over an empty one at most", directories_move),
    ("a path has one absolute form", a_path_has_one_absolute_form),
    ("rename replaces its target", rename_replaces),
    ("a removed file is gone but stays readable where it is open", remove_keeps_open_files),
    ("a link is a second name for the same bytes", a_link_is_a_second_name),
    ("what is missing is NotFound by every call, with its path", missing_is_not_found),
    ("what is a directory is not a file, and the reverse", directories_are_not_files),
    ("a log reads as zeros behind what was appended", a_log_is_zeros_behind),
    ("a log takes its capacity and no byte more", a_log_takes_its_capacity),
    ("a log is synced from another thread while it grows", a_log_is_synced_elsewhere),
    ("a lock is held once, names its holder, and ends with its handle", a_lock_is_held_once),
    ("a lock goes with its file, not with its path", a_lock_goes_with_its_file),
    ("free space is known", free_space_is_known),
    ("exists tells files and directories from nothing", exists_tells),
    ("many threads read one file", many_threads_read),
    ("empty appends and reads are nothing", empty_is_nothing),
];

fn run(env: &Env, root: &Path) {
    for (index, (name, check)) in CHECKS.iter().enumerate() {
        println!("{name}");
        let dir = root.join(index.to_string());
        env.fs.create_dir_all(&dir).unwrap();
        check(&*env.fs, &dir);
    }
}

#[test]
fn the_real_file_system_conforms() {
    let dir = tempfile::tempdir().unwrap();
    run(&Env::real(), dir.path());
}

#[test]
fn the_real_file_system_conforms_on_tmpfs() {
    let shm = Path::new("/dev/shm");
    if !shm.is_dir() {
        return skip("no /dev/shm here, so no tmpfs");
    }
    let dir = tempfile::tempdir_in(shm).unwrap();
    run(&Env::real(), dir.path());
}

#[test]
fn the_file_system_in_memory_conforms() {
    run(&Env::memory(1), Path::new("/checks"));
    run(&Env::memory(1), Path::new("relative/checks"));
}

#[test]
fn the_failing_file_system_without_rules_conforms_over_both() {
    let dir = tempfile::tempdir().unwrap();
    for (env, root) in [(Env::real(), dir.path()), (Env::memory(1), Path::new("/checks"))] {
        let faults = Faults::over(env.fs.clone());
        run(&faults.env(&env), root);
        assert!(faults.calls() > faults.changes() && faults.changes() > 100);
    }
}

#[test]
fn the_file_system_with_few_descriptors_conforms_over_both() {
    let dir = tempfile::tempdir().unwrap();
    let bound = DescriptorBound { most: 1, needed: 1 };
    for (env, root) in [(Env::real(), dir.path()), (Env::memory(1), Path::new("/checks"))] {
        let fs = Arc::new(OpenFiles::over(env.fs.clone(), bound));
        run(&Env { fs, ..env }, root);
    }
}

fn write(fs: &dyn FileSystem, path: &Path, bytes: &[u8]) {
    let mut file = fs.create(path).unwrap();
    file.append(bytes).unwrap();
    file.sync().unwrap();
}

fn read(fs: &dyn FileSystem, path: &Path) -> Vec<u8> {
    let file = fs.open(path).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn appended_bytes_are_read_back(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("a");
    let mut file = fs.create(&path).unwrap();
    assert!(file.is_empty());
    let expected: Vec<u8> = (0..20_000u32).map(|n| (n % 251) as u8).collect();
    for piece in expected.chunks(777) {
        file.append(piece).unwrap();
    }
    assert_eq!(file.len(), 20_000);
    assert_eq!(fs.len(&path).unwrap(), 20_000);
    assert_eq!(read(fs, &path), expected, "unsynced bytes are visible");
    file.sync().unwrap();
    let reader = fs.open(&path).unwrap();
    assert_eq!(reader.path(), path);
    for (offset, len) in [(0, 1), (4095, 2), (511, 9000), (19_999, 1)] {
        let mut buf = vec![0; len];
        reader.read_exact_at(&mut buf, offset as u64).unwrap();
        assert_eq!(buf, expected[offset..offset + len]);
    }
    reader.read_ahead(0, 20_000);
    reader.forget(0, 20_000);
    reader.forget(0, 0);
    assert_eq!(read(fs, &path), expected);
}

fn reading_past_the_end_fails(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("short");
    write(fs, &path, b"0123456789");
    let reader = fs.open(&path).unwrap();
    for (len, offset) in [(11, 0), (1, 10), (5, 8), (1, 1 << 40)] {
        let error = reader.read_exact_at(&mut vec![0; len], offset).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert!(error.to_string().contains("short"), "{error}");
    }
}

fn a_name_can_be_created_once(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("once");
    write(fs, &path, b"first");
    assert_eq!(fs.create(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs.create_log(&path, 4096).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(read(fs, &path), b"first", "the refused call changed nothing");
}

fn open_append_goes_on(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("log");
    write(fs, &path, b"one ");
    let mut file = fs.open_append(&path).unwrap();
    assert_eq!(file.len(), 4);
    file.append(b"two").unwrap();
    assert_eq!(file.len(), 7);
    file.sync().unwrap();
    assert_eq!(read(fs, &path), b"one two");
}

fn reserved_and_cut_off(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("manifest");
    let mut file = fs.create(&path).unwrap();
    file.append(b"one ").unwrap();
    match file.reserve(64 << 10) {
        Ok(()) => {}
        // Some file systems do not know how.
        Err(e) => assert!(tanada_vfs::is_unsupported(&e), "{e}"),
    }
    assert_eq!((file.len(), fs.len(&path).unwrap()), (4, 4));
    file.append(&[7; 10_000]).unwrap();
    file.truncate(4).unwrap();
    assert_eq!((file.len(), fs.len(&path).unwrap()), (4, 4));
    file.append(b"two").unwrap();
    file.sync().unwrap();
    assert_eq!(read(fs, &path), b"one two");
    // Longer than before: what was cut off does not come back.
    file.truncate(3).unwrap();
    file.append(&[0; 6_000]).unwrap();
    let mut expected = b"one".to_vec();
    expected.resize(6_003, 0);
    assert_eq!(read(fs, &path), expected);
}

fn a_listing_is_sorted(fs: &dyn FileSystem, dir: &Path) {
    for name in ["b", "a", "c.table", "B"] {
        write(fs, &dir.join(name), name.as_bytes());
    }
    fs.create_dir_all(&dir.join("aa")).unwrap();
    let entry = |name: &str, len, is_dir| DirEntry { name: name.to_owned(), len, is_dir };
    assert_eq!(
        fs.read_dir(dir).unwrap(),
        [
            entry("B", 1, false),
            entry("a", 1, false),
            entry("aa", 0, true),
            entry("b", 1, false),
            entry("c.table", 7, false),
        ]
    );
}

fn directories_are_made(fs: &dyn FileSystem, dir: &Path) {
    let deep = dir.join("x/y/z");
    fs.create_dir_all(&deep).unwrap();
    fs.create_dir_all(&deep).unwrap();
    assert_eq!(fs.read_dir(&deep).unwrap(), []);
    fs.sync_dir(&deep).unwrap();
    fs.sync_dir(dir).unwrap();
    write(fs, &dir.join("file"), b"");
    assert!(fs.create_dir_all(&dir.join("file")).is_err());
}

fn rename_replaces(fs: &dyn FileSystem, dir: &Path) {
    let (new, old) = (dir.join("new"), dir.join("old"));
    write(fs, &new, b"new");
    write(fs, &old, b"old");
    let opened = fs.open(&old).unwrap();
    fs.rename(&new, &old).unwrap();
    assert_eq!(read(fs, &old), b"new");
    assert!(!fs.exists(&new).unwrap());
    let mut buf = [0; 3];
    opened.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"old", "an open file outlives its name");
    fs.rename(&old, &old).unwrap();
    fs.create_dir_all(&dir.join("below")).unwrap();
    fs.rename(&old, &dir.join("below/moved")).unwrap();
    assert_eq!(read(fs, &dir.join("below/moved")), b"new");
}

fn remove_keeps_open_files(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("doomed");
    write(fs, &path, b"still here");
    let opened = fs.open(&path).unwrap();
    let mut appender = fs.open_append(&path).unwrap();
    fs.remove(&path).unwrap();
    assert!(!fs.exists(&path).unwrap());
    appender.append(b"!").unwrap();
    appender.sync().unwrap();
    let mut buf = [0; 11];
    opened.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"still here!");
    write(fs, &path, b"another");
    assert_eq!(read(fs, &path), b"another");
}

fn a_directory_is_created_once(fs: &dyn FileSystem, dir: &Path) {
    let (below, file) = (dir.join("below"), dir.join("file"));
    fs.create_dir(&below).unwrap();
    assert_eq!(fs.create_dir(&below).unwrap_err().kind(), ErrorKind::AlreadyExists);
    write(fs, &file, b"");
    assert_eq!(fs.create_dir(&file).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(fs.create_dir(&file.join("under-a-file")).is_err());
    write(fs, &below.join("held"), b"");
    let held = fs.remove_dir(&below).unwrap_err();
    assert_eq!(held.kind(), ErrorKind::DirectoryNotEmpty, "{held}");
    fs.remove(&below.join("held")).unwrap();
    assert!(fs.remove_dir(&file).is_err());
    fs.remove_dir(&below).unwrap();
    assert!(!fs.exists(&below).unwrap());
    fs.create_dir(&below).unwrap();
    fs.sync_dir_once(&below).unwrap();
    fs.sync_dir_once(dir).unwrap();
}

fn directories_move(fs: &dyn FileSystem, dir: &Path) {
    let (from, to, other) = (dir.join("from"), dir.join("to"), dir.join("other"));
    fs.create_dir(&from).unwrap();
    write(fs, &from.join("held"), b"bytes");
    fs.create_dir(&to).unwrap();
    fs.rename(&from, &to).unwrap();
    assert!(!fs.exists(&from).unwrap());
    assert_eq!(read(fs, &to.join("held")), b"bytes");
    fs.create_dir(&other).unwrap();
    let full = fs.rename(&other, &to).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::DirectoryNotEmpty, "{full}");
    write(fs, &dir.join("file"), b"");
    assert!(fs.rename(&other, &dir.join("file")).is_err());
}

fn a_path_has_one_absolute_form(fs: &dyn FileSystem, dir: &Path) {
    let below = dir.join("below");
    fs.create_dir(&below).unwrap();
    write(fs, &below.join("file"), b"");
    let form = fs.canonical(&below).unwrap();
    assert!(form.is_absolute());
    assert_eq!(fs.canonical(&dir.join("below/../below/.")).unwrap(), form);
    assert_eq!(fs.canonical(&below.join("file")).unwrap(), form.join("file"));
    assert_eq!(fs.canonical(dir).unwrap(), form.parent().unwrap());
}

fn a_link_is_a_second_name(fs: &dyn FileSystem, dir: &Path) {
    let (first, second) = (dir.join("first"), dir.join("second"));
    write(fs, &first, b"bytes");
    fs.hard_link(&first, &second).unwrap();
    assert_eq!(fs.hard_link(&first, &second).unwrap_err().kind(), ErrorKind::AlreadyExists);
    fs.rename(&first, &second).unwrap();
    assert!(fs.exists(&first).unwrap(), "a rename between two names of a file does nothing");
    fs.remove(&first).unwrap();
    assert_eq!(read(fs, &second), b"bytes");
}

fn missing_is_not_found(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("missing");
    let below = path.join("deeper");
    let outcomes = [
        fs.open(&path).map(drop),
        fs.open_append(&path).map(drop),
        fs.len(&path).map(drop),
        fs.remove(&path),
        fs.rename(&path, &dir.join("other")),
        fs.hard_link(&path, &dir.join("missing-other")),
        fs.read_dir(&path).map(drop),
        fs.create_dir(&below),
        fs.remove_dir(&path),
        fs.canonical(&path).map(drop),
        fs.sync_dir(&path),
        fs.sync_dir_once(&path),
        fs.free_space(&path).map(drop),
        fs.create(&below).map(drop),
        fs.create_log(&below, 1).map(drop),
        fs.lock(&below).map(drop),
    ];
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert_eq!(raw_os_error(&error), Some(2), "{error}");
        assert!(error.to_string().contains("missing"), "{error}");
    }
}

fn directories_are_not_files(fs: &dyn FileSystem, dir: &Path) {
    let (below, file) = (dir.join("below"), dir.join("file"));
    fs.create_dir_all(&below).unwrap();
    write(fs, &file, b"");
    assert!(fs.open(&below).is_err());
    assert!(fs.open_append(&below).is_err());
    assert!(fs.remove(&below).is_err());
    assert!(fs.rename(&file, &below).is_err());
    assert!(fs.read_dir(&file).is_err());
    assert!(fs.sync_dir(&file).is_err());
    assert!(fs.create(&file.join("under-a-file")).is_err());
    assert_eq!(fs.create(&below).unwrap_err().kind(), ErrorKind::AlreadyExists);
}

fn a_log_is_zeros_behind(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("000001.log");
    let capacity = (1 << 20) + 5000;
    let mut log = fs.create_log(&path, capacity).unwrap();
    assert_eq!((log.len(), log.capacity()), (0, capacity));
    let mut expected = Vec::new();
    for n in 1..=1000u32 {
        let record = vec![n as u8; 1 + (n as usize * 13) % 1900];
        log.append(&record).unwrap();
        expected.extend(record);
        if n % 250 == 0 {
            log.sync().unwrap();
        }
    }
    assert_eq!(log.len(), expected.len() as u64);
    expected.resize(capacity as usize, 0);
    assert!(read(fs, &path) == expected, "while it is open");
    drop(log);
    assert!(read(fs, &path) == expected, "after it was closed");
    assert_eq!(fs.len(&path).unwrap(), capacity);
}

fn a_log_takes_its_capacity(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("full.log");
    let mut log = fs.create_log(&path, 1000).unwrap();
    log.append(&[1; 990]).unwrap();
    let error = log.append(&[2; 11]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("full.log"), "{error}");
    assert_eq!(log.len(), 990);
    log.append(&[3; 10]).unwrap();
    assert_eq!(log.append(&[4]).unwrap_err().kind(), ErrorKind::InvalidInput);
    log.append(&[]).unwrap();
    log.sync().unwrap();
    assert_eq!(read(fs, &path), [[1; 990].as_slice(), &[3; 10]].concat());
    let mut none = fs.create_log(&dir.join("none.log"), 0).unwrap();
    assert_eq!(none.append(&[1]).unwrap_err().kind(), ErrorKind::InvalidInput);
}

fn a_log_is_synced_elsewhere(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("shared.log");
    let mut log = fs.create_log(&path, 1 << 20).unwrap();
    let syncer = log.syncer();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| (0..5).try_for_each(|_| syncer.sync()));
        for _ in 0..1000 {
            log.append(&[9; 1000]).unwrap();
        }
        other.join().unwrap().unwrap();
    });
    drop(log);
    syncer.sync().unwrap();
    assert!(read(fs, &path)[..1_000_000].iter().all(|b| *b == 9));
}

fn a_lock_is_held_once(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("LOCK");
    let lock = fs.lock(&path).unwrap();
    assert_eq!(lock.path(), path);
    assert!(lock.process().is_this() && lock.process().id() == std::process::id());
    let error = fs.lock(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    let pid = std::process::id();
    assert!(error.to_string().contains(&format!("pid {pid}")), "{error}");
    assert_eq!(LockHeld::of(&error), Some(&LockHeld { path: path.clone(), pid: Some(pid) }));
    let other = fs.lock(&dir.join("OTHER")).unwrap();
    drop(lock);
    let again = fs.lock(&path).unwrap();
    drop((other, again));
    assert!(fs.exists(&path).unwrap(), "the file stays");
}

fn a_lock_goes_with_its_file(fs: &dyn FileSystem, dir: &Path) {
    let (from, to) = (dir.join("from"), dir.join("to"));
    fs.create_dir(&from).unwrap();
    let first = fs.lock(&from.join("LOCK")).unwrap();
    assert!(first.is_in_place().unwrap());
    fs.rename(&from, &to).unwrap();
    assert!(!first.is_in_place().unwrap());
    assert_eq!(fs.lock(&to.join("LOCK")).unwrap_err().kind(), ErrorKind::WouldBlock);
    fs.create_dir(&from).unwrap();
    let second = fs.lock(&from.join("LOCK")).unwrap();
    assert!(second.is_in_place().unwrap() && !first.is_in_place().unwrap());
    drop(first);
    fs.lock(&to.join("LOCK")).unwrap();
}

fn free_space_is_known(fs: &dyn FileSystem, dir: &Path) {
    assert!(fs.free_space(dir).unwrap() > 1 << 20);
}

fn exists_tells(fs: &dyn FileSystem, dir: &Path) {
    assert!(fs.exists(dir).unwrap());
    assert!(!fs.exists(&dir.join("nothing")).unwrap());
    write(fs, &dir.join("something"), b"");
    assert!(fs.exists(&dir.join("something")).unwrap());
}

fn many_threads_read(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("shared");
    let expected: Vec<u8> = (0..100_000u32).map(|n| (n % 253) as u8).collect();
    write(fs, &path, &expected);
    let reader: Arc<dyn ReadFile> = fs.open(&path).unwrap();
    std::thread::scope(|scope| {
        for start in 0..4usize {
            let (reader, expected) = (reader.clone(), &expected);
            scope.spawn(move || {
                for offset in (start * 1000..90_000).step_by(4321) {
                    let mut buf = [0; 5000];
                    reader.read_exact_at(&mut buf, offset as u64).unwrap();
                    assert_eq!(buf, expected[offset..offset + 5000]);
                }
            });
        }
    });
}

fn empty_is_nothing(fs: &dyn FileSystem, dir: &Path) {
    let path = dir.join("empty");
    let mut file = fs.create(&path).unwrap();
    file.append(&[]).unwrap();
    file.sync().unwrap();
    let reader = fs.open(&path).unwrap();
    assert!(reader.is_empty() && file.is_empty());
    reader.read_exact_at(&mut [], 0).unwrap();
}
