//! Opening what is sound by its checksums and yet cannot be: refused by name,
//! never half opened.

use super::*;
use crate::control::account::Part;
use crate::control::budget::Budget;
use crate::opening::replay;
use crate::types::options::Compression;
use crate::wal::group::{GroupEntry, GroupHeader, encode_entry};
use crate::{Db, Durability, KeyspaceOptions};
use std::sync::atomic::AtomicBool;
use tanada_format::{LogPosition, SeqNo, ValueKind, WriterEpoch};
use tanada_vfs::MemoryMachine;
use tanada_vfs::fault::{EIO, Faults, Op, Rule};

fn dir() -> &'static Path {
    Path::new("/db")
}

fn open_on(env: Env) -> Result<Db> {
    Db::builder(dir()).durability(Durability::Synced).env(env).open()
}

/// A closed database of three writes.
fn closed() -> MemoryMachine {
    let machine = MemoryMachine::new(1);
    let db = open_on(machine.env()).unwrap();
    for key in ["one", "two", "three"] {
        db.put(key, "value").unwrap();
    }
    db.close().unwrap();
    machine
}

fn current(env: &Env) -> Current {
    match manifest::inspect(&*env.fs, dir()).unwrap() {
        Found::Database(current) => current,
        Found::Nothing => panic!("there is no database"),
    }
}

fn manifest_of(env: &Env, database: DatabaseId) -> Arc<TableStore> {
    TableStore::new(Arc::clone(&env.fs), dir(), database, BlockCache::new(0))
}

/// Appends a record to the log of a closed database, as its writer would, and
/// says where its payload lies.
fn with_record(machine: &MemoryMachine, payload: &[u8]) -> (PathBuf, u64) {
    with_records(machine, [payload].into_iter())
}

/// As [`with_record`], of several records; the place of the last.
fn with_records<'p>(
    machine: &MemoryMachine,
    payloads: impl Iterator<Item = impl AsRef<[u8]> + 'p>,
) -> (PathBuf, u64) {
    let env = machine.env();
    let current = current(&env);
    let files = manifest_of(&env, current.database);
    let state = Manifest::open(files, &current).unwrap();
    let from = RecoverFrom { log: state.state().oldest_log, synced: LogPosition(0) };
    let found = wal::recover(&env, dir(), current.database, from, |_, _| Ok(())).unwrap();
    let sizes = wal::SegmentSizes::new(1 << 20, 256 << 20);
    let mut wal = WalWriter::create(&env, dir(), current.database, &found.tail, sizes).unwrap();
    for payload in payloads {
        wal.append(&[payload.as_ref()]).unwrap();
    }
    wal.close().unwrap();
    let mut place = None;
    let from = RecoverFrom { log: from.log, synced: wal.position() };
    wal::recover(&env, dir(), current.database, from, |found, _| {
        place = Some((found.file.to_owned(), found.offset));
        Ok(())
    })
    .unwrap();
    place.unwrap()
}

/// A later version has deleted a range, or merged into a key: answers to other keys, too,
/// depend on what this one cannot read.
#[test]
fn a_log_with_a_write_of_a_reserved_kind_is_refused_whole() {
    for kind in [ValueKind::Merge, ValueKind::RangeDelete, ValueKind::BlobRef] {
        let machine = closed();
        let mut payload = GroupHeader::new(SeqNo(1 << 30), 1).bytes().to_vec();
        let keyspace = KeyspaceId::DEFAULT;
        let entry = GroupEntry { keyspace, kind, expires_at_ms: 0, key: b"a", value: b"z" };
        encode_entry(&mut payload, &entry);
        let (log, _) = with_record(&machine, &payload);
        match open_on(machine.env()) {
            Err(Error::Unsupported { file, what }) => {
                assert_eq!(file, log);
                assert!(what.contains(&format!("{kind:?}")), "{what}");
            }
            opened => panic!("{kind:?}: {:?}", opened.map(drop)),
        }
    }
}

