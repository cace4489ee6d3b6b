//! Verifying the chain: from the floor through every end to the last chunk, each object
//! names the one before it, and positions have no gap.
//!
//! It changes nothing, so it can run beside an owner. What the owner writes meanwhile is
//! found or not. It never looks below the floor, where late requests may have left strays.

use super::error::ChainError;
use super::walking::{Step, WINDOW, Walk, next_epoch};
use crate::bucket::Bucket;
use crate::codec::{Manifest, Point};
use crate::ids::{Epoch, Nonce};
use crate::name::ObjectName;

/// What was found in one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEpoch {
    /// Which.
    pub epoch: Epoch,
    /// Its owner; `None` for one that the chain does not list.
    pub nonce: Option<Nonce>,
    /// Chunks from the floor on.
    pub chunks: u64,
    /// Their payload in bytes.
    pub bytes: u64,
    /// Where its fence is, or where its log goes on.
    pub end: Point,
    /// Whether there is a fence.
    pub closed: bool,
}

/// Walks the chain that `manifest` records. One GET a place, and reads all of the log.
///
/// # Errors
///
/// The store's; [`ChainError::Broken`] and [`ChainError::Unreadable`] name the first object
/// that does not fit. They mean damage only when the floor is still where `manifest` has it:
/// chunks below a floor that has moved meanwhile may be collected. Read `MANIFEST` again, and
/// when its floor is another, verify again.
pub async fn verify(
    bucket: &Bucket,
    manifest: &Manifest,
) -> Result<Vec<VerifiedEpoch>, ChainError> {
    let mut found = Vec::new();
    let mut at = manifest.floor;
    // Whoever confirms has closed all epochs before its own.
    let confirmed = manifest.chain.iter().rev().skip(1).all(|entry| entry.end.is_some());
    loop {
        let epoch = at.place.epoch;
        let entry = manifest.epoch_of_chain(epoch);
        let nonce = entry.map(|entry| entry.nonce);
        let recorded = entry.and_then(|entry| entry.end);
        let last = recorded.map(|end| end.place.index);
        let mut walk = Walk::new(bucket, manifest.database, nonce, at, WINDOW).up_to(last);
        let (mut chunks, mut bytes) = (0, 0);
        let (end, closed) = loop {
            let place = walk.at;
            let broken = |what: &str| ChainError::Broken {
                object: bucket.path(&ObjectName::Log(place.place)),
                what: what.to_owned(),
            };
            match walk.step().await? {
                Step::Chunk(object) => {
                    if recorded.is_some_and(|end| place.place >= end.place) {
                        return Err(broken("a chunk lies where the epoch ends"));
                    }
                    chunks += 1;
                    bytes += object.payload_len();
                }
                Step::Fence if recorded.is_some_and(|end| end != place) => {
                    return Err(broken("the epoch ends elsewhere than MANIFEST says"));
                }
                Step::Fence => break (place, true),
                Step::Nothing if recorded.is_some() => {
                    return Err(broken("nothing is there, and the epoch goes on in MANIFEST"));
                }
                Step::Nothing if epoch < manifest.epoch && entry.is_none() && confirmed => {
                    return Err(broken("an epoch that is not listed has no fence"));
                }
                Step::Nothing => break (place, false),
            }
        };
        found.push(VerifiedEpoch { epoch, nonce, chunks, bytes, end, closed });
        if !closed || epoch >= manifest.epoch {
            return Ok(found);
        }
        at = next_epoch(&walk.at);
    }
}
