//! The tree of one keyspace at one moment: levels of runs of tables.
//!
//! A [`Version`] never changes; a flush or a compaction makes the next one by
//! [`Version::apply`] and shares all that it did not touch. Readers hold an
//! `Arc` of the one they began with, and with it every file that it names.
//! Nothing here reads or writes the manifest.

mod edit;
mod live;
mod segment;
mod run;
#[cfg(test)]
mod tests;

pub(crate) use crate::tree::store::{
    Deletion, GARBAGE_PERCENT, TableHandle, TableMeta, TableStore,
};
pub(crate) use edit::{AddedTable, RemovedTable, VersionEdit};
pub(crate) use live::LiveTables;
pub(crate) use run::{Run, RunId, Tables};
pub(crate) use segment::Sums;

use run::RunChange;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use tanada_format::{Level, MAX_LEVELS, TableId};

/// The runs of one level.
#[derive(Clone, Debug)]
pub(crate) struct LevelState {
    runs: Vec<Arc<Run>>,
    sums: Sums,
    tables: usize,
}

impl Default for LevelState {
    fn default() -> LevelState {
        LevelState { runs: Vec::new(), sums: Sums::NONE, tables: 0 }
    }
}

impl LevelState {
    fn new(mut runs: Vec<Arc<Run>>) -> LevelState {
        runs.sort_unstable_by_key(|run| std::cmp::Reverse(run.id()));
        let sums = runs.iter().map(|run| run.sums()).fold(Sums::NONE, Sums::and);
        let tables = runs.iter().map(|run| run.table_count()).sum();
        LevelState { runs, sums, tables }
    }

    /// The level after changes of these runs.
    fn changed(&self, mut changes: BTreeMap<RunId, RunChange>) -> Result<LevelState, InvalidEdit> {
        let mut runs = Vec::with_capacity(self.runs.len() + changes.len());
        for run in &self.runs {
            match changes.remove(&run.id()) {
                None => runs.push(Arc::clone(run)),
                Some(change) => {
                    let next = run.changed(change).map_err(InvalidEdit)?;
                    runs.extend(next.map(Arc::new));
                }
            }
        }
        for (id, change) in changes {
            runs.push(Arc::new(Run::new(id, change.added).map_err(InvalidEdit)?));
        }
        Ok(LevelState::new(runs))
    }

