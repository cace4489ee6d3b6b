//! A whole database under shuttle: clients, the background, crashes and reopening, with
//! threads that change at every lock, atomic and call to the file system.
//!
//! Each schedule draws sizes, the mix of what its clients do, and how it ends from its
//! seed ([`dice`]); what they see is compared with what was written ([`history`]). Sizes
//! are so small that a few writes meet the seal of a MemTable, a new log, a flush and a
//! compaction.

mod client;
mod dead_walks;
mod followers;
mod dice;
mod history;
mod tally;

use crate::core::Core;
use crate::{Db, KeyspaceOptions};
use client::{COPIES, Client, NAMES, all_of};
use dice::{Dice, End, Kind, Plan};
use history::{Changes, History, Promise};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tally::{Sums, Tally};
use tanada_vfs::fault::Faults;
use tanada_vfs::sync::{explore, seeds, shuttle::thread};
use tanada_vfs::{Env, MemoryMachine};

const DIR: &str = "/db";

/// What a crash left, and what must be in it.
struct Image {
    machine: MemoryMachine,
    how: &'static str,
    promised: u64,
    /// The keyspaces that must be there.
    spaces: Vec<usize>,
}

/// Whatever the order, every read sees a moment that was, no older one than it must;
/// whatever a crash leaves is the first so many writes, with all that were promised.
#[test]
fn schedules_of_a_database() {
    static SUMS: Sums = Sums::new();
    explore("a_database", seeds(720), || {
        let mut dice = Dice::of_this_schedule();
        let plan = Plan::drawn(&mut dice);
        SUMS.add(run(&plan, dice));
    });
    println!("{}", SUMS.get());
}

/// The row cache never answers with what a flush has replaced (`read::row_cache`).
#[test]
fn schedules_of_readers_beside_flushes() {
    static SUMS: Sums = Sums::new();
    explore("readers_beside_flushes", seeds(150), || {
        let mut dice = Dice::of_this_schedule();
        let plan = Plan::of_readers_beside_flushes(&mut dice);
        SUMS.add(run(&plan, dice));
    });
    println!("{}", SUMS.get());
}

/// Whatever the order, a checkpoint is the first so many writes, with all that were
/// acknowledged before it was asked for, whole; and no other part of one is left.
#[test]
fn schedules_of_checkpoints() {
    static SUMS: Sums = Sums::new();
    explore("checkpoints", seeds(240), || {
        let mut dice = Dice::of_this_schedule();
        let plan = Plan::of_checkpoints(&mut dice);
        SUMS.add(run(&plan, dice));
    });
    println!("{}", SUMS.get());
}

/// A batch is written when all that its writer had read was still so behind the very write
/// before it, and refused only for what was so while it was on its way.
#[test]
fn schedules_of_swaps() {
    static SUMS: Sums = Sums::new();
    explore("swaps", seeds(150), || {
        let mut dice = Dice::of_this_schedule();
        let plan = Plan::of_swaps(&mut dice);
        SUMS.add(run(&plan, dice));
    });
    println!("{}", SUMS.get());
}

