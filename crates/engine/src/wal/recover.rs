//! Reads the logs back after a crash or a close: which records there are, and
//! whether they are all that was ever promised.
//!
//! The records that count are a prefix of the stream. It ends at the first
//! place, X, where no valid record follows; what comes later, in this log or in
//! a later one, is never used. Two things can have happened at X:
//!
//! - The power went before the disk had all of what was appended: a torn tail.
//!   Nothing behind X had been synced, nobody was told that it is durable.
//! - What the disk had is no longer what was written: damage. Then somebody may
//!   have been told, and to go on would lose it silently.
//!
//! Every record and every header names a position that was synced when it was
//! written. So if anything valid behind X, or the manifest, names a position
//! beyond X, it is damage, and recovery refuses; else it is a torn tail.
//!
//! Which log follows which is said by the headers: a log names its predecessor
//! and the position where that one ends. The log that continues a recovered one
//! names a position no later than X, so that the old tail is cut for ever, and
//! so are logs that lay behind it. Where two logs name the same
//! predecessor, the later one knew better.

use super::header::{EPOCH_AT, LOG_HEADER_LEN, LogHeader, LogOwner, Parsed};
use super::reader::{End, LogReader, OTHER_RECORDS, RecordPlace};
use super::segment::{Segment, Tail, kind, log_path, parse_log_name};
use crate::types::error::{Error, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tanada_format::{LogId, LogPosition, WriterEpoch, planted};
use tanada_vfs::Env;

/// Where the manifest says that recovery begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecoverFrom {
    /// The oldest log that is needed. Earlier ones are not read.
    pub log: LogId,
    /// All before this position is known to have been synced: the records must
    /// reach it. Zero when nothing is known.
    pub synced: LogPosition,
}

/// What recovery found.
#[derive(Clone, Debug)]
pub(crate) struct Recovered {
    /// Where to go on.
    pub tail: Tail,
    /// The torn tail, if the logs end with one.
    #[cfg_attr(not(test), expect(dead_code, reason = "opening has nobody to tell yet"))]
    pub torn: Option<Torn>,
    /// Commit groups visited.
    #[cfg_attr(not(test), expect(dead_code, reason = "those who visit count for themselves"))]
    pub records: u64,
}

/// Bytes behind the last record that are no record. They had never been synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    pub file: PathBuf,
    /// Where in the file the valid records end.
    pub offset: u64,
    /// Later logs that are not used for this reason.
    pub ignored: Vec<LogId>,
}

