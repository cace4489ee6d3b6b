//! Short lives of a database that together make every call to the file system that
//! the engine can make: from a new directory, from what a death has left at several
//! moments, from a damaged one, and with a mishap on the way, for some calls are made
//! only to clean up behind a failure.
//!
//! A course is the same each time, call by call: the background works when a seeded
//! scheduler says so, in the one thread that there is.

use crate::operation::{Begin, Cover, Direction, Exit, Key, Operation, ValueSpec, Write};
use crate::oracle::{CHECKPOINTS_DIR, Moment, Oracle};
use crate::runner::{PATH, Runner, Settings, Surroundings};
use crate::targets::{is_manifest, names_of_tables};
use parking_lot::Mutex;
use std::ops::Bound::Unbounded;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tanada::{
    CheckpointDir, Compression, Db, Durability, Error, RepairReport, Result, Scheduler, Tuning,
};
use tanada_vfs::MemoryMachine;
use tanada_vfs::fault::{Call, EIO, ENOSPC, EXDEV, Faults, Op, Rule};
use tanada_vfs::memory::Dice;

/// Where a repair writes to, and where it does when it is tried again.
pub(crate) const SAVED: [&str; 2] = ["/saved", "/saved again"];
/// More pieces of work than any course has.
const MOST_ORDERS: u64 = 50_000;
/// Openings until one must have succeeded.
const OPENINGS: u32 = 3;

/// What a course begins with.
pub(crate) type Start = (MemoryMachine, Oracle);

/// A life.
pub struct Course {
    /// Its name.
    pub name: &'static str,
    pub(crate) start: fn() -> Start,
    mishap: fn() -> Option<Rule>,
    steps: fn() -> Vec<Step>,
    /// What repair is given.
    pub(crate) source: Option<Repairable>,
}

/// What repair is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repairable {
    /// A database that was killed and has no damage.
    Whole,
    /// One that no longer opens.
    Damaged,
}

/// One step of a life.
enum Step {
    Open,
    Close,
    /// From the next opening on compactions are carried out elsewhere.
    CompactElsewhere,
    Do(Operation),
    Verify,
    /// So many jobs of the background.
    Work(u32),
    /// A process that died leaves half of the next checkpoint, and half of another one.
    LeaveHalves,
    /// Opens the directory of checkpoints, lists them and removes the first.
    Checkpoints,
    Repair,
}

