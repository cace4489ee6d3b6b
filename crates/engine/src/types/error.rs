//! Errors, sorted by what the caller does next.

use crate::types::condition::Conflict;
use crate::types::position::Position;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tanada_format::Corruption;

/// Bytes.
const MIB: u64 = 1 << 20;

/// A `Result` of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong. Cheap to clone: all writers of a commit group get the same one.
///
/// An error from a write means that its outcome is *unknown* until the
/// database is opened again, unless the variant says that nothing was done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// Fix the call. Nothing was done.
    InvalidArgument(String),
    /// Another process holds the directory. Nothing was done.
    Locked {
        /// The database's directory.
        path: PathBuf,
        /// Its process id, where it could be read.
        pid: Option<u32>,
    },
    /// The directory holds files but no database. Nothing was done.
    NotADatabase {
        /// The directory.
        path: PathBuf,
        /// Why it was not taken for a database.
        why: String,
    },
    /// Something has this name already; choose another. Nothing was done.
    AlreadyExists {
        /// The name.
        path: PathBuf,
        /// What was to get it.
        why: String,
    },
    /// The database, or one file, was written by a newer version. Upgrade.
    Unsupported {
        /// The file.
        file: PathBuf,
        /// What is not known here.
        what: String,
    },
    /// Stored bytes are damaged. Restore the file, or repair into a new directory.
    Corruption(Corruption),
    /// A file that the manifest names is not there. Restore it, or repair into a new directory.
    MissingFile {
        /// The file.
        file: PathBuf,
    },
    /// The operating system refused; the text names the path.
    Io(Arc<io::Error>),
    /// Writes are refused, reads go on. The reason names the cure; nothing was done.
    ReadOnly {
        /// Why, and what to do.
        reason: String,
    },
    /// The memory budget has no room for this, and waiting for the background would not
    /// make any: cursors that do not move, values in use, or claims hold the rest. Reads
    /// of long values (above 1 MiB) meet it too. Nothing was done.
    MemoryFull {
        /// How much is needed and free, who holds the rest, and what to do.
        reason: String,
    },
    /// Conditions of the batch did not hold: read again and decide anew. Nothing was done.
    Conflict(Arc<Conflict>),
    /// Whether the conditions of the batch hold could not be found out, for this reason.
    /// Nothing was done.
    Undecided(Arc<Error>),
    /// An earlier write or sync of the log or manifest failed, so what is on disk
    /// is unknown. Close and open the database again.
    Poisoned {
        /// The first failure.
        reason: String,
    },
    /// The database has been closed. Nothing was done.
    Closed,
    /// This process was forked from the one that opened the database, and has none of
    /// its threads. Open it here, once that process has closed it. Nothing was done.
    Forked {
        /// The process that opened it.
        pid: u32,
    },
    /// The answer needs the disk, and the caller asked for what is in memory only.
    WouldBlock,
    /// The changes that were asked for are not all in the log any more, or never were in
    /// this one. Nothing was passed over: read the whole database at a snapshot, and follow
    /// from a position that was taken before it.
    WindowGone {
        /// Why they are not there.
        reason: String,
        /// The oldest place from which changes can be followed now.
        oldest: Position,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InvalidArgument(what) => f.write_str(what),
            Error::Locked { path, pid: Some(pid) } if *pid == std::process::id() => write!(
                f,
                "{} is open in this process already (process {pid}); use that handle, or close it first",
                path.display()
            ),
            Error::Locked { path, pid: Some(pid) } => write!(
                f,
                "{} is in use by process {pid}; stop it, or use its server with --url",
                path.display()
            ),
            Error::Locked { path, pid: None } => {
                write!(f, "{} is in use by another process; stop it first", path.display())
            }
            Error::NotADatabase { path, why } => write!(
                f,
                "{} is not a Tanada database ({why}); name another directory, or an empty one to create a database",
                path.display()
            ),
            Error::AlreadyExists { path, why } => {
                write!(f, "{} is taken ({why}); choose another name", path.display())
            }
            Error::Unsupported { file, what } => {
                write!(f, "{} needs a newer tanada: {what}", file.display())
            }
            Error::Corruption(c) => {
                write!(
                    f,
                    "{c}; restore this file from a copy, or save the rest with `tanada repair`; nothing was changed"
                )
            }
            Error::MissingFile { file } => write!(
                f,
                "{} is missing though the database needs it; restore it from a copy, or save the rest with `tanada repair`; nothing was changed",
                file.display()
            ),
            Error::Io(e) => e.fmt(f),
            Error::ReadOnly { reason } => write!(f, "the database is read-only: {reason}"),
            Error::MemoryFull { reason } => {
                write!(f, "the memory budget is full: {reason}; nothing was done")
            }
            Error::Conflict(conflict) => {
                write!(f, "{conflict}; nothing was done; read again and decide anew")
            }
            Error::Undecided(e) => {
                write!(f, "the conditions of the batch cannot be asked: {e}; nothing was done")
            }
            Error::Poisoned { reason } => write!(
                f,
                "the database stopped after a failed write and must be opened again: {reason}"
            ),
            Error::Closed => f.write_str("the database is closed"),
            Error::Forked { pid } => write!(
                f,
                "the database was opened by process {pid}, and this process was forked from it; a forked child must open the database itself, once process {pid} has closed it"
            ),
            Error::WouldBlock => f.write_str("the answer is not in memory"),
            Error::WindowGone { reason, oldest } => write!(
                f,
                "the changes from there on are not in the log: {reason}; read the whole database again, then follow its changes (the oldest position is {oldest})"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(e) => Some(e),
            Error::Corruption(c) => Some(c),
            Error::Undecided(e) => Some(e),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Error {
        Error::Io(Arc::new(e))
    }
}

impl From<Corruption> for Error {
    fn from(c: Corruption) -> Error {
        Error::Corruption(c)
    }
}

impl From<tanada_table::Error> for Error {
    fn from(e: tanada_table::Error) -> Error {
        match e {
            tanada_table::Error::Io(e) => Error::Io(e),
            tanada_table::Error::Corruption(c) => Error::Corruption(c),
            tanada_table::Error::Unsupported { file, what } => Error::Unsupported { file, what },
            tanada_table::Error::MemoryFull { needed, held, allowed } => Error::MemoryFull {
                reason: format!(
                    "{} MiB are needed to read a value, and values in use and jobs have {} of the {} MiB that blocks may take; drop values that are no longer needed, or give the database more memory",
                    needed.div_ceil(MIB),
                    held.div_ceil(MIB),
                    allowed / MIB
                ),
            },
            tanada_table::Error::WouldBlock => Error::WouldBlock,
        }
    }
}
