//! Reads of a keyspace: single keys and ranges, now or at a snapshot's moment.

use super::Keyspace;
use crate::read::get::{Found, Sources};
use crate::read::hold::Hold;
use crate::read::holders::{HolderKind, ReadPoint};
use crate::read::scan::{Bounds, Cursor, Iter, VisibleCursor};
use crate::types::error::{Error, Result};
use crate::types::explain::Explain;
use crate::types::range::KeyRange;
use crate::types::record::{Record, UnixMillis};
use crate::write::batch::check_key;
use std::ops::Bound;
use std::sync::Arc;
use tanada_format::planted;
use tanada_table::Value;

impl Keyspace {
    /// The newest value of `key`: MemTables, then the row cache, then tables
    /// newest first, each behind its filter.
    ///
    /// # Errors
    /// I/O or damage below: never "not found", never an older value instead.
    #[inline]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        Ok(self.read(key.as_ref(), None, Sources::All)?.map(|found| found.value))
    }

    /// Value, version and expiry of `key`.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn get_record(&self, key: impl AsRef<[u8]>) -> Result<Option<Record>> {
        let key = key.as_ref();
        Ok(self.read(key, None, Sources::All)?.map(|found| found.of_key(key)))
    }

    /// As [`Keyspace::get_record`] from memory alone. For reactors, which must not block.
    ///
    /// # Errors
    /// [`Error::WouldBlock`] when the answer needs the disk; as [`Keyspace::get`].
    pub fn try_get_record(&self, key: impl AsRef<[u8]>) -> Result<Option<Record>> {
        let key = key.as_ref();
        Ok(self.read(key, None, Sources::Memory)?.map(|found| found.of_key(key)))
    }

    /// The newest value of `key` and the path of the read: every tier asked,
    /// what it answered, the time it took.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn explain(&self, key: impl AsRef<[u8]>) -> Result<Explain> {
        let key = key.as_ref();
        self.checked(key)?;
        self.reading().explain(&self.state, key)
    }

    #[inline]
    pub(crate) fn read(
        &self,
        key: &[u8],
        at: Option<ReadPoint>,
        sources: Sources,
    ) -> Result<Option<Found>> {
        self.checked(key)?;
        self.reading().get(&self.state, key, at, sources)
    }

    #[inline]
    fn checked(&self, key: &[u8]) -> Result<()> {
        self.reading().health.check_readable()?;
        check_key(key).map_err(Error::InvalidArgument)
    }

    /// Whether `key` has a value. Costs what [`Keyspace::get`] costs.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        Ok(self.read(key.as_ref(), None, Sources::All)?.is_some())
    }

    /// The newest values of several keys, of one moment, in the keys' order.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Value>>> {
        let reading = self.reading();
        reading.health.owner.check()?;
        let moment = reading.exact_moment(&self.state);
        let get = |key: K| {
            self.checked(key.as_ref())?;
            let found = reading.get_at(&self.state, key.as_ref(), &moment, Sources::All)?;
            Ok(found.map(|found| found.value))
        };
        keys.into_iter().map(get).collect()
    }

    /// Keys and values of `range`, in order, from either end.
    pub fn range(&self, range: impl KeyRange) -> Iter {
        self.iter_within(None, Bounds::of(&range))
    }

    /// All keys and values, in order, from either end.
    pub fn iter(&self) -> Iter {
        self.range(..)
    }

    /// Keys that start with `prefix`, and their values.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Iter {
        self.iter_within(None, Bounds::prefix(prefix.as_ref()))
    }

    /// A cursor over all keys: the fast way to scan.
    pub fn cursor(&self) -> Cursor {
        self.cursor_at(None)
    }

    pub(crate) fn cursor_at(&self, at: Option<ReadPoint>) -> Cursor {
        let reading = self.reading();
        reading.count_scan();
        let bounds = Arc::new(Bounds { start: Bound::Unbounded, end: Bound::Unbounded });
        let hold = Hold::new(reading, HolderKind::Cursor, self.state.id, at);
        Cursor::new(VisibleCursor::new(Arc::new(hold), 0, bounds))
    }

    pub(crate) fn iter_within(&self, at: Option<ReadPoint>, bounds: Bounds) -> Iter {
        let reading = self.reading();
        reading.count_scan();
        let at = match planted!(seq_taken_before_version_pinned) {
            // At the look at the clock somebody else has a turn.
            true => {
                let seqno = reading.visible();
                Some(at.unwrap_or(ReadPoint { seqno, now_ms: reading.now_ms() }))
            }
            false => at,
        };
        Iter::new(Hold::new(reading, HolderKind::Iterator, self.state.id, at), bounds)
    }
}

impl Found {
    /// With the key that was asked for.
    pub(crate) fn of_key(self, key: &[u8]) -> Record {
        Record {
            key: Value::from(key),
            value: self.value,
            version: self.seqno,
            expires_at: UnixMillis::of_entry(self.expires_at_ms),
        }
    }
}
