//! What fuzzers call: logs, manifests, compaction jobs and whole directories, from any bytes.
//!
//! Compiled for fuzzers (feature `fuzzing`, see `fuzz/`) and for tests, which run
//! the committed corpora. Each function panics when a rule is broken, and else
//! says nothing.

use crate::tree::compaction::fuzz as compaction_fuzz;
use crate::tree::manifest::Known;
use crate::tree::manifest::fuzz as manifest_fuzz;
use crate::wal::group::{Group, GroupEntry, GroupHeader, encode_entry};
use crate::wal::salvage::{SalvagedLog, database_of};
use crate::wal::{RecoverFrom, recover};
use crate::{Db, repair};
use std::path::Path;
use tanada_format::{DatabaseId, LogId, LogPosition, WriterEpoch};
use tanada_vfs::MemoryMachine;

const DIR: &str = "/db";
/// Epochs that files without headers may be of.
const EPOCHS: [WriterEpoch; 2] = [WriterEpoch(0), WriterEpoch(7)];

/// A log file. What recovery visits, salvage finds too, and both come to an end.
pub fn log(data: &[u8]) {
    let machine = machine(&[("000001.log".to_owned(), data)]);
    let env = machine.env();
    let database = database_of(data).unwrap_or(DatabaseId([0; 16]));
    let from = RecoverFrom { log: LogId(1), synced: LogPosition(0) };
    let mut visited: Vec<Vec<u8>> = Vec::new();
    let _ = recover(&env, Path::new(DIR), database, from, |_, payload| {
        visited.push(payload.to_vec());
        Ok(())
    });
    let path = Path::new(DIR).join("000001.log");
    let Ok(saved) = SalvagedLog::read(data, &path, database, LogId(1), &EPOCHS, None) else {
        return;
    };
    let saved: Vec<&[u8]> = saved.groups.iter().map(|g| &data[g.payload.clone()]).collect();
    for payload in visited {
        assert!(!is_group(&payload) || saved.contains(&&payload[..]), "salvage finds all groups");
    }
}

fn is_group(payload: &[u8]) -> bool {
    Group::parse(payload).is_ok_and(|group| group.entries().all(|entry| entry.is_ok()))
}

/// A commit group, which may have been written by anybody under a right
/// checksum. One that is read whole is written again with the same meaning.
pub fn commit_group(data: &[u8]) {
    let Ok(group) = Group::parse(data) else { return };
    let Ok(entries) = group.entries().collect::<Result<Vec<_>, _>>() else { return };
    let mut again = GroupHeader::new(group.first_seqno, group.count).bytes().to_vec();
    for (keyspace, entry) in &entries {
        let keyspace = *keyspace;
        let (kind, expires_at_ms) = (entry.kind, entry.expires_at_ms);
        let (key, value) = (entry.key, entry.value);
        encode_entry(&mut again, &GroupEntry { keyspace, kind, expires_at_ms, key, value });
    }
    let group = Group::parse(&again).expect("it has just been written");
    assert!(group.entries().map(|entry| entry.expect("as above")).eq(entries));
}

/// A manifest, and the same bytes as an edit.
pub fn manifest(data: &[u8]) {
    manifest_fuzz::edit(data);
    let machine = machine(&[("MANIFEST-000001".to_owned(), data)]);
    let fs = machine.env().fs;
    let database = manifest_fuzz::read(&*fs, Path::new(DIR), data);
    let known = Known::read(&*fs, Path::new(DIR), &EPOCHS, |_| database);
    if let (Some(_), Ok((_, known))) = (database, known) {
        assert!(known.removed.iter().all(|id| !known.tables.contains_key(id)));
    }
}

/// A compaction job and its outputs, and the same bytes as their fields.
pub fn job(data: &[u8]) {
    compaction_fuzz::job(data);
}

/// A directory of files: of each a byte for its name, two for its length, and
/// its bytes. Opening and repairing it come to an end, and what repair writes
/// opens and verifies.
pub fn directory(data: &[u8]) {
    let files = unpack(data);
    let machine = machine(&files);
    let env = machine.env();
    let builder = |dir: &str| {
        Db::builder(dir).env(env.clone()).memory(16 << 20).threads(1).create_if_missing(false)
    };
    let repaired = repair(&env, DIR, "/saved");
    if let Ok(db) = builder(DIR).open() {
        let _ = (db.verify(), db.iter().take(1000).count(), db.get("key"));
    }
    if repaired.is_ok() {
        let db = builder("/saved").open().expect("what repair writes opens");
        let damage = db.verify().expect("it is open").damage;
        assert!(damage.is_empty(), "{damage:?}");
        assert!(db.iter().all(|entry| entry.is_ok()));
    }
}

/// Names that [`directory`] knows.
const NAMES: [&str; 8] = [
    "CURRENT",
    "MANIFEST-000001",
    "MANIFEST-000002",
    "000001.log",
    "000002.log",
    "000001.sst",
    "000002.sst",
    "000003.sst",
];

fn unpack(mut data: &[u8]) -> Vec<(String, &[u8])> {
    let mut files: Vec<(String, &[u8])> = Vec::new();
    while let Some(([name, a, b], rest)) = data.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes([*a, *b])).min(rest.len());
        let (bytes, rest) = rest.split_at(len);
        let name = NAMES[usize::from(*name) % NAMES.len()].to_owned();
        if files.iter().all(|(other, _)| *other != name) {
            files.push((name, bytes));
        }
        data = rest;
    }
    files
}

