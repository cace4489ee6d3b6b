//! Waiting without a thread: what the bucket asks of time.
//!
//! The seam by which a simulation holds the waits of this crate.

use futures_util::future::BoxFuture;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tanada_vfs::Clock;

/// Time for tasks.
pub trait Timer: Debug + Send + Sync + 'static {
    /// Since some fixed moment; never goes back.
    fn now(&self) -> Duration;
    /// Ends after `duration`.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
}

/// The machine's: its clock, and waits by the runtime that the task runs on.
#[derive(Debug)]
pub struct RuntimeTimer(Arc<dyn Clock>);

impl RuntimeTimer {
    /// By this clock. Its waits need a tokio runtime with time.
    pub fn new(clock: Arc<dyn Clock>) -> RuntimeTimer {
        RuntimeTimer(clock)
    }
}

impl Timer for RuntimeTimer {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.monotonic_ns())
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}
