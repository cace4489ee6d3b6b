//! `cargo xtask tsan`: the tests that have real threads, under ThreadSanitizer.
//!
//! Where Miri interprets small parts, this runs the whole engine at a tenth of its
//! speed: every access to memory is checked for one by another thread that nothing
//! orders. The standard library is built with it as well, or its locks would look
//! like races. Code in C (lz4, zstd) is not; it shares nothing between threads.

use crate::named_tests::{Program, TOOLCHAIN, answer, nightly, run};
use std::path::Path;
use std::process::ExitCode;

const PROGRAMS: &[Program] = &[
    Program {
        package: "tanada-table",
        target: &["--lib"],
        tests: &[
            "counters::tests::more_threads_than_stripes_lose_no_count_and_threads_hand_their_stripes_on",
            "epoch::tests::readers_and_a_writer_race_and_nobody_meets_the_dead",
            "epoch::tests::settling_waits_for_the_reader_that_outlasts_the_store",
            "epoch::tests::threads_that_come_and_go_use_the_same_places",
            "epoch::tests::what_is_replaced_goes_when_no_reader_is_left_and_stays_under_a_pin",
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
            "write::commit::tests::group_commit_one_waiter_sees_error",
            "control::counters::tests::counts_of_all_threads_add_up",
            "memtable::key_filter::tests::who_sees_a_write_published_sees_its_bits",
            "memtable::tests::readers_beside_the_writer_see_every_write_up_to_their_seqno",
            "read::row_cache::tests::readers_on_threads_never_see_what_they_have_seen_replaced",
            "wal::crash_tests::a_sync_from_another_thread_covers_what_was_appended_before_it",
        ],
    },
    // Writers and the background: flushes, compactions, and what waits for them.
    Program {
        package: "tanada",
        target: &["--test", "scenarios"],
        tests: &[
            "lost_inserts_bulk",
            "replay_boundary_too_high",
            "snapshot_dirty_read_during_compaction",
            "stall_forever_after_kill",
        ],
    },
    // The whole engine with its own threads, on a real disk.
    Program {
        package: "tanada-sim",
        target: &["--test", "threads"],
        tests: &["threads_never_read_what_is_older_than_what_was_acknowledged_nor_half_a_batch"],
    },
];

/// What is no race. The sanitizer does not know fences, and the last owner of a
/// `triomphe::Arc` orders itself behind the others by one. (That of std asks for a
/// load instead when it is built for the sanitizer.) Miri knows fences, and runs the
/// same test of the cache.
const SUPPRESSED: &str = "race:triomphe::arc::Arc*drop_slow\n";

/// Runs all of them.
pub(crate) fn main(root: &Path) -> ExitCode {
    let mut rustc = nightly(root, "rustc");
    rustc.args(["--print", "sysroot"]);
    let sysroot = answer(rustc);
    let library = "lib/rustlib/src/rust/library/Cargo.lock";
    if !sysroot.as_ref().is_some_and(|sysroot| Path::new(sysroot).join(library).exists()) {
        eprintln!("missing: the source of the standard library, to build it with the sanitizer:");
        eprintln!("    rustup toolchain install {TOOLCHAIN} --component rust-src");
        return ExitCode::FAILURE;
    }
    let mut rustc = nightly(root, "rustc");
    rustc.args(["--print", "host-tuple"]);
    let Some(host) = answer(rustc) else {
        eprintln!("error: rustc does not say for which host it is");
        return ExitCode::FAILURE;
    };
    let suppressed = root.join("target/tsan/suppressed");
    let written = std::fs::create_dir_all(root.join("target/tsan"))
        .and_then(|()| std::fs::write(&suppressed, SUPPRESSED));
    if let Err(e) = written {
        eprintln!("error: {}: {e}", suppressed.display());
        return ExitCode::FAILURE;
    }
    let options = format!("halt_on_error=1:history_size=7:suppressions={}", suppressed.display());
    let mut failed = Vec::new();
    for program in PROGRAMS {
        println!("==> {}", program.name());
        let mut cargo = nightly(root, "cargo");
        cargo.args(["test", "--quiet", "-Zbuild-std", "--target", &host]);
        cargo.args(["--target-dir", "target/tsan"]);
        cargo.env("RUSTFLAGS", "-Zsanitizer=thread");
        // A race ends the run: what follows from it is of no interest. The longest
        // memory of earlier accesses, so that a report shows both sides.
        cargo.env("TSAN_OPTIONS", &options);
        if !run(cargo, program) {
            failed.push(program.name());
        }
    }
    for name in &failed {
        println!("FAILED: {name}: what failed stands above");
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
