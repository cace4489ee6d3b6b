//! Does operations on a database, and compares every answer with the oracle's.

mod compare;
mod checkpoints;
mod conditions;
mod follow;
mod life;
mod reads;
mod scans;
mod writes;

use crate::digest::Digest;
use crate::operation::{Cover, Direction, Key, Operation, Range};
use crate::oracle::{Moment, Oracle};
use crate::trace::Trace;
use parking_lot::Mutex;
use scans::{RunningCursor, RunningScan};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tanada::{Changes, Compression, Db, Durability, Keyspace, Result, Scheduler, Snapshot, Tuning};
use tanada_vfs::fault::Faults;
use tanada_vfs::{Clock, MemoryMachine};

/// Where the database lies on its machine.
pub const PATH: &str = "/db";
/// Least budget that the engine takes, so that MemTables fill and caches evict.
pub const MEMORY_BYTES: u64 = 16 << 20;
/// Snapshots, iterators and cursors held at once, of each.
const SLOTS: usize = 4;

/// How a database is opened.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Of the default keyspace.
    pub compression: Compression,
    /// Of writes that do not say.
    pub durability: Durability,
}

/// What a simulation puts around the engine. The default is nothing.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Sizes of its parts.
    pub tuning: Tuning,
    /// Who says what the background does next.
    pub scheduler: Option<Arc<dyn Scheduler>>,
    /// Who notes every call to the machine.
    pub trace: Option<Trace>,
    /// Counts the compactions that are carried out [elsewhere](crate::elsewhere); `None`
    /// when the database does them itself.
    pub elsewhere: Option<Arc<AtomicU64>>,
}

/// What time it is, whatever the machine's clock says. Clones are the same. Relaxed: all of
/// it happens in one thread.
#[derive(Clone, Debug)]
pub struct TrueTime(Arc<Truth>);

#[derive(Debug)]
struct Truth {
    /// By how much the clock is wrong, in milliseconds.
    wrong_by_ms: AtomicI64,
    /// The latest time that was asked for, milliseconds since 1970.
    latest_ms: AtomicU64,
    /// Whether the clock was wrong when the database was opened, and has not been set right.
    opened_wrong: AtomicBool,
}

impl TrueTime {
    fn new(machine: &MemoryMachine) -> TrueTime {
        TrueTime(Arc::new(Truth {
            wrong_by_ms: AtomicI64::new(0),
            latest_ms: AtomicU64::new(machine.clock().wall_ms()),
            opened_wrong: AtomicBool::new(false),
        }))
    }

    fn wrong_by_ms(&self) -> i64 {
        self.0.wrong_by_ms.load(Ordering::Relaxed)
    }

    /// Whether the machine's clock is right, and was at the opening.
    pub fn is_right(&self) -> bool {
        self.wrong_by_ms() == 0 && !self.0.opened_wrong.load(Ordering::Relaxed)
    }

    /// The time. Never goes back.
    pub fn now_ms(&self, machine: &MemoryMachine) -> u64 {
        let now = machine.clock().wall_ms().wrapping_add_signed(-self.wrong_by_ms());
        now.max(self.0.latest_ms.fetch_max(now, Ordering::Relaxed))
    }

