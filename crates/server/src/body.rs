//! Reading request bodies within bounds of size, memory and time.

use crate::app::App;
use crate::problem::{Kind, Problem, Result};
use bytes::{Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies up to here are bounded by the number of connections alone.
const SMALL_BYTES: usize = 64 << 10;

/// Memory for larger ones is counted in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// A request body in memory.
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    /// Its share of [`BodyMemory`], held until the request is answered.
    _memory: Option<OwnedSemaphorePermit>,
}

/// What large bodies take together.
pub(crate) struct BodyMemory(Arc<Semaphore>);

impl BodyMemory {
    pub(crate) fn new(max_bytes: usize) -> BodyMemory {
        BodyMemory(Arc::new(Semaphore::new(max_bytes.div_ceil(PIECE_BYTES))))
    }

    /// Adds to `held` what is lacking for `bytes`. Never waits: two half-read
    /// bodies that wait for each other would never end.
    fn reserve(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<()> {
        let have = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let lacking = bytes.div_ceil(PIECE_BYTES).saturating_sub(have);
        let lacking = u32::try_from(lacking).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.0).try_acquire_many_owned(lacking).map_err(|_| {
            Problem::new(
                Kind::Overloaded,
                "too many large requests are under way; try again in a second",
            )
            .closing()
        })?;
        match held {
            Some(permit) => permit.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }
}

/// Reads the whole body.
///
/// Takes no copy when it arrives in one piece, which is the rule for small
/// ones. A declared length reserves its share at once, but memory is taken
/// only as bytes arrive.
pub(crate) async fn read(app: &App, body: Incoming) -> Result<Received> {
    let declared = body.size_hint().exact();
    if let Some(length) = declared
        && length > app.limits.max_body_bytes as u64
    {
        return Err(too_large(app));
    }
    let mut body = body;
    // Most bodies lie behind their head in the same packet: no timer for these.
    let first = match poll_now(&mut body).await {
        Some(first) => first?,
        None => return read_slowly(app, body, declared, None).await,
    };
    match first {
        None => Ok(Received { bytes: Bytes::new(), _memory: None }),
        Some(bytes) if Some(bytes.len() as u64) == declared => {
            Ok(Received { bytes, _memory: None })
        }
        Some(bytes) => read_slowly(app, body, declared, Some(bytes)).await,
    }
}

async fn read_slowly(
    app: &App,
    mut body: Incoming,
    declared: Option<u64>,
    first: Option<Bytes>,
) -> Result<Received> {
    let expected_bytes = declared.unwrap_or(app.limits.max_body_bytes as u64);
    let patience = app.limits.body_timeout + Duration::from_secs(expected_bytes >> 20);
    let read = async {
        let mut memory = None;
        if let Some(length) = declared
            && length > SMALL_BYTES as u64
        {
            app.body_memory.reserve(&mut memory, length as usize)?;
        }
        let mut whole = BytesMut::from(first.unwrap_or_default());
        while let Some(piece) = next_piece(&mut body).await? {
            let length = whole.len() + piece.len();
            if length > app.limits.max_body_bytes {
                return Err(too_large(app));
            }
            if length > SMALL_BYTES {
                app.body_memory.reserve(&mut memory, length)?;
            }
            whole.extend_from_slice(&piece);
        }
        Ok(Received { bytes: whole.freeze(), _memory: memory })
    };
    match tokio::time::timeout(patience, read).await {
        Ok(result) => result,
        Err(_) => Err(Problem::new(
            Kind::SlowBody,
            format!(
                "the body did not arrive within {} s; nothing was done; send it faster",
                patience.as_secs()
            ),
        )
        .closing()),
    }
}

fn too_large(app: &App) -> Problem {
    Problem::new(
        Kind::BodyTooLarge,
        format!(
            "a request body may have {} bytes; split it into several requests",
            app.limits.max_body_bytes
        ),
    )
    .closing()
}

/// The next piece if it is there; `None` when it would have to be waited for.
async fn poll_now(body: &mut Incoming) -> Option<Result<Option<Bytes>>> {
    poll_fn(|cx| match poll_piece(body, cx) {
        std::task::Poll::Ready(piece) => std::task::Poll::Ready(Some(piece)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>> {
    poll_fn(|cx| poll_piece(body, cx)).await
}

fn poll_piece(
    body: &mut Incoming,
    cx: &mut std::task::Context<'_>,
) -> std::task::Poll<Result<Option<Bytes>>> {
    use std::task::Poll;
    loop {
        return match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(Ok(None)),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(bytes) => Poll::Ready(Ok(Some(bytes))),
                Err(_trailers) => continue,
            },
            Poll::Ready(Some(Err(e))) => Poll::Ready(Err(Problem::new(
                Kind::InvalidParameter,
                format!("the body broke off: {e}; nothing was done; send it again"),
            )
            .closing())),
        };
    }
}
