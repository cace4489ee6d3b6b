//! The internal entry: what a MemTable and a table hold for one write of one key.
//!
//! Entries are ordered by user key ascending, then by seqno descending, so that
//! the newest version of a key is met first. [`compare_internal`] is the one
//! place that says so.

use crate::SeqNo;
use std::cmp::Ordering;

/// What a write did to its key. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ValueKind {
    /// The key is gone (a tombstone).
    Delete = 0,
    /// The key has this value.
    Put = 1,
    /// The value is an operand for the keyspace's merge operator. Reserved.
    Merge = 2,
    /// All keys from the entry's key up to the value (exclusive) are gone. Reserved.
    RangeDelete = 3,
    /// The value is a pointer into a blob file. Reserved.
    BlobRef = 4,
}

impl ValueKind {
    /// The kind with this number on disk, if there is one.
    pub fn from_u8(n: u8) -> Option<ValueKind> {
        Some(match n {
            0 => ValueKind::Delete,
            1 => ValueKind::Put,
            2 => ValueKind::Merge,
            3 => ValueKind::RangeDelete,
            4 => ValueKind::BlobRef,
            _ => return None,
        })
    }

    /// Whether only a later version can say what the write did. One that does not know it may
    /// not answer for any key: a range delete hides others than its own.
    #[inline]
    pub fn is_reserved(self) -> bool {
        match self {
            ValueKind::Delete | ValueKind::Put => false,
            ValueKind::Merge | ValueKind::RangeDelete | ValueKind::BlobRef => true,
        }
    }
}

/// One version of one key, borrowed from wherever it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// The user's key.
    pub key: &'a [u8],
    /// When it was written, in commit order.
    pub seqno: SeqNo,
    /// What the write did.
    pub kind: ValueKind,
    /// Wall-clock milliseconds since 1970 after which the entry counts as
    /// deleted; 0 means never.
    pub expires_at_ms: u64,
    /// The user's value; empty for a delete.
    pub value: &'a [u8],
}

/// The one ordering of internal keys: user key ascending, then newest first.
#[inline]
pub fn compare_internal(a: (&[u8], SeqNo), b: (&[u8], SeqNo)) -> Ordering {
    a.0.cmp(b.0).then_with(|| b.1.cmp(&a.1))
}
