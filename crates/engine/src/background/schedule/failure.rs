//! What a failed job does to the database, and what makes it take writes again.

use super::Job;
use crate::core::Core;
use crate::core::work::State;
use crate::tree::compaction::{JobOutput, Plan};
use crate::tree::manifest::Manifest;
use crate::tree::version::{AddedTable, TableHandle};
use crate::types::error::Error;
use std::path::Path;
use std::sync::Arc;
use tanada_format::planted;
use tanada_vfs::{PathError, is_disk_full, is_out_of_descriptors};

/// After a failed job the background tries again this much later.
const RETRY_NS: u64 = 1_000_000_000;

impl Core {
    /// Turns a job's failure into the database's state. Nothing is lost by it:
    /// what was to be flushed is in the log, what was to be merged in its inputs.
    ///
    /// One table that cannot be read is no matter of the database: it alone is left, and
    /// nobody is refused anything.
    pub(super) fn job_failed(&self, e: &Error, job: &Job) {
        if self.reading.health.is_poisoned() || matches!(e, Error::Closed) {
            return;
        }
        let now_ns = self.reading.env.clock.monotonic_ns().max(1);
        let mut state = self.background.state.lock();
        if let Job::Compact(keyspace, plan) = job
            && let Some(table) = unreadable(e, plan)
            && !planted!(bad_table_stops_the_others)
        {
            let in_flight = state.compacting.entry(keyspace.id).or_default();
            in_flight.set_aside.add(table, e.to_string(), now_ns);
            state.set_aside.insert(keyspace.id);
            return;
        }
        state.retry_at_ns = now_ns + RETRY_NS;
        match e {
            // Whoever wanted the edit has said so already.
            Error::ReadOnly { .. } => {}
            Error::Io(io) if tanada_vfs::is_disk_full(io) => self.out_of_space(&e.to_string()),
            e => self.reading.health.make_read_only(format!(
                "background work failed ({e}); it is tried again every second, and writes go on once it succeeds"
            )),
        }
        state.failed_for_space = self.background.waits_for_space();
    }

    /// Lets jobs begin at once that were to wait since one found the disk full, where it has
    /// room again; for a write that would be refused otherwise. Answers whether it did. Once
    /// in a while: a disk may say that it has room, and refuse all the same.
    pub(crate) fn retry_where_room_came_back(&self) -> bool {
        let waits = |state: &State| state.retry_at_ns != 0 && state.failed_for_space;
        if !waits(&self.background.state.lock()) || planted!(room_noticed_a_second_late) {
            return false;
        }
        // That the disk does not tell is no room.
        if !matches!(self.has_space(), Ok(true)) {
            return false;
        }
        let now_ns = self.reading.env.clock.monotonic_ns();
        let mut state = self.background.state.lock();
        if !waits(&state) || now_ns < state.early_retry_at_ns {
            return false;
        }
        (state.retry_at_ns, state.early_retry_at_ns) = (0, now_ns + RETRY_NS);
        drop(state);
        self.background.work.ring();
        true
    }

    /// Turns a failed edit of the manifest into the database's state, and answers what
    /// whoever wanted it is told. When nothing was written (the disk has no room, or a new
    /// manifest could not be made) nothing is lost, and it can be tried again.
    pub(crate) fn edit_failed(&self, manifest: &Manifest, e: Error) -> Error {
        match &e {
            Error::Io(io) if !manifest.is_poisoned() => {
                if !tanada_vfs::is_disk_full(io) {
                    return e;
                }
                self.out_of_space(&e.to_string());
                let reason = self.reading.health.read_only_reason();
                Error::ReadOnly { reason: reason.unwrap_or_else(|| e.to_string()) }
            }
            e => self.reading.health.poison(e),
        }
    }

    /// Removes the tables of a job whose edit has failed, unless it may be on disk.
    pub(crate) fn give_up(&self, manifest: &Manifest, output: &JobOutput) {
        if manifest.is_poisoned() {
            return;
        }
        // A table that was only to move is in the tree as before.
        let is_new = |added: &&AddedTable| !manifest.has(added.meta.id);
        for AddedTable { meta, .. } in output.edit.added.iter().filter(is_new) {
            self.reading.tables.forget(meta.id, meta.size_bytes);
        }
    }

    /// Poisons the database where a job's failure has left unknown what is on disk.
    pub(crate) fn poison_if_unknown(&self, e: Error) -> Error {
        match e {
            Error::Poisoned { .. } => self.reading.health.poison(&e),
            e => e,
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

    /// Takes writes again, unless the disk is still full. That is looked at: whoever reads
    /// in the health of a server that it refuses writes sends it none.
    pub(super) fn heal_if_there_is_room(&self) {
        if !self.background.waits_for_space() {
            self.reading.health.heal();
        } else if !planted!(room_noticed_by_writes_alone) {
            // That the disk does not tell is no room.
            let _ = self.has_space();
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
            self.heal_if_there_is_room();
        }
    }
}

/// The input that a job could not read; `None` when it failed for something else.
fn unreadable<'p>(e: &Error, plan: &'p Plan) -> Option<&'p Arc<TableHandle>> {
    let path: &Path = match e {
        Error::Corruption(damage) => &damage.file,
        Error::MissingFile { file } => file,
        Error::Io(io) if is_out_of_descriptors(io) || is_disk_full(io) => return None,
        Error::Io(io) => &io.get_ref()?.downcast_ref::<PathError>()?.path,
        _ => return None,
    };
    plan.tables().find(|table| table.path() == path)
}
