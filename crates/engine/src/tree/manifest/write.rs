//! Writing an edit: as a record behind the others, or, once the manifest is much longer
//! than its snapshot, as part of a new manifest that `CURRENT` names from then on.

use super::Manifest;
use super::codec;
use super::current::Current;
use super::directory::{Found, inspect};
use super::edit::Edit;
use super::header::{self, HEADER_LEN};
use super::log::{KIND_EDIT, KIND_MARKER, KIND_SNAPSHOT, ManifestLog, check_len};
use super::names::FileName;
use super::state::State;
use crate::tree::version::{Deletion, TableStore, Version};
use crate::types::error::{Error, Result};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tanada_format::{RecordCursor, RecordFile, RecordSalt, planted};
use tanada_vfs::WriteFile;

/// Rewrite when the manifest is this many times its snapshot.
const REWRITE_FACTOR: u64 = 4;

impl Manifest {
    pub(super) fn write(&mut self, edit: &Edit) -> Result<()> {
        let payload = codec::encode(edit);
        check_len(payload.len())?;
        if edit.adds_files() {
            self.publish()?;
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
        let end = log.at;
        if !planted!(manifest_full_disk_ends_writing) {
            log.reserve(payload.len())?;
        }
        if let Err(e) = log.append(KIND_EDIT, &payload) {
            // Not synced, so nothing has been lost that a sync would have told of: what a
            // full disk took of it can be removed.
            let tries = !planted!(manifest_enospc_middle);
            let tries = tries && !planted!(manifest_full_disk_ends_writing);
            if tries && is_full(&e) && log.take_back(end).is_ok() {
                return Err(e);
            }
            return self.poison_on_error(Err(e));
        }
        let synced = log.file.sync().map_err(Error::from);
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

    /// Makes all names in the directory durable. That it could not be tried is no poison.
    fn publish(&mut self) -> Result<()> {
        match self.files.publish() {
            Err(e @ Error::Poisoned { .. }) => self.poison_on_error(Err(e)),
            published => published,
        }
    }

    fn poison_on_error<T>(&mut self, result: Result<T>) -> Result<T> {
        if planted!(manifest_enospc_middle) {
            return result;
        }
        result.inspect_err(|e| self.failed = Some(e.to_string()))
    }

    /// Writes the state to a new manifest and makes it the current one. At every
    /// moment `CURRENT` names a manifest that is whole and durable. A failure before
    /// the rename changes nothing and does not poison, since files are new at each try;
    /// but for a failed sync of the directory, in which other names are lost as well.
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
        // Before the rename, so that CURRENT never names a manifest whose own name is not
        // durable.
        if let Err(e) = self.publish() {
            let TableStore { fs, .. } = &*self.files;
            let _ = (fs.remove(&temporary), fs.remove(&path));
            return Err(e);
        }
        let TableStore { fs, dir, .. } = &*self.files;
        let settle =
            || if planted!(current_rename_not_dirsynced) { Ok(()) } else { fs.sync_dir(dir) };
        let renamed = fs.rename(&temporary, &current);
        if let Err(e) = &renamed
            && tanada_vfs::is_disk_full(e)
            && matches!(inspect(&**fs, dir), Ok(Found::Database(c)) if c.manifest != number)
        {
            // A directory can want room for a name too. CURRENT is as it was.
            let _ = (fs.remove(&temporary), fs.remove(&path));
            return renamed.map_err(Error::from);
        }
        let switched = renamed.and_then(|()| settle());
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
        let TableStore { fs, database, .. } = &*self.files;
        let file = fs.create(path)?;
        let current = Current { database: *database, manifest: number };
        let log = write_snapshot(file, &current, &self.state, self.snapshot_part_bytes)?;

        match fs.remove(temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        write_current(fs.create(temporary)?, &current)?;
        Ok(log)
    }
}

fn is_full(e: &Error) -> bool {
    matches!(e, Error::Io(io) if tanada_vfs::is_disk_full(io))
}

/// Writes the whole state into the new `file`, that of the manifest that `current` names,
/// in parts of about `part_bytes`, and syncs it.
pub(super) fn write_snapshot(
    mut file: Box<dyn WriteFile>,
    current: &Current,
    state: &State<Arc<Version>>,
    part_bytes: usize,
) -> Result<ManifestLog> {
    file.append(&header::encode(current.database, current.manifest, state.epoch))?;
    let salt = RecordSalt::new(RecordFile::Manifest, current.database, current.manifest);
    let salt = salt.in_epoch(state.epoch);
    let at = RecordCursor::new(salt, HEADER_LEN as u64, 0);
    let mut log = ManifestLog::new(file, at);
    let mut kind = KIND_SNAPSHOT;
    let mut parts = 0;
    state.snapshot_in_parts(part_bytes, |part| {
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
    Ok(log)
}

/// Writes the one line of a new `CURRENT`, and syncs it.
pub(super) fn write_current(mut file: Box<dyn WriteFile>, current: &Current) -> Result<()> {
    file.append(current.encode().as_bytes())?;
    Ok(file.sync()?)
}
