//! A cursor between two ends.

use super::bounds::Bounds;
use super::visible::VisibleCursor;
use crate::types::error::Result;
use crate::types::record::{Record, RecordRef, UnixMillis};
use std::ops::Bound;
use std::sync::Arc;
use tanada_table::Value;

/// Keys and values of one moment, borrowed: the fast way to scan, nothing is
/// handed out that must be freed.
///
/// Stands nowhere until the first seek. A failed step leaves it nowhere.
///
/// Its moment is held until it is dropped: no version that it sees is dropped by a
/// compaction meanwhile. The MemTables that it walks are flushed meanwhile, and go with
/// its next move. Of a cursor that does not move they stay, within the memory budget:
/// [`crate::Error::MemoryFull`] tells a writer of it.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = tanada::Db::open(dir.path().join("db"))?;
/// db.put("user:1", "Ann")?;
/// let mut cursor = db.cursor();
/// cursor.seek("user:")?;
/// while let Some((key, value)) = cursor.entry() {
///     assert_eq!((key, value), (&b"user:1"[..], &b"Ann"[..]));
///     cursor.next()?;
/// }
/// # Ok::<(), tanada::Error>(())
/// ```
pub struct Cursor {
    inner: VisibleCursor,
    bounds: Arc<Bounds>,
    /// Whether `inner` stands on a key between the bounds.
    inside: bool,
}

impl Cursor {
    /// Between the bounds of `inner`.
    pub(crate) fn new(inner: VisibleCursor) -> Cursor {
        Cursor { bounds: Arc::clone(&inner.bounds), inner, inside: false }
    }

    /// The key and value it stands on; `None` beside the keys. Free.
    #[inline]
    pub fn entry(&self) -> Option<(&[u8], &[u8])> {
        if self.inside { self.inner.entry() } else { None }
    }

    /// The newest write that it sees.
    #[cfg(all(test, shuttle))]
    pub(crate) fn seqno(&self) -> tanada_format::SeqNo {
        self.inner.seqno()
    }

    /// The whole record it stands on: with the version and the expiry. Free.
    pub fn record(&self) -> Option<RecordRef<'_>> {
        let (key, value) = self.entry()?;
        let (version, expires_at_ms) = self.inner.stamp()?;
        Some(RecordRef { key, value, version, expires_at: UnixMillis::of_entry(expires_at_ms) })
    }

    /// The same, to keep.
    ///
    /// # Errors
    /// [`crate::Error::MemoryFull`] where a long value must be copied.
    pub(crate) fn owned_record(&self) -> Result<Option<Record>> {
        let Some(RecordRef { key, version, expires_at, .. }) = self.record() else {
            return Ok(None);
        };
        let Some(value) = self.value()? else { return Ok(None) };
        Ok(Some(Record { key: Value::from(key), value, version, expires_at }))
    }

    #[inline]
    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.entry().map(|(key, _)| key)
    }

    /// Lets go of what has been flushed. Only the key may be asked for before the next move.
    pub(crate) fn let_go(&mut self) {
        self.inner.let_go();
    }

    /// The value it stands on, to keep.
    ///
    /// # Errors
    /// [`crate::Error::MemoryFull`] where a long value must be copied.
    pub(crate) fn value(&self) -> Result<Option<Value>> {
        if self.inside { Ok(self.inner.value()?) } else { Ok(None) }
    }

    /// Looks at both bounds, after a move of any kind.
    fn moved(&mut self, outcome: std::result::Result<(), tanada_table::Error>) -> Result<()> {
        let bounds = &self.bounds;
        self.inside =
            self.inner.key().is_some_and(|key| bounds.below_end(key) && bounds.above_start(key));
        Ok(outcome?)
    }

    /// Moves to the first key.
    ///
    /// # Errors
    /// I/O or damage below; so for every move. [`crate::Error::Forked`] in a forked
    /// child, where no move changes anything.
    pub fn seek_first(&mut self) -> Result<()> {
        self.inner.owner.check()?;
        let outcome = match &self.bounds.start {
            Bound::Unbounded => self.inner.seek_first(),
            Bound::Included(start) => self.inner.seek(start),
            Bound::Excluded(start) => self.inner.seek(start).and_then(|()| {
                match self.inner.key() == Some(start.as_slice()) {
                    true => self.inner.next(),
                    false => Ok(()),
                }
            }),
        };
        self.moved(outcome)
    }

    /// Moves to the last key.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    pub fn seek_last(&mut self) -> Result<()> {
        self.inner.owner.check()?;
        let outcome = match &self.bounds.end {
            Bound::Unbounded => self.inner.seek_last(),
            Bound::Excluded(end) => self.inner.seek_before(end),
            Bound::Included(end) => seek_at_or_before(&mut self.inner, end),
        };
        self.moved(outcome)
    }

    /// Moves to the first key at or after `key`.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    pub fn seek(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        self.inner.owner.check()?;
        let key = key.as_ref();
        if !self.bounds.above_start(key) {
            return self.seek_first();
        }
        let outcome = self.inner.seek(key);
        self.moved(outcome)
    }

    /// Moves to the last key at or before `key`.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    pub fn seek_for_prev(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        self.inner.owner.check()?;
        let key = key.as_ref();
        if !self.bounds.below_end(key) {
            return self.seek_last();
        }
        let outcome = seek_at_or_before(&mut self.inner, key);
        self.moved(outcome)
    }

    /// Moves to the next key. Beside the keys it stays where it is.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    #[allow(clippy::should_implement_trait)] // the name every cursor has
    #[inline]
    pub fn next(&mut self) -> Result<()> {
        self.inner.owner.check()?;
        let outcome = self.inner.next();
        if !self.inside {
            return self.moved(outcome);
        }
        // From inside, a step forward can only leave by the end.
        self.inside = match &self.bounds.end {
            Bound::Unbounded => self.inner.stands(),
            _ => self.inner.key().is_some_and(|key| self.bounds.below_end(key)),
        };
        Ok(outcome?)
    }

    /// Moves to the previous key.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    #[inline]
    pub fn prev(&mut self) -> Result<()> {
        self.inner.owner.check()?;
        let outcome = self.inner.prev();
        if !self.inside {
            return self.moved(outcome);
        }
        self.inside = self.inner.key().is_some_and(|key| self.bounds.above_start(key));
        Ok(outcome?)
    }
}

/// To the last key at or before `key`.
fn seek_at_or_before(
    inner: &mut VisibleCursor,
    key: &[u8],
) -> std::result::Result<(), tanada_table::Error> {
    inner.seek(key)?;
    if inner.key() == Some(key) { Ok(()) } else { inner.seek_before(key) }
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
