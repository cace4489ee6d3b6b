//! In which epoch a file may have been written that does not say so any more.
//!
//! The checksums of a file are bound to its epoch, so without it nothing in the file is
//! proven. Other files tell theirs: those with the next lower and the next higher id are tried
//! first, and then the newest epochs that any file tells.

use crate::tree::manifest::{self, FileName};
use crate::wal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use tanada_format::{LogId, TableId, WriterEpoch, planted};
use tanada_vfs::FileSystem;

/// Bytes at the beginning of a log or a manifest that tell its epoch.
const HEAD_LEN: u64 = 256;
/// The newest epochs that are tried for any file.
const NEWEST: usize = 8;

/// What the files of a directory say of their epochs. Some ten bytes a table and log.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    logs: BTreeMap<LogId, WriterEpoch>,
    tables: BTreeMap<TableId, WriterEpoch>,
    manifests: BTreeSet<WriterEpoch>,
}

impl Epochs {
    /// Asks each file: one small read of a log or a manifest, two of a table.
    pub(super) fn read(fs: &dyn FileSystem, dir: &Path) -> Epochs {
        let mut found = Epochs::default();
        for entry in fs.read_dir(dir).unwrap_or_default() {
            let (path, name) = (dir.join(&entry.name), FileName::parse(&entry.name));
            if name.is_none() {
                continue;
            }
            let Ok(file) = fs.open(&path) else { continue };
            let head = || {
                let mut head = vec![0; file.len().min(HEAD_LEN) as usize];
                file.read_exact_at(&mut head, 0).ok().map(|()| head)
            };
            match name {
                Some(FileName::Table(id)) => {
                    found.tables.extend(tanada_table::epoch_of(&*file).map(|epoch| (id, epoch)));
                }
                Some(FileName::Log(id)) => {
                    let epoch = head().and_then(|head| wal::salvage::epoch_of(&head));
                    found.logs.extend(epoch.map(|epoch| (id, epoch)));
                }
                Some(FileName::Manifest(_)) => {
                    let epoch = head().and_then(|head| manifest::epoch_of(&head));
                    found.manifests.extend(epoch);
                }
                _ => {}
            }
        }
        found
    }

    /// For a log without a header, the likeliest first.
    pub(super) fn of_log(&self, id: LogId) -> Vec<WriterEpoch> {
        self.near(&self.logs, id)
    }

    /// For a table whose end does not say, the likeliest first.
    pub(super) fn of_table(&self, id: TableId) -> Vec<WriterEpoch> {
        self.near(&self.tables, id)
    }

    /// For a manifest without a header, the likeliest first.
    pub(super) fn of_manifest(&self) -> Vec<WriterEpoch> {
        distinct(self.newest())
    }

    fn near<K: Ord + Copy>(&self, told: &BTreeMap<K, WriterEpoch>, id: K) -> Vec<WriterEpoch> {
        let before = told.range(..id).next_back().map(|(_, epoch)| *epoch);
        let behind = told.range(id..).next().map(|(_, epoch)| *epoch);
        distinct(before.into_iter().chain(behind).chain(self.newest()))
    }

    /// The newest that any file tells.
    fn newest(&self) -> impl Iterator<Item = WriterEpoch> + use<> {
        let told = self.logs.values().chain(self.tables.values()).chain(&self.manifests);
        let told: BTreeSet<WriterEpoch> = told.copied().collect();
        told.into_iter().rev().take(NEWEST)
    }
}

/// Each once, in order, and that of a database that has only ever been in its directory.
fn distinct(epochs: impl Iterator<Item = WriterEpoch>) -> Vec<WriterEpoch> {
    let mut all = Vec::new();
    for epoch in epochs.chain([WriterEpoch::default()]) {
        if planted!(repair_knows_one_epoch) && epoch != WriterEpoch::default() {
            continue;
        }
        if !all.contains(&epoch) {
            all.push(epoch);
        }
    }
    all
}
