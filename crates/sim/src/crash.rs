//! Cuts a run at each of its changing calls to the file system.
//!
//! Before each such call the machine is copied, as a power cut (several seeds
//! for what was not synced) and as a kill would leave it, and the database is
//! opened there: it must hold a prefix of the commits, not shorter than what
//! was acknowledged at that level, whole batches only. At some calls more is
//! done: the recovery itself is cut at each of its calls, or the recovered
//! database goes on living, with another power cut at the end.

use crate::generator::{Generator, Profile};
use crate::operation::Exit;
use crate::oracle::Oracle;
use crate::runner::{Runner, Settings, Surroundings};
use crate::tuning::random_tuning;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tanada::Tuning;
use tanada_vfs::fault::Call;
use tanada_vfs::memory::Dice;
use tanada_vfs::{Clock, MemoryMachine};

/// How much is done at each cut.
#[derive(Clone, Copy, Debug)]
pub struct Cuts {
    /// Power cuts at each call, each with another seed.
    pub seeds: u64,
    /// At one call in so many the recovery is cut too.
    pub deep_every: u64,
    /// At one call in so many the recovered database lives on.
    pub live_every: u64,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Calls at which the run was cut.
    pub calls: u64,
    /// Databases opened after a power cut or a kill.
    pub recoveries: u64,
}

/// Makes a run of `operations` operations, and cuts it at every call.
///
/// # Panics
/// When anything that was promised is lost, or anything else is wrong.
pub fn cut_at_every_call(seed: u64, profile: Profile, operations: u64, cuts: Cuts) -> Report {
    let mut generator = Generator::new(seed, profile);
    let settings =
        Settings { compression: generator.compression(), durability: generator.durability() };
    let surroundings = Surroundings { tuning: sizes(seed), ..Surroundings::default() };
    let machine = MemoryMachine::new(seed);
    let oracle = Arc::new(Mutex::new(Oracle::new()));
    let mut runner = Runner::before_opening(machine.clone(), Arc::clone(&oracle), settings);
    runner.surround(surroundings.clone());
    let cutter = Arc::new(Cutter {
        machine,
        oracle,
        settings,
        surroundings,
        seed,
        cuts,
        calls: AtomicU64::new(0),
        recoveries: AtomicU64::new(0),
    });
    let hook = Arc::clone(&cutter);
    runner.faults().before_each_change(move |n, call| hook.cut(n, call));

    runner.open(0).expect("nothing fails here");
    for _ in 0..operations {
        let operation = generator.operation();
        if let Err(e) = runner.apply(&operation) {
            panic!("operation {}, {operation:?}: {e}", runner.done);
        }
    }
    runner.faults().remove_hook();
    Report {
        calls: cutter.calls.load(Ordering::Relaxed),
        recoveries: cutter.recoveries.load(Ordering::Relaxed),
    }
}

/// The usual sizes for odd seeds, any for even ones: there MemTables, logs and levels
/// are full after a few writes, and everything happens by itself.
fn sizes(seed: u64) -> Tuning {
    match seed % 2 {
        0 => random_tuning(&mut Dice::new(seed)),
        _ => Tuning::default(),
    }
}

/// Copies the machine before each call, and opens the copies.
struct Cutter {
    machine: MemoryMachine,
    oracle: Arc<Mutex<Oracle>>,
    settings: Settings,
    surroundings: Surroundings,
    seed: u64,
    cuts: Cuts,
    // Counters for the report; Relaxed, for they order nothing.
    calls: AtomicU64,
    recoveries: AtomicU64,
}

