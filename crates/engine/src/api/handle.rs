//! What keeps a database open.

use crate::core::Core;
use std::sync::Arc;

/// Shared by everything that a caller holds; closes the database when the last
/// holder goes.
pub(crate) struct Handle {
    pub(crate) core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Nobody is left to hear of an error; what was acknowledged is safe.
        let _ = self.core.close();
    }
}
