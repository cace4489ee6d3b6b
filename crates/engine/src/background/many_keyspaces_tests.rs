//! Many keyspaces: what a flush of all costs, that each is compacted, and what
//! survives a failure half-way.

use crate::core::lineup::FEW;
use crate::{Batch, Db, Error, Keyspace, KeyspaceOptions};
use std::collections::BTreeMap;
use std::sync::Arc;
use tanada_vfs::MemoryMachine;
use tanada_vfs::fault::{EIO, Faults, Op, Rule};
use tanada_vfs::sync::Mutex;

fn keyspaces(db: &Db, count: usize) -> Vec<Keyspace> {
    let open = |i| db.keyspace(&format!("ks {i}"), KeyspaceOptions::default()).unwrap();
    (0..count).map(open).collect()
}

/// What the background would do.
fn do_all_work(db: &Db) {
    let comes_to_rest = (0..100_000).any(|_| !db.default_keyspace().core().step());
    assert!(comes_to_rest, "there is always more to do");
}

/// One write into each, all of them in one batch.
fn write_all(db: &Db, keyspaces: &[Keyspace], value: &str) {
    let mut batch = Batch::new();
    for keyspace in keyspaces {
        batch.put_in(keyspace, "key", value);
    }
    db.write(batch).unwrap();
}

/// The changing calls while `run` runs, counted.
fn counted(faults: &Faults, run: impl FnOnce()) -> BTreeMap<String, usize> {
    let calls: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let counts = Arc::clone(&calls);
    faults.before_each_change(move |_, call| {
        *counts.lock().entry(format!("{:?}", call.op)).or_default() += 1;
    });
    run();
    faults.remove_hook();
    std::mem::take(&mut *calls.lock())
}

/// A flush of 2,000 keyspaces took 7.9 s: each had a sync of its file, of the
/// directory, of the log and of the manifest for itself, one after another.
#[test]
fn a_flush_of_many_keyspaces_syncs_directory_log_and_manifest_a_few_times() {
    let machine = MemoryMachine::new(1);
    let faults = Faults::over_memory(&machine);
    let db = Db::builder("/db").env(faults.env(&machine.env())).open().unwrap();
    let all = keyspaces(&db, 256);
    write_all(&db, &all, "value");
    let calls = counted(&faults, || db.flush().unwrap());
    let count = |op: &str| calls.get(op).copied().unwrap_or(0);
    assert_eq!(count("Create"), 256, "a table each: {calls:?}");
    // Four jobs, each with an edit; and ids of tables are reserved a few times.
    assert!(count("Sync") <= 256 + 16, "files, edits: {calls:?}");
    assert!(count("SyncDir") <= 24, "{calls:?}");
    assert!(count("LogSync") <= 16, "{calls:?}");
    for keyspace in &all {
        assert_eq!(keyspace.get("key").unwrap().as_deref(), Some(&b"value"[..]));
    }
    assert!(db.stats().keyspaces.iter().skip(1).all(|k| k.table_entries == 1));
    let again = counted(&faults, || db.flush().unwrap());
    assert!(!again.contains_key("Create"), "nothing is left to flush: {again:?}");
}

/// Of many small flushes in one job the sync of one file fails: none of them may be
/// taken for flushed, no file stays, and all is written by the next try.
#[test]
fn a_flush_of_many_keyspaces_that_fails_in_the_middle_loses_nothing() {
    for (op, nth) in [(Op::Sync, 7), (Op::Create, 5), (Op::Append, 9), (Op::SyncDir, 1)] {
        let machine = MemoryMachine::new(1);
        let faults = Faults::over_memory(&machine);
        let db = Db::builder("/db").env(faults.env(&machine.env())).open().unwrap();
        let all = keyspaces(&db, 20);
        write_all(&db, &all, "value");
        faults.add(Rule::fail(EIO).on(op).path_suffix("").nth(nth));
        let refused = db.flush();
        let failed = refused.is_err();
        for keyspace in &all {
            assert_eq!(keyspace.get("key").unwrap().as_deref(), Some(&b"value"[..]), "{op:?}");
        }
        drop((all, db));
        assert!(failed, "the {nth}th {op:?} did not fail");
        let db = Db::builder("/db").env(machine.env()).open().unwrap();
        let all = keyspaces(&db, 20);
        for keyspace in &all {
            assert_eq!(keyspace.get("key").unwrap().as_deref(), Some(&b"value"[..]), "{op:?}");
        }
        db.flush().unwrap();
        do_all_work(&db);
        let names = machine.env().fs.read_dir("/db".as_ref()).unwrap();
        let tables = names.iter().filter(|entry| entry.name.ends_with(".sst")).count();
        let known: u64 = db.stats().keyspaces.iter().map(tables_of).sum();
        assert_eq!(tables as u64, known, "{op:?}");
    }
}

/// A flush of many has a file open for each until all of them are synced: where a process
/// may have few, it would fail for want of descriptors, at each try.
#[test]
fn a_flush_of_many_keyspaces_has_no_more_files_open_than_the_process_may() {
    let machine = MemoryMachine::new(1);
    let open = |limit: u64| {
        machine.set_descriptor_limit(limit);
        Db::builder("/db").env(machine.env()).open()
    };
    let least = (1..10_000).find(|&limit| open(limit).is_ok()).unwrap();
    for limit in [least, least + 20, least + 400] {
        let db = open(limit).unwrap();
        let all = keyspaces(&db, 200);
        write_all(&db, &all, &format!("value {limit}"));
        let jobs = db.stats().flush.jobs;
        db.flush().unwrap();
        let jobs = db.stats().flush.jobs - jobs;
        assert_eq!(jobs <= 10, limit == least + 400, "{jobs} jobs with {limit} descriptors");
        for keyspace in &all {
            let value = keyspace.get("key").unwrap();
            assert_eq!(value.as_deref(), Some(format!("value {limit}").as_bytes()));
        }
    }
}

