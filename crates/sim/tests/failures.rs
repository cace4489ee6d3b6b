//! Calls to the file system that fail.

use tanada_sim::inject::{Outcome, Workload};
use tanada_sim::seeds::for_each_seed;
use tanada_vfs::fault::{EIO, EMFILE, ENOSPC, Op, Rule};

/// Of a kind of call, about this many are made to fail in a run.
const CALLS_OF_A_KIND: u64 = 12;

/// Every call of these kinds (or evenly many of them) fails by `rule`.
fn each_call(test: &str, ops: &[Op], rules: &[fn() -> Rule]) {
    for_each_seed(&format!("failures {test}"), 2, |seed| {
        let workload = Workload::new(seed, 60);
        let mut reached = 0;
        for &op in ops {
            let count = workload.count(op);
            let stride = (count / CALLS_OF_A_KIND).max(1) as usize;
            for n in (1..=count).step_by(stride) {
                for (i, rule) in rules.iter().enumerate() {
                    let at = At { op, n, i };
                    workload.run(rule().on(op).nth(n));
                    workload.run(rule().on(op).from_nth(n));
                    std::mem::forget(at);
                    reached += 1;
                }
            }
        }
        assert!(reached > 0, "no such call was made");
    });
}

/// Names the call when a panic drops it.
struct At {
    op: Op,
    n: u64,
    i: usize,
}

impl Drop for At {
    fn drop(&mut self) {
        eprintln!("when {:?} number {} failed by rule {}", self.op, self.n, self.i);
    }
}

#[test]
fn failed_syncs_lose_nothing_that_was_acknowledged() {
    each_call(
        "failed_syncs_lose_nothing_that_was_acknowledged",
        &[Op::LogSync, Op::Sync, Op::SyncDir],
        &[|| Rule::fail(EIO), || Rule::apply_and_fail(EIO)],
    );
}

#[test]
fn failed_writes_lose_nothing_that_was_acknowledged() {
    each_call(
        "failed_writes_lose_nothing_that_was_acknowledged",
        &[Op::LogAppend, Op::Append],
        &[|| Rule::fail(EIO), || Rule::short_write(7, ENOSPC), || Rule::apply_and_fail(EIO)],
    );
}

#[test]
fn failed_changes_of_names_lose_nothing_that_was_acknowledged() {
    each_call(
        "failed_changes_of_names_lose_nothing_that_was_acknowledged",
        &[Op::Create, Op::CreateLog, Op::Rename, Op::Remove],
        &[|| Rule::fail(ENOSPC), || Rule::fail(EMFILE), || Rule::apply_and_fail(EIO)],
    );
}

#[test]
fn failed_reads_are_errors_and_never_other_answers() {
    each_call(
        "failed_reads_are_errors_and_never_other_answers",
        &[Op::Read, Op::Open, Op::Len, Op::ReadDir],
        &[|| Rule::fail(EIO), || Rule::fail(EMFILE)],
    );
}

#[test]
fn a_log_write_that_failed_poisons_until_the_next_opening() {
    for_each_seed("failures a_log_write_that_failed_poisons_until_the_next_opening", 3, |seed| {
        let outcome =
            Workload::of_one_life(seed, 40).run(Rule::fail(EIO).on(Op::LogAppend).from_nth(3));
        assert_eq!(outcome, Outcome::Poisoned);
    });
}

#[test]
fn a_full_disk_makes_no_reopening_necessary_where_nothing_is_unknown() {
    let test = "failures a_full_disk_makes_no_reopening_necessary_where_nothing_is_unknown";
    for_each_seed(test, 3, |seed| {
        let workload = Workload::of_one_life(seed, 60);
        for suffix in [".log", ".sst"] {
            let full = Rule::fail(ENOSPC).on(Op::Create).on(Op::CreateLog).path_suffix(suffix);
            assert_eq!(workload.run(full), Outcome::Writes, "no room for {suffix}");
        }
    });
}
