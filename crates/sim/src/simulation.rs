//! Runs a [`Plan`]: one thread, and everything that happens drawn from its seed.
//!
//! The background does nothing by itself. Its jobs (flushes, compactions, logs made
//! ready, files removed) are steps, drawn between operations and wherever the engine
//! waits for one, in the middle of a commit too. While a job writes or removes
//! tables, `others` come in. The power may fail at any changing call;
//! then the operation goes on in a world that nobody will see, and the next life
//! begins from what was left.
//!
//! At the end nothing fails any more, nobody writes, and within a bounded number of
//! steps all that is owed must be done: MemTables in tables, trees in shape, files
//! that nobody needs removed.

mod bounds;
mod summary;
mod trouble;
mod work;

use crate::operation::{Exit, Operation, ValueSpec, Write};
use crate::oracle::{CHECKPOINTS_DIR, Oracle};
use crate::others::{Deed, Others};
use crate::plan::{Event, Plan, Turn};
use crate::repaired::everything_comes_out;
use crate::runner::{MEMORY_BYTES, PATH, Runner, Surroundings};
use crate::trace::Trace;
use crate::tuning::descriptor_limit;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use tanada::{Durability, Error, Scheduler, Stats};
use tanada_vfs::MemoryMachine;
use tanada_vfs::fault::{Call, Op};
use tanada_vfs::memory::Dice;

pub use summary::Summary;
pub use work::Work;
use work::{Seen, Signs};

/// More steps than any run owes at its end.
const MOST_STEPS: u64 = 5_000;
/// More than any turn takes: somebody waits for what never comes.
const MOST_ORDERS: u64 = 50_000;
/// How deep others interrupt each other.
const MOST_DEPTH: u32 = 2;
/// Seeds of which one has its database repaired at the end.
const REPAIR_EVERY: u64 = 8;
/// So many looks for work in a row, in different orders, that there is none.
const QUIET: u32 = 16;

/// Runs `plan`.
///
/// # Panics
/// When any promise is broken.
pub fn run(plan: &Plan) -> Summary {
    let mut simulation = Simulation::begin(plan);
    for turn in &plan.turns {
        simulation.take(turn);
    }
    simulation.end(plan.seed)
}

/// Draws what happens next.
#[derive(Debug)]
struct Orders(Mutex<Drawn>);

#[derive(Debug)]
struct Drawn {
    dice: Dice,
    /// Orders given in this turn, and in all.
    given: u64,
    all: u64,
}

impl Orders {
    fn new_turn(&self, seed: u64) {
        let mut drawn = self.0.lock();
        drawn.dice = Dice::new(seed);
        drawn.given = 0;
    }

    /// Dice of their own for one thing.
    fn dice(&self) -> Dice {
        Dice::new(self.0.lock().dice.next_u64())
    }
}

impl Scheduler for Orders {
    fn order(&self) -> u64 {
        let mut drawn = self.0.lock();
        drawn.given += 1;
        drawn.all += 1;
        assert!(drawn.given < MOST_ORDERS, "{MOST_ORDERS} steps did not bring what is waited for");
        drawn.dice.next_u64()
    }
}

/// What the machine's calls look at and change.
struct World {
    orders: Arc<Orders>,
    oracle: Arc<Mutex<Oracle>>,
    state: Mutex<State>,
    /// Calls that have failed as a plan says. Relaxed, as the next: there is one thread.
    struck: AtomicU64,
    /// Whether a job's sync of the directory has failed in this life.
    names_lost: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Changing calls until the next life begins, and how this one ends.
    cut: Option<(u64, Exit)>,
    fallen: Option<Fallen>,
    others: Option<Arc<Others>>,
    /// Whether nobody holds what a write needs.
    may_write: bool,
    /// Whether calls fail, so that errors may be answered.
    faulty: bool,
    /// Whether calls fail so that writes may be refused: not where a sector is bad.
    refuses: bool,
    /// Whether the disk has an end, so that errors may be answered.
    tight: bool,
    /// Whether calls may fail so that nobody knows what is on disk.
    unsure: bool,
    depth: u32,
    changes: u64,
    deeds: u64,
}

impl State {
    fn may_answer_errors(&self) -> bool {
        self.faulty || self.tight
    }

    /// Whether writes may be refused, and files be left lying.
    fn may_refuse_writes(&self) -> bool {
        self.refuses || self.tight
    }

    /// No call fails any more.
    fn calls_succeed(&mut self) {
        (self.faulty, self.refuses, self.unsure) = (false, false, false);
    }
}

/// What the next life begins with.
struct Fallen {
    machine: MemoryMachine,
    oracle: Oracle,
    exit: Exit,
    tight: bool,
}

