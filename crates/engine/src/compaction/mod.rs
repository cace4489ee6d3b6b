//! Merging tables: what to merge, what to keep, and doing it.
//!
//! Decisions are pure and stand apart from deeds. [`visible`] says which
//! versions of a key somebody can still see.

pub(crate) mod visible;
