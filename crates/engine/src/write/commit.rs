//! The one write path: every put is a batch of one, and every batch comes here.
//!
//! Writers queue; the first becomes the leader and commits a group: its own
//! batch and those that queued meanwhile. The leader
//!
//! 0. before a sync, waits a little for writers that are about to come back (`returning`),
//! 1. waits for room (pacing, the memory budget), and decides which batches are written:
//!    those without conditions, and those whose conditions hold (`decide`),
//! 2. appends one record for all of them to the log,
//! 3. syncs it when any batch of the group asks for that,
//! 4. inserts the writes into the MemTables, and tells of each put where spans of dead keys
//!    are known,
//! 5. makes them visible, all at once,
//! 6. answers every writer of the group and passes the lead on.
//!
//! A reader never sees a write whose record could still fail. A failure of 2
//! or 3 poisons the database, every writer of the group hears of it, and
//! nothing of the group was inserted.

mod admission;
mod answers;
mod decide;
mod insert;
mod room;
mod seal;
mod several;

use crate::control::account::Part;
use crate::control::counters::Count;
use crate::core::Core;
use crate::core::checks::Tally;
use crate::core::queue::{OwnedRequest, Queue, Request, Turn, Waiter, Writer};
use crate::core::seqnos::Need;
use crate::memtable::splits_bytes;
use crate::tree::manifest::Edit;
use crate::types::error::{Error, Result};
use crate::types::options::Durability;
use crate::wal::WalWriter;
use crate::wal::group::{self, GroupHeader};
use crate::write::batch::Batch;
use answers::{Group, Written};
use decide::Refusals;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::{LogPosition, SeqNo, planted};
use tanada_vfs::sync::{Condvar, Mutex, MutexGuard};

/// A group takes no further batch once it holds this many bytes.
const MAX_GROUP_BYTES: usize = 1 << 20;

/// A batch that has been checked and may queue.
struct Prepared<'b> {
    batch: &'b mut Batch,
    /// Most bytes that it takes in MemTables.
    cost: u64,
    durability: Durability,
}

impl Prepared<'_> {
    fn borrow(&self) -> Request<'_> {
        Request {
            body: &self.batch.body,
            cost: self.cost,
            count: self.batch.count,
            durability: self.durability,
            checks: self.batch.checks.as_deref(),
        }
    }

    /// Bytes that it takes while it waits.
    fn bytes(&self) -> u64 {
        self.batch.body.len() as u64 + self.batch.checks.as_ref().map_or(0, |checks| checks.bytes)
    }

    fn own(&mut self) -> OwnedRequest {
        let Batch { body, checks, count, .. } = &mut *self.batch;
        OwnedRequest::of(body, checks, self.cost, *count, self.durability)
    }
}

impl Core {
    /// Commits a batch: one log record (shared with others), one sync when asked
    /// for, one insert a write. Answers the sequence number of its last write;
    /// of an empty batch, the newest visible one.
    pub(crate) fn commit(
        &self,
        batch: &mut Batch,
        durability: Option<Durability>,
    ) -> Result<SeqNo> {
        let Some(prepared) = self.prepare(batch, durability)? else {
            return Ok(self.reading.visible());
        };
        if let Some(checks) = &prepared.batch.checks {
            self.ask_ahead(checks)?;
        }
        let result = self.submit(prepared);
        self.run_inline();
        result
    }

