//! What a failed job does to the database, and what makes it take writes again.

use crate::core::Core;
use crate::core::work::State;
use crate::types::error::Error;
use tanada_format::KeyspaceId;

/// After a failed job the background tries again this much later.
const RETRY_NS: u64 = 1_000_000_000;

impl Core {
    /// Turns a job's failure into the database's state. Nothing is lost by it:
    /// what was to be flushed is in the log, what was to be merged in its inputs.
    pub(super) fn job_failed(&self, e: &Error, keyspace: Option<KeyspaceId>, flush: bool) {
        if self.reading.health.is_poisoned() || matches!(e, Error::Closed) {
            return;
        }
        let mut state = self.background.state.lock();
        state.retry_at_ns = self.reading.env.clock.monotonic_ns().max(1) + RETRY_NS;
        match e {
            Error::Corruption(_) | Error::MissingFile { .. } if !flush => {
                // Merging on would bury the damage. Reads of other keys go on.
                state.damaged.extend(keyspace);
                self.reading.health.make_read_only(format!(
                    "{e}; compaction has stopped so that nothing is dropped"
                ));
            }
            Error::Io(io) if tanada_vfs::is_disk_full(io) => self.out_of_space(&e.to_string()),
            e => self.reading.health.make_read_only(format!(
                "background work failed ({e}); it is tried again every second, and writes go on once it succeeds"
            )),
        }
    }

    /// Refuses writes, deletes excepted, until the disk has room again.
    pub(crate) fn out_of_space(&self, what: &str) {
        self.background.space_ran_out();
        self.reading.health.make_read_only(format!(
            "the disk is full ({what}); free space below {}, then writes go on by themselves (deletes and compaction go on now)",
            self.reading.path.display()
        ));
    }

    pub(super) fn heal_if_there_is_room(&self) {
        self.heal_unless_hopeless(&self.background.state.lock());
    }

    fn heal_unless_hopeless(&self, state: &State) {
        if state.damaged.is_empty() && !self.background.waits_for_space() {
            self.reading.health.heal();
        }
    }

    /// Takes writes again where a job has failed that nobody will try again: the files
    /// have been removed since, somebody has compacted by hand, or it was only to be
    /// done while nobody writes. Without this only a flush could end the refusal, and
    /// a database that refuses writes has none to do. No compaction is due.
    pub(super) fn heal_where_nothing_is_due(&self, state: &State) {
        if !self.reading.health.is_read_only() {
            return;
        }
        let at_work = !state.flushing.is_empty() || state.compactions > 0 || state.deleting;
        let garbage = !self.reading.tables.deletions.is_empty();
        if !at_work && !garbage && !state.lineup.is_sweeping() && !self.unflushed.any_sealed() {
            self.heal_unless_hopeless(state);
        }
    }
}
