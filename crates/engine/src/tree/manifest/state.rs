//! What all edits so far add up to.
//!
//! `T` is what stands for the tables of a keyspace: a shared
//! [`Version`](crate::tree::version::Version) while the database is open, a plain
//! [`TableSet`] while a manifest is read, since building a version for each of
//! thousands of edits would make opening slow.

use super::codec::{MAX_NAME_LEN, MAX_OPTIONS_LEN};
use super::edit::{ChangedKeyspace, CreatedKeyspace, Edit, EditNumber};
use crate::control::belief::DurableTime;
use crate::tree::version::{AddedTable, InvalidEdit, RemovedTable, Version, VersionEdit};
use crate::types::error::Result;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tanada_format::{
    KeyspaceId, Lineage, LogId, LogPosition, SeqNo, TableId, WriterEpoch, planted,
};

/// What a keyspace takes in an edit beside its name and options, and a table beside its
/// keys: at most.
const KEYSPACE_BYTES: usize = 64;
const TABLE_BYTES: usize = 192;

/// Most keyspaces of a database. Each takes some kilobytes of memory and, once it is
/// written to, a file at each flush: who needs more of them wants a prefix of keys.
pub(crate) const MAX_KEYSPACES: usize = 65_536;

/// The database as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State<T> {
    /// The epoch in which the manifest is written. It stands in the manifest's header.
    pub(crate) epoch: WriterEpoch,
    /// The last edit; 0 when edits were not numbered, as by versions that did not know it.
    pub(crate) edit_number: EditNumber,
    /// Table ids below may have been used, those from here on never were.
    pub(crate) next_table_id: TableId,
    /// Recovery begins with this log; 0 while no edit has named one.
    pub(crate) oldest_log: LogId,
    /// Keyspace ids from here on were never used.
    pub(crate) next_keyspace_id: KeyspaceId,
    /// At least the newest write in any table; the log may hold newer ones.
    pub(crate) last_seqno: SeqNo,
    /// The latest wall time that a version before `time` acted upon, in milliseconds
    /// since 1970.
    pub(crate) clock_high_ms: u64,
    /// What is known of the time; all zero when nothing is.
    pub(crate) time: DurableTime,
    /// No write has had a number from here on; 0 when that is not known.
    pub(crate) seqno_ceiling: SeqNo,
    /// Whose sequence numbers they are; `None` before the first opening.
    pub(crate) lineage: Option<Lineage>,
    /// The log was synced up to here when the database was last closed.
    pub(crate) log_synced: LogPosition,
    /// The keyspaces there are.
    pub(crate) keyspaces: BTreeMap<KeyspaceId, Keyspace<T>>,
    /// Which of them has a name.
    names: HashMap<String, KeyspaceId>,
    /// The furthest of the keyspaces' `flushed_to`, those of dropped ones included.
    flushed_to: LogPosition,
}

/// What an edit is about to change, as it was.
#[derive(Debug)]
pub(super) struct Before<T> {
    numbers: State<T>,
    keyspaces: Vec<(KeyspaceId, Option<Keyspace<T>>)>,
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
            epoch: WriterEpoch(0),
            edit_number: EditNumber(0),
            next_table_id: TableId(1),
            oldest_log: LogId(0),
            next_keyspace_id: KeyspaceId(0),
            last_seqno: SeqNo::ZERO,
            clock_high_ms: 0,
            time: DurableTime::default(),
            seqno_ceiling: SeqNo::ZERO,
            lineage: None,
            log_synced: LogPosition(0),
            keyspaces: BTreeMap::new(),
            names: HashMap::new(),
            flushed_to: LogPosition(0),
        }
    }
}

impl<T> State<T> {
    /// Nothing yet, written in this epoch.
    pub(super) fn in_epoch(epoch: WriterEpoch) -> State<T> {
        State { epoch, ..State::default() }
    }
}

