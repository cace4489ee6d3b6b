//! One immutable sorted file.
//!
//! Block, index, filter, compression, builder, reader, cursor and the block
//! cache. This crate does not know that levels exist. The bytes are described
//! in `docs/format/table.md`.

mod error;
mod damage;
mod epoch;
mod counters;
mod compression;
mod sealed;
mod key_buffer;
mod data_block;
mod fences;
mod index;
mod filter;
mod properties;
mod footer;
mod builder;
mod block_memory;
mod block;
mod value;
mod run_lists;
mod slots;
mod sieve;
mod doorkeeper;
mod cache;
mod get;
mod table;
mod cursor;
mod read_ahead;
mod table_cursor;
mod verify;
mod salvage;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

pub use builder::{TableBuilder, TableOptions, TableSummary};
pub use cache::{BlockCache, BlockCacheStats};
pub use compression::Compression;
pub use counters::Counters;
pub use cursor::Cursor;
pub use epoch::{Limbo, Link, Pin, Pinned, Published, pin};
pub use error::Error;
pub use filter::theoretical_false_positive_rate;
pub use get::{CacheUse, FilterStats, Found, GetContext, GetTrace, InMemory, Missing, ReadMode};
pub use properties::TableProperties;
pub use salvage::{Gap, Salvage, database_of, salvage};
pub use sieve::{Node, Sieve};
pub use table::Table;
pub use table_cursor::{CursorOptions, TableCursor};
pub use value::Value;
pub use verify::VerifyReport;
