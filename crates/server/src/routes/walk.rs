//! A walk over the keys of a range, one way or the other.

use crate::json::{
    STAMP_BYTES, entry_len, push_key, push_stamp, push_string, push_value, text_len,
};
use crate::memory::{SMALL_BYTES, Share};
use crate::problem::Result;
use std::ops::Bound;
use tanada::{Keyspace, Record, Records, Snapshot};

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

/// The records of a scan, or of a dump, one after the other.
pub(super) struct Walk {
    /// `None` when the range is empty.
    records: Option<Records>,
    direction: Direction,
    columns: Columns,
    /// Of a dump: its moment, and the keyspaces that come behind the one being walked.
    rest: Option<(Snapshot, std::vec::IntoIter<Keyspace>)>,
    /// Of a dump: the keyspace being walked, when it is not the default one.
    name: Option<String>,
}

impl Walk {
    /// Positions at the first entry; may read from the disk.
    pub(super) fn start(keyspace: &Keyspace, scan: Scan) -> Walk {
        let records =
            (!scan.is_empty()).then(|| keyspace.range((scan.lower, scan.upper)).records());
        let (direction, columns) = (scan.direction, scan.columns);
        Walk { records, direction, columns, rest: None, name: None }
    }

    /// Everything of these keyspaces at one moment.
    pub(super) fn dump(snapshot: Snapshot, keyspaces: Vec<Keyspace>) -> Walk {
        Walk {
            records: None,
            direction: Direction::Forward,
            columns: Columns::KeysAndValues,
            rest: Some((snapshot, keyspaces.into_iter())),
            name: None,
        }
    }

    pub(super) fn next(&mut self) -> Option<tanada::Result<Record>> {
        let records = self.records.as_mut()?;
        match self.direction {
            Direction::Forward => records.next(),
            Direction::Reverse => records.next_back(),
        }
    }

    /// Goes over to the next keyspace of a dump, and appends a line with its name. False
    /// when there is none, and where it is a scan.
    pub(super) fn next_keyspace(&mut self, out: &mut Vec<u8>) -> bool {
        let Some((snapshot, rest)) = &mut self.rest else { return false };
        let Some(keyspace) = rest.next() else { return false };
        self.records = Some(snapshot.range_in(&keyspace, ..).records());
        self.name = Some(keyspace.name()).filter(|name| *name != "default").map(str::to_owned);
        if let Some(name) = &self.name {
            out.extend_from_slice(b"{\"keyspace\":");
            push_string(out, name);
            out.extend_from_slice(b"}\n");
        }
        true
    }

    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    /// Appends a record as a JSON object. `share` is of `out`: it holds what that takes.
    ///
    /// # Errors
    /// When the memory budget has no room for so much; nothing is appended.
    pub(super) fn push_item(
        &self,
        out: &mut Vec<u8>,
        share: &mut Share,
        record: &Record,
    ) -> Result<()> {
        let (key, value) = (&*record.key, &*record.value);
        let value_bytes = match self.columns {
            Columns::KeysOnly => 0,
            Columns::KeysAndValues => value.len(),
        };
        // What is small stays within the buffer, or doubles it.
        if key.len() + value_bytes > SMALL_BYTES / 2 || out.capacity() - out.len() < SMALL_BYTES {
            let name = self.name.as_ref().map_or(0, |name| 16 + text_len(name.as_bytes()));
            let more = entry_len(key, &value[..value_bytes]) + STAMP_BYTES + name;
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
        push_stamp(out, record.version.0, record.expires_at);
        if let Some(name) = &self.name {
            out.extend_from_slice(b",\"keyspace\":");
            push_string(out, name);
        }
        out.push(b'}');
        Ok(())
    }
}
