//! `Snapshot`: one moment of the whole database.

use crate::api::keyspace::Keyspace;
use crate::read::get::Sources;
use crate::read::hold::Hold;
use crate::read::holders::HolderKind;
use crate::read::scan::{Bounds, Cursor, Iter};
use crate::types::error::Result;
use crate::types::range::KeyRange;
use std::sync::Arc;
use tanada_format::{KeyspaceId, SeqNo};
use tanada_table::Value;

/// A moment kept readable: while it lives, no version that it sees is dropped.
/// Cheap to clone.
#[derive(Clone)]
pub struct Snapshot {
    held: Arc<Held>,
}

struct Held {
    default: Keyspace,
    hold: Hold,
}

impl Snapshot {
    pub(crate) fn new(default: Keyspace) -> Snapshot {
        let reading = &default.core().reading;
        let hold = Hold::new(reading, HolderKind::Snapshot, KeyspaceId::DEFAULT, None);
        Snapshot { held: Arc::new(Held { default, hold }) }
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
        let found = keyspace.read(key.as_ref(), Some(self.held.hold.seqno), Sources::All)?;
        Ok(found.map(|found| found.value))
    }

    /// Keys and values of `range` at this moment.
    pub fn range(&self, range: impl KeyRange) -> Iter {
        self.range_in(&self.held.default, range)
    }

    /// Keys and values of `range` in `keyspace` at this moment.
    pub fn range_in(&self, keyspace: &Keyspace, range: impl KeyRange) -> Iter {
        keyspace.iter_within(Some(self.held.hold.seqno), Bounds::of(&range))
    }

    /// All keys and values at this moment.
    pub fn iter(&self) -> Iter {
        self.range(..)
    }

    /// Keys that start with `prefix`, and their values, at this moment.
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Iter {
        self.held.default.iter_within(Some(self.held.hold.seqno), Bounds::prefix(prefix.as_ref()))
    }

    /// A cursor over all keys at this moment.
    pub fn cursor(&self) -> Cursor {
        self.held.default.cursor_at(Some(self.held.hold.seqno))
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("seqno", &self.held.hold.seqno).finish_non_exhaustive()
    }
}
