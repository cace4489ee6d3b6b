//! The test programs of a build with planted bugs, and single tests run in them.

use super::table::Test;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A test must find its fault in this time.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Where builds with planted bugs lie.
pub(crate) const TARGET: &str = "target/planted";

/// What makes a build one with planted bugs.
pub(crate) fn flags() -> String {
    let others = std::env::var("RUSTFLAGS").unwrap_or_default();
    format!("{others} --cfg tanada_planted").trim_start().to_owned()
}

/// Test programs by crate directory and target.
pub(crate) struct Programs {
    root: PathBuf,
    paths: BTreeMap<(String, String), PathBuf>,
}

/// What became of one test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    /// It was still running when its time was up.
    Overran,
    /// It was not run at all, or the program died.
    NoAnswer,
}

/// A run of one test.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) verdict: Verdict,
    pub(crate) time: Duration,
    /// What the program printed.
    pub(crate) output: String,
}

impl Programs {
    /// Builds the test programs that these tests are in. `None` when that fails,
    /// and cargo has said why.
    pub(crate) fn build<'t>(
        root: &Path,
        tests: impl Iterator<Item = &'t Test>,
    ) -> Option<Programs> {
        let mut command = Command::new("cargo");
        command.args(["test", "--no-run", "--message-format=json-render-diagnostics"]);
        let (rooms, targets): (BTreeSet<_>, BTreeSet<_>) =
            tests.map(|test| (test.room, test.target)).unzip();
        for room in rooms {
            command.arg("--package").arg(package(room));
        }
        for target in targets {
            match target {
                "lib" => command.arg("--lib"),
                file => command.args(["--test", file]),
            };
        }
        command.env("RUSTFLAGS", flags()).env("CARGO_TARGET_DIR", root.join(TARGET));
        command.current_dir(root).stdout(Stdio::piped());
        let output = match command.spawn().and_then(std::process::Child::wait_with_output) {
            Ok(output) if output.status.success() => output,
            Ok(_) => return None,
            Err(e) => {
                eprintln!("error: cannot run cargo: {e}");
                return None;
            }
        };
        let told = String::from_utf8_lossy(&output.stdout);
        let paths = told.lines().filter_map(test_program).collect();
        Some(Programs { root: root.to_path_buf(), paths })
    }

    /// Where the programs lie.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.values().map(PathBuf::as_path)
    }

    /// Runs one test, with a fault in or without any.
    pub(crate) fn run(&self, test: &Test, fault: Option<&str>) -> Run {
        let began = Instant::now();
        let answer = |verdict, output| Run { verdict, time: began.elapsed(), output };
        let key = (test.room.to_owned(), test.target.to_owned());
        let Some(program) = self.paths.get(&key) else {
            let what = format!("there is no test program {}/{}", test.room, test.target);
            return answer(Verdict::NoAnswer, what);
        };
        match self.run_program(program, test, fault, began) {
            Ok((ended, output)) => {
                let verdict = if ended { verdict(&output) } else { Verdict::Overran };
                answer(verdict, output)
            }
            Err(e) => answer(Verdict::NoAnswer, format!("{}: {e}", program.display())),
        }
    }

    /// Whether it ended in time, and what it printed.
    fn run_program(
        &self,
        program: &Path,
        test: &Test,
        fault: Option<&str>,
        began: Instant,
    ) -> std::io::Result<(bool, String)> {
        // To a file: nobody reads a pipe while this waits.
        let told = self.root.join(TARGET).join("output.txt");
        let out = File::create(&told)?;
        let mut command = Command::new(program);
        command.args(["--exact", test.name, "--test-threads=1"]);
        command.current_dir(self.root.join("crates").join(test.room));
        command.stdin(Stdio::null()).stderr(out.try_clone()?).stdout(out);
        for name in ["TANADA_SEED", "TANADA_SEEDS"] {
            command.env_remove(name);
        }
        // The runs with and without a fault differ in nothing but its name.
        command.env("TANADA_PLANTED", fault.unwrap_or("none"));
        command.env_remove("RUST_BACKTRACE");
        // The same cases each time, and none kept: they fail by intent.
        command.env("PROPTEST_RNG_SEED", "1");
        command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true");
        let mut child = command.spawn()?;
        let ended = loop {
            if child.try_wait()?.is_some() {
                break true;
            }
            if began.elapsed() > LIMIT {
                child.kill()?;
                child.wait()?;
                break false;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        Ok((ended, String::from_utf8_lossy(&std::fs::read(&told)?).into_owned()))
    }
}

impl Run {
    /// What the first panic said: where, and the first line of what.
    pub(crate) fn reason(&self) -> String {
        let mut lines = self.output.lines().skip_while(|line| !line.contains("panicked at "));
        let place = lines.next().and_then(|line| line.split_once("panicked at "));
        let what = lines.next().unwrap_or_default().trim();
        format!("{} {what}", place.map_or("", |(_, place)| place))
    }
}

/// What the test harness says at its end: it must have run one test.
fn verdict(output: &str) -> Verdict {
    let mut results = output.lines().filter_map(|line| line.strip_prefix("test result: "));
    match results.next_back() {
        Some(result) if result.starts_with("ok. 1 passed; 0 failed") => Verdict::Passed,
        Some(result) if result.starts_with("FAILED. 0 passed; 1 failed") => Verdict::Failed,
        _ => Verdict::NoAnswer,
    }
}

/// The package in a directory of `crates/`.
fn package(room: &str) -> String {
    if room == "engine" { "tanada".to_owned() } else { format!("tanada-{room}") }
}

/// The test program that a line of cargo's messages names, with its crate's
/// directory and its target.
fn test_program(message: &str) -> Option<((String, String), PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let program = message["executable"].as_str()?;
    let manifest = Path::new(message["manifest_path"].as_str()?);
    let room = manifest.parent()?.file_name()?.to_str()?.to_owned();
    let target = match message["target"]["kind"][0].as_str()? {
        "test" => message["target"]["name"].as_str()?,
        _ => "lib",
    };
    Some(((room, target.to_owned()), program.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_test_that_was_run_has_passed_or_failed() {
        let ok = "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored";
        assert_eq!(verdict(ok), Verdict::Passed);
        let failed = "x\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 3 filtered out";
        assert_eq!(verdict(failed), Verdict::Failed);
        let misspelt = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out";
        assert_eq!(verdict(misspelt), Verdict::NoAnswer);
        assert_eq!(verdict("Segmentation fault"), Verdict::NoAnswer);
    }

    #[test]
    fn the_reason_is_what_the_first_panic_said() {
        let output = "running 1 test\n\nthread 'a' (7) panicked at src/a.rs:1:2:\nassertion failed\n  left: 1\nthread 'b' panicked at c";
        let run = Run { verdict: Verdict::Failed, time: Duration::ZERO, output: output.to_owned() };
        assert_eq!(run.reason(), "src/a.rs:1:2: assertion failed");
    }

    #[test]
    fn test_programs_are_read_from_what_cargo_says() {
        let line = |test: bool, kind: &str, name: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/r/crates/engine/Cargo.toml","target":{{"kind":["{kind}"],"name":"{name}"}},"profile":{{"test":{test}}},"executable":"/t/x"}}"#
            )
        };
        let named = |line: &str| test_program(line).map(|((room, target), _)| (room, target));
        let key = |target: &str| Some(("engine".to_owned(), target.to_owned()));
        assert_eq!(named(&line(true, "test", "scenarios")), key("scenarios"));
        assert_eq!(named(&line(true, "lib", "tanada")), key("lib"));
        assert_eq!(named(&line(false, "lib", "tanada")), None);
        assert_eq!(named("not json"), None);
    }
}
