//! Opening whatever the last process left, opening keyspaces, closing, and saving
//! what can be saved of a damaged database.

mod replay;
mod upkeep;
pub(crate) mod recovery;
pub(crate) mod read_only;
pub(crate) mod open_keyspace;
pub(crate) mod close;
pub(crate) mod clock;
pub(crate) mod repair;
