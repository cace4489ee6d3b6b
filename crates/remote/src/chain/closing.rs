//! Closing epochs: each gets a fence at its first free place, and is then read to its end.
//!
//! After the fence no chunk of a stalled owner can become part of the log: its places are
//! acknowledged in order, and the first that it did not know to be stored is taken. A fence
//! that could not be placed is no fence: the place is read again, and what is there counts.

use super::error::ChainError;
use super::walking::{Replayed, Step, Walk, next_epoch};
use crate::bucket::{Bucket, Created};
use crate::codec::{ChainEpoch, Kind, LogObject, Manifest, Point};
use crate::ids::{Epoch, Nonce};
use crate::name::ObjectName;
use tanada_format::{DatabaseId, planted};

/// Who closes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closer {
    pub(super) database: DatabaseId,
    pub(super) nonce: Nonce,
    pub(super) epoch: Epoch,
    pub(super) wall_ms: u64,
    pub(super) window: usize,
}

/// Takes chunks in the order of the chain while it is walked.
#[async_trait::async_trait]
pub trait Replay: Send {
    /// The next chunk. It must be kept or applied before this ends; memory is the caller's.
    async fn chunk(&mut self, chunk: Replayed) -> Result<(), ChainError>;
}

/// What was closed.
#[derive(Clone, Debug)]
pub(super) struct Closed {
    /// The chain with all ends.
    pub(super) chain: Vec<ChainEpoch>,
    /// Where the closer's own log begins.
    pub(super) begin: Point,
    /// How many chunks there were.
    pub(super) chunks: u64,
}

/// Closes every epoch below the closer's, from `from` on.
pub(super) async fn close_all(
    bucket: &Bucket,
    manifest: &Manifest,
    from: Point,
    closer: Closer,
    replay: &mut dyn Replay,
) -> Result<Closed, ChainError> {
    let mut chain = manifest.chain.clone();
    let (mut at, mut chunks) = (from, 0);
    if planted!(only_the_last_epoch_is_closed) && closer.epoch.0 > at.place.epoch.0 + 1 {
        at.place = crate::ids::Place { epoch: Epoch(closer.epoch.0 - 1), index: 0 };
    }
    while at.place.epoch < closer.epoch {
        let entry = chain.iter_mut().find(|entry| entry.epoch == at.place.epoch);
        let (owner, recorded) = match &entry {
            Some(entry) => (Some(entry.nonce), entry.end),
            // Not listed: its fence says where it ends.
            None => (None, None),
        };
        let (end, behind) = close(bucket, at, owner, recorded, closer, replay).await?;
        if let Some(entry) = entry {
            entry.end = Some(end);
        }
        chunks += end.place.index - at.place.index;
        at = next_epoch(&behind);
    }
    Ok(Closed { chain, begin: at, chunks })
}

/// Walks one epoch to its fence, placing it if there is none. Returns the end, and the point
/// behind the fence.
async fn close(
    bucket: &Bucket,
    from: Point,
    owner: Option<Nonce>,
    recorded: Option<Point>,
    closer: Closer,
    replay: &mut dyn Replay,
) -> Result<(Point, Point), ChainError> {
    let last = recorded.map(|end| end.place.index);
    let mut walk = Walk::new(bucket, closer.database, owner, from, closer.window).up_to(last);
    loop {
        let end = walk.at;
        let name = ObjectName::Log(end.place);
        let mut step = walk.step().await?;
        if let (Step::Nothing, Some(recorded)) = (&step, recorded) {
            let what = format!("nothing is there, and the epoch ends at {}", recorded.place);
            return Err(ChainError::Broken { object: bucket.path(&name), what });
        }
        if let Step::Nothing = step {
            let fence = LogObject {
                database: closer.database,
                place: end.place,
                writer: closer.nonce,
                writer_epoch: closer.epoch,
                previous: end.hash,
                wall_ms: closer.wall_ms,
                kind: Kind::Fence(end.position),
            };
            let bytes = fence.encode();
            step = match bucket.create_exactly(&name, bytes.clone()).await? {
                Created::Mine(_) => walk.take(&bytes)?,
                Created::Taken(_) if planted!(third_writer_between_probe_and_fence) => {
                    walk.take(&bytes)?
                }
                // A chunk that came first, or another opener's fence.
                Created::Taken(object) => walk.take(&object.bytes)?,
            };
        }
        match step {
            Step::Chunk(object) => {
                if recorded.is_some_and(|recorded| end.place >= recorded.place) {
                    let what = "a chunk lies where the epoch ends".to_owned();
                    return Err(ChainError::Broken { object: bucket.path(&name), what });
                }
                if let Some(chunk) = Replayed::of(*object, walk.at) {
                    replay.chunk(chunk).await?;
                }
            }
            Step::Fence => {
                if recorded.is_some_and(|recorded| recorded != end) {
                    let what = "the epoch ends elsewhere than MANIFEST says".to_owned();
                    return Err(ChainError::Broken { object: bucket.path(&name), what });
                }
                return Ok((end, walk.at));
            }
            Step::Nothing => unreachable!("the place was filled above"),
        }
    }
}
