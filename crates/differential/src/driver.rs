//! Does calls on both sides, and compares every answer.
//!
//! It knows nothing of how the engine works: a call, what it answers, and what redb says.

mod compare;
mod reads;
mod scans;
mod upkeep;
mod writes;

use crate::call;
use crate::call::Call;
use crate::machine::{Background, Machine};
use crate::oracle::{Oracle, View};
use scans::{RunningCursor, RunningScan};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use tanada::{Builder, Compression, Db, Durability, Error, Keyspace, KeyspaceOptions, Result};
use tanada::{Snapshot, Tuning};
use tanada_sim::elsewhere::Elsewhere;
use tanada_sim::operation::{Exit, Operation};

/// Snapshots, iterators and cursors held at once, of each.
const SLOTS: usize = 4;

/// How the database of a life is opened.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Who works in the background.
    pub background: Background,
    /// The budget in bytes.
    pub memory_bytes: u64,
    /// Sizes of its parts.
    pub tuning: Tuning,
    /// Of the default keyspace.
    pub compression: Compression,
    /// Of writes that do not say.
    pub durability: Durability,
    /// Its number of threads.
    pub threads: usize,
    /// Whether compactions are carried out elsewhere.
    pub elsewhere: bool,
}

/// Both sides.
pub struct Driver {
    // In the order in which they are dropped.
    open: Option<Open>,
    oracle: Oracle,
    machine: Machine,
    settings: Settings,
    /// Names of the keyspaces, as they were created; the default one first.
    names: Vec<String>,
    /// The newest write's number.
    newest: u64,
    /// Checkpoints and repaired databases made so far.
    made: u64,
    /// Calls done so far.
    done: u64,
}

struct Open {
    iters: VecDeque<RunningScan>,
    cursors: VecDeque<RunningCursor>,
    snapshots: VecDeque<(Snapshot, View)>,
    spaces: Vec<Keyspace>,
    db: Db,
}

impl Driver {
    /// A new database, below `place` when that is said.
    ///
    /// # Panics
    /// When it cannot be created.
    pub fn new(seed: u64, settings: Settings, place: Option<&Path>) -> Driver {
        let machine = Machine::new(seed, settings.background, place);
        let mut driver = Driver {
            open: None,
            oracle: Oracle::new(),
            machine,
            settings,
            names: vec!["default".to_owned()],
            newest: 0,
            made: 0,
            done: 0,
        };
        driver.open();
        driver
    }

    /// Does one call.
    ///
    /// # Panics
    /// When an answer is another than it must be.
    pub fn apply(&mut self, call: &Call) {
        self.done += 1;
        let mut outcome = self.attempt(call);
        if let Err(Error::MemoryFull { .. }) = outcome {
            // Cursors that do not move hold MemTables: the error says to close them.
            let open = self.opened();
            open.iters.clear();
            open.cursors.clear();
            outcome = self.attempt(call);
        }
        if let Err(Error::MemoryFull { .. }) = outcome {
            self.opened().snapshots.clear();
            outcome = self.attempt(call);
        }
        if let Err(e) = outcome {
            panic!("refused: {e}");
        }
    }

    /// Reads everything both ways.
    ///
    /// # Panics
    /// When it is not what it must be.
    pub fn check_everything(&mut self) {
        for space in 0..self.names.len() {
            if let Err(e) = self.check_space(space) {
                panic!("refused: {e}");
            }
        }
    }

