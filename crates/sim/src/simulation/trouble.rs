//! Calls that fail and disks that are full: what may be answered meanwhile, and that
//! writes are taken again once it is over.

use super::{Simulation, is_cause};
use crate::operation::{Exit, Operation, ValueSpec, Write};
use std::path::Path;
use std::time::Duration;
use tanada::{Error, Result};
use tanada_vfs::MemoryMachine;

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

    /// Whether this only deletes, on a disk that has no other trouble than too little
    /// room for puts, and enough for logs and tables of all that MemTables may hold.
    pub(super) fn must_pass(&self, operation: &Operation) -> bool {
        let deletes = match operation {
            Operation::WriteOne(write) => write.value.is_none(),
            Operation::WriteBatch(writes, _) => {
                !writes.is_empty() && writes.iter().all(|write| write.value.is_none())
            }
            _ => false,
        };
        let state = self.world.state.lock();
        let only_tight = state.tight && !state.faulty && state.cut.is_none();
        drop(state);
        deletes && only_tight && free_bytes(self.runner.machine()) >= self.enough_for_deletes
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
        self.runner.machine().clock().advance(Duration::from_secs(2));
        let mut outcome = Ok(());
        for _ in 0..MOST_CURES {
            // A job that succeeds is what ends a read-only state.
            while self.runner.db().step() {}
            outcome = self.try_to_write();
            if outcome.is_ok() || self.has_fallen() {
                break;
            }
        }
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
        (state.faulty, state.unsure, state.tight) = (false, false, false);
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
