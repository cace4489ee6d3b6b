//! One immutable sorted file.
//!
//! Block, index, filter, compression, builder, reader, cursor and the block
//! cache. This crate does not know that levels exist.

mod cursor;
mod error;
mod slice;

pub use cursor::Cursor;
pub use error::Error;
pub use slice::Value;
