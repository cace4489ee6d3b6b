//! What jobs may touch.

use crate::tree::version::TableStore;
use crate::types::error::Result;
use tanada_format::{Level, TableId};
use tanada_table::TableOptions;
use tanada_vfs::Threads;

/// What a job needs of the world.
pub(crate) struct JobIo<'a> {
    /// Where tables live.
    pub(crate) files: &'a TableStore,
    /// How the table with this id, in this level, is to be built.
    pub(crate) table_options: &'a (dyn Fn(TableId, Level) -> TableOptions + Sync),
    /// An unused number of the table counter; may have to reserve more in the manifest.
    pub(crate) next_id: &'a (dyn Fn() -> Result<TableId> + Sync),
    /// Whether the job should give up, with [`crate::Error::Closed`].
    pub(crate) should_stop: &'a (dyn Fn() -> bool + Sync),
    /// Called after each MiB or so of entries, so that more urgent work, or a
    /// limit of the rate, can hold the job up.
    pub(crate) yield_point: &'a (dyn Fn(u64) + Sync),
    /// Where parts of a job that someone waits for run at once.
    pub(crate) threads: &'a dyn Threads,
}
