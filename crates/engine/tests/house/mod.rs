//! Golden databases: small directories that the first version of the format
//! wrote, kept in the repository, and what must be in them.
//!
//! Each lies in `tests/golden/databases/NAME/`, its logs without the zeros at
//! their ends. `TANADA_WRITE_GOLDEN=1 cargo test -p tanada --test golden` writes
//! them anew, after a deliberate change of a format that nobody has data in yet.
#![allow(clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tanada::vfs::{Env, MemoryMachine};
use tanada::{Compression, Db, KeyspaceOptions, PutOptions};

/// Where a golden database lies in its machine.
pub(crate) const DIR: &str = "/golden";

/// One golden database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Golden {
    pub(crate) name: &'static str,
    pub(crate) compression: Compression,
}

pub(crate) const GOLDEN: [Golden; 3] = [
    Golden { name: "none", compression: Compression::None },
    Golden { name: "lz4", compression: Compression::Lz4 },
    Golden { name: "zstd", compression: Compression::Zstd },
];

/// Files by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// One version of a key: its value (`None`: deleted), and when it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) expires_at_ms: Option<u64>,
}

/// Every version of every key, by sequence number, of one keyspace.
pub(crate) type History = BTreeMap<Vec<u8>, BTreeMap<u64, Version>>;

/// What a golden database was made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// The default keyspace, and the one called `second`.
    pub(crate) spaces: [History; 2],
}

/// Key, value, sequence number, expiry: what a reader sees, of one keyspace.
pub(crate) type Contents = BTreeMap<Vec<u8>, (Vec<u8>, u64, Option<u64>)>;

impl Expected {
    /// What a reader sees at this wall time.
    pub(crate) fn contents(&self, space: usize, now_ms: u64) -> Contents {
        let newest = |(key, versions): (&Vec<u8>, &BTreeMap<u64, Version>)| {
            let (seqno, version) = versions.last_key_value()?;
            let live = version.expires_at_ms.is_none_or(|at| at > now_ms);
            let value = version.value.clone().filter(|_| live)?;
            Some((key.clone(), (value, *seqno, version.expires_at_ms)))
        };
        self.spaces[space].iter().filter_map(newest).collect()
    }
}

/// Writes a golden database and notes what it writes.
struct Maker {
    db: Db,
    machine: MemoryMachine,
    expected: Expected,
}

impl Maker {
    fn space(&self, space: usize) -> tanada::Keyspace {
        match space {
            0 => self.db.default_keyspace().clone(),
            _ => self.db.keyspace("second", KeyspaceOptions::new()).unwrap(),
        }
    }

    fn put(&mut self, space: usize, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let seqno = self.space(space).put(&key, &value).unwrap();
        self.note(space, key.as_ref(), seqno.0, Some(value.as_ref().to_vec()), None);
    }

    fn expiring(&mut self, space: usize, key: &str, value: &str, ttl_ms: u64) {
        let now_ms = self.machine.env().clock.wall_ms();
        let options = PutOptions::new().ttl(Duration::from_millis(ttl_ms));
        let seqno = self.space(space).put_with(key, value, options).unwrap();
        let expires = Some(now_ms + ttl_ms);
        self.note(space, key.as_bytes(), seqno.0, Some(value.as_bytes().to_vec()), expires);
    }

    fn delete(&mut self, space: usize, key: impl AsRef<[u8]>) {
        let seqno = self.space(space).delete(&key).unwrap();
        self.note(space, key.as_ref(), seqno.0, None, None);
    }

    fn note(
        &mut self,
        space: usize,
        key: &[u8],
        seqno: u64,
        value: Option<Vec<u8>>,
        expires_at_ms: Option<u64>,
    ) {
        let versions = self.expected.spaces[space].entry(key.to_vec()).or_default();
        versions.insert(seqno, Version { value, expires_at_ms });
    }
}

/// Bytes that hardly compress.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut dice = tanada::vfs::memory::Dice::new(seed);
    (0..len).map(|_| dice.next_u64() as u8).collect()
}

