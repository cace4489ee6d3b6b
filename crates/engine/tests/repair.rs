//! Repair, after every kind of damage to golden databases: it never falls over,
//! never writes to what it repairs, and gives a database that opens and
//! verifies. No value in it is wrong, and nothing is lost but what lay in the
//! damaged block or record, which the report names.

mod house;

use house::{
    DIR, Expected, Files, GOLDEN, Golden, History, files_of, is_log, kept, machine, make, open,
    replace, used,
};
use std::path::Path;
use tanada::vfs::MemoryMachine;
use tanada::{
    Batch, Db, Durability, Error, KeyspaceOptions, LostPart, RepairReport, WriteOptions,
    WriterEpoch, repair,
};

const SAVED: &str = "/saved";

struct Patient {
    golden: Golden,
    files: Files,
    whole: MemoryMachine,
    expected: Expected,
}

impl Patient {
    fn new(golden: Golden) -> Patient {
        let files = kept(golden);
        let whole = machine(&files);
        Patient { golden, files, whole, expected: make(golden).1 }
    }

    /// Repairs the machine, and checks what came out but what is missing in it.
    fn repair(&self, machine: &MemoryMachine, place: &str) -> (RepairReport, Db) {
        let env = machine.env();
        let before = files_of(&env, Path::new(DIR));
        let report = repair(&env, DIR, SAVED).unwrap_or_else(|e| panic!("{place}: {e}"));
        assert!(files_of(&env, Path::new(DIR)) == before, "{place}: the source was written to");
        let db = open(machine, SAVED).unwrap_or_else(|e| panic!("{place}: {e}"));
        let damage = db.verify().expect("it is open").damage;
        assert_eq!(damage, Vec::<String>::new(), "{place}");
        (report, db)
    }

    /// Every value was there, and nothing is missing but what the report names.
    fn check(&self, report: &RepairReport, db: &Db, now_ms: u64, place: &str) {
        for (space, name) in ["default".to_owned(), name_of_second(db)].into_iter().enumerate() {
            let history = &self.expected.spaces[space];
            let saved = saved(db, &name);
            for (key, record) in &saved {
                assert!(is_true(history, key, record), "{place}: {:?}", key.escape_ascii());
            }
            let wanted = self.expected.contents(space, now_ms);
            for (key, versions) in history {
                let newest = *versions.last_key_value().expect("it was written").0;
                let (found, wanted) = (saved.get(key), wanted.get(key));
                if found == wanted {
                    continue;
                }
                // A damaged record that seems to name a key takes that key with it.
                let doubted = format!("{name}: {}", key.escape_ascii());
                if found.is_none() && report.doubtful_keys.contains(&doubted) {
                    continue;
                }
                let lost = |part: &&LostPart| may_have_held(part, &name, key, newest);
                let Some(part) = report.lost.iter().find(lost) else {
                    panic!(
                        "{place}: {:?} is {found:?} and was {wanted:?}; {report:?}",
                        key.escape_ascii()
                    );
                };
                // Only a log does not always tell which keys are lost.
                assert!(found.is_none() || is_log(&part.file), "{place}: an older value came back");
            }
        }
    }
}

/// The second keyspace, whose name is lost with the manifest.
fn name_of_second(db: &Db) -> String {
    let names = db.keyspaces();
    assert!(names == ["second"] || names == ["keyspace-1"], "{names:?}");
    names[0].clone()
}

fn saved(db: &Db, name: &str) -> house::Contents {
    let space = match name {
        "default" => db.default_keyspace().clone(),
        name => db.keyspace(name, KeyspaceOptions::new()).expect("it is there"),
    };
    let record = |entry: tanada::Result<(tanada::Value, tanada::Value)>| {
        let key = entry.expect("it has been verified").0;
        let record = space.get_record(&key).expect("as above").expect("a scan saw it");
        (key.to_vec(), (record.value.to_vec(), record.version.0, record.expires_at.map(|at| at.0)))
    };
    space.iter().map(record).collect()
}

/// Whether the key had this value, with this number and expiry.
fn is_true(history: &History, key: &[u8], found: &(Vec<u8>, u64, Option<u64>)) -> bool {
    let (value, seqno, expires_at_ms) = found;
    let version = history.get(key).and_then(|versions| versions.get(seqno));
    version.is_some_and(|version| {
        version.value.as_ref() == Some(value) && version.expires_at_ms == *expires_at_ms
    })
}

/// Whether the report says that this version of the key may be lost in this part.
fn may_have_held(part: &LostPart, keyspace: &str, key: &[u8], seqno: u64) -> bool {
    part.keyspace.as_deref().is_none_or(|of| of == keyspace)
        && part.from_key.as_ref().is_none_or(|from| key >= &from[..])
        && part.to_key.as_ref().is_none_or(|to| key <= &to[..])
        && part.first_seqno.is_none_or(|first| seqno >= first)
        && part.last_seqno.is_none_or(|last| seqno <= last)
}

