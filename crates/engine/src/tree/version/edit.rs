//! A change of one tree: tables in, tables out.

use super::TableMeta;
use super::run::RunId;
use tanada_format::{Level, TableId};

/// A table that enters the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddedTable {
    /// Into which level.
    pub(crate) level: Level,
    /// Into which run of it; a run that is not there yet is created.
    pub(crate) run: RunId,
    /// The table.
    pub(crate) meta: TableMeta,
}

/// A table that leaves the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RemovedTable {
    /// From which level.
    pub(crate) level: Level,
    /// The table.
    pub(crate) id: TableId,
}

/// What a flush, a compaction or a move changes, all or nothing.
///
/// A table removed and added by the same edit has moved: its file stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VersionEdit {
    /// Tables in.
    pub(crate) added: Vec<AddedTable>,
    /// Tables out.
    pub(crate) removed: Vec<RemovedTable>,
}

impl VersionEdit {
    /// Whether nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}