impl World {
    fn before_change(&self, machine: &MemoryMachine, call: &Call) {
        if std::thread::panicking() {
            return;
        }
        {
            let mut state = self.state.lock();
            state.changes += 1;
            if state.fallen.is_some() {
                return;
            }
            match state.cut {
                Some((0, exit)) => {
                    let machine = match exit {
                        Exit::PowerCut(seed) => machine.crash(seed),
                        _ => machine.kill(),
                    };
                    let oracle = self.oracle.lock().clone();
                    let tight = state.tight;
                    state.fallen = Some(Fallen { machine, oracle, exit, tight });
                    state.cut = None;
                    return;
                }
                Some((left, exit)) => state.cut = Some((left - 1, exit)),
                None => {}
            }
        }
        // Tables are written and removed by jobs alone, which hold no lock meanwhile; nor
        // does a checkpoint while it writes.
        let table = call.path.extension().is_some_and(|extension| extension == "sst");
        let job = table && matches!(call.op, Op::Create | Op::Append | Op::Sync | Op::Remove);
        if job || (call.op != Op::Lock && is_in_checkpoint(&call.path)) {
            self.meanwhile();
        }
    }

    fn meanwhile(&self) {
        let mut dice = self.orders.dice();
        if !dice.chance(300) {
            return;
        }
        let (others, may_write, faulty) = {
            let mut state = self.state.lock();
            let Some(others) = state.others.clone() else { return };
            if state.depth == MOST_DEPTH {
                return;
            }
            state.depth += 1;
            state.deeds += 1;
            (others, state.may_write, state.may_answer_errors())
        };
        for _ in 0..1 + dice.below(3) {
            let deed = Deed::draw(&mut dice, may_write);
            self.state.lock().may_write = may_write && deed != Deed::Write;
            let done = others.act(deed, &mut dice);
            self.state.lock().may_write = may_write;
            if let Err(e) = done {
                assert!(faulty && is_cause(&e), "{deed:?} during a job: {e}");
            }
        }
        self.state.lock().depth -= 1;
    }
}

/// Whether it lies in the directory of a checkpoint.
fn is_in_checkpoint(path: &Path) -> bool {
    path.parent().is_some_and(|dir| dir.parent() == Some(Path::new(CHECKPOINTS_DIR)))
}

/// Only these may be answered when a call fails: the cause, or what it led to.
fn is_cause(e: &Error) -> bool {
    matches!(e, Error::Io(_) | Error::ReadOnly { .. } | Error::Poisoned { .. })
}

struct Simulation {
    runner: Runner,
    world: Arc<World>,
    trace: Trace,
    l0_runs: u64,
    /// Bytes that the logs and tables of all that MemTables may hold will not fill.
    enough_for_deletes: u64,
    /// Whether a call has failed in this life: files may have been left lying.
    scarred: bool,
    /// Turns taken.
    turns: u64,
    /// Of a full MemTable.
    memtable_bytes: u64,
    /// Which parts of the engine have been at work.
    seen: Seen,
    /// Refusals of writes that have ended without an opening.
    healings: u64,
    /// Compactions that were carried out elsewhere.
    elsewhere: Arc<AtomicU64>,
    summary: Summary,
}

/// Or the database and its others would keep each other.
impl Drop for Simulation {
    fn drop(&mut self) {
        self.part();
        self.runner.faults().remove_hook();
    }
}

impl Simulation {
    fn begin(plan: &Plan) -> Simulation {
        let drawn = Drawn { dice: Dice::new(plan.seed), given: 0, all: 0 };
        let orders = Arc::new(Orders(Mutex::new(drawn)));
        let oracle = Arc::new(Mutex::new(Oracle::new()));
        let machine = MemoryMachine::new(plan.seed);
        if let Some(limit) = descriptor_limit(&plan.tuning) {
            machine.set_descriptor_limit(limit);
        }
        let mut runner = Runner::before_opening(machine, Arc::clone(&oracle), plan.settings);
        let trace = Trace::default();
        let elsewhere = Arc::default();
        runner.surround(Surroundings {
            tuning: plan.tuning,
            scheduler: Some(Arc::clone(&orders) as Arc<dyn Scheduler>),
            trace: Some(trace.clone()),
            elsewhere: plan.elsewhere.then(|| Arc::clone(&elsewhere)),
        });
        let state = Mutex::default();
        let (struck, names_lost) = (AtomicU64::new(0), AtomicBool::new(false));
        let world = Arc::new(World { orders, oracle, state, struck, names_lost });
        let l0_runs = plan.tuning.l0_runs.unwrap_or(8) as u64;
        // A log as small as the first: a smaller one is tried where there is no room.
        let log = plan.tuning.log_bytes.unwrap_or(1 << 20);
        let memtables = plan.tuning.memtables_max_bytes.unwrap_or(MEMORY_BYTES);
        let mut simulation = Simulation {
            runner,
            world,
            trace,
            l0_runs,
            enough_for_deletes: log + memtables + (256 << 10),
            scarred: false,
            turns: 0,
            memtable_bytes: plan.tuning.memtable_bytes.unwrap_or(MEMORY_BYTES),
            seen: Seen::default(),
            healings: 0,
            elsewhere,
            summary: Summary::default(),
        };
        simulation.come_up(Exit::Close, 0);
        simulation
    }

