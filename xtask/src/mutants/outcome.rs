//! What became of a mutant, for who runs it and who keeps the tree of all of them.

/// What became of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A stage failed, as it should.
    Noticed(&'static str),
    /// A stage did not end.
    Hung(&'static str),
    Unviable,
    /// The quick stages passed.
    Unnoticed,
    /// All stages passed.
    Survived,
}

impl Outcome {
    /// The word for it, and the stage.
    pub(super) fn words(&self) -> (&'static str, &'static str) {
        match self {
            Outcome::Noticed(stage) => ("noticed", stage),
            Outcome::Hung(stage) => ("hung", stage),
            Outcome::Unviable => ("unviable", ""),
            Outcome::Unnoticed => ("unnoticed", ""),
            Outcome::Survived => ("survived", ""),
        }
    }
}