/// One schedule.
fn run(plan: &Plan, mut dice: Dice) -> Tally {
    let machine = MemoryMachine::new(dice.next());
    let faults = Faults::over_memory(&machine);
    machine.env().fs.create_dir_all(Path::new(COPIES)).expect("nothing fails here");
    let history = Arc::new(History::default());
    let db = open(plan, faults.env(&machine.threaded_env()));

    let mut first = Client::new(&db, &history, dice.fork(), 0, plan.data);
    for _ in 0..plan.before {
        first.step(Kind::Batch).expect("nobody closes it yet");
        if dice.one_in(2) {
            first.step(Kind::Flush).expect("nobody closes it yet");
        }
    }
    drop(first);

    let images = Arc::new(Mutex::new(Vec::new()));
    let crashes = Crashes {
        machine: machine.clone(),
        history: Arc::clone(&history),
        core: Arc::clone(db.default_keyspace().core()),
        images: Arc::clone(&images),
        one_in: plan.crash_one_in,
        dice: Mutex::new(dice.fork()),
    };
    faults.before_each_change(move |_, _| crashes.meet());
    let clients: Vec<_> = (1..=plan.clients)
        .map(|number| {
            let client = Client::new(&db, &history, dice.fork(), number, plan.data);
            let (mix, steps) = (plan.mix.clone(), plan.steps);
            thread::spawn(move || client.run(&mix, steps))
        })
        .collect();

    if plan.end == End::ClosedEarly {
        let mut closer = Client::new(&db, &history, dice.fork(), 0, plan.data);
        closer.skip_values(100);
        closer.work(&plan.mix, dice.below(plan.steps as u64) as usize);
        drop(closer);
        close(&db, &history, &faults, || join(clients));
    } else {
        join(clients);
        if plan.end == End::Closed {
            close(&db, &history, &faults, || {});
        }
    }
    faults.remove_hook();
    history.check();
    let mut tally = tally(&db, &history);

    let mut images = std::mem::take(&mut *images.lock().expect("nobody panicked with it"));
    if plan.end == End::Killed {
        images.push(image(&machine, &history, &mut dice));
    }
    drop(db);
    tally.crashes = images.len() as u64;
    for image in &images {
        check_image(plan, DIR, image, &history);
    }
    tally.checkpoints = check_copies(plan, &machine, &history);
    let all = history.acknowledged();
    if plan.end != End::Killed {
        let spaces = history.spaces();
        let left = Image { machine: machine.clone(), how: "closed", promised: all, spaces };
        check_image(plan, DIR, &left, &history);
    }
    tally
}

fn tally(db: &Db, history: &History) -> Tally {
    let core = db.default_keyspace().core();
    let (flushes, compactions) = core.jobs.so_far();
    let (writes, reads) = history.counts();
    let logs = core.commit.writer().wal.current_log().0 - 1;
    let keyspaces = history.spaces().len() as u64;
    Tally { writes, reads, flushes, compactions, logs, keyspaces, ..Tally::default() }
}

fn open(plan: &Plan, env: Env) -> Db {
    open_in(DIR, plan, env)
}

fn open_in(dir: &str, plan: &Plan, env: Env) -> Db {
    Db::builder(dir)
        .env(env)
        .memory(16 << 20)
        .threads(plan.threads)
        .compression(plan.compression)
        .tuning(plan.tuning)
        .open()
        .expect("nothing fails here")
}

fn join(threads: Vec<thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().expect("a client panicked"));
}

/// Closes the database, and sees that nothing touches the directory afterwards, whatever
/// those do who still had calls under way: they end in `rest`.
fn close(db: &Db, history: &History, faults: &Faults, rest: impl FnOnce()) {
    let before = history.acknowledged();
    db.close().expect("nothing fails here");
    let changes = faults.changes();
    history.promise(before, Promise::Power);
    rest();
    assert_eq!(faults.changes(), changes, "a closed database changes its directory");
    let core = db.default_keyspace().core();
    let keyspaces = core.reading.keyspaces.load();
    assert!(core.unflushed.agrees_with(keyspaces.iter()), "what is unflushed is noted");
}

/// Looks, before each change to the disk, at what a crash there would leave.
struct Crashes {
    machine: MemoryMachine,
    history: Arc<History>,
    core: Arc<Core>,
    images: Arc<Mutex<Vec<Image>>>,
    /// Of so many changes one meets a crash.
    one_in: u64,
    dice: Mutex<Dice>,
}

impl Crashes {
    /// Of one schedule: opening what they leave takes as long as the schedule itself.
    const MOST: usize = 2;

