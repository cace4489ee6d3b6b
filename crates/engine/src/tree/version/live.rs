//! The tables of a database by their ids, so that an edit finds what it removes
//! without a walk.

use super::TableHandle;
use std::collections::HashMap;
use std::sync::Arc;
use tanada_format::TableId;

/// Every table of every keyspace.
#[derive(Debug, Default)]
pub(crate) struct LiveTables(HashMap<TableId, Arc<TableHandle>>);

impl LiveTables {
    /// The tables of one version. Cost: a walk over them.
    #[cfg(test)]
    pub(crate) fn of(version: &super::Version) -> LiveTables {
        let mut live = LiveTables::default();
        live.add(version.tables());
        live
    }

    /// The table with this id.
    pub(crate) fn get(&self, id: TableId) -> Option<&Arc<TableHandle>> {
        self.0.get(&id)
    }

    /// Takes in tables that are not here.
    pub(crate) fn add<'t>(&mut self, tables: impl IntoIterator<Item = &'t Arc<TableHandle>>) {
        self.0.extend(tables.into_iter().map(|table| (table.id(), Arc::clone(table))));
    }

    /// Lets tables go.
    pub(crate) fn remove<'t>(&mut self, tables: impl IntoIterator<Item = &'t Arc<TableHandle>>) {
        for table in tables {
            self.0.remove(&table.id());
        }
    }
}
