//! Writes to a keyspace: single ones, each a batch of one, and those of a batch that
//! writes to several.

use super::Keyspace;
use crate::types::condition::Condition;
use crate::types::error::Result;
use crate::types::options::PutOptions;
use crate::write::batch::Batch;
use std::cell::Cell;
use tanada_format::SeqNo;
use tanada_vfs::sync::thread_local;

/// A batch kept per thread for single puts keeps at most this much memory.
const SCRATCH_BYTES: usize = 64 << 10;

thread_local! {
    /// In a box: six moves a put are of a pointer, not of the batch.
    static SCRATCH: Cell<Option<Box<Batch>>> = const { Cell::new(None) };
}

impl Keyspace {
    /// Sets `key` (1 B to 64 KiB) to `value` (up to 1 GiB). Answers the write's
    /// sequence number. Cost: one log record, shared with concurrent writers,
    /// and a sync where the durability asks for it.
    ///
    /// # Errors
    /// As [`crate::Db::write`].
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<SeqNo> {
        self.put_with(key, value, PutOptions::new())
    }

    /// Sets `key` to `value` with options.
    ///
    /// # Errors
    /// As [`crate::Db::write`].
    pub fn put_with(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: PutOptions,
    ) -> Result<SeqNo> {
        let (key, value) = (key.as_ref(), value.as_ref());
        let _room = self.writer()?.room_for_body(value.len())?;
        self.write_one(|batch| {
            batch.add_put(self.state.id, key, value, options);
        })
    }

    /// Removes `key`; no error when it is not there.
    ///
    /// # Errors
    /// As [`crate::Db::write`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<SeqNo> {
        self.write_one(|batch| batch.add_delete(self.state.id, key.as_ref()))
    }

    /// A put is a batch of one, built where the thread's last one was.
    #[inline]
    fn write_one(&self, fill: impl FnOnce(&mut Batch)) -> Result<SeqNo> {
        // Taken out while in use: what runs below may come here again.
        let mut batch = SCRATCH.with(Cell::take).unwrap_or_default();
        batch.clear();
        fill(&mut batch);
        let result = self.writer()?.commit(&mut batch, None);
        if batch.body.capacity() <= SCRATCH_BYTES {
            SCRATCH.with(|scratch| scratch.set(Some(batch)));
        }
        result
    }
}

/// Writes to keyspaces other than the default one, and conditions on their keys.
impl Batch {
    /// Adds a put in `keyspace`.
    pub fn put_in(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.put_in_with(keyspace, key, value, PutOptions::new());
    }

    /// Adds a put with options in `keyspace`.
    pub fn put_in_with(
        &mut self,
        keyspace: &Keyspace,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        options: PutOptions,
    ) {
        self.belongs_to(keyspace.reading().database_id);
        self.add_put(keyspace.state.id, key.as_ref(), value.as_ref(), options);
    }

    /// Adds a delete in `keyspace`.
    pub fn delete_in(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>) {
        self.belongs_to(keyspace.reading().database_id);
        self.add_delete(keyspace.state.id, key.as_ref());
    }

    /// The batch is written only if `condition` holds of `key` of `keyspace`. See
    /// [`Batch::check`].
    pub fn check_in(&mut self, keyspace: &Keyspace, key: impl AsRef<[u8]>, condition: Condition) {
        self.belongs_to(keyspace.reading().database_id);
        self.add_check(keyspace.state.id, key.as_ref(), condition);
    }
}
