//! Reads what can still be read of a damaged file of records, for repair: of a
//! log or of a manifest, which have the same frames.
//!
//! Opening stops at the first record that is not valid. Here reading goes on
//! behind it, and hands out every record of which the checksums prove that it
//! is what was written. Payload checksums are chained, so behind damage the
//! chain has to be found again: the frame of a record whose payload is damaged
//! still tells it (a short frame by undoing the last step of its checksum), the
//! payload of a record whose frame is damaged does too, and where both are
//! gone, two valid records in a row prove the second.

use std::ops::Range;
use tanada_format::{
    MAX_RECORD_LEN, RECORD_ALIGN, RECORD_FRAME_LEN, RecordCursor, RecordFrame, RecordSalt,
    SHORT_FRAME_LEN, ShortFrame, crc32c_before, crc32c_extend,
};

/// The bytes of a file of records, and what binds its frames to it.
#[derive(Clone, Copy)]
pub(crate) struct RecordBytes<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) salt: RecordSalt,
    /// Where the first record begins.
    pub(crate) from: usize,
    /// Kinds of records that are known here.
    pub(crate) kinds: &'a [u16],
}

/// What is left of it.
#[derive(Debug, Default)]
pub(crate) struct Salvaged {
    /// Records that are proven, in order: kind and payload.
    pub(crate) records: Vec<(u16, Range<usize>)>,
    /// Bytes that hold no valid record, in order.
    pub(crate) damage: Vec<DamagedBytes>,
    /// The chained checksum behind the last record.
    pub(crate) chain: u32,
    /// Where the last record ends.
    pub(crate) end: usize,
}

/// Of several attempts with other salts the one that proves most; the first of equals.
pub(crate) fn most_records(attempts: impl Iterator<Item = Salvaged>) -> Salvaged {
    let better = |best: Salvaged, next: Salvaged| match next.records.len() > best.records.len() {
        true => next,
        false => best,
    };
    attempts.reduce(better).unwrap_or_default()
}

/// Bytes that hold no valid record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DamagedBytes {
    /// Where in the file.
    pub(crate) bytes: Range<usize>,
    /// How many records of [`Salvaged::records`] lie before.
    pub(crate) behind: usize,
    /// Whether a valid record follows. If none does, the bytes may be the torn
    /// tail of a write that nobody was told of.
    pub(crate) followed: bool,
}

impl RecordBytes<'_> {
    /// Reads all of it. `chains` are checksums that the first record may continue.
    /// Takes no memory for payloads; garbage of any kind takes time that grows
    /// as its length.
    pub(crate) fn salvage(self, chains: &[u32]) -> Salvaged {
        let budget = 64 * self.bytes.len() as u64 + (64 << 20);
        let end = self.bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        let mut walk = Walk { file: self, found: Salvaged::default(), end, budget };
        walk.run(chains);
        walk.found
    }

    /// The record at `at`, proven by `chain`, the checksum of all before.
    fn valid(&self, at: usize, chain: u32) -> Option<Record> {
        let record = self.framed(at)?;
        let mut cursor = RecordCursor::new(self.salt, at as u64, chain);
        let payload = &self.bytes[record.payload.clone()];
        let accepted = match ShortFrame::decode(&self.bytes[at..]) {
            Some(short) => cursor.accept_short(&short, payload),
            None => {
                let full = cursor.frame(&self.bytes[at..])?;
                full.flags == 0 && cursor.accept(&full, payload)
            }
        };
        accepted.then_some(record)
    }

    /// What may be a record at `at`: a full frame that is valid, or bytes that
    /// may be a short one.
    fn framed(&self, at: usize) -> Option<Record> {
        let bytes = self.bytes.get(at..)?;
        let (head, payload_len, chain, kind) = match ShortFrame::decode(bytes) {
            Some(short) => {
                let chain = short.body_crc(self.salt, at as u64);
                (SHORT_FRAME_LEN, short.payload_len(), chain, short.kind())
            }
            None => {
                let full = RecordFrame::decode(bytes, self.salt, at as u64)?;
                (RECORD_FRAME_LEN, full.payload_len, full.body_crc, full.kind)
            }
        };
        let payload_len = payload_len as usize;
        let fits = payload_len <= bytes.len().checked_sub(head)? && payload_len <= MAX_RECORD_LEN;
        let payload = at + head..at + head + payload_len;
        let full = head == RECORD_FRAME_LEN;
        (fits && self.kinds.contains(&kind)).then_some(Record { kind, payload, chain, full })
    }
}

/// A record, whole by its own measure.
#[derive(Clone, Debug)]
struct Record {
    kind: u16,
    payload: Range<usize>,
    /// The chained checksum behind it, as its frame says.
    chain: u32,
    /// Whether the frame has a checksum of its own.
    full: bool,
}

impl Record {
    fn next(&self) -> usize {
        self.payload.end.next_multiple_of(RECORD_ALIGN as usize)
    }
}

