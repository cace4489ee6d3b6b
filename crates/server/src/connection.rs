//! One client's connection: its bounds in time, and how it ends.
//!
//! A sweeper looks at all connections once a second and cuts off those that
//! keep the server waiting: for a request head (slowloris, or simply idle), or
//! for room to write an answer (a slow reader). One sweep a second costs less
//! than a timer for each request. Slow bodies have their own timer in `body`.

use crate::app::App;
use crate::reply::Reply;
use crate::routes;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Version};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit};

/// How often the sweeper looks.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Longest request head. A URI has at most 64 KiB (hyper).
const MAX_HEAD_BYTES: usize = 80 << 10;

/// Most bytes buffered for one connection.
const MAX_BUFFER_BYTES: usize = 128 << 10;

/// How long a client may go on sending what no one wants.
const LINGER: Duration = Duration::from_secs(2);

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
    /// The last answer ended the connection before all was read.
    unread: AtomicBool,
    /// 0, `DRAIN` or `CUT`; only ever raised. Released before `told` is
    /// notified and acquired after, so that the task sees it.
    command: AtomicU8,
    told: Notify,
}

impl ConnectionState {
    fn tell(&self, command: u8) {
        self.command.fetch_max(command, Ordering::Release);
        self.told.notify_one();
    }
}

/// Marks a connection busy for as long as it lives.
pub(crate) struct Busy(Arc<ConnectionState>);

impl Busy {
    pub(crate) fn new(state: &Arc<ConnectionState>) -> Busy {
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

    fn end(&self, id: ConnectionId) {
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
    pub(crate) fn len(&self) -> usize {
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

/// Ends the connection in the list, however its task ends.
struct Registered<'a> {
    app: &'a App,
    id: ConnectionId,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.app.connections.end(self.id);
    }
}

/// Serves one connection until either side closes it.
pub(crate) async fn serve(
    app: Arc<App>,
    (id, state): (ConnectionId, Arc<ConnectionState>),
    stream: TcpStream,
    place: OwnedSemaphorePermit,
) {
    let _registered = Registered { app: &app, id };
    let _place = place;
    // Small answers must not wait for the client's acknowledgement of the last.
    let _ = stream.set_nodelay(true);
    let returned = Arc::new(Mutex::new(None));
    let watched = Watched {
        stream: Some(stream),
        state: Arc::clone(&state),
        returned: Arc::clone(&returned),
    };
    let ended = run(&app, &state, TokioIo::new(watched)).await;
    if matches!(ended, Ended::Unread) {
        let stream = returned.lock().take();
        if let Some(stream) = stream {
            tokio::select! {
                () = linger(stream) => {}
                () = state.told.notified() => {}
            }
        }
    }
}

/// How a connection ended.
enum Ended {
    /// Both sides know.
    Well,
    /// The client may be sending still.
    Unread,
}

async fn run(app: &Arc<App>, state: &Arc<ConnectionState>, io: TokioIo<Watched>) -> Ended {
    let service = service_fn(|request| answer(Arc::clone(app), Arc::clone(state), request));
    // Without `pipeline_flush`: it keeps the last answer back when the
    // connection ends before all that was read is answered.
    let connection = http1::Builder::new()
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_BUFFER_BYTES)
        .header_read_timeout(None)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            biased;
            // An error means that the client broke off or spoke no HTTP. Hyper
            // has answered what can be answered.
            ended = &mut connection => return match ended {
                Ok(()) if !state.unread.load(Ordering::Relaxed) => Ended::Well,
                _ => Ended::Unread,
            },
            () = state.told.notified() => match state.command.load(Ordering::Acquire) {
                CUT => return Ended::Well,
                DRAIN => connection.as_mut().graceful_shutdown(),
                _ => {}
            },
        }
    }
}

/// Closes a connection on which more may arrive, so that the client gets to
/// see the answer: closing with unread bytes resets the connection, and a reset
/// overtakes what was sent.
pub(crate) async fn linger(mut stream: TcpStream) {
    let read_on = async {
        stream.shutdown().await?;
        let mut unread = vec![0; 16 << 10];
        while stream.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    // Neither an error nor a client that does not stop changes anything now.
    let _ = tokio::time::timeout(LINGER, read_on).await;
}

async fn answer(
    app: Arc<App>,
    state: Arc<ConnectionState>,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    state.requests.fetch_add(1, Ordering::Relaxed);
    let busy = Busy::new(&state);
    // Of Content-Length and Transfer-Encoding together hyper believes the
    // latter and hides the former. A proxy before us may have believed the
    // other, so nothing more is read from such a connection (RFC 9112, 6.1).
    let close =
        request.headers().contains_key(TRANSFER_ENCODING) && request.version() == Version::HTTP_11;
    let mut reply = routes::handle(&app, &busy, request).await;
    if close {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if reply.headers().contains_key(CONNECTION) {
        state.unread.store(true, Ordering::Relaxed);
    }
    Ok(reply)
}

/// The stream, and what the sweeper needs to know of it.
///
/// Hyper keeps the stream to itself when a connection ends in an error, and
/// that is when we need it back: so it is returned on drop.
struct Watched {
    /// `None` only while it is dropped.
    stream: Option<TcpStream>,
    state: Arc<ConnectionState>,
    returned: Arc<Mutex<Option<TcpStream>>>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        *self.returned.lock() = self.stream.take();
    }
}

impl Watched {
    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(self.stream.as_mut().expect("taken by drop only"))
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.state.written_bytes.fetch_add(*bytes as u64, Ordering::Relaxed);
                self.state.write_blocked.store(false, Ordering::Relaxed);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.state.write_blocked.store(true, Ordering::Relaxed),
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write(cx, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write_vectored(cx, slices);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
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
