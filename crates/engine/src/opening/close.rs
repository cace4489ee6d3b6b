//! Closing: no more writes, the log durable, the threads ended, the directory free.

use crate::core::Core;
use crate::tree::manifest::Edit;
use crate::types::error::Result;
use tanada_format::SeqNo;

impl Core {
    /// Closes the database once; later calls find it closed and do nothing.
    ///
    /// MemTables are not flushed: they are in the log, and opening replays it.
    /// So closing is quick however much was written. What a job that is aborted would
    /// have done is done by a later one, at the latest by an opening that finds too much
    /// of it (see `upkeep`).
    ///
    /// # Errors
    /// When the log cannot be synced, or the manifest not written. It is closed
    /// all the same.
    pub(crate) fn close(&self) -> Result<()> {
        self.reading.health.owner.check()?;
        let was_poisoned = self.reading.health.is_poisoned();
        if !self.reading.health.close() {
            return Ok(());
        }
        // No job starts from here on: a leader that waits for one has the writer lock.
        self.background.nothing_ends_any_more();
        // Behind the writer lock no group is on its way any more. A poisoned
        // log is left alone: a sync that succeeds now would lie.
        let (synced, next_seqno) = {
            let mut writer = self.commit.writer();
            let synced = if was_poisoned { Ok(()) } else { writer.wal.close() };
            (synced, writer.next_seqno)
        };
        self.stop_background();
        if !was_poisoned {
            self.wal.discard_spare();
            self.delete_the_rest();
        }
        let noted = match synced {
            Ok(()) if !was_poisoned => self.note_end(next_seqno),
            _ => Ok(()),
        };
        self.release();
        synced.and(noted)
    }

    /// Lets other processes in. Nothing of this one may touch the directory from here on:
    /// the threads have ended, and whoever takes the writer's or the manifest's lock to
    /// write looks under it whether the database has been closed meanwhile. Who has
    /// taken the manifest's before is waited for here.
    fn release(&self) {
        let _no_edit = self.manifest.lock();
        self.lock.lock().take();
    }

    /// Removes files that nobody needs: few, for a thread removes them as they come. What
    /// cannot be removed is found by the next opening.
    fn delete_the_rest(&self) {
        let _ = self.reading.tables.deletions.run_all(&*self.reading.env.fs);
    }

    /// Notes in the manifest how much of the log is durable, so that a log that is
    /// cut while nobody looks does not pass for a torn one; the time, so that a clock set
    /// back before the next opening revives nothing that has expired; and that `next_seqno`
    /// has not been handed out. After a life without writes this is not worth a sync: should
    /// it be lost, the next opening leaves numbers out, and knows of an earlier time.
    fn note_end(&self, next_seqno: SeqNo) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let edit = Edit {
            time: Some(self.reading.durable_time()),
            log_synced: Some(self.wal.synced_position()),
            seqno_ceiling: Some(next_seqno),
            ..Edit::default()
        };
        match edit.log_synced > Some(manifest.state().log_synced()) {
            true => manifest.append(&edit).map(drop),
            false => {
                manifest.note(&edit);
                Ok(())
            }
        }
    }
}
