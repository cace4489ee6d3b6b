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

mod admission;
mod insert;
mod room;
mod seal;

use crate::control::account::Part;
use crate::control::counters::Count;
use crate::core::Core;
use crate::core::queue::{OwnedRequest, Queue, Request, Turn, Waiter, Writer};
use crate::core::seqnos::Need;
use crate::memtable::splits_bytes;
use crate::tree::manifest::Edit;
use crate::types::error::{Error, Result};
use crate::types::options::Durability;
use crate::wal::WalWriter;
use crate::wal::group::{self, GroupHeader};
use crate::write::batch::Batch;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::{LogPosition, SeqNo, planted};
use tanada_vfs::sync::{Condvar, Mutex};

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
        let Some(cost) = self.prepare(batch)? else { return Ok(self.reading.visible()) };
        let durability = durability.unwrap_or(self.config.durability);
        let result = self.submit(batch, cost, durability);
        self.run_inline();
        result
    }

    /// Checks a batch and makes it ready to be committed. Answers what it takes in
    /// MemTables at most; `None` when it is empty.
    #[inline]
    fn prepare(&self, batch: &mut Batch) -> Result<Option<u64>> {
        batch.check(self.reading.database_id)?;
        self.admit(batch)?;
        if batch.is_empty() {
            return Ok(None);
        }
        let cost = self.cost_of(batch)?;
        if batch.has_ttl() {
            batch.set_expiries(self.reading.now_ms())?;
        }
        let deletes = u64::from(batch.deletes);
        self.reading.counters.add(Count::Puts, u64::from(batch.count) - deletes);
        if deletes != 0 {
            self.reading.counters.add(Count::Deletes, deletes);
        }
        self.reading.counters.add(Count::UserBytesWritten, batch.user_bytes);
        Ok(Some(cost))
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
                Some(self.wait_in_line(&mut queue, batch, cost, durability))
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

    /// Puts a batch into the queue behind those that wait.
    fn wait_in_line(
        &self,
        queue: &mut Queue,
        batch: &mut Batch,
        cost: u64,
        durability: Durability,
    ) -> Arc<Waiter> {
        let request = OwnedRequest::of(&mut batch.body, cost, batch.count, durability);
        let bytes = request.body.len() as u64;
        queue.bytes += bytes;
        self.reading.budget.account.take(Part::Queue, bytes);
        let waiter =
            Arc::new(Waiter { request, turn: Mutex::new(Turn::Waiting), changed: Condvar::new() });
        queue.pending.push_back(Arc::clone(&waiter));
        waiter
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
        let counted = if planted!(group_counted_as_its_leader) { own.count } else { count };
        if let Some((ceiling, need)) = self.seqnos.wanted(first.plus(u64::from(count))) {
            self.reserve_seqnos(ceiling, need)?;
        }
        let header = GroupHeader::new(first, counted);
        let start = writer.wal.position();
        let appended = if planted!(long_batch_in_two_records) && own.body.len() > MAX_GROUP_BYTES {
            append_in_two(&mut writer.wal, first, own)
        } else if followers.is_empty() {
            writer.wal.append(&[header.bytes(), own.body])
        } else {
            let mut parts: Vec<&[u8]> = Vec::with_capacity(followers.len() + 2);
            parts.push(header.bytes());
            parts.push(own.body);
            parts.extend(followers.iter().map(|f| f.request.body.as_slice()));
            writer.wal.append(&parts)
        };
        appended.map_err(|e| self.append_failed(writer, e))?;
        let asks = |r: Request<'_>| r.durability == Durability::Synced;
        let syncs = match planted!(group_synced_as_its_leader) {
            true => asks(own),
            false => requests().any(asks),
        };
        if syncs {
            let started = self.reading.env.clock.monotonic_ns();
            writer.wal.sync().map_err(|e| self.reading.health.poison(&e))?;
            self.reading.counters.add(Count::Syncs, 1);
            self.reading
                .counters
                .add(Count::SyncNs, self.reading.env.clock.monotonic_ns() - started);
        }
        if planted!(group_visible_before_it_is_inserted) {
            let last = first.0 + u64::from(count) - 1;
            self.reading.visible.0.store(last, Ordering::Release);
        }
        let last = self.insert_group(writer, start, first, requests().map(|r| r.body))?;
        debug_assert_eq!(last.0, first.0 + u64::from(count) - 1);
        writer.next_seqno = last.plus(1);
        let shown = match planted!(group_shown_as_its_leader) {
            true => first.plus(u64::from(own.count) - 1),
            false => last,
        };
        self.reading.visible.0.store(shown.0, Ordering::Release);
        self.reading.counters.add(Count::Groups, 1);
        self.reading.counters.add(Count::Batches, 1 + followers.len() as u64);
        Ok(first)
    }

    /// Makes room for sequence numbers up to `ceiling`: durable before the first of them is
    /// handed out. One sync of the manifest in two million writes.
    #[cold]
    fn reserve_seqnos(&self, ceiling: SeqNo, need: Need) -> Result<()> {
        let edit = Edit { seqno_ceiling: Some(ceiling), ..Edit::default() };
        if planted!(seqno_ceiling_behind_its_use) {
            self.seqnos.reserved(ceiling);
            return Ok(());
        }
        let manifest = match need {
            Need::Now => Some(self.manifest.lock()),
            Need::Soon => self.manifest.try_lock(),
        };
        let Some(mut manifest) = manifest else { return Ok(()) };
        match manifest.append(&edit) {
            Err(_) if need == Need::Soon && !manifest.is_poisoned() => Ok(()),
            Ok(_) => {
                self.seqnos.reserved(ceiling);
                Ok(())
            }
            // A new manifest found no room: nothing was done.
            Err(Error::Io(e)) if !manifest.is_poisoned() && tanada_vfs::is_disk_full(&e) => {
                drop(manifest);
                self.out_of_space(&e.to_string());
                let reason = self.reading.health.read_only_reason().unwrap_or_default();
                Err(Error::ReadOnly { reason })
            }
            Err(e) => Err(self.reading.health.poison(&e)),
        }
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
            let last = match planted!(group_answered_alike) {
                true => last.map(|_| self.core.reading.visible()),
                false => last,
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

/// How a planted bug appends a batch that is longer than a group may become.
#[cold]
fn append_in_two(wal: &mut WalWriter, first: SeqNo, own: Request<'_>) -> Result<LogPosition> {
    let (mut at, mut count) = (0, 0);
    while at < own.body.len() / 2 && count < own.count - 1 {
        at += group::decode_entry(&own.body[at..]).map_or(own.body.len(), |(_, len)| len);
        count += 1;
    }
    if count > 0 {
        wal.append(&[GroupHeader::new(first, count).bytes(), &own.body[..at]])?;
    }
    let rest = GroupHeader::new(first.plus(count.into()), own.count - count);
    wal.append(&[rest.bytes(), &own.body[at..]])
}

#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod groups;
#[cfg(test)]
#[cfg(shuttle)]
mod schedules;
#[cfg(test)]
mod tests;