#[test]
fn each_opening_in_an_epoch_writes_with_it_and_none_goes_back() {
    let machine = closed();
    let open_in = |epoch: Option<u64>| {
        let builder = Db::builder(dir()).env(machine.env());
        match epoch {
            Some(epoch) => builder.writer_epoch(WriterEpoch(epoch)).open(),
            None => builder.open(),
        }
    };
    for epoch in [3, 4, 9] {
        let db = open_in(Some(epoch)).unwrap();
        db.put(format!("key{epoch}"), "in a table").unwrap();
        db.flush().unwrap();
        db.put(format!("logged{epoch}"), "in the log").unwrap();
        assert_eq!(db.verify().unwrap().damage, Vec::<String>::new());
        db.close().unwrap();
    }
    let env = machine.env();
    let current = current(&env);
    let manifest = Manifest::open(manifest_of(&env, current.database), &current).unwrap();
    let tables = manifest.state().keyspaces.values().flat_map(|k| k.tables.tables());
    let mut epochs: Vec<_> = tables.map(|table| table.origin().epoch.0).collect();
    epochs.sort_unstable();
    assert_eq!(epochs, [3, 4, 9], "tables say who wrote them");
    drop(manifest);

    for behind in [0, 8] {
        let error = open_in(Some(behind)).unwrap_err();
        assert!(matches!(&error, Error::InvalidArgument(_)), "{error}");
    }
    let db = open_in(None).unwrap();
    for epoch in [3, 4, 9] {
        assert_eq!(db.get(format!("key{epoch}")).unwrap().unwrap(), "in a table");
        assert_eq!(db.get(format!("logged{epoch}")).unwrap().unwrap(), "in the log");
    }
    db.compact(..).unwrap();
    assert_eq!(db.get("key3").unwrap().unwrap(), "in a table");
    assert_eq!(db.get("one").unwrap().unwrap(), "value");
    assert_eq!(db.verify().unwrap().damage, Vec::<String>::new());
}

/// A commit group of one put.
fn group(seqno: u64, keyspace: u32) -> Vec<u8> {
    let mut payload = GroupHeader::new(SeqNo(seqno), 1).bytes().to_vec();
    let entry = GroupEntry {
        keyspace: KeyspaceId(keyspace),
        kind: ValueKind::Put,
        expires_at_ms: 0,
        key: b"four",
        value: b"value",
    };
    encode_entry(&mut payload, &entry);
    payload
}

#[test]
fn a_group_behind_the_last_one_is_replayed() {
    // What the refusals below would prove nothing without.
    let machine = closed();
    with_record(&machine, &group(1000, 0));
    let db = open_on(machine.env()).unwrap();
    assert_eq!(db.get("four").unwrap().as_deref(), Some(&b"value"[..]));
    assert_eq!(db.iter().count(), 4);
}

#[test]
fn a_group_that_no_version_writes_is_refused_by_file_and_offset() {
    let cut = group(1000, 0);
    for (payload, at, what) in [
        (group(3, 0), 0, "have been used before"),
        (group(1000, 1), 0, "a keyspace that does not exist"),
        (Vec::new(), 0, "ends inside its header"),
        (cut[..cut.len() - 1].to_vec(), 3, "value is cut short"),
    ] {
        let machine = closed();
        let (file, offset) = with_record(&machine, &payload);
        let before = machine.env().fs.read_dir(dir()).unwrap().len();
        match open_on(machine.env()) {
            Err(Error::Corruption(found)) => {
                assert_eq!((&found.file, found.offset), (&file, offset + at), "{found}");
                assert!(found.what.contains(what), "{found}");
            }
            other => panic!("{what}: {:?}", other.map(drop)),
        }
        assert_eq!(machine.env().fs.read_dir(dir()).unwrap().len(), before, "nothing was written");
    }
}

#[test]
fn a_manifest_without_a_keyspace_is_damage_and_a_dropped_one_asks_for_a_newer_version() {
    let created = |id, name: &str| CreatedKeyspace {
        id: KeyspaceId(id),
        name: name.to_owned(),
        options: keyspace_options::encode(Compression::default()),
    };
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    drop(Manifest::create(manifest_of(&env, DatabaseId([7; 16])), &Edit::default()).unwrap());
    match open_on(machine.kill().env()) {
        Err(Error::Corruption(found)) => assert_eq!(found.file, dir().join("CURRENT")),
        other => panic!("{:?}", other.map(drop)),
    }

    let machine = MemoryMachine::new(1);
    let env = machine.env();
    let both = Edit { created: vec![created(0, "default"), created(1, "a")], ..Edit::default() };
    let mut manifest = Manifest::create(manifest_of(&env, DatabaseId([7; 16])), &both).unwrap();
    manifest.append(&Edit { dropped: vec![KeyspaceId(0)], ..Edit::default() }).unwrap();
    match open_on(machine.kill().env()) {
        Err(Error::Unsupported { what, .. }) => assert!(what.contains("was dropped"), "{what}"),
        other => panic!("{:?}", other.map(drop)),
    }
}

#[test]
fn an_open_database_is_locked_and_a_lock_that_fails_is_no_lock_held() {
    let machine = closed();
    let db = open_on(machine.env()).unwrap();
    match open_on(machine.env()) {
        Err(Error::Locked { path, pid }) => {
            assert_eq!((path.as_path(), pid), (dir(), Some(std::process::id())));
        }
        other => panic!("{:?}", other.map(drop)),
    }
    db.close().unwrap();
    let faults = Faults::over_memory(&machine);
    faults.add(Rule::fail(EIO).on(Op::Lock).nth(1));
    let env = faults.env(&machine.env());
    let refused = open_on(env.clone()).map(drop);
    assert!(matches!(refused, Err(Error::Io(_))), "{refused:?}");
    assert_eq!(open_on(env).unwrap().iter().count(), 3);
}

