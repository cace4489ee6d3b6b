//! What callers see in signatures: errors, options, ranges, statistics, explained reads.

pub(crate) mod condition;
pub(crate) mod position;
pub(crate) mod error;
pub(crate) mod record;
pub(crate) mod change;
pub(crate) mod options;
pub(crate) mod keyspace_options;
pub(crate) mod range;
pub(crate) mod explain;
pub(crate) mod stats;
pub(crate) mod compactor;