    /// Sets the clock forward or back.
    fn jump(&self, machine: &MemoryMachine, by_ms: i64) {
        self.now_ms(machine);
        let clock = machine.clock();
        clock.set_wall_ms(clock.wall_ms().checked_add_signed(by_ms).expect("it is not so wrong"));
        self.0.wrong_by_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Sets the clock right.
    pub fn set_right(&self, machine: &MemoryMachine) {
        machine.clock().set_wall_ms(self.now_ms(machine));
        self.0.wrong_by_ms.store(0, Ordering::Relaxed);
    }

    /// Sets the clock right for the next life, unless that may be shown a wrong one.
    fn restore(&self, machine: &MemoryMachine) {
        let stays_wrong = self.wrong_by_ms() > PLAUSIBLE_GAP_MS
            && !self.0.opened_wrong.load(Ordering::Relaxed)
            && machine.clock().wall_ms() > self.0.latest_ms.load(Ordering::Relaxed);
        self.0.opened_wrong.store(stays_wrong, Ordering::Relaxed);
        if !stays_wrong {
            self.set_right(machine);
            return;
        }
        // The machine may be one of the past, when its clock was right.
        let latest = self.0.latest_ms.load(Ordering::Relaxed);
        machine.clock().set_wall_ms(latest.saturating_add_signed(self.wrong_by_ms()));
    }

    /// The time by which `db` judges expiry.
    ///
    /// # Panics
    /// When no right clock could have led to it.
    pub fn believed_ms(&self, machine: &MemoryMachine, db: &Db) -> u64 {
        let (truth, believed) = (self.now_ms(machine), db.now().0);
        let wall = machine.clock().wall_ms();
        if self.wrong_by_ms() == 0 {
            self.0.opened_wrong.store(false, Ordering::Relaxed);
        }
        if self.0.opened_wrong.load(Ordering::Relaxed) {
            // An opening believes what it is shown; from there on the same holds.
            assert!(believed + JITTER_MS >= truth, "{believed} is believed at {truth}");
            return believed;
        }
        assert!(
            truth <= believed + JITTER_MS && believed <= truth + MOST_AHEAD_MS,
            "{believed} is believed at {truth}, when the clock says {wall}"
        );
        let plausible = (truth..=truth + MOST_BELIEVED_MS).contains(&wall);
        assert!(!plausible || believed.abs_diff(wall) <= JITTER_MS, "{believed} at {wall}");
        believed
    }
}

/// Longer than this nobody has had a database closed.
const PLAUSIBLE_GAP_MS: i64 = 40 * 24 * 3_600_000;
/// So much ahead a clock is believed for certain, and so much it is for certain not.
const MOST_BELIEVED_MS: u64 = 240_000;
const MOST_AHEAD_MS: u64 = 360_000;
/// Time may stand still for so long.
const JITTER_MS: u64 = 1000;

/// A database on a machine in memory, and what it must answer.
pub struct Runner {
    machine: MemoryMachine,
    /// The machine's file system, failing when told to.
    faults: Faults,
    /// Shared with whoever cuts the run at its calls.
    oracle: Arc<Mutex<Oracle>>,
    settings: Settings,
    surroundings: Surroundings,
    /// Every answer.
    answers: Digest,
    time: TrueTime,
    open: Option<Open>,
    /// Whether closing made everything durable, as it does when nothing fails.
    trusts_closing: bool,
    /// Operations done so far.
    pub done: u64,
}

/// What is open, in the order in which it is dropped.
#[derive(Default)]
struct Handles {
    iters: VecDeque<RunningScan>,
    cursors: VecDeque<RunningCursor>,
    snapshots: VecDeque<(Snapshot, Moment)>,
    /// Of the one who follows.
    changes: Option<Changes>,
}

struct Open {
    handles: Handles,
    spaces: Vec<Keyspace>,
    db: Db,
}

impl Runner {
    /// Creates a database on a new machine.
    ///
    /// # Panics
    /// When it cannot be created.
    pub fn new(seed: u64, settings: Settings) -> Runner {
        let machine = MemoryMachine::new(seed);
        let oracle = Arc::new(Mutex::new(Oracle::new()));
        let mut runner = Runner::before_opening(machine, oracle, settings);
        runner.open(0).expect("a new machine lets a database be created");
        runner
    }

    /// A runner that has still to open its database.
    pub fn before_opening(
        machine: MemoryMachine,
        oracle: Arc<Mutex<Oracle>>,
        settings: Settings,
    ) -> Runner {
        checkpoints::make_room(&machine);
        let faults = Faults::over_memory(&machine);
        let time = TrueTime::new(&machine);
        Runner {
            machine,
            faults,
            oracle,
            settings,
            surroundings: Surroundings::default(),
            answers: Digest::default(),
            time,
            open: None,
            trusts_closing: true,
            done: 0,
        }
    }

