//! Keeping logs that somebody reads: a checkpoint copies them while flushes let them go.

use super::WalHandle;
use std::ops::Range;
use tanada_format::{LogId, LogPosition};

use crate::wal::segment::Segment;

/// Keeps the logs that it was made for, and all later ones, until it is dropped. Whoever
/// drops it hands out those that nobody needs any more: [`WalHandle::take_before`].
#[derive(Debug)]
pub(crate) struct LogPin {
    handle: WalHandle,
    id: LogId,
}

impl WalHandle {
    /// The files that hold this part of the stream, oldest first, kept until the pin is
    /// dropped. None of them may be given up meanwhile: the manifest names the first or an
    /// earlier one as the oldest needed, and its lock is held.
    pub(crate) fn pin(&self, part: &Range<LogPosition>) -> (LogPin, Vec<Segment>) {
        let mut retained = self.0.retained.lock();
        let mut segments = self.segments();
        segments.retain(|s| s.start < s.end && s.end > part.start && s.start < part.end);
        // Of an empty part there is nothing to keep: the log being written stays anyway.
        let id = segments.first().map_or(LogId(u64::MAX), |segment| segment.id);
        *retained.pins.entry(id).or_default() += 1;
        (LogPin { handle: self.clone(), id }, segments)
    }
}

impl Drop for LogPin {
    fn drop(&mut self) {
        let mut retained = self.handle.0.retained.lock();
        if let Some(pins) = retained.pins.get_mut(&self.id) {
            *pins -= 1;
            if *pins == 0 {
                retained.pins.remove(&self.id);
            }
        }
    }
}
