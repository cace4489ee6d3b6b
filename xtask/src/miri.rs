//! `cargo xtask miri`: the tests of all unsafe code but system calls, interpreted
//! by Miri, which sees what no processor shows: a pointer used after its time or
//! against the rules of borrowing, a read of what was never written, a data race,
//! a relaxed load that answers with an older value, a leak.
//!
//! An interpreter is thousands of times slower than a processor: tests take fewer
//! rounds under it (`cfg!(miri)`), and each seed is another order of the threads'
//! steps. Left out are tests of many megabytes and what asks the system for huge
//! pages or maps files, which Miri has not got.

use crate::named_tests::{Program, TOOLCHAIN, answer, nightly, run};
use std::path::Path;
use std::process::ExitCode;

/// Orders of steps tried, unless told otherwise.
const SEEDS: u64 = 2;

/// For every run:
///
/// - Threads are switched ten times as often as by default, for the windows that
///   matter are a few instructions long.
/// - Pointers may be made of numbers, as parking_lot does; without a warning each
///   time.
///
/// Isolation stays on: nothing here needs the machine's clock, files or randomness,
/// so that a run depends on its seed alone. Leaks and races stay errors, the rules
/// of borrowing stay the stricter ones (Stacked Borrows), and weak memory and
/// spurious failures of `compare_exchange_weak` stay emulated.
const FLAGS: &str = "-Zmiri-preemption-rate=0.1 -Zmiri-permissive-provenance";

const PROGRAMS: &[Program] = &[
    Program {
        package: "tanada-table",
        target: &["--lib"],
        tests: &[
            "cache::doorkeeper::tests::a_block_is_known_at_its_second_miss_unless_much_was_missed_between",
            "epoch::tests::a_pin_inside_a_pin_ends_nothing",
            "epoch::tests::readers_and_a_writer_race_and_nobody_meets_the_dead",
            "epoch::tests::settling_waits_for_the_reader_that_outlasts_the_store",
            "epoch::tests::threads_that_come_and_go_use_the_same_places",
            "epoch::tests::what_is_replaced_goes_when_no_reader_is_left_and_stays_under_a_pin",
            "cache::sieve::tests::blocks_that_are_always_marked_go_all_the_same",
            "cache::sieve::tests::unread_blocks_go_oldest_first_and_read_ones_stay_for_a_round",
            "cache::slots::tests::a_block_unlinked_under_a_pin_stays_until_the_pin_ends",
            "cache::slots::tests::readers_race_with_filling_and_emptying_and_meet_whole_blocks_only",
        ],
    },
    Program {
        package: "tanada-table",
        target: &["--test", "cache"],
        tests: &[
            "readers_evictions_and_changes_of_capacity_race_without_a_wrong_value_or_account",
            "two_readers_who_miss_the_same_block_pay_for_it_once",
        ],
    },
    Program {
        package: "tanada",
        target: &["--lib"],
        tests: &[
            "memtable::arena::tests::the_first_chunk_is_small",
            "memtable::entry::tests::every_version_of_a_long_chain_is_reached_in_few_steps",
            "memtable::key_filter::tests::what_was_added_is_always_known_and_little_else_is",
            "memtable::key_filter::tests::who_sees_a_write_published_sees_its_bits",
            "memtable::tests::a_hot_key_with_many_versions_is_read_at_any_age_and_does_not_grow_the_tree",
            "memtable::tests::an_empty_memtable_has_nothing_and_costs_little",
            "memtable::tests::readers_beside_the_writer_see_every_write_up_to_their_seqno",
            "memtable::tests::splits_at_every_level_keep_order_for_every_shape_of_keys",
            "read::row_cache::tests::a_find_from_before_an_invalidation_is_refused",
            "read::row_cache::tests::keyspaces_and_snapshots_are_told_apart",
            "read::row_cache::tests::readers_on_threads_never_see_what_they_have_seen_replaced",
            "read::row_cache::tests::row_cache_stale_under_race",
        ],
    },
];

/// `[--seeds N]` or `--seed N`.
pub(crate) fn main(root: &Path, arguments: &[&str]) -> ExitCode {
    let number = |text: &str| text.parse::<u64>().ok();
    let seeds = match arguments {
        [] => Some(0..SEEDS),
        ["--seeds", n] => number(n).map(|n| 0..n),
        ["--seed", n] => number(n).and_then(|n| Some(n..n.checked_add(1)?)),
        _ => None,
    };
    let Some(seeds) = seeds.filter(|seeds| !seeds.is_empty()) else {
        eprintln!("error: not understood\nUsage: cargo xtask miri [--seeds N | --seed N]");
        return ExitCode::from(2);
    };
    if !is_installed(root) {
        eprintln!("missing: Miri. Install it, with the source of the library it interprets:");
        eprintln!("    rustup toolchain install {TOOLCHAIN} --component miri,rust-src");
        return ExitCode::FAILURE;
    }
    let mut failed = Vec::new();
    for seed in seeds {
        for program in PROGRAMS {
            println!("==> {}, seed {seed}", program.name());
            let mut cargo = nightly(root, "cargo");
            cargo.args(["miri", "test", "--quiet"]);
            cargo.env("MIRIFLAGS", format!("-Zmiri-seed={seed} {FLAGS}"));
            if !run(cargo, program) {
                failed.push((program.name(), seed));
            }
        }
    }
    for (name, seed) in &failed {
        println!("FAILED: {name}; replay it with:\n    cargo xtask miri --seed {seed}");
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn is_installed(root: &Path) -> bool {
    let mut cargo = nightly(root, "cargo");
    cargo.args(["miri", "--version"]);
    answer(cargo).is_some()
}
