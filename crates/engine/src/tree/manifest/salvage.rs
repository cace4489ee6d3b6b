//! What the manifests of a damaged database still tell, for repair.
//!
//! One that reads back as it was written tells everything. Of a damaged one
//! those edits count that are proven to be whole: from them come keyspaces'
//! names, which table belongs to which keyspace, and which tables were given
//! up. Which tables are live it cannot tell any more.

use super::codec;
use super::current::Current;
use super::directory::{Found, Listing, inspect};
use super::edit::Edit;
use super::header::{self, HEADER_LEN};
use super::log::{KIND_EDIT, KIND_MARKER, KIND_SNAPSHOT};
use super::names::FileName;
use super::reader;
use crate::salvage::{RecordBytes, most_records};
use crate::tree::version::{AddedTable, RemovedTable};
use crate::types::error::{Error, Result};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use tanada_format::{
    DatabaseId, KeyspaceId, LogId, LogPosition, RecordFile, RecordSalt, SeqNo, TableId, WriterEpoch,
};
use tanada_vfs::FileSystem;

/// Longest manifest that is read when it is damaged.
const MAX_LEN: u64 = 1 << 30;

/// What is known of a database without its tables and logs.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Whether a manifest was read from its first byte to its last, so that
    /// what it does not name does not belong to the database.
    pub(crate) complete: bool,
    /// Name and options of each keyspace.
    pub(crate) keyspaces: BTreeMap<KeyspaceId, (String, Vec<u8>)>,
    /// Where each table stood that a manifest named, and whose it was.
    pub(crate) tables: HashMap<TableId, (KeyspaceId, AddedTable)>,
    /// Tables that were given up.
    pub(crate) removed: HashSet<TableId>,
    /// The oldest log that is needed, if that is known.
    pub(crate) oldest_log: Option<LogId>,
    pub(crate) last_seqno: SeqNo,
    pub(crate) clock_high_ms: u64,
    /// The log was synced up to here.
    pub(crate) log_synced: LogPosition,
    /// What is damaged: file name and a sentence.
    pub(crate) damage: Vec<(String, String)>,
    /// What had to be assumed; one sentence each.
    pub(crate) assumed: Vec<String>,
}

impl Known {
    /// Reads `CURRENT` and the manifests in `dir`, of the database that
    /// `database` guesses when `CURRENT` does not tell. `epochs` are those in which a manifest
    /// may have been begun whose header does not say, the likeliest first. Changes nothing.
    ///
    /// # Errors
    /// When the directory cannot be read; [`Error::Unsupported`].
    pub(crate) fn read(
        fs: &dyn FileSystem,
        dir: &Path,
        epochs: &[WriterEpoch],
        database: impl FnOnce(&[DatabaseId]) -> Option<DatabaseId>,
    ) -> Result<(DatabaseId, Known)> {
        let mut known = Known::default();
        let listing = Listing::read(fs, dir)?;
        let current = match inspect(fs, dir) {
            Ok(Found::Database(current)) => Some(current),
            Ok(Found::Nothing) => None,
            Err(e @ Error::Unsupported { .. }) => return Err(e),
            Err(e) => {
                known.damage.push(("CURRENT".to_owned(), e.to_string()));
                None
            }
        };
        if let Some(current) = &current {
            let path = dir.join(FileName::Manifest(current.manifest).to_string());
            match reader::read(fs, &path, current.database, current.manifest) {
                Ok(contents) => {
                    known.complete = true;
                    known.apply(&contents.state.snapshot());
                    return Ok((current.database, known));
                }
                Err(e @ Error::Unsupported { .. }) => return Err(e),
                Err(e) => known.damage.push((name_of(current.manifest), e.to_string())),
            }
        }
        let mut manifests = Vec::new();
        for &number in &listing.manifests {
            match bytes_of(fs, &dir.join(name_of(number))) {
                Ok(bytes) => manifests.push((number, bytes)),
                Err(e) => known.damage.push((name_of(number), e.to_string())),
            }
        }
        manifests.sort_unstable_by_key(|(number, _)| *number);
        let told: Vec<_> =
            manifests.iter().filter_map(|(_, bytes)| header::database_of(bytes)).collect();
        let database = match current {
            Some(Current { database, .. }) => Some(database),
            None => database(&told),
        };
        let Some(database) = database else {
            let why = "no file in it says to which database it belongs".to_owned();
            return Err(Error::NotADatabase { path: dir.to_owned(), why });
        };
        if current.is_none() {
            // The newest that is whole: one that `CURRENT` did not name yet
            // says the same, and one that it named no more is older.
            for &(number, _) in manifests.iter().rev() {
                let path = dir.join(name_of(number));
                if let Ok(contents) = reader::read(fs, &path, database, number) {
                    known.complete = true;
                    known.apply(&contents.state.snapshot());
                    known.assumed.push(format!("{} is the current manifest", name_of(number)));
                    return Ok((database, known));
                }
            }
        }
        for (number, bytes) in manifests {
            known.salvage(database, number, epochs, &bytes);
        }
        Ok((database, known))
    }

