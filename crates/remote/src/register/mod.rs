//! A register: bytes that many may change, by compare-and-swap alone.
//!
//! `MANIFEST`, jobs and leases are used through it. Two implementations: one object and
//! `If-Match`, where the store has it; numbered objects and create, where it has not. A
//! version that was replaced never comes back in either, so whoever knows an old one fails
//! for good, however long it slept.

mod by_etag;
mod numbered;

pub use by_etag::ByEtag;
pub use numbered::{NumberedObjects, STUB_LEN};

use crate::bucket::Bucket;
use crate::name::RegisterName;
use crate::store::{Class, Failure, Operation, Version};
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt::Debug;
use std::sync::Arc;
use tanada_format::planted;

/// A version of a register. No two contents of a register have the same.
#[derive(Clone, Debug)]
pub struct RegisterVersion {
    /// Of the object, where there are no numbers.
    pub(crate) version: Version,
    /// 0 where there are none.
    pub(crate) number: u64,
}

impl PartialEq for RegisterVersion {
    fn eq(&self, other: &RegisterVersion) -> bool {
        match (self.number, other.number) {
            (0, 0) => self.version == other.version,
            (mine, others) => mine == others,
        }
    }
}

/// What a register holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Which version it is.
    pub version: RegisterVersion,
    /// Its content.
    pub bytes: Bytes,
}

/// The answer to a look at a register.
#[derive(Clone, Debug, PartialEq)]
pub enum Looked {
    /// It was never written.
    Absent,
    /// It still has the version that the reader knows.
    Unchanged,
    /// It holds this.
    Held(Held),
}

/// How one request to swap ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Swap {
    /// It was applied, and made this version.
    Won(RegisterVersion),
    /// Another version was there. It may be one's own first try.
    Lost,
    /// Nobody knows; it may still be applied, as long as the version it replaces is there.
    Unknown(Failure),
}

/// Bytes that many may change, each knowing what it replaces.
#[async_trait]
pub trait Register: Debug + Send + Sync + 'static {
    /// Its name, for messages.
    fn path(&self) -> String;

    /// Reads it; with `unless`, without a body when it has still that version.
    async fn look(&self, unless: Option<&RegisterVersion>) -> Result<Looked, Failure>;

    /// One request: replaces version `from`, or with `None` creates it.
    async fn swap(&self, from: Option<&RegisterVersion>, bytes: Bytes) -> Result<Swap, Failure>;
}

/// The implementation that fits what the store can do.
pub fn open(bucket: &Bucket, name: RegisterName) -> Arc<dyn Register> {
    if bucket.abilities().swap {
        Arc::new(ByEtag::new(bucket.clone(), name))
    } else {
        Arc::new(NumberedObjects::new(bucket.clone(), name))
    }
}

/// Reads a register. `None`: it was never written.
///
/// # Errors
///
/// The store's.
pub async fn read(register: &dyn Register) -> Result<Option<Held>, Failure> {
    match register.look(None).await? {
        Looked::Held(held) => Ok(Some(held)),
        Looked::Absent | Looked::Unchanged => Ok(None),
    }
}

/// How a swap ended, once that is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Swapped {
    /// It was applied, and its version is the present one.
    Won(RegisterVersion),
    /// It was applied, and another change has come on top of it: this.
    Beneath(Held),
    /// It was not applied, and never will be: this is there instead.
    Lost(Option<Held>),
}

/// Requests at most for one swap whose answers do not come.
const SENDS: u32 = 8;

/// Replaces version `from` by `bytes`, and finds out whether that happened.
///
/// When the answer is lost or unknown the register is read. `happened` says whether a later
/// content includes this change: by the writer's nonce and the number of its last edit. As
/// long as `from` is still there, the same bytes are sent again, and no others.
///
/// One request when all goes well; a read and perhaps another request when not.
///
/// # Errors
///
/// [`Class::Unknown`]: the store did not say before the bounds were reached. Nothing else may
/// be swapped until a read says what became of it. [`Class::Damaged`]: the register is gone.
pub async fn swap(
    register: &dyn Register,
    from: Option<&RegisterVersion>,
    bytes: Bytes,
    happened: &(dyn Fn(&[u8]) -> bool + Sync),
) -> Result<Swapped, Failure> {
    let mut last = None;
    for _ in 0..SENDS {
        match register.swap(from, bytes.clone()).await {
            Ok(Swap::Won(version)) => return Ok(Swapped::Won(version)),
            Ok(Swap::Lost) if planted!(own_first_try_taken_for_another) => {
                return Ok(Swapped::Lost(read(register).await?));
            }
            Ok(Swap::Lost) => {}
            Ok(Swap::Unknown(failure)) => last = Some(failure),
            // Earlier tries may be on their way, so even a clear refusal is none.
            Err(failure) if last.is_some() => return Err(failure.of_class(Class::Unknown)),
            Err(failure) => return Err(failure),
        }
        let held = read(register).await.map_err(|failure| match failure.class {
            Class::Damaged => failure,
            _ => failure.of_class(Class::Unknown),
        })?;
        match (held, from) {
            (Some(held), _) if held.bytes == bytes => return Ok(Swapped::Won(held.version)),
            (Some(held), _) if happened(&held.bytes) => return Ok(Swapped::Beneath(held)),
            // Not arrived yet.
            (Some(held), Some(from)) if held.version == *from => {}
            (None, None) => {}
            (None, Some(_)) => {
                let what = "it is never deleted, and it is not there";
                return Err(Failure::new(Class::Damaged, Operation::Get, register.path(), what));
            }
            (held, _) => return Ok(Swapped::Lost(held)),
        }
    }
    let what = "its answers did not come";
    Err(last
        .unwrap_or_else(|| Failure::new(Class::Unknown, Operation::Swap, register.path(), what)))
}
