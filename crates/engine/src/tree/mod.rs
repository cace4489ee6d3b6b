//! The tree on disk: where its tables lie, which of them make up a keyspace, the manifest that remembers
//! it, walks over its runs, and the compaction that gives it its shape.
//!
//! Nothing here knows what a MemTable or a log record is.

pub(crate) mod store;
pub(crate) mod version;
pub(crate) mod fields;
pub(crate) mod table_fields;
pub(crate) mod manifest;
pub(crate) mod run_cursor;
pub(crate) mod merge;
pub(crate) mod compaction;
