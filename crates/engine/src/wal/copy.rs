//! Copies a part of the stream into a log of its own, in another directory: what a
//! checkpoint needs of the logs.
//!
//! The bytes of the files are not taken as they are. A file has room reserved that nobody
//! has written, is bound to its length and its id, and goes on behind the part that is
//! wanted. So each record is read, checked and written again at its old place in the stream,
//! as [`carry`](super::carry) does when a database is opened.

use super::carry::write_again;
use super::header::{LOG_HEADER_LEN, LogHeader, LogOwner};
use super::part::Part;
use super::segment::{Segment, log_path};
use crate::types::error::Result;
use std::ops::Range;
use std::path::Path;
use tanada_format::{LogId, LogPosition, RecordCursor, planted};
use tanada_vfs::{Env, WriteFile};

/// Pieces are put together up to so many bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// A log that [`copy`] has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CopiedLog {
    /// The one log of the copy.
    pub(crate) id: LogId,
    /// Its length.
    pub(crate) bytes: u64,
    /// Records in it.
    pub(crate) records: u64,
}

/// Copies the records of `part`, which begins and ends between records, from the
/// `segments` of `dir` into the log `id` of `target`, and syncs it; its name is not
/// synced. The writer may append behind the part meanwhile.
///
/// Costs reading the first of the segments up to the part, and reading, checking, writing
/// and syncing the part. Takes memory for the largest record. `should_stop` is asked at
/// each record.
///
/// # Errors
/// `Corruption` when the segments do not hold the whole part; `Io`; what `should_stop`
/// answers.
pub(crate) fn copy(
    env: &Env,
    (dir, segments): (&Path, &[Segment]),
    owner: impl Into<LogOwner>,
    part: &Range<LogPosition>,
    (target, id): (&Path, LogId),
    should_stop: &dyn Fn() -> Result<()>,
) -> Result<CopiedLog> {
    let LogOwner { database, epoch } = owner.into();
    let mut source = Part::open(env, (dir, segments), database, part, should_stop)?;
    let chain = source.chain();
    let bytes = LOG_HEADER_LEN + (part.end.0 - part.start.0);
    // Not a log to be appended to: no room is reserved, and nothing is mapped.
    let mut file = Buffered::new(env.fs.create(&log_path(target, id))?);
    let header = LogHeader {
        database,
        epoch,
        id,
        base: part.start,
        predecessor: None,
        synced: part.start,
        chain,
        capacity: bytes,
        length_durable: true, // before anybody sees its name
    };
    file.put(&header.encode())?;
    let mut cursor = RecordCursor::new(header.salt(), LOG_HEADER_LEN, chain);
    let mut records = 0;
    source.walk(&mut |place, payload| {
        records += 1;
        let append = &mut |bytes: &[u8]| file.put(bytes);
        write_again(append, &mut cursor, &place, payload, part.start)
    })?;
    if cursor.offset() != bytes {
        return Err(source.ends_early());
    }
    file.end()?;
    Ok(CopiedLog { id, bytes, records })
}

/// A file that takes many small pieces.
struct Buffered {
    file: Box<dyn WriteFile>,
    bytes: Vec<u8>,
}

impl Buffered {
    fn new(file: Box<dyn WriteFile>) -> Buffered {
        Buffered { file, bytes: Vec::with_capacity(BUFFER_BYTES) }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(BUFFER_BYTES) {
            if self.bytes.len() + piece.len() > BUFFER_BYTES {
                self.write()?;
            }
            self.bytes.extend_from_slice(piece);
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        self.file.append(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    /// Writes the rest, and makes all of it durable.
    fn end(mut self) -> Result<()> {
        self.write()?;
        if planted!(checkpoint_log_not_synced) { Ok(()) } else { Ok(self.file.sync()?) }
    }
}
