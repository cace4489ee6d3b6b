//! Appends records to the log, and goes on in a new file when one is full.

use super::carry::Carried;
use super::handle::{SegmentSizes, Spare, WalHandle};
use super::header::{LOG_HEADER_LEN, LogHeader, LogOwner};
use super::segment::{Tail, kind, log_path};
use crate::types::error::{Error, Result};
use std::path::{Path, PathBuf};
use tanada_format::{
    LogId, LogPosition, MAX_RECORD_LEN, RecordCursor, SHORT_PAYLOAD_END, planted, record_len,
    record_padding,
};
use tanada_vfs::{Env, LogFile};

/// Records up to this size are put together before they are appended: one copy
/// more is cheaper than several calls, where an append is a system call by far.
const SCRATCH_BYTES: usize = 16 << 10;

/// In each of these parts of a file the first record names how far the log is
/// synced, and has a frame that can be verified on its own: where a power cut tears
/// the tail, or damage the middle, what is left tells the two apart.
const WITNESS_BYTES: u64 = 4096;

/// A first log is not made smaller than this, in bytes: thousands of deletes.
const LEAST_BYTES: u64 = 64 << 10;

/// Room that every record leaves behind it, so that a mark always fits.
pub(super) const MARK_BYTES: u64 = record_len(0);

/// The one writer of a database's log.
///
/// Invariants:
/// 1. The file holds exactly `cursor.offset()` bytes, and the byte there stands
///    at `position()` in the stream.
/// 2. `named <= handle.synced_position() <= position()`, and `written <= position()`.
/// 3. After a failed append or sync, nothing is appended or synced any more.
#[derive(Debug)]
pub(crate) struct WalWriter {
    owner: LogOwner,
    handle: WalHandle,
    id: LogId,
    file: Box<dyn LogFile>,
    cursor: RecordCursor,
    /// The position behind the last record, as the handle has it.
    position: LogPosition,
    /// The position behind the last record that is no mark.
    written: LogPosition,
    /// The highest position that a record or header has named as synced.
    named: LogPosition,
    /// Where the last full frame of this file begins.
    full_at: u64,
    /// Whether a successor of this file has been asked for.
    asked: bool,
    scratch: Vec<u8>,
    /// Files that the first log of this writer has made useless.
    superseded: Vec<(PathBuf, u64)>,
}

impl WalWriter {
    /// Goes on behind `tail` in a new log file; never in an old one, behind whose
    /// last record anything may lie. Records that may not be durable are written
    /// again, into the new log, at their old positions. On return all of it is
    /// durable, and its name.
    ///
    /// Costs a sync of the new log and one of the directory, and to read and
    /// write what had not been synced.
    ///
    /// # Errors
    /// `Io`. The old logs are as they were, and the new one is without effect:
    /// it gets its name when it is whole.
    pub(crate) fn create(
        env: &Env,
        dir: &Path,
        owner: impl Into<LogOwner>,
        tail: &Tail,
        sizes: SegmentSizes,
    ) -> Result<WalWriter> {
        let owner @ LogOwner { database, epoch } = owner.into();
        let mut carried = Carried::find(env, dir, database, tail)?;
        let handle = WalHandle::new(env, dir, tail, sizes);
        let id = handle.new_id();
        let path = log_path(dir, id);
        let unfinished = path.with_extension("log.tmp");
        if !planted!(leftover_temp_blocks_open) && env.fs.exists(&unfinished)? {
            env.fs.remove(&unfinished)?; // an earlier opening was cut short
        }
        let carried_bytes = (tail.position.0 - tail.synced.0).next_multiple_of(4096);
        let capacity = sizes.min_bytes + carried_bytes;
        // On a full disk a database must open, or nobody could delete anything in it.
        let least = (carried_bytes + LEAST_BYTES).min(capacity);
        let mut file = create_fitting(env, &unfinished, capacity, least)?;
        let header = LogHeader {
            database,
            epoch,
            id,
            base: tail.synced,
            predecessor: tail.predecessor,
            synced: tail.synced,
            chain: carried.chain,
            capacity: file.capacity(),
            length_durable: true, // before anybody sees its name
        };
        file.append(&header.encode())?;
        let mut cursor = RecordCursor::new(header.salt(), LOG_HEADER_LEN, header.chain);
        carried.write(&mut *file, &mut cursor)?;
        assert_eq!(
            (header.position(cursor.offset()), cursor.chain()),
            (tail.position, tail.chain),
            "the records carried over are those that recovery read"
        );
        file.sync()?;
        env.fs.rename(&unfinished, &path)?;
        env.fs.sync_dir(dir)?;
        handle.started(id, &*file, true);
        handle.began_durably(tail.position);
        let mut writer = WalWriter {
            owner,
            handle,
            id,
            file,
            cursor,
            position: tail.position,
            written: tail.position,
            named: tail.synced,
            full_at: 0,
            asked: false,
            scratch: Vec::new(),
            superseded: tail
                .superseded()
                .map(|segment| (log_path(dir, segment.id), segment.bytes))
                .collect(),
        };
        // Or the next opening would carry the same records over again.
        writer.mark()?;
        Ok(writer)
    }

