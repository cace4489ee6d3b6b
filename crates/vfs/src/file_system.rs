//! Files and directories as the engine needs them: five traits.
//!
//! Every error carries the path (see each implementation): an `io::Error`
//! whose text does not say which file is of no use to a person.

use crate::Process;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without the directory.
    pub name: String,
    /// Size in bytes; 0 for a directory.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// A tree of files. Paths are whole paths.
///
/// Durability, for every implementation: bytes are durable after `sync` of
/// their file; a created, renamed or removed name is durable after `sync_dir`
/// of its directory.
pub trait FileSystem: Send + Sync + Debug + 'static {
    /// Creates a directory and those above it; no error when it is there.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Creates a directory below one that is there. `AlreadyExists` when the name is taken.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// The names in `dir`, sorted.
    fn read_dir(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// Creates a file for writing from its start. `AlreadyExists` when the name is taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;
    /// Opens a file for appending behind its present end.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn WriteFile>>;
    /// Opens a file for reading at any offset.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn ReadFile>>;
    /// Creates a log file with `capacity` bytes reserved, so that appending
    /// within the capacity cannot meet a full disk. `AlreadyExists` when the name is taken.
    fn create_log(&self, path: &Path, capacity: u64) -> io::Result<Box<dyn LogFile>>;
    /// Renames, replacing `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory that holds nothing.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// A second name for a file, on the same file system: where that cannot be, see
    /// [`cannot_link`](crate::cannot_link).
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in `dir` durable. The directory that was synced last may stay open,
    /// so that the next sync of it takes no descriptor.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// As [`FileSystem::sync_dir`], for a directory that is not the database's: nothing
    /// of it stays open, so its file system can be unmounted afterwards.
    fn sync_dir_once(&self, dir: &Path) -> io::Result<()> {
        self.sync_dir(dir)
    }
    /// The one absolute path of a file or directory that is there, without links.
    fn canonical(&self, path: &Path) -> io::Result<PathBuf>;
    /// Size of a file in bytes; `NotFound` when it is not there.
    fn len(&self, path: &Path) -> io::Result<u64>;
    /// Locks `path` (created when missing) for this process, or fails with
    /// `WouldBlock` and the holder's pid in the text. Released on drop, at once,
    /// whatever copies of the open file children have that other threads start; a
    /// forked child that drops its copy releases nothing.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>>;
    /// Bytes that may still be written below `dir`.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
    /// How many files this process may have open at once, right now: sockets and all
    /// else with a descriptor count too. `None`: nobody says.
    fn descriptor_limit(&self) -> Option<u64> {
        None
    }
    /// This process, as what is open here knows it: see [`DirLock::process`].
    fn process(&self) -> Process {
        Process::unforked()
    }
    /// Whether a path is there.
    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.len(path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// A file written from front to back.
pub trait WriteFile: Send + Debug {
    /// Appends all of `bytes`.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Reserves the bytes up to `len`, so that appends that end there cannot meet a full
    /// disk; the file's length stays. Does nothing where as much is reserved, or written.
    /// A failure for want of room changes nothing that can be read.
    ///
    /// `Unsupported` where the file system does not know how: there an append may meet a
    /// full disk, and some network file systems say so only at the sync.
    fn reserve(&mut self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Cuts off all that lies behind `len`, what a failed append has left among it; what
    /// was reserved there may go with it. Durable after the next sync.
    fn truncate(&mut self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Makes all appended bytes, and the file's length, durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Bytes appended, those before opening included.
    fn len(&self) -> u64;
    /// Whether nothing has been appended.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A file read at any offset, by many threads at once.
pub trait ReadFile: Send + Sync + Debug {
    /// Fills `buf` from `offset`; `UnexpectedEof` when the file ends first.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Size in bytes when it was opened.
    fn len(&self) -> u64;
    /// Whether it holds nothing.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Tells the kernel that this range will be read soon, in order. A hint.
    fn read_ahead(&self, _offset: u64, _len: u64) {}
    /// Tells the kernel that its copy of this range is not needed again. A hint.
    fn forget(&self, _offset: u64, _len: u64) {}
    /// The path it was opened by.
    fn path(&self) -> &Path;
}

/// A preallocated file that one writer fills from front to back.
///
/// Bytes beyond what was appended read as zero. What `append` returned for
/// survives the death of the process; what `sync` returned for survives a
/// power cut.
pub trait LogFile: Send + Debug {
    /// Appends `bytes`, which must fit into the capacity left.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes all appended bytes durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Brings what is reserved into memory ahead of the appends, so that none
    /// of them waits for its page. For a background thread: about 0.2 ms a MiB.
    /// Changes nothing that can be read, and nothing that a power cut leaves.
    fn warm(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// A handle by which another thread can make durable what has been appended
    /// when it is called, while this one goes on appending.
    fn syncer(&self) -> Arc<dyn LogSyncer>;
    /// Bytes appended.
    fn len(&self) -> u64;
    /// Whether nothing has been appended.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes reserved.
    fn capacity(&self) -> u64;
}

/// Makes a [`LogFile`] durable from another thread.
pub trait LogSyncer: Send + Sync + Debug {
    /// Makes durable all that was appended before the call. Callers sync one at a time: of two
    /// at once only one might report a failure.
    fn sync(&self) -> io::Result<()>;
}

/// Holds a directory for this process until dropped.
pub trait DirLock: Send + Sync + Debug {
    /// The locked path.
    fn path(&self) -> PathBuf;
    /// Who locked it.
    fn process(&self) -> Process;
    /// Whether its path still leads to the file that is locked: the directory may have been
    /// moved away between looking for the file and locking it.
    fn is_in_place(&self) -> io::Result<bool>;
}