    /// Puts these around the database from the next opening on.
    pub fn surround(&mut self, surroundings: Surroundings) {
        self.surroundings = surroundings;
    }

    /// The hash of every answer so far. The same operations give the same one,
    /// whatever the sizes and the order of the background's work.
    pub fn answers(&self) -> u64 {
        self.answers.value()
    }

    /// The time.
    pub fn time(&self) -> &TrueTime {
        &self.time
    }

    /// The open keyspaces, the default one first.
    ///
    /// # Panics
    /// When no database is open.
    pub fn keyspaces(&self) -> &[Keyspace] {
        self.spaces()
    }

    /// Of writes that do not say, from the next opening on.
    pub fn set_durability(&mut self, durability: Durability) {
        self.settings.durability = durability;
    }

    /// Lets go of all snapshots, iterators and cursors.
    pub fn let_go(&mut self) {
        *self.handles() = Handles::default();
    }

    /// The machine it runs on.
    pub fn machine(&self) -> &MemoryMachine {
        &self.machine
    }

    /// What lets calls of its file system fail.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What it must answer.
    pub fn oracle(&self) -> &Arc<Mutex<Oracle>> {
        &self.oracle
    }

    /// The open database.
    ///
    /// # Panics
    /// When none is open.
    pub fn db(&self) -> &Db {
        &self.open.as_ref().expect("the database is open").db
    }

    /// Whether a database is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// From now on a close may fail to make everything durable.
    pub fn distrust_closing(&mut self) {
        self.trusts_closing = false;
    }

    /// Does one operation.
    ///
    /// # Errors
    /// What the engine answers; it is up to the caller whether it may.
    ///
    /// # Panics
    /// When an answer is wrong.
    pub fn apply(&mut self, operation: &Operation) -> Result<()> {
        self.done += 1;
        match operation {
            Operation::WriteOne(write) => self.write_one(write),
            Operation::WriteBatch(writes, durability) => self.write_batch(writes, *durability),
            Operation::WriteIf(questions, writes, durability) => {
                self.write_if(questions, writes, *durability)
            }
            Operation::Get(space, key) => self.get(*space, key),
            Operation::Explain(space, key) => self.explain(*space, key),
            Operation::Refused(space, refusal) => self.refused(*space, *refusal),
            Operation::Stats => {
                self.stats();
                Ok(())
            }
            Operation::MultiGet(space, keys) => self.multi_get(*space, keys),
            Operation::GetAt(snapshot, space, key) => self.get_at(*snapshot, *space, key),
            Operation::Scan { space, snapshot, cover, direction } => {
                let mut scan = self.begin_scan(*space, *snapshot, cover);
                scan.run(*direction)
            }
            Operation::OpenIter(space, cover) => {
                // Every third looks through a snapshot, when one is held.
                let snapshot = self.done.is_multiple_of(3).then_some(self.done as usize / 3);
                let scan = self.begin_scan(*space, snapshot, cover);
                hold(&mut self.handles().iters, scan);
                Ok(())
            }
            Operation::StepIter(slot, ends) => {
                let Some(scan) = nth(&mut self.handles().iters, *slot) else { return Ok(()) };
                ends.iter().try_for_each(|end| scan.step(*end))
            }
            Operation::OpenCursor(space, snapshot) => {
                self.open_cursor(*space, *snapshot);
                Ok(())
            }
            Operation::MoveCursor(slot, moves) => {
                let oracle = Arc::clone(&self.oracle);
                let Some(cursor) = nth(&mut self.handles().cursors, *slot) else { return Ok(()) };
                moves.iter().try_for_each(|m| cursor.go(m, &oracle.lock()))
            }
            Operation::TakeSnapshot => {
                let moment = self.moment();
                let snapshot = self.db().snapshot();
                assert_eq!(snapshot.seqno().0, moment.seqno, "a snapshot of another moment");
                hold(&mut self.handles().snapshots, (snapshot, moment));
                Ok(())
            }
            Operation::DropSnapshot(slot) => {
                let snapshots = &mut self.handles().snapshots;
                if !snapshots.is_empty() {
                    let slot = slot % snapshots.len();
                    snapshots.remove(slot);
                }
                Ok(())
            }
            Operation::Flush(None) => {
                let sealed = self.oracle.lock().visible;
                self.db().flush()?;
                // It syncs the log up to where the MemTables ended.
                self.oracle.lock().durable_up_to(sealed);
                Ok(())
            }
            Operation::Flush(Some(space)) => {
                let space = self.space(*space);
                self.spaces()[space].flush()
            }
            Operation::Compact(space, range) => self.compact(*space, range),
            Operation::CreateKeyspace(n, compression) => self.create_keyspace(*n, *compression),
            Operation::Advance(ms) => {
                self.machine.clock().advance(Duration::from_millis(*ms));
                // So that the truth does not fall behind a clock that is wrong.
                self.time.now_ms(&self.machine);
                Ok(())
            }
            Operation::SetBack(ms) => {
                self.jump(-(*ms as i64));
                Ok(())
            }
            Operation::SetForward(ms) => {
                self.jump(*ms as i64);
                Ok(())
            }
            Operation::SetRight => {
                self.now_ms();
                self.time.set_right(&self.machine);
                self.now_ms();
                Ok(())
            }
            Operation::Reopen(exit, durability) => {
                self.set_durability(*durability);
                self.reopen(*exit)
            }
            Operation::Verify => {
                let report = self.db().verify()?;
                assert_eq!(report.damage, Vec::<String>::new());
                Ok(())
            }
            Operation::Follow(begin, groups) => self.follow(*begin, *groups),
            Operation::Checkpoint => self.checkpoint(),
        }
    }