    /// Appends one commit group, all of `parts` behind each other, and answers
    /// the position behind it. On return the group survives the death of the
    /// process, not a power cut. Starts a new log when this one is full.
    ///
    /// Costs one pass for the checksum and one copy, two when it is small; a new
    /// log costs a new file unless one has been prepared.
    ///
    /// # Errors
    /// `InvalidArgument` for a group over the limit, and `Io` when no new log
    /// could be created (a full disk, say): nothing was appended, and the
    /// writer may be used again. Any other failure poisons the log.
    pub(crate) fn append(&mut self, parts: &[&[u8]]) -> Result<LogPosition> {
        self.handle.check()?;
        let len = parts.iter().map(|part| part.len()).sum();
        if len > MAX_RECORD_LEN {
            return Err(Error::InvalidArgument(format!(
                "a commit group of {len} bytes is over the limit of {MAX_RECORD_LEN}"
            )));
        }
        let needed = record_len(len as u64) + MARK_BYTES;
        if needed > self.file.capacity() - self.cursor.offset() {
            self.rotate(needed)?;
        }
        self.write(kind::GROUP, parts, len)?;
        self.written = self.position;
        if !self.asked && self.cursor.offset() > self.file.capacity() / 8 {
            self.asked = true;
            self.handle.want_next();
        }
        Ok(self.position)
    }