    /// The runs, newest first.
    pub(crate) fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    /// Bytes of all files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.sums.size_bytes
    }

    /// Sums and bounds over all tables.
    pub(crate) fn sums(&self) -> Sums {
        self.sums
    }

    /// Whether the level holds no table.
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// All tables, run by run, newest run first.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<TableHandle>> {
        self.runs.iter().flat_map(|run| run.tables().iter())
    }

    /// Number of tables.
    pub(crate) fn table_count(&self) -> usize {
        self.tables
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
    /// The tables that entered; those that moved are not among them.
    pub(crate) added: Vec<Arc<TableHandle>>,
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

    /// Bytes of memory that the tree takes for its tables, opened or not.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.levels.iter().map(|level| level.sums.memory_bytes).sum()
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
    /// shared; added ones are made in `files`, without I/O. `live` are the tables
    /// of the whole database before the edit.
    ///
    /// Cost: the segments that hold tables of the edit are copied; one step for each
    /// run of the levels that it touches, and for each segment of those runs.
    ///
    /// # Errors
    /// [`InvalidEdit`] when the edit removes a table that is not in that level,
    /// adds one that is there already, or breaks an invariant. Nothing changes then.
    pub(crate) fn apply(
        &self,
        edit: &VersionEdit,
        live: &LiveTables,
        files: &Arc<TableStore>,
    ) -> Result<Applied, InvalidEdit> {
        let mut changes: [BTreeMap<RunId, RunChange>; MAX_LEVELS] = Default::default();
        // Out first, so that a table that moves is found under its old place.
        let mut gone = HashSet::new();
        let mut out: BTreeMap<TableId, Arc<TableHandle>> = BTreeMap::new();
        for &RemovedTable { level, id } in &edit.removed {
            let state = self.levels.get(level.index()).ok_or_else(|| no_level(level))?;
            if !gone.insert((level, id)) {
                return Err(InvalidEdit(format!("table {id} is removed twice from {level}")));
            }
            let table = live.get(id);
            let holds = |run: &&Arc<Run>, table: &Arc<TableHandle>| {
                run.find(&table.meta().min_key).is_some_and(|found| found.id() == id)
            };
            let run = table.and_then(|table| state.runs.iter().find(|run| holds(run, table)));
            let (Some(table), Some(run)) = (table, run) else {
                return Err(InvalidEdit(format!("{level} has no table {id} to remove")));
            };
            out.insert(id, Arc::clone(table));
            let change = changes[level.index()].entry(run.id()).or_default();
            change.out.push(Arc::clone(table));
        }
        let mut fresh = BTreeMap::new();
        for AddedTable { level, run, meta } in &edit.added {
            meta.check().map_err(|what| InvalidEdit(format!("table {}: {what}", meta.id)))?;
            let runs = changes.get_mut(level.index()).ok_or_else(|| no_level(*level))?;
            let table = match out.remove(&meta.id) {
                Some(moved) if moved.meta() == meta => moved,
                Some(_) => {
                    let what = "is moved, and described differently than before";
                    return Err(InvalidEdit(format!("table {} {what}", meta.id)));
                }
                None => {
                    let table = TableHandle::new(meta.clone(), files.clone());
                    let twice = live.get(meta.id).is_some()
                        || fresh.insert(meta.id, Arc::clone(&table)).is_some();
                    if twice {
                        let here = self.runs.iter().filter_map(|run| run.find(&meta.min_key));
                        let here = here.into_iter().any(|table| table.id() == meta.id);
                        let what = match here || live.get(meta.id).is_none() {
                            true => "is in the tree twice",
                            false => "is in two keyspaces",
                        };
                        return Err(InvalidEdit(format!("table {} {what}", meta.id)));
                    }
                    table
                }
            };
            runs.entry(*run).or_default().added.push(table);
        }

        let mut levels = self.levels.clone();
        for (level, changes) in levels.iter_mut().zip(changes) {
            if changes.is_empty() {
                continue;
            }
            *level = level.changed(changes)?;
        }
        let runs = levels.iter().flat_map(|level| level.runs.iter().cloned()).collect();
        let version = Version { levels, runs };
        version.check_level_0()?;
        if cfg!(debug_assertions) {
            version.check_invariants()?;
        }
        let obsolete = out.into_values().collect();
        Ok(Applied { version: Arc::new(version), obsolete, added: fresh.into_values().collect() })
    }

    /// [`Version::apply`] where this version has all tables there are.
    #[cfg(test)]
    pub(crate) fn edited(
        &self,
        edit: &VersionEdit,
        files: &Arc<TableStore>,
    ) -> Result<Applied, InvalidEdit> {
        self.apply(edit, &LiveTables::of(self), files)
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
        self.check_level_0()
    }

    /// Checks that the order of level 0 is the order of writes. Cost: a step a run.
    fn check_level_0(&self) -> Result<(), InvalidEdit> {
        for pair in self.levels[0].runs.windows(2) {
            if pair[0].sums().min_seqno <= pair[1].sums().max_seqno {
                let (newer, older) = (pair[0].id().0, pair[1].id().0);
                let what = "though its writes are not all newer";
                return Err(InvalidEdit(format!("L0 run {newer} stands before {older} {what}")));
            }
        }
        Ok(())
    }

    /// The edit that makes this version from an empty one: a snapshot.
    pub(crate) fn as_edit(&self) -> VersionEdit {
        VersionEdit { added: self.as_added().collect(), removed: Vec::new() }
    }

    /// The tables as an edit would add them to an empty version, one at a time.
    pub(crate) fn as_added(&self) -> impl Iterator<Item = AddedTable> {
        (0u8..).zip(&self.levels).flat_map(|(number, level)| {
            level.runs.iter().flat_map(move |run| {
                run.tables().iter().map(move |table| AddedTable {
                    level: Level(number),
                    run: run.id(),
                    meta: table.meta().clone(),
                })
            })
        })
    }
}

fn no_level(level: Level) -> InvalidEdit {
    InvalidEdit(format!("there is no level {level}; the deepest is L{}", MAX_LEVELS - 1))
}
