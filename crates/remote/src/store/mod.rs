//! One interface to every store: whole requests, one try each, every answer classified.
//!
//! A [`Store`] never tries again by itself: what is hidden in a client library could hide
//! an unknown answer. Trying again is [`crate::Bucket`]'s. This interface is also where a
//! simulation takes the store's place. It knows full names of objects, and not what they mean.

mod failure;
mod exchange;
mod adapter;
mod address;
#[cfg(feature = "cloud")]
mod connector;

pub use adapter::ObjectStoreAdapter;
pub use address::{Address, AddressError, open};
pub use failure::{Class, Failure, Operation};

use async_trait::async_trait;
use bytes::Bytes;
use std::fmt::Debug;
use std::ops::Range;
use tanada_format::planted;

/// What tells two contents of one object apart: an ETag, and where the store has it a
/// generation. Opaque; compared and sent back, nothing else.
#[derive(Clone, Debug, Default)]
pub struct Version {
    pub(crate) e_tag: Option<String>,
    pub(crate) generation: Option<String>,
}

impl Version {
    /// Of what a store answered. Some stores answer a PUT without the quotation marks that
    /// their GET has, and that belong to an ETag: they are put where they are missing.
    pub fn new(e_tag: Option<String>, generation: Option<String>) -> Version {
        let quote = |tag: String| {
            let is_quoted = tag.ends_with('"') && (tag.starts_with('"') || tag.starts_with("W/\""));
            if is_quoted || planted!(etag_unquoted) { tag } else { format!("\"{tag}\"") }
        };
        Version { e_tag: e_tag.map(quote), generation }
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Version) -> bool {
        match (&self.e_tag, &other.e_tag) {
            (Some(mine), Some(others)) => mine == others,
            _ => self.generation.is_some() && self.generation == other.generation,
        }
    }
}

/// Which part of an object is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// These bytes.
    Range(Range<u64>),
    /// So many bytes at its end, or all of it when it is shorter.
    Last(u64),
}

/// An object, or the part of it that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The bytes that were asked for.
    pub bytes: Bytes,
    /// How long the whole object is, in bytes.
    pub len: u64,
    /// Its version.
    pub version: Version,
}

/// The answer to a read.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetched {
    /// There is no object of that name.
    Absent,
    /// It has still the version that the reader knows.
    Unchanged,
    /// It is this.
    Object(Object),
}

/// What must hold for a PUT to be applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// There is no object of that name: `If-None-Match: *`.
    Absent,
    /// The object has this version: `If-Match`.
    Is(Version),
}

/// What a listing or a HEAD says of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Meta {
    /// Its full name in the store.
    pub path: String,
    /// Its length in bytes.
    pub len: u64,
    /// Its version.
    pub version: Version,
}

/// What a store says it can do; [`crate::probe`] looks whether it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// PUT with `If-Match`.
    pub swap: bool,
    /// DELETE with `If-Match`.
    pub conditional_delete: bool,
    /// Completing a multipart upload with `If-None-Match: *`.
    pub conditional_upload: bool,
}

/// A store of objects. Each call is one request (a listing: one a page), sent once.
///
/// Dropping the future of a request that changes something leaves its outcome unknown.
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// What it says it can do.
    fn abilities(&self) -> Abilities;

    /// Reads an object or a part of it; with `unless`, only when its version is another.
    async fn get(
        &self,
        path: &str,
        part: &Part,
        unless: Option<&Version>,
    ) -> Result<Fetched, Failure>;

    /// Length and version of an object, or `None` when it is not there.
    async fn head(&self, path: &str) -> Result<Option<Meta>, Failure>;

    /// Stores an object under a condition. [`Class::Lost`]: the condition did not hold.
    async fn put(
        &self,
        path: &str,
        bytes: Bytes,
        condition: &Condition,
    ) -> Result<Version, Failure>;

    /// Deletes an object, with `only` when it has that version. One that is not there
    /// counts as deleted, or answers [`Class::Gone`].
    async fn delete(&self, path: &str, only: Option<&Version>) -> Result<(), Failure>;

    /// Everything whose name begins with `prefix`, which is empty or ends with `/`, in any
    /// order. [`Class::Refused`] when there are more than `limit`.
    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<Meta>, Failure>;

    /// Begins a multipart upload.
    async fn upload(&self, path: &str) -> Result<Box<dyn Upload>, Failure>;
}

/// A multipart upload. Dropping it leaves parts in the store, which a lifecycle rule aborts.
#[async_trait]
pub trait Upload: Debug + Send {
    /// Adds a part. All but the last have the same length, 5 MiB or more.
    async fn part(&mut self, bytes: Bytes) -> Result<(), Failure>;

    /// Makes the object of its parts; where [`Abilities::conditional_upload`] says so, only
    /// when there is none of that name.
    async fn complete(&mut self) -> Result<Version, Failure>;

    /// Gives it up.
    async fn abort(&mut self) -> Result<(), Failure>;
}
