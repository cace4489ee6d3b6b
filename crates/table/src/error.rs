//! What can go wrong with one table.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tanada_format::Corruption;

/// An error of reading or writing a table. Cheap to clone, so that all who wait
/// for one read can hear of its failure.
#[derive(Clone, Debug)]
pub enum Error {
    /// The operating system refused. The path is in the error's text.
    Io(Arc<io::Error>),
    /// The bytes are not what was written.
    Corruption(Corruption),
    /// The file was written by a newer version, or uses a feature unknown here.
    Unsupported {
        /// The file.
        file: PathBuf,
        /// What is not known here.
        what: String,
    },
    /// There is no room for a long block, in bytes, and readers have not let go of theirs
    /// within a second.
    MemoryFull {
        /// What it takes.
        needed: u64,
        /// What other long blocks take.
        held: u64,
        /// What all blocks may take.
        allowed: u64,
    },
    /// The answer needs the disk, and the caller asked for what is in memory only.
    WouldBlock,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io(e) => e.fmt(f),
            Error::Corruption(c) => c.fmt(f),
            Error::Unsupported { file, what } => {
                write!(f, "{} needs a newer tanada: {what}", file.display())
            }
            Error::MemoryFull { needed, held, allowed } => write!(
                f,
                "reading a value takes {needed} bytes of memory, and others that are in use have {held} of the {allowed} that blocks may take"
            ),
            Error::WouldBlock => f.write_str("the answer is not in memory"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io(e) => Some(e),
            Error::Corruption(c) => Some(c),
            Error::Unsupported { .. } | Error::MemoryFull { .. } | Error::WouldBlock => None,
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
