//! One mutant before the tests: first those of its own room, then lives, then all.

use super::list::Mutant;
use super::outcome::Outcome;
use super::switch::CHOICE;
use super::tree::Tree;
use std::fs::File;
use std::process::{Command, Stdio};

/// A test that takes longer hangs: the slowest takes some seconds, more beside other work.
const NEXTEST: &str = "\
[profile.default]
slow-timeout = { period = \"120s\", terminate-after = 1 }
status-level = \"fail\"
final-status-level = \"fail\"
";

/// Seconds for all tests of a stage, and for its lives.
const TESTS_SECONDS: &str = "600";
const LIVES_SECONDS: &str = "90";

/// Memory of a process, in KiB, and length of a file, in blocks of 512 bytes: some
/// mutants would take all there is.
const LIMITS: &str = "ulimit -v 6291456 -f 4194304; exec \"$@\"";

/// Exit code of `timeout` when it had to end what it ran.
const TIMED_OUT: i32 = 124;

/// What can be run before a mutant.
enum Stage {
    /// The tests that this filter lets through.
    Tests(String),
    /// Simulated lives: from this seed up to that.
    Lives(&'static str, &'static str),
}

/// Tests of damaged databases, which take longer than all others together.
const SLOW: &str = "(binary_id(tanada::damage) + binary_id(tanada::repair))";

/// Without the sweep, which reads the engine's source, and stumbles over the switches.
const SIMULATION: &str = "package(tanada-sim) - binary_id(tanada-sim::faults)";

/// Stages in order: what is likely to fail soon comes first.
fn quick_stages(room: Option<&str>) -> Vec<(&'static str, Stage)> {
    let quick = format!("package(tanada) - {SLOW}");
    let of_room = room.map(|room| format!("package(tanada) & kind(lib) & test(/^{room}::/)"));
    let others = of_room.as_ref().map_or(quick.clone(), |room| format!("{quick} - ({room})"));
    let mut stages = Vec::new();
    stages.extend(of_room.map(|filter| ("tests of the room", Stage::Tests(filter))));
    stages.push(("150 lives", Stage::Lives("1", "151")));
    stages.push(("tests of the engine", Stage::Tests(others)));
    stages.push(("350 lives", Stage::Lives("151", "501")));
    stages
}

/// For the few that the quick stages did not notice. Of three databases, which
/// differ in compression alone, one is damaged.
fn slow_stages() -> Vec<(&'static str, Stage)> {
    vec![
        ("tests of the simulation", Stage::Tests(SIMULATION.to_owned())),
        ("1,000 lives", Stage::Lives("501", "1501")),
        ("tests of damage", Stage::Tests(format!("{SLOW} - test(/lz4|zstd/)"))),
    ]
}

/// A mutant, and the build that it is in.
pub(super) struct Trial<'t> {
    pub(super) tree: &'t Tree,
    pub(super) mutant: &'t Mutant,
    /// Under which the build has it; 0 when it has no other.
    pub(super) number: usize,
    pub(super) job: usize,
}

impl Trial<'_> {
    pub(super) fn run_quick(&self) -> Outcome {
        self.run(quick_stages(self.room().as_deref())).unwrap_or(Outcome::Unnoticed)
    }

    pub(super) fn run_slow(&self) -> Outcome {
        self.run(slow_stages()).unwrap_or(Outcome::Survived)
    }

    fn run(&self, stages: Vec<(&'static str, Stage)>) -> Option<Outcome> {
        stages.iter().find_map(|(name, stage)| {
            match run_stage(self.tree, stage, self.number, self.job, None) {
                Some(0) => None,
                Some(TIMED_OUT) | None => Some(Outcome::Hung(name)),
                Some(_) => Some(Outcome::Noticed(name)),
            }
        })
    }

    /// The module with tests of its own that the mutant lies in.
    fn room(&self) -> Option<String> {
        let inside = self.mutant.file.strip_prefix("crates/engine/src").ok()?;
        let first = inside.components().next()?.as_os_str().to_str()?;
        (!first.ends_with(".rs")).then(|| first.to_owned())
    }
}

/// Without a mutant everything must pass, or no failure says anything.
pub(super) fn check_baseline(tree: &Tree) -> Result<(), String> {
    println!("all tests once without a mutant");
    for (name, stage) in quick_stages(None).into_iter().chain(slow_stages()) {
        let report = tree.work.join("without-a-mutant.log");
        let file = File::create(&report).map_err(|e| format!("{}: {e}", report.display()))?;
        if run_stage(tree, &stage, 0, 0, Some(file)) != Some(0) {
            return Err(format!("{name} fail without a mutant; {} shows how", report.display()));
        }
    }
    Ok(())
}

/// The exit code; none when a signal ended it. What it prints goes to `report`.
fn run_stage(
    tree: &Tree,
    stage: &Stage,
    number: usize,
    job: usize,
    report: Option<File>,
) -> Option<i32> {
    let scratch = tree.work.join(format!("scratch-{job}"));
    let _ = std::fs::remove_dir_all(&scratch);
    let _ = std::fs::create_dir_all(&scratch);
    let seconds = match stage {
        Stage::Tests(_) => TESTS_SECONDS,
        Stage::Lives(..) => LIVES_SECONDS,
    };
    let mut limited = Command::new("timeout");
    limited.args(["--kill-after", "5", seconds, "sh", "-c", LIMITS, "sh"]);
    match stage {
        Stage::Tests(filter) => {
            let config = tree.work.join("nextest.toml");
            std::fs::write(&config, NEXTEST).ok()?;
            limited.args(["cargo", "nextest", "run", "--test-threads", "1", "--no-tests", "pass"]);
            limited.arg("--config-file").arg(config);
            for (flag, file) in
                [("--binaries-metadata", "binaries.json"), ("--cargo-metadata", "metadata.json")]
            {
                limited.arg(flag).arg(tree.work.join(file));
            }
            limited.args(["--filterset", filter]);
        }
        Stage::Lives(first, end) => {
            limited.arg(tree.simulation()).args([first, end, "1"]);
        }
    }
    limited
        .env(CHOICE, number.to_string())
        .env("TMPDIR", &scratch)
        .current_dir(tree.root())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(report.map_or_else(Stdio::null, Stdio::from));
    limited.status().ok()?.code()
}
