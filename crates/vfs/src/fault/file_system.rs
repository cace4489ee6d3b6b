//! The trait over another file system, each call met first.

use super::files::{FaultLog, FaultReader, FaultWriter};
use super::{Op, Shared};
use crate::file_system::{DirEntry, DirLock, FileSystem, LogFile, ReadFile, WriteFile};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct FaultFileSystem(pub(super) Arc<Shared>);

impl FaultFileSystem {
    fn writer(&self, path: &Path, inner: Box<dyn WriteFile>) -> Box<dyn WriteFile> {
        Box::new(FaultWriter::new(self.0.clone(), path, inner))
    }
}

impl FileSystem for FaultFileSystem {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.run(Op::CreateDirAll, dir, |fs| fs.create_dir_all(dir))
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.run(Op::CreateDir, dir, |fs| fs.create_dir(dir))
    }

    fn read_dir(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.run(Op::ReadDir, dir, |fs| fs.read_dir(dir))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = self.0.run(Op::Create, path, |fs| fs.create(path))?;
        Ok(self.writer(path, file))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        let file = self.0.run(Op::OpenAppend, path, |fs| fs.open_append(path))?;
        Ok(self.writer(path, file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        let file = self.0.run(Op::Open, path, |fs| fs.open(path))?;
        Ok(Arc::new(FaultReader::new(self.0.clone(), file)))
    }

    fn create_log(&self, path: &Path, capacity: u64) -> io::Result<Box<dyn LogFile>> {
        let log = self.0.run(Op::CreateLog, path, |fs| fs.create_log(path, capacity))?;
        Ok(Box::new(FaultLog::new(self.0.clone(), path, log)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.run(Op::Rename, to, |fs| fs.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.run(Op::Remove, path, |fs| fs.remove(path))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.run(Op::RemoveDir, dir, |fs| fs.remove_dir(dir))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.run(Op::HardLink, to, |fs| fs.hard_link(from, to))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.run_dir_sync(dir, |fs| fs.sync_dir(dir))
    }

    fn sync_dir_once(&self, dir: &Path) -> io::Result<()> {
        self.0.run_dir_sync(dir, |fs| fs.sync_dir_once(dir))
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.0.run(Op::Canonical, path, |fs| fs.canonical(path))
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.0.run(Op::Len, path, |fs| fs.len(path))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.0.run(Op::Lock, path, |fs| fs.lock(path))
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        self.0.run(Op::FreeSpace, dir, |fs| fs.free_space(dir))
    }

    fn descriptor_limit(&self) -> Option<u64> {
        self.0.inner.descriptor_limit()
    }

    fn process(&self) -> crate::Process {
        self.0.inner.process()
    }
}
