//! Opening what is sound by its checksums and yet cannot be: refused by name,
//! never half opened.

use super::*;
use crate::wal::group::{GroupEntry, GroupHeader, encode_entry};
use crate::{Db, Durability};
use tanada_format::ValueKind;
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
    let env = machine.env();
    let current = current(&env);
    let files = manifest_of(&env, current.database);
    let state = Manifest::open(files, &current).unwrap();
    let from = RecoverFrom { log: state.state().oldest_log, synced: LogPosition(0) };
    let found = wal::recover(&env, dir(), current.database, from, |_, _| Ok(())).unwrap();
    let sizes = wal::SegmentSizes::for_memtable(1 << 20);
    let mut wal = WalWriter::create(&env, dir(), current.database, &found.tail, sizes).unwrap();
    wal.append(&[payload]).unwrap();
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
    for number in 0..16 {
        db.put([number], vec![number; 512 << 10]).unwrap();
    }
    let core = opened(&machine.kill(), 16 << 20);
    let seal_bytes = core.reading.budget.memtable_seal;
    let view = core.reading.keyspaces.load()[0].view.load();
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
    let held = core.reading.keyspaces.load()[0].view.load().active.size_bytes();
    assert!(held > 4000);
    assert_eq!(core.commit.writer().active_bytes, held);
}

/// Each opening begins a log, and what was replayed needs those before.
#[test]
fn openings_do_not_pile_up_logs_beyond_twice_what_memtables_may_hold() {
    let mut machine = MemoryMachine::new(1);
    let (mut longest, mut was_sealed) = (0, false);
    for number in 0..10u8 {
        let db = Db::builder(dir()).memory(16 << 20).env(machine.env()).open().unwrap();
        db.put([number], "value").unwrap();
        machine = machine.kill();
        drop(db);
        let core = opened(&machine, 16 << 20);
        let bytes = core.wal.segments().iter().map(|segment| segment.bytes).sum::<u64>();
        let sealed = !core.reading.keyspaces.load()[0].view.load().sealed.is_empty();
        let limit = 2 * core.reading.budget.memtables_max;
        assert_eq!(sealed, bytes > limit, "{bytes} bytes, {limit} are allowed");
        longest = longest.max(bytes);
        was_sealed |= sealed;
    }
    assert!(was_sealed);
    assert!(longest < (6 << 20) * 2 + (3 << 20), "{longest}");
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
        let token = WriterToken::new();
        let mut replay = Replay::new(token, &manifest, dir(), &budget, None).unwrap();
        replay_log(&env, dir(), current.database, &manifest, &mut replay).unwrap();
        let view = replay.keyspaces[0].view.load();
        view.mems().map(|mem| mem.size_bytes()).collect::<Vec<_>>()
    };
    let [all] = replayed(1 << 20)[..] else { panic!("they are three small writes") };
    // Each write alone takes as much: memory is taken in pieces.
    assert_eq!(replayed(all + 1), [all]);
    assert_eq!(replayed(all), [all; 3]);
}