/// All of them.
pub static COURSES: [Course; 23] = [
    Course { name: "life", start: new_machine, mishap: none, steps: life, source: None },
    Course { name: "killed", start: killed, mishap: none, steps: second_life, source: None },
    Course {
        name: "creation cut before CURRENT",
        start: || creation_cut("CURRENT", 0),
        mishap: none,
        steps: second_life,
        source: None,
    },
    Course {
        name: "creation cut before the log",
        start: || creation_cut(".log", 0),
        mishap: none,
        steps: second_life,
        source: None,
    },
    Course {
        name: "creation cut behind the log",
        start: || creation_cut(".log", 1),
        mishap: none,
        steps: second_life,
        source: None,
    },
    Course { name: "torn manifest", start: torn, mishap: none, steps: second_life, source: None },
    Course {
        name: "manifest refused",
        start: new_machine,
        mishap: || Some(Rule::fail(ENOSPC).on(Op::Sync).path_suffix("CURRENT.tmp").nth(1)),
        steps: troubled_life,
        source: None,
    },
    Course {
        name: "edit refused, and room not reserved",
        start: killed,
        mishap: || Some(edit_on_a_full_disk()),
        steps: troubled_life,
        source: None,
    },
    Course {
        name: "names refused to a new manifest",
        start: killed,
        mishap: || Some(sync_of_names_behind_a_new_manifest()),
        steps: troubled_life,
        source: None,
    },
    Course {
        name: "CURRENT refused",
        start: killed,
        mishap: || Some(Rule::fail(ENOSPC).on(Op::Rename).path_suffix("/CURRENT").nth(1)),
        steps: troubled_life,
        source: None,
    },
    Course {
        name: "table refused",
        start: new_machine,
        mishap: || Some(Rule::fail(EIO).on(Op::Sync).path_suffix(".sst").nth(1)),
        steps: troubled_life,
        source: None,
    },
    Course {
        name: "disk full",
        start: new_machine,
        mishap: || Some(Rule::fail(ENOSPC).on(Op::Create).path_suffix(".sst").nth(1)),
        steps: troubled_life,
        source: None,
    },
    Course {
        name: "table refused to a compaction elsewhere",
        start: new_machine,
        mishap: || Some(Rule::fail(EIO).on(Op::Sync).path_suffix(".sst").nth(7)),
        steps: || [Step::CompactElsewhere].into_iter().chain(troubled_life()).collect(),
        source: None,
    },
    Course {
        name: "names of tables refused",
        start: new_machine,
        mishap: || Some(first_sync_of_names_behind_a_table()),
        steps: troubled_life,
        source: None,
    },
    Course {
        name: "log refused",
        start: new_machine,
        mishap: || Some(Rule::fail(EIO).on(Op::LogWarm).nth(1)),
        steps: troubled_life,
        source: None,
    },
    Course {
        name: "checkpoints",
        start: killed,
        mishap: none,
        steps: life_with_checkpoints,
        source: None,
    },
    Course {
        name: "checkpoints by copies",
        start: killed,
        mishap: || Some(Rule::fail(EXDEV).on(Op::HardLink)),
        steps: life_with_checkpoints,
        source: None,
    },
    Course {
        name: "checkpoint refused",
        start: killed,
        mishap: || Some(Rule::fail(ENOSPC).on(Op::Create).path_suffix("/CURRENT").nth(1)),
        steps: life_with_checkpoints,
        source: None,
    },
    Course {
        name: "checkpoint whose directory is refused",
        start: killed,
        mishap: || {
            Some(Rule::apply_and_fail(EIO).on(Op::CreateDir).path_suffix(".unfinished").nth(2))
        },
        steps: life_with_checkpoints,
        source: None,
    },
    Course {
        name: "checkpoint whose lock is refused",
        start: killed,
        mishap: || Some(Rule::apply_and_fail(EIO).on(Op::Lock).path_suffix("LOCK.tmp").nth(2)),
        steps: life_with_checkpoints,
        source: None,
    },
    Course {
        name: "checkpoint whose name is refused",
        start: killed,
        mishap: || {
            Some(Rule::apply_and_fail(EIO).on(Op::Rename).path_suffix("checkpoints/1").nth(1))
        },
        steps: life_with_checkpoints,
        source: None,
    },
    Course {
        name: "repair",
        start: killed,
        mishap: none,
        steps: || vec![Step::Repair],
        source: Some(Repairable::Whole),
    },
    Course {
        name: "repair of damage",
        start: damaged,
        mishap: none,
        steps: || vec![Step::Repair],
        source: Some(Repairable::Damaged),
    },
];

/// How a life went.
pub(crate) struct Lived {
    pub(crate) runner: Runner,
    /// What a repair told, if it succeeded.
    pub(crate) repaired: Option<RepairReport>,
}

