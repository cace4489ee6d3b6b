//! Calls that fail and disks that are full: what may be answered meanwhile, and that
//! writes are taken again once it is over.

use super::{Simulation, is_cause};
use crate::operation::{Exit, Operation, ValueSpec, Write};
use crate::plan::{Fault, Target};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tanada::{Error, Result};
use tanada_vfs::MemoryMachine;

/// What must come of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    /// Anything that may be answered.
    Nothing,
    /// It is refused: a job's sync of the directory has failed, and with it the names of logs
    /// may be lost.
    Refusal,
    /// It is done: one table that cannot be read is no matter of who writes.
    TakenBesideABadSector,
    /// It is done, as there is too little room for puts and enough for logs and tables of
    /// all that MemTables may hold.
    DeletedOnAFullDisk,
}

impl Owed {
    pub(super) fn is_kept_by(self, answer: &Result<()>) -> bool {
        match self {
            Owed::Nothing => true,
            Owed::Refusal => answer.is_err(),
            Owed::TakenBesideABadSector | Owed::DeletedOnAFullDisk => answer.is_ok(),
        }
    }
}

impl fmt::Display for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Owed::Nothing => "nothing is owed",
            Owed::Refusal => "a write is taken though a job's sync of the directory failed",
            Owed::TakenBesideABadSector => "a bad sector of one table refuses a write",
            Owed::DeletedOnAFullDisk => "a full disk refuses a delete, which is how room is made",
        })
    }
}

/// Behind this a job that failed is tried again.
const PAUSE: Duration = Duration::from_secs(2);
/// And behind this a table that could not be read, however often.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_601);
/// Tries to write, after which a cured database must have taken one.
const MOST_CURES: u32 = 4;

impl Simulation {
    /// Others fill the disk up to so many bytes, or make room on it.
    pub(super) fn leave_room(&mut self, bytes: Option<u64>) {
        let machine = self.runner.machine();
        machine.set_disk_size(bytes.map_or(u64::MAX, |bytes| machine.used_space() + bytes));
        self.world.state.lock().tight |= bytes.is_some();
        self.scarred |= bytes.is_some();
        self.runner.distrust_closing();
    }

    /// Calls fail from now on, as this says.
    pub(super) fn let_fail(&mut self, fault: &Fault) {
        let (world, of_names) = (Arc::clone(&self.world), fault.target == Target::NamesOfTables);
        let struck = move || {
            world.struck.fetch_add(1, Relaxed);
            world.names_lost.fetch_or(of_names, Relaxed);
        };
        let Some(rule) = fault.rule(self.runner.machine(), struck) else { return };
        self.summary.faults += 1;
        let mut state = self.world.state.lock();
        state.faulty = true;
        state.unsure |= fault.leaves_unknown();
        // A bad sector is a matter of one table: nobody is refused a write, no file is left
        // lying, and closing makes everything durable.
        if !matches!(fault.target, Target::Sector { .. }) {
            state.refuses = true;
            self.scarred = true;
            self.runner.distrust_closing();
        }
        drop(state);
        self.runner.faults().add(rule);
    }

    /// What must come of this operation, whatever fails just now.
    pub(super) fn what_is_owed(&self, operation: &Operation) -> Owed {
        let (writes, deletes) = match operation {
            Operation::WriteOne(write) => (true, write.value.is_none()),
            Operation::WriteBatch(writes, _) if !writes.is_empty() => {
                (true, writes.iter().all(|write| write.value.is_none()))
            }
            _ => return Owed::Nothing,
        };
        if writes && self.world.names_lost.load(Relaxed) {
            return Owed::Refusal;
        }
        let state = self.world.state.lock();
        if state.cut.is_some() || state.refuses {
            return Owed::Nothing;
        }
        match (state.tight, state.faulty) {
            (false, true) => Owed::TakenBesideABadSector,
            (true, false) if deletes && self.has_room_for_deletes() => Owed::DeletedOnAFullDisk,
            _ => Owed::Nothing,
        }
    }

    /// Whether there is enough for logs and tables of all that MemTables may hold.
    fn has_room_for_deletes(&self) -> bool {
        free_bytes(self.runner.machine()) >= self.enough_for_deletes
    }

    /// Whether the writing may have ended until an opening: not for want of room.
    pub(super) fn may_poison(&self) -> bool {
        self.world.state.lock().unsure
    }

    /// An error is fine where calls fail, or where nobody will see it.
    pub(super) fn expect_cause(&self, e: &Error) {
        let may_fail = self.world.state.lock().may_answer_errors();
        assert!((may_fail && is_cause(e)) || self.has_fallen(), "nothing fails here: {e:?}");
    }

    /// Calls succeed again, a while passes, and writes must be taken: at once, or
    /// after an opening when the database says that it needs one.
    pub(super) fn mend(&mut self) {
        let troubled = self.world.state.lock().may_answer_errors();
        let may_poison = self.may_poison();
        self.runner.faults().clear();
        self.runner.machine().set_disk_size(u64::MAX);
        if !troubled || self.has_fallen() {
            return;
        }
        let stats = self.runner.db().stats();
        let mut pause = PAUSE;
        if stats.tables.set_aside > 0 {
            pause = LONGEST_PAUSE;
            // One that stays wrong for so long is believed in the end, little by little.
            self.runner.apply(&Operation::SetRight).expect("a clock can be set");
        }
        self.runner.machine().clock().advance(pause);
        let mut outcome = Ok(());
        for _ in 0..MOST_CURES {
            // A job that succeeds is what ends a read-only state.
            while self.runner.db().step() {}
            outcome = self.try_to_write();
            if outcome.is_ok() || self.has_fallen() {
                break;
            }
        }
        let lost = self.world.names_lost.load(Relaxed) && !self.has_fallen();
        assert!(outcome.is_err() || !lost, "{}", Owed::Refusal);
        self.healings += u64::from(stats.read_only.is_some() && outcome.is_ok());
        match outcome {
            Err(Error::Poisoned { .. }) if may_poison && !self.has_fallen() => {
                self.reopen(Exit::Kill);
            }
            Err(e) if !self.has_fallen() => {
                panic!("nothing fails any more, yet it takes no writes: {e}")
            }
            _ => {}
        }
        self.end_trouble();
    }

    /// No call fails any more, and the disk has no end.
    pub(super) fn end_trouble(&self) {
        self.runner.faults().clear();
        self.runner.machine().set_disk_size(u64::MAX);
        let mut state = self.world.state.lock();
        state.calls_succeed();
        state.tight = false;
    }

    fn try_to_write(&mut self) -> Result<()> {
        let value = Some(ValueSpec { len: 20, stamp: 1, plain: true });
        let write = Write { space: 0, key: b"mended".to_vec(), value, ttl_ms: None };
        self.world.state.lock().may_write = false;
        self.summary.operations += 2;
        self.runner.apply(&Operation::Flush(None))?;
        self.runner.apply(&Operation::WriteOne(write))
    }
}

fn free_bytes(machine: &MemoryMachine) -> u64 {
    machine.env().fs.free_space(Path::new("/")).expect("every machine has a root")
}
