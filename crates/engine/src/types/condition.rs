//! What must hold of a key for a batch to be written, and what was found instead.

use std::fmt;
use std::sync::Arc;
use tanada_format::SeqNo;

/// What must hold of one key.
///
/// The version of a key is the sequence number of its last write, as
/// [`Record::version`](crate::Record) has it. A deleted key has none, nor has one that
/// has expired.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// The key has no value.
    Absent,
    /// The key has a value, whatever its version.
    Present,
    /// The key has a value, of this version.
    Version(SeqNo),
    /// The key has a value, of one of these versions; with none of them it never holds.
    VersionIn(Vec<SeqNo>),
    /// The key has no value, or one of none of these versions.
    VersionNotIn(Vec<SeqNo>),
}

impl Condition {
    /// Whether it holds of a key with this version; `None` is that of an absent one.
    pub fn holds(&self, version: Option<SeqNo>) -> bool {
        match (self, version) {
            (Condition::Absent, version) => version.is_none(),
            (Condition::Present, version) => version.is_some(),
            (Condition::Version(wanted), version) => version == Some(*wanted),
            (Condition::VersionIn(versions), version) => {
                version.is_some_and(|version| versions.contains(&version))
            }
            (Condition::VersionNotIn(versions), version) => {
                version.is_none_or(|version| !versions.contains(&version))
            }
        }
    }
}

/// Why a batch was not written: of its conditions, those that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// In the order in which the batch has them; at least one.
    pub failed: Vec<FailedCondition>,
}

/// A condition that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCondition {
    /// Which condition of the batch, counted from 0 in the order in which they were added.
    pub index: usize,
    /// The key that it is about.
    pub key: Arc<[u8]>,
    /// The version that the key had instead; `None` when it was absent.
    pub version: Option<SeqNo>,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Of a key, so many bytes are shown.
        const SHOWN: usize = 64;
        let Some(first) = self.failed.first() else { return f.write_str("a condition failed") };
        let cut = if first.key.len() > SHOWN { "…" } else { "" };
        let key = first.key[..first.key.len().min(SHOWN)].escape_ascii();
        write!(f, "condition {} of the batch does not hold: the key \"{key}{cut}\" ", first.index)?;
        match first.version {
            Some(version) => write!(f, "has version {}", version.0)?,
            None => f.write_str("is absent")?,
        }
        match self.failed.len() {
            1 => Ok(()),
            failed => write!(f, ", and {} more do not hold", failed - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_asked_of_what_is_there() {
        use Condition::*;
        let cases = [
            (Absent, [true, false]),
            (Present, [false, true]),
            (Version(SeqNo(5)), [false, true]),
            (Version(SeqNo(6)), [false, false]),
            (VersionIn(vec![SeqNo(4), SeqNo(5)]), [false, true]),
            (VersionIn(vec![SeqNo(6)]), [false, false]),
            (VersionIn(vec![]), [false, false]),
            (VersionNotIn(vec![SeqNo(5)]), [true, false]),
            (VersionNotIn(vec![SeqNo(6)]), [true, true]),
        ];
        for (condition, expected) in cases {
            let got = [None, Some(SeqNo(5))].map(|version| condition.holds(version));
            assert_eq!(got, expected, "{condition:?}");
        }
    }

    #[test]
    fn a_conflict_names_the_condition_the_key_and_the_version() {
        let failed = |index, key: &[u8], version| FailedCondition {
            index,
            key: key.into(),
            version: Option::map(version, SeqNo),
        };
        let one = Conflict { failed: vec![failed(3, b"k\xff", Some(7))] };
        assert_eq!(
            one.to_string(),
            "condition 3 of the batch does not hold: the key \"k\\xff\" has version 7"
        );
        let two = Conflict { failed: vec![failed(0, &[b'a'; 100], None), failed(1, b"b", None)] };
        let text = two.to_string();
        assert!(text.ends_with("aaa…\" is absent, and 1 more do not hold"), "{text}");
    }
}