impl Course {
    /// Lives it from `start`, on a machine of its own, with what `arm` adds to its own
    /// mishap. `fails`: whether that lets a call fail.
    ///
    /// # Panics
    /// When anything is wrong, or anything fails though nothing was to.
    pub(crate) fn live(&self, start: &Start, fails: bool, arm: impl FnOnce(&Runner)) -> Lived {
        let mut runner = runner(start.0.kill(), start.1.clone());
        let mishap = (self.mishap)();
        let fails = fails || mishap.is_some();
        if fails {
            runner.distrust_closing();
        }
        mishap.into_iter().for_each(|rule| runner.faults().add(rule));
        arm(&runner);
        let mut repaired = None;
        for step in (self.steps)() {
            let done = match step {
                Step::Open => open(&mut runner),
                Step::Close => runner.go_down(Exit::Close).map(drop),
                Step::Do(operation) => runner.apply(&operation),
                Step::Verify => runner.db().verify().map(|report| {
                    assert!(fails || report.damage.is_empty(), "{:?}", report.damage);
                }),
                Step::Work(jobs) => {
                    for _ in 0..jobs {
                        runner.db().step();
                    }
                    Ok(())
                }
                Step::CompactElsewhere => {
                    runner.surround(surroundings(Some(Arc::default())));
                    Ok(())
                }
                Step::LeaveHalves => {
                    leave_halves(&runner);
                    Ok(())
                }
                Step::Checkpoints => checkpoints(&runner),
                Step::Repair => repair(&runner, SAVED[0]).map(|told| repaired = Some(told)),
            };
            if let Err(e) = done {
                assert!(fails, "nothing fails here: {e}");
                let expected = self.source.is_some()
                    || matches!(e, Error::Io(_) | Error::ReadOnly { .. } | Error::Poisoned { .. });
                assert!(expected, "a failed call was taken for something else: {e:?}");
            }
        }
        Lived { runner, repaired }
    }
}

/// A runner of a course's database on this machine, still to be opened.
pub(crate) fn runner(machine: MemoryMachine, oracle: Oracle) -> Runner {
    let settings = Settings { compression: Compression::Lz4, durability: Durability::Buffered };
    let mut runner = Runner::before_opening(machine, Arc::new(Mutex::new(oracle)), settings);
    runner.surround(surroundings(None));
    runner
}

/// Small sizes, and whether compactions are carried out elsewhere.
fn surroundings(elsewhere: Option<Arc<AtomicU64>>) -> Surroundings {
    Surroundings {
        tuning: Tuning {
            memtable_bytes: Some(64 << 10),
            memtables_max_bytes: Some(1 << 20),
            cache_bytes: Some(0),
            log_bytes: Some(8 << 10),
            block_bytes: Some(512),
            table_bytes: Some(16 << 10),
            base_bytes: Some(32 << 10),
            l0_runs: Some(2),
            window: Some(3),
            snapshot_part_bytes: Some(1 << 10),
            // So that reads open tables and their files again.
            table_descriptors: Some(1),
            open_tables: Some(2),
            ..Tuning::default()
        },
        scheduler: Some(Arc::new(Orders(Mutex::new((Dice::new(1), 0))))),
        trace: None,
        elsewhere,
    }
}

/// Half a checkpoint under the name of the next, and one under a name of its own.
fn leave_halves(runner: &Runner) {
    let next = runner.oracle().lock().checkpoints_begun;
    let fs = runner.machine().env().fs;
    for name in [next.to_string(), "left".to_owned()] {
        let dir = Path::new(CHECKPOINTS_DIR).join(format!("{name}.unfinished"));
        fs.create_dir_all(&dir).expect("the name is free");
        fs.create(&dir.join("000001.sst")).expect("the name is free");
    }
}

fn checkpoints(runner: &Runner) -> Result<()> {
    let env = runner.faults().env(&runner.machine().env());
    let all = CheckpointDir::open(&env, CHECKPOINTS_DIR)?;
    let listed = all.list()?;
    let Some(first) = listed.first() else { return Ok(()) };
    // From here on nobody may miss it.
    let path = format!("{CHECKPOINTS_DIR}/{}", first.name);
    runner.oracle().lock().checkpoints.retain(|checkpoint| checkpoint.path != path);
    all.remove(&first.name).map(drop)
}

/// Opens what the last life has left; again, when a call failed.
fn open(runner: &mut Runner) -> Result<()> {
    let mut outcome = Ok(());
    for _ in 0..OPENINGS {
        let floor = runner.oracle().lock().buffered;
        outcome = runner.come_up(Exit::Kill, floor);
        if runner.is_open() {
            return outcome;
        }
    }
    let e = outcome.expect_err("or it would be open");
    panic!("it does not open: {e}");
}

/// Repairs the database into `target`.
pub(crate) fn repair(runner: &Runner, target: &str) -> Result<RepairReport> {
    tanada::repair(&runner.faults().env(&runner.machine().env()), PATH, target)
}

