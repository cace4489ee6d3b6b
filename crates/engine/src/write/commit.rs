//! The one write path: every put is a batch of one, and every batch comes here.
//!
//! Writers queue; the first becomes the leader and commits a group: its own
//! batch and those that queued meanwhile. The leader
//!
//! 1. waits for room (pacing, the memory budget),
//! 2. appends one record for the whole group to the log,
//! 3. syncs it when any batch of the group asks for that,
//! 4. inserts the writes into the MemTables,
//! 5. makes them visible, all at once,
//! 6. answers every writer of the group and passes the lead on.
//!
//! A reader never sees a write whose record could still fail. A failure of 2
//! or 3 poisons the database, every writer of the group hears of it, and
//! nothing of the group was inserted.

use crate::control::account::Part;
use crate::control::counters::Count;
use crate::core::Core;
use crate::core::queue::{OwnedRequest, Queue, Request, Turn, Waiter, Writer};
use crate::memtable::splits_bytes;
use crate::read::mem::Mem;
use crate::read::view::KeyspaceState;
use crate::types::error::{Error, Result};
use crate::types::options::Durability;
use crate::wal::group::{self, GroupHeader};
use crate::write::batch::Batch;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tanada_format::{EntryRef, KeyspaceId, LogPosition, SeqNo, planted};
use tanada_vfs::sync::{Condvar, Mutex};

/// Bytes of disk kept free beside what the MemTables will take.
const RESERVE_BYTES: u64 = 2 << 20;

/// How long a write waits for readers at work to let go of MemTables.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A group takes no further batch once it holds this many bytes.
const MAX_GROUP_BYTES: usize = 1 << 20;

impl Core {
    /// Commits a batch: one log record (shared with others), one sync when asked
    /// for, one insert a write. Answers the sequence number of its last write;
    /// of an empty batch, the newest visible one.
    pub(crate) fn commit(
        &self,
        batch: &mut Batch,
        durability: Option<Durability>,
    ) -> Result<SeqNo> {
        batch.check(self.reading.database_id)?;
        self.admit(batch)?;
        if batch.is_empty() {
            return Ok(self.reading.visible());
        }
        let cost = self.cost_of(batch)?;
        if batch.has_ttl() {
            batch.set_expiries(self.reading.now_ms());
        }
        let durability = durability.unwrap_or(self.config.durability);
        let deletes = u64::from(batch.deletes);
        self.reading.counters.add(Count::Puts, u64::from(batch.count) - deletes);
        if deletes != 0 {
            self.reading.counters.add(Count::Deletes, deletes);
        }
        self.reading.counters.add(Count::UserBytesWritten, batch.user_bytes);
        let result = self.submit(batch, cost, durability);
        self.run_inline();
        result
    }

    /// Most bytes that a batch takes in MemTables.
    ///
    /// # Errors
    /// `InvalidArgument` when it would take more than half of what all of them may.
    #[inline]
    fn cost_of(&self, batch: &Batch) -> Result<u64> {
        let budget = &self.reading.budget;
        if planted!(batch_measured_in_log_bytes) {
            return Ok(batch.body.len() as u64);
        }
        let entries_in = |id: KeyspaceId| {
            let keyspaces = self.reading.keyspaces.load();
            keyspaces[id].view.load().active.table.entries()
        };
        let growth = batch.cost.growth(self.memtable_fixed, entries_in);
        // Twice that fits, and no rounding makes more of it.
        if growth.bytes > budget.largest_batch() {
            return Err(self.too_large(batch));
        }
        Ok(growth.most_bytes())
    }

    #[cold]
    fn too_large(&self, batch: &Batch) -> Error {
        let (total, most) = (self.reading.budget.total, self.reading.budget.largest_batch());
        let cost = batch.cost.growth(self.memtable_fixed, |_| 0).bytes.max(most + 1);
        Error::InvalidArgument(format!(
            "a batch of {} writes with {} bytes of keys and values takes up to {cost} bytes of memory, and a batch may take 3/16 of the memory budget of {total} bytes, which is {most}: split it, or give the database at least {} bytes of memory",
            batch.count,
            batch.user_bytes,
            cost.div_ceil(3) * 16,
        ))
    }

