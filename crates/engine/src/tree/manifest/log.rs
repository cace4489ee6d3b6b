//! The manifest's file while it is appended to: one record an edit.

use crate::types::error::{Error, Result};
use std::io;
use tanada_format::{MAX_RECORD_LEN, RecordCursor, record_len, record_padding};
use tanada_vfs::{WriteFile, is_disk_full, is_unsupported};

/// The file is reserved ahead in steps of this size, and half of one at least before an
/// edit is written: so on a disk that is full for everybody else there is room for hundreds
/// of edits, and with them for deletes.
const RESERVED_AT_ONCE: u64 = 64 << 10;

/// The state so far; the first record, and only that. Of a large state the first part:
/// edits right behind it add the rest.
pub(super) const KIND_SNAPSHOT: u16 = 1;
/// An edit.
pub(super) const KIND_EDIT: u16 = 2;
/// No payload: says by its `synced` that the edit before it is durable.
pub(super) const KIND_MARKER: u16 = 3;

#[derive(Debug)]
pub(super) struct ManifestLog {
    pub(super) file: Box<dyn WriteFile>,
    /// Appends up to here cannot meet a full disk.
    reserved: Reserved,
    pub(super) at: RecordCursor,
    /// The file is synced up to here.
    pub(super) synced: u64,
    /// Length of the file when it held its snapshot alone.
    pub(super) snapshot_bytes: u64,
}

/// How far a file is reserved.
#[derive(Clone, Copy, Debug)]
enum Reserved {
    UpTo(u64),
    /// The file system does not know how.
    Never,
}

impl ManifestLog {
    /// A file that has its header, and ends at `at`.
    pub(super) fn new(file: Box<dyn WriteFile>, at: RecordCursor) -> ManifestLog {
        ManifestLog { file, reserved: Reserved::UpTo(0), at, synced: 0, snapshot_bytes: 0 }
    }

    /// Reserves what an edit of `payload_len` bytes and the marker behind it take, and some
    /// more where there is some: neither can meet a full disk then. Where the file system
    /// does not know how, does nothing: [`ManifestLog::take_back`] is what is left there.
    ///
    /// # Errors
    /// No room, or the disk fails. Nothing was changed.
    pub(super) fn reserve(&mut self, payload_len: usize) -> Result<()> {
        let needed = self.at.offset() + record_len(payload_len as u64) + record_len(0);
        let Reserved::UpTo(reserved) = self.reserved else { return Ok(()) };
        if needed + RESERVED_AT_ONCE / 2 <= reserved {
            return Ok(());
        }
        let ahead = (needed + RESERVED_AT_ONCE / 2).next_multiple_of(RESERVED_AT_ONCE);
        match self.reserve_to(ahead) {
            Err(_) if needed <= reserved => Ok(()),
            Err(e) if is_disk_full(&e) => Ok(self.reserve_to(needed)?),
            reserved => Ok(reserved?),
        }
    }

    fn reserve_to(&mut self, len: u64) -> io::Result<()> {
        self.reserved = match self.file.reserve(len) {
            Ok(()) => Reserved::UpTo(len),
            Err(e) if is_unsupported(&e) => Reserved::Never,
            Err(e) => return Err(e),
        };
        Ok(())
    }

    /// Removes what a failed append has left behind `end`, durably: no reader finds any of
    /// it from now on, and the next append may follow. Nothing behind `end` may have been
    /// synced. Costs a sync.
    ///
    /// # Errors
    /// What is behind `end` is unknown.
    pub(super) fn take_back(&mut self, end: RecordCursor) -> Result<()> {
        self.file.truncate(end.offset())?;
        self.file.sync()?;
        self.at = end;
        if let Reserved::UpTo(reserved) = &mut self.reserved {
            *reserved = 0;
        }
        Ok(())
    }

    pub(super) fn append(&mut self, kind: u16, payload: &[u8]) -> Result<()> {
        check_len(payload.len())?;
        let frame = self.at.write(kind, self.synced, &[payload]);
        let padding = record_padding(payload.len());
        let mut record = Vec::with_capacity(frame.len() + payload.len() + padding.len());
        record.extend_from_slice(&frame);
        record.extend_from_slice(payload);
        record.extend_from_slice(padding);
        Ok(self.file.append(&record)?)
    }
}

/// Refuses a record that no reader would take.
pub(super) fn check_len(len: usize) -> Result<()> {
    if len <= MAX_RECORD_LEN {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!(
        "one edit of the manifest takes {len} bytes, and at most {MAX_RECORD_LEN} are allowed: it changes too many tables with very long keys; compact a smaller range at a time"
    )))
}
