//! One immutable sorted file.
//!
//! Block, index, filter, compression, builder, reader, cursor and the block
//! cache. This crate does not know that levels exist. The bytes are described
//! in `docs/format/table.md`.

mod error;
mod damage;
mod epoch;
mod counters;
mod seal;
mod data;
mod index;
mod filter;
mod meta;
mod builder;
mod memory;
mod get;
mod cache;
mod read;
mod check;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
#[cfg(test)]
#[path = "../../vfs/tests/house/alone.rs"]
mod alone;

pub use builder::{TableBuilder, TableOptions, TableSummary};
pub use cache::sieve::{Node, Sieve};
pub use cache::{BlockCache, BlockCacheStats, ReadInFlight};
pub use check::salvage::{Gap, Salvage, database_of, epoch_of, salvage};
pub use check::verify::VerifyReport;
pub use counters::Counters;
pub use epoch::{Limbo, Link, Pin, Pinned, Published, pin};
pub use error::Error;
pub use filter::theoretical_false_positive_rate;
pub use get::{CacheUse, FilterStats, Found, GetContext, GetTrace, InMemory, Missing, ReadMode};
pub use memory::value::Value;
pub use meta::expiries::{EXPIRY_PARTS, ExpiryQuantiles};
pub use meta::properties::TableProperties;
pub use read::cursor::Cursor;
pub use read::table::Table;
pub use read::table_cursor::{CursorOptions, TableCursor};
pub use seal::compression::Compression;
