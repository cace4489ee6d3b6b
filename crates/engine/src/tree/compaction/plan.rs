//! What a job is to do, and which jobs are under way.

use super::set_aside::SetAside;
use crate::tree::version::{
    AddedTable, RemovedTable, RunId, TableHandle, TableMeta, Version, VersionEdit,
};
use std::collections::HashSet;
use std::sync::Arc;
use tanada_format::{Level, TableId, planted};

/// Why a job was picked; for logs and statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Level 0 has too many runs over one key.
    Level0Runs,
    /// Level 0 is wide, and does not go down: its newest runs become one.
    Level0Width,
    /// A level is larger than it should be.
    LevelSize,
    /// A level has too many runs over one key.
    LevelRuns,
    /// A level has many more tables than its bytes ask for.
    SmallTables,
    /// Tables hold many deletes or expired values.
    Garbage,
    /// All values of the tables have expired.
    Expired,
    /// Someone asked.
    Manual,
}

/// How a plan is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// The inputs are merged into new tables.
    Merge,
    /// The inputs change their place; no byte is read.
    Move,
    /// The inputs go; nothing in them is visible, or hides anything.
    Drop,
}

/// Tables of one run. `T` is what is known of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputRun<T = Arc<TableHandle>> {
    /// The level that the run belongs to.
    pub(crate) level: Level,
    /// The run.
    pub(crate) run: RunId,
    /// Tables of it, in key order; at least one.
    pub(crate) tables: Vec<T>,
}

/// Which run of the target level receives the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutputRun {
    /// This one. It may have lost all of its tables meanwhile, or to this job.
    Existing(RunId),
    /// A new one, newer than all others there. It takes its number from the
    /// counter of table ids when the job starts.
    New,
}

/// One job, decided.
///
/// Invariants:
/// 1. for every key of `min_key..=max_key`, what lies outside of the job is
///    newer than the outputs' place or older than it, as it was to the inputs;
/// 2. `older` covers every table that may hold versions older than the
///    inputs', inputs excepted.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) method: Method,
    pub(crate) reason: Reason,
    /// What goes in, newest run first.
    pub(crate) inputs: Vec<InputRun>,
    /// Where it goes.
    pub(crate) target: Level,
    pub(crate) output_run: OutputRun,
    /// Smallest key of the inputs.
    pub(crate) min_key: Box<[u8]>,
    /// Largest key of the inputs.
    pub(crate) max_key: Box<[u8]>,
    /// Tables outside of the job with possibly older versions of its keys, one
    /// list in key order a run.
    pub(crate) older: Vec<Vec<Arc<TableHandle>>>,
    /// Tables of the level below the target, in key order: outputs are cut so
    /// that none overlaps too much of them.
    pub(crate) grandparents: Vec<Arc<TableHandle>>,
    /// [`super::Config::table_bytes_in`] the target.
    pub(crate) table_bytes: u64,
    /// [`super::Config::grandparent_bytes`].
    pub(crate) grandparent_bytes: u64,
}

impl Plan {
    /// All inputs.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<TableHandle>> {
        self.inputs.iter().flat_map(|run| &run.tables)
    }

    /// How [`InFlight`] knows the job: without the tables, which shall not live on for it.
    pub(crate) fn job(&self) -> Job {
        Job { name: name_of(self), tables: self.tables().map(|table| table.id()).collect() }
    }

    /// Bytes of all inputs.
    pub(crate) fn input_bytes(&self) -> u64 {
        self.tables().map(|table| table.meta().size_bytes).sum()
    }

    /// Bytes of the inputs that leave level 0.
    pub(crate) fn level_0_bytes(&self) -> u64 {
        let leave = |run: &&InputRun| run.level.0 == 0 && self.target.0 != 0;
        let tables = self.inputs.iter().filter(leave).flat_map(|run| &run.tables);
        tables.map(|table| table.meta().size_bytes).sum()
    }

    /// The edit of a plan that needs no merging; `None` for one that does.
    /// `next_id` answers an unused number of the table counter.
    pub(crate) fn edit_without_merge(
        &self,
        next_id: impl FnOnce() -> TableId,
    ) -> Option<VersionEdit> {
        match self.method {
            Method::Merge => None,
            Method::Drop => Some(self.edit(RunId(0), [])),
            Method::Move => {
                let run = self.run(next_id);
                Some(self.edit(run, self.tables().map(|table| table.meta().clone())))
            }
        }
    }

    /// The run that the outputs go to.
    pub(crate) fn run(&self, next_id: impl FnOnce() -> TableId) -> RunId {
        match self.output_run {
            OutputRun::Existing(run) => run,
            OutputRun::New => RunId(next_id().0),
        }
    }

    /// The edit that replaces the inputs by `outputs`.
    pub(crate) fn edit(
        &self,
        run: RunId,
        outputs: impl IntoIterator<Item = TableMeta>,
    ) -> VersionEdit {
        let added = outputs.into_iter().map(|meta| AddedTable { level: self.target, run, meta });
        let removed = self.inputs.iter().flat_map(|input| {
            input.tables.iter().map(|table| RemovedTable { level: input.level, id: table.id() })
        });
        VersionEdit { added: added.collect(), removed: removed.collect() }
    }
}

