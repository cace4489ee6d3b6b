//! The manifest: which tables and keyspaces make up the database, as a log of edits.
//!
//! `CURRENT` names `MANIFEST-000005`: a header, a snapshot of the state, then
//! one record an edit, each synced before anything acts upon it
//! (docs/format/manifest.md). What is in memory is always what a reopened
//! manifest would give. Nothing here knows what a MemTable, a log record or a
//! block is.

mod names;
mod edit;
mod codec;
mod header;
mod current;
mod directory;
mod state;
mod reader;
mod salvage;
mod table_ids;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

pub(crate) use current::Current;
pub(crate) use directory::{Found, inspect};
pub(crate) use edit::{ChangedKeyspace, CreatedKeyspace, Edit};
pub(crate) use names::FileName;
pub(crate) use salvage::Known;
pub(crate) use state::{MAX_KEYSPACES, State};
pub(crate) use table_ids::TableIds;

use crate::tree::version::{Deletion, InvalidEdit, LiveTables, TableHandle, TableStore, Version};
use crate::types::error::{Error, Result};
use directory::Listing;
use header::HEADER_LEN;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tanada_format::{
    Corruption, KeyspaceId, MAX_RECORD_LEN, RecordCursor, RecordFile, RecordSalt, TableId, planted,
    record_padding,
};
use tanada_vfs::WriteFile;

/// The state so far; the first record, and only that. Of a large state the first part:
/// edits right behind it add the rest.
const KIND_SNAPSHOT: u16 = 1;
/// An edit.
const KIND_EDIT: u16 = 2;
/// No payload: says by its `synced` that the edit before it is durable.
const KIND_MARKER: u16 = 3;

/// A snapshot larger than this is cut into several records.
const SNAPSHOT_PART_BYTES: usize = 4 << 20;

/// A manifest smaller than this is not worth rewriting.
const REWRITE_BYTES: u64 = 4 << 20;
/// Rewrite when the manifest is this many times its snapshot.
const REWRITE_FACTOR: u64 = 4;

/// The manifest of an open database.
///
/// Invariants:
/// 1. `state` is what is durable: who has the lock finds an edit in it only after its
///    write and sync, and when these fail it is as it was.
/// 2. After the first failure nothing is written any more and no file is given
///    up for deletion: whether the failed edit is on disk, nobody knows.
/// 3. A manifest that another process wrote is never appended to: its tail may
///    be torn, or only in the kernel's memory. The first append after opening
///    writes a new one.
#[derive(Debug)]
pub(crate) struct Manifest {
    files: Arc<TableStore>,
    ids: Arc<TableIds>,
    state: State<Arc<Version>>,
    /// The tables of all keyspaces of `state`.
    live: LiveTables,
    /// The file being appended to; `None` until the first append after opening.
    log: Option<ManifestLog>,
    /// The manifest that `CURRENT` names.
    current: PathBuf,
    current_bytes: u64,
    /// Where the manifest that was opened had a torn tail.
    torn_at: Option<u64>,
    /// Number of the next manifest.
    next_number: u64,
    /// The first failure.
    failed: Option<String>,
    /// Files that were there at opening and that the state does not name.
    leftovers: Vec<Deletion>,
    rewrite_bytes: u64,
    /// A snapshot is cut into parts of about this size.
    pub(crate) snapshot_part_bytes: usize,
}

#[derive(Debug)]
struct ManifestLog {
    file: Box<dyn WriteFile>,
    at: RecordCursor,
    /// The file is synced up to here.
    synced: u64,
    /// Length of the file when it held its snapshot alone.
    snapshot_bytes: u64,
}

