//! Reading request bodies within bounds of size, memory and time.

use crate::memory::{Memory, SMALL_BYTES, Share};
use crate::options::Limits;
use crate::problem::{Kind, Problem, Result};
use bytes::{Bytes, BytesMut};
use http_body::Body;
use hyper::body::Incoming;
use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

/// A request body in memory.
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    /// Its share of the memory, held until the request is answered. `None` for a small one.
    pub(crate) share: Option<Share>,
}

/// Reads bodies.
pub(crate) struct Bodies {
    max_bytes: usize,
    timeout: Duration,
}

impl Bodies {
    pub(crate) fn new(limits: &Limits) -> Bodies {
        Bodies { max_bytes: limits.max_body_bytes, timeout: limits.body_timeout }
    }

    /// Reads the whole body.
    ///
    /// Takes no copy when it arrives in one piece, which is the rule for small
    /// ones. A declared length claims its share at once, but memory is taken
    /// only as bytes arrive.
    pub(crate) async fn read(&self, memory: &Memory, body: &mut Incoming) -> Result<Received> {
        let declared = body.size_hint().exact();
        if let Some(length) = declared
            && length > self.max_bytes as u64
        {
            return Err(self.too_large());
        }
        // Most bodies lie behind their head in the same packet: no timer for these.
        let first = match poll_now(body).await {
            Some(first) => first?,
            None => return self.read_slowly(memory, body, declared, Bytes::new()).await,
        };
        match first {
            None => Ok(Received { bytes: Bytes::new(), share: None }),
            Some(bytes) if Some(bytes.len() as u64) == declared => {
                if bytes.len() <= SMALL_BYTES {
                    return Ok(Received { bytes, share: None });
                }
                let mut share = memory.request();
                share.hold_soon(bytes.len()).await?;
                Ok(Received { bytes, share: Some(share) })
            }
            Some(bytes) => self.read_slowly(memory, body, declared, bytes).await,
        }
    }

    async fn read_slowly(
        &self,
        memory: &Memory,
        body: &mut Incoming,
        declared: Option<u64>,
        first: Bytes,
    ) -> Result<Received> {
        let expected_bytes = declared.unwrap_or(self.max_bytes as u64);
        let patience = self.timeout + Duration::from_secs(expected_bytes >> 20);
        let read = async {
            let mut share = memory.request();
            share.hold_soon(declared.unwrap_or(0) as usize).await.map_err(Problem::closing)?;
            // Pages that no byte has reached yet take no memory.
            let mut whole = match declared {
                Some(length) => BytesMut::with_capacity(length as usize),
                None => BytesMut::new(),
            };
            whole.extend_from_slice(&first);
            drop(first);
            while let Some(piece) = next_piece(body).await? {
                let length = whole.len() + piece.len();
                if length > self.max_bytes {
                    return Err(self.too_large());
                }
                if length > whole.capacity() {
                    // Doubled, as the buffer does by itself, but claimed first.
                    let capacity = length.next_power_of_two().min(self.max_bytes);
                    share.hold(capacity).map_err(Problem::closing)?;
                    whole.reserve(capacity - whole.len());
                }
                whole.extend_from_slice(&piece);
            }
            Ok(Received { bytes: whole.freeze(), share: Some(share) })
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

    fn too_large(&self) -> Problem {
        Problem::new(
            Kind::BodyTooLarge,
            format!(
                "a request body may have {} bytes with this memory budget; split it into several requests, or give the server more memory",
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
