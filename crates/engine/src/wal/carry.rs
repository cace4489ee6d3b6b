//! Carries records over into the log that continues a recovered one.
//!
//! Records behind the last position known to be synced can be read after the
//! death of a process, and yet not be on the disk. To sync their old files
//! again proves nothing: should a sync have failed before, the kernel may have
//! dropped the pages' dirty marks, and calls the next sync a success with
//! nothing written (PostgreSQL 2018). So they are written again, into the new log.

use super::reader::{LogReader, RecordPlace};
use super::segment::Tail;
use crate::types::error::Result;
use std::path::Path;
use tanada_format::{DatabaseId, LogPosition, RecordCursor, record_padding, short_record_len};
use tanada_vfs::{Env, LogFile};

/// The records between `tail.synced` and `tail.position`, still to be written again.
#[derive(Debug)]
pub(super) struct Carried {
    logs: Vec<(LogReader, LogPosition)>,
    from: LogPosition,
    /// The chained checksum at `from`.
    pub(super) chain: u32,
}

impl Carried {
    /// Opens the logs that hold them and finds the checksum before the first.
    /// Reads the first of these logs up to there.
    pub(super) fn find(
        env: &Env,
        dir: &Path,
        database: DatabaseId,
        tail: &Tail,
    ) -> Result<Carried> {
        let mut logs = Vec::with_capacity(tail.unsynced.len());
        for segment in tail.segments.iter().filter(|s| tail.unsynced.contains(&s.id)) {
            logs.push((LogReader::open(env, dir, database, segment.id)?, segment.end));
        }
        let mut chain = tail.chain;
        if let Some((first, _)) = logs.first_mut() {
            let header = first.needed_header()?;
            // Synced positions lie between records.
            chain = first.walk(&header, Some(tail.synced), &mut |_, _| Ok(()))?.chain;
        }
        Ok(Carried { logs, from: tail.synced, chain })
    }

    /// Writes the records behind the header of the new log, each at its old
    /// position, and moves `cursor` behind them.
    pub(super) fn write(
        &mut self,
        file: &mut dyn LogFile,
        cursor: &mut RecordCursor,
    ) -> Result<()> {
        let from = self.from;
        for (log, end) in &mut self.logs {
            let header = log.needed_header()?;
            let append = &mut |bytes: &[u8]| Ok(file.append(bytes)?);
            log.walk(&header, Some(*end), &mut |place, payload| match place.start < from {
                true => Ok(()),
                false => write_again(append, cursor, &place, payload, from),
            })?;
        }
        Ok(())
    }
}

/// Writes a record at its old place in the stream into another log, by `append`; where its
/// frame names a position as synced, that is `synced`.
pub(super) fn write_again(
    append: &mut dyn FnMut(&[u8]) -> Result<()>,
    cursor: &mut RecordCursor,
    place: &RecordPlace<'_>,
    payload: &[u8],
    synced: LogPosition,
) -> Result<()> {
    // At its old place it has a frame as long as its old one.
    let len = payload.len() as u64;
    match place.end.0 - place.start.0 == short_record_len(len) {
        true => append(&cursor.write_short(place.kind, &[payload]))?,
        false => append(&cursor.write(place.kind, synced.0, &[payload]))?,
    }
    append(payload)?;
    append(record_padding(payload.len()))
}
