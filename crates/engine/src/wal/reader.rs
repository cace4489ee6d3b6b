//! Reads one log file: its header, its records in order, and what may still be
//! recognised behind a place where the order ends.
//!
//! Reads through a window, so memory is bounded by the largest record; between two
//! walks a reader holds neither the window nor the file, for there may be many logs.

use super::header::{LOG_HEADER_LEN, LogHeader, LogOwner, Parsed};
use super::segment::{kind, log_path};
use crate::types::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tanada_format::{
    Corruption, LogId, LogPosition, MAX_RECORD_LEN, RECORD_ALIGN, RECORD_FRAME_LEN, RecordCursor,
    RecordFrame, RecordSalt, SHORT_FRAME_LEN, ShortFrame, WriterEpoch,
};
use tanada_vfs::{Env, ReadFile};

/// Bytes read at once.
const WINDOW_BYTES: u64 = 512 << 10;

/// A scan goes on by as many: a frame that begins in them lies in the window, whole.
const SCAN_STEP: u64 = WINDOW_BYTES - RECORD_FRAME_LEN as u64;
const _: () = assert!(SCAN_STEP.is_multiple_of(RECORD_ALIGN));

/// A log file opened for reading.
#[derive(Debug)]
pub(super) struct LogReader {
    pub(super) id: LogId,
    pub(super) path: PathBuf,
    pub(super) len: u64,
    pub(super) parsed: Parsed,
    owner: LogOwner,
    /// Epochs in which it may have been begun, should its header not say.
    pub(super) likely: Vec<WriterEpoch>,
    env: Env,
    /// There while a walk or a scan reads.
    file: Option<Arc<dyn ReadFile>>,
    window: Vec<u8>,
    window_start: u64,
}

/// What is said of a log whose chained checksum is not that of the one before.
pub(super) const OTHER_RECORDS: &str =
    "the log was written behind other records than those before it";

/// Where a record lies, and of what kind it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordPlace<'a> {
    pub file: &'a Path,
    /// Where the payload begins in the file.
    pub offset: u64,
    /// Where the record begins in the stream.
    pub start: LogPosition,
    /// Where the next one begins.
    pub end: LogPosition,
    /// What the payload is.
    pub(super) kind: u16,
}

impl RecordPlace<'_> {
    /// Whether the payload is a commit group; else it is a mark, of no bytes.
    pub(crate) fn is_group(&self) -> bool {
        self.kind == kind::GROUP
    }

    /// Damage at byte `at` of the payload.
    pub(crate) fn corruption(&self, at: usize, what: &'static str) -> Error {
        Corruption::new(self.file, self.offset + at as u64, what).into()
    }

    /// The record holds what only a later version knows.
    pub(crate) fn unsupported(&self, what: String) -> Error {
        Error::Unsupported { file: self.file.into(), what }
    }
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug)]
enum Frame {
    Full(RecordFrame),
    Short(ShortFrame),
}

impl Frame {
    fn len(&self) -> u64 {
        match self {
            Frame::Full(_) => RECORD_FRAME_LEN as u64,
            Frame::Short(_) => SHORT_FRAME_LEN as u64,
        }
    }

    fn payload_len(&self) -> u64 {
        match self {
            Frame::Full(full) => u64::from(full.payload_len),
            Frame::Short(short) => u64::from(short.payload_len()),
        }
    }

    fn kind(&self) -> u16 {
        match self {
            Frame::Full(full) => full.kind,
            Frame::Short(short) => short.kind(),
        }
    }

    fn synced(&self) -> Option<LogPosition> {
        match self {
            Frame::Full(full) => Some(LogPosition(full.synced)),
            Frame::Short(_) => None,
        }
    }
}

/// Where the valid records of a log end.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// In the file.
    pub(super) offset: u64,
    /// In the stream.
    pub(super) position: LogPosition,
    /// The chained checksum there.
    pub(super) chain: u32,
    /// The highest position that a record before named as synced.
    pub(super) named: LogPosition,
}

/// What a scan found behind a log's end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Remains {
    /// The highest position that a valid frame names as synced.
    pub(super) named: Option<LogPosition>,
    /// Whether anything but zeros is there.
    pub(super) nonzero: bool,
}

