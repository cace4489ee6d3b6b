//! `Keyspace`: a named set of keys of its own in a database.

mod read;
mod write;

use crate::api::handle::Handle;
use crate::background::compact::CompactSummary;
use crate::core::Core;
use crate::read::reading::Reading;
use crate::read::scan::Bounds;
use crate::read::view::KeyspaceState;
use crate::types::error::Result;
use crate::types::range::KeyRange;
use std::sync::Arc;

/// One keyspace (column family). Cheap to clone.
///
/// Keyspaces of a database share its log and its budget, and a [`Batch`] may
/// write to several at once; each has tables of its own.
#[derive(Clone)]
pub struct Keyspace {
    handle: Arc<Handle>,
    pub(crate) state: Arc<KeyspaceState>,
}

impl Keyspace {
    pub(crate) fn new(handle: Arc<Handle>, state: Arc<KeyspaceState>) -> Keyspace {
        Keyspace { handle, state }
    }

    #[cfg(test)]
    pub(crate) fn core(&self) -> &Arc<Core> {
        self.writer().expect("it was opened for writing")
    }

    /// What reads look at.
    #[inline]
    pub(crate) fn reading(&self) -> &Arc<Reading> {
        self.handle.reading()
    }

    /// The writing side.
    ///
    /// # Errors
    /// [`Error::ReadOnly`](crate::Error::ReadOnly) when it was opened for reading only.
    #[inline]
    pub(crate) fn writer(&self) -> Result<&Arc<Core>> {
        self.handle.writer()
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Its name; of the default keyspace `"default"`.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Writes this keyspace's MemTables to tables, durably.
    ///
    /// # Errors
    /// Why they could not be written; they stay in the log.
    pub fn flush(&self) -> Result<()> {
        self.writer()?.flush(Some(&self.state))
    }

    /// Merges all tables that hold keys of `range` down to the last level,
    /// MemTables first. Readers and writers go on.
    ///
    /// # Errors
    /// I/O or damage; inputs are left as they were.
    pub fn compact(&self, range: impl KeyRange) -> Result<CompactSummary> {
        self.writer()?.compact(&self.state, &Bounds::of(&range))
    }
}

impl std::fmt::Debug for Keyspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyspace").field("name", &self.state.name).finish_non_exhaustive()
    }
}
