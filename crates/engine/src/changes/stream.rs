//! `Changes`: the stream of what was committed.

use super::begin::Begun;
use super::group::{CommitGroup, operation};
use super::memory::BufferMemory;
use crate::core::Core;
use crate::read::keyspaces::Keyspaces;
use crate::types::error::{Error, Result};
use crate::types::position::{Position, Since};
use crate::wal::group::Group;
use crate::wal::records::{self, Next};
use crate::wal::{DEFAULT_NAME, NextSync, RANGE_BYTES, RangeReader};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tanada_format::{
    Corruption, LogPosition, RecordCursor, RecordFile, RecordSalt, SeqNo, planted,
};

/// What was committed to a database, in the order of the commits, from some place on. Made
/// by [`crate::Db::changes`].
///
/// It shows what survives a power cut and what readers can see, and nothing else: so a
/// change that was shown is never taken back. It does not keep the database open.
///
/// # Memory
/// A buffer of 256 KiB while there is something to read, or of the longest commit that it
/// meets; it is part of the memory budget.
pub struct Changes {
    core: Arc<Core>,
    reader: RangeReader,
    /// The records of a range that were read, and how far they have been shown.
    buffer: Vec<u8>,
    used: usize,
    /// Where the next record begins in its file.
    at: RecordCursor,
    /// What is to be added to a place in that file for one in the stream: wraps.
    shift: u64,
    memory: BufferMemory,
    /// As they were when an unknown one was last met.
    keyspaces: Arc<Keyspaces>,
    /// Behind the last group that was shown.
    position: Position,
    name: String,
}

/// A group that may be shown.
struct Ready {
    payload: Range<usize>,
    /// Where the payload begins in the file.
    payload_at: u64,
    last_seqno: SeqNo,
    /// Behind the record.
    at: RecordCursor,
    used: usize,
}

impl Changes {
    pub(crate) fn new(core: &Arc<Core>, since: Since) -> Result<Changes> {
        let Begun { reader, after } = core.begin_changes(since)?;
        let nowhere = RecordSalt::new(RecordFile::Log, core.reading.database_id, 0);
        let mut changes = Changes {
            position: core.position_of(&reader),
            reader,
            buffer: Vec::new(),
            used: 0,
            at: RecordCursor::new(nowhere, 0, 0),
            shift: 0,
            memory: BufferMemory::new(&core.reading),
            keyspaces: core.reading.keyspaces.load_full(),
            core: Arc::clone(core),
            name: DEFAULT_NAME.to_owned(),
        };
        while let Some(ready) = changes.find()?
            && ready.last_seqno <= after
        {
            changes.pass(ready.at, ready.used);
        }
        Ok(changes)
    }

    /// Gives the consumer a name, which [`crate::WalStats::oldest_consumers`] tells. It is
    /// `"changes"` otherwise.
    #[must_use]
    pub fn named(mut self, name: &str) -> Changes {
        name.clone_into(&mut self.name);
        self.reader.hold().rename(name);
        self
    }

