//! Reads what of the log is durable, a range of one file at a time: for those who follow
//! what is written, and for those who ship it.
//!
//! A range holds whole records, each checked: the bytes are as they were written, and lie
//! behind those that the reader has had before. Frames are bound to their file and offset,
//! so a range is of one file, and its bytes can be stored and checked elsewhere under the
//! name of that file. Nothing is read that a power cut could still take.
//!
//! Knows what a commit group is only as far as its sequence numbers.

use super::group::Group;
use super::handle::{LogHold, WalHandle};
use super::header::{LOG_HEADER_LEN, LogHeader};
use super::reader::{LogReader, OTHER_RECORDS};
use super::records::{self, Next};
use super::segment::{Segment, log_path};
use super::writer::MARK_BYTES;
use crate::types::error::{Error, Result};
use std::io::ErrorKind;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use tanada_format::{
    Corruption, DatabaseId, LogId, LogPosition, RecordCursor, RecordSalt, SeqNo, planted,
};
use tanada_vfs::Env;

/// Bytes that a range has at most, unless its first record is longer.
pub(crate) const RANGE_BYTES: u64 = 256 << 10;

/// Each opening behind an unclean end writes one mark more; so many are passed over where
/// the log that held them is gone.
const MOST_MARKS: u64 = 64;

/// Whole records of one log file, all of them durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRange {
    /// The log.
    pub(crate) log: LogId,
    /// Where they lie in its file.
    pub(crate) offsets: Range<u64>,
    /// Where they lie in the stream.
    pub(crate) positions: Range<LogPosition>,
    /// Of the first write and of the last; none in a range of marks.
    pub(crate) seqnos: Option<RangeInclusive<SeqNo>>,
    /// The chained checksum where it begins.
    chain: u32,
    salt: RecordSalt,
}

impl LogRange {
    /// Before its first record.
    pub(crate) fn cursor(&self) -> RecordCursor {
        RecordCursor::new(self.salt, self.offsets.start, self.chain)
    }
}

/// Where the log lies.
#[derive(Clone, Debug)]
pub(crate) struct LogDir {
    pub(crate) env: Env,
    pub(crate) dir: PathBuf,
    pub(crate) database: DatabaseId,
}

/// Reads ranges in order, from some place on. It holds the log that it reads.
#[derive(Debug)]
pub(crate) struct RangeReader {
    place: LogDir,
    handle: WalHandle,
    hold: LogHold,
    header: LogHeader,
    /// Behind what it has read.
    at: RecordCursor,
}

/// What became of a look for the next range.
enum Read {
    Range(LogRange),
    /// There is no more that is durable, or no more before the limit.
    Nothing,
    /// A record reaches over the limit.
    Over,
}

impl RangeReader {
    /// Before the first record of the log `segment`, which `hold` keeps. One small read.
    ///
    /// # Errors
    /// `Corruption` and `MissingFile`; `Io`.
    pub(crate) fn at_start(
        place: LogDir,
        handle: WalHandle,
        hold: LogHold,
        segment: &Segment,
    ) -> Result<RangeReader> {
        let header = open_log(&place, segment.id)?;
        let at = RecordCursor::new(header.salt(), LOG_HEADER_LEN, header.chain);
        Ok(RangeReader { place, handle, hold, header, at })
    }

    /// Behind what it has read.
    pub(crate) fn position(&self) -> LogPosition {
        self.header.position(self.at.offset())
    }

    /// The chained checksum there.
    pub(crate) fn chain(&self) -> u32 {
        self.at.chain()
    }

    /// What keeps its log.
    pub(crate) fn hold(&self) -> &LogHold {
        &self.hold
    }

    /// As [`RangeReader::hold`], to be changed.
    pub(crate) fn hold_mut(&mut self) -> &mut LogHold {
        &mut self.hold
    }

    /// Ends with what keeps its log.
    pub(crate) fn into_hold(self) -> LogHold {
        self.hold
    }

    /// The file that it reads.
    pub(crate) fn path(&self) -> PathBuf {
        log_path(&self.place.dir, self.header.id)
    }