fn exhaustive() -> bool {
    std::env::var_os("TANADA_EXHAUSTIVE").is_some()
}

#[test]
fn a_whole_database_is_copied_and_nothing_is_lost() {
    for golden in GOLDEN {
        let patient = Patient::new(golden);
        let machine = patient.whole.kill();
        let (report, db) = patient.repair(&machine, golden.name);
        patient.check(&report, &db, machine.env().clock.wall_ms(), golden.name);
        let nothing = RepairReport {
            files: report.files.clone(),
            keys: report.keys.clone(),
            ..RepairReport::default()
        };
        assert_eq!(report, nothing);
        assert!(report.files.iter().all(|file| file.whole && file.entries > 0), "{report:?}");
        // It is a database like any other.
        db.put("terrace:0001", "written after the repair").expect("it can be written to");
        db.compact(..).expect("it can be compacted");
        db.close().expect("it can be closed");
        drop(db);
        let db = open(&machine, SAVED).expect("it opens again");
        assert_eq!(
            db.get("terrace:0001").expect("it reads").as_deref(),
            Some(&b"written after the repair"[..])
        );
    }
}

/// Opening carries over what was never synced, and removes its log; an opening that is
/// killed before the removal leaves it behind.
#[test]
fn a_log_that_was_left_behind_is_no_damage() {
    let mut machine = MemoryMachine::new(1);
    let db = Db::builder(DIR).env(machine.env()).open().expect("it can be created");
    db.put("terrace", "planted").expect("it can be written to");
    machine = machine.kill();
    open(&machine, DIR).expect("it opens").close().expect("it can be closed");
    let db = open(&machine, DIR).expect("it opens again");
    let mut unsynced = Batch::new();
    unsynced.put("terrace", "harvested");
    let options = WriteOptions::new().durability(Durability::Buffered);
    db.write_with(unsynced, options).expect("it can be written to");
    machine = machine.kill();
    let before = files_of(&machine.env(), Path::new(DIR));
    let _open = open(&machine, DIR).expect("it opens after a kill");

    machine = machine.kill();
    let after = files_of(&machine.env(), Path::new(DIR));
    let removed = before.iter().filter(|(name, _)| is_log(name) && !after.contains_key(*name));
    for (name, bytes) in removed {
        let fs = machine.env().fs;
        fs.create(&Path::new(DIR).join(name))
            .and_then(|mut f| f.append(bytes))
            .expect("it is gone");
    }
    let report = repair(&machine.env(), DIR, SAVED).expect("it is whole");
    assert_eq!((&report.damage, &report.lost), (&vec![], &vec![]));
    let saved = open(&machine, SAVED).expect("it opens");
    assert_eq!(saved.get("terrace").expect("it reads").as_deref(), Some(&b"harvested"[..]));

    // A power cut may have torn it.
    let read: Vec<&str> = report.files.iter().map(|file| &*file.file).collect();
    let files = files_of(&machine.env(), Path::new(DIR));
    let left = files.keys().find(|name| is_log(name) && !read.contains(&&***name));
    let left = left.expect("a log was left behind");
    let mut torn = files[left].clone();
    torn[100] ^= 1;
    replace(&machine, left, &torn);
    let again = repair(&machine.env(), DIR, "/saved again").expect("it is whole");
    assert_eq!(again, report);
}

/// Once a database was opened behind a power cut, that its old log is torn costs
/// nobody anything.
#[test]
fn a_tail_that_a_power_cut_tore_is_no_damage_after_the_next_opening() {
    let mut torn = 0;
    for seed in 0..40 {
        let mut machine = MemoryMachine::new(seed);
        let db = Db::builder(DIR).env(machine.env()).open().expect("it can be created");
        for n in 0..40u32 {
            let mut batch = Batch::new();
            batch.put(n.to_be_bytes(), [7; 400]);
            let synced = if n < 4 { Durability::Synced } else { Durability::Buffered };
            let options = WriteOptions::new().durability(synced);
            db.write_with(batch, options).expect("it can be written to");
        }
        machine = machine.crash(seed);
        let db = open(&machine, DIR).expect("it opens after a power cut");
        let left = db.iter().count();
        torn += usize::from(left > 4 && left < 40);
        db.put("terrace", "planted").expect("it can be written to");
        machine = machine.kill();
        let report = repair(&machine.env(), DIR, SAVED).expect("it is whole");
        assert_eq!((&report.damage, &report.lost), (&vec![], &vec![]), "seed {seed}");
        assert!(report.files.iter().all(|file| file.whole), "seed {seed}: {report:?}");
        let saved = open(&machine, SAVED).expect("it opens");
        assert_eq!(saved.iter().count(), left + 1, "seed {seed}");
    }
    assert!(torn > 5, "{torn} logs were torn");
}