/// A process dies with writes to many keyspaces in the log, again and again: the opening
/// knows which MemTables hold something, and flushes them in groups.
#[test]
fn openings_flush_many_keyspaces_together_where_short_lives_have_left_logs() {
    let mut machine = MemoryMachine::new(1);
    let mut flushed = false;
    for life in 0..20 {
        let db = Db::builder("/db").env(machine.env()).open().unwrap();
        let stats = db.stats();
        // The default keyspace is not written to.
        assert!(stats.flush.jobs <= 4, "{} jobs for 200 keyspaces", stats.flush.jobs);
        flushed |= stats.flush.jobs > 0;
        let all = keyspaces(&db, 200);
        for keyspace in all.iter().filter(|_| life > 0) {
            let value = keyspace.get("key").unwrap();
            assert_eq!(value.as_deref(), Some(format!("life {}", life - 1).as_bytes()));
        }
        write_all(&db, &all, &format!("life {life}"));
        machine = machine.kill();
        drop((all, db));
    }
    assert!(flushed, "twenty lives have left twenty logs");
}

fn tables_of(keyspace: &crate::KeyspaceStats) -> u64 {
    keyspace.levels.iter().map(|level| level.tables).sum()
}

/// With many keyspaces only those are asked for a compaction whose tree has changed:
/// none of them may be forgotten.
#[test]
fn every_one_of_many_keyspaces_gets_its_compactions() {
    let db = Db::builder("/db").env(MemoryMachine::new(1).env()).open().unwrap();
    let all = keyspaces(&db, 2 * FEW + 7);
    for round in 0..20 {
        write_all(&db, &all, &format!("value {round}"));
        db.flush().unwrap();
    }
    do_all_work(&db);
    for stats in db.stats().keyspaces.iter().skip(1) {
        let runs = stats.levels.first().map_or(0, |level| level.runs);
        assert!(runs < 8, "{runs} runs in level 0 of {}", stats.name);
    }
    for keyspace in &all {
        assert_eq!(keyspace.get("key").unwrap().as_deref(), Some(&b"value 19"[..]));
    }
}

/// fjall #288, rocksdb #662: a quiet keyspace kept the log that its only write was in, and
/// with it all that came behind. When the logs have grown too long all such keyspaces
/// are flushed, by one job, and the log is let go.
#[test]
fn idle_keyspaces_pin_logs() {
    let machine = MemoryMachine::new(1);
    let db = Db::builder("/db").memory(16 << 20).env(machine.env()).open().unwrap();
    let quiet = keyspaces(&db, 60);
    write_all(&db, &quiet, "quiet");
    let before = db.stats().flush.jobs;
    let value = vec![7; 64 << 10];
    // The keys are few: MemTables stay small beside the log.
    for i in 0..800u32 {
        db.put((i % 16).to_be_bytes(), &value).unwrap();
    }
    let stats = db.stats();
    let flushed = stats.keyspaces.iter().skip(1).filter(|k| k.table_entries == 1).count();
    assert_eq!(flushed, 60, "all of the quiet ones are in tables");
    let most = 3 * stats.memory.budget_bytes;
    assert!(stats.wal.bytes_on_disk < most, "{} bytes of log", stats.wal.bytes_on_disk);
    let jobs = stats.flush.jobs - before;
    assert!(jobs < 40, "{jobs} jobs for 60 quiet keyspaces and some MemTables");
}

/// The budget is met by ten thousand MemTables of some hundred bytes each: they were
/// sealed one at a time, one for each further write.
#[test]
fn many_small_memtables_that_fill_the_budget_are_sealed_and_flushed_in_large_groups() {
    let machine = MemoryMachine::new(1);
    let db = Db::builder("/db").memory(16 << 20).env(machine.env()).open().unwrap();
    let all = keyspaces(&db, 300);
    let value = vec![7; 1 << 10];
    for i in 0..9000u32 {
        let keyspace = &all[i as usize % all.len()];
        keyspace.put((i / 300).to_be_bytes(), &value).unwrap();
    }
    let stats = db.stats();
    // 9 MB, and 2 MB at a time are sealed: half of them, in groups of up to 64.
    assert!(stats.flush.jobs > 0, "the budget was met");
    assert!(stats.flush.jobs < 100, "{} flushes", stats.flush.jobs);
}

#[test]
fn one_keyspace_more_than_a_database_may_have_is_refused_and_nothing_is_lost() {
    let machine = MemoryMachine::new(1);
    let db = Db::builder("/db").env(machine.env()).open().unwrap();
    let core = db.default_keyspace().core();
    {
        // One edit for all that are still allowed; one call each would take a while.
        let mut manifest = core.manifest.lock();
        let created = (1..crate::tree::manifest::MAX_KEYSPACES as u32).map(|id| {
            crate::tree::manifest::CreatedKeyspace {
                id: tanada_format::KeyspaceId(id),
                name: format!("ks {id}"),
                options: Vec::new(),
            }
        });
        let edit = crate::tree::manifest::Edit { created: created.collect(), ..Default::default() };
        manifest.append(&edit).unwrap();
    }
    let refused = db.keyspace("one more", KeyspaceOptions::default()).map(drop);
    let Err(Error::InvalidArgument(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("65536") && why.contains("prefix"), "{why}");
    db.put("key", "value").unwrap();
    assert_eq!(db.get("key").unwrap().as_deref(), Some(&b"value"[..]));
}
