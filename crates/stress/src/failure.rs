//! How a run can end badly: the database's fault, the machine's, or our own.

use std::fmt;
use std::io;

/// A `Result` of this program.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a run stopped.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database broke a promise. What was lost, and what shows it.
    Broken(String),
    /// This machine lacks what the run needs: root, a loop device, a program.
    Lacking(String),
    /// The run itself could not go on; says nothing of the database.
    Trouble(String),
}

impl Failure {
    /// A broken promise.
    pub(crate) fn broken(what: impl Into<String>) -> Failure {
        Failure::Broken(what.into())
    }

    /// Something of the machine that is not there.
    pub(crate) fn lacking(what: impl Into<String>) -> Failure {
        Failure::Lacking(what.into())
    }

    /// Trouble of our own.
    pub(crate) fn trouble(what: impl Into<String>) -> Failure {
        Failure::Trouble(what.into())
    }

    /// Puts `what` before the text.
    pub(crate) fn before(self, what: impl fmt::Display) -> Failure {
        match self {
            Failure::Broken(text) => Failure::Broken(format!("{what}: {text}")),
            Failure::Lacking(text) => Failure::Lacking(format!("{what}: {text}")),
            Failure::Trouble(text) => Failure::Trouble(format!("{what}: {text}")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Broken(text) => write!(f, "a promise is broken: {text}"),
            Failure::Lacking(text) => write!(f, "this machine lacks something: {text}"),
            Failure::Trouble(text) => write!(f, "the run could not go on: {text}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        Failure::Trouble(e.to_string())
    }
}
