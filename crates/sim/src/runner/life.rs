//! Opening and going down: what the database holds is what was promised.

use super::{Handles, MEMORY_BYTES, Open, PATH, Runner};
use crate::elsewhere::Elsewhere;
use crate::operation::Exit;
use crate::oracle::Oracle;
use std::sync::Arc;
use tanada::{Db, KeyspaceOptions, Result};
use tanada_vfs::fault::Faults;
use tanada_vfs::{Env, MemoryMachine};

/// Threads that it thinks it has; the real machine's number must not matter.
const THREADS: usize = 4;

impl Runner {
    /// Opens again after a close or an open that failed, on the same machine.
    ///
    /// # Errors
    /// Those of opening.
    pub fn open_left(&mut self) -> Result<()> {
        self.open = None;
        let floor = self.oracle.lock().buffered;
        self.open(floor)
    }

    pub(super) fn env(&self) -> Env {
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
        if let Some(jobs) = &self.surroundings.elsewhere {
            let elsewhere = Elsewhere::new(self.env(), PATH, Arc::clone(jobs));
            builder = builder.compactor(Arc::new(elsewhere));
        }
        let db = builder.open()?;
        let recovered = db.snapshot().seqno().0;
        let next = db.stats().next_seqno;
        {
            let mut oracle = self.oracle.lock();
            let Oracle { started, .. } = *oracle;
            // What was shown to one who follows is never taken back.
            let floor = floor.max(oracle.follower.seen.unwrap_or(0));
            assert!(recovered >= floor, "lost: {recovered} writes are left of {floor} promised");
            assert!(recovered <= started, "{recovered} writes found, {started} begun");
            assert!(oracle.is_end_of_commit(recovered), "a batch is cut in two at {recovered}");
            oracle.truncate(recovered);
            oracle.go_on_at(next);
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
        self.check_checkpoints();
        self.check_everything()
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

    /// Sets the clock right: the next life need not know of the very latest time, for only
    /// flushes write it down. But every other one that is much ahead stays so: an opening
    /// believes it, and the next one, which finds it right, must be none the worse.
    fn restore_clock(&self) {
        self.time.restore(&self.machine);
    }
}