    /// The next range, its bytes in `buffer`, which grows by `grow`; none when nothing more
    /// is durable. One read; where it goes on to another file, one more.
    ///
    /// # Errors
    /// `Corruption` for bytes that are not what was written, `MissingFile`, `Unsupported`,
    /// `Io`, what `grow` answers: it stays where it is, and may be asked again.
    pub(crate) fn next_range(
        &mut self,
        buffer: &mut Vec<u8>,
        grow: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Option<LogRange>> {
        match self.read(LogPosition(u64::MAX), buffer, grow)? {
            Read::Range(range) => Ok(Some(range)),
            Read::Nothing | Read::Over => Ok(None),
        }
    }

    /// Goes on to `position`, which is durable and behind it. Answers whether a record
    /// begins there, or would. Costs reading what lies between.
    ///
    /// # Errors
    /// As [`RangeReader::next_range`].
    pub(crate) fn skip_to(
        &mut self,
        position: LogPosition,
        buffer: &mut Vec<u8>,
        grow: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<bool> {
        while self.position() < position {
            match self.read(position, buffer, grow)? {
                Read::Range(_) => {}
                Read::Nothing => return Ok(false),
                Read::Over => {
                    // Unless it is damage.
                    self.read(LogPosition(u64::MAX), buffer, grow)?;
                    return Ok(false);
                }
            }
        }
        Ok(self.position() == position)
    }

    /// Whether nothing was committed between `position`, where the chained checksum was
    /// `chain`, and the beginning of this log, which it stands at. Marks may lie between:
    /// they have no payload, and so the checksum is the same behind them.
    pub(crate) fn goes_on_from(&self, position: LogPosition, chain: u32) -> bool {
        let between = self.position().0.saturating_sub(position.0);
        between.is_multiple_of(MARK_BYTES)
            && between <= MOST_MARKS * MARK_BYTES
            && chain == self.chain()
    }

    /// Goes on at `position` of this log, where the chained checksum is `chain`.
    pub(crate) fn go_to(&mut self, position: LogPosition, chain: u32) {
        let offset = LOG_HEADER_LEN + (position.0 - self.header.base.0);
        self.at = RecordCursor::new(self.header.salt(), offset, chain);
    }

    fn read(
        &mut self,
        limit: LogPosition,
        buffer: &mut Vec<u8>,
        grow: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Read> {
        let start = self.position();
        let durable = match planted!(unsynced_changes_shown) {
            true => self.handle.position(),
            false => self.handle.synced_position(),
        };
        let Some(segment) = self.handle.segment_at(start) else {
            return Err(self.corruption(0, "the log was removed while it was read"));
        };
        let end = durable.min(segment.end).min(limit);
        if end <= start {
            // What it has read to its end it needs no more, though nothing lies behind yet.
            self.hold.move_to(segment.id);
            return Ok(Read::Nothing);
        }
        self.go_on_in(&segment)?;
        let left = end.0 - start.0;
        let mut wanted = left.min(RANGE_BYTES);
        loop {
            if wanted > buffer.capacity() as u64 {
                grow(wanted)?;
            }
            self.fill(buffer, wanted)?;
            match self.check(buffer)? {
                Checked::Range(range) => {
                    self.at = range.1;
                    return Ok(Read::Range(range.0));
                }
                Checked::Needs(needs) if needs <= left => wanted = needs,
                Checked::Needs(_) if end == limit => return Ok(Read::Over),
                Checked::Needs(_) => {
                    let what = "no valid record follows, but more bytes of records had been synced";
                    return Err(self.corruption(self.at.offset(), what));
                }
            }
        }
    }

    /// Moves into the log `segment`, if that is another one.
    fn go_on_in(&mut self, segment: &Segment) -> Result<()> {
        if segment.id == self.header.id {
            return Ok(());
        }
        let next = open_log(&self.place, segment.id)?;
        let (position, chain) = (self.position(), self.at.chain());
        let path = log_path(&self.place.dir, segment.id);
        if next.base != position {
            let what = "the log does not go on where the one before ends";
            return Err(Corruption::new(path, 56, what).into());
        }
        if next.chain != chain {
            return Err(Corruption::new(path, 80, OTHER_RECORDS).into());
        }
        self.header = next;
        self.at = RecordCursor::new(next.salt(), LOG_HEADER_LEN, chain);
        self.hold.move_to(segment.id);
        Ok(())
    }

    /// Reads `len` bytes behind what has been read.
    fn fill(&self, buffer: &mut Vec<u8>, len: u64) -> Result<()> {
        let file = open_file(&self.place, self.header.id)?;
        let offset = self.at.offset();
        if file.len() < offset + len {
            let what = format!(
                "the file was cut: {} bytes had been reserved for it",
                self.header.capacity
            );
            return Err(self.corruption(file.len(), what));
        }
        buffer.clear();
        buffer.reserve_exact(len as usize);
        buffer.resize(len as usize, 0);
        Ok(file.read_exact_at(buffer, offset)?)
    }

    /// Checks the records in `buffer`, and cuts off what is not whole.
    fn check(&self, buffer: &mut Vec<u8>) -> Result<Checked> {
        let (mut at, begin) = (self.at, self.at.offset());
        let mut seqnos: Option<RangeInclusive<SeqNo>> = None;
        let mut used = 0;
        while used < buffer.len() {
            let offset = at.offset();
            match records::next(&mut at, &buffer[used..]) {
                Next::Record(found) if found.is_group => {
                    let payload_at = offset + found.payload_at;
                    let group = Group::parse(found.payload)
                        .map_err(|e| self.corruption(payload_at + e.offset as u64, e.what))?;
                    let first = seqnos.map_or(group.first_seqno, |seqnos| *seqnos.start());
                    seqnos = Some(first..=group.last_seqno());
                }
                Next::Record(_) => {}
                Next::Needs(needs) if used == 0 => return Ok(Checked::Needs(needs)),
                Next::Needs(_) => break,
                Next::Invalid => {
                    let what = "no valid record follows, but more bytes of records had been synced";
                    return Err(self.corruption(offset, what));
                }
                Next::Unknown { kind, flags } => {
                    let what =
                        format!("the record at offset {offset} has kind {kind}, flags {flags:#x}");
                    return Err(Error::Unsupported { file: self.path(), what });
                }
            }
            used = (at.offset() - begin) as usize;
        }
        buffer.truncate(used);
        let range = LogRange {
            log: self.header.id,
            offsets: begin..at.offset(),
            positions: self.header.position(begin)..self.header.position(at.offset()),
            seqnos,
            chain: self.at.chain(),
            salt: self.at.salt(),
        };
        Ok(Checked::Range((range, at)))
    }

    fn corruption(&self, offset: u64, what: impl Into<String>) -> Error {
        Corruption::new(self.path(), offset, what.into()).into()
    }
}

enum Checked {
    /// And the end of it.
    Range((LogRange, RecordCursor)),
    /// The first record is longer.
    Needs(u64),
}

/// The header of a log that is there.
fn open_log(place: &LogDir, id: LogId) -> Result<LogHeader> {
    let LogDir { env, dir, database } = place;
    let log = LogReader::open(env, dir, *database, id).map_err(|e| missing(e, dir, id))?;
    log.needed_header()
}

fn open_file(place: &LogDir, id: LogId) -> Result<std::sync::Arc<dyn tanada_vfs::ReadFile>> {
    let path = log_path(&place.dir, id);
    // Opened for each range: who follows needs no descriptor while nothing is written, and
    // where none is free a table gives up its own.
    place.env.fs.open(&path).map_err(|e| missing(e.into(), &place.dir, id))
}

fn missing(e: Error, dir: &Path, id: LogId) -> Error {
    match e {
        Error::Io(e) if e.kind() == ErrorKind::NotFound => {
            Error::MissingFile { file: log_path(dir, id) }
        }
        e => e,
    }
}
