//! Does operations on a database, and compares every answer with the oracle's.

use crate::digest::Digest;
use crate::operation::{
    Cover, Direction, End, Exit, Key, Move, Operation, Range, Refusal, ValueSpec, Write,
};
use crate::oracle::{Moment, Oracle, Space};
use crate::trace::Trace;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tanada::{
    Batch, Compression, Cursor, Db, Durability, Error, Iter, Keyspace, KeyspaceOptions,
    MAX_KEY_LEN, PutOptions, Result, Scheduler, Snapshot, Tuning, Value, WriteOptions,
};
use tanada_vfs::fault::Faults;
use tanada_vfs::{Clock, Env, MemoryMachine};

/// Where the database lies on its machine.
pub const PATH: &str = "/db";
/// Least budget that the engine takes, so that MemTables fill and caches evict.
const MEMORY_BYTES: u64 = 16 << 20;
/// Snapshots, iterators and cursors held at once, of each.
const SLOTS: usize = 4;
/// Keyspaces besides the default one.
const MAX_SPACES: usize = 4;

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
}

/// The latest wall time that an engine has been shown, in milliseconds. Clones are
/// the same. Relaxed: all of it happens in one thread.
#[derive(Clone, Debug)]
pub struct ShownTime(Arc<AtomicU64>);

impl ShownTime {
    /// The engine's time now: the clock's, but it never goes back.
    pub fn now_ms(&self, machine: &MemoryMachine) -> u64 {
        let now = machine.clock().wall_ms();
        now.max(self.0.fetch_max(now, Ordering::Relaxed))
    }
}

/// Threads that it thinks it has; the real machine's number must not matter.
const THREADS: usize = 4;

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
    shown: ShownTime,
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
    snapshots: VecDeque<(Snapshot, u64)>,
}

struct Open {
    handles: Handles,
    spaces: Vec<Keyspace>,
    db: Db,
}

/// A begun scan and what it has still to answer.
struct RunningScan {
    iter: Iter,
    expected: VecDeque<(Key, Arc<[u8]>)>,
    failed: bool,
    answers: Digest,
}

