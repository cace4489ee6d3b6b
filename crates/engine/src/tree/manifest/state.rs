//! What all edits so far add up to.
//!
//! `T` is what stands for the tables of a keyspace: a shared
//! [`Version`](crate::tree::version::Version) while the database is open, a plain
//! [`TableSet`] while a manifest is read, since building a version for each of
//! thousands of edits would make opening slow.

use super::codec::{MAX_NAME_LEN, MAX_OPTIONS_LEN};
use super::edit::{ChangedKeyspace, CreatedKeyspace, Edit};
use crate::tree::version::{AddedTable, InvalidEdit, RemovedTable, Version, VersionEdit};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tanada_format::{KeyspaceId, LogId, LogPosition, SeqNo, TableId};

/// The database as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State<T> {
    /// Table ids below may have been used, those from here on never were.
    pub(crate) next_table_id: TableId,
    /// Recovery begins with this log; 0 while no edit has named one.
    pub(crate) oldest_log: LogId,
    /// Keyspace ids from here on were never used.
    pub(crate) next_keyspace_id: KeyspaceId,
    /// At least the newest write in any table; the log may hold newer ones.
    pub(crate) last_seqno: SeqNo,
    /// The latest wall time acted upon, in milliseconds since 1970.
    pub(crate) clock_high_ms: u64,
    /// The log was synced up to here when the database was last closed.
    pub(crate) log_synced: LogPosition,
    /// The keyspaces there are.
    pub(crate) keyspaces: BTreeMap<KeyspaceId, Keyspace<T>>,
}

/// A keyspace as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keyspace<T> {
    /// Its name.
    pub(crate) name: String,
    /// Its options, encoded by the engine.
    pub(crate) options: Vec<u8>,
    /// Every write before this position of the log is in the tables.
    pub(crate) flushed_to: LogPosition,
    /// Its tables.
    pub(crate) tables: T,
}

impl<T> Default for State<T> {
    fn default() -> State<T> {
        State {
            next_table_id: TableId(1),
            oldest_log: LogId(0),
            next_keyspace_id: KeyspaceId(0),
            last_seqno: SeqNo::ZERO,
            clock_high_ms: 0,
            log_synced: LogPosition(0),
            keyspaces: BTreeMap::new(),
        }
    }
}

impl<T: Default> State<T> {
    /// Applies `edit`; `tables` changes the tables of a keyspace.
    ///
    /// # Errors
    /// [`InvalidEdit`] when the edit does not fit. The state is then half
    /// changed: apply to a clone where that matters.
    pub(crate) fn apply(
        &mut self,
        edit: &Edit,
        mut tables: impl FnMut(KeyspaceId, &mut T, &VersionEdit) -> Result<(), InvalidEdit>,
    ) -> Result<(), InvalidEdit> {
        raise(&mut self.next_table_id, edit.next_table_id);
        raise(&mut self.oldest_log, edit.oldest_log);
        raise(&mut self.last_seqno, edit.last_seqno);
        raise(&mut self.clock_high_ms, edit.clock_high_ms);
        raise(&mut self.log_synced, edit.log_synced);
        for created in &edit.created {
            self.create(created)?;
        }
        // Behind the new keyspaces, so that a snapshot too creates each with an unused id.
        raise(&mut self.next_keyspace_id, edit.next_keyspace_id);
        for changed in &edit.changed {
            let id = changed.id;
            for AddedTable { meta, .. } in &changed.tables.added {
                if meta.id >= self.next_table_id {
                    return Err(InvalidEdit(format!("table id {} was not reserved", meta.id)));
                }
                self.last_seqno = self.last_seqno.max(meta.max_seqno);
            }
            let keyspace = self.keyspaces.get_mut(&id).ok_or_else(|| unknown(id))?;
            raise(&mut keyspace.flushed_to, changed.flushed_to);
            if let Some(options) = &changed.options {
                keyspace.options.clone_from(options);
            }
            tables(id, &mut keyspace.tables, &changed.tables)?;
        }
        for &id in &edit.dropped {
            self.keyspaces.remove(&id).ok_or_else(|| unknown(id))?;
        }
        Ok(())
    }