    fn meet(&self) {
        // Locks that shuttle does not see: held for these lines only, in which nothing lets
        // another thread run.
        let (drawn, look) = {
            let mut dice = self.dice.lock().expect("nobody panicked with it");
            let taken = self.images.lock().expect("nobody panicked with it").len();
            let drawn = taken < Crashes::MOST && dice.one_in(self.one_in);
            (drawn.then(|| dice.fork()), dice.one_in(4))
        };
        if look {
            check_logs(&self.core);
        }
        if let Some(mut dice) = drawn {
            let image = image(&self.machine, &self.history, &mut dice);
            self.images.lock().expect("nobody panicked with it").push(image);
        }
    }
}

/// No log is let go of that a MemTable needs. Looked for in this order: what a MemTable
/// that comes later needs lies behind.
pub(super) fn check_logs(core: &Core) {
    let let_go = core.background.oldest_log();
    let logs = core.wal.segments();
    let Some(oldest) = logs.iter().find(|log| log.id >= let_go) else { return };
    for keyspace in core.reading.keyspaces.load().iter() {
        let needed = keyspace.view.load().oldest_position();
        assert!(
            needed.is_none_or(|needed| needed >= oldest.start),
            "keyspace {} needs the log from {needed:?} on, and all before {:?} may go",
            keyspace.name,
            oldest.start
        );
    }
}

/// What is left when the process dies now, or the power fails.
fn image(machine: &MemoryMachine, history: &History, dice: &mut Dice) -> Image {
    let spaces = history.spaces();
    // Before the machine is looked at: what is promised later may not be in it.
    if dice.one_in(3) {
        let promised = history.promised(Promise::Process);
        Image { machine: machine.kill(), how: "killed", promised, spaces }
    } else {
        let promised = history.promised(Promise::Power);
        Image { machine: machine.crash(dice.next()), how: "power cut", promised, spaces }
    }
}

/// Opens each checkpoint, and looks whether anything else was left where they lie. Answers
/// how many there are.
fn check_copies(plan: &Plan, machine: &MemoryMachine, history: &History) -> u64 {
    let copies = history.copies();
    let left = machine.env().fs.read_dir(Path::new(COPIES)).expect("it is there");
    let mut names: Vec<_> = copies.iter().map(|copy| copy.name.clone()).collect();
    names.sort();
    assert!(left.iter().map(|entry| &entry.name).eq(&names), "{left:?} are left, {names:?} made");
    // Opening one takes as long as the schedule itself.
    for copy in copies.iter().rev().take(2) {
        let machine = machine.kill();
        let promised = copy.promised;
        let image = Image { machine, how: "checkpoint", promised, spaces: Vec::new() };
        let found = check_image(plan, &format!("{COPIES}/{}", copy.name), &image, history);
        assert_eq!(found, copy.seqno, "the newest write of a checkpoint");
    }
    copies.len() as u64
}

/// Opens what was left in `dir`, and compares it with what must be there. Answers the newest
/// write.
fn check_image(plan: &Plan, dir: &str, image: &Image, history: &History) -> u64 {
    let db = open_in(dir, plan, image.machine.env());
    let names = db.keyspaces();
    let snapshot = db.snapshot();
    let mut left = Changes::new();
    for space in 0..=NAMES.len() {
        let keyspace = match space {
            0 => db.default_keyspace().clone(),
            _ if names.iter().any(|name| name == NAMES[space - 1]) => {
                let name = NAMES[space - 1];
                db.keyspace(name, KeyspaceOptions::new()).expect("it is there")
            }
            _ => {
                let missing = image.spaces.contains(&space);
                assert!(!missing, "{}: keyspace '{}' is gone", image.how, NAMES[space - 1]);
                continue;
            }
        };
        let found = keyspace.iter().map(|entry| entry.expect("nothing is damaged"));
        left.extend(all_of(space, found.map(|(key, value)| (key[1], value.to_vec()))));
    }
    history.check_left(image.how, snapshot.seqno().0, image.promised, &left);
    if snapshot.seqno().0 % 4 == 0 {
        let report = db.verify().expect("it can be read");
        assert!(report.damage.is_empty(), "{}: {report:?}", image.how);
    }
    let found = snapshot.seqno().0;
    drop(snapshot);
    db.close().expect("nothing fails here");
    found
}
