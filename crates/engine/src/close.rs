//! Closing: no more writes, the log durable, the threads ended, the directory free.

use crate::core::Core;
use crate::error::Result;
use crate::manifest::Edit;
use std::sync::atomic::Ordering;

impl Core {
    /// Closes the database once; later calls find it closed and do nothing.
    ///
    /// MemTables are not flushed: they are in the log, and opening replays it.
    /// So closing is quick however much was written.
    ///
    /// # Errors
    /// When the log cannot be synced. It is closed all the same.
    pub(crate) fn close(&self) -> Result<()> {
        let was_poisoned = self.health.is_poisoned();
        if !self.health.close() {
            return Ok(());
        }
        // Behind the writer lock no group is on its way any more. A poisoned
        // log is left alone: a sync that succeeds now would lie.
        let synced = {
            let mut writer = self.commit.writer();
            if was_poisoned { Ok(()) } else { writer.wal.close() }
        };
        self.stop_background();
        let noted = if was_poisoned { Ok(()) } else { self.note_clock() };
        self.lock.lock().take();
        synced.and(noted)
    }

    /// Notes the latest time acted upon in the manifest, so that a clock set
    /// back before the next opening revives nothing that has expired.
    fn note_clock(&self) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let high = self.clock_high_ms.load(Ordering::Relaxed);
        if high > manifest.state().clock_high_ms {
            manifest.append(&Edit { clock_high_ms: Some(high), ..Edit::default() })?;
        }
        Ok(())
    }
}
