//! What is said when stored bytes are not what was written.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

/// Damage in a stored file: where, and what was expected there.
///
/// Never answered by a guess: not by "not found", not by an older value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The damaged file.
    pub file: PathBuf,
    /// Where in the file, in bytes from its start.
    pub offset: u64,
    /// What is wrong there, in one sentence without a full stop.
    pub what: Cow<'static, str>,
}

impl Corruption {
    /// Damage in `file` at `offset`.
    pub fn new(
        file: impl Into<PathBuf>,
        offset: u64,
        what: impl Into<Cow<'static, str>>,
    ) -> Corruption {
        Corruption { file: file.into(), offset, what: what.into() }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at offset {}: {}", self.file.display(), self.offset, self.what)
    }
}

impl std::error::Error for Corruption {}
