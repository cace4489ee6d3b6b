//! What only the manifest can do for fuzzers.

use super::codec;
#[cfg(test)]
use super::edit::Edit;
use super::{header, reader};
use std::path::Path;
use tanada_format::DatabaseId;
use tanada_vfs::FileSystem;

/// An edit that can be read is written again with the same meaning.
pub(crate) fn edit(data: &[u8]) {
    if let Ok(edit) = codec::decode(data) {
        assert_eq!(codec::decode(&codec::encode(&edit)), Ok(edit));
    }
}

/// Reads manifest 1; the database that its header names.
pub(crate) fn read(fs: &dyn FileSystem, dir: &Path, data: &[u8]) -> Option<DatabaseId> {
    let database = header::database_of(data)?;
    let _ = reader::read(fs, &dir.join("MANIFEST-000001"), database, 1);
    Some(database)
}

/// The bytes of an edit.
#[cfg(test)]
pub(crate) fn encoded(edit: &Edit) -> Vec<u8> {
    codec::encode(edit)
}
