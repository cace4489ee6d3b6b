//! What is left of a damaged log, for repair: commit groups, and where there
//! are none.

use super::group::{Group, decode_entry};
use super::header::{EPOCH_AT, HAS_EPOCH, LOG_HEADER_LEN, LogHeader, LogOwner, Parsed};
use super::segment::kind;
use crate::salvage::{RecordBytes, most_records};
use crate::types::error::Result;
use std::ops::Range;
use std::path::Path;
use tanada_format::{
    DatabaseId, KeyspaceId, LogId, LogPosition, RECORD_FRAME_LEN, RecordFrame, RecordSalt,
    SHORT_FRAME_LEN, SeqNo, WriterEpoch, crc32c, crc32c_before, read_varint,
};

/// What is left of one log.
#[derive(Debug, Default)]
pub(crate) struct SalvagedLog {
    /// Its header, if that is whole.
    pub(crate) header: Option<LogHeader>,
    /// Whether nothing was ever written to it.
    pub(crate) blank: bool,
    /// Commit groups, in order.
    pub(crate) groups: Vec<SalvagedGroup>,
    /// Places where there is no valid record, in order.
    pub(crate) damage: Vec<DamagedRecords>,
    /// The chained checksum behind the last record.
    chain: u32,
    /// Where in the file the last record ends.
    pub(crate) end: u64,
}

/// Where a commit group lies in its file.
#[derive(Clone, Debug)]
pub(crate) struct SalvagedGroup {
    pub(crate) payload: Range<usize>,
    pub(crate) first: SeqNo,
    pub(crate) last: SeqNo,
}

/// Bytes that hold no valid record.
#[derive(Clone, Debug)]
pub(crate) struct DamagedRecords {
    /// Where in the file.
    pub(crate) bytes: Range<u64>,
    /// How many groups lie before.
    pub(crate) behind: usize,
    /// Whether valid records follow, so that something was lost for certain.
    pub(crate) followed: bool,
    /// Keys that the damaged bytes seem to name. Nothing proves them.
    pub(crate) seem: Vec<(KeyspaceId, Vec<u8>)>,
}

impl SalvagedLog {
    /// Reads the bytes of log `id`. `before` is the log that it follows, as far
    /// as that is known; `epochs` are those in which it may have been begun should its
    /// header not say, the likeliest first.
    ///
    /// # Errors
    /// As [`LogHeader::parse`].
    pub(crate) fn read(
        bytes: &[u8],
        path: &Path,
        database: DatabaseId,
        id: LogId,
        epochs: &[WriterEpoch],
        before: Option<&SalvagedLog>,
    ) -> Result<SalvagedLog> {
        let mut log = SalvagedLog::default();
        match LogHeader::parse(bytes, path, database, id)? {
            Parsed::Header(header) => log.header = Some(header),
            Parsed::Blank => log.blank = bytes.iter().all(|&b| b == 0),
            Parsed::Unreadable => {}
        }
        let salts = match &log.header {
            Some(header) => vec![header.salt()],
            None => epochs.iter().map(|&epoch| LogOwner { database, epoch }.salt(id)).collect(),
        };
        let (from, kinds) = (LOG_HEADER_LEN as usize, &[kind::GROUP, kind::MARK]);
        let of_salt = |salt| {
            let chains = match &log.header {
                Some(header) => vec![header.chain],
                None => likely_chains(bytes, salt, before),
            };
            RecordBytes { bytes, salt, from, kinds }.salvage(&chains)
        };
        let found = most_records(salts.into_iter().map(of_salt));
        let mut damage = found.damage.into_iter().peekable();
        for (n, (kind, payload)) in found.records.into_iter().enumerate() {
            while let Some(here) = damage.next_if(|here| here.behind <= n) {
                log.note(bytes, here.bytes, here.followed);
            }
            if kind == kind::GROUP {
                log.take(bytes, payload);
            }
        }
        damage.for_each(|here| log.note(bytes, here.bytes, here.followed));
        (log.chain, log.end) = (found.chain, found.end as u64);
        Ok(log)
    }

    /// The position behind the last record, where the header tells that of the first.
    pub(crate) fn end_position(&self) -> Option<LogPosition> {
        self.header.map(|header| header.position(self.end.max(LOG_HEADER_LEN)))
    }

    /// Takes damage from this position on for a torn tail: the next log begins here.
    pub(crate) fn forget_damage_from(&mut self, base: LogPosition) {
        if let Some(header) = self.header {
            self.damage.retain(|damage| header.position(damage.bytes.start) < base);
        }
    }

