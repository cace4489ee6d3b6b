//! What is wrong with the bytes of an object.

use std::borrow::Cow;
use std::fmt;

/// Why bytes are not what their name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The bytes are damaged, at this offset.
    Damaged {
        /// From the object's start.
        offset: u64,
        /// What is wrong there.
        what: Cow<'static, str>,
    },
    /// A newer version wrote them: this one must not go on.
    Newer(Cow<'static, str>),
    /// They belong to another database, or to another name.
    Misplaced(Cow<'static, str>),
}

impl Unreadable {
    pub(crate) fn damaged(offset: usize, what: impl Into<Cow<'static, str>>) -> Unreadable {
        Unreadable::Damaged { offset: offset as u64, what: what.into() }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::Damaged { offset, what } => write!(f, "damaged at offset {offset}: {what}"),
            Unreadable::Newer(what) => write!(f, "written by a newer version: {what}"),
            Unreadable::Misplaced(what) => write!(f, "not what its name says: {what}"),
        }
    }
}

impl std::error::Error for Unreadable {}
