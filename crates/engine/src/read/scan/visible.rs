//! Each key's newest version that one moment sees; no deletes, nothing expired.

mod streak;

use self::streak::{DeadKey, Found, Streak};
use super::bounds::Bounds;
use super::source::Source;
use crate::control::account::Part;
use crate::control::owner::Owner;
use crate::read::dead_spans::Way;
use crate::read::hold::Hold;
use crate::read::view::View;
use crate::tree::merge::MergeCursor;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use tanada_format::{EntryRef, SeqNo, ValueKind, planted};
use tanada_table::{Cursor as _, Error, Value};

/// A cursor over live keys at `seqno`.
///
/// Walking forward it stands on the merge's entry. Each source shows a key
/// once, so only a key that comes from another source than the one before can
/// be that one again: older, to be passed over. Walking backward it meets a
/// key's oldest version first, so it keeps a copy of the newest that it has
/// seen, and the merge stands before the key.
///
/// When MemTables have been flushed that it walks, its next move goes over to the
/// present view of its keyspace, which answers the same (see [`crate::read::holders`]),
/// and the MemTables go. Between moves nothing is let go of: its entry is borrowed.
///
/// Dead keys are stepped over one by one where they are few, and by spans where they are
/// many ([`crate::read::dead_spans`]).
pub(crate) struct VisibleCursor {
    merged: MergeCursor<Source>,
    /// What the sources walk: its MemTables and files.
    view: Arc<View>,
    /// Whether the sources hold the view's active MemTable, which they do not if it was
    /// empty.
    walks_active: bool,
    /// How often MemTables had been retired when that view was loaded.
    retired: u64,
    hold: Arc<Hold>,
    /// Which end of the hold it is.
    end: usize,
    pub(super) owner: Owner,
    /// Beside these nothing need be found: dead keys are not walked any further.
    pub(super) bounds: Arc<Bounds>,
    seqno: SeqNo,
    now_ms: u64,
    at: At,
    /// Whether the merge stands where `at` says. It does not behind a change of views.
    placed: bool,
    /// Bytes on the account.
    counted: u64,
    /// Entries that it has stepped over, and that are not counted yet.
    dead_entries: u64,
    /// The key whose other versions are passed over; walking backward, the
    /// current one.
    key: Vec<u8>,
    /// The current value, walking backward.
    value: Vec<u8>,
    /// Walking backward, the current value where it is long: shared, not copied.
    long_value: Option<Value>,
    /// The current version, walking backward: its number, and when it expires.
    stamp: (SeqNo, u64),
}

/// A value above this length is kept where it lies, or with its bytes in the account.
const LONG_VALUE: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Nowhere,
    /// The merge stands on the current entry.
    Forward,
    /// `key` and `value` hold the current entry.
    Backward,
    /// Behind a change of views: `key` is the current key, and the next step finds the
    /// way from there. Only in the middle of a move, or where only the key is asked for.
    Beside,
}

impl VisibleCursor {
    /// Stands nowhere until the first seek. Nothing beside `bounds` is asked of it.
    pub(crate) fn new(hold: Arc<Hold>, end: usize, bounds: Arc<Bounds>) -> VisibleCursor {
        // Before the view: what is retired in between is found out at the first move.
        let retired = hold.reading.retired.0.load(Acquire);
        let view = hold.view(end);
        let walks_active = !view.active.table.is_empty();
        let mut cursor = VisibleCursor {
            merged: MergeCursor::new(Source::all(&view, hold.seqno)),
            view,
            walks_active,
            retired,
            bounds,
            owner: hold.reading.health.owner,
            seqno: hold.seqno,
            now_ms: hold.now_ms,
            end,
            hold,
            at: At::Nowhere,
            placed: true,
            counted: 0,
            dead_entries: 0,
            key: Vec::new(),
            value: Vec::new(),
            long_value: None,
            stamp: (SeqNo::ZERO, 0),
        };
        cursor.count();
        cursor
    }

