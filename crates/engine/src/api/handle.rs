//! What keeps a database open.

use crate::core::Core;
use std::sync::Arc;

/// Shared by everything that a caller holds; closes the database when the last
/// holder goes. In a forked child that does nothing, and frees nothing.
pub(crate) struct Handle {
    pub(crate) core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.core.reading.health.owner.is_forked() {
            // All of it is the parent's: the files, the lock, the handles of threads that
            // are not here. What is never dropped does nothing.
            std::mem::forget(Arc::clone(&self.core));
            return;
        }
        // Nobody is left to hear of an error; what was acknowledged is safe.
        let _ = self.core.close();
    }
}
