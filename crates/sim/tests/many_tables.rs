//! Databases of many tables in processes that may have few files open, and caches
//! that hold few tables: never an error, never a wrong answer.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a process and its threads

use std::path::Path;
use std::process::Command;
use tanada::{Db, Durability, Error, Tuning};
use tanada_vfs::fault::{EIO, Faults, Op, Rule};
use tanada_vfs::{Env, MemoryMachine, OpenFiles, raw_os_error};

/// Says to a process that it is the one with few descriptors: where its database lies.
const CHILD: &str = "TANADA_MANY_TABLES_IN";
const KEYS: u64 = 30_000;
const VALUE_LEN: usize = 100;
/// Tables that this makes, at least.
const TABLES: u64 = 500;

/// Tables of 4 KiB and blocks of half a KiB.
fn small_tables() -> Tuning {
    Tuning {
        memtable_bytes: Some(128 << 10),
        memtables_max_bytes: Some(2 << 20),
        cache_bytes: Some(256 << 10),
        log_bytes: Some(256 << 10),
        block_bytes: Some(512),
        table_bytes: Some(4 << 10),
        // As many as the data has room for.
        tables_a_level: Some(1 << 20),
        base_bytes: Some(256 << 10),
        ..Tuning::default()
    }
}

fn open(env: &Env, path: &Path, tuning: Tuning) -> tanada::Result<Db> {
    let builder = Db::builder(path).memory(16 << 20).durability(Durability::Buffered).threads(2);
    builder.tuning(tuning).env(env.clone()).open()
}

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// What no compression makes smaller; another for each version.
fn value(number: u64, version: u64) -> Vec<u8> {
    let mut state = number * 8 + version + 1;
    let mut bytes = Vec::with_capacity(VALUE_LEN + 8);
    while bytes.len() < VALUE_LEN {
        state = state.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31) ^ number;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(VALUE_LEN);
    bytes
}

/// The version of a key after all writes; `None` when it was deleted.
fn last(number: u64) -> Option<u64> {
    match number % 10 {
        3 => None,
        5 => Some(2),
        _ => Some(1),
    }
}

fn expected() -> impl DoubleEndedIterator<Item = (Vec<u8>, Vec<u8>)> {
    let live = |number| Some((key(number).to_vec(), value(number, last(number)?)));
    (0..KEYS).filter_map(live)
}

/// Some order that meets all tables again and again.
fn scattered() -> impl Iterator<Item = u64> {
    (0..KEYS).map(|n| n * 7_919 % KEYS)
}

fn write(db: &Db) {
    for number in scattered() {
        db.put(key(number), value(number, 1)).unwrap();
    }
    for number in scattered() {
        match last(number) {
            None => drop(db.delete(key(number)).unwrap()),
            Some(1) => {}
            Some(version) => drop(db.put(key(number), value(number, version)).unwrap()),
        }
    }
    db.flush().unwrap();
}

fn check(db: &Db, seed: u64) {
    for number in scattered().skip(seed as usize).step_by(7) {
        let found = db.get(key(number)).unwrap();
        assert!(found.as_deref() == last(number).map(|v| value(number, v)).as_deref(), "{number}");
        assert_eq!(db.get([&key(number)[..], b"x"].concat()).unwrap(), None);
    }
    let numbers: Vec<u64> = scattered().skip(seed as usize).step_by(11).collect();
    for some in numbers.chunks(100) {
        let found = db.multi_get(some.iter().map(|n| key(*n))).unwrap();
        for (number, found) in some.iter().zip(found) {
            assert!(found.as_deref() == last(*number).map(|v| value(*number, v)).as_deref());
        }
    }
    let pair = |entry: tanada::Result<(tanada::Value, tanada::Value)>| {
        let (key, value) = entry.unwrap();
        (key.to_vec(), value.to_vec())
    };
    assert!(db.iter().map(pair).eq(expected()), "a scan forward");
    assert!(db.iter().rev().map(pair).eq(expected().rev()), "a scan backward");
}

