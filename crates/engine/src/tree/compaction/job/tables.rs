//! What a job knows of tables: those that go in, and those beside it.

use crate::tree::version::{TableHandle, TableMeta};
use std::sync::Arc;

/// A table that goes into a job.
pub(crate) trait InputTable {
    /// What is known without opening it.
    fn meta(&self) -> &TableMeta;
}

impl InputTable for TableMeta {
    fn meta(&self) -> &TableMeta {
        self
    }
}

impl InputTable for Arc<TableHandle> {
    fn meta(&self) -> &TableMeta {
        TableHandle::meta(self)
    }
}

/// A table beside a job, of which it reads nothing: where it lies, and how much it is.
pub(crate) trait KeySpan {
    /// Smallest user key, inclusive.
    fn min_key(&self) -> &[u8];
    /// Largest user key, inclusive.
    fn max_key(&self) -> &[u8];
    /// Length of the file.
    fn size_bytes(&self) -> u64;
}

impl KeySpan for Arc<TableHandle> {
    #[inline]
    fn min_key(&self) -> &[u8] {
        &TableHandle::meta(self).min_key
    }

    #[inline]
    fn max_key(&self) -> &[u8] {
        &TableHandle::meta(self).max_key
    }

    #[inline]
    fn size_bytes(&self) -> u64 {
        TableHandle::meta(self).size_bytes
    }
}

/// All that a job which was read from bytes knows of a table beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) min_key: Box<[u8]>,
    pub(crate) max_key: Box<[u8]>,
    pub(crate) size_bytes: u64,
}

impl KeySpan for Neighbour {
    #[inline]
    fn min_key(&self) -> &[u8] {
        &self.min_key
    }

    #[inline]
    fn max_key(&self) -> &[u8] {
        &self.max_key
    }

    #[inline]
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}
