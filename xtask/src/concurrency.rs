//! `cargo xtask concurrency`: what threads share without locks, in every order that
//! loom knows.
//!
//! Loom takes the places of locks and atomics (`crates/vfs/src/sync`) in a build of its
//! own. That it would find something is shown by tests that run the same models with
//! weaker orderings and must fail.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// How the names of all models begin.
const MODELS: &str = "models_";

/// `[TEST]`: all models, or those with this in their names.
pub(crate) fn main(root: &Path, arguments: &[&str]) -> ExitCode {
    let models = match arguments {
        [] => MODELS,
        [name] => name,
        _ => {
            eprintln!("error: concurrency takes a part of a test's name, or nothing");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--package", "tanada-table", "--lib", "--", models]);
    // One at a time, so that what they print can be told apart.
    cargo.args(["--nocapture", "--test-threads=1"]);
    let others = std::env::var("RUSTFLAGS").unwrap_or_default();
    cargo.env("RUSTFLAGS", format!("{others} --cfg loom").trim_start());
    cargo.env("CARGO_TARGET_DIR", root.join("target/loom")).current_dir(root);
    let ok = cargo.status().is_ok_and(|status| status.success());
    let verdict = if ok { "ok" } else { "FAILED" };
    println!("concurrency: {verdict} in {:.0} s", began.elapsed().as_secs_f64());
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
