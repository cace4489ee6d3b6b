//! The log: every commit group is here before anybody is told that it is committed.
//!
//! All logs of a database form one endless stream of records, addressed by
//! `LogPosition` and cut into files. [`WalWriter`] appends to it, [`WalHandle`]
//! syncs it from other threads, [`recover`] reads it back. What survives is
//! always a prefix of the stream, and holds all that was synced; where that
//! cannot be kept, recovery refuses and says which byte of which file is wrong.
//!
//! docs/format/log.md describes the files byte by byte. Nothing here knows what
//! a MemTable, a table or a manifest is.

pub(crate) mod group;
mod header;
mod segment;
mod handle;
mod reader;
mod carry;
mod writer;
mod recover;
mod part;
mod copy;
pub(crate) mod records;
mod range;
pub(crate) mod salvage;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod failure_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod salvage_tests;
#[cfg(test)]
mod reader_tests;
#[cfg(test)]
mod writer_tests;
#[cfg(test)]
mod recover_tests;
#[cfg(test)]
mod handle_tests;
#[cfg(test)]
mod range_tests;
#[cfg(test)]
mod epoch_tests;

pub(crate) use copy::copy;
pub(crate) use handle::{DEFAULT_NAME, Holder, LogHold, LogPin, NextSync, SegmentSizes, WalHandle};
pub(crate) use header::LogOwner;
pub(crate) use part::{Part, check_begin};
pub(crate) use range::{LogDir, RANGE_BYTES, RangeReader};
pub(crate) use reader::RecordPlace;
pub(crate) use recover::{RecoverFrom, read_beside_a_writer, recover};
pub(crate) use segment::{Segment, Tail};
pub(crate) use writer::WalWriter;
