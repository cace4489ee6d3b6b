//! What was found beside what was expected, and a sentence where they differ.

use crate::oracle::Entry;
use std::fmt;
use tanada::RecordRef;

/// A key or value, short enough to read.
pub(super) struct Short<'b>(pub(super) &'b [u8]);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = &self.0[..self.0.len().min(32)];
        write!(f, "\"{}\" ({} B)", head.escape_ascii(), self.0.len())
    }
}

fn show(value: Option<&[u8]>) -> String {
    value.map_or("nothing".to_owned(), |value| Short(value).to_string())
}

/// The value of a key.
pub(super) fn check_value(what: &str, key: &[u8], found: Option<&[u8]>, entry: Option<&Entry>) {
    let expected = entry.map(|entry| &entry.value[..]);
    assert!(
        found == expected,
        "{what} {}: found {}, expected {}",
        Short(key),
        show(found),
        show(expected)
    );
}

/// A whole record.
pub(super) fn check_record(
    what: &str,
    found: Option<RecordRef<'_>>,
    expected: Option<(&[u8], &Entry)>,
) {
    let told = found.map(|record| {
        (record.key, record.value, record.version.0, record.expires_at.map_or(0, |at| at.0))
    });
    let expected =
        expected.map(|(key, entry)| (key, &entry.value[..], entry.version, entry.expires_at_ms));
    let show = |record: Option<(&[u8], &[u8], u64, u64)>| match record {
        Some((key, value, version, until)) => {
            format!("{} = {}, version {version}, until {until}", Short(key), Short(value))
        }
        None => "nothing".to_owned(),
    };
    assert!(told == expected, "{what}: found {}, expected {}", show(told), show(expected));
}