    #[cfg(all(test, shuttle))]
    pub(super) fn seqno(&self) -> SeqNo {
        self.seqno
    }

    /// Brings the account up to what this takes: sources by their number, and the
    /// entry that it copied.
    fn count(&mut self) {
        let sources = self.merged.sources() * size_of::<Source>();
        let copied = self.key.capacity() + self.value.capacity();
        let bytes = (size_of::<VisibleCursor>() + sources + copied) as u64;
        let account = &self.hold.reading.budget.account;
        match bytes.checked_sub(self.counted) {
            Some(more) => account.take(Part::Readers, more),
            None => account.give(Part::Readers, self.counted - bytes),
        }
        self.counted = bytes;
    }

    /// Lets go of MemTables that have been flushed since the view was loaded: whatever
    /// moves this calls it first. One load when none has.
    #[inline]
    fn freshen(&mut self) {
        if self.hold.reading.retired.0.load(Relaxed) != self.retired {
            self.change_views();
        }
    }

    #[cold]
    #[inline(never)]
    fn change_views(&mut self) {
        let retired = self.hold.reading.retired.0.load(Acquire);
        let keyspaces = self.hold.reading.keyspaces.load();
        let present = keyspaces[self.hold.keyspace].view.load();
        self.retired = retired;
        if self.view.mems().all(|mem| present.holds(mem)) || planted!(iterators_pin_memory) {
            return;
        }
        drop(present);
        if self.at == At::Forward {
            self.keep_key();
            self.at = At::Beside;
        }
        self.walk_present_view();
        self.placed = false;
        // It may have been the last to hold them, and nobody may write any more.
        self.hold.reading.hand_on_mems();
    }

    /// Goes over to the present view. The merge stands nowhere behind that.
    fn walk_present_view(&mut self) {
        self.view = self.hold.view(self.end);
        self.walks_active = !self.view.active.table.is_empty();
        self.merged = MergeCursor::new(Source::all(&self.view, self.seqno));
        self.count();
    }

    /// As what moves it does, for a cursor of which only the key is asked before it
    /// moves again.
    pub(crate) fn let_go(&mut self) {
        self.freshen();
    }

    /// The current key and value.
    #[inline]
    pub(crate) fn entry(&self) -> Option<(&[u8], &[u8])> {
        match self.at {
            At::Nowhere => None,
            At::Forward => {
                let entry = self.merged.entry();
                Some((entry.key, entry.value))
            }
            At::Backward => Some((&self.key, self.long_value.as_deref().unwrap_or(&self.value))),
            At::Beside => Some((&self.key, &[])),
        }
    }

    /// The current version: its number, and when it expires, 0 for never.
    pub(crate) fn stamp(&self) -> Option<(SeqNo, u64)> {
        match self.at {
            At::Nowhere | At::Beside => None,
            At::Forward => {
                let entry = self.merged.bare_entry();
                Some((entry.seqno, entry.expires_at_ms))
            }
            At::Backward => Some(self.stamp),
        }
    }

    /// Whether it stands on a key.
    #[inline]
    pub(crate) fn stands(&self) -> bool {
        self.at != At::Nowhere
    }

