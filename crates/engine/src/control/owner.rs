//! Who opened the database, and whether a child forked from that process looks at it.
//!
//! A child has a copy of the parent's memory and none of its threads. A lock that one of
//! them held at the fork is never let go of there, a flush is waited for in vain, and
//! what the child writes to the log lands in its parent's. So everything that a caller
//! can reach asks here before it takes a lock or touches a file.

use crate::types::error::{Error, Result};
use tanada_format::planted;
use tanada_vfs::Process;

/// The process that opened the database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner(Process);

impl Owner {
    pub(crate) fn new(process: Process) -> Owner {
        Owner(process)
    }

    /// Whether a child looks, forked from the process that opened. Cost: one load.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        !self.0.is_this() && !planted!(fork_with_an_open_database)
    }

    /// An error in a forked child.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_forked() { Err(self.refusal()) } else { Ok(()) }
    }

    /// What a forked child is told.
    #[cold]
    pub(crate) fn refusal(&self) -> Error {
        Error::Forked { pid: self.0.id() }
    }
}
