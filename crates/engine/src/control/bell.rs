//! How threads that have found nothing to do are woken, by whoever has something for them.
//!
//! The background's threads look for work under a lock, with the lowest priority: on a busy
//! machine one of them may be stopped in the middle of it for long. A writer that says
//! "there is work" must not wait for that, so the bell has a lock of its own, which is held
//! only to lie down. Who waits for changes of the database lies down here too.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tanada_vfs::sync::atomic::AtomicU64;
use tanada_vfs::sync::{Condvar, Mutex};

/// Rings are counted, so that none is slept through: one that comes between a look for
/// work and the sleep behind it ends the sleep before it begins.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rings: AtomicU64,
    /// Guards nothing: held to compare and lie down, and to ring behind that.
    lying_down: Mutex<()>,
    asleep: Condvar,
}

/// How often it had rung before somebody looked for work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard(u64);

impl Bell {
    /// To be taken before looking for work, and given to [`Bell::wait`].
    pub(crate) fn heard(&self) -> Heard {
        Heard(self.rings.load(SeqCst))
    }

    /// Wakes all. What they are to find is stored before.
    pub(crate) fn ring(&self) {
        self.rings.fetch_add(1, SeqCst);
        // Whoever has compared before is asleep once this has been had.
        drop(self.lying_down.lock());
        self.asleep.notify_all();
    }

    /// Sleeps until it rings, no longer than `at_most`; not at all when it has rung since.
    /// May wake for nothing. Answers whether the time has passed. No lock may be held that
    /// whoever rings takes before.
    pub(crate) fn wait(&self, heard: Heard, at_most: Option<Duration>) -> bool {
        let mut lying_down = self.lying_down.lock();
        if self.rings.load(SeqCst) != heard.0 {
            return false;
        }
        match at_most {
            Some(at_most) => self.asleep.wait_for(&mut lying_down, at_most),
            None => {
                self.asleep.wait(&mut lying_down);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_between_a_look_and_the_sleep_behind_it_is_not_slept_through() {
        let bell = Bell::default();
        let heard = bell.heard();
        bell.ring();
        let (clock, long) = (tanada_vfs::Env::real().clock, Duration::from_secs(20));
        let began_ns = clock.monotonic_ns();
        bell.wait(heard, Some(long));
        let slept = Duration::from_nanos(clock.monotonic_ns() - began_ns);
        assert!(slept < long, "it slept {slept:?} though it had rung");
        bell.wait(heard, None);
        bell.wait(bell.heard(), Some(Duration::from_millis(1)));
    }
}
