//! How long to wait before a request is sent again, and how often.
//!
//! Exponential, with jitter over the upper half, so that clients that were refused together
//! do not come back together; bounded in tries and in time.

use super::timer::Timer;
use std::time::Duration;
use tanada_vfs::Random;

/// Bounds of trying again. They are the same for every store: a shorter wait only adds to
/// what a busy store has to refuse, a longer one to what a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    /// Requests at most, the first counted.
    pub requests: u32,
    /// No further request is sent when so much time has passed since the first.
    pub within: Duration,
    /// Before the second.
    pub first_wait: Duration,
    /// Waits double up to here.
    pub longest_wait: Duration,
}

impl Default for Tries {
    fn default() -> Tries {
        Tries {
            requests: 8,
            within: Duration::from_secs(20),
            first_wait: Duration::from_millis(50),
            longest_wait: Duration::from_secs(3),
        }
    }
}

/// The waits of one request.
#[derive(Debug)]
pub(crate) struct Backoff {
    tries: Tries,
    sent: u32,
    began: Duration,
}

impl Backoff {
    pub(crate) fn new(tries: Tries, timer: &dyn Timer) -> Backoff {
        Backoff { tries, sent: 1, began: timer.now() }
    }

    /// How long to wait before the next request, or `None` when there is none.
    pub(crate) fn next(&mut self, timer: &dyn Timer, random: &dyn Random) -> Option<Duration> {
        if self.sent >= self.tries.requests {
            return None;
        }
        let wait = jittered(wait_after(&self.tries, self.sent), random);
        self.sent += 1;
        let passed = timer.now().saturating_sub(self.began);
        (passed + wait <= self.tries.within).then_some(wait)
    }
}

/// The whole wait after so many requests.
pub(crate) fn wait_after(tries: &Tries, sent: u32) -> Duration {
    let doubled = 1u32.checked_shl(sent.saturating_sub(1)).unwrap_or(u32::MAX);
    tries.first_wait.saturating_mul(doubled).min(tries.longest_wait)
}

/// Between half of `wait` and all of it.
pub(crate) fn jittered(wait: Duration, random: &dyn Random) -> Duration {
    let mut bytes = [0; 4];
    random.fill(&mut bytes);
    let share = f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX);
    wait.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::BoxFuture;
    use parking_lot::Mutex;

    #[derive(Debug, Default)]
    struct Held(Mutex<Duration>);

    impl Timer for Held {
        fn now(&self) -> Duration {
            *self.0.lock()
        }
        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            *self.0.lock() += duration;
            Box::pin(async {})
        }
    }

    #[derive(Debug)]
    struct Always(u8);

    impl Random for Always {
        fn fill(&self, buf: &mut [u8]) {
            buf.fill(self.0);
        }
    }

    #[test]
    fn waits_double_up_to_a_bound_and_end_after_so_many() {
        let (timer, random) = (Held::default(), Always(0xff));
        let tries = Tries { requests: 9, within: Duration::from_secs(60), ..Tries::default() };
        let mut backoff = Backoff::new(tries, &timer);
        let waits: Vec<u128> = std::iter::from_fn(|| backoff.next(&timer, &random))
            .map(|wait| wait.as_millis())
            .collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3000, 3000]);
    }

    #[test]
    fn jitter_takes_at_most_half_of_a_wait() {
        let wait = Duration::from_millis(100);
        assert_eq!(jittered(wait, &Always(0)), Duration::from_millis(50));
        assert_eq!(jittered(wait, &Always(0xff)), wait);
    }

    #[test]
    fn nothing_is_sent_after_the_time_is_over() {
        let (timer, random) = (Held::default(), Always(0xff));
        let tries = Tries { within: Duration::from_millis(500), ..Tries::default() };
        let mut backoff = Backoff::new(tries, &timer);
        let mut sent = 1;
        while let Some(wait) = backoff.next(&timer, &random) {
            drop(timer.sleep(wait));
            sent += 1;
        }
        assert_eq!(sent, 4, "after 50, 100 and 200 ms; 400 more would be too late");
    }
}