    fn create(&mut self, created: &CreatedKeyspace) -> Result<(), InvalidEdit> {
        let CreatedKeyspace { id, name, options } = created;
        if name.is_empty() || name.len() > MAX_NAME_LEN || options.len() > MAX_OPTIONS_LEN {
            return Err(InvalidEdit("a keyspace's name or options are too long, or empty".into()));
        }
        if self.keyspaces.values().any(|k| k.name == *name) {
            return Err(InvalidEdit(format!("keyspace {name:?} is created twice")));
        }
        if *id < self.next_keyspace_id {
            return Err(InvalidEdit(format!("keyspace id {} is used twice", id.0)));
        }
        let next =
            id.0.checked_add(1).ok_or_else(|| InvalidEdit("no keyspace id is left".into()))?;
        self.next_keyspace_id = KeyspaceId(next);
        let keyspace = Keyspace {
            name: name.clone(),
            options: options.clone(),
            flushed_to: LogPosition(0),
            tables: T::default(),
        };
        self.keyspaces.insert(*id, keyspace);
        Ok(())
    }

    /// The edit that makes this state from an empty one; `tables` gives the
    /// edit that makes a keyspace's tables from none.
    fn as_edit(&self, tables: impl Fn(&T) -> VersionEdit) -> Edit {
        let created = self.keyspaces.iter().map(|(&id, k)| CreatedKeyspace {
            id,
            name: k.name.clone(),
            options: k.options.clone(),
        });
        let changed = self.keyspaces.iter().map(|(&id, k)| ChangedKeyspace {
            id,
            flushed_to: Some(k.flushed_to),
            options: None,
            tables: tables(&k.tables),
        });
        Edit {
            next_table_id: Some(self.next_table_id),
            oldest_log: Some(self.oldest_log),
            next_keyspace_id: Some(self.next_keyspace_id),
            last_seqno: Some(self.last_seqno),
            clock_high_ms: Some(self.clock_high_ms),
            log_synced: Some(self.log_synced).filter(|&position| position > LogPosition(0)),
            created: created.collect(),
            changed: changed.collect(),
            dropped: Vec::new(),
        }
    }
}

impl State<Arc<Version>> {
    /// The edit that makes this state from an empty one.
    pub(crate) fn snapshot(&self) -> Edit {
        self.as_edit(|version| version.as_edit())
    }

    /// The keyspace called `name`.
    #[cfg(test)]
    pub(crate) fn keyspace_named(&self, name: &str) -> Option<KeyspaceId> {
        self.keyspaces.iter().find(|(_, k)| k.name == name).map(|(&id, _)| id)
    }

    /// The log is known to be synced up to here.
    pub(crate) fn log_synced(&self) -> LogPosition {
        let flushed = self.keyspaces.values().map(|k| k.flushed_to).max();
        flushed.unwrap_or_default().max(self.log_synced)
    }
}

impl State<TableSet> {
    /// The edit that makes this state from an empty one.
    pub(crate) fn snapshot(&self) -> Edit {
        self.as_edit(TableSet::as_edit)
    }
}

/// The tables of a keyspace while a manifest is read: cheap to change, checked
/// for overlap and order only when a version is made of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableSet(HashMap<TableId, AddedTable>);

impl TableSet {
    /// Applies `edit`.
    ///
    /// # Errors
    /// When a table is removed that is not there, or added that is.
    pub(crate) fn apply(&mut self, edit: &VersionEdit) -> Result<(), InvalidEdit> {
        for RemovedTable { level, id } in &edit.removed {
            match self.0.remove(id) {
                Some(table) if table.level == *level => {}
                _ => return Err(InvalidEdit(format!("{level} has no table {id} to remove"))),
            }
        }
        for added in &edit.added {
            if self.0.insert(added.meta.id, added.clone()).is_some() {
                return Err(InvalidEdit(format!("table {} is added twice", added.meta.id)));
            }
        }
        Ok(())
    }

    fn as_edit(&self) -> VersionEdit {
        let mut added: Vec<AddedTable> = self.0.values().cloned().collect();
        added.sort_unstable_by(|a, b| {
            let place = |t: &AddedTable| (t.level, std::cmp::Reverse(t.run));
            place(a).cmp(&place(b)).then_with(|| a.meta.min_key.cmp(&b.meta.min_key))
        });
        VersionEdit { added, removed: Vec::new() }
    }
}

fn unknown(id: KeyspaceId) -> InvalidEdit {
    InvalidEdit(format!("there is no keyspace {}", id.0))
}

/// Numbers of the manifest only ever grow.
fn raise<N: Ord + Copy>(slot: &mut N, to: Option<N>) {
    *slot = (*slot).max(to.unwrap_or(*slot));
}
