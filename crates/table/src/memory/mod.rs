//! Blocks in memory: where they lie, what they are, and values that borrow from them.

pub(crate) mod block_memory;
pub(crate) mod block;
pub(crate) mod value;
