//! The names of files in a database's directory.

use std::fmt;
use tanada_format::{LogId, TableId};

/// A file name that is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileName {
    /// `CURRENT`: names the manifest.
    Current,
    /// `MANIFEST-000042`.
    Manifest(u64),
    /// `000042.sst`.
    Table(TableId),
    /// `000042.log`.
    Log(LogId),
    /// `LOCK`: held by the process that has the database open.
    Lock,
    /// Any of the above with `.tmp` behind it: never finished, never needed.
    Temporary,
}

impl FileName {
    /// The name's meaning; `None` when it is not one of ours.
    pub(crate) fn parse(name: &str) -> Option<FileName> {
        if let Some(stem) = name.strip_suffix(".tmp") {
            let known = FileName::parse(stem).is_some_and(|f| f != FileName::Temporary);
            return known.then_some(FileName::Temporary);
        }
        let number = |digits: &str| -> Option<u64> {
            let n = digits.parse().ok()?;
            // One name a number: no sign, no fewer digits, no further zeros in front.
            (format!("{n:06}") == digits).then_some(n)
        };
        if name == "CURRENT" {
            Some(FileName::Current)
        } else if name == "LOCK" {
            Some(FileName::Lock)
        } else if let Some(digits) = name.strip_prefix("MANIFEST-") {
            number(digits).map(FileName::Manifest)
        } else if let Some(digits) = name.strip_suffix(".sst") {
            number(digits).map(|n| FileName::Table(TableId(n)))
        } else if let Some(digits) = name.strip_suffix(".log") {
            number(digits).map(|n| FileName::Log(LogId(n)))
        } else {
            None
        }
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileName::Current => f.write_str("CURRENT"),
            FileName::Manifest(n) => write!(f, "MANIFEST-{n:06}"),
            FileName::Table(id) => write!(f, "{id}.sst"),
            FileName::Log(id) => write!(f, "{id}.log"),
            FileName::Lock => f.write_str("LOCK"),
            FileName::Temporary => f.write_str("CURRENT.tmp"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_names_read_back_and_others_are_not_ours() {
        let ours = [
            FileName::Current,
            FileName::Lock,
            FileName::Manifest(5),
            FileName::Manifest(12_345_678),
            FileName::Table(TableId(42)),
            FileName::Table(TableId(u64::MAX)),
            FileName::Log(LogId(1)),
            FileName::Temporary,
        ];
        for name in ours {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
        assert_eq!(FileName::parse("000042.sst.tmp"), Some(FileName::Temporary));
        for other in [
            "",
            "current",
            "CURRENT.tmp.tmp",
            ".tmp",
            "notes.tmp",
            "MANIFEST-",
            "MANIFEST-5",
            "MANIFEST-+00005",
            "0000042.sst",
            "42.sst",
            "00004a.log",
            "x.sst",
            "99999999999999999999.sst",
        ] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
    }
}