/// A database of this much memory as it is when it has just been opened, before the
/// background does anything.
fn opened(machine: &MemoryMachine, memory: u64) -> Arc<Core> {
    let config = Config::new(memory, Durability::Buffered, None, 2);
    open(machine.env(), dir().to_owned(), config, true).unwrap()
}

/// A process with much memory leaves a long log to one with little.
#[test]
fn what_is_replayed_is_cut_into_memtables_of_the_size_they_may_have() {
    let machine = MemoryMachine::new(1);
    let db = Db::builder(dir()).memory(1 << 30).env(machine.env()).open().unwrap();
    for number in 0..10 {
        db.put([number], vec![number; 512 << 10]).unwrap();
    }
    let core = opened(&machine.kill(), 16 << 20);
    let seal_bytes = core.reading.budget.memtable_seal;
    let view = core.reading.keyspaces.load().get(KeyspaceId::DEFAULT).unwrap().view.load();
    let sizes: Vec<_> = view.mems().map(|mem| mem.size_bytes()).collect();
    assert!(sizes.len() > 2, "{sizes:?}");
    assert!(sizes.iter().all(|&bytes| bytes < seal_bytes + (1 << 20)), "{sizes:?}");
    let full = sizes.iter().filter(|&&bytes| bytes >= seal_bytes).count();
    assert_eq!(full, sizes.len() - 1, "only the last is not full: {sizes:?}");
}

/// The next writes fill it up, and must know how much is in it.
#[test]
fn the_memtable_that_is_replayed_into_counts_with_what_it_holds() {
    let machine = MemoryMachine::new(1);
    let db = open_on(machine.env()).unwrap();
    db.put("terrace", vec![7; 4000]).unwrap();
    let core = opened(&machine.kill(), 16 << 20);
    let held = core
        .reading
        .keyspaces
        .load()
        .get(KeyspaceId::DEFAULT)
        .unwrap()
        .view
        .load()
        .active
        .size_bytes();
    assert!(held > 4000);
    assert_eq!(core.commit.writer().active_bytes, held);
}

#[test]
fn replay_seals_a_memtable_that_is_as_large_as_it_may_get() {
    let machine = closed();
    let env = machine.env();
    let current = current(&env);
    let manifest = Manifest::open(manifest_of(&env, current.database), &current).unwrap();
    let replayed = |seal_bytes| {
        let mut budget = Budget::new(16 << 20, 2);
        budget.memtable_seal = seal_bytes;
        let mut token = WriterToken::new();
        let mut replay = Replay::new(&manifest, dir(), &budget, None).unwrap();
        replay_log(&env, dir(), current.database, &manifest, &mut replay, &mut token).unwrap();
        let view = replay.keyspaces()[0].view.load();
        view.mems().map(|mem| mem.size_bytes()).collect::<Vec<_>>()
    };
    let [all] = replayed(1 << 20)[..] else { panic!("they are three small writes") };
    // Each write alone takes as much: memory is taken in pieces.
    assert_eq!(replayed(all + 1), [all]);
    assert_eq!(replayed(all), [all; 3]);
}

/// Commit groups of these keys and values, four writes each, behind those of [`closed`].
fn groups(count: u64, value_len: usize) -> impl Iterator<Item = Vec<u8>> {
    let value = vec![7; value_len];
    (0..count).map(move |n| {
        let mut payload = GroupHeader::new(SeqNo(1000 + 4 * n), 4).bytes().to_vec();
        for i in 4 * n..4 * n + 4 {
            let entry = GroupEntry {
                keyspace: KeyspaceId::DEFAULT,
                kind: ValueKind::Put,
                expires_at_ms: 0,
                key: &i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes(),
                value: &value,
            };
            encode_entry(&mut payload, &entry);
        }
        payload
    })
}

fn memtables_of(core: &Core) -> u64 {
    let views = core.reading.keyspaces.load();
    views.iter().map(|k| k.view.load().mems().map(|m| m.size_bytes()).sum::<u64>()).sum()
}

