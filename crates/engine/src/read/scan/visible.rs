//! Each key's newest version that one moment sees; no deletes, nothing expired.

use super::source::Source;
use crate::control::owner::Owner;
use crate::read::view::View;
use crate::tree::merge::MergeCursor;
use std::sync::Arc;
use tanada_format::{EntryRef, SeqNo, ValueKind};
use tanada_table::{Cursor as _, Error, Value};

/// A cursor over live keys at `seqno`.
///
/// Walking forward it stands on the merge's entry. Each source shows a key
/// once, so only a key that comes from another source than the one before can
/// be that one again: older, to be passed over. Walking backward it meets a
/// key's oldest version first, so it keeps a copy of the newest that it has
/// seen, and the merge stands before the key.
pub(crate) struct VisibleCursor {
    merged: MergeCursor<Source>,
    /// Keeps the MemTables and files that the sources walk.
    view: Arc<View>,
    pub(super) owner: Owner,
    seqno: SeqNo,
    now_ms: u64,
    at: At,
    /// The key whose other versions are passed over; walking backward, the
    /// current one.
    key: Vec<u8>,
    /// The current value, walking backward.
    value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Nowhere,
    /// The merge stands on the current entry.
    Forward,
    /// `key` and `value` hold the current entry.
    Backward,
}

impl VisibleCursor {
    /// Stands nowhere until the first seek. `now_ms` decides what has expired.
    pub(crate) fn new(view: Arc<View>, seqno: SeqNo, now_ms: u64, owner: Owner) -> VisibleCursor {
        VisibleCursor {
            merged: MergeCursor::new(Source::all(&view, seqno)),
            view,
            owner,
            seqno,
            now_ms,
            at: At::Nowhere,
            key: Vec::new(),
            value: Vec::new(),
        }
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
            At::Backward => Some((&self.key, &self.value)),
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
    pub(crate) fn value(&self) -> Option<Value> {
        match self.at {
            At::Nowhere => None,
            At::Forward => Some(self.merged.value()),
            At::Backward => Some(Value::from(&self.value[..])),
        }
    }

    pub(crate) fn seek_first(&mut self) -> Result<(), Error> {
        self.at = At::Nowhere;
        self.merged.seek_first()?;
        self.settle_forward(Pass::None)
    }

    pub(crate) fn seek_last(&mut self) -> Result<(), Error> {
        self.at = At::Nowhere;
        self.merged.seek_last()?;
        self.settle_backward()
    }

    /// To the first key at or after `key`.
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<(), Error> {
        self.at = At::Nowhere;
        self.merged.seek(key, SeqNo::MAX)?;
        self.settle_forward(Pass::None)
    }

    /// To the last key before `key`.
    pub(crate) fn seek_before(&mut self, key: &[u8]) -> Result<(), Error> {
        self.at = At::Nowhere;
        self.merged.seek_before(key)?;
        self.settle_backward()
    }

    /// To the next key; nowhere behind the last.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<(), Error> {
        if self.at != At::Forward {
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
        debug_assert!(self.merged.entry().seqno <= self.seqno, "a source shows what is invisible");
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
            At::Backward => {
                self.merged.seek(&self.key, SeqNo::ZERO)?;
                self.settle_forward(Pass::Key)
            }
            _ => Ok(()),
        }
    }

    /// To the previous key; nowhere before the first.
    #[inline]
    pub(crate) fn prev(&mut self) -> Result<(), Error> {
        match std::mem::replace(&mut self.at, At::Nowhere) {
            At::Nowhere => Ok(()),
            At::Forward => {
                self.keep_key();
                self.merged.seek_before(&self.key)?;
                self.settle_backward()
            }
            At::Backward => self.settle_backward(),
        }
    }

    fn is_live(&self, entry: &EntryRef<'_>) -> Result<bool, Error> {
        match entry.kind {
            ValueKind::Put => Ok(entry.expires_at_ms == 0 || entry.expires_at_ms > self.now_ms),
            ValueKind::Delete => Ok(false),
            kind => Err(unsupported(kind)),
        }
    }

    /// From where the merge stands on to the first live key.
    fn settle_forward(&mut self, mut pass: Pass) -> Result<(), Error> {
        while self.merged.valid() {
            let entry = self.merged.entry();
            if entry.seqno <= self.seqno && !(pass == Pass::Key && entry.key == self.key) {
                if self.is_live(&entry)? {
                    self.at = At::Forward;
                    return Ok(());
                }
                self.keep_key();
                pass = Pass::Key;
            }
            self.merged.next()?;
        }
        Ok(())
    }

    /// From where the merge stands back to the first live key. Leaves the merge
    /// before all versions of that key.
    fn settle_backward(&mut self) -> Result<(), Error> {
        while self.merged.valid() {
            self.key.clear();
            self.key.extend_from_slice(self.merged.entry().key);
            let mut live = false;
            while self.merged.valid() {
                let entry = self.merged.entry();
                if entry.key != self.key {
                    break;
                }
                // Versions come oldest first: each visible one replaces the last.
                if entry.seqno <= self.seqno {
                    live = self.is_live(&entry)?;
                    self.value.clear();
                    if live {
                        self.value.extend_from_slice(entry.value);
                    }
                }
                self.merged.prev()?;
            }
            if live {
                self.at = At::Backward;
                return Ok(());
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
        }
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
