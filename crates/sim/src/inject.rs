//! Lets one call to the file system fail, or all from one on, and looks at what
//! becomes of the run.
//!
//! Whatever fails: no panic, no wrong answer, no acknowledged write lost. A
//! database that writes no more says so, and either takes writes again once the
//! cause is gone (read-only) or must be opened again (poisoned); then it has
//! all that was acknowledged, and keeps what is written next.

use crate::generator::{Generator, Profile};
use crate::operation::{Exit, Operation};
use crate::runner::{Runner, Settings};
use std::time::Duration;
use tanada::{Durability, Error};
use tanada_vfs::fault::{Op, Rule};

/// The operations of one run, and how its database is opened.
#[derive(Clone, Debug)]
pub struct Workload {
    seed: u64,
    settings: Settings,
    operations: Vec<Operation>,
}

/// What became of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It takes writes.
    Writes,
    /// It has to be opened again.
    Poisoned,
}

impl Workload {
    /// `count` operations of `seed`. None of them kills the database: what
    /// fails is to be seen by the process that it happened to.
    pub fn new(seed: u64, count: usize) -> Workload {
        let mut generator = Generator::new(seed, Profile::short());
        let settings =
            Settings { compression: generator.compression(), durability: generator.durability() };
        let operations = std::iter::repeat_with(|| generator.operation())
            .filter(|operation| !matches!(operation, Operation::Verify))
            .take(count)
            .collect();
        Workload { seed, settings, operations }
    }

    /// As [`Workload::new`], without closing and opening again.
    pub fn of_one_life(seed: u64, count: usize) -> Workload {
        let mut workload = Workload::new(seed, count);
        workload.operations.retain(|operation| !matches!(operation, Operation::Reopen(..)));
        workload
    }

    /// How often each kind of call is made when nothing fails.
    ///
    /// # Panics
    /// When something fails all the same.
    pub fn count(&self, op: Op) -> u64 {
        let mut runner = Runner::new(self.seed, self.settings);
        runner.faults().start_recording();
        for operation in &self.operations {
            runner.apply(operation).expect("nothing fails here");
        }
        let calls = runner.faults().take_recorded();
        calls.iter().filter(|call| call.op == op).count() as u64
    }

    /// Runs with `rule` in force.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn run(&self, rule: Rule) -> Outcome {
        let mut runner = Runner::new(self.seed, self.settings);
        runner.distrust_closing();
        runner.faults().add(rule);
        for operation in &self.operations {
            if let Err(e) = runner.apply(operation) {
                tolerate(&e);
                if !runner.is_open() {
                    // Whatever it left behind must not be in the way.
                    runner.faults().clear();
                    runner.open_left().expect("it opens once nothing fails");
                }
            }
        }
        runner.faults().clear();
        let outcome = recover_service(&mut runner);
        check_next_life(&mut runner, self.seed);
        outcome
    }
}

/// Only these may be answered: the cause, or the state that it led to.
fn tolerate(e: &Error) {
    let expected = matches!(e, Error::Io(_) | Error::ReadOnly { .. } | Error::Poisoned { .. });
    assert!(expected, "a failed call was taken for something else: {e:?}");
}

/// The cause is gone, time passes.
fn recover_service(runner: &mut Runner) -> Outcome {
    runner.machine().clock().advance(Duration::from_secs(2));
    runner.check_everything().expect("reads go on");
    let flushed = runner.apply(&Operation::Flush(None));
    let written = write_something(runner, Durability::Synced);
    match (&flushed, &written) {
        (Ok(()), Ok(())) => Outcome::Writes,
        (_, Err(Error::Poisoned { .. })) => Outcome::Poisoned,
        _ => panic!("it does not come back: flush {flushed:?}, write {written:?}"),
    }
}

/// Nothing acknowledged is lost when it is opened again, and what is
/// acknowledged then survives a power cut: with all before it, although an
/// earlier sync of those may have lied.
pub(crate) fn check_next_life(runner: &mut Runner, seed: u64) {
    runner.reopen(Exit::Kill).expect("it opens");
    write_something(runner, Durability::Synced).expect("a new process may write");
    runner.reopen(Exit::PowerCut(seed)).expect("it opens after a power cut");
    for operation in [
        Operation::Flush(None),
        Operation::Compact(0, (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded)),
        Operation::Verify,
    ] {
        runner.apply(&operation).expect("nothing fails any more");
    }
    runner.check_everything().expect("nothing fails any more");
}

/// Writes a batch that the runner's count of operations decides.
pub(crate) fn write_something(runner: &mut Runner, durability: Durability) -> tanada::Result<()> {
    let mut generator = Generator::new(runner.done, Profile::short());
    let writes = std::iter::repeat_with(|| generator.operation()).find_map(|o| match o {
        Operation::WriteBatch(writes, _) if !writes.is_empty() => Some(writes),
        _ => None,
    });
    let writes = writes.expect("it repeats until there is one");
    runner.apply(&Operation::WriteBatch(writes, durability))
}
