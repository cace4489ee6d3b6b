//! One client's connection: reading requests from it, answering, and closing it well.

use crate::app::App;
use crate::clients::{ConnectionId, ConnectionState, Told};
use crate::memory::MAX_BUFFER_BYTES;
use crate::reply::Reply;
use crate::routes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

/// Longest request head. A URI has at most 64 KiB (hyper).
const MAX_HEAD_BYTES: usize = 80 << 10;

/// How long a client may go on sending what no one wants.
const LINGER: Duration = Duration::from_secs(2);

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
                _ = state.told() => {}
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
    // Set by the last answer of a connection that it ends with bytes unread.
    // Written and read by this task: relaxed.
    let unread = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| {
        answer(Arc::clone(app), Arc::clone(state), Arc::clone(&unread), request)
    });
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
                Ok(()) if !unread.load(Ordering::Relaxed) => Ended::Well,
                _ => Ended::Unread,
            },
            told = state.told() => match told {
                Told::Cut => return Ended::Well,
                Told::Drain => connection.as_mut().graceful_shutdown(),
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
    unread: Arc<AtomicBool>,
    request: Request<Incoming>,
) -> Result<Reply, Infallible> {
    let busy = state.begin_request();
    // Of Content-Length and Transfer-Encoding together hyper believes the
    // latter and hides the former. A proxy before us may have believed the
    // other, so nothing more is read from such a connection (RFC 9112, 6.1).
    let close = request.headers().contains_key(TRANSFER_ENCODING);
    let mut reply = routes::handle(&app, &busy, request).await;
    if close {
        reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if reply.headers().contains_key(CONNECTION) {
        unread.store(true, Ordering::Relaxed);
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
            Poll::Ready(Ok(bytes)) => self.state.note_written(*bytes as u64),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.state.note_blocked(),
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
