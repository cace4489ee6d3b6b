//! `cargo xtask concurrency`: loom on the parts without locks, shuttle on whole databases,
//! the commit pipeline and the block cache; and whether shuttle finds faults that are put
//! back.
//!
//! Each checker takes the places of locks, atomics and threads (`crates/vfs/src/sync`) in a
//! build of its own. That loom would find something is shown by tests that run the same models
//! with weaker orderings and must fail.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

struct Checker {
    name: &'static str,
    /// What the build is made with.
    flags: &'static str,
    /// How far libraries are optimised, which are built anew for each checker. More
    /// takes longer than it saves; with none at all shuttle takes 20 times as long.
    libraries: u8,
    packages: &'static [&'static str],
    features: &'static [&'static str],
    /// How its tests' names begin.
    tests: &'static str,
    /// Planted bugs.
    faults: &'static [Race],
}

/// A planted bug that shows where threads meet.
pub(crate) struct Race {
    /// As in `planted!(name)`.
    pub(crate) name: &'static str,
    /// The test that must find it.
    pub(crate) test: &'static str,
    how: Found,
}

/// How soon a race is found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Within seconds: `cargo xtask test` looks for it, too.
    Soon,
    /// After some thousand orders.
    Late,
}

const fn soon(name: &'static str, test: &'static str) -> Race {
    Race { name, test, how: Found::Soon }
}

const fn late(name: &'static str, test: &'static str) -> Race {
    Race { name, test, how: Found::Late }
}

/// Whole databases, and readers of keys in the row cache.
const DATABASE: &str = "schedules_of_a_database";
const ROWS: &str = "schedules_of_readers_beside_flushes";
const CHECKPOINTS: &str = "schedules_of_checkpoints";
const SWAPS: &str = "schedules_of_swaps";

/// Those who follow the changes.
const FOLLOWERS: &str = "schedules_of_followers";

/// Readers of dead keys.
const WALKS: &str = "schedules_of_walks_beside_puts";

/// Seeds of each test of whole databases where somebody waits: a hundred orders each.
const QUICK_SEEDS: &str = "12";

/// All planted bugs that a checker finds.
pub(crate) fn races() -> impl Iterator<Item = &'static Race> {
    CHECKERS.iter().flat_map(|checker| checker.faults)
}

const CHECKERS: &[Checker] = &[
    Checker {
        name: "loom",
        flags: "--cfg loom",
        libraries: 0,
        packages: &["tanada-table", "tanada"],
        features: &[],
        tests: "models_",
        faults: &[],
    },
    Checker {
        name: "shuttle",
        // With the switches of planted bugs; none is on unless the environment names it.
        flags: "--cfg shuttle --cfg tanada_planted",
        libraries: 1,
        packages: &["tanada-table", "tanada"],
        // For sizes so small that a few writes meet every border.
        features: &["tanada/simulation"],
        tests: "schedules_",
        faults: &[
            soon("group_commit_one_waiter_sees_error", "schedules_of_writers_and_a_failing_sync"),
            soon("block_cache_pays_twice", "schedules_of_readers_beside_evictions"),
            soon("row_cache_stale_under_race", ROWS),
            late("row_cache_generation_behind_the_view", ROWS),
            soon("rows_forgotten_behind_the_view", ROWS),
            late("snapshot_numbered_before_it_is_listed", DATABASE),
            late("seq_taken_before_version_pinned", DATABASE),
            soon("view_loaded_before_its_number", DATABASE),
            soon("snapshot_missed_by_flush", DATABASE),
            soon("cursor_missed_by_job", DATABASE),
            soon("snapshot_dirty_read_during_compaction", DATABASE),
            soon("keyspace_created_twice", DATABASE),
            soon("keyspace_usable_before_its_edit", DATABASE),
            soon("group_visible_before_it_is_inserted", DATABASE),
            soon("lost_inserts_bulk", DATABASE),
            soon("memtable_gone_before_its_table_is_there", DATABASE),
            late("unflushed_is_forgotten_at_a_seal", DATABASE),
            late("log_let_go_under_a_seal", DATABASE),
            soon("conditions_asked_before_the_queue", SWAPS),
            late("conditions_ignore_earlier_members", SWAPS),
            soon("put_noted_after_it_shows", WALKS),
            soon("put_before_a_dead_walk_missed", WALKS),
            soon("close_leaves_jobs_behind", DATABASE),
            soon("close_leaves_compactions_by_hand_behind", DATABASE),
            soon("checkpoint_moment_in_two_steps", CHECKPOINTS),
            soon("checkpoint_log_not_pinned", CHECKPOINTS),
            soon("change_shown_before_it_can_be_read", FOLLOWERS),
        ],
    },
];