/// A job under way, by the ids of its inputs.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    name: TableId,
    tables: Vec<TableId>,
}

/// The jobs of one tree that are under way, so that no two touch each other. Holds no
/// table: who is told that a job has ended may rely on its inputs having been let go of.
///
/// Two jobs over the same inputs would each write their own truth; a job whose
/// outputs pass those of another in the same keys would turn old and new around.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    tables: HashSet<TableId>,
    outputs: Vec<Output>,
    /// What each job takes from each run.
    inputs: Vec<Input>,
    /// Tables that are left alone since they could not be read.
    pub(crate) set_aside: SetAside,
    /// Decisions so far.
    turn: u64,
    /// Whether scans may have paid for the garbage of some table.
    paid: bool,
}

/// What a job takes from one run.
#[derive(Debug)]
struct Input {
    job: TableId,
    level: usize,
    /// One of its tables, and a key by which it is found: while it is in the tree, all of
    /// them are.
    table: TableId,
    key: Box<[u8]>,
    bytes: u64,
}

/// Where a job will write.
#[derive(Debug)]
struct Output {
    /// An input of the job: its name here.
    job: TableId,
    target: usize,
    min_key: Box<[u8]>,
    max_key: Box<[u8]>,
}

impl InFlight {
    /// Notes whether scans may have paid for the garbage of some table.
    pub(crate) fn note_paid(&mut self, paid: bool) {
        self.paid = paid;
    }

    /// Whether to look for tables for whose garbage scans have paid.
    pub(super) fn is_paid(&self) -> bool {
        self.paid
    }

    /// Notes that `plan` is being carried out.
    pub(crate) fn start(&mut self, plan: &Plan) {
        for table in plan.tables() {
            let fresh = self.tables.insert(table.id());
            assert!(fresh, "table {} is an input of two jobs", table.id());
        }
        self.outputs.push(Output {
            job: name_of(plan),
            target: plan.target.index(),
            min_key: plan.min_key.clone(),
            max_key: plan.max_key.clone(),
        });
        self.inputs.extend(plan.inputs.iter().map(|run| Input {
            job: name_of(plan),
            level: run.level.index(),
            table: run.tables[0].id(),
            key: run.tables[0].meta().min_key.clone(),
            bytes: run.tables.iter().map(|table| table.meta().size_bytes).sum(),
        }));
        self.next_turn();
    }

    /// Lets the next decision look at other tables of a level that has very many.
    pub(crate) fn next_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// How often it has been another's turn.
    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }

    /// Bytes of `level` in this version that jobs have taken, or that are set aside. Cost: a search for each
    /// run that a job takes something from.
    pub(crate) fn bytes_in(&self, version: &Version, level: usize) -> u64 {
        let runs = version.levels()[level].runs();
        let is_there = |input: &&Input| {
            let found = runs.iter().filter_map(|run| run.find(&input.key));
            found.into_iter().any(|found| found.id() == input.table)
        };
        let taken = self.inputs.iter().filter(|input| input.level == level);
        let taken: u64 = taken.filter(is_there).map(|input| input.bytes).sum();
        taken + self.set_aside.bytes_in(version, level)
    }

    /// Notes that a job has ended, well or not. Its plan should be gone: with it the last
    /// holder of tables that the job has replaced.
    pub(crate) fn end(&mut self, job: &Job) {
        for table in &job.tables {
            self.tables.remove(table);
        }
        self.outputs.retain(|output| output.job != job.name);
        self.inputs.retain(|input| input.job != job.name);
    }

    /// As [`InFlight::end`], for a plan that lives on.
    #[cfg(test)]
    pub(crate) fn finish(&mut self, plan: &Plan) {
        self.end(&plan.job());
    }

    /// Whether a job has this table as input.
    pub(crate) fn has(&self, table: TableId) -> bool {
        !planted!(two_compactions_same_inputs) && self.tables.contains(&table)
    }

    /// Whether a job from `source` to `target` over these keys would meet or
    /// pass the outputs of another.
    pub(crate) fn blocks(&self, source: usize, target: usize, min: &[u8], max: &[u8]) -> bool {
        if planted!(two_compactions_same_inputs) {
            return false;
        }
        self.outputs.iter().any(|output| {
            let met = output.target == target || (source + 1..target).contains(&output.target);
            met && *output.min_key <= *max && min <= &*output.max_key
        })
    }
}

fn name_of(plan: &Plan) -> TableId {
    plan.tables().next().expect("a plan has inputs").id()
}
