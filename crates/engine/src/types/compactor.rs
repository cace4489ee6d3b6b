//! Compactions that are carried out elsewhere.

use crate::types::error::Result;
use std::fmt::Debug;

/// Who carries out compactions for a database: another process or another machine.
///
/// A compaction is data: which tables are merged, who reads at which moment, what time it
/// is, how tables are built and which ids they get. So [`run_compaction`](crate::run_compaction)
/// does anywhere, from these bytes and the tables that they name, what the database would
/// do itself, and writes the same tables byte for byte. The database alone decides what is
/// merged, and puts the outcome in its place; before that it checks that no entry is
/// unaccounted for, that no table reaches beyond the job, and that each file is the one
/// that is told of.
pub trait Compactor: Debug + Send + Sync {
    /// Carries out `job`, and answers its outcome, as
    /// [`run_compaction`](crate::run_compaction) does. All tables that come out of it are in
    /// the database's directory then, their contents durable. Their names the database makes
    /// durable itself, and nobody else may sync its directory: a sync that fails gives up
    /// names of others, of which the database would not hear. `None`: nobody takes it, and
    /// the database does it itself, under other ids.
    ///
    /// Once this has returned, whatever it returns, nothing may be written any more under the
    /// job's ids: the database removes what has one of them and is not told of.
    ///
    /// The calling thread is one of those that compact; with few threads nothing else is
    /// compacted meanwhile, and closing the database waits for this to return. So it is to
    /// give up in time, and to answer `None` or an error then. It must not panic.
    ///
    /// # Errors
    /// Any: it is counted in [`OffloadedStats`](crate::OffloadedStats), and the database does
    /// the job itself.
    fn compact(&self, job: &[u8]) -> Result<Option<Vec<u8>>>;
}
