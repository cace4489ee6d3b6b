//! Several writes that become visible and durable together.

use crate::db::Keyspace;
use crate::options::PutOptions;

/// Writes applied in order, all or none. Keys are checked when the batch is written.
#[derive(Clone, Debug, Default)]
pub struct Batch {}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }
    /// Adds a put in the default keyspace.
    pub fn put(&mut self, _key: impl AsRef<[u8]>, _value: impl AsRef<[u8]>) {
        todo!()
    }
    /// Adds a put with options.
    pub fn put_with(&mut self, _key: impl AsRef<[u8]>, _value: impl AsRef<[u8]>, _o: PutOptions) {
        todo!()
    }
    /// Adds a delete in the default keyspace.
    pub fn delete(&mut self, _key: impl AsRef<[u8]>) {
        todo!()
    }
    /// Adds a put in `keyspace`.
    pub fn put_in(
        &mut self,
        _keyspace: &Keyspace,
        _key: impl AsRef<[u8]>,
        _value: impl AsRef<[u8]>,
    ) {
        todo!()
    }
    /// Adds a put with options in `keyspace`.
    pub fn put_in_with(
        &mut self,
        _keyspace: &Keyspace,
        _key: impl AsRef<[u8]>,
        _value: impl AsRef<[u8]>,
        _o: PutOptions,
    ) {
        todo!()
    }
    /// Adds a delete in `keyspace`.
    pub fn delete_in(&mut self, _keyspace: &Keyspace, _key: impl AsRef<[u8]>) {
        todo!()
    }
    /// Writes in it.
    pub fn len(&self) -> usize {
        todo!()
    }
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Bytes of its encoded form.
    pub fn size_bytes(&self) -> usize {
        todo!()
    }
}
