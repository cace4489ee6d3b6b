//! Following what is written: the commits of the log, in order, as far as they are durable.
//!
//! Over the log's ranges ([`crate::wal::RangeReader`]) this knows what a write is, which
//! writes readers can see already, and how to wait for more. Nothing here is on the way of a
//! write: while nobody follows, a commit looks at one word.

mod group;
mod memory;
mod begin;
mod stream;
mod hold;

pub use group::CommitGroup;
pub use hold::ChangeHold;
pub use stream::Changes;
