//! One file a verb.

pub(crate) mod checkpoint;
pub(crate) mod clock;
pub(crate) mod compact;
pub(crate) mod delete;
pub(crate) mod dump;
pub(crate) mod get;
pub(crate) mod load;
pub(crate) mod put;
pub(crate) mod repair;
pub(crate) mod scan;
pub(crate) mod serve;
pub(crate) mod stats;
pub(crate) mod verify;
