//! A block on disk: compressed, and with a checksum that is bound to its file and place.

pub(crate) mod lz4_sequences;
pub(crate) mod in_place;
pub(crate) mod compression;
pub(crate) mod sealed;
