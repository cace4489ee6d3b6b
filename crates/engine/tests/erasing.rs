//! What is left on disk of what nobody needs: nothing, once a compaction by hand has
//! returned, the last reader has gone, or the database is closed; and every byte that is
//! left meanwhile is counted.
#![allow(clippy::unwrap_used)]

#[path = "../../vfs/tests/house/patience.rs"]
mod patience;

use std::path::Path;
use tanada::vfs::memory::Dice;
use tanada::vfs::{Env, MemoryMachine};
use tanada::{Builder, Compression, Db, Durability, KeyspaceOptions};

/// Names and bytes of all files.
fn files(env: &Env, dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = env.fs.read_dir(dir).unwrap();
    let read = |name: String| {
        // It may go while this looks.
        let file = env.fs.open(&dir.join(&name)).ok()?;
        let mut bytes = vec![0; file.len() as usize];
        file.read_exact_at(&mut bytes, 0).ok()?;
        Some((name, bytes))
    };
    entries.into_iter().filter_map(|entry| read(entry.name)).collect()
}

/// Files in which these bytes are found.
fn holders(env: &Env, dir: &Path, wanted: &[u8]) -> Vec<String> {
    let found = |bytes: &[u8]| bytes.windows(wanted.len()).any(|part| part == wanted);
    files(env, dir).into_iter().filter(|(_, b)| found(b)).map(|(name, _)| name).collect()
}

fn tables_on_disk(env: &Env, dir: &Path) -> u64 {
    let entries = env.fs.read_dir(dir).unwrap();
    entries.iter().filter(|entry| entry.name.ends_with(".sst")).count() as u64
}

fn tables(db: &Db) -> u64 {
    db.stats().keyspaces.iter().flat_map(|k| &k.levels).map(|level| level.tables).sum()
}

fn builder(env: &Env, dir: &Path) -> Builder {
    let builder = Db::builder(dir).memory(16 << 20).compression(Compression::None);
    builder.durability(Durability::Buffered).env(env.clone())
}

/// One that is at its first key.
fn reader(db: &Db) -> tanada::Iter {
    let mut reader = db.iter();
    reader.next().unwrap().unwrap();
    reader
}

const SECRET: &[u8] = b"the value that must not be found again";

/// A small log that was flushed stayed until the next one was begun, and one that another
/// keyspace needed stayed for that.
#[test]
fn nothing_of_an_erased_value_is_on_disk_once_a_compaction_by_hand_has_returned() {
    let machine = MemoryMachine::new(1);
    let (env, dir) = (machine.env(), Path::new("/db"));
    for round in 0..5 {
        let db = builder(&env, dir).open().unwrap();
        let other = db.keyspace("other", KeyspaceOptions::new()).unwrap();
        other.put("needs", "the log").unwrap();
        db.put("key", SECRET).unwrap();
        db.put("another", SECRET).unwrap();
        match round {
            0 => {}
            1 => db.flush().unwrap(),
            2 => drop(db.compact(..).unwrap()),
            3 => db.default_keyspace().flush().unwrap(),
            _ => {
                db.close().unwrap();
                drop(db);
                let db = builder(&env, dir).open().unwrap();
                erase(&db, &env, dir);
                continue;
            }
        }
        erase(&db, &env, dir);
        assert_eq!(other.get("needs").unwrap().as_deref(), Some(&b"the log"[..]));
    }
}

fn erase(db: &Db, env: &Env, dir: &Path) {
    assert!(!holders(env, dir, SECRET).is_empty());
    db.delete("key").unwrap();
    db.put("another", "something else").unwrap();
    db.compact(..).unwrap();
    assert_eq!(holders(env, dir, SECRET), [""; 0]);
    let before = env.fs.read_dir(dir).unwrap().len();
    db.compact(..).unwrap();
    assert_eq!(env.fs.read_dir(dir).unwrap().len(), before, "there is nothing more to do");
}

