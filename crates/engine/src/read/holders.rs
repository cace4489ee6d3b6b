//! Who reads at a moment that is not now: snapshots, cursors and iterators that live.
//!
//! A flush or compaction asks once, when it starts, at which sequence numbers somebody
//! reads, and since when expiry has been judged by a clock that stood still. A reader
//! that comes later sees every write in that job's inputs (a MemTable is sealed between
//! commit groups, and a table holds sealed MemTables only), so it needs only newest
//! versions, which no job drops. So every reader can go over to a later view of its
//! keyspace and find the same there, and lets go of MemTables that have been flushed.
//!
//! Short scans come and go some 100,000 times a second: each thread has a list of its
//! own, as long as there are not many, behind a lock that is held for a few lines.

use crate::read::view::View;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::{KeyspaceId, SeqNo, planted};
use tanada_vfs::sync::atomic::AtomicU64;
use tanada_vfs::sync::unchecked::AtomicUsize;
use tanada_vfs::sync::{Mutex, thread_local};

/// Loom has two threads.
const LISTS: usize = if cfg!(loom) { 2 } else { 8 };

thread_local! {
    /// Which list this thread uses. Any will do.
    static LIST: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// What a reader of one moment sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadPoint {
    /// The newest write.
    pub(crate) seqno: SeqNo,
    /// Wall-clock milliseconds: what has expired by then has expired, nothing else has.
    pub(crate) now_ms: u64,
}

/// What holds a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HolderKind {
    Snapshot,
    Cursor,
    Iterator,
}

/// One that lives.
#[derive(Clone)]
pub(crate) struct Holder {
    pub(crate) kind: HolderKind,
    /// What it reads of; snapshots read of all.
    pub(crate) keyspace: KeyspaceId,
    /// Monotonic.
    pub(crate) opened_ns: u64,
    /// The newest write that it sees.
    pub(crate) seqno: SeqNo,
    /// What has expired by then has expired for it, and nothing else has.
    pub(crate) now_ms: u64,
    /// What each of its ends walks.
    views: [Option<Arc<View>>; 2],
}

impl Holder {
    pub(crate) fn views(&self) -> impl Iterator<Item = &Arc<View>> {
        self.views.iter().flatten()
    }
}

/// Where a holder stands in the lists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    list: usize,
    slot: usize,
}

/// What a flush or compaction must know of readers, taken when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct JobMoment {
    /// Sequence numbers that somebody reads at, ascending.
    pub(crate) seqnos: Vec<SeqNo>,
    /// Wall-clock milliseconds: what has expired by then has expired for everybody.
    pub(crate) now_ms: u64,
    /// When the job starts: what has expired by then has expired for everybody who
    /// does not read at one of these numbers.
    pub(crate) clock_ms: u64,
}

/// How far back anybody looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LooksBack {
    /// The least sequence number that somebody reads at; [`SeqNo::MAX`] when nobody does.
    pub(crate) seqno: SeqNo,
    /// The earliest moment by which somebody judges expiry; `u64::MAX` when nobody does.
    pub(crate) now_ms: u64,
}

/// All that live.
#[derive(Default)]
pub(crate) struct Holders {
    lists: [List; LISTS],
    /// How far back somebody looked when the background found garbage that is only kept
    /// for readers, and went to sleep; 0 for what nobody waits for. Relaxed: written before
    /// a lock of each list is taken, and read behind one.
    awaited: [AtomicU64; 2],
    /// The latest moment that a job has judged expiry by. Relaxed: written before a
    /// job takes the lists' locks, read under one of them.
    judged_ms: AtomicU64,
    /// The list of the next thread that has none. Relaxed: which list a thread uses is of
    /// no consequence.
    next_list: AtomicUsize,
}

/// On lines of its own: each thread writes to its list.
#[derive(Default)]
#[repr(align(128))]
struct List(Mutex<Slots>);

/// Held for a few lines; no other lock is taken under it, and no view is dropped.
#[derive(Default)]
struct Slots {
    holders: Vec<Option<Holder>>,
    free: Vec<usize>,
}

impl Slots {
    /// Answers the slot.
    fn add(&mut self, holder: Holder) -> usize {
        match self.free.pop() {
            Some(slot) => {
                self.holders[slot] = Some(holder);
                slot
            }
            None => {
                self.holders.push(Some(holder));
                self.holders.len() - 1
            }
        }
    }
}

