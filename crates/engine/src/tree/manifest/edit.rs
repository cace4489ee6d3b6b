//! A change of the whole database, written to the manifest as one record.

use crate::control::belief::DurableTime;
use crate::tree::version::VersionEdit;
use std::fmt;
use tanada_format::{KeyspaceId, Lineage, LogId, LogPosition, SeqNo, TableId};

/// Which edit of a database's manifest, counted from 1. 0: none that was numbered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EditNumber(pub(crate) u64);

impl EditNumber {
    /// That of the edit behind this one.
    pub(crate) fn next(self) -> EditNumber {
        EditNumber(self.0 + 1)
    }
}

impl fmt::Display for EditNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// All or nothing: what changes together. A field that is `None` or empty stays as
/// it is; a number that is lower than what the manifest has changes nothing, so
/// that two jobs may read a growing number in one order and append in the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Its place among all edits of the database: one more than that of the edit before. Set
    /// by the manifest itself; a snapshot has the number of the last edit that is in it.
    pub(crate) number: Option<EditNumber>,
    /// Table ids from here on have never been used. Set by the manifest itself.
    pub(crate) next_table_id: Option<TableId>,
    /// Keyspace ids from here on have never been used. Follows from `created`;
    /// written so that a dropped keyspace's id stays used.
    pub(crate) next_keyspace_id: Option<KeyspaceId>,
    /// No write up to this number is handed out again. Follows from the tables' metas.
    pub(crate) last_seqno: Option<SeqNo>,
    /// The latest wall time acted upon, as versions before `time` note it, in
    /// milliseconds since 1970.
    pub(crate) clock_high_ms: Option<u64>,
    /// What is known of the time, in place of what was known.
    pub(crate) time: Option<DurableTime>,
    /// No write has had a number from here on; in place of what was known.
    pub(crate) seqno_ceiling: Option<SeqNo>,
    /// Whose sequence numbers they are, in place of what was known.
    pub(crate) lineage: Option<Lineage>,
    /// Recovery begins with this log; those before it are not needed.
    pub(crate) oldest_log: Option<LogId>,
    /// The log was synced up to here when the database was closed: should less of
    /// it be found, it was cut since.
    pub(crate) log_synced: Option<LogPosition>,
    /// New keyspaces.
    pub(crate) created: Vec<CreatedKeyspace>,
    /// Keyspaces that stay.
    pub(crate) changed: Vec<ChangedKeyspace>,
    /// Keyspaces that go, with all their tables.
    pub(crate) dropped: Vec<KeyspaceId>,
}

/// A new keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CreatedKeyspace {
    /// Never used before.
    pub(crate) id: KeyspaceId,
    /// 1 to 255 bytes; no two keyspaces share one.
    pub(crate) name: String,
    /// Its options, in bytes that the manifest does not look into; at most 64 KiB.
    pub(crate) options: Vec<u8>,
}

/// What changes in a keyspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChangedKeyspace {
    /// Which.
    pub(crate) id: KeyspaceId,
    /// Every write of the keyspace before this position of the log, which is
    /// synced up to it, is in its tables.
    pub(crate) flushed_to: Option<LogPosition>,
    /// New options.
    pub(crate) options: Option<Vec<u8>>,
    /// Tables in and out.
    pub(crate) tables: VersionEdit,
}

impl Edit {
    /// The edit of a flush, a compaction or a move in one keyspace.
    pub(crate) fn of_tables(id: KeyspaceId, tables: VersionEdit) -> Edit {
        Edit {
            changed: vec![ChangedKeyspace { id, tables, ..Default::default() }],
            ..Default::default()
        }
    }

    /// Whether it names a table that did not exist before.
    pub(crate) fn adds_files(&self) -> bool {
        self.changed.iter().any(|keyspace| {
            let tables = &keyspace.tables;
            tables.added.iter().any(|a| !tables.removed.iter().any(|r| r.id == a.meta.id))
        })
    }
}
