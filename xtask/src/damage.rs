//! `cargo xtask damage`: the exhaustive form of the tests on damaged golden
//! databases.

use std::path::Path;
use std::process::{Command, ExitCode};

/// Runs them, optimised, with every place and every change.
pub(crate) fn main(root: &Path) -> ExitCode {
    let mut cargo = Command::new("cargo");
    cargo.args([
        "test",
        "--release",
        "--package",
        "tanada",
        "--test",
        "damage",
        "--test",
        "repair",
    ]);
    let status = cargo.current_dir(root).env("TANADA_EXHAUSTIVE", "1").status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: cannot run cargo: {e}");
            ExitCode::FAILURE
        }
    }
}