    fn take(&mut self, turn: &Turn) {
        self.world.orders.new_turn(turn.seed);
        match &turn.event {
            Event::Do(operation) => self.perform(operation),
            Event::Work(steps) => {
                self.world.state.lock().may_write = true;
                for _ in 0..*steps {
                    self.runner.db().step();
                }
            }
            Event::CutAt(calls, exit) => self.world.state.lock().cut = Some((*calls, *exit)),
            Event::Fault(fault) => self.let_fail(fault),
            Event::Room(bytes) => self.leave_room(*bytes),
            Event::Mend => self.mend(),
            Event::Night(hours, kept) => self.pass_the_night(*hours, *kept),
        }
        self.fall();
        self.check_bounds();
    }

    fn perform(&mut self, operation: &Operation) {
        self.summary.operations += 1;
        if let Operation::Reopen(exit, durability) = operation {
            self.runner.set_durability(*durability);
            self.reopen(*exit);
            return;
        }
        let writes = matches!(
            operation,
            Operation::WriteOne(_) | Operation::WriteBatch(..) | Operation::WriteIf(..)
        );
        self.world.state.lock().may_write = !writes;
        let owed = self.what_is_owed(operation);
        match self.runner.apply(operation) {
            answer if !self.has_fallen() && !owed.is_kept_by(&answer) => {
                panic!("{owed}: {answer:?}")
            }
            Ok(()) if matches!(operation, Operation::CreateKeyspace(..)) => self.meet(),
            Ok(()) => {}
            Err(e) => {
                self.expect_cause(&e);
                if matches!(e, Error::Poisoned { .. }) && !self.has_fallen() {
                    assert!(self.may_poison(), "a disk with some room ended the writing: {e}");
                    self.reopen(Exit::Kill);
                }
            }
        }
    }

    fn has_fallen(&self) -> bool {
        self.world.state.lock().fallen.is_some()
    }

    /// Begins the next life when the power has failed meanwhile; and again, when it
    /// failed in the middle of that.
    fn fall(&mut self) {
        loop {
            let Some(fallen) = self.world.state.lock().fallen.take() else { return };
            self.note_work();
            self.part();
            let Fallen { machine, oracle, exit, tight } = fallen;
            let floor = self.runner.fall_back(machine, oracle, exit);
            self.summary.crashes += 1;
            self.summary.cut_calls += 1;
            {
                let mut state = self.world.state.lock();
                state.calls_succeed();
                state.tight = tight;
            }
            self.come_up(exit, floor);
        }
    }

    fn reopen(&mut self, exit: Exit) {
        self.note_work();
        self.part();
        let floor = match self.runner.go_down(exit) {
            Ok(floor) => floor,
            Err(e) => {
                self.expect_cause(&e);
                self.world.oracle.lock().buffered
            }
        };
        if matches!(exit, Exit::Kill | Exit::PowerCut(_)) {
            // A new machine, on which nothing fails.
            self.summary.crashes += 1;
            self.world.state.lock().calls_succeed();
        }
        self.come_up(exit, floor);
    }

    fn come_up(&mut self, exit: Exit, floor: u64) {
        self.world.names_lost.store(false, Relaxed);
        let (world, machine) = (Arc::clone(&self.world), self.runner.machine().clone());
        let hook = move |_, call: &Call| world.before_change(&machine, call);
        self.runner.faults().before_each_change(hook);
        if let Err(e) = self.runner.come_up(exit, floor) {
            self.expect_cause(&e);
            self.end_trouble();
            // It was the opening's own sync that failed: the next one makes another.
            self.world.names_lost.store(false, Relaxed);
            if let Err(e) = self.runner.come_up(exit, floor) {
                panic!("it does not open though nothing fails any more: {e}");
            }
        }
        self.scarred = self.world.state.lock().may_refuse_writes();
        self.meet();
    }

