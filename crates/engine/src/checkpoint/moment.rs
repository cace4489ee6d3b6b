//! What a checkpoint is made of, taken at one moment.

use crate::core::Core;
use crate::tree::manifest::State;
use crate::tree::version::Version;
use crate::types::error::Result;
use crate::wal::{LogPin, Segment};
use std::ops::Range;
use std::sync::Arc;
use tanada_format::{LogId, LogPosition, SeqNo, planted};

/// The database at one moment. Until it is dropped no table and no log of it is removed:
/// the state holds the tables.
pub(super) struct Moment {
    /// As the checkpoint's manifest will have it.
    pub(super) state: State<Arc<Version>>,
    /// The part of the log that some MemTable needs.
    pub(super) log: Range<LogPosition>,
    /// The files that hold it.
    pub(super) segments: Vec<Segment>,
    /// The newest write.
    pub(super) seqno: SeqNo,
    _pin: LogPin,
}

impl Core {
    /// Takes this moment. Every write that was acknowledged is in it, and no part of one
    /// that was not: no group is on its way while the writer's lock is held. No flush or
    /// compaction is between its edit and its views while the manifest's is.
    ///
    /// Cost: writers wait for a copy of what is known of the keyspaces, and
    /// for an edit of the manifest that is being synced. No I/O.
    ///
    /// # Errors
    /// Why the database takes no commits: closed or poisoned. One that is read-only, for
    /// a full disk or damage, has all that is needed.
    pub(super) fn checkpoint_moment(&self) -> Result<Moment> {
        let mut writer = self.commit.writer();
        let mut manifest = self.manifest.lock();
        self.reading.health.check_committable()?;
        let end = writer.wal.position();
        let log = self.unflushed.oldest().unwrap_or(end)..end;
        let (pin, segments) = self.wal.pin(&log);
        // Not the one before the next: an opening leaves numbers out.
        let seqno = self.reading.visible();
        if planted!(checkpoint_moment_in_two_steps) {
            drop((writer, manifest));
            writer = self.commit.writer();
            manifest = self.manifest.lock();
        }
        let mut state = manifest.state().clone();
        // The database id stays: tables are bound to it. So a checkpoint is the same
        // history up to here, and another from here on: its first opening draws a lineage,
        // and a version that a client has kept from one passes in the other no more.
        // Numbers are given once in a lineage: this one may give those behind anew.
        state.lineage = None;
        state.seqno_ceiling = seqno.plus(1);
        state.last_seqno = state.last_seqno.max(seqno);
        state.time = self.reading.durable_time();
        state.oldest_log = writer.wal.current_log();
        // So a copy that is cut later does not pass for one with a torn tail.
        state.log_synced = end;
        Ok(Moment { state, log, segments, seqno, _pin: pin })
    }
}

impl Moment {
    /// The one log of the checkpoint.
    pub(super) fn log_id(&self) -> LogId {
        self.state.oldest_log
    }
}
