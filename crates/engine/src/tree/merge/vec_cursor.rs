//! A cursor over entries in a vector, for tests: may fail at a chosen step.

use std::io;
use tanada_format::{EntryRef, SeqNo, ValueKind, compare_internal};
use tanada_table::{Cursor, Error};

/// One entry that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnedEntry {
    pub(crate) key: Vec<u8>,
    pub(crate) seqno: SeqNo,
    pub(crate) kind: ValueKind,
    pub(crate) expires_at_ms: u64,
    pub(crate) value: Vec<u8>,
}

impl OwnedEntry {
    pub(crate) fn put(key: impl AsRef<[u8]>, seqno: u64, value: impl AsRef<[u8]>) -> OwnedEntry {
        OwnedEntry {
            key: key.as_ref().to_vec(),
            seqno: SeqNo(seqno),
            kind: ValueKind::Put,
            expires_at_ms: 0,
            value: value.as_ref().to_vec(),
        }
    }

    pub(crate) fn delete(key: impl AsRef<[u8]>, seqno: u64) -> OwnedEntry {
        OwnedEntry { kind: ValueKind::Delete, ..OwnedEntry::put(key, seqno, "") }
    }

    pub(crate) fn as_ref(&self) -> EntryRef<'_> {
        EntryRef {
            key: &self.key,
            seqno: self.seqno,
            kind: self.kind,
            expires_at_ms: self.expires_at_ms,
            value: &self.value,
        }
    }

    pub(crate) fn of(entry: EntryRef<'_>) -> OwnedEntry {
        OwnedEntry {
            key: entry.key.to_vec(),
            seqno: entry.seqno,
            kind: entry.kind,
            expires_at_ms: entry.expires_at_ms,
            value: entry.value.to_vec(),
        }
    }
}

/// Sorts into the internal order.
pub(crate) fn sort(entries: &mut [OwnedEntry]) {
    entries.sort_by(|a, b| compare_internal((&a.key, a.seqno), (&b.key, b.seqno)));
}

/// Walks a sorted vector. `at == 0` is before the start, `entries.len() + 1` behind the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct VecCursor {
    entries: Vec<OwnedEntry>,
    at: usize,
    /// Moves left before one fails.
    pub(crate) moves_until_failure: Option<usize>,
}

impl VecCursor {
    pub(crate) fn new(mut entries: Vec<OwnedEntry>) -> VecCursor {
        sort(&mut entries);
        VecCursor { entries, at: 0, moves_until_failure: None }
    }

    fn move_to(&mut self, at: usize) -> Result<(), Error> {
        match &mut self.moves_until_failure {
            Some(0) => {
                self.at = 0;
                Err(io::Error::other("the disk is gone").into())
            }
            moves => {
                if let Some(n) = moves {
                    *n -= 1;
                }
                self.at = at;
                Ok(())
            }
        }
    }
}

impl Cursor for VecCursor {
    fn valid(&self) -> bool {
        (1..=self.entries.len()).contains(&self.at)
    }
    fn entry(&self) -> EntryRef<'_> {
        self.entries[self.at - 1].as_ref()
    }
    fn seek_first(&mut self) -> Result<(), Error> {
        self.move_to(1)
    }
    fn seek_last(&mut self) -> Result<(), Error> {
        self.move_to(self.entries.len())
    }
    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        let before = |e: &OwnedEntry| compare_internal((&e.key, e.seqno), (key, seqno)).is_lt();
        self.move_to(self.entries.partition_point(before) + 1)
    }
    fn seek_before(&mut self, key: &[u8]) -> Result<(), Error> {
        self.move_to(self.entries.partition_point(|e| &e.key[..] < key))
    }
    fn next(&mut self) -> Result<(), Error> {
        assert!(self.valid());
        self.move_to(self.at + 1)
    }
    fn prev(&mut self) -> Result<(), Error> {
        assert!(self.valid());
        self.move_to(self.at - 1)
    }
}
