//! `cargo xtask test`: everything that must be green before a change lands.
//!
//! The same command for a person's machine and for continuous integration
//! (`.ci/run` calls nothing else). It says what it is about to do, installs
//! what is missing when it may, and ends with a table of what each step took.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Test programs that need the built binary and minutes rather than seconds.
const END_TO_END: &[&str] = &["e2e_debian", "tour", "docs", "bad_input"];

struct Outcome {
    step: &'static str,
    time: Duration,
    ok: bool,
}

/// Runs every step, the later ones too when one fails, and answers for all.
pub(crate) fn main(root: &Path) -> ExitCode {
    println!("tanada: format, clippy, tidy, tests, end-to-end, planted bugs, concurrency,");
    println!("fuzzing, real processes killed; about a quarter of an hour on two cores");
    let began = Instant::now();
    let mut outcomes = Vec::new();
    let mut step = |name: &'static str, run: &mut dyn FnMut() -> bool| {
        println!("\n==> {name}");
        let started = Instant::now();
        let ok = run();
        let time = started.elapsed();
        println!("<== {name}: {} in {:.1} s", if ok { "ok" } else { "FAILED" }, time.as_secs_f64());
        outcomes.push(Outcome { step: name, time, ok });
    };

    step("prepare the machine", &mut || prepare(root));
    step("format", &mut || cargo(root, &["fmt", "--all", "--check"]));
    step("clippy", &mut || {
        let what = ["clippy", "--workspace", "--all-targets", "--all-features"];
        cargo(root, &[&what[..], &["--", "-D", "warnings"]].concat())
    });
    step("tidy", &mut || crate::tidy::main(root) == ExitCode::SUCCESS);
    step("tests", &mut || tests(root));
    step("doc tests", &mut || cargo(root, &["test", "--workspace", "--doc", "--all-features"]));
    step("end-to-end", &mut || end_to_end(root));
    // After it: the ordinary build that is looked at is the one it has used.
    step("planted bugs", &mut || crate::planted::main(root, &["--quick"]) == ExitCode::SUCCESS);
    step("concurrency", &mut || crate::concurrency::main(root, &["--quick"]) == ExitCode::SUCCESS);
    step("fuzzing", &mut || crate::fuzz::main(root, crate::fuzz::BOUNDED) == ExitCode::SUCCESS);
    let mut stress = crate::stress::Bounded::default();
    step("stress", &mut || {
        stress = crate::stress::bounded(root);
        stress.ok
    });

    println!("\n{:<22} {:>9}", "step", "seconds");
    for outcome in &outcomes {
        let verdict = if outcome.ok { "ok" } else { "FAILED" };
        println!("{:<22} {:>9.1}  {verdict}", outcome.step, outcome.time.as_secs_f64());
    }
    println!("{:<22} {:>9.1}", "all", began.elapsed().as_secs_f64());
    stress.tell_what_was_left_out();
    let failed: Vec<_> = outcomes.iter().filter(|o| !o.ok).map(|o| o.step).collect();
    if failed.is_empty() {
        println!("test result: ok. every step passed");
        ExitCode::SUCCESS
    } else {
        println!("test result: FAILED. {}", failed.join(", "));
        ExitCode::FAILURE
    }
}

fn tests(root: &Path) -> bool {
    // End-to-end programs run in a step of their own, so that their time shows.
    if has(root, "cargo", &["nextest", "--version"]) {
        let without = END_TO_END.iter().map(|name| format!("binary({name})"));
        let filter = format!("not ({})", without.collect::<Vec<_>>().join(" | "));
        let what = ["nextest", "run", "--workspace", "--all-features", "--no-fail-fast", "-E"];
        return cargo(root, &[&what[..], &[&filter]].concat());
    }
    println!("cargo-nextest is not installed: cargo test does the same, less tersely");
    let others =
        ["test", "--workspace", "--all-features", "--no-fail-fast", "--exclude", "tanada-cli"];
    cargo(root, &[&others[..], &["--lib", "--bins", "--tests"]].concat())
        & cargo(root, &["test", "--package", "tanada-cli", "--bins"])
}

fn end_to_end(root: &Path) -> bool {
    let mut what = vec!["test", "--package", "tanada-cli", "--no-fail-fast"];
    for name in END_TO_END {
        what.extend(["--test", name]);
    }
    what.extend(["--", "--nocapture"]);
    cargo(root, &what)
}

/// What the tests need beside the Rust toolchain.
struct Need {
    program: &'static str,
    package: &'static str,
    why: &'static str,
}

const NEEDS: &[Need] = &[
    Need { program: "cc", package: "gcc", why: "zstd and the allocator are compiled from C" },
    Need { program: "c++", package: "g++", why: "the fuzzer's library is compiled from C++" },
    Need { program: "curl", package: "curl", why: "the README's first minute is run as written" },
    Need { program: "setpriv", package: "util-linux", why: "one test runs without root's rights" },
    Need { program: "mount", package: "mount", why: "one test fills a small disk" },
    Need { program: "losetup", package: "mount", why: "power is cut on a disk in a file" },
    Need { program: "mkfs.ext4", package: "e2fsprogs", why: "that disk has a file system" },
];

/// Sees to toolchain components, programs, and the Debian package index.
fn prepare(root: &Path) -> bool {
    let mut ok = true;
    for (component, probe) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !has(root, "cargo", &[probe, "--version"]) {
            println!("installing {component} with rustup: a later step needs it");
            ok &= run(root, "rustup", &["component", "add", component]);
        }
    }
    if !has(root, "apt-get", &["--version"]) {
        println!("no apt-get here: nothing is installed, and tests on Debian's index are skipped");
        return ok;
    }
    let root_rights = output(root, "id", &["-u"]).trim() == "0";
    let lists = output(root, "sh", &["-c", "apt-cache dumpavail | head -c 100000"]);
    let missing: Vec<&Need> = NEEDS
        .iter()
        .filter(|need| !has(root, "sh", &["-c", &format!("command -v {}", need.program)]))
        .collect();
    if lists.len() >= 100_000 && missing.is_empty() {
        println!("nothing to install: the package index and all programs are here");
        return ok;
    }
    if !root_rights {
        for need in missing {
            println!(
                "missing: {} ({}); install it as root: apt-get install {}",
                need.program, need.why, need.package
            );
        }
        println!("not root: nothing is installed; tests that need more say so and are skipped");
        return ok;
    }
    println!("fetching the Debian package index (apt-get update): it is the tests' real input");
    ok &= run(root, "apt-get", &["update", "-q"]);
    for need in missing {
        println!("installing {}: {}", need.package, need.why);
        ok &=
            run(root, "apt-get", &["install", "-q", "-y", "--no-install-recommends", need.package]);
    }
    ok
}

fn cargo(root: &Path, arguments: &[&str]) -> bool {
    run(root, "cargo", arguments)
}

fn run(root: &Path, program: &str, arguments: &[&str]) -> bool {
    println!("$ {program} {}", arguments.join(" "));
    match Command::new(program).args(arguments).current_dir(root).status() {
        Ok(status) => status.success(),
        Err(e) => {
            println!("error: cannot run {program}: {e}");
            false
        }
    }
}

/// Whether a program runs and succeeds, quietly.
fn has(root: &Path, program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output()
        .is_ok_and(|output| output.status.success())
}

fn output(root: &Path, program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}
