//! What `verify` says of logs while the database is open and takes writes.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use tanada::vfs::MemoryMachine;
use tanada::{Db, Durability};

const DIR: &str = "/db";

/// A database whose writes are in several logs and in no table, and those logs by id.
fn several_logs(machine: &MemoryMachine) -> (Db, Vec<PathBuf>) {
    let builder = Db::builder(DIR).memory(256 << 20).durability(Durability::Buffered);
    let db = builder.env(machine.env()).open().unwrap();
    let mut n = 0u32;
    while db.stats().wal.files < 3 {
        db.put(n.to_be_bytes(), vec![7; 50_000]).unwrap();
        n += 1;
        assert!(n < 5_000, "it never begins a third log");
    }
    assert_eq!(db.stats().flush.jobs, 0, "nothing has been flushed");
    let names = machine.env().fs.read_dir(Path::new(DIR)).unwrap();
    let names = names.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(".log"));
    (db, names.map(|name| Path::new(DIR).join(name)).collect())
}

/// Puts other bytes into a file's place.
fn rewrite(machine: &MemoryMachine, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let fs = machine.env().fs;
    let file = fs.open(path).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    change(&mut bytes);
    fs.remove(path).unwrap();
    fs.create(path).unwrap().append(&bytes).unwrap();
}

fn damage_of(db: &Db, path: &Path, says: &str) {
    let damage = db.verify().unwrap().damage;
    let name = path.file_name().unwrap().to_string_lossy();
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert!(damage[0].contains(&*name) && damage[0].contains(says), "{name}: {damage:?}");
    // The database goes on.
    db.put("more", "value").unwrap();
}

#[test]
fn damage_in_any_needed_log_is_named_with_its_own_file() {
    for at in 0..2 {
        let machine = MemoryMachine::new(1);
        let (db, logs) = several_logs(&machine);
        let whole = db.verify().unwrap();
        assert_eq!((whole.damage, whole.log_records > 3), (Vec::new(), true));
        rewrite(&machine, &logs[at], |bytes| bytes[200_000] ^= 1);
        damage_of(&db, &logs[at], "the log ends before records that it held");
    }
}

#[test]
fn a_needed_log_that_is_gone_or_without_a_header_is_told() {
    let machine = MemoryMachine::new(1);
    let (db, logs) = several_logs(&machine);
    rewrite(&machine, &logs[0], |bytes| bytes[..4096].fill(0));
    damage_of(&db, &logs[0], "header");
    machine.env().fs.remove(&logs[0]).unwrap();
    damage_of(&db, &logs[0], "missing");
}

/// Its first log holds no record that any MemTable needs.
#[test]
fn a_log_without_records_is_looked_at_if_the_manifest_names_it() {
    let machine = MemoryMachine::new(1);
    let (db, _) = several_logs(&machine);
    db.flush().unwrap();
    assert_eq!(db.verify().unwrap().damage, Vec::<String>::new());
    let names = machine.env().fs.read_dir(Path::new(DIR)).unwrap();
    let logs = names.into_iter().filter(|entry| entry.name.ends_with(".log"));
    for log in logs {
        machine.env().fs.remove(&Path::new(DIR).join(log.name)).unwrap();
    }
    let damage = db.verify().unwrap().damage;
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert!(damage[0].contains(".log"), "{damage:?}");
}
