//! What a verb says when it cannot do its work: what happened, and what to do.

use std::fmt;
use std::io;

/// A `Result` of this program.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// The end of a verb. Printed as `error: …` on standard error; the exit code is
/// [`Failure::exit_code`].
#[derive(Debug)]
pub(crate) enum Failure {
    /// Whole text, cure included.
    Message(String),
    /// Whole text too: stored bytes are damaged, or a file is missing.
    Damage(String),
    /// Whole text too: a condition on the key did not hold, and nothing was changed.
    Conflict(String),
    /// The reader of our output has gone (`tanada scan | head`): not an error.
    OutputClosed,
}

impl Failure {
    /// A failure with this text.
    pub(crate) fn new(text: impl Into<String>) -> Failure {
        Failure::Message(text.into())
    }

    /// Puts `what` before the text.
    pub(crate) fn before(self, what: impl fmt::Display) -> Failure {
        match self {
            Failure::Message(text) => Failure::Message(format!("{what}: {text}")),
            Failure::Damage(text) => Failure::Damage(format!("{what}: {text}")),
            Failure::Conflict(text) => Failure::Conflict(format!("{what}: {text}")),
            other => other,
        }
    }

    /// Adds a sentence behind the text.
    pub(crate) fn then(self, what: impl fmt::Display) -> Failure {
        match self {
            Failure::Message(text) => Failure::Message(format!("{text}\n{what}")),
            Failure::Damage(text) => Failure::Damage(format!("{text}\n{what}")),
            Failure::Conflict(text) => Failure::Conflict(format!("{text}\n{what}")),
            other => other,
        }
    }

    /// What the program ends with: 3 tells a script to read again and try again.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Message(_) | Failure::Damage(_) => 1,
            Failure::Conflict(_) => 3,
            Failure::OutputClosed => 0,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Message(text) | Failure::Damage(text) | Failure::Conflict(text) => {
                f.write_str(text)
            }
            Failure::OutputClosed => f.write_str("the output was closed"),
        }
    }
}

impl From<tanada::Error> for Failure {
    fn from(e: tanada::Error) -> Failure {
        match &e {
            tanada::Error::Io(inner) => match cure(inner) {
                Some(cure) => Failure::new(format!("{e}; {cure}")),
                None => Failure::new(e.to_string()),
            },
            tanada::Error::Corruption(_) | tanada::Error::MissingFile { .. } => {
                Failure::Damage(e.to_string())
            }
            _ => Failure::new(e.to_string()),
        }
    }
}

/// What a person can do about an error of the operating system.
fn cure(e: &io::Error) -> Option<&'static str> {
    match e.kind() {
        io::ErrorKind::PermissionDenied => {
            Some("run as a user who may read and write it, or name another directory with --data")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("mount it writable, or name another directory with --data")
        }
        io::ErrorKind::StorageFull => {
            Some("make room on this disk, or name a directory on another one with --data")
        }
        io::ErrorKind::NotADirectory => Some("name a directory with --data"),
        _ => None,
    }
}

/// For writing to standard output: a closed pipe ends the program quietly.
impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        match e.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::new(e.to_string()),
        }
    }
}
