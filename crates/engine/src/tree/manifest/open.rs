//! Creating a manifest and opening one that another process wrote, with a look at the
//! files that lie in its directory.

use super::Manifest;
use super::apply::apply;
use super::current::Current;
use super::directory::Listing;
use super::edit::Edit;
use super::header::HEADER_LEN;
use super::names::FileName;
use super::reader;
use super::state::State;
use super::table_ids::TableIds;
use crate::tree::version::{Deletion, LiveTables, TableHandle, TableStore, Version};
use crate::types::error::{Error, Result};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tanada_format::Corruption;

/// A snapshot larger than this is cut into several records.
pub(super) const SNAPSHOT_PART_BYTES: usize = 4 << 20;

/// A manifest smaller than this is not worth rewriting.
const REWRITE_BYTES: u64 = 4 << 20;

impl Manifest {
    /// Creates the manifest of a new database, or of a copy, in the directory
    /// of `files`, which must be empty but for what [`inspect`] takes for
    /// [`Found::Nothing`]. `initial` makes the state from an empty one; tables
    /// it names must lie in the directory, synced. Durable on return: two file
    /// syncs and a few directory syncs.
    pub(crate) fn create(files: Arc<TableStore>, initial: &Edit) -> Result<Manifest> {
        let fs = &files.fs;
        fs.create_dir_all(&files.dir)?;
        sync_above(&files)?;
        let listing = Listing::read(&**fs, &files.dir)?;
        for number in &listing.manifests {
            fs.remove(&files.dir.join(FileName::Manifest(*number).to_string()))?;
        }
        // Durably gone: a manifest with number 1 must mean "never finished".
        fs.sync_dir(&files.dir)?;
        let state = State::default();
        let first_id = initial.next_table_id.unwrap_or(state.next_table_id);
        let ids = Arc::new(TableIds::new(first_id));
        let mut manifest = Manifest::new(files, ids, (state, LiveTables::default()), 1);
        manifest.append(initial)?;
        Ok(manifest)
    }

    /// Opens the manifest that `current`, from [`inspect`], names. Reads it and
    /// one directory listing; writes nothing.
    ///
    /// # Errors
    /// [`Error::MissingFile`] or [`Error::Corruption`] naming the file, for the
    /// manifest itself and for each table that it names; [`Error::Unsupported`].
    pub(crate) fn open(files: Arc<TableStore>, current: &Current) -> Result<Manifest> {
        let path = files.dir.join(FileName::Manifest(current.manifest).to_string());
        let contents = reader::read(&*files.fs, &path, files.database, current.manifest)?;
        let damaged = |what: String| Error::from(Corruption::new(&path, HEADER_LEN as u64, what));
        let mut state = State::in_epoch(contents.state.epoch);
        let mut live = LiveTables::default();
        apply(&mut state, &mut live, &contents.state.snapshot(), &files)
            .map_err(|e| damaged(e.0))?;

        let listing = Listing::read(&*files.fs, &files.dir)?;
        for table in state.keyspaces.values().flat_map(|k| k.tables.tables()) {
            check_file(table, &listing)?;
        }
        if let Some(&id) = listing.tables.keys().filter(|&&id| id >= state.next_table_id).min() {
            let what = format!(
                "it knows no table ids from {} on, but {} is there: its last edits are lost",
                state.next_table_id,
                FileName::Table(id)
            );
            return Err(Corruption::new(&path, files.fs.len(&path)?, what).into());
        }

        let ids = Arc::new(TableIds::new(state.next_table_id));
        let next_number = listing.next_manifest();
        let current_bytes = files.fs.len(&path)?;
        let mut manifest = Manifest::new(files, ids, (state, live), next_number);
        let leave =
            |name: String, size_bytes| Deletion { path: manifest.files.dir.join(name), size_bytes };
        let orphans = listing.tables.iter().filter(|&(&id, _)| manifest.live.get(id).is_none());
        let mut leftovers: Vec<Deletion> =
            orphans.map(|(&id, &len)| leave(FileName::Table(id).to_string(), len)).collect();
        let old = listing.manifests.iter().filter(|&&n| n != current.manifest);
        leftovers.extend(old.map(|&n| leave(FileName::Manifest(n).to_string(), 0)));
        // CURRENT.tmp is left to the next rewrite: the background removing it by
        // name could meet the new one.
        let rewritten = FileName::Temporary.to_string();
        let temporary = listing.temporaries.into_iter().filter(|name| *name != rewritten);
        leftovers.extend(temporary.map(|name| leave(name, 0)));
        leftovers.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        manifest.leftovers = leftovers;
        manifest.torn_at = contents.torn_at;
        manifest.current = path;
        manifest.current_bytes = current_bytes;
        Ok(manifest)
    }

    fn new(
        files: Arc<TableStore>,
        ids: Arc<TableIds>,
        (state, live): (State<Arc<Version>>, LiveTables),
        next_number: u64,
    ) -> Manifest {
        Manifest {
            files,
            ids,
            state,
            live,
            log: None,
            current: PathBuf::new(),
            current_bytes: 0,
            torn_at: None,
            next_number,
            failed: None,
            leftovers: Vec::new(),
            rewrite_bytes: REWRITE_BYTES,
            snapshot_part_bytes: SNAPSHOT_PART_BYTES,
        }
    }
}

/// Makes the directory's own name durable, and those of the directories above,
/// which may have been created with it. Stops at one that cannot have been: it
/// may not be opened, or nothing can be created there.
fn sync_above(files: &TableStore) -> Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    for above in files.dir.ancestors().skip(1) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        if let Err(e) = files.fs.sync_dir(above) {
            return match e.kind() {
                PermissionDenied | ReadOnlyFilesystem | InvalidInput | Unsupported => Ok(()),
                _ => Err(e.into()),
            };
        }
    }
    Ok(())
}

/// Compares a table with what the directory has.
fn check_file(table: &TableHandle, listing: &Listing) -> Result<()> {
    let expected = table.meta().size_bytes;
    match listing.tables.get(&table.id()) {
        None => Err(Error::MissingFile { file: table.path() }),
        Some(&len) if len != expected => {
            let what = format!("it is {len} bytes long, and the manifest says {expected}");
            Err(Corruption::new(table.path(), len.min(expected), what).into())
        }
        Some(_) => Ok(()),
    }
}