    /// Refuses what cannot be written now. A full disk refuses what needs more
    /// of it; deletes pass, for they are how room is made.
    #[inline]
    fn admit(&self, batch: &Batch) -> Result<()> {
        match self.reading.health.check_writable() {
            Ok(()) => Ok(()),
            Err(Error::ReadOnly { reason }) => {
                let only_deletes = batch.deletes == batch.count;
                if self.background.waits_for_space() && (only_deletes || self.has_space()?) {
                    return Ok(());
                }
                Err(Error::ReadOnly { reason })
            }
            Err(e) => Err(e),
        }
    }

    /// Whether the disk has room for all that the MemTables hold and more;
    /// ends a read-only state that a full disk began.
    fn has_space(&self) -> Result<bool> {
        let room = self.reading.env.fs.free_space(&self.reading.path)? >= self.reserve_bytes();
        if room {
            self.background.space_came_back();
            self.reading.health.heal();
        }
        Ok(room)
    }

    /// Bytes kept free, so that MemTables can be flushed, deletes logged and
    /// tables compacted on a disk that is full for everybody else.
    fn reserve_bytes(&self) -> u64 {
        self.reading.budget.memtable_bytes.load(Ordering::Relaxed) + RESERVE_BYTES
    }

    /// Stops taking writes while the disk is too full. Looked at once a log.
    fn watch_space(&self) -> Result<()> {
        let free = self.reading.env.fs.free_space(&self.reading.path)?;
        if free < self.reserve_bytes() && !self.reading.health.is_read_only() {
            self.out_of_space(&format!("only {free} bytes are free"));
        }
        Ok(())
    }

    fn submit(&self, batch: &mut Batch, cost: u64, durability: Durability) -> Result<SeqNo> {
        let waiter = {
            let mut queue = self.commit.queue.lock();
            while queue.led && !self.may_queue(&queue, batch.body.len() as u64) {
                queue.outside += 1;
                self.commit.room.wait(&mut queue);
                queue.outside -= 1;
            }
            if queue.led {
                let request = OwnedRequest::of(&mut batch.body, cost, batch.count, durability);
                let bytes = request.body.len() as u64;
                queue.bytes += bytes;
                self.reading.budget.account.take(Part::Queue, bytes);
                let waiter = Arc::new(Waiter {
                    request,
                    turn: Mutex::new(Turn::Waiting),
                    changed: Condvar::new(),
                });
                queue.pending.push_back(Arc::clone(&waiter));
                Some(waiter)
            } else {
                queue.led = true;
                None
            }
        };
        let Some(waiter) = waiter else {
            return self.lead(Request { body: &batch.body, cost, count: batch.count, durability });
        };
        match waiter.wait() {
            Some(answer) => answer,
            None => self.lead(waiter.request.borrow()),
        }
    }

    /// Whether a batch of `bytes` may wait in the queue. Whoever may not waits outside,
    /// with bytes that are still its caller's; the end of a group lets it in, or lets
    /// it lead.
    fn may_queue(&self, queue: &Queue, bytes: u64) -> bool {
        let bounded = queue.bytes + bytes <= self.reading.budget.queue_max() || queue.bytes == 0;
        (bounded && self.reading.has_room(bytes)) || planted!(queued_batches_without_bound)
    }

    /// Commits one group with `own` at its head, then passes the lead on.
    fn lead(&self, own: Request<'_>) -> Result<SeqNo> {
        let mut group =
            Group { core: self, own_count: own.count, followers: Vec::new(), first: None };
        let mut writer = self.commit.writer.lock();
        let first = self.make_room(&mut writer, &own).and_then(|()| {
            self.join(&writer, &own, &mut group.followers);
            self.write_group(&mut writer, own, &group.followers)
        });
        drop(writer);
        group.first = Some(first.clone());
        first.map(|first| first.plus(u64::from(own.count) - 1))
    }

    /// Takes those who queued behind the leader into its group.
    fn join(&self, writer: &Writer, own: &Request<'_>, followers: &mut Vec<Arc<Waiter>>) {
        let budget = &self.reading.budget;
        let (mut bytes, mut cost, mut count) = (own.body.len(), own.cost, own.count);
        // What they may take besides: only the leader makes it more, and a flush less.
        let held = budget.memtable_bytes.load(Ordering::Relaxed);
        let room = budget.memtables_max.saturating_sub(held);
        let mut queue = self.commit.queue.lock();
        while let Some(next) = queue.pending.front() {
            bytes += next.request.body.len();
            cost += next.request.cost;
            count += next.request.count;
            let most = cost + splits_bytes(count.into(), writer.active_bytes);
            // Room was made for the leader's own batch.
            if bytes > MAX_GROUP_BYTES || most > room || !budget.has_room(budget.growth(most)) {
                break;
            }
            followers.extend(queue.pending.pop_front());
        }
    }

