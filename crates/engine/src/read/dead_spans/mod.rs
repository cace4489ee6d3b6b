//! Spans of keys that are known to be dead: walked once by a scan that found nothing alive
//! there, and stepped over by later ones in one step.
//!
//! A queue or a window that slides leaves as many tombstones in front of its head as it
//! ever had elements, until they are flushed and compacted. A scan that looked for the head
//! would walk all of them each time.
//!
//! A span says: whoever reads at `seqno` or later, and judges expiry by `now_ms` or later,
//! finds no live key from `start` to `end`. That is a fact about what was written, and has
//! nothing to do with where it lies: flushes and compactions change nothing in it, and
//! neither do deletes. Only a put in the span does, and the commit leader tells of each.
//!
//! # Why no reader steps over a live key
//!
//! The commit leader, for each group: 1. inserts the writes into MemTables; 2. fence;
//! 3. looks whether there are spans or walks; if so, [`DeadSpans::note_put`] for each put;
//! 4. makes the group visible.
//!
//! A reader that records: 1. [`DeadSpans::begin_walk`] lists the walk; 2. fence; 3. takes
//! the present view of its keyspace, and walks all of its sources from the beginning of the
//! walk on; 4. ends the walk before the first key of which it meets a version that is too
//! new for it; 5. [`DeadSpans::end_walk`] records what it walked.
//!
//! Let a put be in a span that a reader at a seqno no older than the put's steps over. When
//! it was noted in 3, it was before the reader learned its seqno, so the span was recorded
//! later, or was cut by it. Recorded later by a walk that was listed by then: the walk knows
//! the put as the nearest of all in its way, and ends before it. Listed later: of the two
//! fences the leader's came first, so the walk has met the put in a MemTable, or in a table
//! to which that had been flushed: seen, as one that it may see, or as one that is too new.
//! When the leader saw neither spans nor walks in 3, its fence came first likewise.
//!
//! A walk meets no version that is too new by luck: it would have to see each. So cursors
//! tell of what they pass over ([`tanada_table::Cursor::take_newer`]).
//!
//! Others bound the walk (RocksDB's `max_skippable_internal_keys`) or shorten it by
//! compactions (its `CompactOnDeletionCollector`, pebble's picks by density of tombstones);
//! a B+tree such as LMDB frees the pages, and has no walk. Knows nothing of cursors,
//! MemTables and tables.

use crate::control::account::{Account, Part};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use tanada_format::{KeyspaceId, SeqNo, planted};
use tanada_vfs::sync::Mutex;
use tanada_vfs::sync::atomic::AtomicU64;
use tanada_vfs::sync::lock_free::fence;

mod span;
#[cfg(test)]
mod tests;

pub(crate) use self::span::{Edge, Since, Way};

use self::span::{Place, Span, Walk};

/// Keyspaces are divided among so many shards, by id.
const SHARDS: usize = 8;

/// What they take at most, keys included, in all shards.
const MOST_BYTES: u64 = 4 << 20;

/// Spans of a shard at most: above, those that were used least lately go.
const MOST_SPANS: usize = 4_096;

/// Of these, spans that only readers of earlier moments use. A put looks at each.
const MOST_EARLIER: usize = 16;

/// Walks of a shard at most that may end in a span. A put looks at each.
const MOST_WALKS: usize = 16;

/// Dead entries in a row before a scan looks for a span, and before each further look: a
/// look costs a lock, and an entry tens of nanoseconds.
pub(crate) const LOOKED: u32 = 4;

/// So many looks find no span before what is dead is walked to make one.
const LOOKS: u32 = 4;

/// A walk that is listed: to be ended.
#[derive(Debug)]
pub(crate) struct Listed {
    id: u64,
    /// The moment of the span that the walk goes on from, if it begins behind one.
    joined: Option<Since>,
}

/// Where a scan leaves a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FarEnd {
    pub(crate) edge: Edge,
    /// From when on all up to there is dead.
    pub(crate) since: Since,
    /// Whether it is for whoever begins to read now, too: a walk may step over it.
    pub(crate) until_now: bool,
}

