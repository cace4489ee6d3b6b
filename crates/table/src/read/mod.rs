//! Reading a table: opening it, finding a key, walking it both ways.

pub(crate) mod table;
pub(crate) mod cursor;
pub(crate) mod read_ahead;
pub(crate) mod table_cursor;