/// 366 MB of log were replayed into 190 MB of MemTables by a process with 16 MiB of
/// memory, and a log of 6 GB could not be opened at all in a small container.
#[test]
fn a_log_of_ten_times_the_budget_is_replayed_within_the_budget() {
    const MEMORY: u64 = 16 << 20;
    for (count, value_len) in [(420_000, 5), (45_000, 1_000), (300, 150 << 10), (20, 2 << 20)] {
        let machine = closed();
        with_records(&machine, groups(count, value_len));
        replay::MOST_HELD.set(0);
        let core = opened(&machine, MEMORY);
        let most = core.reading.budget.memtables_max;
        let all = count * 4 * (value_len as u64 + 100);
        assert!(all > 10 * MEMORY, "{all}");
        // A record of eight MiB fits nowhere, and is alone then.
        let single = 4 * (value_len as u64 + 100);
        let bound = most.max(single) + (2 << 20);
        let held = replay::MOST_HELD.get();
        assert!(held <= bound, "{held} bytes of MemTables, {most} are allowed");
        assert!(memtables_of(&core) <= bound);
        assert_eq!(core.reading.budget.memtable_bytes.load(Ordering::Relaxed), memtables_of(&core));
        core.close().unwrap();
        drop(core);
        let db = Db::builder(dir()).memory(MEMORY).env(machine.env()).open().unwrap();
        assert_eq!(db.iter().count() as u64, 3 + 4 * count);
        assert_eq!(db.snapshot().seqno().0, 1000 + 4 * count - 1);
    }
}

/// Wherever it dies, the next opening goes on, and no file is left behind.
#[test]
fn a_replay_that_flushes_can_die_at_every_call() {
    const MEMORY: u64 = 16 << 20;
    let machine = closed();
    with_records(&machine, groups(14, 400 << 10));
    let faults = Faults::over_memory(&machine);
    let checked = {
        let machine = machine.clone();
        move |what: String, left: MemoryMachine| {
            let db = Db::builder(dir()).memory(MEMORY).env(left.env()).open();
            let db = db.unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(db.iter().count(), 3 + 4 * 14, "{what}");
            let left = left.used_space();
            let most = machine.used_space() * 2 + (16 << 20);
            assert!(left < most, "{what}: {left} bytes are left, {most} at most");
            db.put("later", "value").unwrap();
        }
    };
    let flushed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flushed);
    let copied = machine.clone();
    faults.before_each_change(move |n, call| {
        seen.fetch_or(call.path.extension().is_some_and(|e| e == "sst"), Ordering::Relaxed);
        checked(format!("killed before call {n}, {call}"), copied.kill());
        checked(format!("cut before call {n}, {call}"), copied.crash(n));
    });
    let config = Config::new(MEMORY, Durability::Buffered, None, 2);
    let core = open(faults.env(&machine.env()), dir().to_owned(), config, false).unwrap();
    faults.remove_hook();
    assert!(flushed.load(Ordering::Relaxed), "all of it fits into MemTables");
    core.close().unwrap();
}

/// A record behind the end of what MemTables hold is damaged: nothing may be flushed
/// before that is known.
#[test]
fn a_long_log_is_found_whole_before_anything_is_flushed() {
    let machine = closed();
    let bad = group(9000, 1);
    with_records(&machine, groups(14, 400 << 10).chain([bad]));
    let faults = Faults::over_memory(&machine);
    faults.start_recording();
    let refused = Db::builder(dir()).memory(16 << 20).env(faults.env(&machine.env())).open();
    match refused {
        Err(Error::Corruption(found)) => assert!(found.what.contains("does not exist"), "{found}"),
        other => panic!("{:?}", other.map(drop)),
    }
    let changes = faults.take_recorded();
    let changed = changes.iter().filter(|call| call.op.changes() && call.op != Op::Lock);
    let changed: Vec<_> = changed.filter(|call| call.op != Op::CreateDirAll).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

/// A database of very many keyspaces was opened with any budget, and exceeded it.
#[test]
fn a_budget_that_the_keyspaces_do_not_fit_into_is_refused_and_the_error_says_what_is_enough() {
    let machine = MemoryMachine::new(1);
    let open = |memory: u64| Db::builder("/db").memory(memory).env(machine.env()).open();
    let db = open(64 << 20).unwrap();
    let keyspaces = 40;
    for n in 0..keyspaces {
        db.keyspace(&n.to_string(), KeyspaceOptions::new()).unwrap().put("k", "v").unwrap();
    }
    let states: Vec<_> =
        db.default_keyspace().core().reading.keyspaces.load().iter().cloned().collect();
    let budget = Budget::new(MIN_MEMORY, 2);
    assert!(check_budget(&budget, &states).is_ok());
    // As if there were a hundred times as many.
    budget.account.take(Part::MemTables, 16 << 20);
    let e = check_budget(&budget, &states).unwrap_err();
    assert!(matches!(e, Error::InvalidArgument(_)), "{e}");
    let text = e.to_string();
    for said in ["16 MiB is too small", "its 41 keyspaces need 16 MiB", "give it at least "] {
        assert!(text.contains(said), "{said:?} is not in: {text}");
    }
    let enough = text.rsplit_once("at least ").unwrap().1.replace(" MiB", "");
    let budget = Budget::new(enough.parse::<u64>().unwrap() << 20, 64);
    budget.account.take(Part::MemTables, 16 << 20);
    assert!(check_budget(&budget, &states).is_ok(), "{text}");
}
