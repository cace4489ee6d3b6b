//! Checking a whole table, and reading past damage for repair.

pub(crate) mod verify;
pub(crate) mod salvage;
