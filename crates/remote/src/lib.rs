//! Tanada in a bucket: the object protocol, and access to the stores that it runs on.
//!
//! A database in a bucket has one small object, `MANIFEST`, that is changed by
//! compare-and-swap; a log for each writer's epoch, whose places only that writer fills and
//! that later writers close with a fence; and tables that never change. What may happen to
//! each object, and why no acknowledged write is lost, is in `docs/remote.md`; their bytes
//! are in `docs/format/bucket.md`.
//!
//! This crate decides who owns a database and what of its log counts. It knows nothing of
//! what is in a log or a table, and nothing of HTTP or Redis clients. All of it is async, on
//! whatever runtime the caller has, and every wait goes through [`Timer`].
//!
//! The modules, in reading order: `ids` and `name` (words), `store` (one request to any
//! store, classified), `bucket` (requests of one database, tried again and counted),
//! `register` (compare-and-swap on any store), `probe` (does the store keep its word),
//! `codec` (bytes of objects), `chain` (who owns the database, and what of its log counts),
//! `collection` (what may be deleted).

mod ids;
mod name;
mod store;
mod bucket;
pub mod register;
mod probe;
pub mod codec;
pub mod chain;
pub mod collection;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

pub use bucket::{
    Accounting, Bucket, Cause, Created, LATENCIES, Listed, Prices, Put, RuntimeTimer, Timer, Tries,
    Uploading, Usage,
};
pub use ids::{Epoch, Nonce, ObjectHash, Place};
pub use name::{Folder, JobId, ObjectName, RegisterName, SnapshotId};
pub use probe::{Found, ROUNDS_AT_FIRST, ROUNDS_LATER, Unfit, probe};
pub use store::{
    Abilities, Address, AddressError, Class, Condition, Failure, Fetched, Meta, Object,
    ObjectStoreAdapter, Operation, Part, Store, Upload, Version, open,
};
