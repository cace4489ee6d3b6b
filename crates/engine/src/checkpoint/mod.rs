//! Checkpoints: the database at one moment, in a directory of its own, made while it is
//! read and written.
//!
//! 1. [`staging`] makes a directory beside the target, which nobody takes for a database
//!    and which is cleaned away when the checkpoint fails, or by the next one when the
//!    process has died.
//! 2. [`moment`] takes all that the checkpoint is made of, under the locks of the commit
//!    leader and of the manifest: the tables of all keyspaces, and the part of the log that
//!    no table holds yet. Tables and logs stay where they are until it is dropped.
//! 3. [`make`] gives each table a second name ([`tables`]), or copies it where that cannot
//!    be; copies that part of the log; writes a manifest; reads both back.
//! 4. The directory gets its name, and that is made durable.
//!
//! The files that both databases name are tables, and a table is never changed. Logs and
//! manifests are appended to: they are copied, whatever it costs. [`directory`] is for
//! those who make checkpoints by name, such as a server.
//!
//! After RocksDB (`utilities/checkpoint`: links, and a directory that is renamed at the end)
//! and Pebble (`checkpoint.go`: the moment under the commit lock). Unlike RocksDB's it never
//! flushes: a flush would be the cost of a table for each keyspace, and cannot be had on a
//! full disk; the log's part is bounded by what MemTables may hold.

mod staging;
mod moment;
mod tables;
mod make;
mod directory;

pub use directory::{CheckpointDir, CheckpointEntry};
pub use make::CheckpointSummary;