/// What a repair has saved holds nothing that was not written, and everything when
/// `all` of it was to be saved. Answers whether there is a database.
///
/// # Panics
/// When it holds anything else.
pub(crate) fn check_saved(
    machine: &MemoryMachine,
    target: &str,
    oracle: &Oracle,
    all: bool,
) -> Result<()> {
    let builder = Db::builder(target).memory(16 << 20).threads(1).env(machine.env());
    let db = builder.create_if_missing(false).open()?;
    let mut spaces = vec![("default".to_owned(), db.default_keyspace().clone())];
    for name in db.keyspaces() {
        let keyspace = db.keyspace(&name, tanada::KeyspaceOptions::new())?;
        spaces.push((name, keyspace));
    }
    let mut found = 0;
    for (name, keyspace) in &spaces {
        for entry in keyspace.iter() {
            let (key, value) = entry?;
            found += 1;
            // A keyspace whose name is lost gets another one.
            let is_lost = oracle.spaces.iter().all(|space| space.name != *name);
            let known = oracle.spaces.iter().filter(|space| is_lost || space.name == *name);
            let mut versions = known.filter_map(|space| space.keys.get(&key[..])).flatten();
            let written = versions.any(|version| version.value.as_deref() == Some(&value[..]));
            assert!(written, "nobody wrote this value of {}", key.escape_ascii());
        }
    }
    let now = Moment { seqno: oracle.visible, now_ms: 0 };
    let live = |space| oracle.scan(space, &Cover::All, now).count();
    let expected: usize = (0..oracle.spaces.len()).map(live).sum();
    assert!(!all || found == expected, "{found} keys saved of {expected}, none said to be lost");
    assert_eq!(db.verify()?.damage, Vec::<String>::new());
    Ok(())
}

/// Draws the order of the background's work.
#[derive(Debug)]
struct Orders(Mutex<(Dice, u64)>);

impl Scheduler for Orders {
    fn order(&self) -> u64 {
        let (dice, given) = &mut *self.0.lock();
        *given += 1;
        assert!(*given < MOST_ORDERS, "{MOST_ORDERS} steps did not bring what is waited for");
        dice.next_u64()
    }
}

fn none() -> Option<Rule> {
    None
}

fn ends(call: &Call, suffix: &str) -> bool {
    call.path.to_string_lossy().ends_with(suffix)
}

fn first_sync_of_names_behind_a_table() -> Rule {
    Rule::fail(EIO).matching(names_of_tables()).nth(1)
}

/// An edit meets a full disk in its first bytes.
fn edit_on_a_full_disk() -> Rule {
    let edits = AtomicU64::new(0);
    let due = move |call: &Call| {
        let is_edit = call.op == Op::Append && is_manifest(call);
        // Relaxed: there is one thread. The first ones are a new manifest's.
        is_edit && edits.fetch_add(1, Ordering::Relaxed) == 8
    };
    Rule::short_write(7, ENOSPC).matching(due).nth(1)
}

/// The first sync of the directory once a manifest has been written anew.
fn sync_of_names_behind_a_new_manifest() -> Rule {
    let written = AtomicBool::new(false);
    let due = move |call: &Call| {
        let current = call.op == Op::Sync && ends(call, "CURRENT.tmp");
        // Relaxed: there is one thread.
        written.fetch_or(current, Ordering::Relaxed) && call.op == Op::SyncDir
    };
    Rule::fail(EIO).matching(due).nth(1)
}

// What courses begin with.

fn new_machine() -> Start {
    (MemoryMachine::new(1), Oracle::new())
}

/// What the first part of a life leaves on a machine.
fn after(steps: Vec<Step>) -> Runner {
    let (machine, oracle) = new_machine();
    let mut runner = runner(machine, oracle);
    for step in steps {
        let done = match step {
            Step::Open => open(&mut runner),
            Step::Close => runner.go_down(Exit::Close).map(drop),
            Step::Do(operation) => runner.apply(&operation),
            _ => Ok(()),
        };
        done.expect("nothing fails here");
    }
    runner
}

