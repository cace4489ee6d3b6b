//! A link to an `Arc` under shuttle: `arc_swap` has atomics of its own, which shuttle
//! does not see.

use super::locks::may_change_threads;
use std::sync::{Arc, Mutex, PoisonError};

/// As that of `arc_swap`, as far as it is used.
#[derive(Debug)]
pub struct ArcSwap<T>(Mutex<Arc<T>>);

impl<T> ArcSwap<T> {
    /// A link to `value`.
    pub fn from_pointee(value: T) -> ArcSwap<T> {
        ArcSwap(Mutex::new(Arc::new(value)))
    }

    /// What it links to now.
    #[track_caller]
    pub fn load(&self) -> Arc<T> {
        may_change_threads();
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same.
    #[track_caller]
    pub fn load_full(&self) -> Arc<T> {
        self.load()
    }

    /// Links to `to` from now on.
    #[track_caller]
    pub fn store(&self, to: Arc<T>) {
        may_change_threads();
        let old = {
            let mut link = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *link, to)
        };
        drop(old);
    }
}
