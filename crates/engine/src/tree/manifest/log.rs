//! The manifest's file while it is appended to: one record an edit.

use crate::types::error::{Error, Result};
use tanada_format::{MAX_RECORD_LEN, RecordCursor, record_padding};
use tanada_vfs::WriteFile;

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
    pub(super) at: RecordCursor,
    /// The file is synced up to here.
    pub(super) synced: u64,
    /// Length of the file when it held its snapshot alone.
    pub(super) snapshot_bytes: u64,
}

impl ManifestLog {
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
