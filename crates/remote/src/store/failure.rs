//! Why a request was not answered as asked, classified by what the sender does next.

use std::fmt;

/// What the sender of a failed request does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A condition did not hold. Read the object and compare: it may be one's own first try.
    Lost,
    /// Nobody can say whether it was applied, or will be, now or in an hour. Read the
    /// object; then send the same bytes under the same condition, never others.
    Unknown,
    /// Not applied, since the store was busy (429, 503) or had a concurrent request (409).
    /// Back off and send the same again.
    Busy,
    /// Not sent: no connection, or no credentials could be fetched. Send the same again.
    Away,
    /// The credentials do not allow it, are wrong, or have expired.
    Denied,
    /// The object that was to be read or deleted is not there.
    Gone,
    /// What is there cannot have been written by the protocol, or something that is never
    /// deleted is missing. Stop: a person must look.
    Damaged,
    /// The store does not do this, or not so: a bound was passed, a request is not understood.
    Refused,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// All, in the order of their numbers.
    pub const ALL: [Class; Class::COUNT] = [
        Class::Lost,
        Class::Unknown,
        Class::Busy,
        Class::Away,
        Class::Denied,
        Class::Gone,
        Class::Damaged,
        Class::Refused,
    ];

    /// The word for it in statistics.
    pub fn word(self) -> &'static str {
        match self {
            Class::Lost => "lost",
            Class::Unknown => "unknown",
            Class::Busy => "busy",
            Class::Away => "away",
            Class::Denied => "denied",
            Class::Gone => "gone",
            Class::Damaged => "damaged",
            Class::Refused => "refused",
        }
    }

    /// Whether the same request, sent again, may do better, and surely does no harm.
    pub fn is_passing(self) -> bool {
        matches!(self, Class::Unknown | Class::Busy | Class::Away)
    }
}

/// What was asked of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// GET of an object or a part, also conditional.
    Get,
    /// HEAD.
    Head,
    /// PUT with `If-None-Match: *`.
    Create,
    /// PUT with `If-Match`.
    Swap,
    /// PUT without a condition.
    Put,
    /// DELETE, with or without a condition.
    Delete,
    /// LIST, a page each.
    List,
    /// Beginning, adding to or ending a multipart upload.
    Upload,
}

impl Operation {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// All, in the order of their numbers.
    pub const ALL: [Operation; Operation::COUNT] = [
        Operation::Get,
        Operation::Head,
        Operation::Create,
        Operation::Swap,
        Operation::Put,
        Operation::Delete,
        Operation::List,
        Operation::Upload,
    ];

    /// The word for it in statistics and messages.
    pub fn word(self) -> &'static str {
        match self {
            Operation::Get => "get",
            Operation::Head => "head",
            Operation::Create => "create",
            Operation::Swap => "swap",
            Operation::Put => "put",
            Operation::Delete => "delete",
            Operation::List => "list",
            Operation::Upload => "upload",
        }
    }
}

/// A request that failed: what was asked, of which object, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the sender does next.
    pub class: Class,
    /// What was asked.
    pub operation: Operation,
    /// The object's full name in the store.
    pub object: String,
    /// What the store said, without credentials.
    pub detail: String,
}

/// A store's own words are cut here: a proxy may answer with a page.
const MAX_DETAIL_BYTES: usize = 500;

impl Failure {
    /// Of `operation` on `object`.
    pub fn new(
        class: Class,
        operation: Operation,
        object: impl Into<String>,
        detail: impl Into<String>,
    ) -> Failure {
        let mut detail: String = detail.into();
        if detail.len() > MAX_DETAIL_BYTES {
            let cut = (0..=MAX_DETAIL_BYTES).rev().find(|&at| detail.is_char_boundary(at));
            detail.truncate(cut.unwrap_or(0));
            detail.push('…');
        }
        Failure { class, operation, object: object.into(), detail }
    }

    /// The same, of another class.
    pub(crate) fn of_class(mut self, class: Class) -> Failure {
        self.class = class;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.class {
            Class::Lost => "another request came first",
            Class::Unknown => "no answer came: it may have happened, or may happen yet",
            Class::Busy => "the store is busy",
            Class::Away => "the store cannot be reached",
            Class::Denied => "the store denies it: see the credentials and their rights",
            Class::Gone => "the object is not there",
            Class::Damaged => "the object is damaged or was removed by hand",
            Class::Refused => "the store does not do this",
        };
        write!(f, "{} {}: {what} ({})", self.operation.word(), self.object, self.detail)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_classes_and_operations_are_their_places() {
        assert!(Class::ALL.iter().enumerate().all(|(i, class)| *class as usize == i));
        assert!(Operation::ALL.iter().enumerate().all(|(i, operation)| *operation as usize == i));
    }

    #[test]
    fn a_page_of_a_proxy_is_cut_at_a_letter() {
        let failure = Failure::new(Class::Busy, Operation::Get, "a", "é".repeat(1000));
        assert!(failure.detail.len() <= MAX_DETAIL_BYTES + '…'.len_utf8());
    }
}
