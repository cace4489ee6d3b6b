//! The read path: the one of keys, and the one of ranges.

pub(crate) mod snapshots;
pub(crate) mod row_cache;
pub(crate) mod mem;
pub(crate) mod view;
pub(crate) mod reading;
pub(crate) mod scan;
pub(crate) mod get;
