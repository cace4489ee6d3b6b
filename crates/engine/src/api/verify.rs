//! Reading and checking every byte that the database stands on.

use crate::core::Core;
use crate::tree::manifest::Manifest;
use crate::types::error::{Error, Result};
use crate::wal::{self, RecoverFrom, group::Group};
use std::sync::Arc;

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

impl Core {
    /// Reads every file. What is wrong is in the report, not an error.
    ///
    /// # Errors
    /// When the database is closed, or not even its directory can be read.
    pub(crate) fn verify(&self) -> Result<VerifyReport> {
        self.reading.health.check_readable()?;
        let mut report = VerifyReport::default();
        self.verify_tables(&mut report)?;
        {
            // Held, so that the files do not change while they are read: a record
            // that is half written must not be taken for damage.
            let _writer = self.commit.writer();
            let manifest = self.manifest.lock();
            let checked = manifest.verify().map(|bytes| report.bytes += bytes);
            report.note(checked)?;
            let logs = self.verify_logs(&manifest, &mut report);
            report.note(logs)?;
        }
        Ok(report)
    }

    fn verify_tables(&self, report: &mut VerifyReport) -> Result<()> {
        let keyspaces = self.reading.keyspaces.load();
        for keyspace in keyspaces.iter() {
            let version = Arc::clone(&keyspace.view.load().version);
            for handle in version.tables() {
                report.tables += 1;
                let checked = handle.table().and_then(|t| t.verify(self.reading.database_id));
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

    /// Reads the logs as the next open will. A tail that is being written ends
    /// the walk like the end of the log.
    fn verify_logs(&self, manifest: &Manifest, report: &mut VerifyReport) -> Result<()> {
        let from =
            RecoverFrom { log: manifest.state().oldest_log, synced: self.wal.synced_position() };
        let (mut records, mut bytes) = (0, 0);
        let walked = wal::recover(
            &self.reading.env,
            &self.reading.path,
            self.reading.database_id,
            from,
            |place, payload| {
                let damaged = |offset, what| place.corruption(offset, what);
                let group = Group::parse(payload).map_err(|e| damaged(e.offset, e.what))?;
                for entry in group.entries() {
                    entry.map_err(|e| damaged(e.offset, e.what))?;
                }
                records += 1;
                bytes += payload.len() as u64;
                Ok(())
            },
        );
        report.log_records += records;
        report.bytes += bytes;
        walked.map(drop)
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
