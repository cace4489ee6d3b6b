//! Where a stream begins: from what a caller asks for to a place in the log, or to the word
//! that it is gone.

use super::memory::BufferMemory;
use crate::core::Core;
use crate::types::error::{Error, Result};
use crate::types::position::{Position, Since};
use crate::wal::{LogDir, LogHold, RangeReader, Segment};
use tanada_format::{LogPosition, SeqNo, planted};

/// Where the log ends, as it was between two commits.
#[derive(Clone, Copy)]
struct End {
    /// Behind the last commit.
    written: LogPosition,
    /// The chained checksum there.
    chain: u32,
    /// The newest write.
    visible: SeqNo,
}

/// A reader where the stream begins; it may have to pass over commits first.
pub(super) struct Begun {
    pub(super) reader: RangeReader,
    /// Commits that end with this write or an earlier one are not shown.
    pub(super) after: SeqNo,
}

impl Core {
    /// Begins to follow, and holds the log from there on.
    ///
    /// # Errors
    /// As [`crate::Db::changes`].
    pub(super) fn begin_changes(&self, since: Since) -> Result<Begun> {
        self.reading.health.check_readable()?;
        let (everything, oldest, end) = {
            // Under the writer's lock each commit has ended, or will see that somebody
            // follows.
            let writer = self.commit.writer();
            self.reading.health.check_readable()?;
            let (hold, oldest) = self.wal.hold_all();
            let written = writer.wal.written();
            self.wal.note_unsynced(written);
            let end = End { written, chain: writer.wal.chain(), visible: self.reading.visible() };
            (hold, oldest, end)
        };
        let begun = match since {
            Since::Oldest => {
                let reader = self.range_reader(everything, &oldest)?;
                return Ok(Begun { reader, after: SeqNo::ZERO });
            }
            Since::Now => self.begin_at_end(end, &oldest),
            Since::Position(position) => self.begin_at(position),
            Since::Write(seqno) if seqno >= end.visible => self.begin_at_end(end, &oldest),
            Since::Write(seqno) => self.begin_behind(seqno, end),
        };
        drop(everything);
        // What it held, and the stream does not need.
        self.drop_old_logs();
        begun
    }

    /// What is told of a window that is gone.
    ///
    /// # Errors
    /// When even the oldest log cannot be read.
    pub(super) fn window_gone(&self, reason: impl Into<String>) -> Error {
        let oldest = || -> Result<Position> {
            let (hold, segment) = self.wal.hold_all();
            let reader = self.range_reader(hold, &segment)?;
            Ok(self.position_of(&reader))
        };
        match oldest() {
            Ok(oldest) => Error::WindowGone { reason: reason.into(), oldest },
            Err(e) => e,
        }
    }

    pub(super) fn position_of(&self, reader: &RangeReader) -> Position {
        let lineage = self.reading.lineage;
        Position { lineage, place: reader.position(), chain: reader.chain() }
    }

    fn range_reader(&self, hold: LogHold, segment: &Segment) -> Result<RangeReader> {
        let place = LogDir {
            env: self.reading.env.clone(),
            dir: self.reading.path.clone(),
            database: self.reading.database_id,
        };
        RangeReader::at_start(place, self.wal.clone(), hold, segment)
    }

    /// All that was committed before is durable then: a position may be kept.
    fn sync_for_begin(&self, end: End) -> Result<()> {
        self.wal.sync_up_to(end.written).map_err(|e| self.reading.health.poison(&e))
    }

    /// `oldest` is held.
    fn begin_at_end(&self, end: End, oldest: &Segment) -> Result<Begun> {
        self.sync_for_begin(end)?;
        // A mark may lie between the last commit and the oldest log.
        let place = end.written.max(oldest.start);
        let (hold, segment) = self.wal.hold(place).map_err(|_| self.window_moved())?;
        let mut reader = self.range_reader(hold, &segment)?;
        reader.go_to(place, end.chain);
        Ok(Begun { reader, after: end.visible })
    }

    /// That a log went while somebody looked for it.
    fn window_moved(&self) -> Error {
        self.window_gone("the log was removed while it was looked for")
    }

    fn begin_at(&self, position: Position) -> Result<Begun> {
        let Position { lineage, place, chain } = position;
        if lineage != self.reading.lineage {
            let own = self.reading.lineage;
            let what = format!("the position is of lineage {lineage}, and this database of {own}");
            return Err(self.window_gone(what));
        }
        let (hold, segment) = match self.wal.hold(place) {
            Ok(held) => held,
            Err(_) => {
                let (hold, oldest) = self.wal.hold_all();
                let reader = self.range_reader(hold, &oldest)?;
                if reader.goes_on_from(place, chain) {
                    return Ok(Begun { reader, after: SeqNo::ZERO });
                }
                drop(reader);
                return Err(self.window_gone("they were in logs that have been removed since"));
            }
        };
        if place > self.wal.synced_position() {
            return Err(self.window_gone("the log ends before the position: it is not the log that the position is of, or a restored one"));
        }
        let mut reader = self.range_reader(hold, &segment)?;
        let mut memory = BufferMemory::new(&self.reading);
        let (mut buffer, grow) = (Vec::new(), &mut |bytes| memory.grow_to(bytes));
        let begins = reader.skip_to(place, &mut buffer, grow)?;
        if !begins || reader.chain() != chain {
            drop(reader);
            return Err(self.window_gone("the log holds other records before the position than when it was taken: it is not the log that the position is of, or a restored one"));
        }
        if planted!(last_change_repeated_after_resuming) {
            let (hold, segment) = self.wal.hold_all();
            reader = self.range_reader(hold, &segment)?;
        }
        Ok(Begun { reader, after: SeqNo::ZERO })
    }

    fn begin_behind(&self, seqno: SeqNo, end: End) -> Result<Begun> {
        self.sync_for_begin(end)?;
        let mut memory = BufferMemory::new(&self.reading);
        let mut buffer = Vec::new();
        let logs = self.wal.segments();
        for segment in logs.iter().rev().filter(|segment| segment.start < segment.end) {
            let Ok((hold, segment)) = self.wal.hold(segment.start) else { continue };
            let mut reader = self.range_reader(hold, &segment)?;
            let begin = reader.position();
            let first = loop {
                let grow = &mut |bytes| memory.grow_to(bytes);
                match reader.next_range(&mut buffer, grow)? {
                    Some(range) if range.log != segment.id => break None,
                    Some(range) => match range.seqnos {
                        Some(seqnos) => break Some(*seqnos.start()),
                        None => continue,
                    },
                    None => break None,
                }
            };
            // With a log that begins with the next write nothing lies before.
            if first.is_some_and(|first| first <= seqno.plus(1)) {
                let (hold, segment) = self.wal.hold(begin).map_err(|_| self.window_moved())?;
                let reader = self.range_reader(hold, &segment)?;
                return Ok(Begun { reader, after: seqno });
            }
        }
        Err(self.window_gone("they were in logs that have been removed since"))
    }
}