    /// Behind the last group that was shown: where to go on, after a restart too. What was
    /// not dealt with by then is shown again to who goes on at an earlier position.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next group of commits, or none when there is no more for now. Waits for nobody.
    ///
    /// Cost: of those that lie in the buffer none; else one read of a file. Where commits
    /// were not synced for a quarter of a second, or 8 MiB of them, one sync.
    ///
    /// # Errors
    /// [`Error::WindowGone`] when it was so far behind that its logs have been removed.
    /// [`Error::Corruption`] and [`Error::MissingFile`] name the file: nothing is passed
    /// over. [`Error::Poisoned`] behind the last group that was durable before;
    /// [`Error::Closed`] and [`Error::Forked`]. [`Error::MemoryFull`] and [`Error::Io`]: it
    /// can be asked again. After any error it stands where it stood.
    #[allow(clippy::should_implement_trait)] // what it answers borrows from it
    pub fn next(&mut self) -> Result<Option<CommitGroup<'_>>> {
        match self.find_now()? {
            Some(ready) => self.show(ready).map(Some),
            None => Ok(None),
        }
    }

    /// Waits until there is something to be read by [`Changes::next`], no longer than
    /// `timeout`. Answers whether there is.
    ///
    /// # Errors
    /// As [`Changes::next`]: also when the database is closed or poisoned meanwhile.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool> {
        let core = Arc::clone(&self.core);
        let clock = &core.reading.env.clock;
        let (mut left, mut at_once) = (timeout, false);
        loop {
            let heard = core.wal.news().heard();
            if self.find_now()?.is_some() {
                return Ok(true);
            }
            let due = match self.sync(at_once)? {
                NextSync::In(due) => Some(due),
                // It may have been just now.
                NextSync::Done if self.find_now()?.is_some() => return Ok(true),
                NextSync::Done => None,
            };
            if left.is_zero() {
                return Ok(false);
            }
            let nap = due.map_or(left, |due| due.min(left));
            let began_ns = clock.monotonic_ns();
            let has_passed = core.wal.news().wait(heard, Some(nap));
            let slept = Duration::from_nanos(clock.monotonic_ns().saturating_sub(began_ns));
            // The clock of a machine in memory may stand still.
            let slept = if has_passed { slept.max(nap) } else { slept };
            left = left.saturating_sub(slept);
            at_once = due.is_some_and(|due| slept >= due);
        }
    }

    /// A group that may be shown now. Where none is durable, syncs what is to be synced by
    /// now.
    fn find_now(&mut self) -> Result<Option<Ready>> {
        loop {
            // Asked before: what was durable by then is shown.
            let writable = self.core.reading.health.check_committable();
            if let Some(ready) = self.find()? {
                return Ok(Some(ready));
            }
            writable?;
            let before = self.core.wal.synced_position();
            self.sync(false)?;
            if self.core.wal.synced_position() == before {
                return Ok(None);
            }
        }
    }

    fn sync(&self, at_once: bool) -> Result<NextSync> {
        let synced = self.core.wal.sync_for_consumers(at_once);
        synced.map_err(|e| self.core.reading.health.poison(&e))
    }

    /// The next group, if it may be shown; marks are passed over.
    fn find(&mut self) -> Result<Option<Ready>> {
        self.core.reading.health.check_readable()?;
        loop {
            while self.used < self.buffer.len() {
                let mut at = self.at;
                let Next::Record(found) = records::next(&mut at, &self.buffer[self.used..]) else {
                    let what = "a record that was read whole is not whole in memory";
                    return Err(self.corruption(self.at.offset(), what));
                };
                let used = self.used + (at.offset() - self.at.offset()) as usize;
                if !found.is_group {
                    self.pass(at, used);
                    continue;
                }
                let payload_at = self.at.offset() + found.payload_at;
                let begin = self.used + found.payload_at as usize;
                let payload = begin..begin + found.payload.len();
                let group = Group::parse(found.payload)
                    .map_err(|e| self.corruption(payload_at + e.offset as u64, e.what))?;
                let last_seqno = group.last_seqno();
                // It is on its way to the MemTables.
                let is_visible = last_seqno <= self.core.reading.visible();
                if !is_visible && !planted!(change_shown_before_it_can_be_read) {
                    return Ok(None);
                }
                return Ok(Some(Ready { payload, payload_at, last_seqno, at, used }));
            }
            if !self.read_on()? {
                return Ok(None);
            }
        }
    }

    /// The hold was lost. That is no matter where the log goes on from here all the same: all
    /// that was in the logs that went has been shown.
    fn hold_again(&mut self) -> Result<()> {
        let begun = self.core.begin_changes(Since::Position(self.position));
        self.reader = begun.map_err(|e| self.core.why_gone(e))?.reader;
        self.reader.hold().rename(&self.name);
        Ok(())
    }

    /// Reads the next range into the buffer. Answers whether there is one.
    fn read_on(&mut self) -> Result<bool> {
        if self.reader.hold().is_lost() {
            self.hold_again()?;
        }
        if self.buffer.capacity() as u64 > RANGE_BYTES {
            self.buffer = Vec::new();
            self.memory.give_back();
        }
        (self.used, self.shift) = (0, 0);
        let before = self.reader.hold().log();
        let memory = &mut self.memory;
        let read = self.reader.next_range(&mut self.buffer, &mut |bytes| memory.grow_to(bytes));
        if self.reader.hold().log() != before {
            self.core.drop_old_logs();
        }
        let range = match read {
            Ok(Some(range)) => range,
            other => {
                self.buffer.clear();
                // The file may have gone with the hold, in the middle of it.
                return match (self.reader.hold().is_lost(), other) {
                    (true, _) => self.read_on(),
                    (false, Err(e)) => Err(e),
                    (false, Ok(_)) => Ok(false),
                };
            }
        };
        self.at = range.cursor();
        self.shift = range.positions.start.0.wrapping_sub(range.offsets.start);
        // Behind the header of a log that is not the first.
        let is_new_log = range.offsets.start == 256 && range.positions.start.0 > 0;
        if planted!(first_change_of_a_log_skipped) && is_new_log {
            self.used = self.buffer.len();
        }
        let clock = &self.core.reading.env.clock;
        self.reader.hold().come_to(range.positions.start, clock.monotonic_ns());
        Ok(true)
    }

    /// Moves behind a record.
    fn pass(&mut self, at: RecordCursor, used: usize) {
        (self.at, self.used) = (at, used);
        self.position.place = LogPosition(at.offset().wrapping_add(self.shift));
        self.position.chain = at.chain();
    }

    /// Checks each write, and moves behind the group.
    fn show(&mut self, ready: Ready) -> Result<CommitGroup<'_>> {
        let Ready { payload, payload_at, at, used, .. } = ready;
        self.check(&self.buffer[payload.clone()], payload_at)?;
        self.know_keyspaces(&payload, payload_at)?;
        self.pass(at, used);
        let place = self.position.place;
        self.reader.hold().come_to(place, self.core.reading.env.clock.coarse_monotonic_ns());
        let group = Group::parse(&self.buffer[payload]).expect("it was parsed before");
        Ok(CommitGroup { group, keyspaces: &self.keyspaces, position: self.position })
    }

    fn check(&self, payload: &[u8], payload_at: u64) -> Result<()> {
        let damaged = |offset: usize, what| self.corruption(payload_at + offset as u64, what);
        let group = Group::parse(payload).map_err(|e| damaged(e.offset, e.what))?;
        for entry in group.entries() {
            let (_, entry) = entry.map_err(|e| damaged(e.offset, e.what))?;
            if operation(&entry).is_none() {
                let what = format!("a write at offset {payload_at} is of kind {:?}", entry.kind);
                return Err(Error::Unsupported { file: self.reader.path(), what });
            }
        }
        Ok(())
    }

    /// Looks for those that were created meanwhile.
    fn know_keyspaces(&mut self, payload: &Range<usize>, payload_at: u64) -> Result<()> {
        let are_known = |known: &Keyspaces| {
            let group = Group::parse(&self.buffer[payload.clone()]);
            let entries = group.iter().flat_map(Group::entries);
            entries.flatten().all(|(id, _)| known.get(id).is_some())
        };
        if are_known(&self.keyspaces) {
            return Ok(());
        }
        let now = self.core.reading.keyspaces.load_full();
        if !are_known(&now) {
            return Err(self.corruption(payload_at, "it writes to a keyspace that does not exist"));
        }
        self.keyspaces = now;
        Ok(())
    }

    fn corruption(&self, offset: u64, what: &'static str) -> Error {
        Corruption::new(self.reader.path(), offset, what).into()
    }
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let position = self.position.to_string();
        f.debug_struct("Changes").field("position", &position).finish_non_exhaustive()
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.core.let_go_of(self.reader.hold_mut());
    }
}
