//! Files written from front to back and files read at any offset.

use super::journal::Journal;
use crate::error::Naming;
use crate::file_system::{ReadFile, WriteFile};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// One system call an append: callers bring whole blocks.
#[derive(Debug)]
pub(super) struct RealWriteFile {
    file: File,
    path: PathBuf,
    /// Where the next append goes. Kept here and not by the kernel: after an
    /// append that failed half-way the next one overwrites the half.
    len: u64,
    /// Appends that end here cannot meet a full disk.
    reserved: u64,
}

impl RealWriteFile {
    pub(super) fn new(file: File, path: &Path, len: u64) -> RealWriteFile {
        RealWriteFile { file, path: path.to_path_buf(), len, reserved: 0 }
    }
}

impl WriteFile for RealWriteFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.len).naming("write to", &self.path)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn reserve(&mut self, len: u64) -> io::Result<()> {
        if len > self.reserved.max(self.len) {
            reserve_behind(&self.file, self.len, len - self.len)
                .naming("reserve space for", &self.path)?;
            self.reserved = len;
        }
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len).naming("truncate", &self.path)?;
        (self.len, self.reserved) = (len, 0);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        // fdatasync writes the length too, since reading the data needs it.
        let synced = self.file.sync_data().and_then(|()| match self.len {
            0 => Ok(()),
            _ => Journal::of(&self.file).ask(&self.file),
        });
        synced.naming("sync", &self.path)
    }

    fn len(&self) -> u64 {
        self.len
    }
}

/// Allocates bytes without making the file longer. ext4, XFS, btrfs and tmpfs do; NFS and
/// ZFS refuse, and overlayfs does what the file system below it does.
#[cfg(target_os = "linux")]
fn reserve_behind(file: &File, offset: u64, len: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    let keep_size = FallocateFlags::KEEP_SIZE;
    Ok(rustix::io::retry_on_intr(|| fallocate(file, keep_size, offset, len))?)
}

#[cfg(not(target_os = "linux"))]
fn reserve_behind(_file: &File, _offset: u64, _len: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[derive(Debug)]
pub(super) struct RealReadFile {
    file: File,
    path: PathBuf,
    len: u64,
}

impl RealReadFile {
    pub(super) fn new(file: File, path: &Path, len: u64) -> RealReadFile {
        RealReadFile { file, path: path.to_path_buf(), len }
    }

    #[cfg(target_os = "linux")]
    fn advise(&self, offset: u64, len: u64, advice: rustix::fs::Advice) {
        // A length of 0 would mean "to the end of the file".
        if let Some(len) = std::num::NonZeroU64::new(len) {
            // A hint: its failure changes nothing.
            let _ = rustix::fs::fadvise(&self.file, offset, Some(len), advice);
        }
    }
}

impl ReadFile for RealReadFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset).naming("read", &self.path)
    }

    fn len(&self) -> u64 {
        self.len
    }

    #[cfg(target_os = "linux")]
    fn read_ahead(&self, offset: u64, len: u64) {
        self.advise(offset, len, rustix::fs::Advice::WillNeed);
    }

    #[cfg(target_os = "linux")]
    fn forget(&self, offset: u64, len: u64) {
        self.advise(offset, len, rustix::fs::Advice::DontNeed);
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
