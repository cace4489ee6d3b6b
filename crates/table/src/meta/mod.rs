//! What a table says of itself at its end: the properties, and the footer that finds them.

pub(crate) mod expiries;
pub(crate) mod properties;
pub(crate) mod footer;
