//! `Snapshot`: one moment of the whole database.

use crate::api::keyspace::Keyspace;
use crate::read::get::Sources;
use crate::read::hold::Hold;
use crate::read::holders::{HolderKind, ReadPoint};
use crate::read::keyspaces::Keyspaces;
use crate::read::scan::{Bounds, Cursor, Iter};
use crate::types::error::Result;
use crate::types::range::KeyRange;
use crate::types::record::Record;
use std::sync::Arc;
use tanada_format::{KeyspaceId, SeqNo};
use tanada_table::Value;

/// A moment kept readable: while it lives, no version that it sees is dropped.
/// Cheap to clone.
///
/// The moment's time belongs to it: what had not expired when it was taken is there to
/// its end, by every way to read it. So it keeps what expires meanwhile from being
/// dropped.
#[derive(Clone)]
pub struct Snapshot {
    held: Arc<Held>,
}

struct Held {
    default: Keyspace,
    hold: Hold,
    /// Loaded behind the sequence number: it has every keyspace of which that sees a write.
    keyspaces: Arc<Keyspaces>,
}

impl Snapshot {
    pub(crate) fn new(default: Keyspace) -> Snapshot {
        let reading = default.reading();
        let hold = Hold::new(reading, HolderKind::Snapshot, KeyspaceId::DEFAULT, None);
        let keyspaces = reading.keyspaces.load_full();
        Snapshot { held: Arc::new(Held { default, hold, keyspaces }) }
    }

    /// All keyspaces at this moment, the default one first, then as they were created.
    pub fn keyspaces(&self) -> Vec<Keyspace> {
        let handle = self.held.default.handle();
        let of = |state: &Arc<_>| Keyspace::new(Arc::clone(handle), Arc::clone(state));
        self.held.keyspaces.iter().map(of).collect()
    }

    /// The newest write that it sees.
    pub fn seqno(&self) -> SeqNo {
        self.held.hold.seqno
    }

    /// The value of `key` at this moment.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.get_in(&self.held.default, key)
    }

    /// The value of `key` in `keyspace` at this moment.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn get_in(&self, keyspace: &Keyspace, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        let found = keyspace.read(key.as_ref(), self.point(), Sources::All)?;
        Ok(found.map(|found| found.value))
    }

    /// Value, version and expiry of `key` at this moment.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn get_record(&self, key: impl AsRef<[u8]>) -> Result<Option<Record>> {
        self.get_record_in(&self.held.default, key)
    }

    /// Value, version and expiry of `key` in `keyspace` at this moment.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn get_record_in(
        &self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
    ) -> Result<Option<Record>> {
        let key = key.as_ref();
        let found = keyspace.read(key, self.point(), Sources::All)?;
        Ok(found.map(|found| found.of_key(key)))
    }

    /// The values of several keys at this moment, in the keys' order.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Value>>> {
        self.multi_get_in(&self.held.default, keys)
    }

    /// The values of several keys in `keyspace` at this moment, in the keys' order.
    ///
    /// # Errors
    /// As [`Keyspace::get`].
    pub fn multi_get_in<K: AsRef<[u8]>>(
        &self,
        keyspace: &Keyspace,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Value>>> {
        keys.into_iter().map(|key| self.get_in(keyspace, key)).collect()
    }

    /// Keys and values of `range` at this moment.
    pub fn range(&self, range: impl KeyRange) -> Iter {
        self.range_in(&self.held.default, range)
    }

    /// Keys and values of `range` in `keyspace` at this moment.
    pub fn range_in(&self, keyspace: &Keyspace, range: impl KeyRange) -> Iter {
        keyspace.iter_within(self.point(), Bounds::of(&range))
    }

    /// All keys and values at this moment.
    pub fn iter(&self) -> Iter {
        self.range(..)
    }

    /// Keys that start with `prefix`, and their values, at this moment.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Iter {
        self.prefix_in(&self.held.default, prefix)
    }

    /// Keys in `keyspace` that start with `prefix`, and their values, at this moment.
    pub fn prefix_in(&self, keyspace: &Keyspace, prefix: impl AsRef<[u8]>) -> Iter {
        keyspace.iter_within(self.point(), Bounds::prefix(prefix.as_ref()))
    }

    /// A cursor over all keys at this moment.
    pub fn cursor(&self) -> Cursor {
        self.cursor_in(&self.held.default)
    }

    /// A cursor over all keys of `keyspace` at this moment.
    pub fn cursor_in(&self, keyspace: &Keyspace) -> Cursor {
        keyspace.cursor_at(self.point())
    }

    fn point(&self) -> Option<ReadPoint> {
        Some(self.held.hold.point())
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("seqno", &self.held.hold.seqno).finish_non_exhaustive()
    }
}