impl Cutter {
    fn cut(&self, n: u64, call: &Call) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let oracle = self.oracle.lock().clone();
        let at = Where { call: format!("before call {n}, {call}"), told: false };
        for i in 0..self.cuts.seeds {
            let seed = self.seed.wrapping_mul(1_000_003) ^ (n << 8) ^ i;
            let mut machine = self.machine.crash(seed);
            if i == 0 && n.is_multiple_of(self.cuts.deep_every) {
                machine = self.cut_recovery(machine, &oracle, Exit::PowerCut(seed));
            }
            let mut runner = self.recover(machine, &oracle, oracle.synced);
            if i == 0 && n.is_multiple_of(self.cuts.live_every) {
                live_on(&mut runner, seed);
            }
        }
        let mut machine = self.machine.kill();
        if n % self.cuts.deep_every == self.cuts.deep_every / 2 {
            machine = self.cut_recovery(machine, &oracle, Exit::Kill);
        }
        let mut runner = self.recover(machine, &oracle, oracle.buffered);
        if n % self.cuts.live_every == self.cuts.live_every / 2 {
            live_on(&mut runner, n);
        }
        at.well();
    }

    /// What a recovery that is cut finds itself in.
    fn recovering(&self) -> Surroundings {
        let mut surroundings = self.surroundings.clone();
        if self.recoveries.load(Ordering::Relaxed).is_multiple_of(2) {
            let (memtable, all) = (Some(4 << 10), Some(16 << 10));
            surroundings.tuning.memtable_bytes = memtable;
            surroundings.tuning.memtables_max_bytes = all;
        }
        surroundings
    }

    /// Opens what is left on `machine`.
    fn recover(&self, machine: MemoryMachine, oracle: &Oracle, floor: u64) -> Runner {
        self.recoveries.fetch_add(1, Ordering::Relaxed);
        let oracle = Arc::new(Mutex::new(oracle.clone()));
        let mut runner = Runner::before_opening(machine, oracle, self.settings);
        runner.surround(self.surroundings.clone());
        if let Err(e) = runner.open(floor) {
            panic!("it does not open: {e}");
        }
        runner
    }

    /// Recovers on `machine`, and cuts that at each call again. Answers a
    /// machine whose recovery was cut once, at a moment that the seed chooses.
    /// Every other recovery has so little memory that it flushes while it replays.
    fn cut_recovery(&self, machine: MemoryMachine, oracle: &Oracle, exit: Exit) -> MemoryMachine {
        let base = oracle.clone();
        let floor = match exit {
            Exit::Kill => oracle.buffered,
            _ => oracle.synced,
        };
        let shared = Arc::new(Mutex::new(oracle.clone()));
        let mut runner = Runner::before_opening(machine.clone(), shared, self.settings);
        let surroundings = self.recovering();
        runner.surround(surroundings.clone());
        let found = Arc::new(Mutex::new(Vec::new()));
        let results = Arc::clone(&found);
        let (hooked, settings) = (machine.clone(), self.settings);
        runner.faults().before_each_change(move |k, call| {
            let at = Where { call: format!("recovering, before call {k}, {call}"), told: false };
            let again = |machine: MemoryMachine, floor| {
                let oracle = Arc::new(Mutex::new(base.clone()));
                let mut runner = Runner::before_opening(machine, oracle, settings);
                runner.surround(surroundings.clone());
                if let Err(e) = runner.open(floor) {
                    panic!("it does not open a second time: {e}");
                }
                runner.oracle().lock().visible
            };
            let cut = hooked.crash(k);
            results.lock().push((again(cut, base.synced), again(hooked.kill(), floor)));
            at.well();
        });
        if let Err(e) = runner.open(floor) {
            panic!("it does not open: {e}");
        }
        runner.faults().remove_hook();
        let recovered = runner.oracle().lock().visible;
        let found = std::mem::take(&mut *found.lock());
        self.recoveries.fetch_add(1 + 2 * found.len() as u64, Ordering::Relaxed);
        for (after_cut, after_kill) in found {
            assert_eq!(after_kill, recovered, "a second kill lost what the first had left");
            match exit {
                Exit::Kill => assert!(after_cut <= recovered),
                // All that the first cut left was on the disk.
                _ => assert_eq!(after_cut, recovered, "a second cut took what the first had left"),
            }
        }
        machine.kill()
    }
}

/// Writes, flushes and compacts for a while, then cuts the power.
fn live_on(runner: &mut Runner, seed: u64) {
    let mut generator = Generator::new(seed, Profile::short());
    // What an earlier life left unsynced may go at a power cut, but what this
    // one acknowledges must stay, and so must all before it.
    for _ in 0..12 {
        let operation = generator.operation();
        if let Err(e) = runner.apply(&operation) {
            panic!("living on, operation {}, {operation:?}: {e}", runner.done);
        }
    }
    for exit in [Exit::PowerCut(seed), Exit::Kill] {
        if let Err(e) = runner.reopen(exit) {
            panic!("it does not open after {exit:?}: {e}");
        }
    }
}

/// Tells where the run was when a panic drops it.
struct Where {
    call: String,
    told: bool,
}

impl Where {
    fn well(mut self) {
        self.told = true;
    }
}

impl Drop for Where {
    fn drop(&mut self) {
        if !self.told {
            eprintln!("cut {}", self.call);
        }
    }
}

/// Shows that the same seed makes the same calls.
///
/// # Panics
/// When the two runs differ.
pub fn same_seed_same_calls(seed: u64, profile: Profile, operations: u64) {
    let calls = || {
        let mut generator = Generator::new(seed, profile);
        let settings =
            Settings { compression: generator.compression(), durability: generator.durability() };
        let mut runner = Runner::new(seed, settings);
        runner.faults().start_recording();
        for _ in 0..operations {
            let operation = generator.operation();
            runner.apply(&operation).expect("nothing fails here");
        }
        let calls = runner.faults().take_recorded();
        (calls, runner.machine().clock().wall_ms(), runner.machine().used_space())
    };
    let (first, second) = (calls(), calls());
    assert!(!first.0.is_empty(), "nothing was recorded");
    assert_eq!(first, second);
}
