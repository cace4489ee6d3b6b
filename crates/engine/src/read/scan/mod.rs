//! Walking keys in order, at one moment, either way.
//!
//! [`bounds`] are the ends of a scan; [`source`] makes one cursor of each MemTable and of each run of tables;
//! [`visible`] merges them and shows each key's newest version that the moment
//! sees; [`bounded`] adds the ends of a range and is the public [`Cursor`];
//! [`iter`] is the owned, double-ended [`Iter`] over two of them, and [`records`] what
//! else it can give of each entry.

mod bounds;
mod bounded;
mod iter;
mod records;
mod source;
mod visible;

pub use bounded::Cursor;
pub(crate) use bounds::Bounds;
pub use iter::Iter;
pub use records::{Keys, Records};
pub(crate) use visible::{VisibleCursor, unsupported};
