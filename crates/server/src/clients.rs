//! Who is connected: what each client does, for the sweeper and for statistics.
//!
//! A sweeper looks at all connections once a second and cuts off those that
//! keep the server waiting: for a request head (slowloris, or simply idle), or
//! for room to write an answer (a slow reader). One sweep a second costs less
//! than a timer for each request. Slow bodies have their own timer in `body`.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Commands to a connection, each stronger than the one before; 0 is "go on".
const DRAIN: u8 = 1;
const CUT: u8 = 2;

/// What the sweeper sees of a connection.
///
/// The counters are written by the connection's own task and read by the
/// sweeper and statistics, which order nothing by them: relaxed.
#[derive(Debug, Default)]
pub(crate) struct ConnectionState {
    /// Requests begun.
    requests: AtomicU64,
    /// Answers being made, streamed ones until their end.
    busy: AtomicU32,
    written_bytes: AtomicU64,
    /// The last write found no room.
    write_blocked: AtomicBool,
    /// 0, `DRAIN` or `CUT`; only ever raised. Released before `told` is
    /// notified and acquired after, so that the task sees it.
    command: AtomicU8,
    told: Notify,
}

/// What a connection has been told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Finish the request under way, then close.
    Drain,
    /// Close at once.
    Cut,
}

impl ConnectionState {
    /// A request has begun; it is busy until the mark is dropped.
    pub(crate) fn begin_request(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Busy::new(self)
    }

    /// A write took so many bytes.
    pub(crate) fn note_written(&self, bytes: u64) {
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.write_blocked.store(false, Ordering::Relaxed);
    }

    /// A write found no room.
    pub(crate) fn note_blocked(&self) {
        self.write_blocked.store(true, Ordering::Relaxed);
    }

    /// Waits for the next command.
    pub(crate) async fn told(&self) -> Told {
        loop {
            self.told.notified().await;
            match self.command.load(Ordering::Acquire) {
                CUT => return Told::Cut,
                DRAIN => return Told::Drain,
                _ => {}
            }
        }
    }

    fn tell(&self, command: u8) {
        self.command.fetch_max(command, Ordering::Release);
        self.told.notify_one();
    }
}

/// Marks a connection busy for as long as it lives.
pub(crate) struct Busy(Arc<ConnectionState>);

impl Busy {
    fn new(state: &Arc<ConnectionState>) -> Busy {
        state.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(state))
    }

    /// Another mark on the same connection.
    pub(crate) fn again(&self) -> Busy {
        Busy::new(&self.0)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Names a connection for the life of the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionId(u64);

/// All open connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    /// Guards the list. Taken when a connection begins or ends, and by sweeps.
    open: Mutex<Open>,
    /// Signalled when the last one ends.
    none_left: Notify,
}

#[derive(Debug, Default)]
struct Open {
    by_id: HashMap<u64, (Arc<ConnectionState>, Seen)>,
    last_id: u64,
    /// Requests of connections that have ended.
    past_requests: u64,
    refused: u64,
    cut_off: u64,
}

/// What a sweep saw last, and for how long it has not changed.
#[derive(Debug, Default)]
struct Seen {
    requests: u64,
    written_bytes: u64,
    unchanged: Duration,
}

/// Numbers for `/stats`.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(crate) struct ConnectionStats {
    pub(crate) open: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) cut_off: u64,
    pub(crate) requests: u64,
}

impl Connections {
    /// Enters a connection. Called before its task starts, so that a drain misses none.
    pub(crate) fn begin(&self) -> (ConnectionId, Arc<ConnectionState>) {
        let state = Arc::new(ConnectionState::default());
        let mut open = self.open.lock();
        open.last_id += 1;
        let id = open.last_id;
        open.by_id.insert(id, (Arc::clone(&state), Seen::default()));
        (ConnectionId(id), state)
    }

    /// Takes a connection that has ended off the list.
    pub(crate) fn end(&self, id: ConnectionId) {
        let mut open = self.open.lock();
        if let Some((state, _)) = open.by_id.remove(&id.0) {
            open.past_requests += state.requests.load(Ordering::Relaxed);
        }
        if open.by_id.is_empty() {
            self.none_left.notify_one();
        }
    }