/// A cursor, its moment, and the key it must stand on.
struct RunningCursor {
    cursor: Cursor,
    space: usize,
    moment: Moment,
    at: Option<Key>,
    answers: Digest,
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
        let faults = Faults::over_memory(&machine);
        let shown = ShownTime(Arc::new(AtomicU64::new(machine.clock().wall_ms())));
        Runner {
            machine,
            faults,
            oracle,
            settings,
            surroundings: Surroundings::default(),
            answers: Digest::default(),
            shown,
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

    /// The time that the engine has been shown.
    pub fn shown(&self) -> &ShownTime {
        &self.shown
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

    /// Opens again after a close or an open that failed, on the same machine.
    ///
    /// # Errors
    /// Those of opening.
    pub fn open_left(&mut self) -> Result<()> {
        self.open = None;
        let floor = self.oracle.lock().buffered;
        self.open(floor)
    }

    fn env(&self) -> Env {
        let env = self.faults.env(&self.machine.env());
        match &self.surroundings.trace {
            Some(trace) => trace.env(&env),
            None => env,
        }
    }

    /// Opens the database, and checks that what it holds is a prefix of the
    /// commits, not shorter than `floor` and not longer than what was begun.
    /// From then on that prefix is the truth.
    ///
    /// # Errors
    /// Those of opening.
    ///
    /// # Panics
    /// When it holds anything else.
    pub fn open(&mut self, floor: u64) -> Result<()> {
        let mut builder = Db::builder(PATH)
            .memory(MEMORY_BYTES)
            .durability(self.settings.durability)
            .compression(self.settings.compression)
            .threads(THREADS)
            .tuning(self.surroundings.tuning)
            .env(self.env());
        if let Some(scheduler) = &self.surroundings.scheduler {
            builder = builder.scheduler(Arc::clone(scheduler));
        }
        let db = builder.open()?;
        let recovered = db.snapshot().seqno().0;
        {
            let mut oracle = self.oracle.lock();
            let Oracle { started, .. } = *oracle;
            assert!(recovered >= floor, "lost: {recovered} writes are left of {floor} promised");
            assert!(recovered <= started, "{recovered} writes found, {started} begun");
            assert!(oracle.is_end_of_commit(recovered), "a batch is cut in two at {recovered}");
            oracle.truncate(recovered);
            let found = db.keyspaces();
            let known = oracle.spaces.len().min(1 + found.len());
            let mut lost = oracle.spaces.split_off(known);
            lost.retain(|space| space.created);
            assert!(lost.is_empty(), "keyspaces are lost: {lost:?}");
            let known = oracle.spaces.iter_mut().skip(1);
            for (space, name) in known.zip(&found) {
                assert_eq!(&space.name, name);
                space.created = true;
            }
            assert_eq!(found.len(), oracle.spaces.len() - 1, "keyspaces nobody created: {found:?}");
        }
        let mut spaces = vec![db.default_keyspace().clone()];
        for name in db.keyspaces() {
            spaces.push(db.keyspace(&name, KeyspaceOptions::new())?);
        }
        self.open = Some(Open { handles: Handles::default(), spaces, db });
        self.check_everything()
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
                let scan = self.begin_scan(*space, None, cover);
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
                let snapshot = self.db().snapshot();
                let seqno = snapshot.seqno().0;
                assert_eq!(seqno, self.oracle.lock().visible, "a snapshot of another moment");
                hold(&mut self.handles().snapshots, (snapshot, seqno));
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
                Ok(())
            }
            Operation::SetBack(ms) => {
                self.show_clock();
                let wall_ms = self.machine.clock().wall_ms();
                self.machine.clock().set_wall_ms(wall_ms - ms);
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

    /// Goes down, and opens what is left.
    ///
    /// # Errors
    /// Those of opening; the database is down then.
    pub fn reopen(&mut self, exit: Exit) -> Result<()> {
        let floor = self.go_down(exit)?;
        self.come_up(exit, floor)
    }

    /// Goes down. Answers up to where everything must be there when it is opened.
    ///
    /// # Errors
    /// That of closing; the database is down then.
    pub fn go_down(&mut self, exit: Exit) -> Result<u64> {
        match exit {
            Exit::Close | Exit::Drop => {
                let closed = match self.open.take() {
                    Some(open) if exit == Exit::Close => open.db.close(),
                    _ => Ok(()),
                };
                // After a failure too: then nothing has noted the latest time.
                self.restore_clock();
                closed?;
                let mut oracle = self.oracle.lock();
                if self.trusts_closing {
                    oracle.all_durable();
                }
                Ok(oracle.buffered)
            }
            Exit::Kill => {
                self.become_machine(self.machine.kill());
                Ok(self.oracle.lock().buffered)
            }
            Exit::PowerCut(seed) => {
                self.become_machine(self.machine.crash(seed));
                let mut oracle = self.oracle.lock();
                // Should it die again before it is open: the rest may be gone already.
                oracle.buffered = oracle.synced;
                Ok(oracle.synced)
            }
        }
    }

    /// Goes down by being found on `machine` and with `oracle`, both of a moment
    /// in the past. Answers as [`Runner::go_down`].
    pub fn fall_back(&mut self, machine: MemoryMachine, mut oracle: Oracle, exit: Exit) -> u64 {
        if matches!(exit, Exit::PowerCut(_)) {
            oracle.buffered = oracle.synced;
        }
        let floor = oracle.buffered;
        self.become_machine(machine);
        *self.oracle.lock() = oracle;
        floor
    }

    /// Opens what `exit` has left.
    ///
    /// # Errors
    /// Those of opening; the database is down then.
    pub fn come_up(&mut self, exit: Exit, floor: u64) -> Result<()> {
        // An earlier try may have come so far.
        self.open = None;
        self.open(floor)?;
        let mut oracle = self.oracle.lock();
        oracle.buffered = oracle.visible;
        if matches!(exit, Exit::PowerCut(_)) {
            // What a power cut left is what the disk has.
            oracle.synced = oracle.visible;
        }
        Ok(())
    }

    /// The old machine is gone: nothing that the old database does while it is
    /// dropped reaches the new one.
    fn become_machine(&mut self, machine: MemoryMachine) {
        self.open = None;
        self.faults = Faults::over_memory(&machine);
        self.machine = machine;
        self.restore_clock();
    }

    /// Sets a clock that was set back right again: the next life need not know
    /// of the very latest time, for only flushes write it down.
    fn restore_clock(&self) {
        let clock = self.machine.clock();
        clock.set_wall_ms(self.shown.now_ms(&self.machine));
    }

    fn handles(&mut self) -> &mut Handles {
        &mut self.open.as_mut().expect("the database is open").handles
    }

    fn spaces(&self) -> &[Keyspace] {
        &self.open.as_ref().expect("the database is open").spaces
    }

    fn space(&self, n: usize) -> usize {
        n % self.spaces().len()
    }

    /// The engine's time: it never goes back.
    fn now_ms(&self) -> u64 {
        self.shown.now_ms(&self.machine)
    }

    /// Lets the engine look at the clock.
    fn show_clock(&mut self) {
        self.now_ms();
        drop(self.db().cursor());
    }

    /// What a read sees now.
    fn moment(&mut self) -> Moment {
        let seqno = self.oracle.lock().visible;
        Moment { seqno, now_ms: self.now_ms() }
    }

    fn write_one(&mut self, write: &Write) -> Result<()> {
        let write = Write { space: self.space(write.space), ..write.clone() };
        let durability = self.settings.durability;
        self.commit(std::slice::from_ref(&write), durability, |runner| {
            let keyspace = &runner.spaces()[write.space];
            match (write.value.map(ValueSpec::bytes), write.ttl_ms) {
                (None, _) => keyspace.delete(&write.key),
                (Some(value), None) => keyspace.put(&write.key, value),
                (Some(value), Some(_)) => keyspace.put_with(&write.key, value, options(&write)),
            }
        })
    }

    fn write_batch(&mut self, writes: &[Write], durability: Durability) -> Result<()> {
        let place = |write: &Write| Write { space: self.space(write.space), ..write.clone() };
        let writes: Vec<Write> = writes.iter().map(place).collect();
        self.commit(&writes, durability, |runner| {
            let mut batch = Batch::new();
            for write in &writes {
                let keyspace = &runner.spaces()[write.space];
                match write.value {
                    None => batch.delete_in(keyspace, &write.key),
                    Some(value) => {
                        batch.put_in_with(keyspace, &write.key, value.bytes(), options(write));
                    }
                }
            }
            runner.db().write_with(batch, WriteOptions::new().durability(durability))
        })
    }

    fn commit(
        &mut self,
        writes: &[Write],
        durability: Durability,
        write: impl FnOnce(&Runner) -> Result<tanada::SeqNo>,
    ) -> Result<()> {
        let now_ms = self.now_ms();
        let unknown = {
            let oracle = self.oracle.lock();
            oracle.started != oracle.visible
        };
        if unknown {
            // Either nothing is taken any more, or nothing was done the last time:
            // then its numbers are given again, to this write.
            if let Err(e @ Error::Poisoned { .. }) = self.db().write(Batch::new()) {
                return Err(e);
            }
            self.oracle.lock().withdraw();
        }
        let expected = self.oracle.lock().begin(writes, now_ms);
        match write(self) {
            Ok(seqno) => {
                assert_eq!(seqno.0, expected, "the write has another sequence number");
                self.answers.number(seqno.0);
                self.oracle.lock().acknowledge(durability);
                Ok(())
            }
            Err(e) => {
                let nothing_done =
                    matches!(e, Error::InvalidArgument(_) | Error::ReadOnly { .. } | Error::Closed);
                if nothing_done {
                    self.oracle.lock().withdraw();
                }
                Err(e)
            }
        }
    }

    fn get(&mut self, space: usize, key: &Key) -> Result<()> {
        let (space, moment) = (self.space(space), self.moment());
        let keyspace = &self.spaces()[space];
        let (value, contains) = (keyspace.get(key)?, keyspace.contains(key)?);
        let record = keyspace.get_record(key)?;
        let in_memory = match keyspace.try_get_record(key) {
            Err(Error::WouldBlock) => None,
            answer => Some(answer?),
        };
        let oracle = self.oracle.lock();
        let version = oracle.get(space, key, moment);
        let expected = version.and_then(|v| v.value.as_deref());
        self.answers.maybe(value.as_deref());
        if let Some(record) = in_memory {
            check_value("try_get_record", key, record.as_ref().map(|r| &*r.value), expected);
        }
        check_value("get", key, value.as_deref(), expected);
        assert_eq!(contains, expected.is_some(), "contains {}", Short(key));
        check_value("get_record", key, record.as_ref().map(|r| &*r.value), expected);
        if let (Some(record), Some(version)) = (record, version) {
            assert_eq!(record.seqno.0, version.seqno, "version of {}", Short(key));
            assert_eq!(record.expires_at_ms.unwrap_or(0), version.expires_at_ms);
        }
        Ok(())
    }

    fn explain(&mut self, space: usize, key: &Key) -> Result<()> {
        let (space, moment) = (self.space(space), self.moment());
        let explained = self.spaces()[space].explain(key)?;
        self.check_get("explain", space, key, moment, explained.value.as_ref());
        assert!(!explained.steps.is_empty(), "nobody was asked for {}", Short(key));
        if explained.value.is_some() {
            let oracle = self.oracle.lock();
            let version = oracle.get(space, key, moment);
            assert_eq!(explained.seqno, version.map(|v| v.seqno), "version of {}", Short(key));
        }
        Ok(())
    }

    fn refused(&mut self, space: usize, refusal: Refusal) -> Result<()> {
        let space = self.space(space);
        let keyspace = &self.spaces()[space];
        let taken = match refusal {
            Refusal::EmptyKey => keyspace.put(b"", b"value").map(drop),
            Refusal::LongKey => keyspace.get(vec![b'k'; MAX_KEY_LEN + 1]).map(drop),
            Refusal::NoTtl => {
                keyspace.put_with(b"a", b"value", PutOptions::new().ttl(Duration::ZERO)).map(drop)
            }
            Refusal::FaultyBatch => {
                let mut batch = Batch::new();
                batch.put_in(keyspace, b"a", b"must not be there");
                batch.delete_in(keyspace, b"");
                self.db().write(batch).map(drop)
            }
            Refusal::NoName => self.db().keyspace("", KeyspaceOptions::new()).map(drop),
            Refusal::OpenTwice => {
                Db::builder(PATH).memory(MEMORY_BYTES).env(self.env()).open().map(drop)
            }
        };
        match taken {
            Err(Error::InvalidArgument(_)) if refusal != Refusal::OpenTwice => Ok(()),
            Err(Error::Locked { .. }) if refusal == Refusal::OpenTwice => Ok(()),
            Err(e) => Err(e),
            Ok(()) => panic!("{refusal:?} was taken"),
        }
    }

    fn stats(&mut self) {
        let stats = self.db().stats();
        let oracle = self.oracle.lock();
        assert_eq!(stats.seqno, oracle.visible, "statistics of another moment");
        let created = oracle.spaces.iter().filter(|space| space.created);
        let expected: Vec<&str> = created.map(|space| &*space.name).collect();
        let found: Vec<&str> = stats.keyspaces.iter().map(|space| &*space.name).collect();
        assert_eq!(found, expected);
        assert_eq!(self.db().keyspaces(), expected[1..]);
    }

    fn multi_get(&mut self, space: usize, keys: &[Key]) -> Result<()> {
        let (space, moment) = (self.space(space), self.moment());
        let values = self.spaces()[space].multi_get(keys)?;
        assert_eq!(values.len(), keys.len());
        for (key, value) in keys.iter().zip(values) {
            self.check_get("multi_get", space, key, moment, value.as_ref());
        }
        Ok(())
    }

    fn get_at(&mut self, snapshot: usize, space: usize, key: &Key) -> Result<()> {
        let (space, now) = (self.space(space), self.moment());
        let Some((snapshot, seqno)) = nth(&mut self.handles().snapshots, snapshot) else {
            return Ok(());
        };
        let (snapshot, moment) = (snapshot.clone(), Moment { seqno: *seqno, ..now });
        let value = snapshot.get_in(&self.spaces()[space], key)?;
        self.check_get("get at a snapshot", space, key, moment, value.as_ref());
        Ok(())
    }

    fn check_get(
        &self,
        what: &str,
        space: usize,
        key: &Key,
        moment: Moment,
        value: Option<&Value>,
    ) {
        let oracle = self.oracle.lock();
        let expected = oracle.get(space, key, moment).and_then(|v| v.value.as_deref());
        self.answers.maybe(value.map(|v| &**v));
        check_value(what, key, value.map(|v| &**v), expected);
    }

    fn begin_scan(&mut self, space: usize, snapshot: Option<usize>, cover: &Cover) -> RunningScan {
        let (space, now) = (self.space(space), self.moment());
        let snapshot = snapshot.and_then(|n| nth(&mut self.handles().snapshots, n).cloned());
        let keyspace = &self.spaces()[space];
        let (iter, moment) = match (snapshot, cover) {
            (Some((snapshot, seqno)), Cover::All) => {
                (snapshot.range_in(keyspace, ..), Moment { seqno, ..now })
            }
            (Some((snapshot, seqno)), Cover::Range(range)) => {
                (snapshot.range_in(keyspace, range.clone()), Moment { seqno, ..now })
            }
            // Snapshots scan prefixes of the default keyspace alone.
            (Some((snapshot, seqno)), Cover::Prefix(prefix)) if space == 0 => {
                (snapshot.prefix(prefix), Moment { seqno, ..now })
            }
            (_, Cover::All) => (keyspace.iter(), now),
            (_, Cover::Range(range)) => (keyspace.range(range.clone()), now),
            (_, Cover::Prefix(prefix)) => (keyspace.prefix(prefix), now),
        };
        let oracle = self.oracle.lock();
        let expected = oracle.scan(space, cover, moment);
        let expected = expected.map(|(key, value)| (key.clone(), Arc::clone(value))).collect();
        RunningScan { iter, expected, failed: false, answers: self.answers.clone() }
    }

    fn open_cursor(&mut self, space: usize, snapshot: Option<usize>) {
        let (space, now) = (self.space(space), self.moment());
        let snapshot = snapshot.and_then(|n| nth(&mut self.handles().snapshots, n).cloned());
        let opened = match snapshot {
            // Snapshots have cursors over the default keyspace alone.
            Some((snapshot, seqno)) => RunningCursor {
                cursor: snapshot.cursor(),
                space: 0,
                moment: Moment { seqno, ..now },
                at: None,
                answers: self.answers.clone(),
            },
            None => {
                let cursor = self.spaces()[space].cursor();
                RunningCursor {
                    cursor,
                    space,
                    moment: now,
                    at: None,
                    answers: self.answers.clone(),
                }
            }
        };
        hold(&mut self.handles().cursors, opened);
    }

    fn compact(&mut self, space: usize, range: &Range) -> Result<()> {
        let space = self.space(space);
        self.spaces()[space].compact(range.clone()).map(drop)
    }

    fn create_keyspace(&mut self, n: usize, compression: Compression) -> Result<()> {
        let name = format!("space {}", n % MAX_SPACES);
        {
            let mut oracle = self.oracle.lock();
            if oracle.spaces.iter().all(|space| space.name != name) {
                oracle.spaces.push(Space { name: name.clone(), ..Space::default() });
            }
        }
        let options = KeyspaceOptions::new().compression(compression);
        let created = self.db().keyspace(&name, options);
        let mut oracle = self.oracle.lock();
        let keyspace = match created {
            Ok(keyspace) => keyspace,
            Err(e) => {
                if matches!(e, Error::ReadOnly { .. } | Error::Closed) {
                    oracle.spaces.retain(|space| space.created || space.name != name);
                }
                return Err(e);
            }
        };
        let space = oracle.spaces.iter_mut().find(|s| s.name == name).expect("added above");
        if !std::mem::replace(&mut space.created, true) {
            self.open.as_mut().expect("it created a keyspace").spaces.push(keyspace);
        }
        Ok(())
    }
}

impl RunningScan {
    fn run(&mut self, direction: Direction) -> Result<()> {
        let mut turn = 0;
        while !self.expected.is_empty() {
            self.step(match direction {
                Direction::Forward => End::Front,
                Direction::Backward => End::Back,
                Direction::Mixed(bits) if (bits >> (turn % 64)) & 1 == 0 => End::Front,
                Direction::Mixed(_) => End::Back,
            })?;
            turn += 1;
        }
        for end in [End::Front, End::Back, End::Front] {
            self.step(end)?;
        }
        Ok(())
    }

    fn step(&mut self, end: End) -> Result<()> {
        let (found, expected) = match end {
            _ if self.failed => return Ok(()),
            End::Front => (self.iter.next(), self.expected.pop_front()),
            End::Back => (self.iter.next_back(), self.expected.pop_back()),
        };
        let found = found.transpose().inspect_err(|_| self.failed = true)?;
        let found = found.as_ref().map(|(key, value)| (&**key, &**value));
        self.answers.maybe(found.map(|(key, _)| key));
        self.answers.maybe(found.map(|(_, value)| value));
        check_entry("scan", found, expected.as_ref().map(|(key, value)| (&**key, &**value)));
        Ok(())
    }
}

impl RunningCursor {
    fn go(&mut self, to: &Move, oracle: &Oracle) -> Result<()> {
        let at = self.at.take();
        let (space, moment) = (self.space, self.moment);
        let cover = |start, end| Cover::Range((start, end));
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let first = |cover| oracle.scan(space, &cover, moment).next();
        let last = |cover| oracle.scan(space, &cover, moment).next_back();
        let (moved, expected) = match to {
            Move::First => (self.cursor.seek_first(), first(Cover::All)),
            Move::Last => (self.cursor.seek_last(), last(Cover::All)),
            Move::Seek(key) => {
                (self.cursor.seek(key), first(cover(Included(key.clone()), Unbounded)))
            }
            Move::SeekForPrev(key) => {
                (self.cursor.seek_for_prev(key), last(cover(Unbounded, Included(key.clone()))))
            }
            Move::Next => {
                let expected = at.and_then(|at| first(cover(Excluded(at), Unbounded)));
                (self.cursor.next(), expected)
            }
            Move::Prev => {
                let expected = at.and_then(|at| last(cover(Unbounded, Excluded(at))));
                (self.cursor.prev(), expected)
            }
        };
        // A failed move leaves it nowhere, as `at` says already.
        moved?;
        let expected = expected.map(|(key, value)| (&**key, &**value));
        let found = self.cursor.entry();
        self.answers.maybe(found.map(|(key, _)| key));
        self.answers.maybe(found.map(|(_, value)| value));
        check_entry("cursor", found, expected);
        self.at = expected.map(|(key, _)| key.to_vec());
        Ok(())
    }
}

fn options(write: &Write) -> PutOptions {
    match write.ttl_ms {
        Some(ttl_ms) => PutOptions::new().ttl(Duration::from_millis(ttl_ms)),
        None => PutOptions::new(),
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

/// A key or value, short enough to read.
struct Short<'b>(&'b [u8]);

impl std::fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = &self.0[..self.0.len().min(32)];
        write!(f, "\"{}\" ({} B)", head.escape_ascii(), self.0.len())
    }
}

fn check_value(what: &str, key: &[u8], found: Option<&[u8]>, expected: Option<&[u8]>) {
    let show = |value: Option<&[u8]>| value.map_or("nothing".into(), |v| Short(v).to_string());
    assert!(
        found == expected,
        "{what} {}: found {}, expected {}",
        Short(key),
        show(found),
        show(expected)
    );
}

type Entry<'e> = Option<(&'e [u8], &'e [u8])>;

fn check_entry(what: &str, found: Entry<'_>, expected: Entry<'_>) {
    let show = |entry: Entry<'_>| match entry {
        Some((key, value)) => format!("{} = {}", Short(key), Short(value)),
        None => "the end".to_owned(),
    };
    assert!(found == expected, "{what}: found {}, expected {}", show(found), show(expected));
}