/// Where a walk ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walked<'k> {
    /// At its last dead key, or where the last span that it stepped over ended.
    pub(crate) last: &'k Edge,
    /// Entries that were stepped over.
    pub(crate) entries: u64,
    /// From when on all of it is dead.
    pub(crate) since: Since,
}

/// Held for a search, and for what a put or a walk changes; no other lock is taken under it.
///
/// Invariants: 1. those of `latest` that are of one keyspace do not overlap; 2. `bytes` is
/// what `latest` and `earlier` take.
#[derive(Debug, Default)]
struct Shard {
    /// By keyspace, then by the key of their start.
    #[expect(clippy::vec_box, reason = "a put in a span moves all that stand behind it")]
    latest: Vec<Box<Span>>,
    /// Of earlier moments, over keys of `latest`: for readers that look back. Few.
    earlier: Vec<Span>,
    walks: Vec<Walk>,
    bytes: u64,
    /// Of these the account knows.
    counted: u64,
    /// Counts uses.
    uses: u64,
    /// Numbers walks.
    walked: u64,
}

/// On lines of its own: each keyspace has its shard.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Locked(Mutex<Shard>);

/// All spans of a database.
#[derive(Debug)]
pub(crate) struct DeadSpans {
    shards: [Locked; SHARDS],
    /// A bit for each shard that has a span or a walk. SeqCst, and fences beside it: see
    /// the module's docs. A reader that looks for a span may miss one: relaxed.
    filled: AtomicU64,
    /// Constant.
    looked: u32,
    /// Of a shard.
    max_bytes: u64,
    account: Arc<Account>,
}

fn shard_of(keyspace: KeyspaceId) -> usize {
    keyspace.0 as usize % SHARDS
}

impl DeadSpans {
    /// None yet, of a database that may take `budget_bytes` in all: spans take at most a
    /// 256th of that, and 4 MiB.
    ///
    /// Scans look for one behind `looked` dead entries in a row: [`LOOKED`].
    pub(crate) fn new(budget_bytes: u64, account: Arc<Account>, looked: u32) -> DeadSpans {
        let filled = AtomicU64::new(0);
        let max_bytes = (budget_bytes / 256).min(MOST_BYTES) / SHARDS as u64;
        DeadSpans { shards: Default::default(), filled, looked, max_bytes, account }
    }

    /// Dead entries in a row before a scan looks for a span.
    #[inline]
    pub(crate) fn looked(&self) -> u32 {
        self.looked
    }

    /// Dead entries in a row, and no span, before a scan walks them again to make one. A
    /// span grows by as few as [`DeadSpans::looked`].
    pub(crate) fn walked(&self) -> u32 {
        self.looked * LOOKS
    }

    /// Whether there may be one in this keyspace. One load.
    #[inline]
    pub(crate) fn any(&self, keyspace: KeyspaceId) -> bool {
        self.filled.load(Relaxed) & (1 << shard_of(keyspace)) != 0
    }

    /// For the commit leader, when all writes of a group are in MemTables and none can be
    /// seen: whether each put must be noted. One fence and one load.
    #[inline]
    pub(crate) fn must_note(&self) -> bool {
        fence(SeqCst);
        self.filled.load(SeqCst) != 0
    }

    /// Tells of a put. O(log spans) where its shard has any.
    pub(crate) fn note_put(&self, keyspace: KeyspaceId, key: &[u8], seqno: SeqNo) {
        let number = shard_of(keyspace);
        if self.filled.load(SeqCst) & (1 << number) == 0 || planted!(dead_span_survives_a_put) {
            return;
        }
        let mut shard = self.shards[number].0.lock();
        if !planted!(put_before_a_dead_walk_missed) {
            shard.walks.iter_mut().for_each(|walk| walk.note_put(keyspace, key));
        }
        shard.cut(keyspace, key, seqno);
        self.settle(&mut shard, number);
    }

    /// The far end of a span that holds `key` and is seen `at` that moment, on the way of
    /// a scan.
    pub(crate) fn far_end(
        &self,
        keyspace: KeyspaceId,
        key: &[u8],
        at: Since,
        way: Way,
    ) -> Option<FarEnd> {
        if !self.any(keyspace) {
            return None;
        }
        let mut shard = self.shards[shard_of(keyspace)].0.lock();
        let span = shard.find(keyspace, key, at, way)?;
        let until_now = span.before == SeqNo::MAX;
        Some(FarEnd { edge: span.far(way).clone(), since: span.since, until_now })
    }

