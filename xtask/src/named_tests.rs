//! Tests chosen by name and run under a compiler that looks more closely: what
//! `cargo xtask miri` and `cargo xtask tsan` have in common.
//!
//! A name that no test has would be a check that cannot fail, so every name must
//! have been run and must have passed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Where the closer look is: both need what only it has.
pub(crate) const TOOLCHAIN: &str = "nightly";

/// Tests of one test program.
pub(crate) struct Program {
    pub(crate) package: &'static str,
    /// As cargo names it: `--lib`, or `--test` and a file.
    pub(crate) target: &'static [&'static str],
    pub(crate) tests: &'static [&'static str],
}

impl Program {
    /// As in `tanada-table --test cache`.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.package, self.target.join(" "))
    }
}

/// `rustup run nightly PROGRAM`, in the repository.
pub(crate) fn nightly(root: &Path, program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", TOOLCHAIN, program]).current_dir(root);
    command
}

/// Whether such a command succeeds, and what it prints.
pub(crate) fn answer(mut command: Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Adds the program and its tests to a `cargo test` and runs it. Whether each of
/// them was run and passed.
pub(crate) fn run(mut cargo: Command, program: &Program) -> bool {
    cargo.args(["--package", program.package]).args(program.target);
    cargo.args(["--", "--exact"]).args(program.tests);
    let began = Instant::now();
    let mut child = match cargo.stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(e) => {
            eprintln!("error: cannot run rustup: {e}");
            return false;
        }
    };
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut passed = None;
    for line in output.lines().map_while(Result::ok) {
        println!("{line}");
        passed = passed.or(count_passed(&line));
    }
    let ended_well = child.wait().is_ok_and(|status| status.success());
    let (passed, named) = (passed.unwrap_or(0), program.tests.len());
    println!(
        "<== {}: {passed} of {named} tests passed, {:.0} s",
        program.name(),
        began.elapsed().as_secs_f64()
    );
    if ended_well && passed < named {
        println!("FAILED: a test of this list is not there any more");
    }
    ended_well && passed == named
}

/// What the test harness says at its end.
fn count_passed(line: &str) -> Option<usize> {
    line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_tests_that_passed_is_read() {
        let line = "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out";
        assert_eq!(count_passed(line), Some(12));
        assert_eq!(count_passed("test result: FAILED. 1 passed; 1 failed"), None);
        assert_eq!(count_passed("test a ... ok"), None);
    }
}