/// Visits every commit group from the oldest needed log on, in commit order,
/// and says where the stream ends. `owner` says whose logs they are: the epoch is that of
/// the manifest, behind which no log of it is. Writes nothing. Reads every needed log once;
/// takes memory for the largest record.
///
/// # Errors
/// `MissingFile` for a needed log that is not there, `Corruption` with file and
/// offset for damage to what had been synced, or for another writer's log, `Unsupported` for a log of a newer
/// version; what `visit` answers. Groups may have been visited before.
pub(crate) fn recover(
    env: &Env,
    dir: &Path,
    owner: impl Into<LogOwner>,
    from: RecoverFrom,
    visit: impl FnMut(RecordPlace<'_>, &[u8]) -> Result<()>,
) -> Result<Recovered> {
    walk_through(env, dir, owner.into(), from, Beside::Nobody, visit)
}

/// Visits them while another process may write: what it appends after a look is not seen,
/// and no damage.
///
/// # Errors
/// As [`recover`]; those of files that go meanwhile, too.
pub(crate) fn read_beside_a_writer(
    env: &Env,
    dir: &Path,
    owner: LogOwner,
    from: RecoverFrom,
    visit: impl FnMut(RecordPlace<'_>, &[u8]) -> Result<()>,
) -> Result<()> {
    walk_through(env, dir, owner, from, Beside::AWriter, visit).map(drop)
}

/// Who writes while logs are read.
#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nobody,
    AWriter,
}

fn walk_through(
    env: &Env,
    dir: &Path,
    owner: LogOwner,
    from: RecoverFrom,
    beside: Beside,
    mut visit: impl FnMut(RecordPlace<'_>, &[u8]) -> Result<()>,
) -> Result<Recovered> {
    let LogOwner { epoch, .. } = owner;
    let mut segments = list(env, dir)?;
    let mut logs = Vec::new();
    for segment in segments.iter().filter(|segment| segment.id >= from.log) {
        let log = LogReader::open(env, dir, owner, segment.id)?;
        if let Some(later) = log.header().map(|h| h.epoch).filter(|&later| later > epoch) {
            let what = format!(
                "the log was begun in epoch {later}, and the manifest is of epoch {epoch}: \
                 it is another writer's"
            );
            return Err(log.corruption(EPOCH_AT as u64, what));
        }
        logs.push(log);
    }
    let likely = likely_epochs(&logs, epoch);
    for log in logs.iter_mut().filter(|log| log.header().is_none()) {
        log.likely.clone_from(&likely);
    }
    if logs.first().is_none_or(|log| log.id != from.log) {
        return Err(Error::MissingFile { file: log_path(dir, from.log) });
    }

    let mut records = 0;
    let mut counting = |place: RecordPlace<'_>, payload: &[u8]| {
        if place.kind != kind::GROUP {
            return Ok(());
        }
        records += 1;
        visit(place, payload)
    };
    let mut chain = Vec::new();
    let mut at = 0;
    if planted!(only_latest_wal_replayed) {
        at = logs.iter().rposition(|log| log.header().is_some()).unwrap_or(0);
    }
    let (end, named) = loop {
        // The manifest names a log only when its header is durable.
        let header = logs[at].needed_header()?;
        let next = successor(&logs, at)?;
        let limit = next.map(|(_, header)| header.base);
        let end = logs[at].walk(&header, limit, &mut counting)?;
        chain.push((header.id, header.base, end.position));
        match next {
            _ if planted!(append_after_torn_tail) && logs[at].scan(end.offset)?.nonzero => {
                break (end, end.named.max(from.synced));
            }
            Some((next, _)) if planted!(older_wal_lost_newer_kept) => at = next,
            Some((next, next_header)) if next_header.base == end.position => {
                if next_header.epoch < header.epoch {
                    let what = "the log was begun in an earlier epoch than the one it follows";
                    return Err(logs[next].corruption(EPOCH_AT as u64, what));
                }
                if next_header.chain != end.chain {
                    return Err(logs[next].corruption(80, OTHER_RECORDS));
                }
                at = next;
            }
            _ => break (end, end.named.max(from.synced)),
        }
    };

    let (here, later) = logs[at..].split_first_mut().expect("`at` is an index of `logs`");
    let torn = match judge(here, later, &end, named, dir) {
        Err(Error::Corruption(_))
            if beside == Beside::AWriter
                && !planted!(growing_log_taken_for_damage)
                && has_grown(here, later, &end, env, dir, owner)? =>
        {
            None
        }
        judged => judged?,
    };
    // Nothing before the first log is needed, or the manifest would name an earlier one. A
    // mark may lie there that no record of this one speaks of: it is not carried over.
    let named = chain.first().map_or(named, |&(_, base, _)| named.max(base));

    let next_log = segments.last().map_or(from.log, |last| last.id.max(from.log));
    for segment in &mut segments {
        // What was not read holds nothing that is needed.
        let read = chain.iter().find(|(id, ..)| *id == segment.id);
        (segment.start, segment.end) =
            read.map_or((end.position, end.position), |&(_, start, end)| (start, end));
    }
    // A log that holds nothing synced may be gone after a power cut, its header too:
    // the next one must not follow it. The manifest vouches for the first.
    let vouched = chain.iter().rev().find(|(_, start, _)| *start < named).or(chain.first());
    let unsynced = chain.iter().filter(|(.., end)| *end > named).map(|(id, ..)| *id).collect();
    let tail = Tail {
        next_log: LogId(next_log.0 + 1),
        position: end.position,
        predecessor: vouched.map(|(id, ..)| *id),
        chain: end.chain,
        synced: named,
        unsynced,
        segments,
    };
    Ok(Recovered { tail, torn, records })
}

/// The log files in `dir`, by id, with places still to be learned.
fn list(env: &Env, dir: &Path) -> Result<Vec<Segment>> {
    let nowhere = LogPosition(0);
    let mut segments: Vec<Segment> = (env.fs.read_dir(dir)?.into_iter())
        .filter(|entry| !entry.is_dir)
        .filter_map(|entry| {
            let id = parse_log_name(&entry.name)?;
            Some(Segment { id, start: nowhere, end: nowhere, bytes: entry.len })
        })
        .collect();
    segments.sort_by_key(|segment| segment.id);
    Ok(segments)
}

/// The log that goes on where `logs[at]` ends: the latest that says so.
fn successor(logs: &[LogReader], at: usize) -> Result<Option<(usize, LogHeader)>> {
    let (id, base) = (logs[at].id, logs[at].header().map(|header| header.base));
    // Headers are checked: a predecessor's id is lower, so only later logs name this one.
    for (n, log) in logs.iter().enumerate().rev() {
        let Some(header) = log.header().filter(|header| header.predecessor == Some(id)) else {
            continue;
        };
        if Some(header.base) < base {
            return Err(log.corruption(56, "the log begins before the one it follows"));
        }
        return Ok(Some((n, *header)));
    }
    if planted!(older_wal_lost_newer_kept) {
        let mut later = (at..logs.len()).skip(1);
        return Ok(later.find_map(|n| Some((n, *logs[n].header()?))));
    }
    Ok(None)
}

/// Epochs that are tried for a log without a header.
const LIKELY: u64 = 8;

/// In which epochs a log may have been begun that does not say so: those of the newest logs
/// that do, that of the manifest, and those right before it, whose owner may have died
/// between its edit of the manifest and the header of its log.
fn likely_epochs(logs: &[LogReader], of_manifest: WriterEpoch) -> Vec<WriterEpoch> {
    if planted!(headless_log_of_one_epoch) {
        return vec![of_manifest];
    }
    let told = logs.iter().rev().filter_map(|log| Some(log.header()?.epoch));
    let before = (0..LIKELY).map_while(|n| of_manifest.0.checked_sub(n)).map(WriterEpoch);
    let told: BTreeSet<WriterEpoch> = told.take(LIKELY as usize).collect();
    told.into_iter().chain(before).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether the log goes on now behind `end`: then what was read was not yet written. Nobody
/// writes a record before the one in front of it, so what is still not there beside later
/// ones is gone.
fn has_grown(
    here: &mut LogReader,
    later: &[LogReader],
    end: &End,
    env: &Env,
    dir: &Path,
    owner: LogOwner,
) -> Result<bool> {
    let header = *here.header().expect("its records have been walked");
    if here.has_record_at(&header, end)? {
        return Ok(true);
    }
    for log in later {
        let now = LogReader::open(env, dir, owner, log.id)?;
        let follows = |h: &LogHeader| h.predecessor == Some(here.id) && h.base == end.position;
        if now.header().is_some_and(follows) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Decides whether `end`, where the valid records of `here` end, is a torn tail
/// or damage. `named` is known to have been synced.
fn judge(
    here: &mut LogReader,
    later: &mut [LogReader],
    end: &End,
    named: LogPosition,
    dir: &Path,
) -> Result<Option<Torn>> {
    if planted!(midlog_corruption_silent) {
        return Ok(None);
    }
    let header = *here.header().expect("its records have been walked");
    let remains = here.scan(end.offset)?;
    // A frame in this file that names a place in it says that the file was synced once.
    let was_synced =
        header.length_durable || remains.named.max(Some(end.named)) > Some(header.base);
    if was_synced && here.len < header.capacity {
        return Err(here.was_cut(header.capacity));
    }
    if let Some(synced) = remains.named.filter(|&synced| synced > end.position) {
        return Err(here.corruption(end.offset, what_is_lost(end, synced, "a later record says")));
    }

    let mut ignored = Vec::new();
    let mut witness = None;
    for (n, log) in later.iter_mut().enumerate() {
        let remains = log.scan(0)?;
        if remains.nonzero {
            ignored.push(log.id);
        }
        let synced = log.header().map(|header| header.synced).max(remains.named);
        if let Some(synced) = synced.filter(|&synced| synced > end.position) {
            witness = Some((n, synced));
            break;
        }
    }
    match witness {
        Some((n, synced)) => Err(blame(here, later, Some(n), end, synced, dir)),
        None if named > end.position => Err(blame(here, later, None, end, named, dir)),
        None if remains.nonzero || !ignored.is_empty() => {
            Ok(Some(Torn { file: here.path.clone(), offset: end.offset, ignored }))
        }
        None => Ok(None),
    }
}

/// Which file is damaged or missing, when records up to `synced` were synced
/// and those of `here` end before. `witness` is the log that says so; without
/// one it is the manifest.
fn blame(
    here: &LogReader,
    later: &[LogReader],
    witness: Option<usize>,
    end: &End,
    synced: LogPosition,
    dir: &Path,
) -> Error {
    let headless = |log: &LogReader| log.corruption(0, "the header of a needed log is damaged");
    let says = match witness {
        Some(n) => format!("log {} says", later[n].id),
        None => "the manifest says".to_owned(),
    };
    let lost_here = here.corruption(end.offset, what_is_lost(end, synced, &says));
    // From the witness back: the first log that cannot be walked through is it.
    let from = witness.map(|n| &later[n]).or(later.iter().rfind(|log| log.header().is_some()));
    let Some(mut log) = from else {
        // One without room for a header was cut; one that is blank never begun.
        let headless_one =
            |log: &&LogReader| log.parsed == Parsed::Unreadable || log.len < LOG_HEADER_LEN;
        let unreadable = later.iter().find(headless_one);
        return unreadable.map_or(lost_here, headless);
    };
    while let Some(header) = log.header() {
        // Headers are checked: a predecessor's id is lower, so this ends.
        match header.predecessor {
            Some(before) if before > here.id => match later.iter().find(|log| log.id == before) {
                Some(found) => log = found,
                None => return Error::MissingFile { file: log_path(dir, before) },
            },
            _ => return lost_here,
        }
    }
    headless(log)
}

fn what_is_lost(end: &End, synced: LogPosition, says: &str) -> String {
    format!(
        "no valid record follows, but {says} that {} more bytes of records had been synced",
        synced.0 - end.position.0
    )
}
