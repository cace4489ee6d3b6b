//! [`RealFileSystem`]: the names of the system's files.

use super::files::{RealReadFile, RealWriteFile};
use super::kept_dir::KeptDir;
use super::lock::RealLock;
use super::log::RealLog;
use crate::error::Naming;
use crate::file_system::{DirEntry, DirLock, FileSystem, LogFile, ReadFile, WriteFile};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The system's files.
#[derive(Debug, Default)]
pub struct RealFileSystem {
    synced_dir: KeptDir,
}

impl FileSystem for RealFileSystem {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(here(dir)).naming("create directory", dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir).naming("create directory", dir)
    }

    fn read_dir(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(here(dir)).naming("list", dir)? {
            let entry = entry.naming("list", dir)?;
            // A file that went away between listing and asking is not listed.
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata.naming("list", &entry.path())?,
            };
            let is_dir = metadata.is_dir();
            entries.push(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                len: if is_dir { 0 } else { metadata.len() },
                is_dir,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file =
            OpenOptions::new().write(true).create_new(true).open(path).naming("create", path)?;
        Ok(Box::new(RealWriteFile::new(file, path, 0)))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = OpenOptions::new().write(true).open(path).naming("open", path)?;
        let len = file.metadata().naming("open", path)?.len();
        Ok(Box::new(RealWriteFile::new(file, path, len)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        let file = open_to_read(path).naming("open", path)?;
        let metadata = file.metadata().naming("open", path)?;
        if metadata.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory)).naming("open", path);
        }
        Ok(Arc::new(RealReadFile::new(file, path, metadata.len())))
    }

    fn create_log(&self, path: &Path, capacity: u64) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(RealLog::create(path, capacity)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to).naming("rename", from)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path).naming("remove", path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir).naming("remove directory", dir)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to).naming("link", to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let open = self.synced_dir.open(here(dir));
        open.and_then(|file| file.sync_all()).naming("sync directory", dir)
    }

    fn sync_dir_once(&self, dir: &Path) -> io::Result<()> {
        let open = File::open(here(dir));
        open.and_then(|file| file.sync_all()).naming("sync directory", dir)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(here(path)).naming("look at", path)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(here(path)).naming("look at", path)?.len())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        Ok(Box::new(RealLock::take(path)?))
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(here(dir)).naming("ask the free space of", dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn descriptor_limit(&self) -> Option<u64> {
        super::descriptors::limit()
    }

    fn process(&self) -> crate::Process {
        super::fork::this_process()
    }
}

/// Opens a file for many small reads: none of them notes its time in the inode, which
/// would cost each some 2 %. The system allows that to the file's owner only.
#[cfg(target_os = "linux")]
fn open_to_read(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let quiet = rustix::fs::OFlags::NOATIME.bits() as i32;
    match OpenOptions::new().read(true).custom_flags(quiet).open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => File::open(path),
        opened => opened,
    }
}

#[cfg(not(target_os = "linux"))]
fn open_to_read(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// The parent of a bare name is the empty path; the system wants to hear ".".
fn here(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}
