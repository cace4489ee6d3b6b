//! What a run did, in figures, and sums of several runs.

use super::work::Work;

/// What was done, and its traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Operations of the public API, those of others included.
    pub operations: u64,
    /// Deaths and power cuts.
    pub crashes: u64,
    /// Of these, in the middle of a call.
    pub cut_calls: u64,
    /// Calls that were to fail.
    pub faults: u64,
    /// Calls that did.
    pub struck: u64,
    /// Times that the background was asked for work.
    pub steps: u64,
    /// Changing calls to the file system.
    pub changes: u64,
    /// Looks at what has a bound.
    pub looks: u64,
    /// Quiet nights behind which garbage was measured.
    pub nights: u64,
    /// The most tables at such a look.
    pub most_tables: u64,
    /// Which parts of the engine were at work.
    pub work: Work,
    /// The hash of every call to the machine with its arguments and its answer.
    pub trace: u64,
    /// The hash of every answer.
    pub answers: u64,
}

impl Summary {
    /// The sums of both; no traces.
    pub fn and(&self, other: &Summary) -> Summary {
        Summary {
            operations: self.operations + other.operations,
            crashes: self.crashes + other.crashes,
            cut_calls: self.cut_calls + other.cut_calls,
            faults: self.faults + other.faults,
            struck: self.struck + other.struck,
            steps: self.steps + other.steps,
            changes: self.changes + other.changes,
            looks: self.looks + other.looks,
            nights: self.nights + other.nights,
            most_tables: self.most_tables.max(other.most_tables),
            work: self.work.and(&other.work),
            trace: 0,
            answers: 0,
        }
    }
}
