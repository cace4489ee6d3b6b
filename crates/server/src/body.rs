//! Reading request bodies within bounds of size, memory and time.

use crate::options::Limits;
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
    /// Its share of the memory for large bodies, held until the request is answered.
    _memory: Option<OwnedSemaphorePermit>,
}

/// Reads bodies.
pub(crate) struct Bodies {
    max_bytes: usize,
    timeout: Duration,
    /// What large bodies may take together, in pieces.
    memory: Arc<Semaphore>,
}

impl Bodies {
    pub(crate) fn new(limits: &Limits) -> Bodies {
        Bodies {
            max_bytes: limits.max_body_bytes,
            timeout: limits.body_timeout,
            memory: Arc::new(Semaphore::new(limits.max_buffered_bytes.div_ceil(PIECE_BYTES))),
        }
    }

    /// Reads the whole body.
    ///
    /// Takes no copy when it arrives in one piece, which is the rule for small
    /// ones. A declared length reserves its share at once, but memory is taken
    /// only as bytes arrive.
    pub(crate) async fn read(&self, body: &mut Incoming) -> Result<Received> {
        let declared = body.size_hint().exact();
        if let Some(length) = declared
            && length > self.max_bytes as u64
        {
            return Err(self.too_large());
        }
        // Most bodies lie behind their head in the same packet: no timer for these.
        let first = match poll_now(body).await {
            Some(first) => first?,
            None => return self.read_slowly(body, declared, Bytes::new()).await,
        };
        match first {
            None => Ok(Received { bytes: Bytes::new(), _memory: None }),
            Some(bytes) if Some(bytes.len() as u64) == declared => {
                Ok(Received { bytes, _memory: None })
            }
            Some(bytes) => self.read_slowly(body, declared, bytes).await,
        }
    }

    async fn read_slowly(
        &self,
        body: &mut Incoming,
        declared: Option<u64>,
        first: Bytes,
    ) -> Result<Received> {
        let expected_bytes = declared.unwrap_or(self.max_bytes as u64);
        let patience = self.timeout + Duration::from_secs(expected_bytes >> 20);
        let read = async {
            let mut memory = None;
            self.reserve(&mut memory, declared.unwrap_or(0) as usize)?;
            let mut whole = BytesMut::from(first);
            while let Some(piece) = next_piece(body).await? {
                let length = whole.len() + piece.len();
                if length > self.max_bytes {
                    return Err(self.too_large());
                }
                self.reserve(&mut memory, length)?;
                whole.extend_from_slice(&piece);
            }
            Ok(Received { bytes: whole.freeze(), _memory: memory })
        };
        tokio::time::timeout(patience, read).await.unwrap_or_else(|_| {
            Err(Problem::new(
                Kind::SlowBody,
                format!(
                    "the body did not arrive within {} s; nothing was done; send it faster",
                    patience.as_secs()
                ),
            )
            .closing())
        })
    }

    /// Adds to `held` what is lacking for `bytes`. Never waits: two half-read
    /// bodies that wait for each other would never end.
    fn reserve(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<()> {
        if bytes <= SMALL_BYTES {
            return Ok(());
        }
        let have = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let lacking = bytes.div_ceil(PIECE_BYTES).saturating_sub(have);
        let lacking = u32::try_from(lacking).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.memory).try_acquire_many_owned(lacking).map_err(|_| {
            Problem::new(
                Kind::Overloaded,
                "too many large requests are under way; nothing was done; try again in a second",
            )
            .closing()
        })?;
        match held {
            Some(permit) => permit.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }

    fn too_large(&self) -> Problem {
        Problem::new(
            Kind::BodyTooLarge,
            format!(
                "a request body may have {} bytes; split it into several requests",
                self.max_bytes
            ),
        )
        .closing()
    }
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
