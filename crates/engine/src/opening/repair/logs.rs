//! Everything that can be read of the logs.

use super::epochs::Epochs;
use super::report::{LostPart, RepairReport, RepairedFile};
use super::spool::{LOG_RANK, Source, Target};
use crate::tree::manifest::{FileName, Known};
use crate::types::error::{Error, Result};
use crate::wal::group::Group;
use crate::wal::salvage::{SalvagedGroup, SalvagedLog};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;
use tanada_format::{DatabaseId, EntryRef, KeyspaceId, LogId, SeqNo, ValueKind, planted};
use tanada_table::Compression;
use tanada_vfs::FileSystem;

/// A longer log is not read: no writer makes one.
const MAX_LOG_BYTES: u64 = 3 << 30;
/// Entries are written out when they take this much memory.
const SPOOL_BYTES: usize = 64 << 20;

/// A key that a damaged log record seems to have written.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) keyspace: KeyspaceId,
    pub(super) key: Vec<u8>,
    /// What is older than this may be stale.
    pub(super) seqno: SeqNo,
}

/// A log in memory.
struct Log {
    id: LogId,
    name: String,
    bytes: Vec<u8>,
    read: SalvagedLog,
}

/// What the logs gave.
#[derive(Default)]
pub(super) struct FromLogs {
    pub(super) sources: Vec<(KeyspaceId, Source)>,
    pub(super) doubts: Vec<Doubt>,
    pub(super) last_seqno: SeqNo,
}

/// Reads all logs that count. Takes memory for all of them.
pub(super) fn read(
    fs: &dyn FileSystem,
    dir: &Path,
    database: DatabaseId,
    epochs: &Epochs,
    known: &Known,
    target: &Target<'_>,
    report: &mut RepairReport,
) -> Result<FromLogs> {
    let mut logs = open_all(fs, dir, database, epochs, known, report)?;
    choose(&mut logs, known, report);
    note_headers(&logs, report);
    drop_cut_tails(&mut logs);
    let mut from = FromLogs::default();
    note_damage(&logs, &mut from, report);
    note_cuts(&logs, known, report);

    let mut spool = Spool::default();
    for log in &logs {
        let mut entries = 0;
        for group in &log.read.groups {
            let payload = &log.bytes[group.payload.clone()];
            // `SalvagedLog` keeps none that does not parse.
            let Ok(parsed) = Group::parse(payload) else { continue };
            for (keyspace, entry) in parsed.entries().flatten() {
                spool.add(keyspace, entry);
                entries += 1;
            }
            from.last_seqno = from.last_seqno.max(group.last);
            if spool.bytes >= SPOOL_BYTES {
                spool.write(target, &mut from.sources)?;
            }
        }
        report.files.push(RepairedFile {
            file: log.name.clone(),
            bytes: log.bytes.len() as u64,
            entries,
            whole: log.read.header.is_some() && log.read.damage.is_empty(),
        });
    }
    spool.write(target, &mut from.sources)?;
    Ok(from)
}

fn open_all(
    fs: &dyn FileSystem,
    dir: &Path,
    database: DatabaseId,
    epochs: &Epochs,
    known: &Known,
    report: &mut RepairReport,
) -> Result<Vec<Log>> {
    let mut ids: Vec<LogId> = (fs.read_dir(dir)?.iter().filter(|entry| !entry.is_dir))
        .filter_map(|entry| match FileName::parse(&entry.name) {
            Some(FileName::Log(id)) => Some(id),
            _ => None,
        })
        // What lies before is in tables, or was deleted there.
        .filter(|id| known.oldest_log.is_none_or(|oldest| *id >= oldest))
        .collect();
    ids.sort_unstable();
    let mut logs: Vec<Log> = Vec::new();
    for id in ids {
        let name = FileName::Log(id).to_string();
        let path = dir.join(&name);
        let lost = |what: String| LostPart { file: name.clone(), what, ..LostPart::default() };
        let bytes = match bytes_of(fs, &path) {
            Ok(bytes) => bytes,
            Err(what) => {
                report.lost.push(lost(what));
                continue;
            }
        };
        let before = logs.last().map(|log| &log.read);
        match SalvagedLog::read(&bytes, &path, database, id, &epochs.of_log(id), before) {
            Ok(read) if read.blank => {}
            Ok(read) => {
                if planted!(repair_panics_on_garbage) {
                    assert!(read.header.is_some(), "a log begins with a header");
                }
                logs.push(Log { id, name, bytes, read });
            }
            Err(e @ Error::Unsupported { .. }) => return Err(e),
            Err(e) => report.lost.push(lost(e.to_string())),
        }
    }
    Ok(logs)
}

