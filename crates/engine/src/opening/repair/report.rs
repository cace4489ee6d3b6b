//! What a repair tells: what it read, what was lost, what it had to assume.

use std::collections::BTreeMap;

/// What [`repair`](crate::opening::repair) saved and what it could not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RepairReport {
    /// Every table and log that was read.
    pub files: Vec<RepairedFile>,
    /// Every part that could not be read. Empty: nothing is lost.
    pub lost: Vec<LostPart>,
    /// What is damaged and has cost nothing, by file; one sentence each.
    pub damage: Vec<String>,
    /// What the repair had to take for granted; one sentence each.
    pub assumed: Vec<String>,
    /// Keys in the new database, by keyspace.
    pub keys: BTreeMap<String, u64>,
    /// Keys that were left out although a value was found: a newer version may
    /// have been in a part that is lost, and an older value is never answered
    /// instead.
    pub doubtful: u64,
    /// The first of them, escaped, by keyspace.
    pub doubtful_keys: Vec<String>,
}

/// A table or a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RepairedFile {
    /// Its name.
    pub file: String,
    /// Bytes of it.
    pub bytes: u64,
    /// Entries that were read.
    pub entries: u64,
    /// Whether all of it was as it had been written.
    pub whole: bool,
}

/// A part of a file that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LostPart {
    /// The file's name.
    pub file: String,
    /// Where the part begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// What is wrong with it.
    pub what: String,
    /// Whose entries it held; unknown for a log.
    pub keyspace: Option<String>,
    /// No lost key lies before this, if that is known.
    #[cfg_attr(feature = "serde", serde(serialize_with = "escaped"))]
    pub from_key: Option<Vec<u8>>,
    /// No lost key lies behind this, if that is known.
    #[cfg_attr(feature = "serde", serde(serialize_with = "escaped"))]
    pub to_key: Option<Vec<u8>>,
    /// Entries that all lost parts of this file held, if that is known.
    pub entries: Option<u64>,
    /// No lost write is older than this sequence number.
    pub first_seqno: Option<u64>,
    /// No lost write is newer than this sequence number.
    pub last_seqno: Option<u64>,
}

#[cfg(feature = "serde")]
fn escaped<S: serde::Serializer>(key: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
    let text = key.as_ref().map(|key| key.escape_ascii().to_string());
    serde::Serialize::serialize(&text, to)
}
