//! What forked children and started programs may do to a lock: nothing.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types)]

mod house;

use house::{Side, alone, fork, in_a_child, is_alone, ran_alone};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tanada_vfs::{Env, LockHeld};

fn temp_dir(name: &str) -> PathBuf {
    let unique = Env::real().random_u64();
    let dir = std::env::temp_dir().join(format!("tanada-vfs-{name}-{unique:016x}"));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// The descriptors of this process that lead to `path`.
#[cfg(target_os = "linux")]
fn descriptors_of(path: &Path) -> Vec<RawFd> {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap);
    let leads_there =
        |fd: &std::fs::DirEntry| std::fs::read_link(fd.path()).is_ok_and(|to| to == path);
    let number = |fd: std::fs::DirEntry| fd.file_name().to_str().unwrap().parse().unwrap();
    fds.filter(leads_there).map(number).collect()
}

/// A copy of a descriptor of this process, as a child has it that another thread has
/// forked and that has not executed its program yet.
#[cfg(target_os = "linux")]
fn copy_of(fd: RawFd) -> std::os::fd::OwnedFd {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let this = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    pidfd_getfd(this, fd, PidfdGetfdFlags::empty()).unwrap()
}

/// Another thread starts a program while a lock is dropped: between fork and exec the
/// child has a copy of the lock's descriptor. Closing ours did not end the lock then, and
/// taking it again was refused with the pid of this very process (doltlite #1205,
/// leveldb #455).
#[cfg(target_os = "linux")]
#[test]
fn a_lock_ends_with_its_drop_though_copies_of_its_descriptor_live() {
    let dir = temp_dir("copies");
    let path = dir.join("LOCK");
    let fs = Env::real().fs;
    let lock = fs.lock(&path).unwrap();
    let [fd] = descriptors_of(&path)[..] else { panic!("one descriptor leads to the lock") };
    let copy = copy_of(fd);
    drop(lock);
    assert_eq!(descriptors_of(&path), [copy.as_raw_fd()], "only the copy is left");
    drop(fs.lock(&path).expect("the copy keeps no lock"));
    std::fs::remove_dir_all(dir).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_refused_taking_leaves_no_descriptor_and_the_lock_as_it_was() {
    let dir = temp_dir("refused");
    let path = dir.join("LOCK");
    let fs = Env::real().fs;
    let lock = fs.lock(&path).unwrap();
    for _ in 0..3 {
        assert_eq!(fs.lock(&path).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    assert_eq!(descriptors_of(&path).len(), 1, "refused takings leave no descriptor");
    drop(lock);
    drop(fs.lock(&path).unwrap());
    std::fs::remove_dir_all(dir).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn every_descriptor_is_closed_when_a_program_is_executed() {
    let dir = temp_dir("exec");
    let fs = Env::real().fs;
    let lock = fs.lock(&dir.join("LOCK")).unwrap();
    let log = fs.create_log(&dir.join("1.log"), 1 << 20).unwrap();
    let written = fs.create(&dir.join("1.sst")).unwrap();
    let read = fs.open(&dir.join("1.sst")).unwrap();
    let appended = fs.open_append(&dir.join("1.sst")).unwrap();
    fs.sync_dir(&dir).unwrap();
    let mut seen = 0;
    for fd in std::fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap) {
        let Ok(to) = std::fs::read_link(fd.path()) else { continue };
        if !to.starts_with(&dir) {
            continue;
        }
        let info = Path::new("/proc/self/fdinfo").join(fd.file_name());
        let info = std::fs::read_to_string(info).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
        let flags = u32::from_str_radix(flags, 8).unwrap();
        assert_ne!(flags & libc::O_CLOEXEC as u32, 0, "{} is inherited", to.display());
        seen += 1;
    }
    assert_eq!(seen, 6, "lock, log, three of a table, the directory");
    drop((lock, log, written, read, appended));
    std::fs::remove_dir_all(dir).unwrap();
}

/// A child has a copy of the lock that its parent holds. Unlocking is for all copies, so
/// a child that dropped its own would have let others into its parent's database.
#[test]
fn a_forked_child_that_drops_its_copy_of_a_lock_releases_nothing() {
    if ran_alone("a_forked_child_that_drops_its_copy_of_a_lock_releases_nothing") {
        return;
    }
    let dir = temp_dir("child-drops");
    let path = dir.join("LOCK");
    let fs = Env::real().fs;
    let lock = fs.lock(&path).unwrap();
    let told = match fork() {
        Side::Child(teller) => {
            // What is opened under the same number must not be closed by the drop.
            let other = std::fs::File::create(dir.join("other")).unwrap();
            drop(lock);
            let other_is_open = other.metadata().is_ok();
            let refused = fs.lock(&path).map(drop).unwrap_err();
            let pid = LockHeld::of(&refused).unwrap().pid.unwrap();
            teller.exit(&format!("{other_is_open} {pid}"))
        }
        Side::Parent(child) => child.told(),
    };
    assert_eq!(told, format!("true {}", std::process::id()));
    assert_eq!(fs.lock(&path).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(lock);
    // A child may lock for itself, and its lock ends with it like any other.
    let told = in_a_child(|| format!("{:?}", fs.lock(&path).map(std::mem::forget).is_ok()));
    assert_eq!(told, "true");
    drop(fs.lock(&path).unwrap());
    std::fs::remove_dir_all(dir).unwrap();
}

/// Ids come again, and a child has its parent's memory: what was marked in a process
/// must be strange to its children and theirs, and theirs to each other.
#[test]
fn a_process_is_told_from_its_children_and_theirs() {
    if ran_alone("a_process_is_told_from_its_children_and_theirs") {
        return;
    }
    let dir = temp_dir("marks");
    let fs = Env::real().fs;
    let lock = fs.lock(&dir.join("1")).unwrap();
    let ours = lock.process();
    let told = in_a_child(|| {
        let before = ours.is_this();
        let second = fs.lock(&dir.join("2")).unwrap();
        let theirs = second.process();
        let below = in_a_child(|| {
            let third = fs.lock(&dir.join("3")).unwrap();
            format!("{} {} {}", ours.is_this(), theirs.is_this(), third.process().is_this())
        });
        format!("{before} {} {} | {below}", ours.is_this(), theirs.is_this())
    });
    assert_eq!(told, "false false true | false false true");
    assert!(ours.is_this() && fs.lock(&dir.join("2")).unwrap().process().is_this());
    assert_eq!(ours.id(), std::process::id());
    std::fs::remove_dir_all(dir).unwrap();
}

/// A program forks workers and is killed; the workers live on. They kept its lock, and
/// the program could not be started again before the last of them ended.
#[test]
fn a_forked_child_does_not_keep_the_lock_of_a_parent_that_was_killed() {
    const DIR: &str = "TANADA_VFS_TEST_LOCKED_DIR";
    let fs = Env::real().fs;
    if is_alone() {
        let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
        let _lock = fs.lock(&dir.join("LOCK")).unwrap();
        match fork() {
            Side::Child(teller) => {
                println!("\nforked");
                // Until the test has seen what it wants to see.
                let _ = std::io::stdin().read(&mut [0]);
                teller.exit("")
            }
            Side::Parent(child) => drop(child.told()),
        }
        return;
    }
    let dir = temp_dir("killed");
    let mut parent = alone("a_forked_child_does_not_keep_the_lock_of_a_parent_that_was_killed")
        .env(DIR, &dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(parent.stdout.take().unwrap()).lines();
    assert!(told.by_ref().map_while(Result::ok).any(|line| line == "forked"));
    let path = dir.join("LOCK");
    let refused = fs.lock(&path).unwrap_err();
    assert_eq!(LockHeld::of(&refused).unwrap().pid, Some(parent.id()));
    // Else waiting would close it, and the child would end.
    let stdin = parent.stdin.take().unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    let lock = fs.lock(&path).expect("the child lives on and holds nothing");
    drop((lock, stdin));
    assert_eq!(told.map_while(Result::ok).count(), 0, "the child ended, at last");
    std::fs::remove_dir_all(dir).unwrap();
}
