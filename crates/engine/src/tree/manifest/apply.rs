//! What an edit does to the state in memory and to the tables that it names.

use super::edit::Edit;
use super::state::State;
use crate::tree::version::{InvalidEdit, LiveTables, TableHandle, TableStore, Version};
use std::sync::Arc;
use tanada_format::KeyspaceId;

/// What an edit does to the tables of a state.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub(super) versions: Vec<(KeyspaceId, Arc<Version>)>,
    pub(super) obsolete: Vec<Arc<TableHandle>>,
    pub(super) added: Vec<Arc<TableHandle>>,
}

/// Applies `edit` to `state`, and what it adds to `live`, the tables of that state;
/// what it removes stays there until the edit is durable.
///
/// # Errors
/// [`InvalidEdit`] when it does not fit: `live` is as it was, `state` half changed.
pub(super) fn apply(
    state: &mut State<Arc<Version>>,
    live: &mut LiveTables,
    edit: &Edit,
    files: &Arc<TableStore>,
) -> Result<Changed, InvalidEdit> {
    let mut changed = Changed::default();
    for id in &edit.dropped {
        let tables = state.keyspaces.get(id).into_iter().flat_map(|k| k.tables.tables());
        changed.obsolete.extend(tables.cloned());
    }
    let applied = state.apply(edit, |id, version, tables| {
        if !tables.is_empty() {
            let applied = version.apply(tables, live, files)?;
            live.add(&applied.added);
            *version = applied.version;
            changed.versions.push((id, version.clone()));
            changed.obsolete.extend(applied.obsolete);
            changed.added.extend(applied.added);
        }
        Ok(())
    });
    match applied {
        Ok(()) => Ok(changed),
        Err(e) => {
            live.remove(&changed.added);
            Err(e)
        }
    }
}
