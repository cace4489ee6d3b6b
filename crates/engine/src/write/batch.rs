//! Several writes that become visible and durable together.
//!
//! A batch keeps its writes in the very bytes that the log will hold
//! (`docs/format/log.md`), so that each is encoded once.

use crate::core::checks::{Check, Checks};
use crate::types::condition::Condition;
use crate::types::error::{Error, Result};
use crate::types::options::PutOptions;
use crate::wal::group::{self, GroupEntry};
use crate::write::cost::Cost;
use crate::write::expiry::{self, Expiry};
use tanada_format::{
    DatabaseId, KeyspaceId, MAX_BATCH_BYTES, MAX_KEY_LEN, MAX_VALUE_LEN, SeqNo, ValueKind,
};

const FOREIGN: &str =
    "the batch names a keyspace of another database; use keyspaces of the one it is written to";

/// Writes applied in order, all or none.
///
/// Keys and values are checked when they are added; the first fault is
/// answered by [`crate::Db::write`], which then does nothing.
///
/// # Conditions
///
/// A batch may have conditions on keys, those that it writes and others. It is written when
/// all of them hold at the moment of the commit, and not at all otherwise: then
/// [`Error::Conflict`] says which did not hold. All of them are asked before the first
/// write of the batch, so that none sees what the batch itself writes. Nothing is written
/// between the question and the batch: a compare-and-set is exact, whoever else writes.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let db = tanada::Db::open(dir.path().join("db"))?;
/// use tanada::{Batch, Error};
///
/// let mut batch = Batch::new();
/// batch.check_absent("counter");
/// batch.put("counter", "1");
/// let first = db.write(batch)?;
///
/// let mut batch = Batch::new();
/// batch.put_if_version("counter", "2", first);
/// let second = db.write(batch)?;
///
/// let mut late = Batch::new();
/// late.put_if_version("counter", "2", first);
/// match db.write(late) {
///     Err(Error::Conflict(conflict)) => assert_eq!(conflict.failed[0].version, Some(second)),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), tanada::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(crate) body: Vec<u8>,
    pub(crate) count: u32,
    pub(crate) deletes: u32,
    /// Bytes of keys and values.
    pub(crate) user_bytes: u64,
    /// What it takes in MemTables.
    pub(crate) cost: Cost,
    /// Where in `body` times to live stand that become expiry times when the
    /// batch is written.
    ttl_offsets: Vec<usize>,
    /// Of those.
    longest_ttl_ms: u64,
    /// Its conditions. In a box: most batches have none.
    pub(crate) checks: Option<Box<Checks>>,
    /// The database whose keyspaces are named in it.
    owner: Option<DatabaseId>,
    fault: Option<String>,
}

impl Batch {
    /// An empty batch. Allocates nothing.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Adds a put in the default keyspace.
    pub fn put(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.add_put(KeyspaceId::DEFAULT, key.as_ref(), value.as_ref(), PutOptions::new());
    }

    /// Adds a put with options in the default keyspace.
    pub fn put_with(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: PutOptions,
    ) {
        self.add_put(KeyspaceId::DEFAULT, key.as_ref(), value.as_ref(), options);
    }

    /// Adds a delete in the default keyspace.
    pub fn delete(&mut self, key: impl AsRef<[u8]>) {
        self.add_delete(KeyspaceId::DEFAULT, key.as_ref());
    }

    /// Puts `key` if it has this `version`: [`check_version`](Batch::check_version) and
    /// [`put`](Batch::put).
    pub fn put_if_version(
        &mut self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        version: SeqNo,
    ) {
        let key = key.as_ref();
        self.check_version(key, version);
        self.put(key, value);
    }

    /// The batch is written only if `key` of the default keyspace has a value of this
    /// version: that of [`Record::version`](crate::Record), and what its write answered.
    pub fn check_version(&mut self, key: impl AsRef<[u8]>, version: SeqNo) {
        self.check(key, Condition::Version(version));
    }

    /// The batch is written only if `key` of the default keyspace has no value.
    pub fn check_absent(&mut self, key: impl AsRef<[u8]>) {
        self.check(key, Condition::Absent);
    }

    /// The batch is written only if `condition` holds of `key` of the default keyspace.
    ///
    /// Costs a lookup before the batch queues, which may read from disk, and one by the
    /// commit leader, which others wait for: mostly in memory by then. Each takes some 128
    /// bytes beside its key, which count to what a batch may take.
    pub fn check(&mut self, key: impl AsRef<[u8]>, condition: Condition) {
        self.add_check(KeyspaceId::DEFAULT, key.as_ref(), condition);
    }

    /// Writes in it.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none; it may have conditions.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of its encoded form, as the log will hold it. In memory it takes more:
    /// some hundred bytes a write beside key and value (see [`crate::Db::write`]).
    pub fn size_bytes(&self) -> usize {
        self.body.len()
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.body.clear();
        self.ttl_offsets.clear();
        self.longest_ttl_ms = 0;
        self.cost.clear();
        self.checks = None;
        self.owner = None;
        (self.count, self.deletes, self.user_bytes, self.fault) = (0, 0, 0, None);
    }

