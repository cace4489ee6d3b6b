//! What must hold of a key for `put` and `delete` to change it, and what a person is told
//! when it does not. The database checks it: no other write comes between the check and the
//! write.

use crate::failure::Failure;
use crate::terminal::readable;
use tanada::SeqNo;

/// What must hold of the key that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It has no value: `--if-absent`.
    Absent,
    /// It has a value, of this version: `--if-version`.
    Version(u64),
}

impl Condition {
    /// The failure when it does not hold of `key`, which has the version `found` instead;
    /// `None` is that of an absent one.
    pub(crate) fn refused(self, key: &[u8], found: Option<u64>) -> Failure {
        let key = readable(key, 80);
        let found = match found {
            Some(version) => format!("has version {version}"),
            None => "is absent".to_owned(),
        };
        let wanted = match self {
            Condition::Absent => "--if-absent wants it absent".to_owned(),
            Condition::Version(version) => format!("--if-version wants version {version}"),
        };
        Failure::Conflict(format!(
            "the key '{key}' {found}, and {wanted}; nothing was changed; read it again (`tanada get --json` shows its version) and decide anew"
        ))
    }
}

impl From<Condition> for tanada::Condition {
    fn from(condition: Condition) -> tanada::Condition {
        match condition {
            Condition::Absent => tanada::Condition::Absent,
            Condition::Version(version) => tanada::Condition::Version(SeqNo(version)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_was_found_what_was_wanted_and_what_to_do() {
        for (condition, found, words) in [
            (Condition::Absent, Some(7), "the key 'k\\n' has version 7, and --if-absent wants"),
            (Condition::Version(5), Some(7), "has version 7, and --if-version wants version 5;"),
            (Condition::Version(5), None, "is absent, and --if-version wants version 5;"),
        ] {
            let failure = condition.refused(b"k\n", found);
            let text = failure.to_string();
            assert!(text.contains(words), "{text}");
            assert!(text.contains("nothing was changed; read it again"), "{text}");
            assert_eq!(failure.exit_code(), 3);
        }
    }
}
