//! A walk over the keys of a range, one way or the other.

use crate::json::{entry_len, push_key, push_value};
use crate::memory::{SMALL_BYTES, Share};
use crate::problem::Result;
use std::ops::Bound;
use tanada::{Iter, Keyspace, Value};

/// Which way to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Reverse,
}

impl Direction {
    /// First byte of a cursor: which way it goes on.
    pub(super) fn mark(self) -> u8 {
        match self {
            Direction::Forward => b'>',
            Direction::Reverse => b'<',
        }
    }
}

/// What of each entry is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    KeysOnly,
    KeysAndValues,
}

/// What a scan is asked for.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(super) lower: Bound<Vec<u8>>,
    pub(super) upper: Bound<Vec<u8>>,
    pub(crate) direction: Direction,
    pub(super) columns: Columns,
    pub(super) limit: Option<u64>,
}

impl Scan {
    /// Whether no key can lie in the range: asking the engine would be asking
    /// for a range that ends before it begins.
    pub(crate) fn is_empty(&self) -> bool {
        match (&self.lower, &self.upper) {
            (Bound::Included(lower) | Bound::Excluded(lower), Bound::Excluded(upper)) => {
                lower >= upper
            }
            _ => false,
        }
    }
}

/// The entries of a scan, one after the other.
pub(super) struct Walk {
    /// `None` when the range is empty.
    iter: Option<Iter>,
    direction: Direction,
    columns: Columns,
}

impl Walk {
    /// Positions at the first entry; may read from the disk.
    pub(super) fn start(keyspace: &Keyspace, scan: Scan) -> Walk {
        let iter = (!scan.is_empty()).then(|| keyspace.range((scan.lower, scan.upper)));
        Walk { iter, direction: scan.direction, columns: scan.columns }
    }

    pub(super) fn next(&mut self) -> Option<tanada::Result<(Value, Value)>> {
        let iter = self.iter.as_mut()?;
        match self.direction {
            Direction::Forward => iter.next(),
            Direction::Reverse => iter.next_back(),
        }
    }

    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    /// Appends an entry as a JSON object. `share` is of `out`: it holds what that takes.
    ///
    /// # Errors
    /// When the memory budget has no room for so much; nothing is appended.
    pub(super) fn push_item(
        &self,
        out: &mut Vec<u8>,
        share: &mut Share,
        key: &[u8],
        value: &[u8],
    ) -> Result<()> {
        let value_bytes = match self.columns {
            Columns::KeysOnly => 0,
            Columns::KeysAndValues => value.len(),
        };
        // What is small stays within the buffer, or doubles it.
        if key.len() + value_bytes > SMALL_BYTES / 2 || out.capacity() - out.len() < SMALL_BYTES {
            let more = entry_len(key, &value[..value_bytes]);
            if out.capacity() - out.len() < more {
                let capacity = (out.len() + more).max(out.capacity() * 2);
                share.hold(capacity)?;
                out.reserve_exact(capacity - out.len());
            }
        }
        out.push(b'{');
        push_key(out, key);
        if self.columns == Columns::KeysAndValues {
            out.push(b',');
            push_value(out, value);
        }
        out.push(b'}');
        Ok(())
    }
}
