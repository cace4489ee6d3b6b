//! A directory's lock: `flock` on a file that holds the pid of the holder.
//!
//! The kernel releases it when the process ends, however it ends; a pid left
//! behind in the file is read only while someone holds the lock. `flock`
//! belongs to the open file, not to the process, so a second lock in one
//! process is refused like any other.

use crate::LockHeld;
use crate::error::Naming;
use crate::file_system::DirLock;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct RealLock {
    path: PathBuf,
    /// Holds the lock while open.
    _file: File,
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
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockHeld { path: path.to_path_buf(), pid: holder(&file) }.into());
            }
            Err(TryLockError::Error(error)) => return Err(error).naming("lock", path),
        }
        let pid = format!("{}\n", std::process::id());
        file.set_len(0).naming("write pid to", path)?;
        file.write_all_at(pid.as_bytes(), 0).naming("write pid to", path)?;
        Ok(RealLock { path: path.to_path_buf(), _file: file })
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
}
