//! What each option of opening does, and those of a keyspace.

use crate::writes::may_be_lost_by_a_power_cut;
use crate::{SMALL, World, builder};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tanada::vfs::memory::Dice;
use tanada::vfs::{Clock, Env, JoinHandle, MemoryMachine, Priority, Threads};
use tanada::{Compression, Db, Durability, Error, Keyspace, KeyspaceOptions};

pub(crate) fn memory() {
    let opened = |bytes: u64| {
        let machine = MemoryMachine::new(1);
        builder(&machine).memory(bytes).open()
    };
    let refused = opened(SMALL - 1).unwrap_err();
    assert!(matches!(refused, Error::InvalidArgument(_)), "{refused}");
    for (bytes, has_room) in [(SMALL, false), (2 * SMALL, true)] {
        let db = opened(bytes).unwrap();
        assert_eq!(db.stats().memory.budget_bytes, bytes);
        // More than 3/16 of the one, less than 3/16 of the other.
        match db.put("k", vec![7; 4 << 20]) {
            Ok(_) => assert!(has_room, "with {bytes}"),
            Err(Error::InvalidArgument(_)) => assert!(!has_room, "with {bytes}"),
            Err(e) => panic!("{e}"),
        }
        // More than the one can spare.
        let claim = db.claim_memory(13 << 20);
        assert_eq!(claim.is_ok(), has_room, "with {bytes}: {claim:?}");
    }
}

pub(crate) fn durability() {
    for (durability, may_be_lost) in
        [(Durability::Memory, true), (Durability::Buffered, true), (Durability::Synced, false)]
    {
        let machine = MemoryMachine::new(1);
        let db = builder(&machine).durability(durability).open().unwrap();
        assert_eq!(db.stats().durability, durability);
        db.put("k", "v").unwrap();
        assert_eq!(may_be_lost_by_a_power_cut(&machine), may_be_lost, "{durability:?}");
    }
    let machine = MemoryMachine::new(1);
    let db = builder(&machine).open().unwrap();
    db.put("k", "v").unwrap();
    assert!(!may_be_lost_by_a_power_cut(&machine), "synced without a word");
}

const VALUES: u64 = 400;
const VALUE_LEN: usize = 1000;
const USER_BYTES: u64 = VALUES * VALUE_LEN as u64;

/// Writes values anew that each compression makes as short as it can, and says how many
/// bytes their tables take.
fn table_bytes(db: &Db, keyspace: &Keyspace) -> u64 {
    let mut dice = Dice::new(1);
    for n in 0..VALUES {
        // Any of four letters: two bits each, and few repetitions.
        let mut value: Vec<u8> = (0..600).map(|_| b'a' + dice.below(4) as u8).collect();
        value.resize(VALUE_LEN, b'x');
        keyspace.put(n.to_be_bytes(), value).unwrap();
    }
    keyspace.compact(..).unwrap();
    assert_eq!(keyspace.iter().map(Result::unwrap).count() as u64, VALUES);
    let keyspaces = db.stats().keyspaces;
    keyspaces.iter().find(|stats| stats.name == keyspace.name()).unwrap().table_bytes
}

/// What tables take with this compression of the default keyspace.
fn with_builder(machine: &MemoryMachine, compression: Option<Compression>) -> u64 {
    let usual = builder(machine);
    let db = match compression {
        Some(compression) => usual.compression(compression).open().unwrap(),
        None => usual.open().unwrap(),
    };
    let bytes = table_bytes(&db, db.default_keyspace());
    db.close().unwrap();
    bytes
}

/// The same of a keyspace of its own.
fn with_options(machine: &MemoryMachine, name: &str, options: KeyspaceOptions) -> u64 {
    let db = builder(machine).open().unwrap();
    let bytes = table_bytes(&db, &db.keyspace(name, options).unwrap());
    db.close().unwrap();
    bytes
}

/// Bytes with each compression: none, LZ4, Zstandard.
fn with_each(of: impl Fn(Compression) -> u64) -> [u64; 3] {
    [Compression::None, Compression::Lz4, Compression::Zstd].map(of)
}

fn are_shorter_and_shorter([none, lz4, zstd]: [u64; 3]) {
    assert!(none > USER_BYTES && none > lz4 && lz4 > zstd, "{none}, {lz4}, {zstd} bytes");
}

fn is_about(bytes: u64, expected: u64) {
    assert!(bytes.abs_diff(expected) < expected / 50, "{bytes} bytes instead of {expected}");
}

/// What each takes in databases of their own.
fn usual_bytes() -> [u64; 3] {
    with_each(|compression| with_builder(&MemoryMachine::new(1), Some(compression)))
}