    /// Reads everything in every way, now.
    ///
    /// # Errors
    /// What the engine answers.
    ///
    /// # Panics
    /// When an answer is wrong.
    pub fn check_everything(&mut self) -> Result<()> {
        for space in 0..self.spaces().len() {
            for direction in [Direction::Forward, Direction::Backward] {
                self.begin_scan(space, None, &Cover::All).run(direction)?;
            }
            let keys: Vec<Key> = self.oracle.lock().spaces[space].keys.keys().cloned().collect();
            for key in &keys {
                self.get(space, key)?;
            }
        }
        Ok(())
    }

    fn handles(&mut self) -> &mut Handles {
        &mut self.open.as_mut().expect("the database is open").handles
    }

    fn spaces(&self) -> &[Keyspace] {
        &self.open.as_ref().expect("the database is open").spaces
    }

    /// The database itself, when this operation on its default keyspace goes through
    /// the methods that it and its batches and snapshots have for that one. Every
    /// other operation does.
    fn shortcut(&self, space: usize) -> Option<&Db> {
        (space == 0 && self.done.is_multiple_of(2)).then(|| self.db())
    }

    fn space(&self, n: usize) -> usize {
        n % self.spaces().len()
    }

    /// The engine's time.
    fn now_ms(&self) -> u64 {
        self.time.believed_ms(&self.machine, self.db())
    }

    /// Sets the clock, before the eyes of the engine.
    fn jump(&self, by_ms: i64) {
        self.now_ms();
        self.time.jump(&self.machine, by_ms);
        self.now_ms();
    }

    /// What a read sees now.
    fn moment(&mut self) -> Moment {
        let seqno = self.oracle.lock().visible;
        Moment { seqno, now_ms: self.now_ms() }
    }

    fn compact(&mut self, space: usize, range: &Range) -> Result<()> {
        let space = self.space(space);
        let compacted = match self.shortcut(space) {
            Some(db) => db.compact(range.clone()),
            None => self.spaces()[space].compact(range.clone()),
        };
        compacted.map(drop)
    }
}

/// Keeps one more, and lets the oldest go when there are too many.
fn hold<T>(held: &mut VecDeque<T>, one: T) {
    held.push_back(one);
    if held.len() > SLOTS {
        held.pop_front();
    }
}

fn nth<T>(held: &mut VecDeque<T>, n: usize) -> Option<&mut T> {
    let n = n.checked_rem(held.len())?;
    held.get_mut(n)
}
