//! Why a writer does not own the database, or not any more.

use crate::codec::{Unreadable, Unwritable};
use crate::ids::Epoch;
use crate::store::Failure;
use std::fmt;

/// Another writer has a higher epoch. Final: this one stops, and opens anew if it wants to
/// come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fenced {
    /// The epoch that this writer has.
    pub mine: Epoch,
    /// The epoch of who came after it, as far as it is known.
    pub by: Epoch,
    /// Where that one runs; empty when only its fence was seen.
    pub host: String,
}

impl fmt::Display for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = if self.host.is_empty() { "another server" } else { &self.host };
        write!(f, "fenced by {host}, epoch {} (this one had {})", self.by, self.mine)
    }
}

impl std::error::Error for Fenced {}

/// Why the chain could not be opened, changed or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// Another writer came after this one.
    Fenced(Fenced),
    /// The store did not answer, or refused.
    Store(Failure),
    /// An object is damaged, or was written by a newer version.
    Unreadable {
        /// Its full name.
        object: String,
        /// What is wrong with it.
        why: Unreadable,
    },
    /// An object does not fit into the chain: two writers had one epoch, or somebody changed
    /// objects by hand.
    Broken {
        /// Its full name.
        object: String,
        /// What does not fit.
        what: String,
    },
    /// The state is larger than its bounds.
    Unwritable(Unwritable),
    /// The prefix already has a database.
    InUse {
        /// Where its owner runs.
        host: String,
        /// When that one opened, milliseconds since 1970.
        since_ms: u64,
    },
    /// There is no database.
    Missing,
    /// There was one, and it was dropped: the prefix is never used again.
    Dropped,
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChainError::Fenced(fenced) => write!(f, "{fenced}"),
            ChainError::Store(failure) => write!(f, "{failure}"),
            ChainError::Unreadable { object, why } => write!(f, "{object} cannot be read: {why}"),
            ChainError::Broken { object, what } => {
                write!(f, "{object} does not fit into the chain: {what}")
            }
            ChainError::Unwritable(why) => write!(f, "{why}"),
            ChainError::InUse { host, since_ms } => {
                write!(f, "the prefix is in use by {host}, opened at {since_ms} ms since 1970")
            }
            ChainError::Missing => write!(f, "there is no database at this address"),
            ChainError::Dropped => {
                write!(f, "the database at this address was dropped; use another prefix")
            }
        }
    }
}

impl std::error::Error for ChainError {}

impl From<Failure> for ChainError {
    fn from(failure: Failure) -> ChainError {
        ChainError::Store(failure)
    }
}

impl From<Fenced> for ChainError {
    fn from(fenced: Fenced) -> ChainError {
        ChainError::Fenced(fenced)
    }
}

impl From<Unwritable> for ChainError {
    fn from(why: Unwritable) -> ChainError {
        ChainError::Unwritable(why)
    }
}