/// A death with logs and tables, and the last writes unsynced.
fn killed() -> Start {
    let mut steps = vec![Step::Open, create(0)];
    steps.extend(writes(0, 6, Durability::Synced));
    steps.push(flush());
    steps.extend(writes(6, 4, Durability::Synced));
    steps.extend(writes(10, 8, Durability::Buffered));
    steps.extend(small_writes(4));
    let mut runner = after(steps);
    runner.go_down(Exit::Kill).expect("a death cannot fail");
    let oracle = runner.oracle().lock().clone();
    (runner.machine().clone(), oracle)
}

/// A death while a database is created: before a file gets this name, or so many
/// changing calls later.
fn creation_cut(name: &'static str, later: u64) -> Start {
    let (machine, oracle) = new_machine();
    let left = Arc::new(Mutex::new((None, None)));
    let mut creator = runner(machine.clone(), oracle.clone());
    let place = Arc::clone(&left);
    creator.faults().before_each_change(move |n, call| {
        let (named, left) = &mut *place.lock();
        if named.is_none() && call.op == Op::Rename && ends(call, name) {
            *named = Some(n);
        }
        if named.is_some_and(|named| n == named + later) {
            *left = Some(machine.kill());
        }
    });
    creator.open(0).expect("nothing fails here");
    creator.faults().remove_hook();
    let machine = left.lock().1.take().expect("creating makes this call");
    (machine, oracle)
}

/// A closed database with garbage behind its manifest.
fn torn() -> Start {
    let mut steps = vec![Step::Open];
    steps.extend(writes(0, 3, Durability::Synced));
    steps.push(Step::Close);
    let runner = after(steps);
    let (machine, oracle) = (runner.machine().kill(), runner.oracle().lock().clone());
    for name in names(&machine, "MANIFEST-") {
        change(&machine, &name, |bytes| bytes.extend_from_slice(&[0xa5; 300]));
    }
    (machine, oracle)
}

/// A death, and damage to a table's block, to the footer of another, to the manifests
/// and to `CURRENT`.
fn damaged() -> Start {
    let (machine, oracle) = killed();
    let tables = names(&machine, ".sst");
    assert!(tables.len() >= 2, "one table for each damage: {tables:?}");
    change(&machine, &tables[0], |bytes| bytes[40] ^= 1);
    change(&machine, &tables[1], |bytes| {
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    });
    for name in names(&machine, "MANIFEST-") {
        change(&machine, &name, |bytes| {
            let last = bytes.len() - 1;
            bytes[80.min(last)] ^= 1;
        });
    }
    change(&machine, "CURRENT", |bytes| bytes[0] ^= 1);
    (machine, oracle)
}

fn names(machine: &MemoryMachine, part: &str) -> Vec<String> {
    let entries = machine.env().fs.read_dir(Path::new(PATH)).expect("the database is there");
    entries.into_iter().map(|entry| entry.name).filter(|name| name.contains(part)).collect()
}

fn change(machine: &MemoryMachine, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
    let (fs, path) = (machine.env().fs, Path::new(PATH).join(name));
    let file = fs.open(&path).expect("it is there");
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0).expect("it is as long as it says");
    edit(&mut bytes);
    fs.remove(&path).expect("it is there");
    let mut file = fs.create(&path).expect("the name is free");
    file.append(&bytes).and_then(|()| file.sync()).expect("there is room");
    fs.sync_dir(Path::new(PATH)).expect("it is there");
}

// Steps.

fn life() -> Vec<Step> {
    let mut steps = vec![Step::Open, create(0)];
    steps.extend(writes(0, 4, Durability::Buffered));
    steps.push(Step::Work(3));
    steps.extend(writes(4, 6, Durability::Synced));
    steps.push(Step::Work(3));
    steps.extend(writes(10, 6, Durability::Buffered));
    steps.push(write(0, long_key(), 900, 1, Durability::Buffered));
    steps.push(write(0, b"large".to_vec(), 140 << 10, 2, Durability::Buffered));
    steps.push(flush());
    steps.extend(writes(3, 9, Durability::Synced));
    steps.push(Step::Do(Operation::Follow(Some(Begin::Oldest), 40)));
    steps.extend([flush(), Step::Work(8), scan(0), scan(1), Step::Verify]);
    steps.push(Step::Do(Operation::WriteOne(Write {
        space: 0,
        key: key(3),
        value: None,
        ttl_ms: None,
    })));
    steps.push(Step::Do(Operation::Compact(0, (Unbounded, Unbounded))));
    steps.extend([Step::Work(8), scan(0), Step::Close, Step::Open, Step::Work(4)]);
    steps.extend(writes(5, 2, Durability::Buffered));
    steps.extend([Step::Close, Step::Open, Step::Verify]);
    steps
}