    /// Steps 2 to 5. Answers the group's first sequence number.
    fn write_group(
        &self,
        writer: &mut Writer,
        own: Request<'_>,
        followers: &[Arc<Waiter>],
    ) -> Result<SeqNo> {
        self.reading.health.check_committable()?;
        let first = writer.next_seqno;
        let requests = || std::iter::once(own).chain(followers.iter().map(|f| f.request.borrow()));
        let count: u32 = requests().map(|r| r.count).sum();
        let header = GroupHeader::new(first, count);
        let start = writer.wal.position();
        let appended = if followers.is_empty() {
            writer.wal.append(&[header.bytes(), own.body])
        } else {
            let mut parts: Vec<&[u8]> = Vec::with_capacity(followers.len() + 2);
            parts.push(header.bytes());
            parts.push(own.body);
            parts.extend(followers.iter().map(|f| f.request.body.as_slice()));
            writer.wal.append(&parts)
        };
        let end = appended.map_err(|e| self.append_failed(writer, e))?;
        self.pacing.charge(end.0 - start.0);
        if requests().any(|r| r.durability == Durability::Synced) {
            let started = self.reading.env.clock.monotonic_ns();
            writer.wal.sync().map_err(|e| self.reading.health.poison(&e))?;
            self.reading.counters.add(Count::Syncs, 1);
            self.reading
                .counters
                .add(Count::SyncNs, self.reading.env.clock.monotonic_ns() - started);
        }
        let last = self.insert_group(writer, start, first, requests().map(|r| r.body))?;
        debug_assert_eq!(last.0, first.0 + u64::from(count) - 1);
        writer.next_seqno = last.plus(1);
        self.reading.visible.0.store(last.0, Ordering::Release);
        self.reading.counters.add(Count::Groups, 1);
        self.reading.counters.add(Count::Batches, 1 + followers.len() as u64);
        Ok(first)
    }

    /// A log that could not be created harms nothing: nothing was appended.
    /// Any other failure leaves unknown what is on disk.
    #[cold]
    fn append_failed(&self, writer: &Writer, e: Error) -> Error {
        match &e {
            Error::Io(io) if !writer.wal.handle().is_poisoned() => {
                if tanada_vfs::is_disk_full(io) {
                    self.out_of_space(&e.to_string());
                    let reason = self.reading.health.read_only_reason().unwrap_or_default();
                    return Error::ReadOnly { reason };
                }
                e
            }
            Error::InvalidArgument(_) => e,
            e => self.reading.health.poison(e),
        }
    }