/// `[--quick] [loom | shuttle] [TEST]`: both checkers or one, all its tests or those of a
/// name; quickly, a part of the orders of whole databases, and of the planted bugs.
pub(crate) fn main(root: &Path, arguments: &[&str]) -> ExitCode {
    let (quick, arguments) = match arguments {
        ["--quick", rest @ ..] => (true, rest),
        all => (false, all),
    };
    let (chosen, test) = match arguments {
        [] => (None, None),
        [checker] => (Some(*checker), None),
        [checker, test] => (Some(*checker), Some(*test)),
        _ => return refuse(),
    };
    if chosen.is_some_and(|name| CHECKERS.iter().all(|checker| checker.name != name)) {
        return refuse();
    }
    let mut ok = true;
    for checker in CHECKERS.iter().filter(|c| chosen.is_none_or(|name| name == c.name)) {
        let began = Instant::now();
        println!("==> {}", checker.name);
        let passed = checker.passes(root, test.unwrap_or(checker.tests), quick);
        let found = test.is_some() || (passed && checker.finds_its_faults(root, quick));
        let verdict = if passed && found { "ok" } else { "FAILED" };
        println!("<== {}: {verdict} in {:.0} s", checker.name, began.elapsed().as_secs_f64());
        ok &= passed && found;
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn refuse() -> ExitCode {
    eprintln!("error: concurrency takes 'loom' or 'shuttle', and a part of a test's name");
    ExitCode::from(2)
}

impl Checker {
    /// The command that runs the tests whose names hold `test`.
    fn command(&self, root: &Path, test: &str) -> Command {
        let mut cargo = Command::new("cargo");
        cargo.args(["test", "--lib"]);
        let (name, level) = (self.name, self.libraries);
        cargo.args(["--config", &format!(r#"profile.dev.package."*".opt-level = {level}"#)]);
        cargo.args(["--config", &format!("profile.dev.package.{name}.opt-level = 2")]);
        // A panic names its line without.
        cargo.args(["--config", "profile.dev.debug = false"]);
        for package in self.packages {
            cargo.args(["--package", package]);
        }
        for feature in self.features {
            cargo.args(["--features", feature]);
        }
        // One at a time, so that what they print can be told apart.
        cargo.args(["--", test, "--nocapture", "--test-threads=1"]);
        let others = std::env::var("RUSTFLAGS").unwrap_or_default();
        cargo.env("RUSTFLAGS", format!("{others} {}", self.flags).trim_start());
        cargo.env("CARGO_TARGET_DIR", root.join("target").join(self.name));
        // Models that must fail would print a page each.
        cargo.env("RUST_BACKTRACE", "0").env_remove("TANADA_PLANTED").current_dir(root);
        cargo
    }

    /// Whether there are tests of this name, and all pass.
    fn passes(&self, root: &Path, test: &str, quick: bool) -> bool {
        let names = self.command(root, test).arg("--list").stderr(Stdio::inherit()).output();
        let tests = names.map_or(0, |output| {
            let names = String::from_utf8_lossy(&output.stdout);
            names.lines().filter(|line| line.ends_with(": test")).count()
        });
        println!("{tests} tests");
        let mut run = self.command(root, test);
        if quick {
            run.env("TANADA_SHUTTLE_SEEDS", QUICK_SEEDS);
        }
        tests > 0 && run.status().is_ok_and(|status| status.success())
    }

    /// Whether each fault makes its test fail, which passes without.
    fn finds_its_faults(&self, root: &Path, quick: bool) -> bool {
        let mut ok = true;
        for Race { name, test, how } in self.faults {
            if quick && *how == Found::Late {
                continue;
            }
            let began = Instant::now();
            let output = self.command(root, test).env("TANADA_PLANTED", name).output();
            let found = output.is_ok_and(|output| {
                String::from_utf8_lossy(&output.stdout).contains("test result: FAILED")
            });
            let (verdict, time) = (if found { "found" } else { "NOT FOUND" }, began.elapsed());
            println!("planted: {name} ... {verdict} in {:.1} s", time.as_secs_f64());
            ok &= found;
        }
        ok
    }
}
