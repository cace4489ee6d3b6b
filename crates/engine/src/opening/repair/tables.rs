//! Everything that can be read of the tables.

use super::epochs::Epochs;
use super::report::{LostPart, RepairReport, RepairedFile};
use super::spool::{Rank, Source, Target, may_be_newer};
use crate::tree::manifest::{FileName, Known};
use crate::tree::version::AddedTable;
use crate::types::error::{Error, Result};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::Path;
use tanada_format::{DatabaseId, KeyspaceId, Origin, SeqNo, TableId, WriterEpoch};
use tanada_table::{Compression, Gap, Salvage, Table, TableProperties, salvage};
use tanada_vfs::{FileSystem, ReadFile};

/// Whose a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Owner {
    Keyspace(KeyspaceId),
    /// Nobody knows: it gets a keyspace of its own.
    Lost(TableId),
}

/// A part of a table that is lost, with what may have been in it.
pub(super) struct LostRange {
    pub(super) owner: Owner,
    gap: Gap,
    rank: Rank,
    max_seqno: SeqNo,
}

impl LostRange {
    /// Whether a version of `key` newer than the one found may be lost here.
    pub(super) fn may_hold_newer(&self, key: &[u8], found: (Rank, SeqNo)) -> bool {
        may_be_newer((self.rank, self.max_seqno), found) && self.gap.may_hold(key)
    }
}

/// Where a table comes from: as the manifest says, or as its own end does.
fn origin_of(
    id: TableId,
    database: DatabaseId,
    epochs: &Epochs,
    known: &Known,
    file: &dyn ReadFile,
) -> Origin {
    if let Some((_, added)) = known.tables.get(&id) {
        let own = || Origin::local(database, id);
        return added.meta.origin.as_deref().copied().unwrap_or_else(own);
    }
    let of_epoch = |epoch| Origin { epoch, ..Origin::local(database, id) };
    if let Some(epoch) = tanada_table::epoch_of(file) {
        return of_epoch(epoch);
    }
    // The one under which most is proven; the likeliest of equals.
    let proven = |epoch: &WriterEpoch| {
        let saved = salvage::<tanada_table::Error>(file, of_epoch(*epoch), |_| Ok(()));
        saved.map_or(0, |saved| saved.entries)
    };
    let likely = epochs.of_table(id);
    let best = likely.iter().rev().max_by_key(|epoch| proven(epoch));
    of_epoch(best.copied().unwrap_or_default())
}

/// What the tables gave.
#[derive(Default)]
pub(super) struct FromTables {
    pub(super) sources: Vec<(Owner, Source)>,
    pub(super) lost: Vec<LostRange>,
    pub(super) last_seqno: SeqNo,
}

/// The tables to read, and those that the manifest names and that are gone.
fn choose(
    fs: &dyn FileSystem,
    dir: &Path,
    known: &mut Known,
    report: &mut RepairReport,
) -> Result<(BTreeSet<TableId>, BTreeSet<TableId>)> {
    let there: BTreeSet<TableId> = (fs.read_dir(dir)?.iter().filter(|entry| !entry.is_dir))
        .filter_map(|entry| match FileName::parse(&entry.name) {
            Some(FileName::Table(id)) => Some(id),
            _ => None,
        })
        .collect();
    let named: BTreeSet<TableId> = known.tables.keys().copied().collect();
    let missing: BTreeSet<TableId> = named.difference(&there).copied().collect();
    let newer = there.iter().any(|id| named.last().is_none_or(|last| id > last));
    let log_gone = match known.oldest_log {
        Some(id) => !fs.exists(&dir.join(FileName::Log(id).to_string()))?,
        None => true,
    };
    if known.complete && !(newer && (log_gone || !missing.is_empty())) {
        return Ok((named.intersection(&there).copied().collect(), missing));
    }
    if known.complete {
        known.complete = false;
        report.assumed.push(
            "the manifest has lost its last edits: it names files that are gone, and not the \
             tables that are newer"
                .to_owned(),
        );
    }
    report.assumed.push(
        "every table in the directory counts that no manifest gave up: entries carry sequence \
         numbers, so newer ones still hide older ones; but keys may come back whose deletion a \
         compaction had completed and whose old table had not been removed yet"
            .to_owned(),
    );
    for id in missing {
        report.assumed.push(format!("table {id}, which is not there, had been replaced"));
    }
    Ok((there.into_iter().filter(|id| !known.removed.contains(id)).collect(), BTreeSet::new()))
}

