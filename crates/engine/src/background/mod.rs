//! From MemTables to tables, from tables to fewer tables, and who does it when.

pub(crate) mod flush;
pub(crate) mod compact;
pub(crate) mod schedule;
#[cfg(test)]
mod many_keyspaces_tests;
#[cfg(test)]
mod scale;