    /// Takes what is proven of a damaged manifest; later manifests overrule earlier ones.
    fn salvage(&mut self, database: DatabaseId, number: u64, epochs: &[WriterEpoch], bytes: &[u8]) {
        let epochs = header::epoch_of(bytes).map_or(epochs.to_vec(), |epoch| vec![epoch]);
        let kinds = &[KIND_SNAPSHOT, KIND_EDIT, KIND_MARKER];
        let found = most_records(epochs.into_iter().map(|epoch| {
            let salt = RecordSalt::new(RecordFile::Manifest, database, number).in_epoch(epoch);
            RecordBytes { bytes, salt, from: HEADER_LEN, kinds }.salvage(&[0])
        }));
        for (_, payload) in found.records {
            match codec::decode(&bytes[payload.clone()]) {
                Ok(edit) => self.apply(&edit),
                Err(e) => {
                    let at = payload.start + e.offset;
                    self.damage.push((name_of(number), format!("no edit at offset {at}")));
                }
            }
        }
        for damage in found.damage {
            let what = format!("no valid record at offset {}", damage.bytes.start);
            self.damage.push((name_of(number), what));
        }
    }

    fn apply(&mut self, edit: &Edit) {
        self.oldest_log = self.oldest_log.max(edit.oldest_log.filter(|id| id.0 != 0));
        self.last_seqno = self.last_seqno.max(edit.last_seqno.unwrap_or_default());
        self.clock_high_ms = self.clock_high_ms.max(edit.clock_high_ms.unwrap_or_default());
        let flushed = edit.changed.iter().filter_map(|changed| changed.flushed_to).max();
        self.log_synced = self.log_synced.max(edit.log_synced.max(flushed).unwrap_or_default());
        for created in &edit.created {
            let known = (created.name.clone(), created.options.clone());
            self.keyspaces.insert(created.id, known);
        }
        for changed in &edit.changed {
            if let Some(keyspace) = self.keyspaces.get_mut(&changed.id)
                && let Some(options) = &changed.options
            {
                keyspace.1.clone_from(options);
            }
            for RemovedTable { id, .. } in &changed.tables.removed {
                self.tables.remove(id);
                self.removed.insert(*id);
            }
            for added in &changed.tables.added {
                self.removed.remove(&added.meta.id);
                self.tables.insert(added.meta.id, (changed.id, added.clone()));
            }
        }
        for id in &edit.dropped {
            self.keyspaces.remove(id);
        }
    }
}

fn name_of(number: u64) -> String {
    FileName::Manifest(number).to_string()
}

fn bytes_of(fs: &dyn FileSystem, path: &Path) -> Result<Vec<u8>> {
    let file = fs.open(path)?;
    let mut bytes = vec![0; file.len().min(MAX_LEN) as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
