//! The manifest of a copy: a directory that holds files of this database at one moment, and
//! is a database of its own from then on.

use super::Manifest;
use super::current::Current;
use super::directory::{Found, Listing, inspect};
use super::header::HEADER_LEN;
use super::names::FileName;
use super::reader;
use super::state::State;
use super::write::{write_current, write_snapshot};
use crate::tree::version::Version;
use crate::types::error::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use tanada_format::{Corruption, DatabaseId};
use tanada_vfs::FileSystem;

/// Number of the manifest of a copy: the first one in its directory.
const NUMBER: u64 = 1;

impl Manifest {
    /// Writes `state` as the manifest of a copy of this database into `dir`, which has
    /// none, and `CURRENT`, both synced; their names are not. Nothing of this manifest is
    /// changed or read. Costs two syncs, and a third where the state is cut into parts.
    pub(crate) fn write_copy(
        fs: &dyn FileSystem,
        dir: &Path,
        database: DatabaseId,
        state: &State<Arc<Version>>,
        part_bytes: usize,
    ) -> Result<()> {
        let current = Current { database, manifest: NUMBER };
        let path = dir.join(FileName::Manifest(NUMBER).to_string());
        write_snapshot(fs.create(&path)?, &current, state, part_bytes)?;
        write_current(fs.create(&dir.join(FileName::Current.to_string()))?, &current)
    }

    /// Reads the manifest of a copy back, and looks whether it says what was written and
    /// whether each of its tables is there with its length. Answers the manifest's length.
    /// Costs reading it, and one listing.
    ///
    /// # Errors
    /// `Corruption` or `MissingFile` naming the file; `Io`.
    pub(crate) fn check_copy(
        fs: &dyn FileSystem,
        dir: &Path,
        database: DatabaseId,
        state: &State<Arc<Version>>,
    ) -> Result<u64> {
        let path = dir.join(FileName::Manifest(NUMBER).to_string());
        if inspect(fs, dir)? != Found::Database(Current { database, manifest: NUMBER }) {
            let current = dir.join(FileName::Current.to_string());
            return Err(Corruption::new(current, 0, "it names another manifest").into());
        }
        let contents = reader::read(fs, &path, database, NUMBER)?;
        if contents.state.snapshot() != state.snapshot() {
            let what = "it does not say what was written to it";
            return Err(Corruption::new(&path, HEADER_LEN as u64, what).into());
        }
        let listing = Listing::read(fs, dir)?;
        for table in state.keyspaces.values().flat_map(|keyspace| keyspace.tables.tables()) {
            let file = || dir.join(FileName::Table(table.id()).to_string());
            let expected = table.meta().size_bytes;
            match listing.tables.get(&table.id()) {
                None => return Err(Error::MissingFile { file: file() }),
                Some(&len) if len != expected => {
                    let what = format!("it is {len} bytes long, and the manifest says {expected}");
                    return Err(Corruption::new(file(), len.min(expected), what).into());
                }
                Some(_) => {}
            }
        }
        Ok(fs.len(&path)?)
    }
}