    /// Inserts the writes of a group whose record starts at `start`.
    fn insert_group<'a>(
        &self,
        writer: &mut Writer,
        start: LogPosition,
        first: SeqNo,
        bodies: impl Iterator<Item = &'a [u8]>,
    ) -> Result<SeqNo> {
        let mut target = Target::default();
        let mut seqno = first;
        for body in bodies {
            let mut rest = body;
            while !rest.is_empty() {
                let (entry, len) =
                    group::decode_entry(rest).expect("the batch encoded these bytes a moment ago");
                rest = &rest[len..];
                let mem = target.switch(self, &mut writer.active, entry.keyspace, start);
                let entry = EntryRef {
                    key: entry.key,
                    seqno,
                    kind: entry.kind,
                    expires_at_ms: entry.expires_at_ms,
                    value: entry.value,
                };
                mem.table.insert(&mut writer.token, entry);
                seqno = seqno.plus(1);
            }
        }
        target.settle(self, &writer.active);
        writer.active_bytes += target.grown;
        Ok(SeqNo(seqno.0 - 1))
    }

    /// Seals the active MemTables of these keyspaces, those that are not empty.
    pub(crate) fn seal(&self, writer: &mut Writer, keyspaces: &[Arc<KeyspaceState>]) {
        let position = writer.wal.position();
        let mut sealed_any = false;
        for keyspace in keyspaces {
            let active = Arc::clone(&keyspace.view.load().active);
            let sealed_bytes = active.size_bytes();
            let (1.., Some(first)) = (sealed_bytes, active.first_position()) else { continue };
            self.unflushed.sealing((first, keyspace.id));
            self.reading.change_view(keyspace, |view| {
                view.active.set_end(position);
                view.with_new_active(&self.reading.chunks)
            });
            writer.active_bytes -= (writer.active_bytes).min(sealed_bytes);
            sealed_any = true;
        }
        if !sealed_any {
            return;
        }
        self.background.set_sealed_to(position);
        if !planted!(lost_inserts_bulk) {
            writer.active = None;
        }
        self.reading.rebalance();
        self.background.work_arrived();
    }

    /// Seals active MemTables, the largest first, until those that are left hold half
    /// of what they may: of many small ones as many as make a flush worth its syncs.
    fn seal_largest(&self, writer: &mut Writer, cost: u64) {
        let keyspaces = self.reading.keyspaces.load().all_of(self.unflushed.active());
        let size = |keyspace: &Arc<KeyspaceState>| keyspace.view.load().active.size_bytes();
        let mut by_size: Vec<_> = keyspaces.iter().map(|k| (size(k), k)).collect();
        by_size.sort_by_key(|&(size, _)| std::cmp::Reverse(size));
        let mut left = writer.active_bytes + cost;
        let goes = by_size.into_iter().enumerate().take_while(|&(i, (size, _))| {
            let goes = i == 0 || left > self.reading.budget.memtable_seal / 2;
            left = left.saturating_sub(size);
            goes
        });
        let goes: Vec<_> = goes.map(|(_, (_, keyspace))| Arc::clone(keyspace)).collect();
        self.seal(writer, &goes);
    }

    /// Step 1: seals what is full, waits while the budget is, and keeps the log
    /// from being pinned by a quiet keyspace.
    #[inline]
    fn make_room(&self, writer: &mut Writer, own: &Request<'_>) -> Result<()> {
        self.reading.health.check_committable()?;
        let cost = own.cost;
        let used = self.reading.budget.memtable_bytes.load(Ordering::Relaxed) + cost;
        let splits = splits_bytes(own.count.into(), writer.active_bytes);
        self.pacing.pace(
            used,
            self.reading.budget.memtables_max,
            &*self.reading.env.clock,
            &self.reading.counters,
        );
        let active = writer.active_bytes + cost;
        if active <= self.reading.budget.memtable_seal
            && used + splits <= self.reading.budget.memtables_max
            && self.reading.budget.has_room(self.reading.budget.growth(cost + splits))
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
        self.drop_old_logs(writer);
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
        loop {
            // Read before looking, so that a flush that ends in between is not missed.
            let ended = self.background.ended();
            let used = self.reading.budget.memtable_bytes.load(Ordering::Relaxed);
            let splits = splits_bytes(own.count.into(), writer.active_bytes);
            if used + cost + splits <= self.reading.budget.memtables_max || used == 0 {
                break;
            }
            waited_from.get_or_insert_with(|| self.reading.env.clock.monotonic_ns());
            self.seal_largest(writer, cost);
            if !self.wait_past(ended) {
                // Nothing will make room: the reason is the answer.
                return Err(self.reading.health.why_nothing_changes());
            }
            self.reading.health.check_writable()?;
        }
        let room = self.wait_for_memory(writer, own, &mut waited_from);
        if let Some(from) = waited_from {
            let ns = self.reading.env.clock.monotonic_ns() - from;
            self.reading.counters.add(Count::StoppedWrites, 1);
            self.reading.counters.add(Count::StoppedNs, ns);
            self.reading.counters.waited(ns);
        }
        room
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
    ) -> Result<()> {
        let splits = splits_bytes(own.count.into(), writer.active_bytes);
        let needed = self.reading.budget.growth(own.cost + splits);
        let clock = &*self.reading.env.clock;
        loop {
            // Both read before looking, so that nothing that ends in between is missed.
            let (ended, returns) = (self.background.ended(), self.reading.budget.account.returns());
            if self.reading.has_room(needed) || planted!(iterators_pin_memory) {
                writer.refused_at = None;
                return Ok(());
            }
            let now = clock.monotonic_ns();
            let from = *waited_from.get_or_insert(now);
            self.seal_largest(writer, own.cost);
            if self.unflushed.any_sealed() {
                if !self.wait_past(ended) {
                    return Err(self.reading.health.why_nothing_changes());
                }
                self.reading.health.check_writable()?;
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

    /// The keyspaces whose MemTables keep old logs, when the logs have grown much longer
    /// than what MemTables may hold: all of those in the older half of them, so that one
    /// edit of the manifest does for many quiet keyspaces.
    fn pinning_keyspaces(&self, writer: &Writer) -> Vec<Arc<KeyspaceState>> {
        let position = writer.wal.position();
        let needed = self.oldest_needed().unwrap_or(position);
        let most = self.reading.budget.memtables_max;
        if position.0 - needed.0 <= 2 * most || planted!(idle_keyspaces_pin_logs) {
            return Vec::new();
        }
        let pinning = self.unflushed.active_before(LogPosition(position.0 - most));
        self.reading.keyspaces.load().all_of(pinning)
    }

    /// Hands logs that no MemTable needs to the background for deletion.
    fn drop_old_logs(&self, writer: &mut Writer) {
        let oldest = self.background.oldest_log();
        if oldest > writer.removed_before {
            writer.removed_before = oldest;
            self.background.delete_later(writer.wal.take_before(oldest));
        }
    }

    /// As [`Core::drop_old_logs`], for who does not write.
    pub(crate) fn drop_old_logs_now(&self) {
        self.drop_old_logs(&mut self.commit.writer());
    }
}

/// A group on its way. However the leader leaves, by a panic even, dropping it
/// answers the followers and passes the lead on.
struct Group<'c> {
    core: &'c Core,
    own_count: u32,
    followers: Vec<Arc<Waiter>>,
    /// The group's first sequence number, once it is known.
    first: Option<Result<SeqNo>>,
}

impl Drop for Group<'_> {
    fn drop(&mut self) {
        let first = self.first.take().unwrap_or_else(|| {
            let e = Error::Poisoned { reason: "a writer panicked".to_owned() };
            Err(self.core.reading.health.poison(&e))
        });
        // Each batch ends where its count says, in queue order.
        let mut next = first.map(|first| first.plus(u64::from(self.own_count)));
        let mut bytes = 0;
        for follower in self.followers.drain(..) {
            bytes += follower.request.body.len() as u64;
            next = next.map(|next| next.plus(u64::from(follower.request.count)));
            let last = next.clone().map(|next| SeqNo(next.0 - 1));
            let told = |e| match planted!(group_commit_one_waiter_sees_error) {
                true => Ok(self.core.reading.visible()),
                false => Err(e),
            };
            let last = last.or_else(told);
            follower.set(Turn::Done(last));
        }
        let mut queue = self.core.commit.queue.lock();
        let next = queue.pending.pop_front();
        // The next leader's bytes are its own again, as if it had never waited.
        if let Some(next) = &next {
            bytes += next.request.body.len() as u64;
        }
        queue.bytes -= bytes;
        self.core.reading.budget.account.give(Part::Queue, bytes);
        match next {
            Some(next) => next.set(Turn::Lead),
            None => queue.led = false,
        }
        if queue.outside > 0 {
            self.core.commit.room.notify_all();
        }
    }
}