fn machine(files: &[(String, &[u8])]) -> MemoryMachine {
    let machine = MemoryMachine::new(1);
    let fs = machine.env().fs;
    fs.create_dir_all(Path::new(DIR)).expect("the machine is new");
    for (name, bytes) in files {
        let mut file = fs.create(&Path::new(DIR).join(name)).expect("the name is free");
        file.append(bytes).expect("there is room");
    }
    machine
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::manifest::Edit;
    use crate::wal::group::GroupHeader;
    use tanada_format::{KeyspaceId, SeqNo, ValueKind};
    use tanada_vfs::Env;

    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let fs = Env::real().fs;
        let read = |name: &str| {
            let file = fs.open(&dir.join(name)).unwrap();
            let mut bytes = vec![0; file.len() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        };
        let names = fs.read_dir(&dir).unwrap();
        let inputs: Vec<_> = names.iter().map(|entry| read(&entry.name)).collect();
        assert!(!inputs.is_empty(), "{target} has a corpus");
        inputs
    }

    /// Every input of the corpus, and each with a byte changed and cut, at about
    /// so many places.
    fn run(target: &str, places: usize, body: fn(&[u8])) {
        for input in corpus(target) {
            body(&input);
            for at in (0..input.len()).step_by(1 + input.len() / places) {
                let mut bytes = input.clone();
                for flip in [0x01, 0x80, 0xff] {
                    bytes[at] = input[at] ^ flip;
                    body(&bytes);
                }
                body(&input[..at]);
            }
        }
    }

    #[test]
    fn the_corpus_of_logs_breaks_no_rule() {
        run("log", 300, log);
    }

    #[test]
    fn the_corpus_of_commit_groups_breaks_no_rule() {
        run("commit_group", 1000, commit_group);
    }

    #[test]
    fn the_corpus_of_manifests_breaks_no_rule() {
        run("manifest", 300, manifest);
    }

    #[test]
    fn the_corpus_of_jobs_breaks_no_rule() {
        run("job", 1000, job);
    }

    #[test]
    fn the_corpus_of_directories_breaks_no_rule() {
        run("directory", 40, directory);
    }

    /// Compares with the corpus, or writes it with `TANADA_WRITE_GOLDEN=1`.
    fn keep(target: &str, name: &str, bytes: &[u8]) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let fs = Env::real().fs;
        if std::env::var_os("TANADA_WRITE_GOLDEN").is_some() {
            fs.create_dir_all(&dir).unwrap();
            let path = dir.join(name);
            if fs.exists(&path).unwrap() {
                fs.remove(&path).unwrap();
            }
            fs.create(&path).unwrap().append(bytes).unwrap();
        }
        let inputs = corpus(target);
        assert!(
            inputs.iter().any(|input| input == bytes),
            "{target}/{name} is written differently"
        );
    }

    #[test]
    fn the_corpora_begin_with_what_is_written_today() {
        let machine = MemoryMachine::new(3);
        let env = machine.env();
        let db = Db::builder(DIR).env(env.clone()).memory(16 << 20).threads(1).open().unwrap();
        for i in 0..20 {
            db.put(format!("key:{i:02}"), format!("value {i}")).unwrap();
        }
        db.flush().unwrap();
        db.delete("key:03").unwrap();
        db.put("logged", "not in a table").unwrap();
        db.close().unwrap();
        drop(db);
        let mut packed = Vec::new();
        for entry in env.fs.read_dir(Path::new(DIR)).unwrap() {
            let file = env.fs.open(&Path::new(DIR).join(&entry.name)).unwrap();
            let mut bytes = vec![0; file.len() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            let used = bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
            if entry.name.ends_with(".log") {
                bytes.truncate(used + 16);
                keep("log", &entry.name, &bytes);
            } else if entry.name.starts_with("MANIFEST") {
                keep("manifest", &entry.name, &bytes);
            }
            if let Some(name) = NAMES.iter().position(|name| *name == entry.name) {
                packed.push(name as u8);
                packed.extend((bytes.len() as u16).to_le_bytes());
                packed.extend(&bytes);
            }
        }
        assert_eq!(unpack(&packed).len(), 4, "CURRENT, manifest, log, table");
        keep("directory", "small", &packed);
        for (name, bytes) in ["job", "outputs"].into_iter().zip(compaction_fuzz::samples()) {
            keep("job", name, &bytes);
            // Behind the header, as fields alone.
            keep("job", &format!("{name}-fields"), &bytes[56..]);
        }
        keep("manifest", "edit", &manifest_fuzz::encoded(&Edit::default()));
        let mut group = GroupHeader::new(SeqNo(9), 2).bytes().to_vec();
        for (kind, value) in [(ValueKind::Put, &b"value"[..]), (ValueKind::Delete, &b""[..])] {
            let (keyspace, expires_at_ms) = (KeyspaceId(300), 1_700_000_000_000);
            encode_entry(
                &mut group,
                &GroupEntry { keyspace, kind, expires_at_ms, key: b"k", value },
            );
        }
        keep("commit_group", "two", &group);
    }
}