    /// Notes which parts of the engine have been at work in this life.
    fn note_work(&mut self) -> Stats {
        let stats = self.runner.db().stats();
        let (healings, elsewhere) = (self.healings, self.elsewhere.load(Relaxed));
        self.seen.note(&Signs { stats: &stats, healings, elsewhere });
        stats
    }

    /// Lets others have the database too.
    fn meet(&self) {
        let others = Others {
            db: self.runner.db().clone(),
            spaces: self.runner.keyspaces().to_vec(),
            oracle: Arc::clone(&self.world.oracle),
            machine: self.runner.machine().clone(),
            time: self.runner.time().clone(),
            snapshots: Mutex::default(),
        };
        let before = self.world.state.lock().others.replace(Arc::new(others));
        drop(before);
    }

    /// Nobody else has the database from now on.
    fn part(&self) {
        let before = self.world.state.lock().others.take();
        drop(before);
    }

    fn end(mut self, seed: u64) -> Summary {
        self.world.orders.new_turn(seed);
        self.world.state.lock().cut = None;
        self.mend();
        self.fall();
        // The disk that the next life began on may still have an end.
        self.mend();
        if self.scarred {
            self.reopen(Exit::Kill);
        }
        self.drain();
        if seed.is_multiple_of(REPAIR_EVERY) {
            self.repair();
        }
        self.perform(&Operation::Flush(None));
        self.drain();
        self.check_logs();
        self.runner.check_everything().expect("nothing fails here");
        self.reopen(Exit::PowerCut(seed));
        let state = self.world.state.lock();
        let mut summary = self.summary;
        summary.operations += state.deeds;
        summary.changes = state.changes;
        summary.struck = self.world.struck.load(Relaxed);
        summary.steps = self.world.orders.0.lock().all;
        summary.work = self.seen.of_a_run();
        summary.trace = self.trace.value();
        summary.answers = self.runner.answers();
        summary
    }

    /// Repairs what a kill would leave now, beside the database.
    fn repair(&mut self) {
        let value = Some(ValueSpec { len: 20, stamp: 2, plain: true });
        let write = Write { space: 0, key: b"last".to_vec(), value, ttl_ms: None };
        // All writes before it are as safe as it is.
        self.perform(&Operation::WriteBatch(vec![write], Durability::Buffered));
        let (runner, machine) = (&self.runner, self.runner.machine().kill());
        // What had expired by the time that the database believes in may be gone, should that
        // be ahead of the right one.
        let (time, now) = (runner.time(), runner.machine());
        let now_ms = time.now_ms(now).max(time.believed_ms(now, runner.db()));
        machine.clock().set_wall_ms(now_ms);
        everything_comes_out(&machine, &self.world.oracle.lock());
    }

    /// Nobody reads or writes: what is owed must be done, within bounds.
    fn drain(&mut self) {
        self.part();
        self.runner.let_go();
        let (mut steps, mut quiet) = (0, 0);
        while quiet < QUIET {
            if self.runner.db().step() {
                (steps, quiet) = (steps + 1, 0);
                assert!(steps < MOST_STEPS, "{steps} steps, and there is still work");
            } else {
                quiet += 1;
            }
        }
        let stats = self.runner.db().stats();
        assert_eq!(stats.read_only, None);
        assert_eq!((stats.flush.running, stats.compaction.running), (0, 0));
        assert_eq!(stats.flush.pending_bytes, 0, "MemTables wait for their flush");
        assert_eq!(stats.compaction.pending_bytes, 0, "tables wait for their compaction");
        let mut tables = 0;
        for keyspace in &stats.keyspaces {
            assert_eq!(keyspace.sealed_memtables, 0, "of {}", keyspace.name);
            let level_0 = keyspace.levels.first().map_or(0, |level| level.runs);
            assert!(level_0 < 4 * self.l0_runs, "{level_0} runs in level 0 of {}", keyspace.name);
            tables += keyspace.levels.iter().map(|level| level.tables).sum::<u64>();
        }
        assert_eq!(self.files(".sst"), tables, "files of tables that nobody needs, or too few");
    }

    /// With nothing in MemTables, one log is being written, and one may be ready.
    fn check_logs(&self) {
        let stats = self.runner.db().stats();
        assert!(stats.wal.files <= 2, "{} logs are kept", stats.wal.files);
        let found = self.files(".log");
        assert!(found <= stats.wal.files + 1, "{found} log files, {} needed", stats.wal.files);
    }

    fn files(&self, suffix: &str) -> u64 {
        let names = self.runner.machine().env().fs.read_dir(Path::new(PATH));
        let names = names.expect("the database is there");
        names.iter().filter(|entry| entry.name.ends_with(suffix)).count() as u64
    }
}
