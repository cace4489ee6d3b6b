//! A cursor between two ends.

use super::visible::VisibleCursor;
use crate::error::Result;
use crate::range::KeyRange;
use std::ops::Bound;

/// The two ends of a scan, owned.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) start: Bound<Vec<u8>>,
    pub(crate) end: Bound<Vec<u8>>,
}

impl Bounds {
    pub(crate) fn of(range: &impl KeyRange) -> Bounds {
        let (start, end) = range.bounds();
        Bounds { start: start.map(<[u8]>::to_vec), end: end.map(<[u8]>::to_vec) }
    }

    /// All keys that start with `prefix`.
    pub(crate) fn prefix(prefix: &[u8]) -> Bounds {
        let end = crate::range::prefix_end(prefix);
        Bounds {
            start: Bound::Included(prefix.to_vec()),
            end: end.map_or(Bound::Unbounded, Bound::Excluded),
        }
    }

    /// The two ends, borrowed.
    pub(crate) fn borrow(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.start.as_ref().map(Vec::as_slice), self.end.as_ref().map(Vec::as_slice))
    }

    #[inline]
    fn above_start(&self, key: &[u8]) -> bool {
        match &self.start {
            Bound::Unbounded => true,
            Bound::Included(start) => key >= start.as_slice(),
            Bound::Excluded(start) => key > start.as_slice(),
        }
    }

    #[inline]
    fn below_end(&self, key: &[u8]) -> bool {
        match &self.end {
            Bound::Unbounded => true,
            Bound::Included(end) => key <= end.as_slice(),
            Bound::Excluded(end) => key < end.as_slice(),
        }
    }
}

/// Keys and values of one moment, borrowed: the fast way to scan, nothing is
/// handed out that must be freed.
///
/// Stands nowhere until the first seek. Holds the MemTables and table files of
/// its moment until dropped. A failed step leaves it nowhere.
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
    bounds: Bounds,
}

impl Cursor {
    pub(crate) fn new(inner: VisibleCursor, bounds: Bounds) -> Cursor {
        Cursor { inner, bounds }
    }

    /// The key and value it stands on; `None` beside the keys. Free.
    #[inline]
    pub fn entry(&self) -> Option<(&[u8], &[u8])> {
        let entry = self.inner.entry()?;
        self.inside(entry.0).then_some(entry)
    }

    #[inline]
    fn inside(&self, key: &[u8]) -> bool {
        self.bounds.below_end(key) && self.bounds.above_start(key)
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        self.inner.key().filter(|key| self.inside(key))
    }

    /// Moves to the first key.
    ///
    /// # Errors
    /// I/O or damage below; so for every move.
    pub fn seek_first(&mut self) -> Result<()> {
        match &self.bounds.start {
            Bound::Unbounded => self.inner.seek_first()?,
            Bound::Included(start) => self.inner.seek(start)?,
            Bound::Excluded(start) => {
                self.inner.seek(start)?;
                if self.inner.key() == Some(start.as_slice()) {
                    self.inner.next()?;
                }
            }
        }
        Ok(())
    }

    /// Moves to the last key.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    pub fn seek_last(&mut self) -> Result<()> {
        match &self.bounds.end {
            Bound::Unbounded => self.inner.seek_last()?,
            Bound::Excluded(end) => self.inner.seek_before(end)?,
            Bound::Included(end) => {
                self.inner.seek(end)?;
                if self.inner.key() != Some(end.as_slice()) {
                    self.inner.seek_before(end)?;
                }
            }
        }
        Ok(())
    }

    /// Moves to the first key at or after `key`.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    pub fn seek(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        let key = key.as_ref();
        if !self.bounds.above_start(key) {
            return self.seek_first();
        }
        Ok(self.inner.seek(key)?)
    }

    /// Moves to the last key at or before `key`.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    pub fn seek_for_prev(&mut self, key: impl AsRef<[u8]>) -> Result<()> {
        let key = key.as_ref();
        if !self.bounds.below_end(key) {
            return self.seek_last();
        }
        self.inner.seek(key)?;
        if self.inner.key() != Some(key) {
            self.inner.seek_before(key)?;
        }
        Ok(())
    }

    /// Moves to the next key. Beside the keys it stays where it is.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    #[allow(clippy::should_implement_trait)] // the name every cursor has
    #[inline]
    pub fn next(&mut self) -> Result<()> {
        Ok(self.inner.next()?)
    }

    /// Moves to the previous key.
    ///
    /// # Errors
    /// As [`Cursor::seek_first`].
    #[inline]
    pub fn prev(&mut self) -> Result<()> {
        Ok(self.inner.prev()?)
    }
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