impl LogReader {
    /// Opens the log and reads its header.
    ///
    /// # Errors
    /// See [`LogHeader::parse`]; and `Io`.
    pub(super) fn open(
        env: &Env,
        dir: &Path,
        owner: impl Into<LogOwner>,
        id: LogId,
    ) -> Result<LogReader> {
        let owner = owner.into();
        let path = log_path(dir, id);
        let file = env.fs.open(&path)?;
        let mut header = vec![0; file.len().min(LOG_HEADER_LEN) as usize];
        file.read_exact_at(&mut header, 0)?;
        let parsed = LogHeader::parse(&header, &path, owner.database, id)?;
        let (len, env) = (file.len(), env.clone());
        let (window, window_start) = (Vec::new(), 0);
        let (likely, file) = (vec![owner.epoch], None);
        Ok(LogReader { id, path, len, parsed, owner, likely, env, file, window, window_start })
    }

    pub(super) fn header(&self) -> Option<&LogHeader> {
        match &self.parsed {
            Parsed::Header(header) => Some(header),
            Parsed::Blank | Parsed::Unreadable => None,
        }
    }

    /// The header of a log that cannot be done without.
    pub(super) fn needed_header(&self) -> Result<LogHeader> {
        let header = self.header().copied();
        header.ok_or_else(|| self.corruption(0, "the header of a needed log is damaged"))
    }

    pub(super) fn corruption(&self, offset: u64, what: impl Into<String>) -> Error {
        Corruption::new(&self.path, offset, what.into()).into()
    }

    /// An error when the file is shorter than it was made, durably.
    pub(super) fn check_length(&self) -> Result<()> {
        match self.header() {
            Some(header) if header.length_durable && self.len < header.capacity => {
                Err(self.was_cut(header.capacity))
            }
            _ => Ok(()),
        }
    }

    /// What is said of a file that is shorter than the `capacity` it was made with.
    pub(super) fn was_cut(&self, capacity: u64) -> Error {
        let what = format!("the file was cut: {capacity} bytes had been reserved for it");
        self.corruption(self.len, what)
    }

    /// What is said of a log that does not hold all that it did.
    pub(super) fn ends_early(&self, offset: u64) -> Error {
        self.corruption(offset, "the log ends before records that it held")
    }

