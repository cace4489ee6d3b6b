//! One file of the stream of logs: its name, its place, its size.

use std::path::{Path, PathBuf};
use tanada_format::{LogId, LogPosition};

/// What a record's payload is. 0 is never used, see `RecordFrame`.
pub(crate) mod kind {
    /// A commit group.
    pub(crate) const GROUP: u16 = 1;
    /// No payload: only names a position that has been synced.
    pub(crate) const MARK: u16 = 2;
}

/// A log file that has not been taken for removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub id: LogId,
    /// Position of its first record.
    pub start: LogPosition,
    /// Position behind its last record.
    pub end: LogPosition,
    /// Size of the file, what is reserved included.
    pub bytes: u64,
}

/// Where recovery ended, and so where the next writer begins.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    /// The id of the next log: higher than that of any file there is.
    pub next_log: LogId,
    /// The position behind the last record.
    pub position: LogPosition,
    /// The log that the next one follows, which begins at `synced`: the last with
    /// anything durable before there. `None` before the first log.
    pub predecessor: Option<LogId>,
    /// The chained checksum at `position`.
    pub chain: u32,
    /// The highest position that the logs or the manifest say was synced.
    pub synced: LogPosition,
    /// Logs with records behind `synced`, in order: readable, but perhaps not durable.
    pub unsynced: Vec<LogId>,
    /// All log files there are, by id: what was read, what is no longer needed,
    /// and what a crash left behind.
    pub segments: Vec<Segment>,
}

impl Tail {
    /// The files that the next log makes useless: it follows its predecessor, and the
    /// records of those between the two, if they have any, are carried over into it.
    pub(super) fn superseded(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| Some(segment.id) > self.predecessor)
    }

    /// The beginning of a new database's stream.
    pub(crate) fn new_database() -> Tail {
        Tail {
            next_log: LogId(1),
            position: LogPosition(0),
            predecessor: None,
            chain: 0,
            synced: LogPosition(0),
            unsynced: Vec::new(),
            segments: Vec::new(),
        }
    }
}

/// The path of a log.
pub(crate) fn log_path(dir: &Path, id: LogId) -> PathBuf {
    dir.join(format!("{id}.log"))
}

/// The id in a log's file name, if it is one.
pub(crate) fn parse_log_name(name: &str) -> Option<LogId> {
    let id = LogId(name.strip_suffix(".log")?.parse().ok()?);
    (format!("{id}.log") == name && id.0 != 0).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_that_are_written_are_read() {
        for id in [1, 12, 999_999, 1_000_000, u64::MAX] {
            let path = log_path(Path::new("d"), LogId(id));
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(parse_log_name(name), Some(LogId(id)), "{name}");
        }
        for name in ["000000.log", "12.log", "+00012.log", "000012.sst", "0000012.log", ".log"] {
            assert_eq!(parse_log_name(name), None, "{name}");
        }
    }
}
