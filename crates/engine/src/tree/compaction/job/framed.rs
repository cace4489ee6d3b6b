//! Fields of jobs and outputs behind a right header: for fuzzers, which find no checksum.

use super::frame::{self, Kind};
use super::outputs::{JobHash, put_hash};
use tanada_format::DatabaseId;

/// A job of `database` with these fields; nothing when they are too long.
pub(in super::super) fn job(database: DatabaseId, fields: &[u8]) -> Vec<u8> {
    let mut out = frame::begin(Kind::Job, database);
    out.extend_from_slice(fields);
    frame::finish(out).unwrap_or_default()
}

/// Outputs of the job with this hash, with these fields besides.
pub(in super::super) fn outputs(database: DatabaseId, hash: JobHash, fields: &[u8]) -> Vec<u8> {
    let mut out = frame::begin(Kind::Outputs, database);
    put_hash(&mut out, hash);
    out.extend_from_slice(fields);
    frame::finish(out).unwrap_or_default()
}
