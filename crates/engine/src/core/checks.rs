//! The conditions of a batch, as it keeps them until they are decided.
//!
//! They are no part of what the log holds: a batch is in the log when they held.

use crate::types::condition::Condition;
use std::sync::Arc;
use tanada_format::KeyspaceId;

/// What a condition takes beside its key and its versions, at most, until it is answered.
const CHECK_BYTES: u64 = 128;

/// The conditions of one batch, in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks {
    pub(crate) list: Vec<Check>,
    /// What they take in memory.
    pub(crate) bytes: u64,
    /// What the batch counts for when it is written.
    pub(crate) tally: Tally,
}

/// What a batch adds to the statistics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) puts: u64,
    pub(crate) deletes: u64,
    /// Bytes of keys and values.
    pub(crate) user_bytes: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) keyspace: KeyspaceId,
    pub(crate) key: Arc<[u8]>,
    pub(crate) condition: Condition,
}

impl Checks {
    pub(crate) fn add(&mut self, check: Check) {
        let versions = match &check.condition {
            Condition::VersionIn(versions) | Condition::VersionNotIn(versions) => versions.len(),
            Condition::Absent | Condition::Present | Condition::Version(_) => 0,
        };
        self.bytes += CHECK_BYTES + check.key.len() as u64 + 8 * versions as u64;
        self.list.push(check);
    }
}