/// Everything that a database does, on this machine: it may have few files open.
fn live(env: &Env, path: &Path, tuning: Tuning, keeps_bounds: impl Fn(&Db)) {
    let db = open(env, path, tuning).unwrap();
    for number in 0..100 {
        db.put(key(number), value(number, 0)).unwrap();
    }
    let before = db.snapshot();
    write(&db);
    check(&db, 0);
    keeps_bounds(&db);
    // Cursors hold tables that are closed meanwhile, all over the tree.
    let mut held: Vec<_> =
        (0..40).map(|n| (n * KEYS / 40, db.range(key(n * KEYS / 40)..))).collect();
    for (_, iter) in &mut held {
        iter.next().unwrap().unwrap();
    }
    check(&db, 1);
    assert_eq!(db.verify().unwrap().damage, Vec::<String>::new());
    keeps_bounds(&db);
    db.compact(..).unwrap();
    check(&db, 2);
    keeps_bounds(&db);
    for (from, iter) in held {
        let found: Vec<_> = iter.take(300).map(|e| e.unwrap().0.to_vec()).collect();
        let keys = (from..KEYS).filter(|n| last(*n).is_some()).map(|n| key(n).to_vec());
        let rest: Vec<_> = keys.skip(1).take(found.len()).collect();
        assert!(found.len() > 100 || from > KEYS - 200, "from {from}: {}", found.len());
        assert!(found == rest, "from {from}");
    }
    for number in 0..100 {
        let old = before.get(key(number)).unwrap();
        assert!(old.as_deref() == Some(&value(number, 0)[..]), "{number} of a snapshot");
    }
    assert_eq!(db.stats().read_only, None);
    let tables: u64 = db.stats().keyspaces[0].levels.iter().map(|level| level.tables).sum();
    assert!(tables >= TABLES, "{tables} tables");
    drop(before);
    db.close().unwrap();
    drop(db);
    let db = open(env, path, tuning).unwrap();
    check(&db, 3);
    keeps_bounds(&db);
    db.close().unwrap();
}

fn descriptors_keep_within(limit: u64) -> impl Fn(&Db) {
    move |db| {
        let tables = db.stats().tables;
        assert!(tables.descriptors <= tables.descriptor_limit, "{tables:?}");
        assert!(tables.descriptor_limit <= limit, "{tables:?}");
        assert!(tables.descriptor_openings > tables.descriptors, "{tables:?}");
    }
}

#[test]
fn descriptor_per_table() {
    // leveldb #181, #401, fjall #247: every table kept a file open; at the process's
    // limit all stopped, reads too.
    let machine = MemoryMachine::new(1);
    machine.set_descriptor_limit(100);
    live(&machine.env(), Path::new("/db"), small_tables(), descriptors_keep_within(50));
    assert_eq!(machine.open_descriptors(), 0, "all is closed with the database");
}

#[test]
fn few_descriptors_and_few_open_tables() {
    let machine = MemoryMachine::new(2);
    let tuning = Tuning { table_descriptors: Some(2), open_tables: Some(3), ..small_tables() };
    machine.set_descriptor_limit(40);
    live(&machine.env(), Path::new("/db"), tuning, |db| {
        let tables = db.stats().tables;
        assert!(tables.open <= 3 && tables.closings > 100, "{tables:?}");
        assert!(tables.descriptors <= 2, "{tables:?}");
    });
}

