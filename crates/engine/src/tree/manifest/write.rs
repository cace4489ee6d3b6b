//! Writing an edit: as a record behind the others, or, once the manifest is much longer
//! than its snapshot, as part of a new manifest that `CURRENT` names from then on.

use super::Manifest;
use super::codec;
use super::current::Current;
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
        let file = fs.create(path)?;
        let current = Current { database: *database, manifest: number };
        let log = write_snapshot(file, &current, &self.state, self.snapshot_part_bytes)?;

        match fs.remove(temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        write_current(fs.create(temporary)?, &current)?;
        // Before the rename, so that CURRENT never names a manifest whose own
        // name is not durable.
        fs.sync_dir(dir)?;
        Ok(log)
    }
}

/// Writes the whole state into the new `file`, that of the manifest that `current` names,
/// in parts of about `part_bytes`, and syncs it.
pub(super) fn write_snapshot(
    mut file: Box<dyn WriteFile>,
    current: &Current,
    state: &State<Arc<Version>>,
    part_bytes: usize,
) -> Result<ManifestLog> {
    file.append(&header::encode(current.database, current.manifest))?;
    let salt = RecordSalt::new(RecordFile::Manifest, current.database, current.manifest);
    let at = RecordCursor::new(salt, HEADER_LEN as u64, 0);
    let mut log = ManifestLog { file, at, synced: 0, snapshot_bytes: 0 };
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
