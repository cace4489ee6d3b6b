//! The bytes of every object, but tables and snapshots: those have the formats of the disk.
//!
//! Versioned, bounded, checked before they are believed; `docs/format/bucket.md` has them
//! byte by byte, and golden files hold them. Bytes from a store never panic.

mod damage;
mod fields;
mod envelope;
mod manifest;
mod chunk;
mod dead_list;
mod lease;
mod job;
#[cfg(test)]
mod tests;

pub use chunk::{CHUNK_HEADER_LEN, Kind, LogObject, MAX_PAYLOAD_LEN, Piece};
pub use damage::Unreadable;
pub use dead_list::{DeadList, MAX_DEAD};
pub use job::{Job, JobState, MAX_JOB_LEN, MAX_OUTPUTS, Output};
pub use lease::{Lease, LeaseState};
pub use manifest::{
    Base, ChainEpoch, Hold, HoldKind, Life, MAX_LISTED, MAX_MANIFEST_LEN, MAX_TEXT_LEN, Manifest,
    Point, Retained, Unwritable,
};