impl Holders {
    /// Lists a holder at the number that `seqno` answers. It is asked under the lock,
    /// so that a job that asks meanwhile either sees this one or started before the
    /// number was read. Answers the place, the number, and the time that decides
    /// what has expired: `now_ms`, or what a job has judged by already.
    pub(crate) fn enter(
        &self,
        (kind, keyspace): (HolderKind, KeyspaceId),
        (opened_ns, now_ms): (u64, u64),
        seqno: impl FnOnce() -> SeqNo,
    ) -> (Place, ReadPoint) {
        let list = self.list_of_this_thread();
        let mut slots = self.lists[list].0.lock();
        let seqno = seqno();
        let now_ms = now_ms.max(self.judged_ms.load(Ordering::Relaxed));
        let holder = Holder { kind, keyspace, opened_ns, seqno, now_ms, views: [None, None] };
        (Place { list, slot: slots.add(holder) }, ReadPoint { seqno, now_ms })
    }

    /// Lists a holder at a point that another one holds, for the whole call: no job has
    /// judged by a later time what is visible there.
    pub(crate) fn join(
        &self,
        (kind, keyspace): (HolderKind, KeyspaceId),
        opened_ns: u64,
        ReadPoint { seqno, now_ms }: ReadPoint,
    ) -> Place {
        let list = self.list_of_this_thread();
        let holder = Holder { kind, keyspace, opened_ns, seqno, now_ms, views: [None, None] };
        Place { list, slot: self.lists[list].0.lock().add(holder) }
    }

    /// Notes what the holder's end `end` walks from now on; the view before that is
    /// answered, to be dropped by the caller.
    pub(crate) fn walks(&self, place: Place, end: usize, view: Arc<View>) -> Option<Arc<View>> {
        let mut slots = self.lists[place.list].0.lock();
        let holder = slots.holders[place.slot].as_mut().expect("a holder leaves once");
        holder.views[end].replace(view)
    }

    /// The holder is gone; answered, to be dropped by the caller, and whether the
    /// background waits for that.
    pub(crate) fn leave(&self, place: Place) -> (Option<Holder>, bool) {
        let gone = {
            let mut slots = self.lists[place.list].0.lock();
            slots.free.push(place.slot);
            slots.holders[place.slot].take()
        };
        let awaited = gone.as_ref().is_some_and(|gone| self.is_awaited(gone));
        (gone, awaited)
    }

    /// How far back anybody looks now.
    pub(crate) fn looks_back(&self) -> LooksBack {
        let mut all = LooksBack { seqno: SeqNo::MAX, now_ms: u64::MAX };
        self.each(|holder| {
            all.seqno = all.seqno.min(holder.seqno);
            all.now_ms = all.now_ms.min(holder.now_ms);
        });
        all
    }

    /// From now on the end of who looks back as far as `seen` is told, once. Answers
    /// whether anybody still does: else it has been missed.
    pub(crate) fn await_release(&self, seen: LooksBack) -> bool {
        // `u64::MAX` would be every snapshot's moment.
        let now_ms = if seen.now_ms == u64::MAX { 0 } else { seen.now_ms };
        self.awaited[0].store(seen.seqno.0, Ordering::Relaxed);
        self.awaited[1].store(now_ms, Ordering::Relaxed);
        // Whoever has left this behind is not listed, and who is listed sees it.
        self.looks_back() == seen
    }

    /// One load or two where nobody waits; else short scans, which look back no further
    /// than now, pay no more than that either.
    fn is_awaited(&self, gone: &Holder) -> bool {
        let [seqno, now_ms] = [0, 1].map(|i| self.awaited[i].load(Ordering::Relaxed));
        if gone.seqno.0 > seqno && gone.now_ms > now_ms {
            return false;
        }
        let left = self.looks_back();
        let further = left.seqno.0 > seqno || (now_ms != 0 && left.now_ms > now_ms);
        further && self.awaited[0].swap(0, Ordering::Relaxed) != 0
    }

    /// The clock was wrong and has been set right: what jobs have judged by a later time
    /// than this does not bind those who enter from now on.
    pub(crate) fn judged_at_most(&self, now_ms: u64) {
        self.judged_ms.fetch_min(now_ms, Ordering::Relaxed);
    }

