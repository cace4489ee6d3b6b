//! A scan or a dump as an NDJSON stream: made chunk by chunk as the client takes it.
//!
//! Each chunk is made on a blocking thread that it does not keep between two
//! chunks, so that slow readers hold no threads. At most two chunks are in
//! memory: the one being sent, and the next one being made meanwhile. What a large
//! value adds to a chunk is claimed of the memory budget; where that has no room, the chunk
//! ends before it, and the stream waits: it may be its own last chunk that is in the way.

use super::walk::Walk;
use crate::app::App;
use crate::clients::Busy;
use crate::memory::PAUSE;
use crate::pool::panicked;
use crate::problem::{Kind, Problem};
use crate::reply::BodyStream;
use bytes::Bytes;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tanada::Record;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Sleep, sleep};

/// A chunk ends with the entry that crosses this.
const CHUNK_BYTES: usize = 64 << 10;

/// A value that finds no room in the memory budget is tried after pauses that grow from
/// [`PAUSE`] to this, for a minute in all. Who sends or takes so slowly that others wait for
/// longer is cut off before.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
const MOST_WAITS: u32 = 300;

/// How long the line that names a problem may take to be sent.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A walk that is being streamed.
struct Source {
    app: Arc<App>,
    state: SourceState,
    /// Entries still to send.
    left: u64,
    /// An entry that found no room, and how often.
    waiting: Option<Record>,
    waits: u32,
}

enum SourceState {
    /// Opens what it walks, on a thread that may block.
    Unstarted(Box<dyn FnOnce() -> Walk + Send>),
    Walking(Box<Walk>),
}

/// What making one chunk gave.
enum Chunk {
    /// There may be more.
    Part(Bytes, Box<Source>),
    /// There is no room for the next entry now.
    NoRoom(Box<Source>),
    /// That was all.
    Last(Bytes),
    /// The scan broke off behind these entries.
    Broken(Vec<u8>, Problem),
}

impl Source {
    fn chunk(mut self) -> Chunk {
        let mut out = Vec::new();
        let mut share = self.app.memory.answer();
        let mut walk = match self.state {
            SourceState::Unstarted(start) => Box::new(start()),
            SourceState::Walking(walk) => walk,
        };
        while self.left > 0 {
            let record = match self.waiting.take().map(Ok).or_else(|| walk.next()) {
                None if walk.next_keyspace(&mut out) => continue,
                None => return Chunk::Last(share.over(out)),
                Some(Err(e)) => return Chunk::Broken(out, e.into()),
                Some(Ok(record)) => record,
            };
            if out.capacity() == 0 {
                out.reserve_exact(CHUNK_BYTES + 4096);
            }
            match walk.push_item(&mut out, &mut share, &record) {
                Ok(()) => {
                    out.push(b'\n');
                    (self.left, self.waits) = (self.left - 1, 0);
                }
                Err(problem) if problem.kind() != Kind::Overloaded || self.waits == MOST_WAITS => {
                    return Chunk::Broken(out, problem);
                }
                Err(_) => {
                    (self.waiting, self.state) = (Some(record), SourceState::Walking(walk));
                    if !out.is_empty() {
                        return Chunk::Part(share.over(out), Box::new(self));
                    }
                    self.waits += 1;
                    return Chunk::NoRoom(Box::new(self));
                }
            }
            if out.len() >= CHUNK_BYTES {
                self.state = SourceState::Walking(walk);
                return Chunk::Part(share.over(out), Box::new(self));
            }
        }
        Chunk::Last(share.over(out))
    }
}

/// The body of a streamed scan.
pub(super) struct ScanStream {
    making: Making,
    _place: OwnedSemaphorePermit,
    _busy: Busy,
}

enum Making {
    Next(JoinHandle<Chunk>),
    /// Until others, or this stream's last chunk, have given memory back.
    Waiting(Pin<Box<Sleep>>, Option<Box<Source>>),
    /// The problem has been handed over as a line. When the time is up the
    /// stream breaks off: an error at once would overtake what is not sent yet.
    Broken(Pin<Box<Sleep>>),
    Done,
}

impl ScanStream {
    pub(super) fn start(
        app: &Arc<App>,
        start: impl FnOnce() -> Walk + Send + 'static,
        limit: Option<u64>,
        place: OwnedSemaphorePermit,
        busy: Busy,
    ) -> ScanStream {
        let state = SourceState::Unstarted(Box::new(start));
        let left = limit.unwrap_or(u64::MAX);
        let source = Source { app: Arc::clone(app), state, left, waiting: None, waits: 0 };
        let making = Making::Next(spawn_blocking(|| source.chunk()));
        ScanStream { making, _place: place, _busy: busy }
    }
}

impl BodyStream for ScanStream {
    /// A scan that fails in the middle must not look complete: the last line is
    /// a problem, and then the connection breaks without the end of the body.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let made = loop {
            match &mut self.making {
                Making::Done => return Poll::Ready(None),
                Making::Broken(patience) => {
                    ready!(patience.as_mut().poll(cx));
                    self.making = Making::Done;
                    return Poll::Ready(Some(Err(io::Error::other("the scan broke off"))));
                }
                Making::Waiting(pause, source) => {
                    ready!(pause.as_mut().poll(cx));
                    let source = source.take().expect("it waits once");
                    self.making = Making::Next(spawn_blocking(|| source.chunk()));
                }
                Making::Next(task) => match ready!(Pin::new(task).poll(cx)) {
                    Ok(Chunk::NoRoom(source)) => {
                        let pause = PAUSE * 2u32.pow(source.waits.min(8));
                        let pause = Box::pin(sleep(pause.min(LONGEST_PAUSE)));
                        self.making = Making::Waiting(pause, Some(source));
                    }
                    Ok(chunk) => break chunk,
                    Err(_) => break Chunk::Broken(Vec::new(), panicked()),
                },
            }
        };
        let bytes = match made {
            Chunk::NoRoom(_) => unreachable!("waited for above"),
            Chunk::Part(bytes, source) => {
                self.making = Making::Next(spawn_blocking(|| source.chunk()));
                bytes
            }
            Chunk::Last(bytes) => {
                self.making = Making::Done;
                if bytes.is_empty() {
                    return Poll::Ready(None);
                }
                bytes
            }
            Chunk::Broken(mut bytes, problem) => {
                self.making = Making::Broken(Box::pin(sleep(LAST_WORDS)));
                bytes.extend_from_slice(b"{\"problem\":");
                bytes.extend_from_slice(problem.to_json().get().as_bytes());
                bytes.extend_from_slice(b"}\n");
                bytes.into()
            }
        };
        Poll::Ready(Some(Ok(bytes)))
    }
}