    /// Counts a connection that found no place.
    pub(crate) fn count_refused(&self) {
        self.open.lock().refused += 1;
    }

    /// How many are open.
    fn len(&self) -> usize {
        self.open.lock().by_id.len()
    }

    /// Waits until none is open.
    pub(crate) async fn wait_for_none(&self) {
        while self.len() > 0 {
            self.none_left.notified().await;
        }
    }

    /// Lets each finish the request under way, and closes it then.
    pub(crate) fn drain(&self) {
        self.tell_all(DRAIN);
    }

    /// Closes all at once.
    pub(crate) fn cut(&self) {
        self.tell_all(CUT);
    }

    fn tell_all(&self, command: u8) {
        for (state, _) in self.open.lock().by_id.values() {
            state.tell(command);
        }
    }

    /// Cuts off those that have kept the server waiting too long.
    pub(crate) fn sweep(&self, since_last: Duration, idle: Duration, write: Duration) {
        let mut open = self.open.lock();
        let mut cut_off = 0;
        for (state, seen) in open.by_id.values_mut() {
            let requests = state.requests.load(Ordering::Relaxed);
            let written_bytes = state.written_bytes.load(Ordering::Relaxed);
            if (requests, written_bytes) != (seen.requests, seen.written_bytes) {
                *seen = Seen { requests, written_bytes, unchanged: Duration::ZERO };
                continue;
            }
            seen.unchanged += since_last;
            let patience = if state.write_blocked.load(Ordering::Relaxed) {
                write
            } else if state.busy.load(Ordering::Relaxed) > 0 {
                // Our own turn: the client waits for us.
                seen.unchanged = Duration::ZERO;
                continue;
            } else {
                idle
            };
            if seen.unchanged >= patience && state.command.load(Ordering::Relaxed) != CUT {
                state.tell(CUT);
                cut_off += 1;
            }
        }
        open.cut_off += cut_off;
    }

    pub(crate) fn stats(&self) -> ConnectionStats {
        let open = self.open.lock();
        let live: u64 =
            open.by_id.values().map(|(state, _)| state.requests.load(Ordering::Relaxed)).sum();
        ConnectionStats {
            open: open.by_id.len() as u64,
            accepted: open.last_id,
            refused: open.refused,
            cut_off: open.cut_off,
            requests: open.past_requests + live,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn swept(connections: &Connections, state: &ConnectionState, sweeps: u32) -> bool {
        for _ in 0..sweeps {
            connections.sweep(SECOND, 3 * SECOND, 5 * SECOND);
        }
        state.command.load(Ordering::Acquire) == CUT
    }

    #[test]
    fn idle_and_blocked_connections_are_cut_and_busy_ones_are_not() {
        let connections = Connections::default();
        let (_, idle) = connections.begin();
        assert!(!swept(&connections, &idle, 2));
        assert!(swept(&connections, &idle, 1));

        let (_, blocked) = connections.begin();
        blocked.write_blocked.store(true, Ordering::Relaxed);
        let busy = Busy::new(&blocked);
        assert!(!swept(&connections, &blocked, 4), "a slow reader gets the time for writing");
        assert!(swept(&connections, &blocked, 1));
        drop(busy);

        let (_, working) = connections.begin();
        let busy = Busy::new(&working);
        assert!(!swept(&connections, &working, 100), "the client waits for us");
        drop(busy);
        assert!(swept(&connections, &working, 3));
        assert_eq!(connections.stats().cut_off, 3);
    }

    #[test]
    fn any_request_or_byte_taken_starts_the_patience_anew() {
        let connections = Connections::default();
        let (_, state) = connections.begin();
        assert!(!swept(&connections, &state, 2));
        state.requests.fetch_add(1, Ordering::Relaxed);
        assert!(!swept(&connections, &state, 3), "one sweep sees the change, two wait");
        state.written_bytes.fetch_add(1, Ordering::Relaxed);
        assert!(!swept(&connections, &state, 3));
        assert!(swept(&connections, &state, 1));
    }
}