    /// Lists a walk that begins at the dead key `from`, or behind the span that ends there:
    /// whatever is put in its way from now on bounds what it makes known. `None` when there
    /// are too many. A fence follows: the caller takes the present view behind it, and
    /// walks from the key of `from` on, that key as well: it may not be in the span.
    pub(crate) fn begin_walk(
        &self,
        keyspace: KeyspaceId,
        from: &Edge,
        at: Since,
        way: Way,
    ) -> Option<Listed> {
        let listed = {
            let mut shard = self.shards[shard_of(keyspace)].0.lock();
            if shard.walks.len() >= MOST_WALKS {
                return None;
            }
            let span = shard.ending_at(keyspace, from, at, way);
            let joined = span.map(|span| span.since);
            let from = match span {
                Some(span) => span.near(way).clone(),
                None => Edge::at(&from.key),
            };
            shard.walked += 1;
            let id = shard.walked;
            shard.walks.push(Walk { id, keyspace, way, from, nearest: None });
            self.settle(&mut shard, shard_of(keyspace));
            Listed { id, joined }
        };
        fence(SeqCst);
        Some(listed)
    }

    /// Ends a walk; what it walked, if anything, is a span from now on. `readers` are the
    /// numbers at which somebody reads: spans that only they can use are left to them.
    pub(crate) fn end_walk(
        &self,
        keyspace: KeyspaceId,
        listed: &Listed,
        walked: Option<Walked<'_>>,
        readers: &[SeqNo],
    ) {
        let mut shard = self.shards[shard_of(keyspace)].0.lock();
        let at = shard.walks.iter().position(|walk| walk.id == listed.id);
        let walk = shard.walks.swap_remove(at.expect("a walk is ended once"));
        let span = walked.and_then(|Walked { last, entries, since }| {
            let since = listed.joined.map_or(since, |joined| since.and(joined));
            walk.into_span(last, entries, since)
        });
        if let Some(span) = span {
            shard.record(span, readers, self.max_bytes);
        }
        self.settle(&mut shard, shard_of(keyspace));
    }

    /// Brings up to date what is known of a shard without its lock.
    fn settle(&self, shard: &mut Shard, number: usize) {
        // The bit changes under this lock alone.
        let bit = 1 << number;
        let is_told = self.filled.load(Relaxed) & bit != 0;
        if is_told && shard.is_empty() {
            self.filled.fetch_sub(bit, SeqCst);
        } else if !is_told && !shard.is_empty() {
            self.filled.fetch_add(bit, SeqCst);
        }
        match shard.bytes.checked_sub(shard.counted) {
            Some(0) => {}
            Some(more) => self.account.take(Part::Readers, more),
            None => self.account.give(Part::Readers, shard.counted - shard.bytes),
        }
        shard.counted = shard.bytes;
    }

    /// How many there are, and the bytes that they take.
    pub(crate) fn taken(&self) -> (u64, u64) {
        let each = self.shards.iter().map(|shard| {
            let shard = shard.0.lock();
            ((shard.latest.len() + shard.earlier.len()) as u64, shard.bytes)
        });
        each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }
}

impl Shard {
    fn is_empty(&self) -> bool {
        self.latest.is_empty() && self.earlier.is_empty() && self.walks.is_empty()
    }

    /// The place in `latest` behind all that begin at this place or before it.
    fn behind(&self, keyspace: KeyspaceId, place: Place<'_>) -> usize {
        self.latest
            .partition_point(|span| (span.keyspace.0, span.start.as_start()) <= (keyspace.0, place))
    }

