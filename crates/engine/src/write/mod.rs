//! The one write path: every put is a batch of one.

pub(crate) mod cost;
pub(crate) mod expiry;
pub(crate) mod batch;
pub(crate) mod body;
pub(crate) mod commit;
