//! The public handles, and what they report.

pub(crate) mod report;
pub(crate) mod verify;
pub(crate) mod handle;
pub(crate) mod claim;
pub(crate) mod keyspace;
pub(crate) mod snapshot;
pub(crate) mod db;
