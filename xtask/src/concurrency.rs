//! `cargo xtask concurrency`: loom on the parts without locks, shuttle on the commit
//! pipeline and the caches; and whether shuttle finds faults that are put back.
//!
//! Each checker takes the places of locks and atomics (`crates/vfs/src/sync`) in a build
//! of its own. That loom would find something is shown by tests that run the same models
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
    /// How its tests' names begin.
    tests: &'static str,
    /// Planted bugs, and the test that must find each.
    faults: &'static [(&'static str, &'static str)],
}

const CHECKERS: &[Checker] = &[
    Checker {
        name: "loom",
        flags: "--cfg loom",
        libraries: 0,
        packages: &["tanada-table", "tanada"],
        tests: "models_",
        faults: &[],
    },
    Checker {
        name: "shuttle",
        // With the switches of planted bugs; none is on unless the environment names it.
        flags: "--cfg shuttle --cfg tanada_planted",
        libraries: 1,
        packages: &["tanada-table", "tanada"],
        tests: "schedules_",
        faults: &[
            ("group_commit_one_waiter_sees_error", "schedules_of_writers_and_a_failing_sync"),
            ("row_cache_stale_under_race", "schedules_of_readers_beside_flushes"),
            ("block_cache_pays_twice", "schedules_of_readers_beside_evictions"),
        ],
    },
];

/// `[loom | shuttle] [TEST]`: both checkers or one, all its tests or those of a name.
pub(crate) fn main(root: &Path, arguments: &[&str]) -> ExitCode {
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
        let passed = checker.passes(root, test.unwrap_or(checker.tests));
        let found = test.is_some() || (passed && checker.finds_its_faults(root));
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
    fn passes(&self, root: &Path, test: &str) -> bool {
        let names = self.command(root, test).arg("--list").stderr(Stdio::inherit()).output();
        let tests = names.map_or(0, |output| {
            let names = String::from_utf8_lossy(&output.stdout);
            names.lines().filter(|line| line.ends_with(": test")).count()
        });
        println!("{tests} tests");
        tests > 0 && self.command(root, test).status().is_ok_and(|status| status.success())
    }

    /// Whether each fault makes its test fail, which passes without.
    fn finds_its_faults(&self, root: &Path) -> bool {
        let mut ok = true;
        for (fault, test) in self.faults {
            let output = self.command(root, test).env("TANADA_PLANTED", fault).output();
            let found = output.is_ok_and(|output| {
                String::from_utf8_lossy(&output.stdout).contains("test result: FAILED")
            });
            println!("planted: {fault} ... {}", if found { "found" } else { "NOT FOUND" });
            ok &= found;
        }
        ok
    }
}
