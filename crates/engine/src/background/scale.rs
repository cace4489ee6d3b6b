//! What decisions, edits and openings cost as tables and keyspaces grow in number.
//!
//! `cargo xtask scale` runs these and prints the curves of docs/scale.md. They measure
//! time, so nothing is asserted about it here: the tests beside the code count what is
//! copied, synced and asked instead.

use crate::tree::compaction::{self, Config, InFlight, Moment};
use crate::tree::manifest::{self, CreatedKeyspace, Edit, Found, Manifest};
use crate::tree::version::{
    AddedTable, LiveTables, RemovedTable, RunId, TableMeta, TableStore, VersionEdit,
};
use crate::{Batch, Db, KeyspaceOptions};
use std::path::Path;
use std::sync::Arc;
use tanada_format::{DatabaseId, KeyspaceId, Level, SeqNo, TableId};
use tanada_vfs::{Env, MemoryMachine};

/// Milliseconds that `run` takes, and what it answers.
fn timed<T>(run: impl FnOnce() -> T) -> (f64, T) {
    let clock = Env::real().clock;
    let began = clock.monotonic_ns();
    let answer = run();
    ((clock.monotonic_ns() - began) as f64 / 1e6, answer)
}

/// Resident bytes of this process.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

fn added(level: u8, run: u64, id: u64, key: u64, size_bytes: u64) -> AddedTable {
    let meta = TableMeta {
        id: TableId(id),
        origin: None,
        tail_bytes: 0,
        size_bytes,
        raw_bytes: size_bytes,
        entries: 1000,
        tombstones: id % 100,
        min_key: format!("user:{key:012}").into_bytes().into(),
        max_key: format!("user:{:012}", key + 8).into_bytes().into(),
        min_seqno: SeqNo(id),
        max_seqno: SeqNo(id),
        created_ms: 1,
        min_expires_at_ms: 0,
        max_expires_at_ms: 0,
        expiring: 0,
        expiry_quantiles: None,
        superseded: 0,
    };
    AddedTable { level: Level(level), run: RunId(run), meta }
}

/// Eight ninths of the tables in the last level and the rest in the one above, which is
/// a little too large, all of them of 16 MiB.
fn tables(count: u64) -> Vec<AddedTable> {
    let upper = count / 8;
    let lower = count - upper;
    let mut all: Vec<_> = (0..lower).map(|i| added(6, 1, i + 1, 10 * i, 16 << 20)).collect();
    let above = |i: u64| added(5, 2, lower + i + 1, 10 * (i * lower / upper) + 4, 16 << 20);
    all.extend((0..upper).map(above));
    all
}

fn files(env: &Env) -> Arc<TableStore> {
    let cache = tanada_table::BlockCache::new(0);
    TableStore::new(env.fs.clone(), "db", DatabaseId([1; 16]), cache)
}

/// Microseconds of a decision and of the edit that follows from it.
fn decide(count: u64) -> (f64, f64) {
    let files = files(&Env::memory(1));
    let config = Config::for_memtable(64 << 20);
    let whole = VersionEdit { added: tables(count), removed: Vec::new() };
    let empty = crate::tree::version::Version::empty();
    let mut live = LiveTables::default();
    let first = empty.apply(&whole, &live, &files).unwrap();
    live.add(&first.added);
    let mut version = first.version;
    let mut in_flight = InFlight::default();
    let moment = Moment { now_ms: 1 << 40, oldest_snapshot: SeqNo::MAX };
    let (mut picks, mut edits) = (0.0, 0.0);
    let mut rounds = 0;
    while rounds < 200 {
        let (ms, plan) = timed(|| compaction::pick(&version, &config, &in_flight, moment));
        // Few tables are soon in shape.
        let Some(plan) = plan else { break };
        picks += ms;
        in_flight.start(&plan);
        // As if the inputs were written anew, and those of the level above went.
        let next = count + 1 + rounds * 1000;
        rounds += 1;
        let keep = plan.inputs.iter().filter(|run| run.level == plan.target);
        let keep = keep.flat_map(|run| &run.tables).zip(next..);
        let outputs: Vec<_> =
            keep.map(|(table, id)| TableMeta { id: TableId(id), ..table.meta().clone() }).collect();
        let edit = plan.edit(plan.run(|| TableId(next)), outputs);
        let (ms, applied) = timed(|| version.apply(&edit, &live, &files).unwrap());
        edits += ms;
        live.add(&applied.added);
        live.remove(&applied.obsolete);
        in_flight.finish(&plan);
        version = applied.version;
    }
    assert!(rounds > 0, "a level is too large");
    (1000.0 * picks / rounds as f64, 1000.0 * edits / rounds as f64)
}

