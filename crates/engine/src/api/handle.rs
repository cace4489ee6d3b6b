//! What keeps a database open.

use crate::core::Core;
use crate::read::reading::Reading;
use crate::types::error::Result;
use std::sync::Arc;

/// Shared by everything that a caller holds; closes the database when the last
/// holder goes. In a forked child that does nothing, and frees nothing.
pub(crate) struct Handle {
    reading: Arc<Reading>,
    /// `None` of a database that was opened for reading only.
    writer: Option<Arc<Core>>,
}

impl Handle {
    /// Of a database that is read and written.
    pub(crate) fn writing(core: Arc<Core>) -> Handle {
        Handle { reading: Arc::clone(&core.reading), writer: Some(core) }
    }

    /// Of one that is only read.
    pub(crate) fn reading_only(reading: Arc<Reading>) -> Handle {
        Handle { reading, writer: None }
    }

    /// What reads look at.
    #[inline]
    pub(crate) fn reading(&self) -> &Arc<Reading> {
        &self.reading
    }

    /// The writing side.
    ///
    /// # Errors
    /// [`crate::Error::ReadOnly`] when it was opened for reading only, and what else keeps
    /// all from it: closed, or another process's.
    #[inline]
    pub(crate) fn writer(&self) -> Result<&Arc<Core>> {
        self.writer.as_ref().ok_or_else(|| self.reading.health.why_nothing_changes())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.reading.health.owner.is_forked() {
            // All of it is the parent's: the files, the lock, the handles of threads that
            // are not here. What is never dropped does nothing.
            std::mem::forget((Arc::clone(&self.reading), self.writer.clone()));
            return;
        }
        if let Some(core) = &self.writer {
            // Nobody is left to hear of an error; what was acknowledged is safe.
            let _ = core.close();
        }
    }
}