    /// Takes groups from this position on for lost: the next log begins here, and has those
    /// that are not.
    pub(crate) fn forget_groups_from(&mut self, base: LogPosition) {
        if let Some(header) = self.header {
            self.retain_groups(|group| header.position(group.payload.start as u64) < base);
        }
    }

    /// Keeps these groups alone.
    pub(crate) fn retain_groups(&mut self, keep: impl Fn(&SalvagedGroup) -> bool) {
        self.groups.retain(keep);
        let left = self.groups.len();
        for damage in &mut self.damage {
            damage.behind = damage.behind.min(left);
        }
    }

    fn take(&mut self, bytes: &[u8], payload: Range<usize>) {
        match Group::parse(&bytes[payload.clone()]) {
            Ok(group) if group.entries().all(|entry| entry.is_ok()) => {
                let (first, last) = (group.first_seqno, group.last_seqno());
                self.groups.push(SalvagedGroup { payload, first, last });
            }
            _ => self.note(bytes, payload, true),
        }
    }

    fn note(&mut self, bytes: &[u8], lost: Range<usize>, followed: bool) {
        let seem = seeming_keys(&bytes[lost.clone()]);
        let bytes = lost.start as u64..lost.end as u64;
        let behind = self.groups.len();
        self.damage.push(DamagedRecords { bytes, behind, followed, seem });
    }
}

/// Checksums that the first record of a log with a damaged header may continue.
/// The record proves the one that it was written behind.
fn likely_chains(bytes: &[u8], salt: RecordSalt, before: Option<&SalvagedLog>) -> Vec<u32> {
    let mut chains = Vec::new();
    if let Some((header, records)) = bytes.split_first_chunk::<{ LOG_HEADER_LEN as usize }>() {
        // The one to which the first record leads back, if the header's own
        // checksum says that nothing but this field of it is damaged.
        let payload = |frame: &RecordFrame| {
            records.get(RECORD_FRAME_LEN..)?.get(..frame.payload_len as usize)
        };
        if let Some(frame) = RecordFrame::decode(records, salt, LOG_HEADER_LEN)
            && let Some(payload) = payload(&frame)
        {
            let chain = crc32c_before(frame.body_crc, payload);
            let mut mended = *header;
            mended[80..84].copy_from_slice(&chain.to_le_bytes());
            if database_of(&mended).is_some() {
                chains.push(chain);
            }
        }
        chains.push(u32::from_le_bytes(header[80..84].try_into().expect("4 bytes of the header")));
    }
    chains.extend(before.map(|log| log.chain));
    chains.push(0);
    chains
}

/// The database that the log which begins so says it belongs to.
pub(crate) fn database_of(bytes: &[u8]) -> Option<DatabaseId> {
    let (covered, rest) = bytes.split_at_checked(LOG_HEADER_LEN as usize - 4)?;
    let sound =
        covered.starts_with(b"TANADLOG") && rest.starts_with(&crc32c(covered).to_le_bytes());
    sound.then(|| DatabaseId(covered[32..48].try_into().expect("16 bytes of the header")))
}

/// The epoch in which the log that begins so says it was begun.
pub(crate) fn epoch_of(bytes: &[u8]) -> Option<WriterEpoch> {
    database_of(bytes)?;
    let at = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
    Some(match at(16)? & HAS_EPOCH {
        0 => WriterEpoch(0),
        _ => WriterEpoch(at(EPOCH_AT)?),
    })
}

/// The keys of the entries that damaged bytes seem to hold, up to the first
/// that is none.
fn seeming_keys(bytes: &[u8]) -> Vec<(KeyspaceId, Vec<u8>)> {
    let behind_frame = [SHORT_FRAME_LEN, RECORD_FRAME_LEN].into_iter();
    behind_frame.filter_map(|head| keys_of(bytes.get(head..)?)).next().unwrap_or_default()
}

fn keys_of(payload: &[u8]) -> Option<Vec<(KeyspaceId, Vec<u8>)>> {
    let (_, seqno_len) = read_varint(payload)?;
    let (count, count_len) = read_varint(&payload[seqno_len..])?;
    let mut rest = &payload[seqno_len + count_len..];
    let mut keys = Vec::new();
    for _ in 0..count {
        let Ok((entry, len)) = decode_entry(rest) else { break };
        keys.push((entry.keyspace, entry.key.to_vec()));
        rest = &rest[len..];
    }
    (!keys.is_empty()).then_some(keys)
}