/// Writes the golden database: several tables on several levels, overwritten
/// and deleted keys, expiry, two keyspaces, and a log that is in no table yet,
/// in two files.
pub(crate) fn make(golden: Golden) -> (Files, Expected) {
    let machine = MemoryMachine::new(7);
    let db = Db::builder(DIR).env(machine.env()).memory(16 << 20);
    let db = db.compression(golden.compression).threads(1).open().unwrap();
    let mut maker = Maker { db, machine: machine.clone(), expected: Expected::default() };
    // A table on the last level, of several blocks.
    for i in 0..60u64 {
        maker.put(0, format!("terrace:{i:04}"), noise(i, 40 + (i % 7) as usize * 20));
    }
    maker.put(0, "deleted later", "and gone");
    maker.put(0, "deleted in the log", "and gone as well");
    maker.db.flush().unwrap();
    maker.db.compact(..).unwrap();
    // Two tables of level 0 above it, with other values for some keys.
    for i in (0..60u64).step_by(5) {
        maker.put(0, format!("terrace:{i:04}"), format!("second value of terrace {i}"));
    }
    maker.delete(0, "deleted later");
    maker.expiring(0, "expires", "soon", 1_000);
    maker.expiring(0, "expires late", "in a hundred years", 100 * 365 * 86_400_000);
    let second = KeyspaceOptions::new().compression(golden.compression);
    maker.db.keyspace("second", second).unwrap();
    for i in 0..20u64 {
        maker.put(1, format!("field:{i:02}"), format!("value {i} of the second keyspace"));
    }
    maker.db.flush().unwrap();
    for i in (0..60u64).step_by(7) {
        maker.delete(0, format!("terrace:{i:04}"));
    }
    maker.put(0, [0], "the smallest key");
    maker.put(0, [0xff; 30], "a great key");
    maker.db.flush().unwrap();
    // Logs that no table holds: the second keyspace is flushed, the default one
    // is not, so that both files are needed.
    for i in 0..6u64 {
        maker.put(0, format!("logged:{i}"), format!("value {i} that is only in the log"));
        maker.put(1, format!("field:{i:02}"), format!("value {i}, again"));
    }
    maker.delete(0, "deleted in the log");
    maker.space(1).flush().unwrap();
    // Whoever opens it begins a log of his own.
    maker.db.close().unwrap();
    maker.db = open(&machine, DIR).unwrap();
    let mut batch = tanada::Batch::new();
    batch.put("batch:1", "together");
    batch.put("batch:2", "with this");
    let last = maker.db.write(batch).unwrap().0;
    maker.note(0, b"batch:1", last - 1, Some(b"together".to_vec()), None);
    maker.note(0, b"batch:2", last, Some(b"with this".to_vec()), None);
    maker.put(1, "field:19", "newest");
    maker.expiring(1, "expires", "in the log", 1_000);
    maker.put(0, "terrace:0001", "overwritten in the log");
    maker.db.close().unwrap();
    let expected = maker.expected.clone();
    drop(maker);
    (files_of(&machine.env(), Path::new(DIR)), expected)
}

/// All files in a directory but the lock.
pub(crate) fn files_of(env: &Env, dir: &Path) -> Files {
    let names = env.fs.read_dir(dir).unwrap();
    let names = names.into_iter().map(|entry| entry.name).filter(|name| name != "LOCK");
    names
        .map(|name| {
            let file = env.fs.open(&dir.join(&name)).unwrap();
            let mut bytes = vec![0; file.len() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            (name, bytes)
        })
        .collect()
}

pub(crate) fn is_log(name: &str) -> bool {
    name.ends_with(".log")
}

pub(crate) fn is_table(name: &str) -> bool {
    name.ends_with(".sst")
}

/// Length of a log without the zeros at its end.
pub(crate) fn used(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1)
}

pub(crate) fn home(golden: Golden) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/databases").join(golden.name)
}

/// The golden database as it lies in the repository, its logs as long as they were.
pub(crate) fn kept(golden: Golden) -> Files {
    files_in(&home(golden))
}

/// What the same calls wrote at first. Never written anew.
pub(crate) fn kept_first(golden: Golden) -> Files {
    files_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/first").join(golden.name))
}

/// What they wrote before the manifest knew of lineages and of the time. Never written anew.
pub(crate) fn kept_second(golden: Golden) -> Files {
    files_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/second").join(golden.name))
}

/// What they wrote before tables told when each eighth of their values expires. Never written
/// anew.
pub(crate) fn kept_third(golden: Golden) -> Files {
    files_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/third").join(golden.name))
}

/// As [`kept`], of the version before edits of the manifest were numbered.
pub(crate) fn kept_fourth(golden: Golden) -> Files {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/fourth");
    files_in(&dir.join(golden.name))
}

fn files_in(home: &Path) -> Files {
    let mut files = files_of(&Env::real(), home);
    for (_, bytes) in files.iter_mut().filter(|(name, _)| is_log(name)) {
        let reserved = u64::from_le_bytes(bytes[88..96].try_into().unwrap());
        bytes.resize(reserved as usize, 0);
    }
    files
}

/// A machine that holds these files, durably.
pub(crate) fn machine(files: &Files) -> MemoryMachine {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    env.fs.create_dir_all(Path::new(DIR)).unwrap();
    for (name, bytes) in files {
        replace(&machine, name, bytes);
    }
    machine
}

/// Puts other bytes into a file of a machine.
pub(crate) fn replace(machine: &MemoryMachine, name: &str, bytes: &[u8]) {
    let env = machine.env();
    let path = Path::new(DIR).join(name);
    if env.fs.exists(&path).unwrap() {
        env.fs.remove(&path).unwrap();
    }
    // The zeros of a log are not written one by one.
    let used = if is_log(name) { used(bytes) } else { bytes.len() };
    let mut file = env.fs.create_log(&path, bytes.len() as u64).unwrap();
    file.append(&bytes[..used]).unwrap();
}

/// Opens the database in `dir` as it is, without creating one.
pub(crate) fn open(machine: &MemoryMachine, dir: &str) -> tanada::Result<Db> {
    Db::builder(dir).env(machine.env()).memory(16 << 20).create_if_missing(false).threads(1).open()
}

/// Everything that a reader sees, by scans and by gets.
pub(crate) fn read(db: &Db) -> tanada::Result<[Contents; 2]> {
    let second = db.keyspace("second", KeyspaceOptions::new())?;
    let one = |space: &tanada::Keyspace| -> tanada::Result<Contents> {
        let mut contents = Contents::new();
        for entry in space.iter() {
            let (key, value) = entry?;
            let record = space.get_record(&key)?.expect("a scan has just seen it");
            assert_eq!(record.value, value, "a get and a scan agree");
            let record = (value.to_vec(), record.version.0, record.expires_at.map(|at| at.0));
            contents.insert(key.to_vec(), record);
        }
        Ok(contents)
    };
    Ok([one(db.default_keyspace())?, one(&second)?])
}