impl<T: Default> State<T> {
    /// Applies `edit`; `tables` changes the tables of a keyspace.
    ///
    /// # Errors
    /// [`InvalidEdit`] when the edit does not fit. The state is then half changed:
    /// [`State::restore`] it where that matters.
    pub(crate) fn apply(
        &mut self,
        edit: &Edit,
        mut tables: impl FnMut(KeyspaceId, &mut T, &VersionEdit) -> std::result::Result<(), InvalidEdit>,
    ) -> std::result::Result<(), InvalidEdit> {
        self.count(edit.number)?;
        raise(&mut self.next_table_id, edit.next_table_id);
        raise(&mut self.oldest_log, edit.oldest_log);
        raise(&mut self.last_seqno, edit.last_seqno);
        raise(&mut self.clock_high_ms, edit.clock_high_ms);
        raise(&mut self.log_synced, edit.log_synced);
        self.time = edit.time.unwrap_or(self.time);
        self.seqno_ceiling = edit.seqno_ceiling.unwrap_or(self.seqno_ceiling);
        self.lineage = edit.lineage.or(self.lineage);
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
            self.flushed_to = self.flushed_to.max(keyspace.flushed_to);
            if let Some(options) = &changed.options {
                keyspace.options.clone_from(options);
            }
            tables(id, &mut keyspace.tables, &changed.tables)?;
        }
        for &id in &edit.dropped {
            let gone = self.keyspaces.remove(&id).ok_or_else(|| unknown(id))?;
            self.names.remove(&gone.name);
        }
        Ok(())
    }

    /// What `edit` may change, for [`State::restore`]. Cost: what the edit touches.
    pub(super) fn before(&self, edit: &Edit) -> Before<T>
    where
        T: Clone,
    {
        let created = edit.created.iter().map(|created| created.id);
        let changed = edit.changed.iter().map(|changed| changed.id);
        let mut touched: Vec<_> = created.chain(changed).collect();
        touched.extend(&edit.dropped);
        let keyspaces = touched.into_iter().map(|id| (id, self.keyspaces.get(&id).cloned()));
        Before {
            keyspaces: keyspaces.collect(),
            numbers: State {
                epoch: self.epoch,
                edit_number: self.edit_number,
                next_table_id: self.next_table_id,
                oldest_log: self.oldest_log,
                next_keyspace_id: self.next_keyspace_id,
                last_seqno: self.last_seqno,
                clock_high_ms: self.clock_high_ms,
                time: self.time,
                seqno_ceiling: self.seqno_ceiling,
                lineage: self.lineage,
                log_synced: self.log_synced,
                keyspaces: BTreeMap::new(),
                names: HashMap::new(),
                flushed_to: self.flushed_to,
            },
        }
    }

    /// Takes back an edit, applied whole or in part.
    pub(super) fn restore(&mut self, before: Before<T>) {
        let Before { numbers, keyspaces } = before;
        for (id, keyspace) in keyspaces {
            if let Some(now) = self.keyspaces.remove(&id) {
                self.names.remove(&now.name);
            }
            if let Some(keyspace) = keyspace {
                self.names.insert(keyspace.name.clone(), id);
                self.keyspaces.insert(id, keyspace);
            }
        }
        *self = State {
            keyspaces: std::mem::take(&mut self.keyspaces),
            names: std::mem::take(&mut self.names),
            ..numbers
        };
    }

    /// Counts an edit. One is missing, or stands twice, where its number does not follow.
    /// The first number may be any: a snapshot has that of the last edit in it.
    fn count(&mut self, number: Option<EditNumber>) -> std::result::Result<(), InvalidEdit> {
        let last = self.edit_number;
        match number {
            Some(EditNumber(0)) => return Err(InvalidEdit("an edit has the number 0".into())),
            Some(number) if last == EditNumber(0) || number == last.next() => {
                self.edit_number = number;
            }
            None if last == EditNumber(0) => {}
            _ if planted!(missing_edit_passes) => self.edit_number = number.unwrap_or(last),
            Some(number) => {
                return Err(InvalidEdit(format!("edit {number} follows edit {last}")));
            }
            None => return Err(InvalidEdit(format!("behind edit {last} one has no number"))),
        }
        Ok(())
    }

    fn create(&mut self, created: &CreatedKeyspace) -> std::result::Result<(), InvalidEdit> {
        let CreatedKeyspace { id, name, options } = created;
        if name.is_empty() || name.len() > MAX_NAME_LEN || options.len() > MAX_OPTIONS_LEN {
            return Err(InvalidEdit("a keyspace's name or options are too long, or empty".into()));
        }
        if self.keyspaces.len() >= MAX_KEYSPACES {
            return Err(InvalidEdit(format!(
                "a database has at most {MAX_KEYSPACES} keyspaces, and {name:?} would be one more"
            )));
        }
        if self.names.contains_key(name) {
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
        self.names.insert(name.clone(), *id);
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
            number: Some(self.edit_number).filter(|&number| number > EditNumber(0)),
            next_table_id: Some(self.next_table_id),
            oldest_log: Some(self.oldest_log),
            next_keyspace_id: Some(self.next_keyspace_id),
            last_seqno: Some(self.last_seqno),
            clock_high_ms: Some(self.clock_high_ms),
            time: Some(self.time).filter(|time| *time != DurableTime::default()),
            seqno_ceiling: Some(self.seqno_ceiling).filter(|&ceiling| ceiling > SeqNo::ZERO),
            lineage: self.lineage,
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

    /// Edits that make this state from an empty one, one after another, each of about
    /// `part_bytes` at most: whatever a database may hold, none outgrows a record, and
    /// only one at a time is in memory.
    pub(super) fn snapshot_in_parts(
        &self,
        part_bytes: usize,
        mut write: impl FnMut(&Edit) -> Result<()>,
    ) -> Result<()> {
        // The last part alone has the next keyspace id: those before it create
        // keyspaces with smaller ones. So it has the number: all parts are one edit.
        let mut part = Edit {
            next_table_id: Some(self.next_table_id),
            oldest_log: Some(self.oldest_log),
            last_seqno: Some(self.last_seqno),
            clock_high_ms: Some(self.clock_high_ms),
            time: Some(self.time).filter(|time| *time != DurableTime::default()),
            seqno_ceiling: Some(self.seqno_ceiling).filter(|&ceiling| ceiling > SeqNo::ZERO),
            lineage: self.lineage,
            log_synced: Some(self.log_synced).filter(|&position| position > LogPosition(0)),
            ..Edit::default()
        };
        let mut bytes = 0;
        for (&id, keyspace) in &self.keyspaces {
            bytes += KEYSPACE_BYTES + keyspace.name.len() + keyspace.options.len();
            if bytes > part_bytes {
                write(&std::mem::take(&mut part))?;
                bytes = KEYSPACE_BYTES + keyspace.name.len() + keyspace.options.len();
            }
            part.created.push(CreatedKeyspace {
                id,
                name: keyspace.name.clone(),
                options: keyspace.options.clone(),
            });
            let flushed_to = Some(keyspace.flushed_to);
            part.changed.push(ChangedKeyspace { id, flushed_to, ..Default::default() });
            for added in keyspace.tables.as_added() {
                let table_bytes = TABLE_BYTES + added.meta.min_key.len() + added.meta.max_key.len();
                bytes += table_bytes;
                if bytes > part_bytes {
                    write(&std::mem::take(&mut part))?;
                    bytes = table_bytes;
                }
                if part.changed.last().is_none_or(|changed| changed.id != id) {
                    part.changed.push(ChangedKeyspace { id, ..Default::default() });
                }
                let changed = part.changed.last_mut().expect("pushed above");
                changed.tables.added.push(added);
            }
        }
        part.next_keyspace_id = Some(self.next_keyspace_id);
        part.number = Some(self.edit_number).filter(|&number| number > EditNumber(0));
        write(&part)
    }

    /// The keyspace called `name`.
    #[cfg(test)]
    pub(crate) fn keyspace_named(&self, name: &str) -> Option<KeyspaceId> {
        self.names.get(name).copied()
    }

    /// The log is known to be synced up to here.
    pub(crate) fn log_synced(&self) -> LogPosition {
        self.flushed_to.max(self.log_synced)
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
    pub(crate) fn apply(&mut self, edit: &VersionEdit) -> std::result::Result<(), InvalidEdit> {
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
