//! `cargo xtask fuzz`: builds the fuzzing targets of `fuzz/` and runs each for
//! a while, beginning with the committed corpus.
//!
//! libFuzzer wants code that counts its branches, which only a nightly compiler
//! offers officially; `RUSTC_BOOTSTRAP=1` opens the same flags on the stable
//! one. They are those that cargo-fuzz passes (`src/project.rs` there). Inputs
//! that are found stay in `fuzz/target/corpus`; one that breaks a rule goes to
//! `fuzz/artifacts`, and its replay is printed.

use std::path::Path;
use std::process::{Command, ExitCode};

/// Of each target, unless told otherwise.
const SECONDS: u64 = 60;
/// Of each target, in `cargo xtask test`.
pub(crate) const BOUNDED: &[&str] = &["--seconds", "3"];
/// A run shorter than this prints its figures and no progress.
const QUIET_BELOW_SECONDS: u64 = 30;

/// The target whose inputs describe simulated lives.
const SIMULATED: &str = "operations";

const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
    "-Coverflow-checks",
    "-Zsanitizer=address",
    "--cfg=fuzzing",
];

/// `[TARGET] [--seconds N]`.
pub(crate) fn main(root: &Path, arguments: &[&str]) -> ExitCode {
    let (mut target, mut seconds) = (None, SECONDS);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match (*argument, target) {
            // libFuzzer takes 0 for no limit.
            ("--seconds", _) => match rest.next().and_then(|n| n.parse().ok()) {
                Some(n) if n > 0 => seconds = n,
                _ => return refuse("--seconds wants a number of 1 or more"),
            },
            (name, None) if !name.starts_with('-') => target = Some(name),
            (other, _) => return refuse(&format!("'{other}' is not understood")),
        }
    }
    let targets = match targets(root) {
        Ok(targets) => targets,
        Err(e) => return refuse(&format!("cannot list fuzz/fuzz_targets: {e}")),
    };
    let chosen: Vec<&String> =
        targets.iter().filter(|name| target.is_none_or(|one| one == *name)).collect();
    if chosen.is_empty() {
        return refuse(&format!("there is no such target; there are {}", targets.join(", ")));
    }
    let Some(host) = host() else { return refuse("rustc does not say for which host it is") };
    let mut build = cargo(root, &host);
    if let Some(one) = target {
        build.args(["--bin", one]);
    }
    if !build.status().is_ok_and(|status| status.success()) {
        return ExitCode::FAILURE;
    }
    let failed: Vec<&String> =
        chosen.into_iter().filter(|name| !run(root, &host, name, seconds)).collect();
    for name in &failed {
        let input = newest_artifact(root, name);
        println!("FAILED: {name}; replay with");
        println!("    fuzz/target/{host}/release/{name} {input}");
        if name.as_str() == SIMULATED {
            println!("or, made as short as it can be, with");
            println!("    cargo xtask simulate --bytes {input}");
        }
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("error: {why}\nUsage: cargo xtask fuzz [TARGET] [--seconds N]");
    ExitCode::from(2)
}

/// Names of all targets, sorted.
fn targets(root: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root.join("fuzz/fuzz_targets"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// The input that broke a rule last.
fn newest_artifact(root: &Path, name: &str) -> String {
    let dir = format!("fuzz/artifacts/{name}");
    let entries = std::fs::read_dir(root.join(&dir)).into_iter().flatten().flatten();
    let newest = entries.max_by_key(|entry| entry.metadata().and_then(|m| m.modified()).ok());
    let file =
        newest.map_or("FILE".into(), |entry| entry.file_name().to_string_lossy().into_owned());
    format!("{dir}/{file}")
}

fn host() -> Option<String> {
    let output = Command::new("rustc").arg("-vV").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

/// With a target named, so that build scripts and macros are left as they are.
fn cargo(root: &Path, host: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", host]);
    cargo.current_dir(root).env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS.join(" "));
    cargo
}

fn run(root: &Path, host: &str, name: &str, seconds: u64) -> bool {
    println!("==> {name}, {seconds} s");
    let (found, artifacts) =
        (format!("fuzz/target/corpus/{name}"), format!("fuzz/artifacts/{name}/"));
    for dir in [&found, &artifacts] {
        if let Err(e) = std::fs::create_dir_all(root.join(dir)) {
            eprintln!("error: cannot create {dir}: {e}");
            return false;
        }
    }
    let committed = format!("fuzz/corpus/{name}");
    let mut fuzzer = Command::new(root.join(format!("fuzz/target/{host}/release/{name}")));
    fuzzer.current_dir(root).arg(&found);
    if root.join(&committed).is_dir() {
        fuzzer.arg(&committed);
    }
    fuzzer.arg(format!("-max_total_time={seconds}")).arg(format!("-artifact_prefix={artifacts}"));
    fuzzer.args(["-max_len=65536", "-timeout=25", "-rss_limit_mb=4096", "-print_final_stats=1"]);
    if seconds < QUIET_BELOW_SECONDS {
        fuzzer.arg("-verbosity=0");
    }
    fuzzer.status().is_ok_and(|status| status.success())
}