    /// A span over `key` that is seen `at` that moment; used by this.
    fn find(&mut self, keyspace: KeyspaceId, key: &[u8], at: Since, way: Way) -> Option<&Span> {
        let behind = self.behind(keyspace, Place::at(key));
        let near = behind.checked_sub(1).map(|i| &mut *self.latest[i]);
        let suits = |span: &&mut Span| span.is_over(keyspace, key) && span.is_seen_at(at);
        let earlier = self.earlier.iter_mut().filter(suits);
        let further = |a: &&mut Span, b: &&mut Span| match way {
            Way::Up => a.end.key.cmp(&b.end.key),
            Way::Down => b.start.key.cmp(&a.start.key),
        };
        let found = near.filter(suits).or_else(|| earlier.max_by(further))?;
        self.uses += 1;
        found.used = self.uses;
        Some(found)
    }

    /// A span that ends at `from`, on the way of a scan, and is seen `at` that moment and
    /// at all later ones.
    fn ending_at(&self, keyspace: KeyspaceId, from: &Edge, at: Since, way: Way) -> Option<&Span> {
        // Where some meet at a put, one ends at its key, one may be that key, and another
        // begins there.
        let behind = self.behind(keyspace, Place::right_behind(&from.key));
        let near = self.latest[behind.saturating_sub(3)..behind].iter().map(|span| &**span);
        near.chain(&self.earlier).find(|span| {
            let ends_there = span.keyspace == keyspace && span.far(way) == from;
            ends_there && span.is_seen_at(at) && span.before == SeqNo::MAX
        })
    }

    fn put(&mut self, span: Span) {
        self.bytes += span.bytes();
        let at = self.behind(span.keyspace, span.start.as_start());
        self.latest.insert(at, Box::new(span));
    }

    /// Takes a key that was put out of all spans, for those who see the put.
    fn cut(&mut self, keyspace: KeyspaceId, key: &[u8], seqno: SeqNo) {
        for span in self.earlier.iter_mut().filter(|span| span.is_over(keyspace, key)) {
            span.before = span.before.min(seqno);
        }
        let near = self.behind(keyspace, Place::at(key)).checked_sub(1);
        if let Some(i) = near.filter(|&i| self.latest[i].is_over(keyspace, key)) {
            let span = self.latest.remove(i);
            self.bytes -= span.bytes();
            // Never more than there may be, for puts make no room.
            let most = (MOST_SPANS - self.latest.len()).min(2);
            let halves = span.without(key).into_iter().flatten();
            halves.take(most).for_each(|half| self.put(half));
        }
    }

    /// Joins `span` with those that it overlaps. What is replaced by a span of a later moment
    /// is kept for those readers that see the one and not the other.
    fn record(&mut self, mut span: Span, readers: &[SeqNo], max_bytes: u64) {
        self.uses += 1;
        span.used = self.uses;
        let last = self.behind(span.keyspace, span.end.as_end());
        let mut first = last;
        while first > 0 && self.latest[first - 1].overlaps(&span) {
            first -= 1;
        }
        if self.latest[first..last].iter().any(|old| old.since.seqno > span.since.seqno) {
            self.keep_earlier(span);
        } else {
            for old in self.latest.drain(first..last).map(|old| *old).collect::<Vec<_>>() {
                self.bytes -= old.bytes();
                span.take_in(&old);
                let needed = |&at: &SeqNo| old.since.seqno <= at && at < span.since.seqno;
                if readers.iter().any(needed) {
                    self.keep_earlier(old);
                }
            }
            self.put(span);
        }
        self.make_room(max_bytes);
    }

    fn keep_earlier(&mut self, span: Span) {
        self.bytes += span.bytes();
        self.earlier.push(span);
        if self.earlier.len() > MOST_EARLIER {
            let oldest = (0..self.earlier.len()).min_by_key(|&i| self.earlier[i].used);
            let gone = self.earlier.swap_remove(oldest.expect("there are many"));
            self.bytes -= gone.bytes();
        }
    }

    /// Lets go of what was used least lately.
    fn make_room(&mut self, max_bytes: u64) {
        while self.latest.len() > MOST_SPANS || self.bytes > max_bytes {
            let oldest = (0..self.latest.len()).min_by_key(|&i| self.latest[i].used);
            let gone = match oldest {
                Some(i) => *self.latest.remove(i),
                None => self.earlier.swap_remove(0),
            };
            self.bytes -= gone.bytes();
        }
    }
}