fn bytes_of(fs: &dyn FileSystem, path: &Path) -> std::result::Result<Vec<u8>, String> {
    let file = fs.open(path).map_err(|e| e.to_string())?;
    if file.len() > MAX_LOG_BYTES {
        return Err("it is longer than a log can be".to_owned());
    }
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0).map_err(|e| e.to_string())?;
    Ok(bytes)
}

/// Keeps the newest log, the one that its header names, and so on: others were
/// left behind by a recovery, which carried over into a new one what they held.
fn choose(logs: &mut Vec<Log>, known: &Known, report: &mut RepairReport) {
    let mut chosen: Vec<Log> = Vec::new();
    let mut missing = known.oldest_log;
    while let Some(log) = logs.pop() {
        missing = None;
        let wanted = match chosen.last().map(|newer| newer.read.header) {
            None | Some(None) => Some(log.id),
            Some(Some(header)) => header.predecessor,
        };
        match wanted {
            Some(id) if id < log.id => {}
            Some(id) if id > log.id => {
                missing = Some(id);
                // Before a gap may lie logs that were no longer needed.
                if !known.complete {
                    break;
                }
                lose(id, report);
                chosen.push(log);
            }
            Some(_) => chosen.push(log),
            None => break,
        }
    }
    if let Some(header) = chosen.last().and_then(|log| log.read.header)
        && missing.is_none()
    {
        let needed = |id: &LogId| known.oldest_log.is_none_or(|oldest| *id >= oldest);
        missing = header.predecessor.filter(needed);
    }
    match missing {
        Some(id) if known.complete => lose(id, report),
        Some(id) => report.assumed.push(format!(
            "log {id} and those before it, which are not there, are no longer needed: their \
             writes are in tables, or were deleted there"
        )),
        None => {}
    }
    chosen.reverse();
    *logs = chosen;
}

fn lose(id: LogId, report: &mut RepairReport) {
    let file = FileName::Log(id).to_string();
    if report.lost.iter().all(|lost| lost.file != file) {
        let what = "the file is missing".to_owned();
        report.lost.push(LostPart { file, what, ..LostPart::default() });
    }
}

/// Lists logs whose headers are damaged. One that was left behind may have been
/// torn by a power cut, and nobody misses it.
fn note_headers(logs: &[Log], report: &mut RepairReport) {
    for log in logs.iter().filter(|log| log.read.header.is_none()) {
        report.damage.push(format!("{}: its header is damaged", log.name));
        if log.read.groups.is_empty() && log.read.damage.is_empty() {
            let (file, what) = (log.name.clone(), "nothing of it can be read".to_owned());
            report.lost.push(LostPart { file, what, ..LostPart::default() });
        }
    }
}

/// A later log begins where recovery ended; records of the log before that lie
/// behind that place are in the later one too, or were lost to a power cut, as nobody was
/// promised they would not be. Where they are torn, nothing is damaged.
fn drop_cut_tails(logs: &mut [Log]) {
    let mut begins: Option<SeqNo> = None;
    let mut base = None;
    for log in logs.iter_mut().rev() {
        if let Some(base) = base {
            log.read.forget_damage_from(base);
            log.read.forget_groups_from(base);
        }
        base = log.read.header.map(|header| header.base);
        if let Some(begins) = begins {
            log.read.retain_groups(|group| group.first < begins);
        }
        begins = log.read.groups.first().map(|group| group.first).or(begins);
    }
}