fn life_with_checkpoints() -> Vec<Step> {
    let mut steps = vec![Step::Open, create(0)];
    steps.extend(writes(2, 3, Durability::Buffered));
    steps.extend([flush(), Step::LeaveHalves, Step::Do(Operation::Checkpoint)]);
    steps.extend(writes(4, 2, Durability::Synced));
    steps.extend([Step::Do(Operation::Checkpoint), Step::Checkpoints, Step::Work(4)]);
    steps.extend([Step::Close, Step::Open]);
    steps
}

fn second_life() -> Vec<Step> {
    let mut steps = vec![Step::Open, create(0)];
    steps.extend(writes(2, 4, Durability::Synced));
    steps.extend([Step::Work(4), flush(), Step::Work(4), Step::Close, Step::Open]);
    steps
}

/// With pauses, in which what failed is tried again.
fn troubled_life() -> Vec<Step> {
    let mut steps = vec![Step::Open, create(0)];
    for round in 0..3 {
        steps.extend(writes(4 * round, 6, Durability::Buffered));
        steps.extend([Step::Work(3), flush()]);
        steps.extend(writes(4 * round, 1, Durability::Synced));
        steps.extend([Step::Do(Operation::Advance(2_000)), Step::Work(6)]);
    }
    steps.extend([Step::Close, Step::Open]);
    steps
}

fn create(n: usize) -> Step {
    Step::Do(Operation::CreateKeyspace(n, Compression::None))
}

fn flush() -> Step {
    Step::Do(Operation::Flush(None))
}

fn scan(space: usize) -> Step {
    let (cover, direction) = (Cover::All, Direction::Forward);
    Step::Do(Operation::Scan { space, snapshot: None, cover, direction })
}

fn key(n: u64) -> Key {
    format!("key {n:03}").into_bytes()
}

/// So long that what a table says of itself does not fit into its last 8 KiB.
fn long_key() -> Key {
    vec![b'l'; 12_000]
}

fn write(space: usize, key: Key, len: usize, stamp: u64, durability: Durability) -> Step {
    let value = Some(ValueSpec { len, stamp, plain: false });
    Step::Do(Operation::WriteBatch(vec![Write { space, key, value, ttl_ms: None }], durability))
}

/// Batches of two writes to two keyspaces, two KiB each.
fn writes(first: u64, count: u64, durability: Durability) -> Vec<Step> {
    let batch = |n: u64| {
        let one = |space, stamp| {
            let value = Some(ValueSpec { len: 1_000, stamp, plain: false });
            Write { space, key: key(n), value, ttl_ms: None }
        };
        Step::Do(Operation::WriteBatch(vec![one(0, 2 * n), one(1, 2 * n + 1)], durability))
    };
    (first..first + count).map(batch).collect()
}

/// Batches so small that their records have short frames.
fn small_writes(count: u64) -> Vec<Step> {
    (0..count).map(|n| write(0, key(n), 20, n, Durability::Buffered)).collect()
}

/// Arms a rule for the calls of a course that `visit` says yes to; it is shown each
/// with its number, from 0.
pub(crate) fn arm(
    faults: &Faults,
    rule: Rule,
    visit: impl Fn(u64, &Call) -> bool + Send + Sync + 'static,
) {
    let count = AtomicU64::new(0);
    // Relaxed: there is one thread.
    faults.add(rule.matching(move |call| visit(count.fetch_add(1, Ordering::Relaxed), call)));
}