    fn attempt(&mut self, call: &Call) -> Result<()> {
        let operation = match call {
            Call::Operation(operation) => operation,
            Call::Each(batches) => return self.write_each(batches),
            Call::CompareAndSet(right, write) => return self.compare_and_set(*right, write),
            Call::PutUntil(write, at) => return self.put_until(write, *at),
            Call::MultiGetAt(slot, space, keys) => return self.multi_get_at(*slot, *space, keys),
            Call::ScanAt(slot, space, cover, direction) => {
                return self.scan_at(*slot, *space, cover, *direction);
            }
            Call::CursorAt(slot, space, moves) => return self.cursor_at(*slot, *space, moves),
            Call::Records(space, cover, direction) => {
                return self.records(*space, cover, *direction);
            }
            Call::Keys(space, cover, direction) => return self.keys(*space, cover, *direction),
            Call::Names(slot) => return self.names(*slot),
            Call::Claim(bytes) => return self.claim(*bytes),
            Call::TrustClock => return self.trust_clock(),
            Call::Step => {
                call!(Db::step(self.db()));
                return Ok(());
            }
            Call::Repair => return self.repair(),
        };
        match operation {
            Operation::WriteOne(write) => self.write_one(write),
            Operation::WriteBatch(writes, durability) => self.write_if(&[], writes, *durability),
            Operation::WriteIf(questions, writes, durability) => {
                self.write_if(questions, writes, *durability)
            }
            Operation::Get(space, key) => self.get(*space, key),
            Operation::Explain(space, key) => self.explain(*space, key),
            Operation::Refused(space, refusal) => self.refused(*space, *refusal),
            Operation::Stats => self.stats(),
            Operation::MultiGet(space, keys) => self.multi_get(*space, keys),
            Operation::GetAt(slot, space, key) => self.get_at(*slot, *space, key),
            Operation::Scan { space, snapshot, cover, direction } => {
                self.begin_scan(*space, *snapshot, cover).run(*direction)
            }
            Operation::OpenIter(space, cover) => {
                let scan = self.begin_scan(*space, None, cover);
                hold(&mut self.opened().iters, scan);
                Ok(())
            }
            Operation::StepIter(slot, ends) => {
                let Some(scan) = nth(&mut self.opened().iters, *slot) else { return Ok(()) };
                ends.iter().try_for_each(|end| scan.step(*end))
            }
            Operation::OpenCursor(space, snapshot) => {
                self.open_cursor(*space, *snapshot);
                Ok(())
            }
            Operation::MoveCursor(slot, moves) => {
                let Some(cursor) = nth(&mut self.opened().cursors, *slot) else { return Ok(()) };
                moves.iter().try_for_each(|to| cursor.go(to))
            }
            Operation::TakeSnapshot => {
                self.take_snapshot();
                Ok(())
            }
            Operation::DropSnapshot(slot) => {
                let snapshots = &mut self.opened().snapshots;
                if let Some(slot) = slot.checked_rem(snapshots.len()) {
                    snapshots.remove(slot);
                }
                Ok(())
            }
            Operation::Flush(space) => self.flush(*space),
            Operation::Compact(space, range) => self.compact(*space, range),
            Operation::CreateKeyspace(n, compression) => self.create_keyspace(*n, *compression),
            Operation::Advance(ms) => {
                self.machine.advance(*ms);
                Ok(())
            }
            // Time is held, and a process that dies takes both sides with it: the simulation
            // and `stress` have these.
            Operation::SetBack(_) | Operation::SetForward(_) | Operation::SetRight => Ok(()),
            Operation::Reopen(exit, durability) => self.reopen(*exit == Exit::Close, *durability),
            // The other store has no log to follow: the simulation has its own oracle for it.
            Operation::Follow(..) => Ok(()),
            Operation::Verify => self.verify(),
            Operation::Checkpoint => self.checkpoint(),
        }
    }

    fn open(&mut self) {
        let db = match self.try_open() {
            Ok(db) => db,
            Err(e) => panic!("it does not open: {e}"),
        };
        let mut spaces = vec![call!(Db::default_keyspace(&db)).clone()];
        for name in &self.names[1..] {
            let found = call!(Db::find_keyspace(&db, name));
            let found = found.unwrap_or_else(|e| panic!("refused: {e}"));
            spaces.push(found.unwrap_or_else(|| panic!("the keyspace {name} is gone")));
        }
        let (iters, cursors, snapshots) = Default::default();
        self.open = Some(Open { iters, cursors, snapshots, spaces, db });
        self.check_everything();
    }

    fn try_open(&self) -> Result<Db> {
        let Settings { memory_bytes, tuning, compression, durability, threads, elsewhere, .. } =
            self.settings;
        let builder = call!(Db::builder(self.machine.path("db")));
        let builder = call!(Builder::memory(builder, memory_bytes));
        let builder = call!(Builder::durability(builder, durability));
        let builder = call!(Builder::compression(builder, compression));
        let builder = call!(Builder::threads(builder, threads));
        let builder = call!(Builder::create_if_missing(builder, self.done == 0));
        let builder = call!(Builder::tuning(builder, tuning));
        let builder = call!(Builder::env(builder, self.machine.env()));
        let builder = match elsewhere {
            true => {
                let dir = self.machine.path("db");
                let elsewhere = Elsewhere::new(self.machine.env(), dir, Arc::default());
                call!(Builder::compactor(builder, Arc::new(elsewhere)))
            }
            false => builder,
        };
        call!(Builder::open(builder))
    }

    fn opened(&mut self) -> &mut Open {
        self.open.as_mut().expect("it is open between calls")
    }

    fn db(&self) -> &Db {
        &self.open.as_ref().expect("it is open between calls").db
    }

    fn keyspace(&self, space: usize) -> &Keyspace {
        &self.open.as_ref().expect("it is open between calls").spaces[space]
    }

    /// The database itself, when this call on its default keyspace goes through the methods
    /// that it has for that one. Every other call does.
    fn shortcut(&self, space: usize) -> Option<&Db> {
        (space == 0 && self.done.is_multiple_of(2)).then(|| self.db())
    }

    fn space(&self, n: usize) -> usize {
        n % self.names.len()
    }

    /// What is there now.
    fn view(&self) -> View {
        let now_ms = self.machine.now_ms();
        assert_eq!(call!(Db::now(self.db())).0, now_ms, "the time that is believed");
        self.oracle.view(now_ms)
    }

    fn create_keyspace(&mut self, n: usize, compression: Compression) -> Result<()> {
        let name = format!("space {}", n % crate::oracle::MOST_SPACES);
        let options =
            call!(KeyspaceOptions::compression(call!(KeyspaceOptions::new()), compression));
        let keyspace = call!(Db::keyspace(self.db(), &name, options))?;
        assert_eq!(call!(Keyspace::name(&keyspace)), name);
        if !self.names.contains(&name) {
            self.names.push(name);
            self.opened().spaces.push(keyspace);
        }
        Ok(())
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