pub(crate) fn compression() {
    let usual = usual_bytes();
    are_shorter_and_shorter(usual);
    is_about(with_builder(&MemoryMachine::new(1), None), usual[1]);
    // It may differ at each opening, and what it was created with stays.
    let machine = MemoryMachine::new(1);
    for (given, expected) in [
        (Some(Compression::None), usual[0]),
        (Some(Compression::Zstd), usual[2]),
        (Some(Compression::Lz4), usual[1]),
        (None, usual[0]),
    ] {
        is_about(with_builder(&machine, given), expected);
    }
    // Other keyspaces have their own.
    let machine = MemoryMachine::new(1);
    with_builder(&machine, Some(Compression::None));
    is_about(with_options(&machine, "other", KeyspaceOptions::new()), usual[1]);
}

pub(crate) fn keyspace_new() {
    let usual = usual_bytes();
    let machine = MemoryMachine::new(1);
    is_about(with_options(&machine, "usual", KeyspaceOptions::new()), usual[1]);
    let created = KeyspaceOptions::new().compression(Compression::None);
    is_about(with_options(&machine, "plain", created), usual[0]);
    is_about(with_options(&machine, "plain", KeyspaceOptions::new()), usual[0]);
}

pub(crate) fn keyspace_compression() {
    let machine = MemoryMachine::new(1);
    let options = |compression| KeyspaceOptions::new().compression(compression);
    let bytes = with_each(|compression| with_options(&machine, "users", options(compression)));
    are_shorter_and_shorter(bytes);
    // One that is open takes it as well, and its neighbours do not.
    let World { db, side, .. } = World::new();
    let before = table_bytes(&db, &side);
    db.keyspace("side", options(Compression::None)).unwrap();
    is_about(table_bytes(&db, &side), bytes[0]);
    is_about(table_bytes(&db, db.default_keyspace()), before);
}

pub(crate) fn none() {
    assert!(usual_bytes()[0] > USER_BYTES);
}

pub(crate) fn lz4() {
    let [none, lz4, _] = usual_bytes();
    assert!(lz4 < none, "{lz4} of {none}");
}

pub(crate) fn zstd() {
    let [_, lz4, zstd] = usual_bytes();
    assert!(zstd < lz4, "{zstd} of {lz4}");
}

/// Real threads, counted, on a machine that says how many cores it has.
#[derive(Debug)]
struct CountedThreads {
    real: Arc<dyn Threads>,
    started: AtomicUsize,
    cores: usize,
}

impl Threads for CountedThreads {
    fn spawn(
        &self,
        name: &str,
        priority: Priority,
        body: Box<dyn FnOnce() + Send>,
    ) -> io::Result<Option<JoinHandle>> {
        self.started.fetch_add(1, Ordering::Relaxed);
        self.real.spawn(name, priority, body)
    }

    fn parallelism(&self) -> usize {
        self.cores
    }
}

pub(crate) fn threads() {
    let started = |asked: Option<usize>, cores: usize| -> tanada::Result<usize> {
        let dir = tempfile::tempdir().unwrap();
        let real = Env::real();
        let started = AtomicUsize::new(0);
        let threads = Arc::new(CountedThreads { real: real.threads.clone(), started, cores });
        let env = Env { threads: threads.clone(), ..real };
        let mut builder = Db::builder(dir.path().join("db")).memory(SMALL).env(env);
        if let Some(asked) = asked {
            builder = builder.threads(asked);
        }
        builder.open()?.close().unwrap();
        Ok(threads.started.load(Ordering::Relaxed))
    };
    let few = started(Some(2), 1).unwrap();
    assert_eq!(started(Some(6), 1).unwrap(), few + 4);
    assert_eq!(started(Some(6), 64).unwrap(), few + 4, "whatever there is");
    // One a core, at least 2, at most 8.
    for (cores, like) in [(1, 2), (2, 2), (5, 5), (8, 8), (64, 8)] {
        assert_eq!(started(None, cores).unwrap(), few + like - 2, "with {cores} cores");
    }
    for cannot_be in [0, 65] {
        let refused = started(Some(cannot_be), 1).unwrap_err();
        assert!(matches!(refused, Error::InvalidArgument(_)), "{refused}");
    }
    started(Some(1), 1).unwrap();
    started(Some(64), 1).unwrap();
}

pub(crate) fn create() {
    let machine = MemoryMachine::new(1);
    let refused = builder(&machine).create_if_missing(false).open().unwrap_err();
    assert!(matches!(refused, Error::NotADatabase { .. }), "{refused}");
    let made = machine.env().fs.read_dir(Path::new("/db"));
    assert!(made.is_err(), "nothing was made: {made:?}");
    for yes in [true, false] {
        builder(&machine).create_if_missing(yes).open().unwrap().close().unwrap();
    }
    builder(&MemoryMachine::new(2)).open().expect("it is created without a word");
}

pub(crate) fn env() {
    let (one, other) = (MemoryMachine::new(1), MemoryMachine::new(2));
    let db = Db::builder("/db").memory(SMALL).env(one.env()).open().unwrap();
    db.put("k", "v").unwrap();
    db.close().unwrap();
    let has = |machine: &MemoryMachine| builder(machine).open().unwrap().contains("k").unwrap();
    assert!(has(&one) && !has(&other));
    // The clock is that machine's as well.
    let db = builder(&one).open().unwrap();
    one.clock().advance(Duration::from_secs(3600));
    assert_eq!(db.now().0, one.clock().wall_ms());
}

