//! Reads a manifest from front to back, and tells a torn tail from damage.
//!
//! Each edit is synced before anything acts upon it and before the next one is
//! written, and each record names the offset up to which the file was known
//! synced. So when a record is not valid:
//!
//! - it is the first one, the snapshot: damage. `CURRENT` named the manifest
//!   only after the snapshot was synced.
//! - a valid frame further on names a synced offset behind it: damage. It was
//!   whole once.
//! - otherwise it may be an edit that was being written when the machine died.
//!   Nobody was told that it had happened; reading stops in front of it.
//!
//! Behind each edit, once synced, stands a marker record that says so, so that
//! the last edit, too, is protected by a frame behind it.

use super::codec::{self, DecodeError, Problem};
use super::edit::Edit;
use super::header::{self, HEADER_LEN};
use super::log::{KIND_EDIT, KIND_MARKER, KIND_SNAPSHOT};
use super::state::{State, TableSet};
use crate::types::error::{Error, Result};
use std::path::Path;
use tanada_format::{
    Corruption, DatabaseId, RECORD_ALIGN, RECORD_FRAME_LEN, RecordCursor, RecordFile, RecordFrame,
    RecordSalt,
};
use tanada_vfs::{FileSystem, ReadFile};

/// What a manifest says.
#[derive(Debug)]
pub(crate) struct Contents {
    /// All whole edits together.
    pub(crate) state: State<TableSet>,
    /// Where a torn tail begins, if there is one.
    pub(crate) torn_at: Option<u64>,
}

/// Reads manifest `number` of `database`. Cost: reads the whole file once.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::Corruption`] naming file and offset, or
/// [`Error::Unsupported`].
pub(crate) fn read(
    fs: &dyn FileSystem,
    path: &Path,
    database: DatabaseId,
    number: u64,
) -> Result<Contents> {
    let file = match fs.open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::MissingFile { file: path.into() });
        }
        opened => opened?,
    };
    if file.len() < HEADER_LEN as u64 {
        return Err(Corruption::new(path, file.len(), "it ends within its header").into());
    }
    let mut head = [0; HEADER_LEN];
    file.read_exact_at(&mut head, 0)?;
    let epoch = header::check(&head, path, database, number)?;

    let salt = RecordSalt::new(RecordFile::Manifest, database, number).in_epoch(epoch);
    let mut reader =
        Reader { file: &*file, path, at: RecordCursor::new(salt, HEADER_LEN as u64, 0) };
    let mut state = State::in_epoch(epoch);
    let mut torn_at = None;
    let mut first = true;
    loop {
        let offset = reader.at.offset();
        let Some((kind, payload)) = reader.next()? else {
            if first {
                let what = "the snapshot it begins with is not whole";
                return Err(Corruption::new(path, offset, what).into());
            }
            if offset < file.len() {
                reader.refuse_damage(offset)?;
                torn_at = Some(offset);
            }
            break;
        };
        if (kind == KIND_SNAPSHOT) != first {
            return Err(Corruption::new(path, offset, "a snapshot belongs first").into());
        }
        first = false;
        if kind != KIND_MARKER {
            let edit = decode(&payload, path, offset)?;
            state
                .apply(&edit, |_, tables, edit| TableSet::apply(tables, edit))
                .map_err(|e| Corruption::new(path, offset, e.0))?;
        }
    }
    Ok(Contents { state, torn_at })
}

fn decode(payload: &[u8], path: &Path, offset: u64) -> Result<Edit> {
    codec::decode(payload).map_err(|DecodeError { offset: within, problem }| match problem {
        Problem::Damaged(what) => {
            let offset = offset + (RECORD_FRAME_LEN + within) as u64;
            Corruption::new(path, offset, what).into()
        }
        Problem::Unknown(field) => Error::Unsupported {
            file: path.into(),
            what: format!("it has a field {field} that is not known here, and must not be skipped"),
        },
    })
}

struct Reader<'a> {
    file: &'a dyn ReadFile,
    path: &'a Path,
    at: RecordCursor,
}

impl Reader<'_> {
    /// The next record's kind and payload; `None` when no whole one is there.
    fn next(&mut self) -> Result<Option<(u16, Vec<u8>)>> {
        let left = self.file.len().saturating_sub(self.at.offset());
        let mut bytes = [0; RECORD_FRAME_LEN];
        if left < RECORD_FRAME_LEN as u64 {
            return Ok(None);
        }
        self.file.read_exact_at(&mut bytes, self.at.offset())?;
        let Some(frame) = self.at.frame(&bytes) else { return Ok(None) };
        let start = self.at.offset() + RECORD_FRAME_LEN as u64;
        // Padding may be cut off: it says nothing.
        if u64::from(frame.payload_len) > left - RECORD_FRAME_LEN as u64 {
            return Ok(None);
        }
        let mut payload = vec![0; frame.payload_len as usize];
        self.file.read_exact_at(&mut payload, start)?;
        let offset = self.at.offset();
        if !self.at.accept(&frame, &payload) {
            return Ok(None);
        }
        let known = [KIND_SNAPSHOT, KIND_EDIT, KIND_MARKER].contains(&frame.kind);
        if !known || frame.flags != 0 {
            let RecordFrame { kind, flags, .. } = frame;
            let what = format!("its record at offset {offset} has kind {kind}, flags {flags:#x}");
            return Err(Error::Unsupported { file: self.path.into(), what });
        }
        Ok(Some((frame.kind, payload)))
    }

    /// Looks behind the invalid record at `offset` for a frame that proves that
    /// the record was whole once. Its own frame does not: what a frame names as
    /// synced ends before it.
    fn refuse_damage(&self, offset: u64) -> Result<()> {
        const STEP: usize = 1 << 20;
        let mut window = Vec::new();
        for at in (offset..self.file.len()).step_by(STEP) {
            // Up to a frame that begins where the next window does.
            let len = (self.file.len() - at).min((STEP + RECORD_FRAME_LEN) as u64);
            window.resize(len as usize, 0);
            self.file.read_exact_at(&mut window, at)?;
            let places = window.windows(RECORD_FRAME_LEN).zip(at..);
            for (frame, position) in places.step_by(RECORD_ALIGN as usize) {
                let frame = RecordFrame::decode(frame, self.at.salt(), position);
                if frame.is_some_and(|frame| frame.synced > offset) {
                    let what = format!(
                        "a record is damaged; it was whole when the one at offset {position} was written"
                    );
                    return Err(Corruption::new(self.path, offset, what).into());
                }
            }
        }
        Ok(())
    }
}