    /// For a job that starts when the clock says `now_ms`.
    pub(crate) fn job_moment(&self, now_ms: u64) -> JobMoment {
        // Before the lists are looked at: who enters behind this takes it over.
        self.judged_ms.fetch_max(now_ms, Ordering::Relaxed);
        let mut moment = JobMoment { seqnos: Vec::new(), now_ms, clock_ms: now_ms };
        self.each(|holder| {
            if planted!(cursor_missed_by_job) && holder.kind != HolderKind::Snapshot {
                return;
            }
            moment.seqnos.push(holder.seqno);
            moment.now_ms = moment.now_ms.min(holder.now_ms);
        });
        moment.seqnos.sort_unstable();
        moment.seqnos.dedup();
        moment
    }

    /// The numbers that somebody reads at, in no order.
    pub(crate) fn seqnos(&self) -> Vec<SeqNo> {
        let mut seqnos = Vec::new();
        self.each(|holder| seqnos.push(holder.seqno));
        seqnos
    }

    /// All of them, copied. For statistics and errors.
    pub(crate) fn all(&self) -> Vec<Holder> {
        let mut all = Vec::new();
        self.each(|holder| all.push(holder.clone()));
        all
    }

    fn each(&self, mut look: impl FnMut(&Holder)) {
        for list in &self.lists {
            list.0.lock().holders.iter().flatten().for_each(&mut look);
        }
    }

    fn list_of_this_thread(&self) -> usize {
        LIST.with(|list| {
            if list.get() == usize::MAX {
                list.set(self.next_list.fetch_add(1, Ordering::Relaxed) % LISTS);
            }
            list.get()
        })
    }
}

#[cfg(test)]
#[cfg(loom)]
mod models;
#[cfg(test)]
mod tests {
    use super::*;

    const NOW: HolderKind = HolderKind::Cursor;

    fn enter(holders: &Holders, seqno: u64, now_ms: u64) -> Place {
        holders.enter((NOW, KeyspaceId(0)), (0, now_ms), || SeqNo(seqno)).0
    }

    #[test]
    fn a_number_held_twice_stays_until_both_are_released() {
        let holders = Holders::default();
        let seqnos = || holders.job_moment(1000).seqnos;
        let (first, second) = (enter(&holders, 7, 1000), enter(&holders, 7, 1000));
        enter(&holders, 3, 1000);
        assert_eq!(seqnos(), [SeqNo(3), SeqNo(7)]);
        drop(holders.leave(first));
        assert_eq!(seqnos(), [SeqNo(3), SeqNo(7)]);
        drop(holders.leave(second));
        assert_eq!(seqnos(), [SeqNo(3)]);
    }

    #[test]
    fn the_end_of_the_last_that_looks_so_far_back_is_told_once_and_that_of_others_is_not() {
        let holders = Holders::default();
        let (first, second) = (enter(&holders, 7, 1000), enter(&holders, 7, 1000));
        let brief = || holders.leave(enter(&holders, 9, 1001)).1;
        assert!(!brief(), "nobody waits");
        assert!(holders.await_release(holders.looks_back()));
        assert!(!brief());
        assert!(!holders.leave(first).1, "another looks as far back");
        assert!(holders.leave(second).1);
        assert!(!brief(), "once");
        let old = enter(&holders, 7, 1000);
        let seen = holders.looks_back();
        drop(holders.leave(old));
        assert!(!holders.await_release(seen), "it had gone before");
    }

    /// A cursor judges expiry by the moment when it was opened. A compaction that
    /// judged by a later one took values from it that it had yet to show.
    #[test]
    fn a_job_judges_expiry_by_the_oldest_reader_and_no_reader_by_less_than_a_job_has() {
        let holders = Holders::default();
        let old = enter(&holders, 1, 500);
        assert_eq!(holders.job_moment(1000).now_ms, 500);
        drop(holders.leave(old));
        assert_eq!(holders.job_moment(1000).now_ms, 1000);
        // It read the clock before that job did, and was listed behind it.
        let (_, point) = holders.enter((NOW, KeyspaceId(0)), (0, 900), || SeqNo(1));
        assert_eq!(point.now_ms, 1000);
    }
}
