//! Waits of tests for what another thread does, and threads that go on until they are told
//! to end: both end, in a test that fails as well.
#![allow(dead_code)] // each test program uses its part

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Many times what anything takes on a busy machine.
const LONGEST: Duration = Duration::from_secs(60);

/// Lets other threads go on until `done`, a minute at most. Answers whether it came.
#[allow(clippy::disallowed_methods)] // other threads run in real time
pub(crate) fn comes(done: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while !done() {
        if began.elapsed() > LONGEST {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

/// As [`comes`], where the test cannot go on without it: `what` has to come.
///
/// # Panics
/// When it does not come.
#[track_caller]
pub(crate) fn until(what: &str, done: impl Fn() -> bool) {
    assert!(comes(done), "waited {LONGEST:?} in vain until {what}");
}

/// Sets a flag when it is dropped. A scope waits for threads that go on until then, and
/// would wait for ever where an assertion beside them fails.
pub(crate) struct SetAtEnd<'f>(pub(crate) &'f AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