/// What [`Manifest::append`] changed.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    /// The new version of each keyspace whose tables changed. Install them
    /// before the manifest's lock is released, or a later edit's could come first.
    pub(crate) versions: Vec<(KeyspaceId, Arc<Version>)>,
}

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
        let mut state = State::default();
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

    /// What is durable.
    pub(crate) fn state(&self) -> &State<Arc<Version>> {
        &self.state
    }

    /// Hands out table ids without this manifest's lock, as long as the block lasts.
    pub(crate) fn ids(&self) -> Arc<TableIds> {
        self.ids.clone()
    }

    /// Bytes of the manifest on disk.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.log.as_ref().map_or(self.current_bytes, |log| log.at.offset())
    }

    /// Where the last edit was cut off by a crash, if opening found it so.
    #[cfg(test)]
    pub(crate) fn torn_at(&self) -> Option<u64> {
        self.torn_at
    }

    /// Reads the manifest back from the disk and compares it with the state in
    /// memory; the bytes read. Changes nothing.
    ///
    /// # Errors
    /// As [`Manifest::open`]; [`Error::Corruption`] too when it says something else.
    pub(crate) fn verify(&self) -> Result<u64> {
        if let Some(reason) = &self.failed {
            return Err(Error::Poisoned { reason: reason.clone() });
        }
        let number = match self.current.file_name().and_then(|n| FileName::parse(n.to_str()?)) {
            Some(FileName::Manifest(number)) => number,
            _ => unreachable!("`current` is set from a manifest's name"),
        };
        let TableStore { fs, database, .. } = &*self.files;
        let contents = reader::read(&**fs, &self.current, *database, number)?;
        let trees = self.state.keyspaces.values().map(|keyspace| &keyspace.tables);
        let broken = trees.filter_map(|tree| tree.check_invariants().err()).next();
        if let Some(broken) = broken {
            return Err(Corruption::new(&self.current, HEADER_LEN as u64, broken.0).into());
        }
        if contents.state.snapshot() != self.state.snapshot() {
            let what = "it no longer says what was written to it";
            return Err(Corruption::new(&self.current, HEADER_LEN as u64, what).into());
        }
        Ok(self.size_bytes())
    }

    /// An unused table id; writes and syncs an edit when the block of reserved
    /// ids is used up.
    pub(crate) fn table_id(&mut self) -> Result<TableId> {
        loop {
            if let Some(id) = self.ids.take() {
                return Ok(id);
            }
            self.append(&Edit::default())?;
        }
    }

    /// Makes durable what [`Manifest::open`] found, in a new manifest, and gives
    /// the files that nothing names to the deletion queue.
    ///
    /// Call it once the log has been found whole: a manifest that has lost its
    /// last edits would take tables that it should name for leftovers, and a
    /// missing log is how that shows.
    pub(crate) fn settle(&mut self) -> Result<()> {
        if self.log.is_none() {
            self.append(&Edit::default())?;
        }
        for leftover in self.leftovers.drain(..) {
            self.files.deletions.push(leftover);
        }
        Ok(())
    }

    /// Writes and syncs `edit`; then the state has it, and tables it removed are
    /// marked obsolete. Files it adds must be synced; their names are synced
    /// here. Cost: one sync, two when it adds tables; and work for what the edit
    /// touches, whatever else the database holds.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the edit does not fit: nothing was done.
    /// Any other error leaves it unknown whether the edit is on disk, so no file
    /// that it adds or removes may be deleted; unless [`Manifest::is_poisoned`]
    /// says no: then nothing was done, as when a full disk has no room for the
    /// new manifest that the first append writes. Once poisoned, every later
    /// call answers [`Error::Poisoned`] with the first failure.
    pub(crate) fn append(&mut self, edit: &Edit) -> Result<Appended> {
        if let Some(reason) = &self.failed {
            return Err(Error::Poisoned { reason: reason.clone() });
        }
        let mut edit = edit.clone();
        edit.next_table_id = edit.next_table_id.max(self.ids.wanted_end());
        let before = self.state.before(&edit);
        let mut changed = match apply(&mut self.state, &mut self.live, &edit, &self.files) {
            Ok(changed) => changed,
            Err(e) => {
                self.state.restore(before);
                return Err(Error::InvalidArgument(format!("this edit does not fit: {e}")));
            }
        };
        let written = self.write(&edit);
        if planted!(manifest_sync_fail_then_delete) && written.is_err() {
            let free = |t: &Arc<TableHandle>| Deletion { path: t.path(), size_bytes: 0 };
            changed.obsolete.iter().map(free).for_each(|d| self.files.deletions.push(d));
        }
        if let Err(e) = written {
            self.state.restore(before);
            self.live.remove(&changed.added);
            return Err(e);
        }
        self.live.remove(&changed.obsolete);
        self.ids.reserved(self.state.next_table_id);
        for table in &changed.obsolete {
            table.mark_obsolete();
        }
        Ok(Appended { versions: std::mem::take(&mut changed.versions) })
    }

    /// Whether a write or sync failed, so that nothing is written any more.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.failed.is_some()
    }

    fn write(&mut self, edit: &Edit) -> Result<()> {
        let payload = codec::encode(edit);
        check_len(payload.len())?;
        if edit.adds_files() {
            let synced = self.files.fs.sync_dir(&self.files.dir);
            self.poison_on_error(synced.map_err(Error::from))?;
        }
        let Some(log) = &self.log else { return self.rewrite() };
        let len = log.at.offset();
        if len > self.rewrite_bytes && len > REWRITE_FACTOR * log.snapshot_bytes {
            let rewritten = self.rewrite();
            if rewritten.is_ok() || self.is_poisoned() {
                return rewritten;
            }
            // The present manifest is as good as before: go on with it for a while.
            self.rewrite_bytes = 2 * len;
        }
        let log = self.log.as_mut().expect("it was there above, and rewriting only replaces it");
        let written = log.append(KIND_EDIT, &payload);
        let synced = written.and_then(|()| Ok(log.file.sync()?));
        self.poison_on_error(synced)?;
        let log = self.log.as_mut().expect("as above");
        log.synced = log.at.offset();
        // Not synced: where it survives it protects the edit, where it does not
        // nothing is missed. The edit is durable: a failure costs no more than a new
        // manifest for the next one, since nobody knows what lies behind this one.
        if log.append(KIND_MARKER, &[]).is_err() {
            self.log = None;
        }
        Ok(())
    }

    fn poison_on_error<T>(&mut self, result: Result<T>) -> Result<T> {
        if planted!(manifest_enospc_middle) {
            return result;
        }
        result.inspect_err(|e| self.failed = Some(e.to_string()))
    }

    /// Writes the state to a new manifest and makes it the current one. At every
    /// moment `CURRENT` names a manifest that is whole and durable. A failure
    /// before the rename changes nothing and does not poison: files are new at
    /// each try, so no sync is repeated.
    fn rewrite(&mut self) -> Result<()> {
        let number = self.next_number;
        self.next_number += 1;
        let TableStore { fs, dir, .. } = &*self.files;
        let path = dir.join(FileName::Manifest(number).to_string());
        let current = dir.join(FileName::Current.to_string());
        let temporary = dir.join(FileName::Temporary.to_string());
        let log = match self.prepare(number, &path, &temporary) {
            Ok(log) => log,
            Err(e) => {
                // To give back what room they take; whoever opens next ignores them.
                let _ = (fs.remove(&temporary), fs.remove(&path));
                return Err(e);
            }
        };
        let settle =
            || if planted!(current_rename_not_dirsynced) { Ok(()) } else { fs.sync_dir(dir) };
        let switched = fs.rename(&temporary, &current).and_then(|()| settle());
        self.poison_on_error(switched.map_err(Error::from))?;

        if !self.current.as_os_str().is_empty() {
            let old = Deletion { size_bytes: self.size_bytes(), path: self.current.clone() };
            self.files.deletions.push(old);
        }
        self.current = path;
        self.log = Some(log);
        Ok(())
    }

    /// Writes manifest `number`, and a `CURRENT` for it under a temporary name.
    fn prepare(&self, number: u64, path: &Path, temporary: &Path) -> Result<ManifestLog> {
        let TableStore { fs, dir, database, .. } = &*self.files;
        let mut file = fs.create(path)?;
        file.append(&header::encode(*database, number))?;
        let salt = RecordSalt::new(RecordFile::Manifest, *database, number);
        let at = RecordCursor::new(salt, HEADER_LEN as u64, 0);
        let mut log = ManifestLog { file, at, synced: 0, snapshot_bytes: 0 };
        let mut kind = KIND_SNAPSHOT;
        let mut parts = 0;
        self.state.snapshot_in_parts(self.snapshot_part_bytes, |part| {
            parts += 1;
            // What the first record leaves out, edits behind it add.
            let kind = std::mem::replace(&mut kind, KIND_EDIT);
            log.append(kind, &codec::encode(part))
        })?;
        log.file.sync()?;
        log.synced = log.at.offset();
        log.snapshot_bytes = log.synced;
        if parts > 1 {
            // Durable before CURRENT names the file: damage in the last part must never
            // pass for an edit that was being written when the machine died.
            log.append(KIND_MARKER, &[])?;
            log.file.sync()?;
            log.synced = log.at.offset();
        }

        match fs.remove(temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        let mut line = fs.create(temporary)?;
        line.append(Current { database: *database, manifest: number }.encode().as_bytes())?;
        line.sync()?;
        // Before the rename, so that CURRENT never names a manifest whose own
        // name is not durable.
        fs.sync_dir(dir)?;
        Ok(log)
    }
}