    /// Visits the records in order, marks too, up to the first place where no valid
    /// one follows, or up to `limit`, where the next log says that it begins.
    ///
    /// # Errors
    /// `Unsupported` for a record of an unknown kind; `Corruption` when records
    /// and `limit` contradict each other; what `visit` answers; `Io`.
    pub(super) fn walk(
        &mut self,
        header: &LogHeader,
        limit: Option<LogPosition>,
        visit: &mut dyn FnMut(RecordPlace<'_>, &[u8]) -> Result<()>,
    ) -> Result<End> {
        let (offset, position) = (LOG_HEADER_LEN, header.position(LOG_HEADER_LEN));
        let from = End { offset, position, chain: header.chain, named: header.synced };
        let end = self.walk_on(header, &from, limit, visit);
        self.release();
        end
    }

    /// Whether a record stands now where there was none before.
    ///
    /// # Errors
    /// As [`LogReader::walk`].
    pub(super) fn has_record_at(&mut self, header: &LogHeader, end: &End) -> Result<bool> {
        self.release();
        let mut found = false;
        let walked = self.walk_on(header, end, None, &mut |_, _| {
            found = true;
            Err(Error::Closed)
        });
        self.release();
        match walked {
            Err(e) if !found => Err(e),
            _ => Ok(found),
        }
    }

    fn walk_on(
        &mut self,
        header: &LogHeader,
        from: &End,
        limit: Option<LogPosition>,
        visit: &mut dyn FnMut(RecordPlace<'_>, &[u8]) -> Result<()>,
    ) -> Result<End> {
        let mut at = RecordCursor::new(header.salt(), from.offset, from.chain);
        let mut named = from.named;
        let path = self.path.clone();
        loop {
            let (offset, start) = (at.offset(), header.position(at.offset()));
            let end = End { offset, position: start, chain: at.chain(), named };
            if Some(start) == limit {
                return Ok(end);
            }
            let head = self.bytes(offset, RECORD_FRAME_LEN as u64)?;
            let frame = match ShortFrame::decode(head) {
                Some(short) => Frame::Short(short),
                None => match at.frame(head) {
                    Some(full) => Frame::Full(full),
                    None => return Ok(end),
                },
            };
            let (payload_at, payload_len) = (offset + frame.len(), frame.payload_len());
            if payload_len > MAX_RECORD_LEN as u64
                || frame.synced().is_some_and(|synced| synced > start)
            {
                return Ok(end);
            }
            // A full frame has been verified, a short one will be with its payload.
            if let Frame::Full(full) = &frame {
                self.check_known(offset, full.kind, full.flags)?;
            }
            // Shorter where the file ends, and then not accepted.
            let payload = self.bytes(payload_at, payload_len)?;
            let accepted = match &frame {
                Frame::Short(short) => at.accept_short(short, payload),
                Frame::Full(full) => at.accept(full, payload),
            };
            if !accepted {
                return Ok(end);
            }
            self.check_known(offset, frame.kind(), 0)?;
            let place = RecordPlace {
                file: &path,
                offset: payload_at,
                start,
                end: header.position(at.offset()),
                kind: frame.kind(),
            };
            if limit.is_some_and(|limit| place.end > limit) {
                let what = "a record reaches over the place where the next log begins";
                return Err(self.corruption(offset, what));
            }
            named = frame.synced().map_or(named, |synced| named.max(synced));
            visit(place, self.bytes(payload_at, payload_len)?)?;
        }
    }

    /// Refuses records that only a later version knows.
    fn check_known(&self, offset: u64, kind: u16, flags: u16) -> Result<()> {
        if flags == 0 && matches!(kind, kind::GROUP | kind::MARK) {
            return Ok(());
        }
        let what = format!("the record at offset {offset} has kind {kind}, flags {flags:#x}");
        Err(Error::Unsupported { file: self.path.clone(), what })
    }

    /// Looks for valid frames at every possible place from `offset` on.
    pub(super) fn scan(&mut self, offset: u64) -> Result<Remains> {
        let of_epoch = |epoch: &WriterEpoch| LogOwner { epoch: *epoch, ..self.owner }.salt(self.id);
        let salts: Vec<RecordSalt> = match self.header() {
            Some(header) => vec![header.salt()],
            None => self.likely.iter().map(of_epoch).collect(),
        };
        let mut remains = Remains::default();
        let mut at = offset;
        while at < self.len {
            let chunk = self.bytes(at, WINDOW_BYTES)?;
            let step = SCAN_STEP.min(chunk.len() as u64);
            if chunk.iter().any(|&b| b != 0) {
                remains.nonzero = true;
                for n in (0..step as usize).step_by(RECORD_ALIGN as usize) {
                    let bytes = &chunk[n..];
                    for salt in &salts {
                        let named = synced_named_by(bytes, *salt, at + n as u64);
                        remains.named = remains.named.max(named);
                    }
                }
            }
            at += step;
        }
        self.release();
        Ok(remains)
    }

    /// Gives back what reading took.
    fn release(&mut self) {
        self.file = None;
        self.window = Vec::new();
    }

    /// The bytes from `offset`: `len` of them, or those up to the file's end.
    fn bytes(&mut self, offset: u64, len: u64) -> Result<&[u8]> {
        let len = len.min(self.len.saturating_sub(offset));
        if len == 0 {
            return Ok(&[]);
        }
        let window_end = self.window_start + self.window.len() as u64;
        let held = self.window_start <= offset && offset + len <= window_end;
        if !held {
            let read = len.max(WINDOW_BYTES).min(self.len - offset);
            let file = match &self.file {
                Some(file) => file,
                None => self.file.insert(self.env.fs.open(&self.path)?),
            };
            self.window.clear();
            self.window.resize(read as usize, 0);
            self.window_start = offset;
            file.read_exact_at(&mut self.window, offset)?;
        }
        let from = (offset - self.window_start) as usize;
        Ok(&self.window[from..from + len as usize])
    }
}

/// The position that the frame in `bytes` names as synced, if there is a valid one.
fn synced_named_by(bytes: &[u8], salt: RecordSalt, offset: u64) -> Option<LogPosition> {
    // Kind and flags first: they settle nearly all places without a checksum.
    let kind_and_flags = bytes.get(12..16)?;
    if kind_and_flags != [kind::GROUP as u8, 0, 0, 0]
        && kind_and_flags != [kind::MARK as u8, 0, 0, 0]
    {
        return None;
    }
    RecordFrame::decode(bytes, salt, offset).map(|frame| LogPosition(frame.synced))
}
