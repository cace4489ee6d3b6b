//! Many dead keys in a row: looked up among the spans that are known, or walked and made
//! known.
//!
//! Keys that die here and there cost what they always did. From the fourth in a row on the
//! cursor looks for a span, and goes on behind it; where there is none, and none comes
//! ([`DeadSpans::walked`](crate::read::dead_spans::DeadSpans::walked)), it lists a walk, begins again where it looked first, and what it
//! steps over from there is a span when it meets a live key, or what its moment does not
//! tell it of.

use super::VisibleCursor;
use crate::control::counters::Count;
use crate::read::dead_spans::{Edge, FarEnd, Listed, Since, Walked, Way};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tanada_format::{SeqNo, planted};
use tanada_table::{Cursor as _, Error};

/// Shorter walks are charged to nobody.
const LEAST_PAID: u64 = 256;

/// A MemTable with fewer dead keys is not flushed for their sake.
const LEAST_FLUSHED: u64 = 4_096;

/// Dead entries that are counted at once.
const COUNTED: u64 = 64;

/// Dead keys in a row, since the last live one.
#[derive(Default)]
pub(super) struct Streak {
    /// Their entries, since a walk began, or since a span was stepped over.
    entries: u32,
    /// How many there are when it looks next; 0 before the first dead key.
    due: u32,
    /// From the first look on.
    looked: Option<Box<Looked>>,
}

/// What a look among the spans has left.
struct Looked {
    /// Where a walk begins: at the first dead key that was looked up, or where a span ends.
    from: Edge,
    behind_span: bool,
    walk: Option<Walk>,
    /// Whether none may be begun again: what is too new would end it at once.
    blind: bool,
}

/// What the newest version of a dead key says.
#[derive(Clone, Copy, Default)]
pub(super) struct DeadKey {
    /// It is dead because it has expired.
    pub(super) expired: bool,
    /// It lies in a MemTable.
    pub(super) in_memory: bool,
}

/// A walk under way.
struct Walk {
    listed: Listed,
    from: Vec<u8>,
    /// The last dead key, or where the last span ended.
    last: Option<Edge>,
    entries: u64,
    /// Keys whose newest version lies in a MemTable.
    in_memory: u64,
    /// From when on all of it is dead.
    since: Since,
    /// Whether some of it is dead because it expired.
    expired: bool,
}

/// What a look around has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// The merge stands elsewhere now: behind a span, or where a walk begins.
    Elsewhere,
    /// Nothing more is asked for on this way.
    Bound,
}

impl Streak {
    /// One more dead key.
    #[inline]
    pub(super) fn meets_dead(&mut self, looked: u32, key: DeadKey) {
        if self.due == 0 {
            self.due = looked;
        }
        if let Some(walk) = self.walk() {
            walk.expired |= key.expired;
            walk.in_memory += u64::from(key.in_memory);
        }
    }

    /// Notes one more entry of dead keys. Whether to look around behind it.
    #[inline]
    pub(super) fn is_due(&mut self) -> bool {
        self.entries += u32::from(self.due != 0);
        self.due != 0 && self.entries >= self.due
    }

    #[inline]
    fn walk(&mut self) -> Option<&mut Walk> {
        self.looked.as_mut()?.walk.as_mut()
    }
}

impl VisibleCursor {
    /// Its moment, as spans know it.
    fn since(&self) -> Since {
        Since { seqno: self.seqno, now_ms: self.now_ms }
    }