impl ManifestLog {
    fn append(&mut self, kind: u16, payload: &[u8]) -> Result<()> {
        check_len(payload.len())?;
        let frame = self.at.write(kind, self.synced, &[payload]);
        let padding = record_padding(payload.len());
        let mut record = Vec::with_capacity(frame.len() + payload.len() + padding.len());
        record.extend_from_slice(&frame);
        record.extend_from_slice(payload);
        record.extend_from_slice(padding);
        Ok(self.file.append(&record)?)
    }
}

/// Refuses a record that no reader would take.
fn check_len(len: usize) -> Result<()> {
    if len <= MAX_RECORD_LEN {
        return Ok(());
    }
    Err(Error::InvalidArgument(format!(
        "one edit of the manifest takes {len} bytes, and at most {MAX_RECORD_LEN} are allowed: it changes too many tables with very long keys; compact a smaller range at a time"
    )))
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

/// What an edit does to the tables of a state.
#[derive(Debug, Default)]
struct Changed {
    versions: Vec<(KeyspaceId, Arc<Version>)>,
    obsolete: Vec<Arc<TableHandle>>,
    added: Vec<Arc<TableHandle>>,
}

/// Applies `edit` to `state`, and what it adds to `live`, the tables of that state;
/// what it removes stays there until the edit is durable.
///
/// # Errors
/// [`InvalidEdit`] when it does not fit: `live` is as it was, `state` half changed.
fn apply(
    state: &mut State<Arc<Version>>,
    live: &mut LiveTables,
    edit: &Edit,
    files: &Arc<TableStore>,
) -> Result<Changed, InvalidEdit> {
    let mut changed = Changed::default();
    for id in &edit.dropped {
        let tables = state.keyspaces.get(id).into_iter().flat_map(|k| k.tables.tables());
        changed.obsolete.extend(tables.cloned());
    }
    let applied = state.apply(edit, |id, version, tables| {
        if !tables.is_empty() {
            let applied = version.apply(tables, live, files)?;
            live.add(&applied.added);
            *version = applied.version;
            changed.versions.push((id, version.clone()));
            changed.obsolete.extend(applied.obsolete);
            changed.added.extend(applied.added);
        }
        Ok(())
    });
    match applied {
        Ok(()) => Ok(changed),
        Err(e) => {
            live.remove(&changed.added);
            Err(e)
        }
    }
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
