//! Reads a part of the stream from the files that hold it, while the writer may append
//! behind it.

use super::reader::{End, LogReader, OTHER_RECORDS, RecordPlace};
use super::segment::{Segment, log_path};
use crate::types::error::{Error, Result};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::Path;
use tanada_format::{DatabaseId, LogId, LogPosition};
use tanada_vfs::Env;

/// Looks whether the log `id`, which the manifest names as needed, is there and begins as it
/// should: one without records is in no part.
///
/// # Errors
/// `MissingFile`; `Corruption`; `Io`.
pub(crate) fn check_begin(env: &Env, dir: &Path, database: DatabaseId, id: LogId) -> Result<()> {
    open(env, dir, database, id)?.needed_header().map(drop)
}

fn open(env: &Env, dir: &Path, database: DatabaseId, id: LogId) -> Result<LogReader> {
    LogReader::open(env, dir, database, id).map_err(|e| match e {
        Error::Io(e) if e.kind() == ErrorKind::NotFound => {
            Error::MissingFile { file: log_path(dir, id) }
        }
        e => e,
    })
}

/// A part that begins and ends between records, opened. The files may not go meanwhile: see
/// [`WalHandle::pin`](super::WalHandle::pin).
pub(crate) struct Part<'a> {
    range: Range<LogPosition>,
    segments: &'a [Segment],
    /// One for each segment.
    logs: Vec<LogReader>,
    /// The chained checksum where the part begins.
    chain: u32,
    should_stop: &'a dyn Fn() -> Result<()>,
}

impl<'a> Part<'a> {
    /// Opens the files and reads up to where the part begins. `should_stop` is asked at each
    /// record, here and later.
    ///
    /// # Errors
    /// `MissingFile`; `Corruption` when the first file does not reach the part; `Io`; what
    /// `should_stop` answers.
    pub(crate) fn open(
        env: &Env,
        (dir, segments): (&Path, &'a [Segment]),
        database: DatabaseId,
        range: &Range<LogPosition>,
        should_stop: &'a dyn Fn() -> Result<()>,
    ) -> Result<Part<'a>> {
        let open = |segment: &Segment| open(env, dir, database, segment.id);
        let mut logs = segments.iter().map(open).collect::<Result<Vec<_>>>()?;
        // Of an empty part nothing is read, so nothing can hang on its checksum.
        let mut chain = 0;
        if let Some(first) = logs.first_mut() {
            let header = first.needed_header()?;
            let end = first.walk(&header, Some(range.start), &mut |_, _| should_stop())?;
            if end.position != range.start {
                return Err(first.ends_early(end.offset));
            }
            chain = end.chain;
        }
        Ok(Part { range: range.clone(), segments, logs, chain, should_stop })
    }

    /// The chained checksum where the part begins.
    pub(super) fn chain(&self) -> u32 {
        self.chain
    }

    /// Visits its records in order, marks too. Takes memory for the largest of them.
    ///
    /// # Errors
    /// `Corruption` when the files do not hold the whole part; `Io`; what `visit` or
    /// `should_stop` answers.
    pub(crate) fn walk(
        &mut self,
        visit: &mut dyn FnMut(RecordPlace<'_>, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let Range { start, end } = self.range.clone();
        let mut reached: Option<End> = None;
        for (log, segment) in self.logs.iter_mut().zip(self.segments) {
            let header = log.needed_header()?;
            if let Some(before) = &reached {
                if header.base != before.position {
                    let what = "the log does not go on where the one before ends";
                    return Err(log.corruption(56, what));
                }
                if header.chain != before.chain {
                    return Err(log.corruption(80, OTHER_RECORDS));
                }
            }
            // A log that an opening has found may hold records behind its end in the stream:
            // those that were not synced are in the next one, at the same places.
            let limit = segment.end.min(end);
            let end = log.walk(&header, Some(limit), &mut |place, payload| {
                (self.should_stop)()?;
                if place.start < start { Ok(()) } else { visit(place, payload) }
            })?;
            if end.position != limit {
                return Err(log.ends_early(end.offset));
            }
            reached = Some(end);
        }
        match reached {
            Some(reached) if reached.position != end => Err(self.ends_early()),
            _ => Ok(()),
        }
    }

    /// An error when the last file is shorter than it was made, durably.
    pub(crate) fn check_length(&self) -> Result<()> {
        match self.logs.last() {
            Some(last) => last.check_length(),
            None => Ok(()),
        }
    }

    /// That the last file does not reach the end of the part.
    pub(super) fn ends_early(&self) -> Error {
        let last = self.logs.last().expect("an empty part ends where it begins");
        last.ends_early(last.len)
    }
}