    /// Behind the dead key in `key`: steps over a span, begins a walk, goes on with one, or
    /// ends it.
    #[cold]
    #[inline(never)]
    pub(super) fn look_around(&mut self, streak: &mut Streak, way: Way) -> Result<Found, Error> {
        if streak.walk().is_some() && self.walk_on(streak) {
            return Ok(Found::Nothing);
        }
        let asked = match way {
            Way::Up => self.bounds.below_end(&self.key),
            Way::Down => self.bounds.above_start(&self.key),
        };
        if !asked {
            return Ok(Found::Bound);
        }
        let (known, keyspace) = (&self.hold.reading.dead_spans, self.hold.keyspace);
        let end = known.far_end(keyspace, &self.key, self.since(), way);
        if let Some(end) = end.filter(|end| end.until_now || streak.walk().is_none()) {
            return self.step_over_span(streak, end, way);
        }
        let key = &self.key;
        let looked = streak.looked.get_or_insert_with(|| {
            Box::new(Looked { from: Edge::at(key), behind_span: false, walk: None, blind: false })
        });
        if looked.walk.is_none()
            && !looked.blind
            && (looked.behind_span || streak.entries >= known.walked())
        {
            return self.begin_walk(streak, way);
        }
        streak.due = streak.entries + if looked.walk.is_some() { 1 } else { known.looked() };
        Ok(Found::Nothing)
    }

    /// Takes the dead key in `key` into the walk. Whether that is all for now.
    fn walk_on(&mut self, streak: &mut Streak) -> bool {
        let newer = self.merged.take_newer();
        let looks = streak.entries.is_multiple_of(self.hold.reading.dead_spans.looked());
        let Some(walk) = streak.walk() else { return false };
        walk.entries += 1;
        let last = walk.last.get_or_insert_with(|| Edge::at(&[]));
        last.inside = true;
        last.key.clear();
        last.key.extend_from_slice(&self.key);
        if newer && !planted!(dead_walk_blind_to_newer) {
            // It lies behind that key, and nobody knows how far.
            self.end_streak(streak);
            return true;
        }
        streak.due = streak.entries + 1;
        !looks
    }

    /// To behind the end of a span.
    fn step_over_span(
        &mut self,
        streak: &mut Streak,
        FarEnd { edge: end, since, .. }: FarEnd,
        way: Way,
    ) -> Result<Found, Error> {
        let moves = *end.key != *self.key;
        if moves {
            self.hold.reading.counters.add(Count::DeadSpanSteps, 1);
            match way {
                Way::Up => self.seek_up(&end.key, end.inside)?,
                Way::Down => self.seek_down(&end.key, !end.inside)?,
            }
        }
        streak.entries = 0;
        if let Some(walk) = streak.walk() {
            walk.since = walk.since.and(since);
            walk.last = Some(end);
            streak.due = 1;
            if self.merged.take_newer() {
                self.end_streak(streak);
            }
        } else {
            let blind = streak.looked.as_ref().is_some_and(|looked| looked.blind);
            let looked = Looked { from: end, behind_span: true, walk: None, blind };
            streak.looked = Some(Box::new(looked));
            streak.due = self.hold.reading.dead_spans.looked();
        }
        Ok(if moves { Found::Elsewhere } else { Found::Nothing })
    }

    /// Lists a walk and goes back to where it begins.
    fn begin_walk(&mut self, streak: &mut Streak, way: Way) -> Result<Found, Error> {
        let at = self.since();
        let Some(looked) = &mut streak.looked else { return Ok(Found::Nothing) };
        let (known, keyspace) = (&self.hold.reading.dead_spans, self.hold.keyspace);
        let Some(listed) = known.begin_walk(keyspace, &looked.from, at, way) else {
            looked.blind = true;
            streak.due = streak.entries + known.looked();
            return Ok(Found::Nothing);
        };
        let from = looked.from.clone();
        let since = Since { now_ms: 0, ..at };
        looked.walk = Some(Walk {
            listed,
            from: from.key.clone(),
            last: None,
            entries: 0,
            in_memory: 0,
            since,
            expired: false,
        });
        self.walk_all_there_is();
        self.merged.take_newer();
        match way {
            Way::Up => self.seek_up(&from.key, false)?,
            Way::Down => self.seek_down(&from.key, true)?,
        }
        (streak.entries, streak.due) = (0, 1);
        if self.merged.take_newer() && !planted!(dead_walk_blind_to_newer) {
            self.end_streak(streak);
            let looked = Looked { from, behind_span: false, walk: None, blind: true };
            streak.looked = Some(Box::new(looked));
        }
        Ok(Found::Elsewhere)
    }

