//! `ChangeHold`: keeps the log from a position on for a consumer that has read further than
//! it has dealt with.

use crate::core::Core;
use crate::types::error::{Error, Result};
use crate::types::position::{Position, Since};
use crate::wal::LogHold;
use std::sync::Arc;

/// Keeps all changes behind a position in the log until it is moved or dropped. Made by
/// [`crate::Db::hold_changes`].
///
/// A stream ([`super::Changes`]) holds the log only from the place on that it has read.
/// Whoever deals with changes later than it reads them holds the position behind the last
/// one that it has dealt with, and moves the hold forward: so it can begin there again.
///
/// A hold that keeps too much log is lost: see [`crate::Db::changes`].
pub struct ChangeHold {
    core: Arc<Core>,
    hold: LogHold,
    position: Position,
}

impl ChangeHold {
    pub(crate) fn new(core: &Arc<Core>, position: Position) -> Result<ChangeHold> {
        let begun = core.begin_changes(Since::Position(position))?;
        let hold = begun.reader.into_hold();
        Ok(ChangeHold { core: Arc::clone(core), hold, position })
    }

    /// The position from which on changes are kept.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Gives the hold a name, which [`crate::WalStats::oldest_consumers`] tells.
    #[must_use]
    pub fn named(self, name: &str) -> ChangeHold {
        self.hold.rename(name);
        self
    }

    /// Keeps changes from `position` on only, which a stream of this database has told, and
    /// lets go of the logs before it. Does nothing for one that is behind.
    ///
    /// # Errors
    /// [`crate::Error::WindowGone`] when the hold was lost; [`crate::Error::Closed`] and
    /// [`crate::Error::Forked`].
    pub fn move_to(&mut self, position: Position) -> Result<()> {
        self.core.reading.health.check_readable()?;
        if self.hold.is_lost() {
            return Err(self.core.hold_lost());
        }
        if position.lineage != self.position.lineage || position.place <= self.position.place {
            return Ok(());
        }
        self.position = position;
        self.hold.come_to(position.place, self.core.reading.env.clock.monotonic_ns());
        let log = self.core.wal.segment_at(position.place).map(|segment| segment.id);
        if log.is_some_and(|log| log > self.hold.log() && self.hold.move_to(log)) {
            self.core.drop_old_logs();
        }
        Ok(())
    }
}

impl std::fmt::Debug for ChangeHold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let position = self.position.to_string();
        f.debug_struct("ChangeHold").field("position", &position).finish_non_exhaustive()
    }
}

impl Drop for ChangeHold {
    fn drop(&mut self) {
        self.core.let_go_of(&mut self.hold);
    }
}

impl Core {
    /// A consumer ends: the logs that only it kept go, on a database where nothing else
    /// happens too.
    pub(super) fn let_go_of(self: &Arc<Core>, hold: &mut LogHold) {
        if self.reading.health.owner.is_forked() {
            // The log is the parent's, and a lock may be held for ever.
            hold.abandon();
            std::mem::forget(Arc::clone(self));
            return;
        }
        hold.release();
        if self.reading.health.check_readable().is_ok() {
            self.drop_old_logs();
        }
    }

    /// What a consumer is told that was too far behind.
    pub(super) fn hold_lost(&self) -> Error {
        self.window_gone(TOO_FAR)
    }

    /// As [`Core::hold_lost`], where somebody has looked for the window already.
    pub(super) fn why_gone(&self, e: Error) -> Error {
        match e {
            Error::WindowGone { oldest, .. } => {
                Error::WindowGone { reason: TOO_FAR.to_owned(), oldest }
            }
            e => e,
        }
    }
}

const TOO_FAR: &str =
    "the consumer was so far behind that it kept more log than consumers may hold";
