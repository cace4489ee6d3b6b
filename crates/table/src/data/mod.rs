//! Data blocks: entries side by side in key order, and the search in them.

pub(crate) mod key_buffer;
pub(crate) mod data_block;