/// Outputs of jobs in flight have later ids and old contents: taken for later writes, up to
/// sixteen tables of level 0 stayed, with what was deleted in them.
#[test]
fn a_compaction_by_hand_beside_those_of_the_background_leaves_no_work_undone() {
    for seed in 0..4 {
        let tmp = tempfile::tempdir().unwrap();
        let (env, dir) = (Env::real(), tmp.path().join("db"));
        let db = builder(&env, &dir).open().unwrap();
        let mut dice = Dice::new(seed);
        for _ in 0..2 {
            for n in 0..6_000u32 {
                let mut value = vec![0; 2_000];
                value[..8].copy_from_slice(&dice.next_u64().to_le_bytes());
                value[100..100 + SECRET.len()].copy_from_slice(SECRET);
                let value = if n % 150 == 0 { &value[..] } else { &value[..90] };
                let mut long = value.to_vec();
                long.resize(2_000, n as u8);
                db.put(n.to_be_bytes(), long).unwrap();
            }
        }
        for n in (0..6_000u32).step_by(150) {
            db.delete(n.to_be_bytes()).unwrap();
        }
        db.compact(..).unwrap();
        let levels = &db.stats().keyspaces[0].levels;
        let (last, above) = levels.split_last().unwrap();
        assert!(above.iter().all(|level| level.tables == 0), "seed {seed}: {above:?}");
        assert_eq!((last.runs, last.tombstones), (1, 0), "seed {seed}");
        assert_eq!(last.entries, 6_000 - 40);
        assert_eq!(tables_on_disk(&env, &dir), last.tables, "seed {seed}: replaced tables stay");
        assert_eq!(holders(&env, &dir, SECRET), [""; 0], "seed {seed}");
        db.close().unwrap();
    }
}

#[test]
fn closing_removes_the_tables_that_the_last_job_has_replaced() {
    let tmp = tempfile::tempdir().unwrap();
    let (env, dir) = (Env::real(), tmp.path().join("db"));
    let db = builder(&env, &dir).open().unwrap();
    for round in 0..40u8 {
        db.put([round % 7], vec![round; 20_000]).unwrap();
        db.flush().unwrap();
    }
    let held = reader(&db);
    db.compact(..).unwrap();
    assert!(db.stats().obsolete.held_tables > 0);
    drop(held);
    let expected = tables(&db);
    db.close().unwrap();
    assert_eq!(tables_on_disk(&env, &dir), expected);
}

/// The last reader of replaced tables went, nobody wrote, and they stayed for good.
#[test]
fn tables_go_with_their_last_reader_though_nothing_else_happens() {
    let tmp = tempfile::tempdir().unwrap();
    let (env, dir) = (Env::real(), tmp.path().join("db"));
    let db = builder(&env, &dir).open().unwrap();
    for round in 0..3u8 {
        db.put([round % 2], vec![round; 20_000]).unwrap();
        db.flush().unwrap();
    }
    let held = reader(&db);
    db.compact(..).unwrap();
    let obsolete = db.stats().obsolete;
    assert!(obsolete.held_tables > 0 && obsolete.held_bytes > 20_000, "{obsolete:?}");
    drop(held);
    // It never comes when nobody tells the thread that removes them.
    patience::until("replaced tables are removed", || tables_on_disk(&env, &dir) <= tables(&db));
    let obsolete = db.stats().obsolete;
    assert_eq!((obsolete.held_tables, obsolete.held_bytes), (0, 0));
}

/// Logs and tables that nobody needed took 1.8 GiB of a disk, and no statistic knew.
#[test]
fn every_byte_on_disk_is_counted_by_some_statistic() {
    let machine = MemoryMachine::new(1);
    let (env, dir) = (machine.env(), Path::new("/db"));
    let db = builder(&env, dir).open().unwrap();
    let check = |db: &Db| {
        let stats = db.stats();
        let tables: u64 = stats.keyspaces.iter().map(|k| k.table_bytes).sum();
        let obsolete = stats.obsolete.bytes + stats.obsolete.held_bytes;
        let counted = tables + stats.wal.bytes_on_disk + obsolete;
        let is_data = |name: &str| name.ends_with(".sst") || name.ends_with(".log");
        let on_disk = files(&env, dir).into_iter().filter(|(name, _)| is_data(name));
        let on_disk: u64 = on_disk.map(|(_, bytes)| bytes.len() as u64).sum();
        assert_eq!(counted, on_disk, "{stats:?}");
        stats.obsolete
    };
    let mut held = None;
    let mut most_held = 0;
    for round in 0..300u32 {
        if round % 50 == 10 {
            drop(held.replace(reader(&db)));
        }
        for key in 0..8u8 {
            db.put([key], vec![round as u8; 10_000]).unwrap();
        }
        if round % 50 == 30 {
            db.compact(..).unwrap();
        }
        let obsolete = check(&db);
        most_held = most_held.max(obsolete.held_bytes);
        assert_eq!(obsolete.files, 0, "whoever wrote has removed them");
    }
    assert!(most_held > 0, "some were held");
    drop(held);
    db.flush().unwrap();
    db.put("one more", "write").unwrap();
    assert_eq!(check(&db).held_bytes, 0);
}
