//! Reads that may touch the disk: on blocking threads, so many at once, so many waiting.

use crate::problem::{Kind, Problem, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// A bound around the runtime's blocking threads.
pub(crate) struct Pool {
    places: Arc<Semaphore>,
    /// Tasks waiting for a place. Only a bound is read from it: relaxed.
    waiting: AtomicUsize,
    max_waiting: usize,
}

/// Counts one task as waiting for as long as it lives.
struct Waiting<'p>(&'p AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pool {
    pub(crate) fn new(places: usize, max_waiting: usize) -> Pool {
        Pool { places: Arc::new(Semaphore::new(places)), waiting: AtomicUsize::new(0), max_waiting }
    }

    /// Runs `work` on a blocking thread. Work that has begun ends even when the
    /// caller goes away, and keeps its place until then.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let place = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                let before = self.waiting.fetch_add(1, Ordering::Relaxed);
                let waiting = Waiting(&self.waiting);
                if before >= self.max_waiting {
                    return Err(Problem::new(
                        Kind::Overloaded,
                        "too many reads wait for the disk; try again in a second",
                    ));
                }
                let place = Arc::clone(&self.places).acquire_owned().await;
                drop(waiting);
                place.expect("the semaphore is never closed")
            }
        };
        let work = move || {
            let result = work();
            drop(place);
            result
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| panicked())
    }
}

/// What a client is told when our own code failed.
pub(crate) fn panicked() -> Problem {
    Problem::new(
        Kind::Internal,
        "the request failed inside the server; the log of the server says where; please report it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn work_beyond_places_and_waiting_room_is_refused_early() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            let pool = Arc::new(Pool::new(1, 1));
            let (release, held) = mpsc::channel::<()>();
            let (started, has_started) = tokio::sync::oneshot::channel();
            let first = tokio::spawn({
                let pool = Arc::clone(&pool);
                async move {
                    pool.run(move || {
                        started.send(()).expect("the test waits");
                        held.recv().expect("released");
                        1
                    })
                    .await
                }
            });
            has_started.await.expect("started");
            let second = tokio::spawn({
                let pool = Arc::clone(&pool);
                async move { pool.run(|| 2).await }
            });
            tokio::task::yield_now().await;
            let third = pool.run(|| 3).await.expect_err("no room to wait");
            assert_eq!(third.kind(), Kind::Overloaded);
            release.send(()).expect("the first waits");
            assert_eq!(first.await.expect("no panic").expect("ran"), 1);
            assert_eq!(second.await.expect("no panic").expect("ran"), 2);
            assert_eq!(pool.run(|| 4).await.expect("room again"), 4);
        });
    }
}
