//! Bounds that hold everywhere, checked before memory is taken.

/// Longest key, in bytes. The shortest is 1.
pub const MAX_KEY_LEN: usize = 64 << 10;

/// Longest value, in bytes. The shortest is 0.
pub const MAX_VALUE_LEN: usize = 1 << 30;

/// Largest encoded batch, in bytes: one value of the largest size with room beside it.
pub const MAX_BATCH_BYTES: usize = MAX_VALUE_LEN + (16 << 20);

/// Largest payload of one log or manifest record, in bytes.
pub const MAX_RECORD_LEN: usize = MAX_BATCH_BYTES + (1 << 20);

/// Levels of a tree, level 0 included.
pub const MAX_LEVELS: usize = 7;
