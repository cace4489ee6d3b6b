//! Every byte of a golden database changed, every file cut at every length:
//! the right answer, or an error that names file and offset. Never a wrong
//! answer, never a key that is silently gone, never a panic; and `verify` finds
//! each change that matters.
//!
//! A run looks at a part of the places, as many as CI has time for;
//! `TANADA_EXHAUSTIVE=1` (`cargo xtask damage`) looks at all of them.

mod house;

use house::{
    Contents, DIR, Expected, Files, GOLDEN, Golden, files_of, is_log, is_table, kept, machine,
    make, open, replace, used,
};
use std::ops::Range;
use std::path::Path;
use tanada::vfs::MemoryMachine;
use tanada::{Db, Error, Keyspace, KeyspaceOptions};
use tanada_format::{
    DatabaseId, RecordCursor, RecordFile, RecordSalt, SHORT_FRAME_LEN, ShortFrame,
};

/// Refused openings of which one has its files compared: these are long.
const COMPARE_EVERY: u64 = 10;

/// A golden database, damaged again and again.
struct Patient {
    files: Files,
    whole: MemoryMachine,
    expected: [Contents; 2],
}

impl Patient {
    fn new(golden: Golden) -> Patient {
        let files = kept(golden);
        let whole = machine(&files);
        let now_ms = whole.env().clock.wall_ms();
        let expected: Expected = make(golden).1;
        let expected = [expected.contents(0, now_ms), expected.contents(1, now_ms)];
        Patient { files, whole, expected }
    }

    /// The machine with other bytes in one file.
    fn with(&self, name: &str, bytes: &[u8]) -> MemoryMachine {
        let machine = self.whole.kill();
        replace(&machine, name, bytes);
        machine
    }

    /// Reads everything; whatever is answered is right. Answers the errors.
    fn read(&self, db: &Db) -> Vec<Error> {
        let mut errors = Vec::new();
        let second = db.keyspace("second", KeyspaceOptions::new()).expect("it is there");
        for (space, contents) in [db.default_keyspace(), &second].into_iter().zip(&self.expected) {
            self.read_one(space, contents, &mut errors);
        }
        errors
    }

    fn read_one(&self, space: &Keyspace, contents: &Contents, errors: &mut Vec<Error>) {
        for (key, (value, seqno, expires_at_ms)) in contents {
            match space.get_record(key) {
                Ok(Some(record)) => {
                    let read = (&*record.value, record.version.0, record.expires_at.map(|at| at.0));
                    assert_eq!(read, (&value[..], *seqno, *expires_at_ms), "{key:?}");
                }
                Ok(None) => panic!("{} is gone without an error", key.escape_ascii()),
                Err(e) => errors.push(e),
            }
        }
        for gone in ["deleted later", "deleted in the log", "terrace:0007", "nowhere"] {
            match space.get(gone) {
                Ok(None) => {}
                Ok(Some(value)) => panic!("{gone} has come back: {value:?}"),
                Err(e) => errors.push(e),
            }
        }
        let mut wanted = contents.iter();
        for entry in space.iter() {
            match entry {
                Ok((key, value)) => {
                    let (wanted, (wanted_value, ..)) = wanted.next().expect("no key too many");
                    assert_eq!((&*key, &*value), (&wanted[..], &wanted_value[..]));
                }
                Err(e) => return errors.push(e),
            }
        }
        assert_eq!(wanted.next(), None, "a scan that ends without an error is complete");
    }

    /// Whether nothing was changed, but that one file has these bytes.
    fn is_left_as_it_was(&self, left: &Files, name: &str, bytes: &[u8]) -> bool {
        let was = |other: &str| if other == name { bytes } else { &self.files[other] };
        left.keys().eq(self.files.keys()) && left.iter().all(|(name, found)| found == was(name))
    }

    fn is_as_expected(&self, db: &Db) -> bool {
        self.read(db).is_empty()
    }
}

/// Damage, and the sentence names the file and a place in it.
fn names(error: &Error, file: &str) -> bool {
    let text = error.to_string();
    matches!(error, Error::Corruption(_)) && text.contains(file) && text.contains("at offset")
}

/// Bytes of a file that may be changed and nothing is missed; all others matter.
///
/// - In a log: what lies behind its last record, and the zeros that pad a record.
/// - In a manifest: padding, and the marker behind the last edit.
fn harmless(files: &Files, name: &str) -> Vec<Range<usize>> {
    let bytes = &files[name];
    let (from, file, chain) = if is_log(name) {
        let chain = u32::from_le_bytes(bytes[80..84].try_into().expect("4 bytes"));
        (256, RecordFile::Log, chain)
    } else if name.starts_with("MANIFEST") {
        (128, RecordFile::Manifest, 0)
    } else {
        return Vec::new();
    };
    let database = DatabaseId(bytes[32..48].try_into().expect("16 bytes"));
    let number = u64::from_le_bytes(bytes[48..56].try_into().expect("8 bytes"));
    let salt = RecordSalt::new(file, database, number);
    let mut at = RecordCursor::new(salt, from, chain);
    let mut harmless = Vec::new();
    let mut last_mark = None;
    loop {
        let start = at.offset() as usize;
        let Some(rest) = bytes.get(start..).filter(|rest| rest.len() >= SHORT_FRAME_LEN) else {
            break;
        };
        let (head, payload_len, accepted);
        if let Some(short) = ShortFrame::decode(rest) {
            (head, payload_len) = (SHORT_FRAME_LEN, short.payload_len() as usize);
            accepted = at.accept_short(&short, &rest[head..head + payload_len]);
            last_mark = None;
        } else if let Some(full) = at.frame(rest) {
            (head, payload_len) = (24, full.payload_len as usize);
            accepted = at.accept(&full, &rest[head..head + payload_len]);
            last_mark = (payload_len == 0).then_some(start..start + head);
        } else {
            break;
        }
        assert!(accepted, "{name}: a golden record is whole");
        harmless.push(start + head + payload_len..at.offset() as usize);
    }
    harmless.push(at.offset() as usize..bytes.len());
    harmless.extend(last_mark.filter(|_| !is_log(name)));
    harmless
}