#[test]
fn a_real_process_with_two_hundred_descriptors() {
    if let Some(dir) = std::env::var_os(CHILD) {
        live(&Env::real(), Path::new(&dir), small_tables(), descriptors_keep_within(100));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let own = std::env::current_exe().unwrap();
    let name = "a_real_process_with_two_hundred_descriptors";
    let child = Command::new("sh")
        .args(["-c", "ulimit -n 200 && exec \"$0\" --exact \"$1\""])
        .arg(own)
        .arg(name)
        .env(CHILD, dir.path().join("db"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{child:?}");
}

#[test]
fn too_few_descriptors_are_refused_with_the_number_that_is_needed() {
    let machine = MemoryMachine::new(3);
    machine.set_descriptor_limit(20);
    let refused = open(&machine.env(), Path::new("/db"), small_tables()).unwrap_err();
    let told = refused.to_string();
    assert!(matches!(refused, Error::InvalidArgument(_)), "{told}");
    assert!(told.contains("may have 20 files open"), "{told}");
    let needed = told.split("needs ").nth(1).and_then(|rest| rest.split(':').next());
    let needed: u64 = needed.unwrap().parse().unwrap();
    // Nothing was begun, and with so many it works.
    assert!(!machine.env().fs.exists(Path::new("/db")).unwrap());
    machine.set_descriptor_limit(needed - 1);
    assert!(open(&machine.env(), Path::new("/db"), small_tables()).is_err());
    machine.set_descriptor_limit(needed);
    let db = open(&machine.env(), Path::new("/db"), small_tables()).unwrap();
    write(&db);
    check(&db, 0);
    db.compact(..).unwrap();
    check(&db, 1);
}

#[test]
fn descriptors_that_are_taken_away_while_it_runs_cost_speed_and_nothing_else() {
    let machine = MemoryMachine::new(4);
    let db = open(&machine.env(), Path::new("/db"), small_tables()).unwrap();
    write(&db);
    check(&db, 0);
    let open = machine.open_descriptors();
    assert!(open > 100, "{open} open");
    // Somebody else has taken all but a few.
    machine.set_descriptor_limit(24);
    check(&db, 1);
    write(&db);
    db.compact(..).unwrap();
    check(&db, 2);
    assert_eq!(db.verify().unwrap().damage, Vec::<String>::new());
    assert_eq!(db.stats().read_only, None);
}

#[test]
fn a_table_that_cannot_be_opened_again_fails_that_read_and_is_never_not_found() {
    let machine = MemoryMachine::new(5);
    let faults = Faults::over_memory(&machine);
    let tuning = Tuning {
        table_descriptors: Some(1),
        open_tables: Some(1),
        cache_bytes: Some(0),
        ..small_tables()
    };
    let db = open(&faults.env(&machine.env()), Path::new("/db"), tuning).unwrap();
    write(&db);
    let mut failed = 0;
    for number in scattered().step_by(13) {
        faults.add(Rule::fail(EIO).on(Op::Open).path_suffix(".sst").nth(1));
        let expected = last(number).map(|version| value(number, version));
        match db.get(key(number)) {
            Err(Error::Io(e)) => {
                assert_eq!(raw_os_error(&e), Some(EIO));
                failed += 1;
            }
            Err(e) => panic!("{number}: {e}"),
            Ok(found) => assert!(found.as_deref() == expected.as_deref(), "{number}"),
        }
        faults.clear();
        let again = db.get(key(number)).unwrap();
        assert!(again.as_deref() == expected.as_deref(), "{number} at the next try");
    }
    assert!(failed > 1_000, "{failed} reads had to open a file");
    faults.add(Rule::fail(EIO).on(Op::Open).path_suffix(".sst").from_nth(20).times(1));
    assert!(db.iter().any(|entry| entry.is_err()), "a scan says so, too");
    faults.clear();
    check(&db, 0);
}

#[test]
fn threads_read_while_tables_are_closed_and_opened_and_their_memory_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let tuning = Tuning { table_descriptors: Some(4), open_tables: Some(4), ..small_tables() };
    let db = open(&Env::real(), &dir.path().join("db"), tuning).unwrap();
    write(&db);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let db = &db;
            scope.spawn(move || check(db, thread));
        }
        db.compact(..).unwrap();
    });
    let stats = db.stats();
    assert!(stats.tables.open <= 4 && stats.tables.closings > 1_000, "{:?}", stats.tables);
    // Filters of closed tables count on.
    assert!(stats.filter.negatives > 1_000, "{:?}", stats.filter);
    assert!(stats.tables.resident_bytes < 64 << 10, "{:?}", stats.tables);
}

#[test]
fn whatever_it_is_opened_through_shows_the_limit() {
    // The bound of tables follows from it: a wrapper that hides it would undo it.
    let machine = MemoryMachine::new(6);
    machine.set_descriptor_limit(77);
    let faults = Faults::over_memory(&machine);
    let traced = tanada_sim::trace::Trace::default().env(&faults.env(&machine.env()));
    let bound = tanada_vfs::DescriptorBound { most: 1, needed: 1 };
    let few = OpenFiles::over(traced.fs.clone(), bound);
    assert_eq!(tanada_vfs::FileSystem::descriptor_limit(&few), Some(77));
}
