//! Answers: a body that is whole or streamed, and the few shapes most answers have.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// One answer.
pub(crate) type Reply = Response<ReplyBody>;

/// Makes a body piece by piece.
pub(crate) trait BodyStream: Send {
    /// The next piece; an error breaks the connection off, so that no client
    /// takes what it has for all there is.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>>;
}

/// The body of an answer.
pub(crate) enum ReplyBody {
    /// Whole; `None` once it is sent.
    Full(Option<Bytes>),
    /// Made while it is sent.
    Stream(Box<dyn BodyStream>),
}

impl ReplyBody {
    pub(crate) fn full(bytes: impl Into<Bytes>) -> ReplyBody {
        ReplyBody::Full(Some(bytes.into()))
    }

    pub(crate) fn empty() -> ReplyBody {
        ReplyBody::Full(None)
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            ReplyBody::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            ReplyBody::Stream(stream) => {
                stream.poll_chunk(cx).map(|chunk| chunk.map(|c| c.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, ReplyBody::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Full(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            ReplyBody::Stream(_) => SizeHint::default(),
        }
    }
}

/// 200 with JSON that is already text.
pub(crate) fn json(text: impl Into<Bytes>) -> Reply {
    typed("application/json", text)
}

/// 200 with JSON of a small structure; costs an allocation for each member.
pub(crate) fn json_of(value: &impl serde::Serialize) -> Reply {
    let mut text = serde_json::to_vec(value).expect("our own structures have string keys only");
    text.push(b'\n');
    json(text)
}

/// 200 with bytes of a type.
pub(crate) fn typed(content_type: &'static str, bytes: impl Into<Bytes>) -> Reply {
    let mut reply = Reply::new(ReplyBody::full(bytes));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// A status without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Reply::new(ReplyBody::empty());
    *reply.status_mut() = status;
    reply
}
