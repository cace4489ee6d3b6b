//! Step 1 of a commit: room in the MemTables, in the memory budget and in the log.
//!
//! What is full is sealed; the writer waits for flushes while the budget is used up, and
//! for a while for readers that hold memory. Only the leader of a group comes here.

use super::MAX_GROUP_BYTES;
use crate::control::counters::Count;
use crate::control::pacing::Waits;
use crate::core::Core;
use crate::core::queue::{Request, Writer};
use crate::memtable::splits_bytes;
use crate::types::error::{Error, Result};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tanada_format::planted;

/// How long a write waits for readers at work to let go of MemTables.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

impl Core {
    /// Step 1: seals what is full, waits while the budget is, and keeps the log
    /// from being pinned by a quiet keyspace.
    #[inline]
    pub(super) fn make_room(&self, writer: &mut Writer, own: &Request<'_>) -> Result<()> {
        self.reading.health.check_committable()?;
        let cost = own.cost;
        let used = self.reading.budget.memtable_bytes.load(Ordering::Relaxed) + cost;
        let splits = splits_bytes(own.count.into(), writer.active_bytes);
        let waits = Waits {
            clock: &*self.reading.env.clock,
            counters: &self.reading.counters,
            group_bytes: &|| {
                // Those that wait join, as far as a group has room for them.
                let queued = self.commit.queue.lock().bytes.min(MAX_GROUP_BYTES as u64);
                own.body.len() as u64 + queued
            },
            used: &|| self.reading.budget.memtable_bytes.load(Ordering::Relaxed) + cost,
            is_over: &|| self.reading.health.check_committable().is_err(),
        };
        self.pacing.pace(used, self.reading.budget.memtables_max, &waits);
        let needed = self.reading.budget.growth(cost + splits);
        // Before it looks for room: what others divide then leaves it there.
        self.reading.budget.promise(needed);
        let active = writer.active_bytes + cost;
        if active <= self.reading.budget.memtable_seal
            && used + splits <= self.reading.budget.memtables_max
            && self.reading.budget.has_room(needed)
            && writer.wal.current_log() == writer.checked_log
            && (!writer.wal.handle().wants_next() || writer.asked_behind == writer.checked_log)
        {
            return Ok(());
        }
        self.seal_and_wait(writer, own)
    }

    #[cold]
    fn seal_and_wait(&self, writer: &mut Writer, own: &Request<'_>) -> Result<()> {
        let cost = own.cost;
        if writer.checked_log != writer.wal.current_log() {
            writer.checked_log = writer.wal.current_log();
            self.watch_space()?;
        }
        if writer.wal.handle().wants_next() && writer.asked_behind != writer.checked_log {
            writer.asked_behind = writer.checked_log;
            self.background.work_arrived();
        }
        let pinning = self.pinning_keyspaces(writer);
        self.seal(writer, &pinning);
        if writer.active_bytes + cost > self.reading.budget.memtable_seal {
            self.seal_largest(writer, cost);
        }
        let mut waited_from = None;
        let mut has_retried = false;
        loop {
            // Read before looking, so that a flush that ends in between is not missed.
            let ended = self.background.ended();
            let used = self.reading.budget.memtable_bytes.load(Ordering::Relaxed);
            let splits = splits_bytes(own.count.into(), writer.active_bytes);
            if used + cost + splits <= self.reading.budget.memtables_max || used == 0 {
                break;
            }
            if waited_from.is_some() {
                self.check_wait(&mut has_retried)?;
            }
            waited_from.get_or_insert_with(|| self.reading.env.clock.monotonic_ns());
            self.seal_largest(writer, cost);
            if !self.wait_past(ended) && !self.retries(&mut has_retried) {
                // Nothing will make room: the reason is the answer.
                return Err(self.reading.health.why_nothing_changes());
            }
        }
        let room = self.wait_for_memory(writer, own, &mut waited_from, &mut has_retried);
        if let Some(from) = waited_from {
            let ns = self.reading.env.clock.monotonic_ns() - from;
            self.reading.counters.add(Count::StoppedWrites, 1);
            self.reading.counters.add(Count::StoppedNs, ns);
            self.reading.counters.waited(ns);
        }
        room
    }

    /// An error once a wait for a flush is in vain: nothing reaches the log any more, or a
    /// job has failed. That the database is read-only is no reason: deletes come here on
    /// a full disk, and flushes still make room for them.
    fn check_wait(&self, has_retried: &mut bool) -> Result<()> {
        let mut has_failed = || self.background.has_just_failed() && !self.retries(has_retried);
        match planted!(delete_refused_behind_its_flush) || has_failed() {
            true => self.reading.health.check_writable(),
            false => self.reading.health.check_committable(),
        }
    }

    /// Whether the jobs that this write waits for, put off by a full disk, begin at once
    /// since it has room again. Once a write: each time may cost a job in vain.
    fn retries(&self, has_retried: &mut bool) -> bool {
        !std::mem::replace(has_retried, true) && self.retry_where_room_came_back()
    }

    /// Makes room in the budget as a whole, for MemTables that grow by these
    /// writes: from the caches; by flushes, as long as there is something to flush.
    /// What is left then is held by readers and claims. Readers at work let go of it at
    /// their next step, so they are waited for, for a while.
    ///
    /// # Errors
    /// [`Error::MemoryFull`] when that makes no room.
    fn wait_for_memory(
        &self,
        writer: &mut Writer,
        own: &Request<'_>,
        waited_from: &mut Option<u64>,
        has_retried: &mut bool,
    ) -> Result<()> {
        let splits = splits_bytes(own.count.into(), writer.active_bytes);
        let needed = self.reading.budget.growth(own.cost + splits);
        self.reading.budget.promise(needed);
        let clock = &*self.reading.env.clock;
        let mut has_waited = false;
        loop {
            // Both read before looking, so that nothing that ends in between is missed.
            let (ended, returns) = (self.background.ended(), self.reading.budget.account.returns());
            if self.reading.has_room(needed) || planted!(iterators_pin_memory) {
                writer.refused_at = None;
                return Ok(());
            }
            if has_waited {
                self.check_wait(has_retried)?;
            }
            let now = clock.monotonic_ns();
            let from = *waited_from.get_or_insert(now);
            self.seal_largest(writer, own.cost);
            if self.unflushed.any_sealed() {
                if !self.wait_past(ended) && !self.retries(has_retried) {
                    return Err(self.reading.health.why_nothing_changes());
                }
                has_waited = true;
                continue;
            }
            // Without threads nobody else can be at work.
            let nobody_moves = self.background.is_inline() || writer.refused_at == Some(returns);
            if nobody_moves || now - from > LONGEST_WAIT.as_nanos() as u64 {
                writer.refused_at = Some(returns);
                return Err(Error::MemoryFull { reason: self.reading.why_no_room(needed) });
            }
            self.reading.budget.account.wait_past(returns, LONGEST_WAIT / 10);
        }
    }
}
