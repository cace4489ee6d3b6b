//! Reading and checking every byte that the database stands on.

use crate::core::Core;
use crate::read::reading::Reading;
use crate::types::error::{Error, Result};
use crate::wal::{self, LogPin, Segment, group::Group};
use std::ops::Range;
use std::sync::Arc;
use tanada_format::{LogId, LogPosition};

/// What `verify` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct VerifyReport {
    /// Tables read.
    pub tables: u64,
    /// Their blocks, of all kinds.
    pub blocks: u64,
    /// Their entries.
    pub entries: u64,
    /// Commit groups in the logs.
    pub log_records: u64,
    /// Bytes of all files read.
    pub bytes: u64,
    /// Every damage found, one sentence each, with file and offset. Empty: all
    /// is well.
    pub damage: Vec<String>,
}

/// What of the log the next opening reads.
struct NeededLog {
    /// The first log, as the manifest has it.
    oldest: LogId,
    part: Range<LogPosition>,
    segments: Vec<Segment>,
    _pin: LogPin,
}

impl Core {
    /// Reads every file. What is wrong is in the report, not an error.
    ///
    /// # Errors
    /// When the database is closed, or not even its directory can be read.
    pub(crate) fn verify(&self) -> Result<VerifyReport> {
        self.reading.health.check_readable()?;
        let mut report = VerifyReport::default();
        self.reading.verify_tables(&mut report)?;
        let needed = self.needed_log()?;
        {
            // Held, so that the file does not change while it is read.
            let manifest = self.manifest.lock();
            let checked = manifest.verify().map(|bytes| report.bytes += bytes);
            report.note(checked)?;
        }
        let logs = self.verify_logs(&needed, &mut report);
        drop(needed);
        // What was let go of meanwhile, and was kept for this.
        self.drop_old_logs();
        report.note(logs)?;
        Ok(report)
    }

    /// The part of the log that the next opening reads, as far as it has been written, with
    /// its files, which stay until the pin is dropped. Writers go on behind it.
    fn needed_log(&self) -> Result<NeededLog> {
        let writer = self.commit.writer();
        let manifest = self.manifest.lock();
        self.reading.health.check_readable()?;
        let (oldest, end) = (manifest.state().oldest_log, writer.wal.position());
        let needed = self.wal.segments().into_iter().filter(|s| s.id >= oldest && s.start < s.end);
        let part = needed.map(|segment| segment.start).min().unwrap_or(end)..end;
        let (pin, segments) = self.wal.pin(&part);
        Ok(NeededLog { oldest, part, segments, _pin: pin })
    }

    fn verify_logs(&self, needed: &NeededLog, report: &mut VerifyReport) -> Result<()> {
        let NeededLog { oldest, part, segments, .. } = needed;
        let Reading { env, path, database_id, health, .. } = &*self.reading;
        wal::check_begin(env, path, *database_id, *oldest)?;
        let should_stop = || health.check_readable();
        let mut source =
            wal::Part::open(env, (&**path, &segments[..]), *database_id, part, &should_stop)?;
        let (mut records, mut bytes) = (0, 0);
        let walked = source.walk(&mut |place, payload| {
            bytes += payload.len() as u64;
            if !place.is_group() {
                return Ok(());
            }
            let damaged = |offset, what| place.corruption(offset, what);
            let group = Group::parse(payload).map_err(|e| damaged(e.offset, e.what))?;
            for entry in group.entries() {
                entry.map_err(|e| damaged(e.offset, e.what))?;
            }
            records += 1;
            Ok(())
        });
        report.log_records += records;
        report.bytes += bytes;
        walked.and_then(|()| source.check_length())
    }
}

impl Reading {
    /// Reads every table: what a database that was opened for reading only has not read yet.
    ///
    /// # Errors
    /// When the database is closed.
    pub(crate) fn verify(&self) -> Result<VerifyReport> {
        self.health.check_readable()?;
        let mut report = VerifyReport::default();
        self.verify_tables(&mut report)?;
        Ok(report)
    }

    fn verify_tables(&self, report: &mut VerifyReport) -> Result<()> {
        let keyspaces = self.keyspaces.load();
        for keyspace in keyspaces.iter() {
            let version = Arc::clone(&keyspace.view.load().version);
            for handle in version.tables() {
                report.tables += 1;
                let checked = handle.table().and_then(|t| t.verify());
                match checked.map_err(Error::from) {
                    Ok(table) => {
                        report.blocks += table.blocks;
                        report.entries += table.entries;
                        report.bytes += table.bytes;
                    }
                    e => report.note(e.map(drop))?,
                }
            }
        }
        Ok(())
    }
}

impl VerifyReport {
    /// Takes damage into the report; other errors are answered.
    fn note(&mut self, checked: Result<()>) -> Result<()> {
        match checked {
            Err(
                e @ (Error::Corruption(_) | Error::MissingFile { .. } | Error::Unsupported { .. }),
            ) => {
                self.damage.push(e.to_string());
                Ok(())
            }
            other => other,
        }
    }
}