    /// Whatever was inserted by now lies in a source: else goes over to the present view,
    /// in which it does.
    fn walk_all_there_is(&mut self) {
        let keyspaces = self.hold.reading.keyspaces.load();
        let present = keyspaces[self.hold.keyspace].view.load();
        let same = Arc::ptr_eq(&present.active, &self.view.active);
        let walks = same && (self.walks_active || present.active.table.is_empty());
        drop(present);
        if !walks && !planted!(dead_walk_beside_a_memtable) {
            self.walk_present_view();
        }
    }

    /// To the first key at `key`, or `behind` it.
    fn seek_up(&mut self, key: &[u8], behind: bool) -> Result<(), Error> {
        match behind {
            true => self.merged.seek(&successor(key), SeqNo::MAX),
            false => self.merged.seek(key, SeqNo::MAX),
        }
    }

    /// To the last key before `key`, or at it.
    fn seek_down(&mut self, key: &[u8], at: bool) -> Result<(), Error> {
        match at {
            true => self.merged.seek_before(&successor(key)),
            false => self.merged.seek_before(key),
        }
    }

    /// At a live key, or beside all: what was walked is a span from now on.
    pub(super) fn end_streak(&mut self, streak: &mut Streak) {
        if self.dead_entries >= COUNTED {
            self.count_dead();
        }
        let Some(walk) = streak.looked.take().and_then(|looked| looked.walk) else {
            *streak = Streak::default();
            return;
        };
        *streak = Streak::default();
        let now_ms = if walk.expired { self.now_ms } else { 0 };
        let since = walk.since.and(Since { now_ms, ..walk.since });
        let entries = walk.entries;
        let walked = walk.last.as_ref().map(|last| Walked { last, entries, since });
        let reading = &self.hold.reading;
        let readers = reading.holders.seqnos();
        reading.dead_spans.end_walk(self.hold.keyspace, &walk.listed, walked, &readers);
        if walk.entries >= LEAST_PAID {
            self.pay(&walk);
        }
    }

    /// Charges what was walked to the MemTable and to the tables over it, and wakes the
    /// background when that pays for a flush or for rewriting a table.
    #[cold]
    fn pay(&self, walk: &Walk) {
        let Some(last) = &walk.last else { return };
        let reading = &self.hold.reading;
        let keyspaces = reading.keyspaces.load();
        let paid = &keyspaces[self.hold.keyspace].paid;
        let mut wakes = false;
        if walk.in_memory >= LEAST_FLUSHED && walk.in_memory * 2 >= self.view.active.table.entries()
        {
            reading.counters.add(Count::PaidFlushes, 1);
            paid.seal.store(true, Relaxed);
            reading.seals_paid.store(true, Relaxed);
            wakes = true;
        }
        let in_tables = walk.entries.saturating_sub(walk.in_memory);
        if in_tables >= LEAST_PAID {
            let (from, last) = (&walk.from[..], &last.key[..]);
            let over = (Bound::Included(from.min(last)), Bound::Included(from.max(last)));
            let runs = self.view.version.runs();
            let tables = runs.iter().flat_map(|run| run.overlapping(over.0, over.1).iter());
            let tables = tables.filter(|table| table.pay(in_tables)).count() as u64;
            reading.counters.add(Count::PaidTables, tables);
            if tables > 0 {
                paid.tables.store(true, Relaxed);
                wakes = true;
            }
        }
        if wakes {
            reading.tell_of_release();
        }
    }

    /// After an error: what was walked makes nothing known.
    #[cold]
    pub(super) fn give_up_streak(&mut self, streak: &mut Streak) {
        if let Some(walk) = streak.walk() {
            walk.last = None;
        }
        self.end_streak(streak);
    }

    /// Brings the statistics up to what it has stepped over.
    pub(super) fn count_dead(&mut self) {
        let entries = std::mem::take(&mut self.dead_entries);
        if entries != 0 {
            self.hold.reading.counters.add(Count::DeadEntries, entries);
        }
    }
}

/// The key right behind `key`.
fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