/// Flushes so far of a database with less in it than a MemTable takes, or more.
#[cfg(feature = "simulation")]
fn flushes(db: &Db, kib: u64) -> u64 {
    for n in 0..kib {
        db.put(n.to_be_bytes(), [7; 1024]).unwrap();
    }
    db.stats().flush.jobs
}

#[cfg(feature = "simulation")]
pub(crate) fn tuning() {
    use tanada::Tuning;
    let small = Tuning { memtable_bytes: Some(16 << 10), ..Tuning::default() };
    for (tuning, flushed) in [(small, true), (Tuning::default(), false)] {
        let db = builder(&MemoryMachine::new(1)).tuning(tuning).open().unwrap();
        assert_eq!(flushes(&db, 100) > 0, flushed, "{tuning:?}");
    }
}

#[cfg(feature = "simulation")]
pub(crate) fn scheduler() {
    /// Counts how often it is asked.
    #[derive(Debug, Default)]
    struct Asked(AtomicUsize);

    impl tanada::Scheduler for Asked {
        fn order(&self) -> u64 {
            self.0.fetch_add(1, Ordering::Relaxed);
            // Not the order in which it seals what is quiet.
            24
        }
    }

    // More than a MemTable, less than all of them may take.
    const KIB: u64 = 2_200;
    let db = builder(&MemoryMachine::new(1)).open().unwrap();
    assert!(flushes(&db, KIB) > 0, "without one, work is done when it is due");
    let asked = Arc::new(Asked::default());
    let scheduler = Arc::clone(&asked) as Arc<dyn tanada::Scheduler>;
    let db = builder(&MemoryMachine::new(1)).scheduler(scheduler).open().unwrap();
    assert_eq!(flushes(&db, KIB), 0, "nobody has said so");
    let before = asked.0.load(Ordering::Relaxed);
    let steps = (0..1_000).take_while(|_| db.step()).count();
    assert!((1..1_000).contains(&steps), "{steps} steps");
    assert!(db.stats().flush.jobs > 0 && asked.0.load(Ordering::Relaxed) > before);
}

/// Only a build for simulations has them: `cargo test --workspace` makes one.
#[cfg(not(feature = "simulation"))]
pub(crate) fn tuning() {}

#[cfg(not(feature = "simulation"))]
pub(crate) fn scheduler() {}

pub(crate) fn open() {
    let machine = MemoryMachine::new(1);
    let db = builder(&machine).open().unwrap();
    db.put("k", "v").unwrap();
    let second = builder(&machine).open().unwrap_err();
    assert!(matches!(second, Error::Locked { .. }), "{second}");
    db.put("other", "v").expect("the first is none the worse");
    db.close().unwrap();
    let db = builder(&machine).open().unwrap();
    assert_eq!(db.iter().map(Result::unwrap).count(), 2);
}

pub(crate) fn read_only() {
    let machine = MemoryMachine::new(1);
    let refused = builder(&machine).read_only().open().unwrap_err();
    assert!(matches!(refused, Error::NotADatabase { .. }), "{refused}");
    builder(&machine).open().unwrap().put("k", "v").unwrap();
    let db = builder(&machine).read_only().open().unwrap();
    assert_eq!(db.get("k").unwrap().unwrap(), "v");
    assert!(matches!(db.put("k", "w"), Err(Error::ReadOnly { .. })));
}

pub(crate) fn writer_epoch() {
    let machine = MemoryMachine::new(1);
    let open = |epoch| builder(&machine).writer_epoch(tanada::WriterEpoch(epoch)).open();
    open(5).unwrap().close().unwrap();
    assert!(matches!(open(4), Err(Error::InvalidArgument(_))));
    open(5).unwrap();
}

/// Does every second job that it is handed, as another process would.
#[derive(Debug)]
struct EverySecond {
    env: Env,
    handed: AtomicUsize,
}

impl tanada::Compactor for EverySecond {
    fn compact(&self, job: &[u8]) -> tanada::Result<Option<Vec<u8>>> {
        match self.handed.fetch_add(1, Ordering::Relaxed) % 2 {
            0 => tanada::run_compaction(&self.env, "/db", job, 4 << 20).map(Some),
            _ => Ok(None),
        }
    }
}

pub(crate) fn compactor() {
    let machine = MemoryMachine::new(1);
    let handed = AtomicUsize::new(0);
    let compactor = Arc::new(EverySecond { env: machine.env(), handed });
    let db = builder(&machine).compactor(compactor.clone()).open().unwrap();
    for round in 0..4 {
        for key in 0..50 {
            db.put(format!("key{key}"), format!("{round}")).unwrap();
        }
        db.compact(..).unwrap();
        assert_eq!(db.get("key7").unwrap().unwrap(), format!("{round}"));
    }
    // The first has nothing to be merged with.
    assert!(compactor.handed.load(Ordering::Relaxed) >= 3);
    assert!(db.verify().unwrap().damage.is_empty());
}
