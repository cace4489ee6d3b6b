//! What was found beside what was expected, and a sentence where they differ.

/// A key or value, short enough to read.
pub(super) struct Short<'b>(pub(super) &'b [u8]);

impl std::fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = &self.0[..self.0.len().min(32)];
        write!(f, "\"{}\" ({} B)", head.escape_ascii(), self.0.len())
    }
}

pub(super) fn check_value(what: &str, key: &[u8], found: Option<&[u8]>, expected: Option<&[u8]>) {
    let show = |value: Option<&[u8]>| value.map_or("nothing".into(), |v| Short(v).to_string());
    assert!(
        found == expected,
        "{what} {}: found {}, expected {}",
        Short(key),
        show(found),
        show(expected)
    );
}

type Entry<'e> = Option<(&'e [u8], &'e [u8])>;

pub(super) fn check_entry(what: &str, found: Entry<'_>, expected: Entry<'_>) {
    let show = |entry: Entry<'_>| match entry {
        Some((key, value)) => format!("{} = {}", Short(key), Short(value)),
        None => "the end".to_owned(),
    };
    assert!(found == expected, "{what}: found {}, expected {}", show(found), show(expected));
}
