//! A block on disk: compressed, and with a checksum that is bound to its file and place.

pub(crate) mod compression;
pub(crate) mod sealed;