/// Lists what is damaged, with the numbers of the writes that are lost.
fn note_damage(logs: &[Log], from: &mut FromLogs, report: &mut RepairReport) {
    for (n, log) in logs.iter().enumerate() {
        let groups: &[SalvagedGroup] = &log.read.groups;
        let earlier = logs[..n].iter().rev().find_map(|log| log.read.groups.last());
        let later = logs[n + 1..].iter().find_map(|log| log.read.groups.first());
        for damage in &log.read.damage {
            let before = damage.behind.checked_sub(1).map(|i| &groups[i]).or(earlier);
            let after = groups.get(damage.behind).or(later);
            let first = before.map(|group| group.last.plus(1));
            let last = after.map(|group| SeqNo(group.first.0 - 1));
            let (offset, bytes) = (damage.bytes.start, damage.bytes.end - damage.bytes.start);
            if first.is_some() && last.is_some() && first > last {
                let what = format!("{}: no record at offset {offset}, and none is lost", log.name);
                report.damage.push(what);
                continue;
            }
            let certain = damage.followed || later.is_some();
            let what = if certain {
                "its records are damaged; keys that they wrote are missing or show an older value"
            } else {
                "no valid record follows: damage, or the torn tail of what nobody was told of"
            };
            report.lost.push(LostPart {
                file: log.name.clone(),
                offset,
                bytes,
                what: what.to_owned(),
                first_seqno: first.map(|seqno| seqno.0),
                last_seqno: last.map(|seqno| seqno.0),
                ..LostPart::default()
            });
            if certain {
                let seqno = last.unwrap_or(SeqNo::MAX);
                let doubt = |(keyspace, key): &(KeyspaceId, Vec<u8>)| Doubt {
                    keyspace: *keyspace,
                    key: key.clone(),
                    seqno,
                };
                from.doubts.extend(damage.seem.iter().map(doubt));
            }
        }
    }
}

/// Lists what a log ends before: the next one begins later, or the manifest says
/// that more of it was synced.
fn note_cuts(logs: &[Log], known: &Known, report: &mut RepairReport) {
    for (n, log) in logs.iter().enumerate() {
        let Some(end) = log.read.end_position() else { continue };
        let wanted = match logs.get(n + 1).map(|later| later.read.header) {
            Some(Some(later)) => later.base,
            Some(None) => continue, // nobody knows where it begins
            None => known.log_synced,
        };
        // Damage at the end is in the list, and tells how far it goes.
        let damaged = log.read.damage.last().is_some_and(|damage| !damage.followed);
        if damaged || end >= wanted {
            continue;
        }
        let last = logs[..=n].iter().rev().find_map(|log| log.read.groups.last());
        let next = logs[n + 1..].iter().find_map(|log| log.read.groups.first());
        report.lost.push(LostPart {
            file: log.name.clone(),
            offset: log.read.end,
            bytes: wanted.0 - end.0,
            what: "the file was cut, or zeros lie where records were".to_owned(),
            first_seqno: last.map(|group| group.last.0 + 1),
            last_seqno: next.map(|group| group.first.0 - 1),
            ..LostPart::default()
        });
    }
}

/// What a log says of one version of a key.
struct Write {
    kind: ValueKind,
    expires_at_ms: u64,
    value: Vec<u8>,
}

/// Entries of logs, sorted.
#[derive(Default)]
struct Spool {
    entries: BTreeMap<(KeyspaceId, Vec<u8>, Reverse<SeqNo>), Write>,
    bytes: usize,
}

impl Spool {
    fn add(&mut self, keyspace: KeyspaceId, entry: EntryRef<'_>) {
        let EntryRef { key, seqno, kind, expires_at_ms, value } = entry;
        self.bytes += key.len() + value.len() + 100;
        let write = Write { kind, expires_at_ms, value: value.to_vec() };
        self.entries.insert((keyspace, key.to_vec(), Reverse(seqno)), write);
    }

    /// Writes all entries to one table for each keyspace.
    fn write(
        &mut self,
        target: &Target<'_>,
        sources: &mut Vec<(KeyspaceId, Source)>,
    ) -> Result<()> {
        self.bytes = 0;
        let mut writing = None;
        for ((keyspace, key, Reverse(seqno)), write) in std::mem::take(&mut self.entries) {
            if writing.as_ref().is_some_and(|(of, _)| *of != keyspace)
                && let Some((of, table)) = writing.take()
            {
                sources.extend(target.end_spool(table, LOG_RANK)?.map(|source| (of, source)));
            }
            let (_, table) = match &mut writing {
                Some(writing) => writing,
                none => none.insert((keyspace, target.begin(Compression::None, None)?)),
            };
            let Write { kind, expires_at_ms, value } = &write;
            let (kind, expires_at_ms) = (*kind, *expires_at_ms);
            table.add(EntryRef { key: &key, seqno, kind, expires_at_ms, value })?;
        }
        if let Some((of, table)) = writing {
            sources.extend(target.end_spool(table, LOG_RANK)?.map(|source| (of, source)));
        }
        Ok(())
    }
}
