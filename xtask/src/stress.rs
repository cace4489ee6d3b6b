//! `cargo xtask stress`: builds the server and what torments it, and lets it.
//!
//! The bounded form is a step of `cargo xtask test`: some of each mode, and a
//! run that dies itself and is resumed.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Exit code of a mode for which the machine lacks something.
const LACKING: i32 = 77;

/// What `cargo xtask test` runs: mode and count.
const BOUNDED: &[(&str, &str)] = &[
    ("kill", "120"),
    ("power", "30"),
    ("fsync", "5"),
    ("full", "3"),
    ("descriptors", "5"),
    ("readonly", "5"),
];

/// The seed of the bounded form: the same for everyone.
const SEED: &str = "1";

/// Builds in release and runs; `arguments` are those of the program.
pub(crate) fn main(root: &Path, arguments: &[&str]) -> ExitCode {
    let done = match arguments {
        ["bounded"] => {
            let done = bounded(root);
            done.tell_what_was_left_out();
            done.ok
        }
        [] => build(root, Profile::Release)
            .is_some_and(|program| run(root, &program, &["--help"]) == Some(0)),
        arguments => match build(root, Profile::Release) {
            // The program's own exit code says more than ours would.
            Some(program) => {
                let code = run(root, &program, arguments).and_then(|c| u8::try_from(c).ok());
                return ExitCode::from(code.unwrap_or(1));
            }
            None => false,
        },
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What became of the bounded form.
#[derive(Default)]
pub(crate) struct Bounded {
    pub(crate) ok: bool,
    /// Modes for which this machine lacks something.
    left_out: Vec<&'static str>,
}

impl Bounded {
    /// Loudly, for it is the last thing that anyone reads.
    pub(crate) fn tell_what_was_left_out(&self) {
        if !self.left_out.is_empty() {
            println!(
                "\nLEFT OUT: stress {}: needs root and loop devices. With CI set this would fail",
                self.left_out.join(", ")
            );
        }
    }
}

/// The bounded form. With CI set nothing of it may be left out.
pub(crate) fn bounded(root: &Path) -> Bounded {
    let mut done = Bounded::default();
    let Some(program) = build(root, Profile::Dev) else { return done };
    let required = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
    done.ok = true;
    for (mode, count) in BOUNDED {
        let mut arguments = vec![*mode, "--count", count, "--seed", SEED];
        if required {
            arguments.push("--require");
        }
        match run(root, &program, &arguments) {
            Some(0) => {}
            Some(LACKING) => done.left_out.push(mode),
            _ => done.ok = false,
        }
    }
    done.ok &= dies_and_is_resumed(root, &program);
    done
}

/// A run that kills itself leaves its journal: the next one judges by it.
fn dies_and_is_resumed(root: &Path, program: &Path) -> bool {
    let dir = target(root).join("stress-resume");
    if dir.exists()
        && let Err(e) = std::fs::remove_dir_all(&dir)
    {
        println!("error: {}: {e}", dir.display());
        return false;
    }
    let place = dir.display().to_string();
    let shared = ["kill", "--seed", SEED, "--dir", &place];
    let dying = [&shared[..], &["--count", "3", "--die-in", "2"]].concat();
    if let Some(code) = run(root, program, &dying) {
        println!("error: a run that was to kill itself ended with exit code {code}");
        return false;
    }
    run(root, program, &[&shared[..], &["--count", "2", "--resume"]].concat()) == Some(0)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Profile {
    Dev,
    Release,
}

/// Builds both binaries; where `tanada-stress` is, with the server beside it.
fn build(root: &Path, profile: Profile) -> Option<PathBuf> {
    let mut arguments = vec!["build", "--package", "tanada-cli", "--package", "tanada-stress"];
    let directory = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            arguments.push("--release");
            "release"
        }
    };
    // The clock that `soak` sets, for Linux alone.
    let mut clock = vec!["build", "--package", "tanada-stress", "--example", "shifted_clock"];
    if profile == Profile::Release {
        clock.push("--release");
    }
    let mut built = run(root, Path::new("cargo"), &arguments) == Some(0);
    built &= !cfg!(target_os = "linux") || run(root, Path::new("cargo"), &clock) == Some(0);
    built.then(|| target(root).join(directory).join("tanada-stress"))
}

fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Its exit code; `None` when a signal ended it, or it could not be run.
fn run(root: &Path, program: &Path, arguments: &[&str]) -> Option<i32> {
    println!("$ {} {}", program.display(), arguments.join(" "));
    match Command::new(program).args(arguments).current_dir(root).status() {
        Ok(status) => status.code(),
        Err(e) => {
            println!("error: cannot run {}: {e}", program.display());
            None
        }
    }
}
