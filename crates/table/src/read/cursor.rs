//! The one interface of everything that can be walked in internal-key order.

use crate::{Error, Value};
use tanada_format::{EntryRef, SeqNo, ValueKind};

/// A position in a sorted sequence of internal entries, or beside it.
///
/// Invariants: after an error the cursor is invalid and stays so until the
/// next seek; entries come in the order of
/// [`tanada_format::compare_internal`].
pub trait Cursor {
    /// Whether the cursor stands on an entry.
    fn valid(&self) -> bool;
    /// The entry it stands on. Panics when not [`Cursor::valid`].
    fn entry(&self) -> EntryRef<'_>;
    /// The key of that entry. Panics when not [`Cursor::valid`].
    #[inline]
    fn key(&self) -> &[u8] {
        self.entry().key
    }
    /// Whether that entry is a put that never expires. Panics when not
    /// [`Cursor::valid`].
    #[inline]
    fn is_plain(&self) -> bool {
        let entry = self.entry();
        entry.kind == ValueKind::Put && entry.expires_at_ms == 0
    }
    /// The current entry, perhaps without its value: that of a long one may not be in
    /// memory before [`Cursor::load`]. Panics when not [`Cursor::valid`].
    fn bare_entry(&self) -> EntryRef<'_> {
        self.entry()
    }
    /// Makes sure that the current entry has its value: to be called before
    /// [`Cursor::entry`] of a cursor that reads values on demand, where
    /// [`Cursor::is_plain`] does not say that it is there.
    ///
    /// # Errors
    /// Those of reading it; the cursor is invalid then.
    #[inline]
    fn load(&mut self) -> Result<(), Error> {
        Ok(())
    }
    /// The value of that entry, to keep. Not copied where it can be shared.
    /// Panics when not [`Cursor::valid`].
    fn value(&self) -> Value {
        Value::from(self.entry().value)
    }
    /// Whether it has passed over versions that are too new for it since this was asked
    /// last. A cursor that shows all versions passes over none.
    fn take_newer(&mut self) -> bool {
        false
    }
    /// Moves to the first entry.
    fn seek_first(&mut self) -> Result<(), Error>;
    /// Moves to the last entry.
    fn seek_last(&mut self) -> Result<(), Error>;
    /// Moves to the first entry at or after `(key, seqno)` in internal order:
    /// with [`SeqNo::MAX`] to the newest version of the first key `>= key`.
    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error>;
    /// The first half of a seek: finds out what memory the second half,
    /// [`Cursor::seek_aimed`], will look at, and asks the processor for it.
    /// Where several cursors are aimed before the first one seeks, they wait
    /// for memory together. The cursor stands nowhere in between.
    fn aim(&mut self, _key: &[u8], _seqno: SeqNo) -> Result<(), Error> {
        Ok(())
    }
    /// As [`Cursor::seek`], to where [`Cursor::aim`] has just been told.
    fn seek_aimed(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        self.seek(key, seqno)
    }
    /// Moves to the last entry whose user key is `< key`.
    fn seek_before(&mut self, key: &[u8]) -> Result<(), Error>;
    /// Moves one entry on; becomes invalid behind the last.
    fn next(&mut self) -> Result<(), Error>;
    /// Moves one entry back; becomes invalid before the first.
    fn prev(&mut self) -> Result<(), Error>;
}