    /// Checks a batch and makes it ready to be committed; `None` when it is empty.
    #[inline]
    fn prepare<'b>(
        &self,
        batch: &'b mut Batch,
        durability: Option<Durability>,
    ) -> Result<Option<Prepared<'b>>> {
        batch.validate(self.reading.database_id)?;
        self.admit(batch)?;
        if batch.is_empty() && batch.checks.is_none() {
            return Ok(None);
        }
        let cost = self.cost_of(batch)?;
        if batch.has_ttl() {
            batch.set_expiries(self.reading.now_ms())?;
        }
        let deletes = u64::from(batch.deletes);
        let puts = u64::from(batch.count) - deletes;
        let tally = Tally { puts, deletes, user_bytes: batch.user_bytes };
        match &mut batch.checks {
            // Counted once it is decided.
            Some(checks) => checks.tally = tally,
            None => self.count(tally),
        }
        let durability = durability.unwrap_or(self.config.durability);
        Ok(Some(Prepared { batch, cost, durability }))
    }

    #[inline]
    fn count(&self, Tally { puts, deletes, user_bytes }: Tally) {
        self.reading.counters.add(Count::Puts, puts);
        if deletes != 0 {
            self.reading.counters.add(Count::Deletes, deletes);
        }
        self.reading.counters.add(Count::UserBytesWritten, user_bytes);
    }

    fn submit(&self, mut prepared: Prepared<'_>) -> Result<SeqNo> {
        let waiter = {
            let mut queue = self.enter_queue(prepared.bytes());
            if queue.led {
                Some(self.wait_in_line(&mut queue, prepared.own()))
            } else {
                queue.led = true;
                None
            }
        };
        match waiter {
            Some(waiter) => self.answer_of(&waiter),
            None => self.lead(prepared.borrow()),
        }
    }

    /// Waits until nobody leads, or the queue has room for `bytes`.
    fn enter_queue(&self, bytes: u64) -> MutexGuard<'_, Queue> {
        let mut queue = self.commit.queue.lock();
        while queue.led && !self.may_queue(&queue, bytes) {
            queue.outside += 1;
            self.commit.room.wait(&mut queue);
            queue.outside -= 1;
        }
        if queue.returning.came() {
            self.commit.all_back.notify_one();
        }
        queue
    }

    /// What a batch in the queue is answered, by another leader or by leading.
    fn answer_of(&self, waiter: &Waiter) -> Result<SeqNo> {
        match waiter.wait() {
            Some(answer) => answer,
            None => self.lead(waiter.request.borrow()),
        }
    }

    /// Puts a batch into the queue behind those that wait.
    fn wait_in_line(&self, queue: &mut Queue, request: OwnedRequest) -> Arc<Waiter> {
        let bytes = request.bytes();
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
            Group { core: self, own_count: own.count, followers: Vec::new(), written: None };
        if own.durability == Durability::Synced {
            self.wait_for_those_who_return();
        }
        let mut writer = self.commit.writer.lock();
        let written = self.make_room(&mut writer, &own).and_then(|()| {
            self.join(&writer, &own, &mut group.followers);
            self.write_group(&mut writer, own, &group.followers)
        });
        // Whatever came of it: what it did not take is the caches' again.
        self.reading.budget.promise(0);
        let end = writer.wal.written();
        drop(writer);
        self.wal.tell_of_commit(end);
        let answer = match &written {
            Ok(written) => match written.refusals.of(0) {
                None => Ok(written.newest(written.first.plus(own.count.into()))),
                Some(refusal) => Err(refusal.clone()),
            },
            Err(e) => Err(e.clone()),
        };
        group.written = Some(written);
        answer
    }

    /// Gives writers whom the last sync has answered the time to come back: see [`Returning`].
    ///
    /// [`Returning`]: crate::core::returning::Returning
    fn wait_for_those_who_return(&self) {
        let mut queue = self.commit.queue.lock();
        if let Some((longest, expected)) = queue.returning.may_wait() {
            // Woken too early it goes on with those who are there.
            self.commit.all_back.wait_for(&mut queue, longest);
            queue.returning.has_waited(expected);
        }
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
            let is_long = bytes > MAX_GROUP_BYTES && !next.request.belongs_to_last;
            // Room was made for the leader's own batch.
            if is_long || most > room {
                break;
            }
            budget.promise(budget.growth(most));
            if !self.reading.has_room(budget.growth(most)) {
                break;
            }
            followers.extend(queue.pending.pop_front());
        }
    }

    /// Decides what is written, then steps 2 to 5.
    fn write_group(
        &self,
        writer: &mut Writer,
        own: Request<'_>,
        followers: &[Arc<Waiter>],
    ) -> Result<Written> {
        self.reading.health.check_committable()?;
        let (before, first) = (self.reading.visible(), writer.next_seqno);
        let members = || std::iter::once(own).chain(followers.iter().map(|f| f.request.borrow()));
        let asks = members().any(|member| member.checks.is_some());
        let refusals = match asks && !planted!(conditions_asked_before_the_queue) {
            true => self.decide(first, members()),
            false => Refusals::default(),
        };
        let requests = || {
            let of = |(nth, request): (usize, _)| match refusals.of(nth) {
                None => Some(request),
                Some(_) if planted!(refused_batch_half_written) => first_half(request),
                Some(_) => None,
            };
            members().enumerate().filter_map(of)
        };
        let count: u32 = requests().map(|r| r.count).sum();
        if count == 0 {
            return Ok(Written { before, first, refusals, sync_ns: None });
        }
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
            parts.extend(requests().map(|r| r.body));
            writer.wal.append(&parts)
        };
        appended.map_err(|e| self.append_failed(writer, e))?;
        // What only asks writes nothing that could get lost.
        let asks = |r: Request<'_>| r.durability == Durability::Synced && r.count > 0;
        let syncs = match planted!(group_synced_as_its_leader) {
            true => asks(own),
            false => requests().any(asks),
        };
        let sync_ns = if syncs { Some(self.sync_log(writer)?) } else { None };
        if planted!(group_visible_before_it_is_inserted) {
            let last = first.0 + u64::from(count) - 1;
            self.reading.visible.0.store(last, Ordering::Release);
        }
        let last = self.insert_group(writer, start, first, requests().map(|r| r.body))?;
        let note_puts = || {
            if self.reading.dead_spans.must_note() {
                self.note_puts(first, requests().map(|r| r.body));
            }
        };
        if !planted!(put_noted_after_it_shows) {
            note_puts();
        }
        debug_assert_eq!(last.0, first.0 + u64::from(count) - 1);
        writer.next_seqno = last.plus(1);
        let shown = match planted!(group_shown_as_its_leader) {
            true => first.plus(u64::from(own.count) - 1),
            false => last,
        };
        self.reading.visible.0.store(shown.0, Ordering::Release);
        if planted!(put_noted_after_it_shows) {
            note_puts();
        }
        self.reading.counters.add(Count::Groups, 1);
        let refused = refusals.count() as u64;
        self.reading.counters.add(Count::Batches, 1 + followers.len() as u64 - refused);
        Ok(Written { before, first, refusals, sync_ns })
    }

    /// Answers what it took.
    fn sync_log(&self, writer: &mut Writer) -> Result<u64> {
        let started = self.reading.env.clock.monotonic_ns();
        writer.wal.sync().map_err(|e| self.reading.health.poison(&e))?;
        let ns = self.reading.env.clock.monotonic_ns() - started;
        self.reading.counters.add(Count::Syncs, 1);
        self.reading.counters.add(Count::SyncNs, ns);
        Ok(ns)
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
            Err(e) => Err(self.edit_failed(&manifest, e)),
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

/// How a planted bug writes a batch of which a condition has failed.
#[cold]
fn first_half(request: Request<'_>) -> Option<Request<'_>> {
    let (_, len) = group::decode_entry(request.body).ok()?;
    Some(Request { body: &request.body[..len], count: 1, ..request })
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
mod holdups;
#[cfg(test)]
mod groups;
#[cfg(test)]
#[cfg(shuttle)]
mod schedules;
#[cfg(test)]
mod tests;
