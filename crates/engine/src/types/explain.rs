//! The path of one read: every tier asked, what it answered, the time it took.

use tanada_table::Value;

/// Answer of [`crate::Keyspace::explain`].
#[derive(Clone, Debug)]
pub struct Explain {
    /// The value, when there is one.
    pub value: Option<Value>,
    /// Sequence number of the version found (a delete's too).
    pub seqno: Option<u64>,
    /// The tiers in the order in which they were asked.
    pub steps: Vec<Step>,
    /// Nanoseconds of the whole read, measuring included.
    pub total_ns: u64,
}

/// One tier's answer.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Step {
    /// Who was asked.
    pub tier: Tier,
    /// Which one of its kind: a table's file name and level, a MemTable's age.
    pub name: String,
    /// What it answered.
    pub outcome: Outcome,
    /// Nanoseconds it took.
    pub time_ns: u64,
}

/// A tier of the read path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[allow(missing_docs)]
pub enum Tier {
    MemTable,
    SealedMemTable,
    RowCache,
    Filter,
    BlockCache,
    Table,
}

/// What a tier answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum Outcome {
    /// Here is the newest value.
    Hit,
    /// Here is a tombstone, or an expired value: the key is absent.
    Deleted,
    /// Not here; ask on.
    Miss,
    /// The filter says: maybe here.
    Maybe,
    /// The filter says: certainly not here.
    Never,
}
