//! A key, its value, and what is known of the write: the answer of every way to read.

use tanada_format::SeqNo;
use tanada_table::Value;

/// A wall-clock time in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

/// A key and its value as one write left them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Value,
    /// The value.
    pub value: Value,
    /// Sequence number of the write: the key's version.
    pub version: SeqNo,
    /// When the key expires; `None`: never.
    pub expires_at: Option<UnixMillis>,
}

/// A [`Record`] that a cursor stands on, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'c> {
    /// The key.
    pub key: &'c [u8],
    /// The value.
    pub value: &'c [u8],
    /// Sequence number of the write: the key's version.
    pub version: SeqNo,
    /// When the key expires; `None`: never.
    pub expires_at: Option<UnixMillis>,
}

impl UnixMillis {
    /// As entries hold it: 0 for never.
    pub(crate) fn of_entry(expires_at_ms: u64) -> Option<UnixMillis> {
        (expires_at_ms != 0).then_some(UnixMillis(expires_at_ms))
    }
}
