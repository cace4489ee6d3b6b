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
mod log;
mod reader;
mod salvage;
mod table_ids;
mod apply;
mod open;
mod write;
mod copy;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

pub(crate) use current::Current;
pub(crate) use directory::{Found, inspect};
pub(crate) use edit::{ChangedKeyspace, CreatedKeyspace, Edit};
pub(crate) use header::epoch_of;
pub(crate) use names::FileName;
pub(crate) use salvage::Known;
pub(crate) use state::{MAX_KEYSPACES, State};
pub(crate) use table_ids::TableIds;

use crate::tree::version::{Deletion, LiveTables, TableHandle, TableStore, Version};
use crate::types::error::{Error, Result};
use apply::apply;
use header::HEADER_LEN;
use log::ManifestLog;
use std::path::PathBuf;
use std::sync::Arc;
use tanada_format::{Corruption, KeyspaceId, TableId, WriterEpoch, planted};

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

/// What [`Manifest::append`] changed.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    /// The new version of each keyspace whose tables changed. Install them
    /// before the manifest's lock is released, or a later edit's could come first.
    pub(crate) versions: Vec<(KeyspaceId, Arc<Version>)>,
}

impl Manifest {
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

    /// An unused table id, as [`Manifest::table_ids`].
    #[cfg(test)]
    pub(crate) fn table_id(&mut self) -> Result<TableId> {
        self.table_ids(1)
    }

    /// The first of `count` unused table ids that follow each other; writes and syncs an
    /// edit when the block of reserved ids has fewer.
    pub(crate) fn table_ids(&mut self, count: u64) -> Result<TableId> {
        loop {
            if let Some(first) = self.ids.take_many(count) {
                return Ok(first);
            }
            // As many as that behind all that were given, and a block for others.
            let wanted = self.state.next_table_id.0.saturating_add(count);
            self.append(&Edit { next_table_id: Some(TableId(wanted)), ..Edit::default() })?;
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
    /// says no: then nothing was done, as when a full disk has no room for it. Once poisoned, every later
    /// call answers [`Error::Poisoned`] with the first failure.
    pub(crate) fn append(&mut self, edit: &Edit) -> Result<Appended> {
        if let Some(reason) = &self.failed {
            return Err(Error::Poisoned { reason: reason.clone() });
        }
        let mut edit = edit.clone();
        edit.next_table_id = edit.next_table_id.max(self.ids.wanted_end());
        edit.number = Some(self.state.edit_number.next());
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

    /// Writes `edit` without a sync, as the last one: nothing may act upon it but a later
    /// opening that finds it. What fails is left out. Cost: one write.
    pub(crate) fn note(&mut self, edit: &Edit) {
        if self.failed.is_none()
            && let Some(mut log) = self.log.take()
        {
            let number = Some(self.state.edit_number.next());
            // Dropped here: nothing is to follow it in this file.
            let edit = Edit { number, ..edit.clone() };
            let _ = log.append(log::KIND_EDIT, &codec::encode(&edit));
        }
    }

    /// Goes on in `epoch`, which the next manifest will say: this one is given up, so the
    /// next edit makes it durable. No I/O.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the database has been opened in a later epoch.
    pub(crate) fn begin_epoch(&mut self, epoch: WriterEpoch) -> Result<()> {
        if epoch < self.state.epoch {
            return Err(Error::InvalidArgument(format!(
                "{} has been opened in epoch {}, and epoch {epoch} is behind it: another \
                 opening has taken it over",
                self.files.dir.display(),
                self.state.epoch
            )));
        }
        if epoch > self.state.epoch {
            self.current_bytes = self.size_bytes();
            self.log = None;
            self.state.epoch = epoch;
        }
        Ok(())
    }

    /// Whether some keyspace has this table.
    pub(crate) fn has(&self, id: TableId) -> bool {
        self.live.get(id).is_some()
    }

    /// Whether a write or sync failed, so that nothing is written any more.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.failed.is_some()
    }
}
