//! A directory's lock: `flock` on a file that holds the pid of the holder.
//!
//! The kernel releases it when the process ends, however it ends; a pid left
//! behind in the file is read only while someone holds the lock. `flock`
//! belongs to the open file, not to the process, so a second lock in one
//! process is refused like any other.
//!
//! The open file has more holders than this process as soon as another thread starts a
//! program: between fork and exec the child has a copy of every descriptor, and closing
//! ours ends the lock only when all copies are closed. So it is unlocked, which ends it
//! for all copies, and then closed. For the same reason a forked child must not unlock:
//! it would unlock its parent's. And it closes its copy at once, so that it does not
//! keep the lock of a parent that is killed.
//!
//! Why not `fcntl` locks, which a child does not inherit: a process loses them as soon
//! as any part of it closes any descriptor of the file, as a copy of the directory made
//! by the same program does.

use super::fork::{ClosedInChildren, this_process};
use crate::error::Naming;
use crate::file_system::DirLock;
use crate::{LockHeld, Process};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use tanada_format::planted;

#[derive(Debug)]
pub(super) struct RealLock {
    path: PathBuf,
    process: Process,
    /// Both are there until drop, which ends the first before it closes the second.
    in_children: Option<ClosedInChildren>,
    file: Option<File>,
}

impl RealLock {
    pub(super) fn take(path: &Path) -> io::Result<RealLock> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .naming("open lock file", path)?;
        let in_children = ClosedInChildren::new(&file);
        // From here on whatever fails unlocks on its way out: closing alone might not.
        let lock = RealLock {
            path: path.to_path_buf(),
            process: this_process(),
            in_children: Some(in_children),
            file: Some(file),
        };
        lock.lock()?;
        Ok(lock)
    }

    fn lock(&self) -> io::Result<()> {
        let (path, file) = (&self.path, self.file.as_ref().expect("there until drop"));
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockHeld { path: path.clone(), pid: holder(file) }.into());
            }
            Err(TryLockError::Error(error)) => return Err(error).naming("lock", path),
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0).naming("write pid to", path)?;
        file.write_all_at(pid.as_bytes(), 0).naming("write pid to", path)
    }
}

impl Drop for RealLock {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        if !self.process.is_this() {
            // The lock is the parent's, and the number no longer names this file: the
            // child closed it when it was forked.
            let _ = file.into_raw_fd();
            return;
        }
        if !planted!(lock_inherited_by_children) {
            // Should it fail, closing does what it can.
            let _ = file.unlock();
        }
        drop(self.in_children.take());
        drop(file);
    }
}

/// The pid in a lock file, when it holds one.
fn holder(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

impl DirLock for RealLock {
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn process(&self) -> Process {
        self.process
    }

    fn is_in_place(&self) -> io::Result<bool> {
        let locked = self.file.as_ref().expect("there until drop").metadata();
        let locked = locked.naming("look at", &self.path)?;
        match std::fs::metadata(&self.path) {
            Ok(named) => Ok((named.dev(), named.ino()) == (locked.dev(), locked.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).naming("look at", &self.path),
        }
    }
}
