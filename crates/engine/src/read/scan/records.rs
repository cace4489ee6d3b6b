//! What else of each entry an [`Iter`] can give: whole records, or keys alone.

use super::bounded::Cursor;
use super::iter::Iter;
use crate::types::error::Result;
use crate::types::record::Record;
use tanada_table::Value;

/// Whole records in order, from either end, of one moment. Made by [`Iter::records`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = tanada::Db::open(dir.path().join("db"))?;
/// let seqno = db.put("k", "v")?;
/// let record = db.range(..).records().next().expect("there is one")?;
/// assert_eq!((&*record.key, &*record.value), (&b"k"[..], &b"v"[..]));
/// assert_eq!((record.version, record.expires_at), (seqno, None));
/// # Ok::<(), tanada::Error>(())
/// ```
#[derive(Debug)]
pub struct Records(Iter);

/// Keys in order, from either end, of one moment. Made by [`Iter::keys`].
#[derive(Debug)]
pub struct Keys(Iter);

impl Iter {
    /// Whole records instead: with versions and expiries.
    pub fn records(self) -> Records {
        Records(self)
    }

    /// Keys alone. Copies no value.
    pub fn keys(self) -> Keys {
        Keys(self)
    }
}

fn key(cursor: &Cursor) -> Result<Option<Value>> {
    Ok(cursor.key().map(Value::from))
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_as(Cursor::owned_record)
    }
}

impl DoubleEndedIterator for Records {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back_as(Cursor::owned_record)
    }
}

impl std::iter::FusedIterator for Records {}

impl Iterator for Keys {
    type Item = Result<Value>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_as(key)
    }
}

impl DoubleEndedIterator for Keys {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back_as(key)
    }
}

impl std::iter::FusedIterator for Keys {}