    #[inline]
    pub(crate) fn add_put(
        &mut self,
        keyspace: KeyspaceId,
        key: &[u8],
        value: &[u8],
        options: PutOptions,
    ) {
        let (ms, is_ttl) = match Expiry::of(&options) {
            Ok(Expiry::Never) => (0, false),
            Ok(Expiry::In(ms)) => (ms, true),
            Ok(Expiry::At(ms)) => (ms, false),
            Err(what) => {
                self.fault.get_or_insert(what);
                return;
            }
        };
        if self.add(keyspace, ValueKind::Put, ms, key, value) && is_ttl {
            self.ttl_offsets.push(self.body.len() - key.len() - value.len() - 8);
            self.longest_ttl_ms = self.longest_ttl_ms.max(ms);
        }
    }

    #[inline]
    pub(crate) fn add_delete(&mut self, keyspace: KeyspaceId, key: &[u8]) {
        self.deletes += u32::from(self.add(keyspace, ValueKind::Delete, 0, key, &[]));
    }

    pub(crate) fn add_check(&mut self, keyspace: KeyspaceId, key: &[u8], condition: Condition) {
        if let Err(e) = check_key(key) {
            self.fault.get_or_insert(e);
            return;
        }
        self.checks.get_or_insert_default().add(Check { keyspace, key: key.into(), condition });
    }

    #[inline]
    fn add(
        &mut self,
        keyspace: KeyspaceId,
        kind: ValueKind,
        expires_at_ms: u64,
        key: &[u8],
        value: &[u8],
    ) -> bool {
        if let Err(e) = check_key(key).and_then(|()| check_value(value)) {
            self.fault.get_or_insert(e);
            return false;
        }
        let entry = GroupEntry { keyspace, kind, expires_at_ms, key, value };
        group::encode_entry(&mut self.body, &entry);
        self.count += 1;
        self.user_bytes += (key.len() + value.len()) as u64;
        self.cost.add(keyspace, key.len(), value.len());
        true
    }

    /// Notes that a keyspace of `database` is named in it.
    pub(crate) fn belongs_to(&mut self, database: DatabaseId) {
        if *self.owner.get_or_insert(database) != database {
            self.fault.get_or_insert_with(|| FOREIGN.to_owned());
        }
    }

    /// The first fault, if there is one; also refuses what no log record holds.
    #[inline]
    pub(crate) fn validate(&self, database: DatabaseId) -> Result<()> {
        if self.owner.is_some_and(|owner| owner != database) {
            return Err(Error::InvalidArgument(FOREIGN.to_owned()));
        }
        if let Some(fault) = &self.fault {
            return Err(Error::InvalidArgument(fault.clone()));
        }
        if self.body.len() > MAX_BATCH_BYTES {
            return Err(Error::InvalidArgument(format!(
                "a batch holds at most {MAX_BATCH_BYTES} bytes, this one {}; split it",
                self.body.len()
            )));
        }
        Ok(())
    }

    /// Whether any write in it expires.
    pub(crate) fn has_ttl(&self) -> bool {
        !self.ttl_offsets.is_empty()
    }

    /// Turns times to live into expiry times.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when one ends later than a key may expire.
    pub(crate) fn set_expiries(&mut self, now_ms: u64) -> Result<()> {
        expiry::end_of(now_ms, self.longest_ttl_ms).map_err(Error::InvalidArgument)?;
        for at in self.ttl_offsets.drain(..) {
            let place = &mut self.body[at..at + 8];
            let ttl = u64::from_le_bytes(place.try_into().expect("eight bytes"));
            place.copy_from_slice(&(now_ms + ttl).to_le_bytes());
        }
        Ok(())
    }
}

/// Says what is wrong with a key.
pub(crate) fn check_key(key: &[u8]) -> Result<(), String> {
    match key.len() {
        0 => Err("the key is empty; a key has 1 to 65536 bytes".to_owned()),
        1..=MAX_KEY_LEN => Ok(()),
        n => Err(format!("the key has {n} bytes; a key has 1 to {MAX_KEY_LEN} bytes")),
    }
}

fn check_value(value: &[u8]) -> Result<(), String> {
    if value.len() > MAX_VALUE_LEN {
        return Err(format!(
            "the value has {} bytes; a value has at most {MAX_VALUE_LEN} bytes",
            value.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_first_fault_is_kept_and_nothing_faulty_is_added() {
        let mut batch = Batch::new();
        batch.put("a", "1");
        batch.put("", "2");
        batch.delete([0; MAX_KEY_LEN + 1]);
        assert_eq!(batch.len(), 1);
        assert!(batch.validate(DatabaseId::default()).unwrap_err().to_string().contains("empty"));
        batch.clear();
        assert!(batch.validate(DatabaseId::default()).is_ok());
    }

    #[test]
    fn a_ttl_becomes_an_expiry_time_once() {
        let mut batch = Batch::new();
        batch.put_with("k", "value", PutOptions::new().ttl(Duration::from_millis(5)));
        batch.set_expiries(1_000).unwrap();
        batch.set_expiries(9_000).unwrap();
        let entry = group::decode_entry(&batch.body).unwrap().0;
        assert_eq!(
            (entry.expires_at_ms, entry.key, entry.value),
            (1_005, &b"k"[..], &b"value"[..])
        );
    }

    #[test]
    fn a_ttl_of_nothing_is_refused() {
        let mut batch = Batch::new();
        batch.put_with("k", "v", PutOptions::new().ttl(Duration::ZERO));
        assert!(batch.validate(DatabaseId::default()).unwrap_err().to_string().contains("ttl"));
    }
}