fn exhaustive() -> bool {
    std::env::var_os("TANADA_EXHAUSTIVE").is_some()
}

/// The places of a file that this run changes: all up to the last byte that is
/// not zero and some behind it, or a part of them.
fn places(name: &str, bytes: &[u8]) -> impl Iterator<Item = usize> {
    let end = if is_log(name) { (used(bytes) + 64).min(bytes.len()) } else { bytes.len() };
    let step = if exhaustive() { 1 } else { if is_table(name) { 7 } else { 2 } };
    // Footer, properties and indexes of a table lie at its end.
    let dense = end.saturating_sub(if is_table(name) { 160 } else { 0 });
    (0..end).filter(move |at| at % step == 0 || *at >= dense)
}

/// The byte changed in three ways, or in one of them.
fn flips(at: usize, byte: u8) -> impl Iterator<Item = u8> {
    let all = [byte ^ 0x01, byte ^ 0xff, 0];
    let one = at % 3;
    (0..3)
        .filter(move |n| exhaustive() || *n == one)
        .map(move |n| all[n])
        .filter(move |b| *b != byte)
}

fn every_change_is_noticed(golden: Golden) {
    let patient = Patient::new(golden);
    let mut noticed = 0u64;
    for (name, good) in &patient.files {
        let harmless = harmless(&patient.files, name);
        for at in places(name, good) {
            for byte in flips(at, good[at]) {
                let mut bytes = good.clone();
                bytes[at] = byte;
                let machine = patient.with(name, &bytes);
                let place = format!("{}/{name} byte {at} = {byte:#04x}", golden.name);
                let matters = !harmless.iter().any(|range| range.contains(&at));
                let db = match open(&machine, DIR) {
                    Ok(db) => db,
                    Err(e) => {
                        assert!(matters && names(&e, name), "{place}: {e}");
                        noticed += 1;
                        if noticed.is_multiple_of(COMPARE_EVERY) {
                            let left = files_of(&machine.env(), Path::new(DIR));
                            assert!(patient.is_left_as_it_was(&left, name, &bytes), "{place}");
                        }
                        continue;
                    }
                };
                let errors = patient.read(&db);
                let report = db.verify().expect("what is wrong is in the report");
                if matters {
                    let found = report.damage.iter().any(|what| what.contains(name.as_str()));
                    assert!(found, "{place}: verify says {:?}", report.damage);
                    assert!(errors.iter().all(|e| names(e, name)), "{place}: {errors:?}");
                    noticed += 1;
                } else {
                    assert!(errors.is_empty(), "{place}: {errors:?}");
                    assert_eq!(report.damage, Vec::<String>::new(), "{place}");
                }
            }
        }
    }
    assert!(noticed > 1000, "{noticed} changes were noticed");
}

#[test]
fn every_changed_byte_of_an_uncompressed_database_is_noticed() {
    every_change_is_noticed(GOLDEN[0]);
}

#[test]
fn every_changed_byte_of_a_database_with_lz4_is_noticed() {
    every_change_is_noticed(GOLDEN[1]);
}

#[test]
fn every_changed_byte_of_a_database_with_zstd_is_noticed() {
    every_change_is_noticed(GOLDEN[2]);
}

/// What a file may lose at its end without anybody noticing: see "What cannot
/// be told" in docs/format/log.md, and "Opening" in docs/format/manifest.md.
/// In a golden database there is nothing of that kind but the last marks.
#[test]
fn a_file_cut_at_any_length_gives_the_right_answers_or_an_error() {
    for golden in GOLDEN {
        let patient = Patient::new(golden);
        for (name, good) in &patient.files {
            let end = if is_log(name) { used(good) + 64 } else { good.len() };
            let step = if exhaustive() { 1 } else { 5 };
            let lengths = (0..end).filter(|len| len % step == 0 || end - len < 40);
            for len in lengths.chain([good.len() - 1]) {
                let machine = patient.with(name, &good[..len]);
                let place = format!("{}/{name} cut at {len}", golden.name);
                match open(&machine, DIR) {
                    Ok(db) => {
                        assert!(!is_table(name) && name != "CURRENT", "{place}");
                        assert!(patient.is_as_expected(&db), "{place}");
                        let damage = db.verify().expect("as above").damage;
                        assert_eq!(damage, Vec::<String>::new(), "{place}");
                    }
                    // A manifest cut at an edit is whole, and names what is gone.
                    Err(Error::MissingFile { .. }) => assert!(name.starts_with("MANIFEST")),
                    Err(e) if name.starts_with("MANIFEST") => {
                        assert!(matches!(e, Error::Corruption(_)), "{place}: {e}");
                    }
                    Err(e) => assert!(names(&e, name), "{place}: {e}"),
                }
            }
        }
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for golden in GOLDEN {
        let patient = Patient::new(golden);
        let logs = || patient.files.keys().filter(|name| is_log(name));
        for name in patient.files.keys() {
            let machine = patient.whole.kill();
            let path = Path::new(DIR).join(name);
            machine.env().fs.remove(&path).expect("it was there");
            match open(&machine, DIR) {
                Err(Error::MissingFile { file }) => assert_eq!(file, path),
                // That the last log is gone as a whole cannot be told, unless the
                // manifest knows that some of it was synced.
                other => assert!(Some(name) == logs().next_back(), "{name}: {:?}", other.err()),
            }
        }
    }
}
