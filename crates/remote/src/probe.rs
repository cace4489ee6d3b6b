//! Does the store do what it says? Looked at before anything else, since all of fencing
//! stands on it.
//!
//! Some stores accept `If-None-Match` and ignore it; some look first and write then, and let
//! several racing writers win. So eight tasks race to create one object, and race to swap it;
//! exactly one of each must win, and the object must be the winner's.

use crate::bucket::{Bucket, Created, Put};
use crate::ids::Nonce;
use crate::name::ObjectName;
use crate::store::{Class, Failure, Version};
use bytes::Bytes;
use futures_util::future::join_all;
use std::fmt;
use tanada_format::planted;

/// Writers that race.
const RACERS: usize = 8;
/// Rounds when a bucket is first used.
pub const ROUNDS_AT_FIRST: u32 = 20;
/// Rounds when it was found good before.
pub const ROUNDS_LATER: u32 = 2;

/// What a store was seen to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// It replaces an object only when it has the version that was named. If not, registers
    /// are numbered objects.
    pub swap: bool,
    /// It deletes an object only when it has the version that was named. The protocol does
    /// not depend on it.
    pub conditional_delete: bool,
}

/// Why a store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It does not keep its word: two servers could overwrite each other's data.
    Lies(String),
    /// It could not be asked.
    Failed(Failure),
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::Lies(how) => write!(
                f,
                "this store {how}; two servers could overwrite each other's data. Use a store \
                 with conditional writes: Amazon S3, Google Cloud Storage, Azure Blob Storage, \
                 Cloudflare R2, Ceph, or file:// on a local disk"
            ),
            Unfit::Failed(failure) => write!(f, "the store could not be tested: {failure}"),
        }
    }
}

impl std::error::Error for Unfit {}

impl From<Failure> for Unfit {
    fn from(failure: Failure) -> Unfit {
        Unfit::Failed(failure)
    }
}

/// Races `rounds` times below `probe/`. Some 20 requests a round, most of them at once.
///
/// # Errors
///
/// [`Unfit::Lies`]: the store must not be used. [`Unfit::Failed`]: it could not be tested.
pub async fn probe(bucket: &Bucket, rounds: u32) -> Result<Found, Unfit> {
    let claims = bucket.abilities();
    let mut found = Found { swap: claims.swap, conditional_delete: claims.conditional_delete };
    for _ in 0..rounds {
        let name = ObjectName::Probe(Nonce::draw(bucket.random()));
        let result = round(bucket, &name, &mut found).await;
        // Also after a failure: a probe leaves nothing behind if it can.
        let cleaned = bucket.delete(&name).await;
        result?;
        cleaned?;
    }
    Ok(found)
}

async fn round(bucket: &Bucket, name: &ObjectName, found: &mut Found) -> Result<(), Unfit> {
    let first = race_to_create(bucket, name).await?;
    let latest = if found.swap { race_to_swap(bucket, name, &first).await? } else { first.clone() };
    if found.swap {
        // A version that was replaced never comes back.
        match bucket.swap(name, &first, content(bucket)).await? {
            Put::Lost => {}
            Put::Unknown(failure) => return Err(failure.into()),
            Put::Applied(_) => {
                let how = "accepts If-Match and ignores it (a version that was replaced before \
                           was replaced again)";
                return Err(Unfit::Lies(how.into()));
            }
        }
    }
    if found.conditional_delete {
        let other = if latest == first {
            Version::new(Some("\"0\"".into()), Some("1".into()))
        } else {
            first
        };
        match bucket.delete_if(name, &other).await {
            Ok(false) => {}
            // It was deleted, or the store does not know the condition.
            Ok(true) => found.conditional_delete = false,
            Err(failure) if failure.class == Class::Refused => found.conditional_delete = false,
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(())
}

fn content(bucket: &Bucket) -> Bytes {
    let nonce = Nonce::draw(bucket.random());
    Bytes::from(format!(
        "tanada: a test whether this store keeps conditions; may be deleted\n{nonce}\n"
    ))
}

async fn race_to_create(bucket: &Bucket, name: &ObjectName) -> Result<Version, Unfit> {
    let contents: Vec<Bytes> = (0..RACERS).map(|_| content(bucket)).collect();
    let tries = contents.iter().map(|mine| bucket.create_exactly(name, mine.clone()));
    let mut winners = Vec::new();
    for (result, mine) in join_all(tries).await.into_iter().zip(&contents) {
        match result {
            Ok(Created::Mine(version)) => winners.push((mine, version)),
            Ok(Created::Taken(_)) => {}
            Err(failure) if failure.class == Class::Refused => {
                let how = format!("has no If-None-Match ({})", failure.detail);
                return Err(Unfit::Lies(how));
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    decide(bucket, name, "If-None-Match", winners).await
}

async fn race_to_swap(
    bucket: &Bucket,
    name: &ObjectName,
    from: &Version,
) -> Result<Version, Unfit> {
    let contents: Vec<Bytes> = (0..RACERS).map(|_| content(bucket)).collect();
    let tries = contents.iter().map(|mine| bucket.swap(name, from, mine.clone()));
    let mut winners = Vec::new();
    let mut unknown = Vec::new();
    for (result, mine) in join_all(tries).await.into_iter().zip(&contents) {
        match result {
            Ok(Put::Applied(version)) => winners.push((mine, version)),
            Ok(Put::Lost) => {}
            Ok(Put::Unknown(_)) => unknown.push(mine),
            Err(failure) if failure.class == Class::Refused => {
                let how = format!("has no If-Match, though it should ({})", failure.detail);
                return Err(Unfit::Lies(how));
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    // Of those who do not know, the one whose content is there has won.
    if let Some(object) = bucket.get(name).await?
        && let Some(mine) = unknown.into_iter().find(|mine| **mine == object.bytes)
    {
        winners.push((mine, object.version));
    }
    decide(bucket, name, "If-Match", winners).await
}

/// One has won, and the object is the winner's.
async fn decide(
    bucket: &Bucket,
    name: &ObjectName,
    header: &str,
    winners: Vec<(&Bytes, Version)>,
) -> Result<Version, Unfit> {
    if winners.len() > 1 && !planted!(store_ignores_preconditions) {
        let how = format!(
            "accepts {header} and ignores it ({} of {RACERS} racing writers won)",
            winners.len()
        );
        return Err(Unfit::Lies(how));
    }
    let Some((content, version)) = winners.into_iter().next_back() else {
        let how = format!("lets nobody write under {header} (0 of {RACERS} racing writers won)");
        return Err(Unfit::Lies(how));
    };
    match bucket.get(name).await? {
        Some(object) if object.bytes == content => Ok(version),
        Some(_) if planted!(store_ignores_preconditions) => Ok(version),
        Some(_) => Err(Unfit::Lies(format!(
            "tells a writer that it won under {header}, and keeps another's object"
        ))),
        None => Err(Unfit::Lies("does not show an object that it has just stored".into())),
    }
}
