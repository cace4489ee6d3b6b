//! A file system that changes nothing: every call that would is refused before it reaches
//! the one below.
//!
//! For who must not write, whatever else is wrong with it: files are read as they are, and
//! what others do to them shows.

use crate::{DirEntry, DirLock, FileSystem, LogFile, PathError, Process, ReadFile, WriteFile};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Another file system, as far as it is read.
#[derive(Clone, Debug)]
pub struct ReadOnly {
    fs: Arc<dyn FileSystem>,
    /// Said of a file that is not there.
    gone: &'static str,
}

impl ReadOnly {
    /// Reads from `fs`. `gone` is what may have become of a file that is opened and is not
    /// there, and what to do.
    pub fn over(fs: Arc<dyn FileSystem>, gone: &'static str) -> ReadOnly {
        ReadOnly { fs, gone }
    }

    fn refuse<T>(op: &'static str, path: &Path) -> io::Result<T> {
        let error = io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "opened for reading only");
        Err(PathError::wrap(op, path, error))
    }
}

impl FileSystem for ReadOnly {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        ReadOnly::refuse("create directory", dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        ReadOnly::refuse("create directory", dir)
    }

    fn read_dir(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.fs.read_dir(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        ReadOnly::refuse("create", path)
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn WriteFile>> {
        ReadOnly::refuse("append to", path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>> {
        self.fs.open(path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                let why = io::Error::new(io::ErrorKind::NotFound, self.gone);
                PathError::wrap("open", path, why)
            }
            _ => e,
        })
    }

    fn create_log(&self, path: &Path, _capacity: u64) -> io::Result<Box<dyn LogFile>> {
        ReadOnly::refuse("create", path)
    }

    fn rename(&self, from: &Path, _to: &Path) -> io::Result<()> {
        ReadOnly::refuse("rename", from)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        ReadOnly::refuse("remove", path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        ReadOnly::refuse("remove directory", dir)
    }

    fn hard_link(&self, from: &Path, _to: &Path) -> io::Result<()> {
        ReadOnly::refuse("link", from)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        ReadOnly::refuse("sync directory", dir)
    }

    fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.fs.canonical(path)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        self.fs.len(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        // It would create the file where it is not there.
        ReadOnly::refuse("lock", path)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        self.fs.free_space(dir)
    }

    fn descriptor_limit(&self) -> Option<u64> {
        self.fs.descriptor_limit()
    }

    fn process(&self) -> Process {
        self.fs.process()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryMachine;

    #[test]
    fn files_are_read_and_every_change_is_refused_by_name() {
        let machine = MemoryMachine::new(1);
        let below = machine.env().fs;
        let (dir, file) = (Path::new("/d"), Path::new("/d/f"));
        below.create_dir_all(dir).unwrap();
        below.create(file).unwrap().append(b"bytes").unwrap();
        let names = |fs: &dyn FileSystem| fs.read_dir(dir).unwrap();
        let before = names(&*below);
        let fs = ReadOnly::over(Arc::clone(&below), "somebody took it; look again");
        let other = Path::new("/d/g");
        let refused = [
            fs.create_dir_all(other),
            fs.create_dir(other),
            fs.create(other).map(drop),
            fs.open_append(file).map(drop),
            fs.create_log(other, 4096).map(drop),
            fs.rename(file, other),
            fs.remove(file),
            fs.remove_dir(dir),
            fs.hard_link(file, other),
            fs.sync_dir(dir),
            fs.sync_dir_once(dir),
            fs.lock(other).map(drop),
        ];
        for refused in refused {
            let e = refused.unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::ReadOnlyFilesystem);
            assert!(e.to_string().contains("/d"), "{e}");
        }
        assert_eq!((names(&fs), names(&*below)), (before.clone(), before));
        let mut bytes = [0; 5];
        fs.open(file).unwrap().read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"bytes");
        let gone = fs.open(other).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        assert!(gone.to_string().contains("/d/g") && gone.to_string().contains("look again"));
    }
}
