//! The one interface of everything that can be walked in internal-key order.

use crate::{Error, Value};
use tanada_format::{EntryRef, SeqNo};

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
    /// The value of that entry, to keep. Not copied where it can be shared.
    /// Panics when not [`Cursor::valid`].
    fn value(&self) -> Value {
        Value::from(self.entry().value)
    }
    /// Moves to the first entry.
    fn seek_first(&mut self) -> Result<(), Error>;
    /// Moves to the last entry.
    fn seek_last(&mut self) -> Result<(), Error>;
    /// Moves to the first entry at or after `(key, seqno)` in internal order:
    /// with [`SeqNo::MAX`] to the newest version of the first key `>= key`.
    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error>;
    /// Moves to the last entry whose user key is `< key`.
    fn seek_before(&mut self, key: &[u8]) -> Result<(), Error>;
    /// Moves one entry on; becomes invalid behind the last.
    fn next(&mut self) -> Result<(), Error>;
    /// Moves one entry back; becomes invalid before the first.
    fn prev(&mut self) -> Result<(), Error>;
}
