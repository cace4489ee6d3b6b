//! What lies in a directory: a database, the wreck of one, nothing, or someone else's files.

use super::current::{Current, MAX_CURRENT_LEN};
use super::names::FileName;
use crate::types::error::{Error, Result};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use tanada_format::{Corruption, TableId};
use tanada_vfs::FileSystem;

/// What [`inspect`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No database: the directory is missing or empty, or holds only what a
    /// crash left of creating one.
    Nothing,
    /// A database.
    Database(Current),
}

/// Looks at `dir` and changes nothing. Reads one listing and one small file.
///
/// # Errors
/// [`Error::NotADatabase`] when there are files and none is ours;
/// [`Error::MissingFile`] or [`Error::Corruption`] naming `CURRENT` when it is
/// not there, or damaged, and other files of a database are: a fresh database
/// is never created over an old one.
pub(crate) fn inspect(fs: &dyn FileSystem, dir: &Path) -> Result<Found> {
    let listing = match Listing::read(fs, dir) {
        Ok(listing) => listing,
        Err(Error::Io(e)) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(e) => return Err(e),
    };
    let path = dir.join(FileName::Current.to_string());
    if listing.has_current {
        let file = fs.open(&path)?;
        if file.len() > MAX_CURRENT_LEN {
            return Err(Corruption::new(path, MAX_CURRENT_LEN, "it is too long").into());
        }
        let mut bytes = vec![0; file.len() as usize];
        file.read_exact_at(&mut bytes, 0)?;
        return Current::decode(&bytes, &path).map(Found::Database);
    }
    // Creating a database writes MANIFEST-000001 and then CURRENT, and the
    // first log or table only after both are durable. So the former alone is
    // a creation that never ended, and holds nothing that was acknowledged.
    let used = listing.manifests.iter().any(|&n| n > 1);
    if used || !listing.tables.is_empty() || listing.has_logs {
        return Err(Error::MissingFile { file: path });
    }
    if let (Some(name), true) = (listing.foreign, listing.manifests.is_empty()) {
        let why = format!("it holds {name:?} and other files, and no CURRENT");
        return Err(Error::NotADatabase { path: dir.into(), why });
    }
    Ok(Found::Nothing)
}

/// The files in a database's directory.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) has_current: bool,
    pub(crate) has_logs: bool,
    /// Numbers of manifests.
    pub(crate) manifests: Vec<u64>,
    /// Tables and their lengths.
    pub(crate) tables: HashMap<TableId, u64>,
    /// Names of files that were never finished.
    pub(crate) temporaries: Vec<String>,
    /// The first name that is not ours.
    pub(crate) foreign: Option<String>,
}

impl Listing {
    pub(crate) fn read(fs: &dyn FileSystem, dir: &Path) -> Result<Listing> {
        let mut listing = Listing::default();
        for entry in fs.read_dir(dir)? {
            match FileName::parse(&entry.name).filter(|_| !entry.is_dir) {
                Some(FileName::Current) => listing.has_current = true,
                Some(FileName::Manifest(number)) => listing.manifests.push(number),
                Some(FileName::Table(id)) => drop(listing.tables.insert(id, entry.len)),
                Some(FileName::Log(_)) => listing.has_logs = true,
                Some(FileName::Temporary) => listing.temporaries.push(entry.name),
                Some(FileName::Lock) => {}
                // Made by mkfs: a disk of its own for the database is not foreign ground.
                None if entry.name == "lost+found" => {}
                None => drop(listing.foreign.get_or_insert(entry.name)),
            }
        }
        Ok(listing)
    }

    /// A number that no manifest here has.
    pub(crate) fn next_manifest(&self) -> u64 {
        self.manifests.iter().max().map_or(1, |n| n + 1)
    }
}
