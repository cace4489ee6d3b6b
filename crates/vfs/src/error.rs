//! What an `io::Error` of ours carries: the path and the operation, over the
//! error of the system.
//!
//! The kind of the outer error is the kind of the inner one, so callers match
//! on `kind()` as usual; `raw_os_error()` of a wrapped error is `None`, which
//! is why [`raw_os_error`] is here.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// An operation on a path failed.
#[derive(Debug)]
pub struct PathError {
    /// What was tried, as in "cannot {op} {path}".
    pub op: &'static str,
    /// What it was tried on.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl PathError {
    /// Wraps `source` into an error of the same kind that names `path`.
    pub fn wrap(op: &'static str, path: impl Into<PathBuf>, source: io::Error) -> io::Error {
        io::Error::new(source.kind(), PathError { op, path: path.into(), source })
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.op, self.path.display(), self.source)
    }
}

impl Error for PathError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// A lock is in other hands. Carried by the `WouldBlock` error of
/// [`FileSystem::lock`](crate::FileSystem::lock).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHeld {
    /// The lock file.
    pub path: PathBuf,
    /// The process that holds it; `None` when the file does not say.
    pub pid: Option<u32>,
}

impl LockHeld {
    /// What `error` says of the holder, when it is a refused lock.
    pub fn of(error: &io::Error) -> Option<&LockHeld> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<LockHeld> for io::Error {
    fn from(held: LockHeld) -> io::Error {
        io::Error::new(io::ErrorKind::WouldBlock, held)
    }
}

impl fmt::Display for LockHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot lock {}: ", self.path.display())?;
        match self.pid {
            Some(pid) if pid == std::process::id() => {
                write!(f, "this process (pid {pid}) holds it already")
            }
            Some(pid) => write!(f, "process {pid} holds it"),
            None => write!(f, "another process holds it"),
        }
    }
}

impl Error for LockHeld {}

/// There is no file descriptor left, and none could be made free. Says how many are
/// needed.
#[derive(Debug)]
pub struct NoDescriptor {
    /// How many the process may have; `None` where nobody knows, or none can say.
    pub limit: Option<u64>,
    /// How many whoever asked needs in all.
    pub needed: u64,
    /// What the system said.
    pub source: io::Error,
}

impl NoDescriptor {
    /// Wraps `source` into an error of the same kind that says what is needed.
    pub fn wrap(limit: Option<u64>, needed: u64, source: io::Error) -> io::Error {
        io::Error::new(source.kind(), NoDescriptor { limit, needed, source })
    }
}

impl fmt::Display for NoDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoDescriptor { limit, needed, source } = self;
        if raw_os_error(source) == Some(rustix::io::Errno::NFILE.raw_os_error()) {
            return write!(f, "{source}: all processes together have as many as the system allows");
        }
        write!(f, "{source}; a database needs {needed} open files")?;
        match limit {
            Some(limit) if limit < needed => write!(f, ", and this process may have {limit}")?,
            Some(limit) => write!(
                f,
                ", this process may have {limit}, and others of its files have taken the rest"
            )?,
            None => {}
        }
        f.write_str(": raise its limit (RLIMIT_NOFILE)")
    }
}

impl Error for NoDescriptor {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// The system's error number, through our wrapping.
pub fn raw_os_error(error: &io::Error) -> Option<i32> {
    if let Some(raw) = error.raw_os_error() {
        return Some(raw);
    }
    let inner = error.get_ref()?;
    let source = match inner.downcast_ref::<NoDescriptor>() {
        Some(NoDescriptor { source, .. }) => source,
        None => &inner.downcast_ref::<PathError>()?.source,
    };
    raw_os_error(source)
}

/// Whether the process, or the system, has no file descriptor left.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let raw = raw_os_error(error);
    raw == Some(Errno::MFILE.raw_os_error()) || raw == Some(Errno::NFILE.raw_os_error())
}

/// Whether the disk, or the user's share of it, is full.
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the file system does not know how to do what was asked.
pub fn is_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let refusals = [Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL, Errno::NODEV, Errno::PERM];
    error.kind() == io::ErrorKind::Unsupported
        || raw_os_error(error).is_some_and(|raw| refusals.iter().any(|e| e.raw_os_error() == raw))
}

/// Whether a hard link was refused for what the two places are, so that a copy of the
/// file can do instead: they lie on two file systems, the file has as many names as it may
/// have, the file system knows no links, or this user may not make one.
pub fn cannot_link(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let refusals = [Errno::XDEV, Errno::MLINK, Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS];
    raw_os_error(error).is_some_and(|raw| refusals.iter().any(|e| e.raw_os_error() == raw))
}

/// Wraps the errors of one operation on one path.
pub(crate) trait Naming<T> {
    /// The same result; an error names `op` and `path`.
    fn naming(self, op: &'static str, path: &Path) -> io::Result<T>;
}

impl<T, E: Into<io::Error>> Naming<T> for Result<T, E> {
    fn naming(self, op: &'static str, path: &Path) -> io::Result<T> {
        self.map_err(|error| PathError::wrap(op, path, error.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_error_keeps_kind_number_path_and_source() {
        let full = io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        let error = PathError::wrap("append to", "/d/000001.log", full);
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert!(is_disk_full(&error));
        assert_eq!(raw_os_error(&error), Some(rustix::io::Errno::NOSPC.raw_os_error()));
        let twice = PathError::wrap("flush to", "/d/000002.table", error);
        assert_eq!(raw_os_error(&twice), Some(rustix::io::Errno::NOSPC.raw_os_error()));
        assert!(twice.to_string().starts_with("cannot flush to /d/000002.table: cannot append to"));
    }

    #[test]
    fn an_error_for_want_of_descriptors_says_how_many_are_needed() {
        let emfile = || io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        let refused = || PathError::wrap("open", "/d/000001.sst", emfile());
        let few = NoDescriptor::wrap(Some(20), 40, refused());
        assert!(is_out_of_descriptors(&few) && is_out_of_descriptors(&refused()));
        let told = few.to_string();
        assert!(told.contains("/d/000001.sst"), "{told}");
        assert!(told.contains("needs 40 open files, and this process may have 20"), "{told}");
        let taken = NoDescriptor::wrap(Some(100), 40, refused()).to_string();
        assert!(taken.contains("others of its files have taken the rest"), "{taken}");
        assert!(!is_out_of_descriptors(&io::Error::from(io::ErrorKind::NotFound)));
    }

    #[test]
    fn a_link_that_cannot_be_is_told_from_a_failing_disk() {
        use rustix::io::Errno;
        let refused = |errno: Errno| {
            let error = io::Error::from_raw_os_error(errno.raw_os_error());
            cannot_link(&PathError::wrap("link", "/d/000001.sst", error))
        };
        let places = [Errno::XDEV, Errno::MLINK, Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS];
        assert!(places.into_iter().all(refused));
        assert!(![Errno::IO, Errno::NOSPC, Errno::ROFS, Errno::NOENT].into_iter().any(refused));
    }

    #[test]
    fn an_error_without_a_number_has_none() {
        assert_eq!(raw_os_error(&io::Error::from(io::ErrorKind::NotFound)), None);
        assert!(!is_disk_full(&io::Error::from(io::ErrorKind::NotFound)));
    }
}
