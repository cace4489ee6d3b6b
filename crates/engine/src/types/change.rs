//! One write, as it is told to those who follow the changes of a database.

use crate::types::record::UnixMillis;
use tanada_format::SeqNo;

/// One write of a commit, borrowed from the stream that reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'c> {
    /// The write's sequence number: the version that it gave the key.
    pub seqno: SeqNo,
    /// The name of the keyspace; the default one is `"default"`.
    pub keyspace: &'c str,
    /// The key.
    pub key: &'c [u8],
    /// What was done to it.
    pub operation: Operation<'c>,
}

/// What a write did to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation<'c> {
    /// It set the value.
    Put {
        /// The value, as it was written: it may have expired since.
        value: &'c [u8],
        /// When the key expires; `None`: never.
        expires_at: Option<UnixMillis>,
    },
    /// It removed the key, whether or not there was one.
    Delete,
}