fn a_changed_byte_costs_its_block_or_record_at_most(golden: Golden) {
    let patient = Patient::new(golden);
    let (mut cases, mut with_loss) = (0, 0);
    for (name, good) in &patient.files {
        let end = if is_log(name) { used(good) + 32 } else { good.len() };
        let step = if exhaustive() { 1 } else { 23 };
        for at in (0..end).step_by(step) {
            for byte in [good[at] ^ 0x01, good[at] ^ 0xff, 0] {
                let chosen = exhaustive() || byte == [good[at] ^ 1, good[at] ^ 0xff][at % 2];
                if byte == good[at] || !chosen {
                    continue;
                }
                let machine = patient.whole.kill();
                let mut bytes = good.clone();
                bytes[at] = byte;
                replace(&machine, name, &bytes);
                let place = format!("{}/{name} byte {at} = {byte:#04x}", golden.name);
                let (report, db) = patient.repair(&machine, &place);
                patient.check(&report, &db, machine.env().clock.wall_ms(), &place);
                for part in &report.lost {
                    let inside = (part.offset..part.offset + part.bytes).contains(&(at as u64));
                    assert!(part.file == *name && inside, "{place}: {part:?}");
                    assert!(part.bytes < 8192, "{place}: {part:?}");
                }
                assert!(report.lost.len() <= 1, "{place}: {report:?}");
                cases += 1;
                with_loss += usize::from(!report.lost.is_empty());
            }
        }
    }
    assert!(cases > 200 && with_loss > 100, "{cases} cases, {with_loss} with a loss");
}

#[test]
fn a_changed_byte_of_an_uncompressed_database_costs_its_block_or_record_at_most() {
    a_changed_byte_costs_its_block_or_record_at_most(GOLDEN[0]);
}

#[test]
fn a_changed_byte_of_a_database_with_lz4_costs_its_block_or_record_at_most() {
    a_changed_byte_costs_its_block_or_record_at_most(GOLDEN[1]);
}

#[test]
fn a_changed_byte_of_a_database_with_zstd_costs_its_block_or_record_at_most() {
    a_changed_byte_costs_its_block_or_record_at_most(GOLDEN[2]);
}

#[test]
fn a_file_cut_anywhere_costs_what_lay_behind_the_cut() {
    for golden in GOLDEN {
        let patient = Patient::new(golden);
        for (name, good) in &patient.files {
            let end = if is_log(name) { used(good) } else { good.len() };
            for len in (0..end).step_by(if exhaustive() { 1 } else { 97 }) {
                let machine = patient.whole.kill();
                replace(&machine, name, &good[..len]);
                let place = format!("{}/{name} cut at {len}", golden.name);
                let (report, db) = patient.repair(&machine, &place);
                patient.check(&report, &db, machine.env().clock.wall_ms(), &place);
            }
        }
    }
}

#[test]
fn a_missing_file_costs_what_was_in_it() {
    for golden in GOLDEN {
        let patient = Patient::new(golden);
        for name in patient.files.keys() {
            let machine = patient.whole.kill();
            machine.env().fs.remove(&Path::new(DIR).join(name)).expect("it was there");
            let place = format!("{}/{name} removed", golden.name);
            let (report, db) = patient.repair(&machine, &place);
            // That the last log is gone as a whole cannot be told.
            if Some(name) != patient.files.keys().rfind(|name| is_log(name)) {
                patient.check(&report, &db, machine.env().clock.wall_ms(), &place);
                assert!(name == "CURRENT" || !report.lost.is_empty() || !report.assumed.is_empty());
            }
        }
    }
}

#[test]
fn without_current_and_manifest_tables_and_logs_tell_everything_but_names() {
    for golden in GOLDEN {
        let patient = Patient::new(golden);
        let machine = patient.whole.kill();
        for name in patient.files.keys() {
            if name == "CURRENT" || name.starts_with("MANIFEST") {
                machine.env().fs.remove(&Path::new(DIR).join(name)).expect("it was there");
            }
        }
        let (report, db) = patient.repair(&machine, golden.name);
        patient.check(&report, &db, machine.env().clock.wall_ms(), golden.name);
        assert_eq!(name_of_second(&db), "keyspace-1");
        assert!(report.lost.is_empty() && !report.assumed.is_empty(), "{report:?}");
    }
}

