//! What requests and answers take of the database's memory budget.
//!
//! Small ones are bounded by the number of connections, which the budget bounds. Each
//! larger one claims its bytes of the engine's one account for as long as it has them,
//! and all of a kind together take no more than a part of the budget, so that clients
//! cannot take the memory that reading and writing need.

use crate::options::Limits;
use crate::problem::{Kind, Problem, Result};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tanada::{Db, MemoryClaim};

/// Most bytes buffered for one connection: a whole head. Only what comes with a large
/// body fills it, and that claims it too.
pub(crate) const MAX_BUFFER_BYTES: usize = 96 << 10;

/// Requests and answers up to here are not claimed.
pub(crate) const SMALL_BYTES: usize = 16 << 10;

/// Copies up to here are not claimed: there is one at a time.
const COPIED_BYTES: u64 = 4 << 20;

/// A request that comes while memory is short, or behind one that takes all of their part,
/// waits so often and so long, before it is refused. It holds nothing meanwhile: what it
/// has to say is not read.
const TRIES: u32 = 500;
pub(crate) const PAUSE: Duration = Duration::from_millis(10);

/// Of the budget, what large requests may take together, and what answers may.
const REQUESTS: u64 = 8;
const ANSWERS: u64 = 4;

/// Of the budget, what the buffers of connections may take together, and those of
/// streamed scans.
const BUFFERS: u64 = 8;

/// What a connection takes: its task, its buffers, a small body.
const CONNECTION_BYTES: u64 = 32 << 10;

/// Connections that are taken however small the budget is.
const MIN_CONNECTIONS: u64 = 128;

/// What a streamed scan takes: two chunks.
const SCAN_BYTES: u64 = 144 << 10;

/// Lowers `limits` to what the budget of `db` has room for.
pub(crate) fn within_budget(mut limits: Limits, db: &Db) -> Limits {
    let memory = db.stats().memory;
    let (budget, largest) = (memory.budget_bytes, memory.largest_batch_bytes);
    let at_most = |limit: &mut usize, bytes: u64| {
        *limit = (*limit).min(usize::try_from(bytes).unwrap_or(usize::MAX));
    };
    at_most(&mut limits.max_value_bytes, largest);
    // In base64 a value takes four thirds of its bytes; the rest is for names and keys.
    at_most(&mut limits.max_body_bytes, largest + largest / 2);
    at_most(&mut limits.max_buffered_bytes, budget / REQUESTS);
    at_most(&mut limits.max_queued_bytes, budget / REQUESTS);
    at_most(
        &mut limits.max_connections,
        (budget / BUFFERS / CONNECTION_BYTES).max(MIN_CONNECTIONS),
    );
    at_most(&mut limits.max_scans, (budget / BUFFERS / SCAN_BYTES).max(1));
    limits
}

/// The parts of the budget that the server claims.
pub(crate) struct Memory {
    db: Db,
    requests: Arc<Part>,
    answers: Arc<Part>,
}

/// What all of a kind hold.
struct Part {
    name: &'static str,
    max_bytes: u64,
    /// What each of them takes besides: of a request, the buffer it is read through.
    buffer_bytes: u64,
    /// Only a bound is read from it: relaxed.
    taken_bytes: AtomicU64,
}

impl Memory {
    /// `limits` are within the budget already.
    pub(crate) fn new(db: &Db, limits: &Limits) -> Memory {
        let part = |name, max_bytes, buffer_bytes| {
            let taken_bytes = AtomicU64::new(0);
            Arc::new(Part { name, max_bytes, buffer_bytes, taken_bytes })
        };
        let budget = db.stats().memory.budget_bytes;
        Memory {
            db: db.clone(),
            requests: part("requests", limits.max_buffered_bytes as u64, MAX_BUFFER_BYTES as u64),
            answers: part("answers", budget / ANSWERS, 0),
        }
    }

    /// Nothing yet, for a request.
    pub(crate) fn request(&self) -> Share {
        self.share(&self.requests)
    }

    /// Nothing yet, for an answer.
    pub(crate) fn answer(&self) -> Share {
        self.share(&self.answers)
    }

    fn share(&self, part: &Arc<Part>) -> Share {
        Share { db: self.db.clone(), part: Arc::clone(part), claim: None }
    }
}

impl Part {
    /// Whether `more` can be added for one who has `had` already: alone it may take
    /// more than the part, or what is larger than the part could never be taken.
    fn take(&self, had: u64, more: u64) -> bool {
        let before = self.taken_bytes.fetch_add(more, Ordering::Relaxed);
        let fits = before == had || before + more <= self.max_bytes;
        if !fits {
            self.give(more);
        }
        fits
    }

    fn give(&self, bytes: u64) {
        self.taken_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one request or one answer has of the budget, given back when dropped.
pub(crate) struct Share {
    db: Db,
    part: Arc<Part>,
    /// `None` as long as it is small.
    claim: Option<MemoryClaim>,
}

impl Share {
    /// What it has of its part: all but the buffer.
    fn bytes(&self) -> u64 {
        self.claim.as_ref().map_or(0, |claim| claim.bytes() - self.part.buffer_bytes)
    }

    /// Claims what is lacking for `bytes` in all. Never waits: two that have half of
    /// theirs and wait for each other would never end.
    ///
    /// # Errors
    /// [`Kind::Overloaded`]; it keeps what it had.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<()> {
        let had = self.bytes();
        let more = (bytes as u64).saturating_sub(had);
        if bytes <= SMALL_BYTES || more == 0 {
            return Ok(());
        }
        if !self.part.take(had, more) {
            return Err(Problem::new(
                Kind::Overloaded,
                format!(
                    "large {} take their part of the memory budget, {} bytes, already; nothing was done; try again in a second",
                    self.part.name, self.part.max_bytes
                ),
            ));
        }
        let claimed = match &mut self.claim {
            Some(claim) => claim.grow(more),
            None => {
                let claim = self.db.claim_memory(more + self.part.buffer_bytes);
                claim.map(|claim| self.claim = Some(claim))
            }
        };
        claimed.map_err(|e| {
            self.part.give(more);
            Problem::from(e)
        })
    }

    /// As [`Share::hold`], but where there is no room it waits five seconds for some: a
    /// flush or another request may be about to give memory back.
    ///
    /// # Errors
    /// As [`Share::hold`].
    pub(crate) async fn hold_soon(&mut self, bytes: usize) -> Result<()> {
        for _ in 1..TRIES {
            match self.hold(bytes) {
                Err(e) if e.kind() == Kind::Overloaded => tokio::time::sleep(PAUSE).await,
                outcome => return outcome,
            }
        }
        self.hold(bytes)
    }

    /// Claims as much again, for a large request that is being copied. That it came this
    /// far must not depend on other requests: their part is not asked.
    pub(crate) fn copy(&self) -> tanada::Result<Option<MemoryClaim>> {
        let bytes = self.bytes();
        (bytes > COPIED_BYTES).then(|| self.db.claim_memory(bytes)).transpose()
    }

    /// The bytes, which have the share for as long as anyone has them.
    pub(crate) fn over(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Held { bytes, _share: self })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.part.give(self.bytes());
    }
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Share").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

/// Bytes with their share. Dropped in this order.
struct Held<T> {
    bytes: T,
    _share: Share,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}
