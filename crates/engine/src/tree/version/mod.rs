//! The tree of one keyspace at one moment: levels of runs of tables.
//!
//! A [`Version`] never changes; a flush or a compaction makes the next one by
//! [`Version::apply`] and shares all that it did not touch. Readers hold an
//! `Arc` of the one they began with, and with it every file that it names.
//! Nothing here reads or writes the manifest.

mod edit;
mod run;
#[cfg(test)]
mod tests;

pub(crate) use crate::tree::store::{Deletion, TableHandle, TableMeta, TableStore};
pub(crate) use edit::{AddedTable, RemovedTable, VersionEdit};
pub(crate) use run::{Run, RunId};

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use tanada_format::{Level, MAX_LEVELS, TableId};

/// The runs of one level.
#[derive(Clone, Debug, Default)]
pub(crate) struct LevelState {
    runs: Vec<Arc<Run>>,
    size_bytes: u64,
}

impl LevelState {
    fn new(mut runs: Vec<Arc<Run>>) -> LevelState {
        runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.id()));
        let size_bytes = runs.iter().map(|run| run.size_bytes()).sum();
        LevelState { runs, size_bytes }
    }

    /// The runs, newest first.
    pub(crate) fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    /// Bytes of all files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whether the level holds no table.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// All tables, run by run, newest run first.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<TableHandle>> {
        self.runs.iter().flat_map(|run| run.tables())
    }

    /// Number of tables. Cost: one step a run.
    pub(crate) fn table_count(&self) -> usize {
        self.runs.iter().map(|run| run.tables().len()).sum()
    }
}

/// An edit that does not fit the version it was applied to. In memory that is a
/// bug of ours, in a manifest damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvalidEdit(pub(crate) String);

impl fmt::Display for InvalidEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What [`Version::apply`] made.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The next version.
    pub(crate) version: Arc<Version>,
    /// The tables that left. [`TableHandle::mark_obsolete`] is due on each once
    /// the edit is durable in the manifest, and never before.
    pub(crate) obsolete: Vec<Arc<TableHandle>>,
}

/// An immutable tree.
///
/// Invariants ([`Version::check_invariants`]):
/// 1. Each run is not empty, sorted and free of overlap.
/// 2. Runs of a level have distinct ids and stand newest first.
/// 3. A table id occurs once in the whole version.
/// 4. In level 0 the seqno ranges of runs are disjoint, and a newer run's is
///    higher: the order of runs is the order of writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Version {
    levels: [LevelState; MAX_LEVELS],
    /// The runs of all levels, newest first: what a get walks.
    runs: Box<[Arc<Run>]>,
}

impl Version {
    /// A tree without tables.
    pub(crate) fn empty() -> Arc<Version> {
        Arc::new(Version::default())
    }

    /// All levels, newest (0) first; empty ones included.
    pub(crate) fn levels(&self) -> &[LevelState; MAX_LEVELS] {
        &self.levels
    }

    /// The runs of all levels, newest first: the first that holds a key has its
    /// newest version.
    #[inline]
    pub(crate) fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    /// One level.
    pub(crate) fn level(&self, level: Level) -> &LevelState {
        &self.levels[level.index()]
    }

    /// The deepest level that holds a table.
    pub(crate) fn last_level(&self) -> Option<Level> {
        (0..MAX_LEVELS).rev().find(|&i| !self.levels[i].is_empty()).map(|i| Level(i as u8))
    }