/// Reads all tables that count.
pub(super) fn read(
    fs: &dyn FileSystem,
    dir: &Path,
    database: DatabaseId,
    epochs: &Epochs,
    known: &mut Known,
    target: &Target<'_>,
    report: &mut RepairReport,
) -> Result<FromTables> {
    let (live, missing) = choose(fs, dir, known, report)?;
    let mut from = FromTables::default();
    for id in missing {
        let gap =
            Gap::unknown(0..0, "the file is missing".into(), Bound::Unbounded, Bound::Unbounded);
        from.lose(id, known, None, vec![gap], 0, report);
    }
    for id in live {
        let name = FileName::Table(id).to_string();
        let path = dir.join(&name);
        let file = match fs.open(&path) {
            Ok(file) => file,
            Err(e) => {
                let gap = Gap::unknown(0..0, e.to_string(), Bound::Unbounded, Bound::Unbounded);
                from.lose(id, known, None, vec![gap], 0, report);
                continue;
            }
        };
        let bytes = file.len();
        let origin = origin_of(id, database, epochs, known, &*file);
        let whole = Table::open(file.clone(), origin, &target.cache)
            .and_then(|table| table.verify().map(|_| table));
        let mut done = |entries, whole| {
            report.files.push(RepairedFile { file: name.clone(), bytes, entries, whole });
        };
        match whole {
            Ok(table) => {
                let properties = table.properties();
                done(properties.entries, true);
                from.last_seqno = from.last_seqno.max(properties.max_seqno);
                if properties.entries > 0 {
                    let owner = owner_of(id, known, Some(properties), report);
                    let source = Source {
                        path,
                        origin,
                        min_key: properties.min_key.clone(),
                        max_key: properties.max_key.clone(),
                        rank: rank_of(id, known),
                    };
                    from.sources.push((owner, source));
                }
                continue;
            }
            Err(tanada_table::Error::Unsupported { file, what }) => {
                return Err(Error::Unsupported { file, what });
            }
            Err(_) => {}
        }
        let mut writing = target.begin(Compression::None, None)?;
        let mut last = SeqNo::ZERO;
        let saved = salvage::<Error>(&*file, origin, |entry| {
            last = last.max(entry.seqno);
            writing.add(entry)
        });
        let saved = match saved {
            Ok(saved) => saved,
            Err(Error::Corruption(c)) => {
                let what = c.what.into_owned();
                let gaps = vec![Gap::unknown(0..bytes, what, Bound::Unbounded, Bound::Unbounded)];
                Salvage { gaps, ..Salvage::default() }
            }
            Err(e) => return Err(e),
        };
        done(saved.entries, false);
        let owner = owner_of(id, known, saved.properties.as_ref(), report);
        let spooled = target.end_spool(writing, rank_of(id, known))?;
        from.sources.extend(spooled.map(|source| (owner, source)));
        from.last_seqno = from.last_seqno.max(last);
        report.damage.extend(saved.notes.iter().map(|note| format!("{name}: {note}")));
        if saved.gaps.is_empty() && saved.notes.is_empty() {
            report.damage.push(format!("{name}: it does not pass its own check"));
        }
        let properties = saved.properties.as_ref();
        from.lose(id, known, properties, saved.gaps, saved.entries, report);
    }
    Ok(from)
}

impl FromTables {
    /// Notes the gaps of a table.
    fn lose(
        &mut self,
        id: TableId,
        known: &Known,
        properties: Option<&TableProperties>,
        gaps: Vec<Gap>,
        saved: u64,
        report: &mut RepairReport,
    ) {
        if gaps.is_empty() {
            return;
        }
        let owner = owner_of(id, known, properties, report);
        let meta = known.tables.get(&id).map(|(_, AddedTable { meta, .. })| meta);
        let max_seqno = properties.map(|p| p.max_seqno).or(meta.map(|m| m.max_seqno));
        let told = properties.map(|p| p.entries).or(meta.map(|m| m.entries));
        let entries = told.map(|told| told.saturating_sub(saved));
        for mut gap in gaps {
            // The manifest knows the borders of every table.
            if let (Bound::Unbounded, Some(meta)) = (&gap.from, meta) {
                gap.from = Bound::Included(meta.min_key.to_vec());
            }
            if let (Bound::Unbounded, Some(meta)) = (&gap.to, meta) {
                gap.to = Bound::Included(meta.max_key.to_vec());
            }
            report.lost.push(LostPart {
                file: FileName::Table(id).to_string(),
                offset: gap.bytes.start,
                bytes: gap.bytes.end - gap.bytes.start,
                what: gap.what.clone(),
                keyspace: Some(name_of(owner, known)),
                from_key: key_of(&gap.from),
                to_key: key_of(&gap.to),
                entries,
                first_seqno: properties.map(|p| p.min_seqno.0),
                last_seqno: max_seqno.map(|seqno| seqno.0),
            });
            if max_seqno.is_none() && key_of(&gap.from).is_none() && key_of(&gap.to).is_none() {
                // To doubt every key would save nothing.
                report.assumed.push(format!(
                    "table {id} held nothing newer than what was found: nobody knows its keys, \
                     so keys that it wrote or deleted may show older values"
                ));
                continue;
            }
            let rank = rank_of(id, known);
            let max_seqno = max_seqno.unwrap_or(SeqNo::MAX);
            self.lost.push(LostRange { owner, gap, rank, max_seqno });
        }
    }
}

fn key_of(bound: &Bound<Vec<u8>>) -> Option<Vec<u8>> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key.clone()),
        Bound::Unbounded => None,
    }
}

/// Where the table stands in the tree, if the manifest tells for certain.
fn rank_of(id: TableId, known: &Known) -> Rank {
    let (_, AddedTable { level, run, .. }) = known.tables.get(&id)?;
    known.complete.then_some((i16::from(level.0), Reverse(run.0)))
}

fn owner_of(
    id: TableId,
    known: &Known,
    properties: Option<&TableProperties>,
    report: &mut RepairReport,
) -> Owner {
    let named = known.tables.get(&id).map(|(keyspace, _)| *keyspace);
    match named.or(properties.and_then(|p| p.keyspace)) {
        Some(keyspace) => Owner::Keyspace(keyspace),
        None => {
            let what = format!(
                "nothing says to which keyspace table {id} belongs: its keys are in {:?}",
                name_of(Owner::Lost(id), known)
            );
            if !report.assumed.contains(&what) {
                report.assumed.push(what);
            }
            Owner::Lost(id)
        }
    }
}

/// The name of the owner's keyspace.
pub(super) fn name_of(owner: Owner, known: &Known) -> String {
    match owner {
        Owner::Keyspace(id) => match known.keyspaces.get(&id) {
            Some((name, _)) => name.clone(),
            None if id == KeyspaceId::DEFAULT => "default".to_owned(),
            None => format!("keyspace-{}", id.0),
        },
        Owner::Lost(table) => format!("lost+found-{table}"),
    }
}