    /// The current key.
    #[inline]
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.entry().map(|(key, _)| key)
    }

    /// The current value, to keep.
    ///
    /// # Errors
    /// [`Error::MemoryFull`] where a long value must be copied.
    pub(crate) fn value(&self) -> Result<Option<Value>, Error> {
        Ok(match (self.at, &self.long_value) {
            (At::Nowhere | At::Beside, _) => None,
            (At::Forward, _) => Some(self.merged_value()?),
            (At::Backward, Some(long)) => Some(long.clone()),
            (At::Backward, None) => Some(Value::from(&self.value[..])),
        })
    }

    /// The value that the merge stands on, to keep.
    fn merged_value(&self) -> Result<Value, Error> {
        match self.merged.source() {
            Source::MemTable(mem) => self.hold.reading.block_cache.copy_of(mem.entry().value),
            Source::Run(run) => Ok(run.value()),
        }
    }

    pub(crate) fn seek_first(&mut self) -> Result<(), Error> {
        self.begin_seek();
        self.merged.seek_first()?;
        self.settle_forward(Pass::None)
    }

    pub(crate) fn seek_last(&mut self) -> Result<(), Error> {
        self.begin_seek();
        self.merged.seek_last()?;
        self.settle_backward()
    }

    /// To the first key at or after `key`.
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        self.begin_seek();
        self.merged.seek(key, SeqNo::MAX)?;
        self.settle_forward(Pass::None)
    }

    /// To the last key before `key`.
    pub(crate) fn seek_before(&mut self, key: &[u8]) -> Result<(), Error> {
        self.begin_seek();
        self.merged.seek_before(key)?;
        self.settle_backward()
    }

    #[inline]
    fn begin_seek(&mut self) {
        self.at = At::Nowhere;
        self.long_value = None;
        self.freshen();
        self.placed = true;
    }

    /// To the next key; nowhere behind the last.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<(), Error> {
        self.freshen();
        if self.at != At::Forward {
            self.long_value = None;
            return self.next_from_elsewhere();
        }
        self.at = At::Nowhere;
        if self.merged.may_come_again() {
            return self.pass_key();
        }
        self.merged.next()?;
        if !self.merged.valid() {
            return Ok(());
        }
        debug_assert!(
            self.merged.bare_entry().seqno <= self.seqno,
            "a source shows what is invisible"
        );
        if self.merged.is_plain() {
            self.at = At::Forward;
            return Ok(());
        }
        self.settle_forward(Pass::None)
    }

    /// To the next key, over other sources' versions of this one.
    #[inline(never)]
    fn pass_key(&mut self) -> Result<(), Error> {
        self.keep_key();
        self.merged.next()?;
        self.settle_forward(Pass::Key)
    }

    /// Keeps the merge's key, to know it again.
    #[inline]
    fn keep_key(&mut self) {
        self.key.clear();
        self.key.extend_from_slice(self.merged.key());
    }

    #[cold]
    fn next_from_elsewhere(&mut self) -> Result<(), Error> {
        match std::mem::replace(&mut self.at, At::Nowhere) {
            At::Backward | At::Beside => {
                self.placed = true;
                self.merged.seek(&self.key, SeqNo::ZERO)?;
                self.settle_forward(Pass::Key)
            }
            _ => Ok(()),
        }
    }

    /// To the previous key; nowhere before the first.
    #[inline]
    pub(crate) fn prev(&mut self) -> Result<(), Error> {
        self.freshen();
        self.long_value = None;
        match std::mem::replace(&mut self.at, At::Nowhere) {
            At::Nowhere => return Ok(()),
            At::Forward => {
                self.keep_key();
                self.merged.seek_before(&self.key)?;
            }
            At::Backward if self.placed => {}
            At::Backward | At::Beside => {
                self.placed = true;
                self.merged.seek_before(&self.key)?;
            }
        }
        self.settle_backward()
    }

    /// Keeps the merge's value: the merge moves on.
    fn keep_value(&mut self) -> Result<(), Error> {
        let value = self.merged.entry().value;
        match value.len() > LONG_VALUE {
            true => self.long_value = Some(self.merged_value()?),
            false => self.value.extend_from_slice(value),
        }
        Ok(())
    }

    fn is_live(&self, entry: &EntryRef<'_>) -> Result<bool, Error> {
        match entry.kind {
            ValueKind::Put => Ok(entry.expires_at_ms == 0 || entry.expires_at_ms > self.now_ms),
            ValueKind::Delete => Ok(false),
            kind => Err(unsupported(kind)),
        }
    }

    /// From where the merge stands on to the first live key.
    fn settle_forward(&mut self, pass: Pass) -> Result<(), Error> {
        let mut streak = Streak::default();
        let outcome = self.find_forward(&mut streak, pass);
        match outcome {
            Ok(()) => self.end_streak(&mut streak),
            Err(_) => self.give_up_streak(&mut streak),
        }
        outcome
    }

    #[inline]
    fn find_forward(&mut self, streak: &mut Streak, mut pass: Pass) -> Result<(), Error> {
        let looked = self.hold.reading.dead_spans.looked();
        while self.merged.valid() {
            let entry = self.merged.bare_entry();
            if entry.seqno <= self.seqno && !(pass == Pass::Key && entry.key == self.key) {
                if self.is_live(&entry)? {
                    self.merged.load()?;
                    self.at = At::Forward;
                    return Ok(());
                }
                let expired = entry.kind == ValueKind::Put;
                let in_memory = matches!(self.merged.source(), Source::MemTable(_));
                streak.meets_dead(looked, DeadKey { expired, in_memory });
                self.keep_key();
                pass = Pass::Key;
            }
            self.dead_entries += 1;
            self.merged.next()?;
            if streak.is_due() {
                match self.look_around(streak, Way::Up)? {
                    Found::Nothing => {}
                    Found::Elsewhere => pass = Pass::None,
                    Found::Bound => break,
                }
            }
        }
        Ok(())
    }

    /// From where the merge stands back to the first live key. Leaves the merge
    /// before all versions of that key.
    fn settle_backward(&mut self) -> Result<(), Error> {
        let mut streak = Streak::default();
        let outcome = self.find_backward(&mut streak);
        match outcome {
            Ok(()) => self.end_streak(&mut streak),
            Err(_) => self.give_up_streak(&mut streak),
        }
        outcome
    }

    #[inline]
    fn find_backward(&mut self, streak: &mut Streak) -> Result<(), Error> {
        let looked = self.hold.reading.dead_spans.looked();
        while self.merged.valid() {
            self.key.clear();
            self.key.extend_from_slice(self.merged.key());
            let (mut live, mut newer, mut versions) = (false, false, 0);
            let mut dead = DeadKey::default();
            while self.merged.valid() {
                let entry = self.merged.bare_entry();
                if entry.key != self.key {
                    break;
                }
                // Versions come oldest first: each visible one replaces the last.
                if entry.seqno <= self.seqno {
                    live = self.is_live(&entry)?;
                    dead.expired = entry.kind == ValueKind::Put;
                    dead.in_memory = matches!(self.merged.source(), Source::MemTable(_));
                    self.long_value = None;
                    self.value.clear();
                    if live {
                        self.stamp = (entry.seqno, entry.expires_at_ms);
                        self.merged.load()?;
                        self.keep_value()?;
                    }
                } else {
                    newer = true;
                }
                versions += 1;
                self.merged.prev()?;
            }
            // One of them is what was looked for.
            self.dead_entries += versions - u64::from(live);
            if newer {
                // What was walked ends before this key.
                self.end_streak(streak);
            }
            if live {
                self.at = At::Backward;
                if self.value.capacity() as u64 > self.counted {
                    self.count();
                }
                return Ok(());
            }
            if newer {
                // No walk begins at it either: it would end there, and be begun again.
                continue;
            }
            streak.meets_dead(looked, dead);
            if streak.is_due() && self.look_around(streak, Way::Down)? == Found::Bound {
                break;
            }
        }
        Ok(())
    }
}

impl Drop for VisibleCursor {
    fn drop(&mut self) {
        if self.owner.is_forked() {
            // MemTables, tables and their files are the parent's, and letting go of them
            // takes locks: they stay as they are.
            std::mem::forget(std::mem::replace(&mut self.merged, MergeCursor::new(Vec::new())));
            std::mem::forget(Arc::clone(&self.view));
            return;
        }
        self.hold.reading.budget.account.give(Part::Readers, self.counted);
        self.count_dead();
    }
}

/// Whether the versions of the key in `key` are to be passed over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    None,
    Key,
}

/// The error for a kind of value that this version cannot answer with.
pub(crate) fn unsupported(kind: ValueKind) -> Error {
    Error::Unsupported { file: "a table".into(), what: format!("a value of kind {kind:?}") }
}