/// Where reading goes on behind damage.
struct Resumed {
    /// What cannot be read.
    lost: Range<usize>,
    /// The payload of the damaged record, where it could be proven.
    proven: Option<Range<usize>>,
    at: usize,
    chain: u32,
}

struct Walk<'a> {
    file: RecordBytes<'a>,
    found: Salvaged,
    /// Zeros from here on.
    end: usize,
    /// Bytes that may still be summed up in search of a record.
    budget: u64,
}

impl Walk<'_> {
    fn run(&mut self, chains: &[u32]) {
        let mut at = self.file.from;
        let fits = chains.iter().find(|&&chain| self.file.valid(at, chain).is_some());
        let mut chain = fits.or(chains.first()).copied().unwrap_or(0);
        let mut confirmed = 0;
        while at < self.end {
            if let Some(record) = self.file.valid(at, chain) {
                (at, chain) = (record.next(), record.chain);
                self.found.records.push((record.kind, record.payload));
                for damage in &mut self.found.damage[confirmed..] {
                    damage.followed = true;
                }
                confirmed = self.found.damage.len();
                continue;
            }
            match self.resume(at, chain) {
                Some(next) => {
                    if let Some(payload) = next.proven {
                        let kind = self.kind_at(at);
                        self.found.records.push((kind, payload));
                    }
                    self.note(next.lost);
                    (at, chain) = (next.at, next.chain);
                }
                None => {
                    // The last bytes of a record may be zero, or have become so: up to the next
                    // record that could begin.
                    let end = self.end.next_multiple_of(RECORD_ALIGN as usize);
                    self.note(at..end.min(self.file.bytes.len()));
                    break;
                }
            }
        }
        (self.found.chain, self.found.end) = (chain, at);
    }

    /// The kind of a record whose frame is damaged, by its place: what comes
    /// first in a file is of its first kind, and so is everything in a file
    /// whose other kinds have no payload.
    fn kind_at(&self, at: usize) -> u16 {
        let [first, rest @ ..] = self.file.kinds else { return 0 };
        if at == self.file.from || rest.len() < 2 { *first } else { rest[0] }
    }

    fn note(&mut self, bytes: Range<usize>) {
        if !bytes.is_empty() {
            let behind = self.found.records.len();
            self.found.damage.push(DamagedBytes { bytes, behind, followed: false });
        }
    }

    /// Finds where to go on behind the invalid record at `at`.
    fn resume(&mut self, at: usize, chain: u32) -> Option<Resumed> {
        if let Some(record) = self.file.framed(at) {
            let next = record.next();
            // Its payload is damaged, and its frame tells the chain.
            if record.full || self.file.valid(next, record.chain).is_some() {
                let lost = at..next.min(self.file.bytes.len());
                return Some(Resumed { lost, proven: None, at: next, chain: record.chain });
            }
            // Its frame's checksum is damaged, and its payload tells the chain.
            let summed = crc32c_extend(chain, &self.file.bytes[record.payload.clone()]);
            if self.file.valid(next, summed).is_some() {
                let proven = Some(record.payload);
                return Some(Resumed { lost: at..at, proven, at: next, chain: summed });
            }
        }
        let step = RECORD_ALIGN as usize;
        let mut next = at + step;
        while next + SHORT_FRAME_LEN <= self.end.next_multiple_of(step) {
            if let Some(record) = self.file.framed(next)
                && self.is_record(&record)
            {
                return Some(self.joined(at, chain, next, &record));
            }
            next += step;
        }
        None
    }

    /// Whether what is framed is a record for certain: a full frame proves
    /// itself, a short one is proven by a valid record behind it.
    fn is_record(&mut self, record: &Record) -> bool {
        if record.full {
            return true;
        }
        let next = record.next();
        let cost = self.file.framed(next).map_or(0, |following| following.payload.len()) + 64;
        match self.budget.checked_sub(cost as u64) {
            Some(left) => self.budget = left,
            None => return false,
        }
        self.file.valid(next, record.chain).is_some()
    }

    /// Goes on at `record`, which lies at `next`. Its payload is proven when it
    /// leads back to the chain before the damage by way of the damaged record's
    /// payload, which that proves too.
    fn joined(&mut self, at: usize, chain: u32, next: usize, record: &Record) -> Resumed {
        let bytes = self.file.bytes;
        let before = crc32c_before(record.chain, &bytes[record.payload.clone()]);
        for head in [SHORT_FRAME_LEN, RECORD_FRAME_LEN] {
            for padding in 0..RECORD_ALIGN as usize {
                let start = at + head;
                let Some(end) = next.checked_sub(padding).filter(|&end| end > start) else {
                    continue;
                };
                let zeros = bytes[end..next].iter().all(|&b| b == 0);
                if zeros && crc32c_extend(chain, &bytes[start..end]) == before {
                    let proven = Some(start..end);
                    return Resumed { lost: at..at, proven, at: next, chain: before };
                }
            }
        }
        // Its own payload is not proven; what follows is.
        let (at_next, chain) = (record.next(), record.chain);
        let end = if record.payload.is_empty() { next } else { at_next.min(bytes.len()) };
        Resumed { lost: at..end, proven: None, at: at_next, chain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanada_format::{DatabaseId, RecordFile};

    fn salt() -> RecordSalt {
        RecordSalt::new(RecordFile::Log, DatabaseId([7; 16]), 3)
    }

    /// Records with full and short frames, a mark behind them, and zeros.
    fn written() -> (Vec<u8>, Vec<Vec<u8>>, Vec<Range<usize>>) {
        let mut file = vec![0; 64];
        let mut at = RecordCursor::new(salt(), 64, 9);
        let payloads: Vec<Vec<u8>> =
            (0..12).map(|n| (0..10 + 3 * n).map(|i| (i * 7 + n) as u8).collect()).collect();
        let mut places = Vec::new();
        for (n, payload) in payloads.iter().enumerate() {
            let start = file.len();
            if n % 5 == 0 {
                file.extend(at.write(1, 0, &[payload]));
            } else {
                file.extend(at.write_short(1, &[payload]));
            }
            file.extend(payload);
            file.resize(file.len().next_multiple_of(8), 0);
            places.push(start..file.len());
        }
        file.extend(at.write(2, 0, &[]));
        file.resize(file.len() + 300, 0);
        (file, payloads, places)
    }

    fn salvage(file: &[u8], chains: &[u32]) -> Salvaged {
        RecordBytes { bytes: file, salt: salt(), from: 64, kinds: &[1, 2] }.salvage(chains)
    }

    fn payloads(file: &[u8], found: &Salvaged) -> Vec<Vec<u8>> {
        let groups = found.records.iter().filter(|(kind, _)| *kind == 1);
        groups.map(|(_, payload)| file[payload.clone()].to_vec()).collect()
    }

    #[test]
    fn whole_records_are_all_found_whichever_chain_they_continue() {
        let (file, all, _) = written();
        for chains in [&[9][..], &[1, 9]] {
            let found = salvage(&file, chains);
            assert_eq!(payloads(&file, &found), all);
            assert!(found.damage.is_empty());
        }
    }

    #[test]
    fn a_changed_byte_takes_the_record_it_lies_in_and_no_other() {
        let (good, all, places) = written();
        let mut saved_though_hit = 0;
        for at in 64..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut file = good.clone();
                file[at] ^= flip;
                let found = salvage(&file, &[9]);
                let read = payloads(&file, &found);
                let hit = places.iter().position(|place| place.contains(&at));
                let others = (0..).zip(&all).filter(|(n, _)| Some(*n) != hit);
                let without: Vec<_> = others.map(|(_, payload)| payload.clone()).collect();
                assert!(read == all || read == without, "byte {at} ^ {flip:#x}: {read:?}");
                saved_though_hit += usize::from(hit.is_some() && read == all);
                if read != all {
                    assert_eq!(found.damage.len(), 1, "byte {at}");
                    assert!(found.damage[0].followed, "the mark follows");
                }
            }
        }
        assert!(saved_though_hit > 300, "damaged frames lose nothing: {saved_though_hit}");
    }

    #[test]
    fn a_last_record_whose_last_byte_became_zero_is_lost_up_to_that_byte() {
        let (good, all, places) = written();
        let (last, end) = (places[11].clone(), places[10].end + SHORT_FRAME_LEN + all[11].len());
        let mut file = good[..last.end].to_vec();
        assert_ne!(std::mem::take(&mut file[end - 1]), 0);
        file.resize(file.len() + 300, 0);
        let found = salvage(&file, &[9]);
        assert_eq!(payloads(&file, &found), all[..11]);
        assert_eq!(found.damage.len(), 1);
        assert_eq!(found.damage[0].bytes, last);
    }

    #[test]
    fn a_file_cut_anywhere_gives_the_records_before_the_cut() {
        let (good, all, places) = written();
        for len in 0..good.len() {
            let file = &good[..len];
            let found = salvage(file, &[9]);
            let whole = places.iter().filter(|place| place.end <= len).count();
            let read = payloads(file, &found);
            assert!(read.len() >= whole && read[..] == all[..read.len()], "cut at {len}");
        }
    }

    #[test]
    fn garbage_ends() {
        let mut dice = 1u64;
        for fill in 0..40 {
            let garbage: Vec<u8> = (0..30_000)
                .map(|i| {
                    dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if fill % 3 == 0 {
                        (dice >> 56) as u8
                    } else {
                        [0x81, 0, 1, 0xff][(i + fill) % 4]
                    }
                })
                .collect();
            assert!(salvage(&garbage, &[]).records.is_empty());
        }
    }
}
