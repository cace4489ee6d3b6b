//! The read path: the one of keys, and the one of ranges.

pub(crate) mod row_cache;
pub(crate) mod mem;
pub(crate) mod view;
pub(crate) mod keyspaces;
pub(crate) mod holders;
pub(crate) mod dead_spans;
pub(crate) mod reading;
pub(crate) mod hold;
pub(crate) mod held;
pub(crate) mod scan;
pub(crate) mod get;
pub(crate) mod explain;
pub(crate) mod upkeep;
