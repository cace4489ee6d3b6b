//! Repair: saves what can be saved of a damaged database into a new one.
//!
//! 1. `manifest` tells what is known without tables and logs ([`Known`]); where
//!    it is damaged, the directory tells the rest, and the report says what had
//!    to be assumed.
//! 2. Tables ([`tables`]) and logs ([`logs`]) are read past their damage. What
//!    was saved of damaged ones goes into spools: tables in the target.
//! 3. Of every key the newest version is written ([`spool`]), unless a newer
//!    one may have been in a part that is lost: an older value is never
//!    answered instead.
//!
//! The source is only read. Nothing of it is trusted without a checksum.

mod epochs;
mod report;
mod spool;
mod logs;
mod tables;

pub use report::{LostPart, RepairReport, RepairedFile};

use crate::tree::manifest::{ChangedKeyspace, CreatedKeyspace, Edit, FileName, Known, Manifest};
use crate::tree::version::{AddedTable, RunId, TableStore, VersionEdit};
use crate::types::error::{Error, Result};
use crate::types::keyspace_options;
use crate::types::options::Compression;
use crate::wal;
use epochs::Epochs;
use spool::{Rank, Source, Target, Writing, newest};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tables::{LostRange, Owner, name_of};
use tanada_format::{DatabaseId, EntryRef, KeyspaceId, Level, MAX_LEVELS, SeqNo, ValueKind};
use tanada_vfs::{Env, FileSystem};

/// So many doubtful keys are named.
const NAMED_DOUBTS: usize = 100;
/// More keyspaces than this are garbage.
const MAX_KEYSPACES: u32 = 1 << 16;

/// Saves what can be saved of the database in `source` into a new database in
/// `target`, which must be empty or not there. Writes nothing to `source`; no
/// process may have it open meanwhile.
///
/// Every value in the new database was in the old one under that key, with the
/// same sequence number and expiry. Keys of which a newer version may be lost
/// are left out and counted as doubtful; only where a damaged log record does
/// not tell its keys, they may show the value before it, and the report names
/// the sequence numbers.
///
/// Cost: reads the database twice and writes it once; takes memory for the
/// logs, and for one damaged table at a time.
///
/// # Errors
/// [`Error::InvalidArgument`] when `target` is not empty or lies in `source`;
/// [`Error::NotADatabase`] when nothing of a database is left;
/// [`Error::Unsupported`] for files of a newer version; [`Error::Io`]. What was
/// written to `target` is then useless.
pub fn repair(
    env: &Env,
    source: impl AsRef<Path>,
    target: impl AsRef<Path>,
) -> Result<RepairReport> {
    let (source, target) = (source.as_ref(), target.as_ref());
    check_target(&*env.fs, source, target)?;
    let mut report = RepairReport::default();
    let guess = |told: &[DatabaseId]| guess_database(&*env.fs, source, told);
    let epochs = Epochs::read(&*env.fs, source);
    let (database, mut known) = Known::read(&*env.fs, source, &epochs.of_manifest(), guess)?;
    report.damage.extend(known.damage.iter().map(|(file, what)| format!("{file}: {what}")));
    report.assumed.extend(known.assumed.iter().cloned());

    env.fs.create_dir_all(target)?;
    let writer = Target::new(env, target);
    let from_tables =
        tables::read(&*env.fs, source, database, &epochs, &mut known, &writer, &mut report)?;
    let from_logs = logs::read(&*env.fs, source, database, &epochs, &known, &writer, &mut report)?;

    let mut by_owner: BTreeMap<Owner, Vec<Source>> = BTreeMap::new();
    by_owner.insert(Owner::Keyspace(KeyspaceId::DEFAULT), Vec::new());
    for &id in known.keyspaces.keys() {
        by_owner.entry(Owner::Keyspace(id)).or_default();
    }
    for (owner, source) in from_tables.sources {
        by_owner.entry(owner).or_default().push(source);
    }
    for (keyspace, source) in from_logs.sources {
        by_owner.entry(Owner::Keyspace(keyspace)).or_default().push(source);
    }
    let places = places(by_owner.keys().copied(), &known)?;

    // Numbers of lost writes are not handed out again either.
    let lost = report.lost.iter().filter_map(|part| part.last_seqno).max().unwrap_or(0);
    let found = known.last_seqno.max(from_tables.last_seqno).max(from_logs.last_seqno);
    let mut edit = Edit {
        last_seqno: Some(found.max(SeqNo(lost))),
        clock_high_ms: Some(known.clock_high_ms),
        ..Edit::default()
    };
    let mut doubts = Doubts::new();
    for doubt in from_logs.doubts {
        let keys = doubts.entry(Owner::Keyspace(doubt.keyspace)).or_default();
        let newest = keys.entry(doubt.key).or_default();
        *newest = doubt.seqno.max(*newest);
    }
    let now_ms = env.clock.wall_ms();
    let mut saved: BTreeMap<KeyspaceId, VersionEdit> = BTreeMap::new();
    for (owner, sources) in by_owner {
        let place = &places[&owner];
        let mut saving = Saving {
            owner,
            name: &place.name,
            lost: &from_tables.lost,
            doubts: &doubts,
            report: &mut report,
            keys: 0,
        };
        let tables = saving.write(&writer, sources, place, now_ms)?;
        let keys = saving.keys;
        report.keys.insert(place.name.clone(), keys);
        saved.insert(place.id, tables);
    }
    let mut in_order: Vec<&Place> = places.values().collect();
    in_order.sort_unstable_by_key(|place| place.id);
    for place in in_order {
        edit.created.push(CreatedKeyspace {
            id: place.id,
            name: place.name.clone(),
            options: keyspace_options::encode(place.compression),
        });
    }
    edit.changed = (saved.into_iter())
        .map(|(id, tables)| ChangedKeyspace { id, tables, ..ChangedKeyspace::default() })
        .collect();
    edit.next_table_id = Some(writer.next_table_id());
    writer.remove_spools()?;
    let files =
        TableStore::new(Arc::clone(&env.fs), target, writer.database, Arc::clone(&writer.cache));
    Manifest::create(files, &edit)?;
    Ok(report)
}