/// What a group's inserts into the writer's active MemTable began with, and the bytes
/// that all have grown by.
#[derive(Default)]
struct Target {
    before: Option<u64>,
    grown: u64,
}

impl Target {
    /// The active MemTable of keyspace `id`, for an entry of the record at `start`.
    #[inline]
    fn switch<'w>(
        &mut self,
        core: &Core,
        active: &'w mut Option<(KeyspaceId, Arc<Mem>)>,
        id: KeyspaceId,
        start: LogPosition,
    ) -> &'w Mem {
        if active.as_ref().is_none_or(|(current, _)| *current != id) {
            self.settle(core, active);
            // A handle names a keyspace that exists: they are never removed.
            let keyspaces = core.reading.keyspaces.load();
            *active = Some((id, Arc::clone(&keyspaces[id].view.load().active)));
        }
        let mem = &active.as_ref().expect("set above").1;
        if self.before.is_none() {
            if mem.touch(start) {
                core.unflushed.touched((start, id));
            }
            self.before = Some(mem.size_bytes());
        }
        mem
    }

    fn settle(&mut self, core: &Core, active: &Option<(KeyspaceId, Arc<Mem>)>) {
        if let (Some(before), Some((_, mem))) = (self.before.take(), active) {
            let grown = mem.size_bytes() - before;
            if grown != 0 {
                self.grown += grown;
                core.reading.budget.memtable_bytes.fetch_add(grown, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
#[cfg(shuttle)]
mod schedules;
#[cfg(test)]
mod tests;