/// Microseconds of an edit of the manifest and milliseconds of an opening with the first
/// append, which writes a new manifest, over a disk that takes no time.
fn append_and_open(count: u64) -> (f64, f64, u64) {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    let default =
        CreatedKeyspace { id: KeyspaceId::DEFAULT, name: "default".into(), options: Vec::new() };
    let first = Edit {
        created: vec![default],
        next_table_id: Some(TableId(2 * count + 1_000_000)),
        ..Edit::default()
    };
    let mut manifest = Manifest::create(files(&env), &first).unwrap();
    let write = |id: u64| {
        let mut file = env.fs.create(&files(&env).path(TableId(id))).unwrap();
        file.append(&[1; 10]).unwrap();
    };
    let all: Vec<_> = (0..count).map(|i| added(6, 1, i + 1, 10 * i, 10)).collect();
    (1..=count).for_each(write);
    let whole = VersionEdit { added: all, removed: Vec::new() };
    manifest.append(&Edit::of_tables(KeyspaceId::DEFAULT, whole)).unwrap();
    const ROUNDS: u64 = 100;
    let mut appends = 0.0;
    for round in 0..ROUNDS {
        let at = (round * 997) % (count - 10);
        let ids: Vec<u64> = (0..10).map(|i| count + 1 + round * 10 + i).collect();
        ids.iter().copied().for_each(write);
        let held = manifest.state().keyspaces[&KeyspaceId::DEFAULT].tables.clone();
        let run = &held.runs()[0];
        let old: Vec<_> = run.tables().window(at as usize, 10).iter().cloned().collect();
        drop(held);
        let removed = old.iter().map(|t| RemovedTable { level: Level(6), id: t.id() }).collect();
        let added = old.iter().zip(&ids).map(|(table, &id)| AddedTable {
            level: Level(6),
            run: RunId(1),
            meta: TableMeta { id: TableId(id), ..table.meta().clone() },
        });
        let edit = VersionEdit { added: added.collect(), removed };
        let edit = Edit::of_tables(KeyspaceId::DEFAULT, edit);
        appends += timed(|| manifest.append(&edit).unwrap()).0;
    }
    let version = manifest.state().keyspaces[&KeyspaceId::DEFAULT].tables.clone();
    let memory = version.memory_bytes() / count;
    drop((manifest, version));
    let Found::Database(current) = manifest::inspect(&*env.fs, Path::new("db")).unwrap() else {
        panic!("there is no database");
    };
    let (open_ms, _manifest) = timed(|| {
        let mut manifest = Manifest::open(files(&env), &current).unwrap();
        manifest.settle().unwrap();
        manifest
    });
    (1000.0 * appends / ROUNDS as f64, open_ms, memory)
}

#[test]
#[ignore = "measures; see the head of this file"]
fn scale_of_tables() {
    println!(
        "| tables | pick, µs | edit of the tree, µs | edit of the manifest, µs | opening and first append, ms | memory a table, B |"
    );
    println!("|---:|---:|---:|---:|---:|---:|");
    for count in [1_000, 4_000, 16_000, 65_000] {
        let (pick, edit) = decide(count);
        let (append, open, memory) = append_and_open(count);
        println!("| {count} | {pick:.0} | {edit:.0} | {append:.0} | {open:.0} | {memory} |");
    }
}

#[test]
#[ignore = "measures; see the head of this file"]
fn scale_of_keyspaces() {
    println!(
        "| keyspaces | creation each, ms | memory each, B | flush of all, ms | opening after a flush, ms | opening with all in the log, ms | flush of one, µs |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    for count in [10usize, 100, 1_000, 2_000, 10_000] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let open = || Db::builder(&path).open().unwrap();
        let db = open();
        let before = resident_bytes();
        let (created_ms, all) = timed(|| {
            let open = |i| db.keyspace(&format!("ks {i}"), KeyspaceOptions::default()).unwrap();
            (0..count).map(open).collect::<Vec<_>>()
        });
        let memory = resident_bytes().saturating_sub(before) / count as u64;
        let write = |value: &str| {
            let mut batch = Batch::new();
            for keyspace in &all {
                batch.put_in(keyspace, "key", value);
            }
            db.write(batch).unwrap();
        };
        write("first");
        let (flush_ms, ()) = timed(|| db.flush().unwrap());
        // One keyspace's flush, among all of them.
        let (mut one_ms, rounds) = (0.0, 20);
        for _ in 0..rounds {
            all[count / 2].put("key", "more").unwrap();
            one_ms += timed(|| all[count / 2].flush().unwrap()).0;
        }
        db.close().unwrap();
        drop((all, db));
        let (opened_ms, db) = timed(open);
        let open_ks = |i| db.keyspace(&format!("ks {i}"), KeyspaceOptions::default()).unwrap();
        let mut batch = Batch::new();
        (0..count).map(open_ks).for_each(|keyspace| batch.put_in(&keyspace, "key", "second"));
        db.write(batch).unwrap();
        db.close().unwrap();
        drop(db);
        let (replayed_ms, db) = timed(open);
        let created_ms = created_ms / count as f64;
        let one_us = 1000.0 * one_ms / f64::from(rounds);
        println!(
            "| {count} | {created_ms:.2} | {memory} | {flush_ms:.0} | {opened_ms:.0} | {replayed_ms:.0} | {one_us:.0} |"
        );
        drop(db);
    }
}