fn check_target(fs: &dyn FileSystem, source: &Path, target: &Path) -> Result<()> {
    let refused = |why: &str| {
        Err(Error::InvalidArgument(format!("{} {why}; name a new directory", target.display())))
    };
    if target.starts_with(source) {
        return refused("lies in the database to be repaired");
    }
    match fs.read_dir(target) {
        Ok(names) if names.iter().any(|entry| entry.name != "lost+found") => {
            refused("is not empty")
        }
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// The database that most files say they belong to.
fn guess_database(fs: &dyn FileSystem, dir: &Path, manifests: &[DatabaseId]) -> Option<DatabaseId> {
    let mut votes: BTreeMap<DatabaseId, usize> = BTreeMap::new();
    manifests.iter().for_each(|id| *votes.entry(*id).or_default() += 1);
    for entry in fs.read_dir(dir).unwrap_or_default() {
        let Ok(file) = fs.open(&dir.join(&entry.name)) else { continue };
        let told = match FileName::parse(&entry.name) {
            Some(FileName::Table(_)) => tanada_table::database_of(&*file),
            Some(FileName::Log(_)) => {
                let mut head = vec![0; file.len().min(256) as usize];
                let read = file.read_exact_at(&mut head, 0);
                read.ok().and_then(|()| wal::salvage::database_of(&head))
            }
            _ => None,
        };
        told.into_iter().for_each(|id| *votes.entry(id).or_default() += 1);
    }
    votes.into_iter().max_by_key(|(_, count)| *count).map(|(id, _)| id)
}

/// Keys that lost log records seem to have written, and the newest such record.
type Doubts = HashMap<Owner, HashMap<Vec<u8>, SeqNo>>;

/// A keyspace of the new database.
struct Place {
    id: KeyspaceId,
    name: String,
    compression: Compression,
}

/// Keyspaces of the new database: those of the old one under their ids, with
/// none left out between them, and behind them those of tables that nobody owns.
fn places(owners: impl Iterator<Item = Owner>, known: &Known) -> Result<BTreeMap<Owner, Place>> {
    let owners: Vec<Owner> = owners.collect();
    let last = owners.iter().filter_map(|owner| match owner {
        Owner::Keyspace(id) => Some(id.0),
        Owner::Lost(_) => None,
    });
    let last = last.max().unwrap_or(0);
    if last > MAX_KEYSPACES {
        let what = format!("a log writes to keyspace {last}, which cannot be");
        return Err(Error::InvalidArgument(what));
    }
    let mut places: BTreeMap<Owner, Place> = BTreeMap::new();
    let lost = owners.iter().filter(|owner| matches!(owner, Owner::Lost(_))).copied();
    let all = (0..=last).map(|id| Owner::Keyspace(KeyspaceId(id))).chain(lost);
    for (n, owner) in (0..).zip(all) {
        let told = match owner {
            Owner::Keyspace(id) => known.keyspaces.get(&id),
            Owner::Lost(_) => None,
        };
        let compression =
            told.and_then(|(_, bytes)| keyspace_options::decode(bytes, Path::new("")).ok());
        let mut name = name_of(owner, known);
        while places.values().any(|place| place.name == name) {
            name.push('~');
        }
        let place = Place { id: KeyspaceId(n), name, compression: compression.unwrap_or_default() };
        places.insert(owner, place);
    }
    Ok(places)
}

/// Writes the keys of one keyspace.
struct Saving<'a> {
    owner: Owner,
    name: &'a str,
    lost: &'a [LostRange],
    doubts: &'a Doubts,
    report: &'a mut RepairReport,
    keys: u64,
}

impl Saving<'_> {
    fn write(
        &mut self,
        target: &Target<'_>,
        sources: Vec<Source>,
        place: &Place,
        now_ms: u64,
    ) -> Result<VersionEdit> {
        let mut metas = Vec::new();
        let mut writing: Option<Writing> = None;
        newest(target, sources, |entry, rank| {
            if !self.keeps(&entry, rank) {
                return Ok(());
            }
            self.keys += 1;
            if let Some(full) = writing.take_if(|writing| writing.is_full()) {
                metas.push(full.end(now_ms)?);
            }
            let table = match &mut writing {
                Some(table) => table,
                none => none.insert(target.begin(place.compression.into(), Some(place.id))?),
            };
            table.add(entry)
        })?;
        if let Some(last) = writing {
            metas.push(last.end(now_ms)?);
        }
        let level = Level(MAX_LEVELS as u8 - 1);
        let run = RunId(metas.first().map_or(0, |meta| meta.id.0));
        let added = metas.into_iter().map(|meta| AddedTable { level, run, meta }).collect();
        Ok(VersionEdit { added, removed: Vec::new() })
    }

    /// Whether this version of a key, the newest that was found, goes into the
    /// new database.
    fn keeps(&mut self, entry: &EntryRef<'_>, rank: Rank) -> bool {
        let (key, seqno) = (entry.key, entry.seqno);
        let in_table = self
            .lost
            .iter()
            .any(|lost| lost.owner == self.owner && lost.may_hold_newer(key, (rank, seqno)));
        let in_log = self.doubts.get(&self.owner).and_then(|keys| keys.get(key));
        let doubtful = in_table || in_log.is_some_and(|newest| seqno <= *newest);
        match entry.kind {
            ValueKind::Delete => false,
            ValueKind::Put if !doubtful => true,
            ValueKind::Put => {
                self.report.doubtful += 1;
                if self.report.doubtful_keys.len() < NAMED_DOUBTS {
                    let key = format!("{}: {}", self.name, key.escape_ascii());
                    self.report.doubtful_keys.push(key);
                }
                false
            }
            // No version writes these yet.
            ValueKind::Merge | ValueKind::RangeDelete | ValueKind::BlobRef => {
                let key = key.escape_ascii();
                self.report.damage.push(format!("{}: {key}: an entry of no use here", self.name));
                false
            }
        }
    }
}