/// redb's repair fell over on what it was made for (redb #888). Whatever lies
/// in the files, ours answers; and what it saves was there.
#[test]
fn repair_panics_on_garbage() {
    let mut answered = 0;
    for golden in GOLDEN {
        let patient = Patient::new(golden);
        let names: Vec<&String> = patient.files.keys().collect();
        for (n, name) in names.iter().enumerate() {
            let good = &patient.files[*name];
            for seed in 0..12u64 {
                let mut dice = tanada::vfs::memory::Dice::new(seed * 1000 + n as u64);
                let len = if is_log(name) { used(good) } else { good.len() };
                let mut bytes = good[..len].to_vec();
                match seed % 6 {
                    0 => bytes.iter_mut().for_each(|b| *b = dice.next_u64() as u8),
                    1 => bytes = patient.files[names[(n + 1) % names.len()]].clone(),
                    2 => bytes.fill([0, 1, 0xff][dice.below(3) as usize]),
                    3 => {
                        let at = dice.below(len as u64) as usize;
                        bytes[at..].iter_mut().for_each(|b| *b = dice.next_u64() as u8);
                    }
                    4 => {
                        let at = dice.below(len as u64) as usize;
                        let end = (at + dice.below(600) as usize).min(len);
                        bytes[at..end].fill(dice.next_u64() as u8);
                    }
                    _ => drop(bytes.drain(..dice.below(len as u64) as usize)),
                }
                let machine = patient.whole.kill();
                replace(&machine, name, &bytes);
                let place = format!("{}/{name} garbage of seed {seed}", patient.golden.name);
                let env = machine.env();
                if repair(&env, DIR, SAVED).is_err() {
                    continue;
                }
                answered += 1;
                let db = open(&machine, SAVED).unwrap_or_else(|e| panic!("{place}: {e}"));
                assert!(db.verify().expect("it is open").damage.is_empty(), "{place}");
                for (key, record) in saved(&db, "default") {
                    assert!(is_true(&patient.expected.spaces[0], &key, &record), "{place}");
                }
            }
        }
    }
    assert!(answered > 150, "{answered} repairs had an answer");
}

#[test]
fn repair_refuses_what_is_no_database_and_a_target_that_is_in_use() {
    let machine = MemoryMachine::new(1);
    let env = machine.env();
    assert!(matches!(repair(&env, "/nowhere", SAVED), Err(Error::Io(_))));
    env.fs.create_dir_all(Path::new("/empty")).expect("there is room");
    assert!(matches!(repair(&env, "/empty", SAVED), Err(Error::NotADatabase { .. })));

    let patient = Patient::new(GOLDEN[0]);
    let machine = patient.whole.kill();
    let env = machine.env();
    let inside = format!("{DIR}/saved");
    for target in [DIR, &inside] {
        assert!(matches!(repair(&env, DIR, target), Err(Error::InvalidArgument(_))), "{target}");
    }
    repair(&env, DIR, SAVED).expect("a whole database");
    assert!(matches!(repair(&env, DIR, SAVED), Err(Error::InvalidArgument(_))), "not empty");
}

/// The checksums of a file are bound to the epoch in which it was written. Of one whose header
/// was damaged, and which therefore did not say it, nothing was saved.
#[test]
fn a_damaged_header_costs_no_record_in_a_later_epoch_either() {
    for epoch in [0, 7] {
        let machine = MemoryMachine::new(1);
        let builder = || {
            let builder = Db::builder(DIR).memory(16 << 20).env(machine.env());
            builder.durability(Durability::Synced).writer_epoch(WriterEpoch(epoch))
        };
        let db = builder().open().unwrap();
        db.put("in a table", "value").unwrap();
        db.flush().unwrap();
        db.put("in the log", "value").unwrap();
        db.put("in the log, too", "value").unwrap();
        drop(db);
        let whole = files_of(&machine.env(), Path::new(DIR));
        let names = |part: &str| -> Vec<String> {
            whole.keys().filter(|name| name.contains(part)).cloned().collect()
        };
        for damaged in
            [names(".log"), names("MANIFEST"), [names(".log"), names("MANIFEST")].concat()]
        {
            let mut files = whole.clone();
            for name in &damaged {
                let bytes = files.get_mut(name).unwrap();
                let head = bytes.len().min(if name.contains("MANIFEST") { 100 } else { 256 });
                bytes[..head].fill(9);
            }
            let machine = house::machine(&files);
            let report = repair(&machine.env(), DIR, SAVED).unwrap();
            let db = open(&machine, SAVED).unwrap();
            for key in ["in a table", "in the log", "in the log, too"] {
                let found = db.get(key).unwrap();
                assert_eq!(
                    found.as_deref(),
                    Some(&b"value"[..]),
                    "{epoch}, {damaged:?}: {report:?}"
                );
            }
        }
    }
}