    /// Makes everything appended durable, then marks it so in the log. See
    /// [`WalHandle::sync_up_to`].
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.handle.commit_syncs();
        self.handle.sync_up_to(self.written)?;
        self.mark()
    }

    /// Writes down, behind the last record, that it has been synced, unless a
    /// later one says so already. Without it, damage to the last records before
    /// a quiet time could not be told from a torn tail. No sync: should the mark
    /// get lost, nothing else is.
    fn mark(&mut self) -> Result<()> {
        let synced = self.handle.synced_position();
        if self.named < self.written && self.written <= synced {
            debug_assert!(MARK_BYTES <= self.file.capacity() - self.cursor.offset());
            self.write(kind::MARK, &[], 0)?;
        }
        Ok(())
    }

    /// Makes everything durable, the mark included: for the end of a database's
    /// life, when no later record will say what the mark does.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.sync()?;
        self.handle.sync_up_to(self.position)
    }

    /// The position behind the last record: where the next one begins.
    pub(crate) fn position(&self) -> LogPosition {
        self.position
    }

    /// The position behind the last commit.
    #[inline]
    pub(crate) fn written(&self) -> LogPosition {
        self.written
    }

    /// The chained checksum there: a mark behind it does not change it.
    pub(crate) fn chain(&self) -> u32 {
        self.cursor.chain()
    }

    /// The log being written.
    pub(crate) fn current_log(&self) -> LogId {
        self.id
    }

    /// For other threads.
    pub(crate) fn handle(&self) -> &WalHandle {
        &self.handle
    }

    /// As [`WalHandle::take_before`], without sizes.
    #[cfg(test)]
    pub(crate) fn take_before(&mut self, id: LogId) -> Vec<PathBuf> {
        self.handle.take_before(id).into_iter().map(|(path, _)| path).collect()
    }

    /// Hands out, once, the paths and sizes of logs that no recovery reads any more, though they
    /// lie behind the oldest needed: blank ones, those that hold nothing, and those of
    /// which this writer's first log holds all records. They may be removed at once and
    /// without a sync of the directory: the first log is durable, names the log before
    /// them as the one it follows, and has a higher id than any of them.
    pub(crate) fn take_superseded(&mut self) -> Vec<(PathBuf, u64)> {
        std::mem::take(&mut self.superseded)
    }

    /// Goes on in a new log, as small as the first, and gives up the one that was
    /// prepared: for who is about to flush everything, so that what is reserved for
    /// logs goes with what is in them. Does nothing in a log that is small itself.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub(crate) fn begin_anew(&mut self) -> Result<()> {
        self.handle.check()?;
        let next = match self.file.capacity() > self.handle.smallest_capacity() {
            true => self.handle.smallest_file()?,
            false => return Ok(()),
        };
        self.go_on_in(next)
    }

    /// As [`WalWriter::begin_anew`] in a log of whatever size, unless it holds nothing: for
    /// who wants nothing that was written to stay in a log.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub(crate) fn leave_log(&mut self) -> Result<()> {
        self.handle.check()?;
        match self.cursor.offset() > LOG_HEADER_LEN {
            true => self.handle.smallest_file().and_then(|next| self.go_on_in(next)),
            false => Ok(()),
        }
    }

    /// Goes on in a new file with room for a record of `needed` bytes.
    fn rotate(&mut self, needed: u64) -> Result<()> {
        let needed = (LOG_HEADER_LEN + needed).next_multiple_of(4096);
        let next = self.handle.next_file(needed)?;
        self.go_on_in(next)
    }

    fn go_on_in(&mut self, mut next: Spare) -> Result<()> {
        let synced = self.handle.synced_position();
        let header = LogHeader {
            database: self.owner.database,
            epoch: self.owner.epoch,
            id: next.id,
            base: self.position,
            predecessor: Some(self.id),
            synced,
            chain: self.cursor.chain(),
            capacity: next.file.capacity(),
            length_durable: next.durable,
        };
        next.file.append(&header.encode()).map_err(|e| self.handle.poison(e))?;
        self.handle.started(next.id, &*next.file, next.durable);
        self.cursor = RecordCursor::new(header.salt(), LOG_HEADER_LEN, self.cursor.chain());
        self.named = synced;
        self.full_at = 0;
        self.asked = false;
        self.id = next.id;
        // The handle's syncer keeps the old file open until it is synced.
        self.file = next.file;
        Ok(())
    }

    #[inline]
    fn write(&mut self, kind: u16, parts: &[&[u8]], len: usize) -> Result<()> {
        let synced = self.handle.synced_position();
        let at = self.cursor.offset();
        let has_witness = at / WITNESS_BYTES == self.full_at / WITNESS_BYTES;
        let says_nothing_new = kind == kind::GROUP && self.named == synced;
        let written = if says_nothing_new && has_witness && len < SHORT_PAYLOAD_END {
            let frame = self.cursor.write_short(kind, parts);
            self.write_parts(&frame, parts, len)
        } else {
            self.full_at = at;
            let frame = self.cursor.write(kind, synced.0, parts);
            self.write_parts(&frame, parts, len)
        };
        written.map_err(|e| self.handle.poison(e))?;
        // In release too: a frame that is bound to another offset could not be read back.
        assert_eq!(self.file.len(), self.cursor.offset(), "the file holds what was appended");
        self.named = synced;
        self.position = LogPosition(self.position.0 + self.cursor.offset() - at);
        self.handle.appended(self.position);
        Ok(())
    }

    fn write_parts(&mut self, frame: &[u8], parts: &[&[u8]], len: usize) -> std::io::Result<()> {
        if len > SCRATCH_BYTES {
            self.file.append(frame)?;
            for part in parts {
                self.file.append(part)?;
            }
            return self.file.append(record_padding(len));
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(frame);
        for part in parts {
            self.scratch.extend_from_slice(part);
        }
        self.scratch.extend_from_slice(record_padding(len));
        self.file.append(&self.scratch)
    }
}

/// A file of `wanted` bytes, or of a half, a quarter and so on where the disk has no room
/// for that, `least` at least.
fn create_fitting(env: &Env, path: &Path, wanted: u64, least: u64) -> Result<Box<dyn LogFile>> {
    let mut capacity = wanted;
    loop {
        match env.fs.create_log(path, capacity) {
            Err(e) if tanada_vfs::is_disk_full(&e) && capacity > least => {
                capacity = (capacity / 2).max(least);
            }
            created => return Ok(created?),
        }
    }
}