    /// All tables, newest level first.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<TableHandle>> {
        self.levels.iter().flat_map(LevelState::tables)
    }

    /// Number of tables.
    pub(crate) fn table_count(&self) -> usize {
        self.levels.iter().map(LevelState::table_count).sum()
    }

    /// Bytes of all files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.levels.iter().map(LevelState::size_bytes).sum()
    }

    /// The tables whose key range covers `key`, newest first: a get may stop at
    /// the first that holds it. At most one a run.
    #[inline]
    pub(crate) fn tables_for_key<'v>(
        &'v self,
        key: &'v [u8],
    ) -> impl Iterator<Item = (Level, &'v Arc<TableHandle>)> {
        (0u8..).zip(&self.levels).flat_map(move |(number, level)| {
            let found = level.runs.iter().filter_map(move |run| run.find(key));
            found.map(move |table| (Level(number), table))
        })
    }

    /// The level in which a table lies. Cost: a walk over all tables.
    #[cfg(test)]
    pub(crate) fn level_of(&self, id: TableId) -> Option<Level> {
        (0u8..)
            .zip(&self.levels)
            .find(|(_, level)| level.tables().any(|table| table.id() == id))
            .map(|(number, _)| Level(number))
    }

    /// The version after `edit`. Handles of tables that stay or move are
    /// shared; added ones are made in `files`, without I/O.
    ///
    /// # Errors
    /// [`InvalidEdit`] when the edit removes a table that is not in that level,
    /// adds one that is there already, or breaks an invariant. Nothing changes then.
    pub(crate) fn apply(
        &self,
        edit: &VersionEdit,
        files: &Arc<TableStore>,
    ) -> Result<Applied, InvalidEdit> {
        let mut removed: [HashSet<TableId>; MAX_LEVELS] = Default::default();
        for &RemovedTable { level, id } in &edit.removed {
            let set = removed.get_mut(level.index()).ok_or_else(|| no_level(level))?;
            if !set.insert(id) {
                return Err(InvalidEdit(format!("table {id} is removed twice from {level}")));
            }
        }
        let mut added: [HashMap<RunId, Vec<&TableMeta>>; MAX_LEVELS] = Default::default();
        for AddedTable { level, run, meta } in &edit.added {
            meta.check().map_err(|what| InvalidEdit(format!("table {}: {what}", meta.id)))?;
            let runs = added.get_mut(level.index()).ok_or_else(|| no_level(*level))?;
            runs.entry(*run).or_default().push(meta);
        }

        // Out first, so that a table that moves is found under its old place.
        let mut levels: [LevelState; MAX_LEVELS] = Default::default();
        let mut kept: [Vec<(RunId, Vec<Arc<TableHandle>>)>; MAX_LEVELS] = Default::default();
        let mut whole: [Vec<Arc<Run>>; MAX_LEVELS] = Default::default();
        let mut out: HashMap<TableId, Arc<TableHandle>> = HashMap::new();
        for (i, level) in self.levels.iter().enumerate() {
            for run in &level.runs {
                let leaves = |t: &Arc<TableHandle>| removed[i].contains(&t.id());
                if !added[i].contains_key(&run.id()) && !run.tables().iter().any(leaves) {
                    whole[i].push(run.clone());
                    continue;
                }
                let mut stay = Vec::with_capacity(run.tables().len());
                for table in run.tables() {
                    if removed[i].remove(&table.id()) {
                        out.insert(table.id(), table.clone());
                    } else {
                        stay.push(table.clone());
                    }
                }
                kept[i].push((run.id(), stay));
            }
            if let Some(id) = removed[i].iter().next() {
                return Err(InvalidEdit(format!("L{i} has no table {id} to remove")));
            }
        }
        for (i, mut fresh) in added.into_iter().enumerate() {
            let mut runs = std::mem::take(&mut whole[i]);
            let mut build = |id, tables: Vec<_>, metas: Vec<&TableMeta>| {
                let mut tables = tables;
                for meta in metas {
                    tables.push(match out.remove(&meta.id) {
                        Some(moved) if moved.meta() == meta => moved,
                        Some(_) => {
                            let what = "is moved, and described differently than before";
                            return Err(InvalidEdit(format!("table {} {what}", meta.id)));
                        }
                        None => TableHandle::new(meta.clone(), files.clone()),
                    });
                }
                if !tables.is_empty() {
                    runs.push(Arc::new(Run::new(id, tables).map_err(InvalidEdit)?));
                }
                Ok(())
            };
            for (id, stay) in std::mem::take(&mut kept[i]) {
                build(id, stay, fresh.remove(&id).unwrap_or_default())?;
            }
            for (id, metas) in fresh {
                build(id, Vec::new(), metas)?;
            }
            levels[i] = LevelState::new(runs);
        }
        let runs = levels.iter().flat_map(|level| level.runs.iter().cloned()).collect();
        let version = Version { levels, runs };
        version.check_invariants()?;
        let obsolete = out.into_values().collect();
        Ok(Applied { version: Arc::new(version), obsolete })
    }

    /// Checks what stands on the type; a run checks itself when it is made.
    /// Cost: a walk over all tables.
    ///
    /// # Errors
    /// The first invariant that is broken.
    pub(crate) fn check_invariants(&self) -> Result<(), InvalidEdit> {
        let mut ids = HashSet::new();
        for table in self.tables() {
            if !ids.insert(table.id()) {
                return Err(InvalidEdit(format!("table {} is in the tree twice", table.id())));
            }
        }
        for (i, level) in self.levels.iter().enumerate() {
            for pair in level.runs.windows(2) {
                if pair[0].id() <= pair[1].id() {
                    return Err(InvalidEdit(format!("runs of L{i} are not newest first")));
                }
            }
        }
        let seqnos = |run: &Run| {
            let low = run.tables().iter().map(|t| t.meta().min_seqno).min();
            let high = run.tables().iter().map(|t| t.meta().max_seqno).max();
            (low, high)
        };
        for pair in self.levels[0].runs.windows(2) {
            if seqnos(&pair[0]).0 <= seqnos(&pair[1]).1 {
                let (newer, older) = (pair[0].id().0, pair[1].id().0);
                let what = "though its writes are not all newer";
                return Err(InvalidEdit(format!("L0 run {newer} stands before {older} {what}")));
            }
        }
        Ok(())
    }

    /// The edit that makes this version from an empty one: a snapshot.
    pub(crate) fn as_edit(&self) -> VersionEdit {
        let mut edit = VersionEdit::default();
        for (number, level) in (0u8..).zip(&self.levels) {
            for run in &level.runs {
                edit.added.extend(run.tables().iter().map(|table| AddedTable {
                    level: Level(number),
                    run: run.id(),
                    meta: table.meta().clone(),
                }));
            }
        }
        edit
    }
}

fn no_level(level: Level) -> InvalidEdit {
    InvalidEdit(format!("there is no level {level}; the deepest is L{}", MAX_LEVELS - 1))
}
