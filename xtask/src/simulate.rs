//! `cargo xtask simulate`: as many simulated lives as one has time for.

use crate::seeded::Seeded;
use std::path::Path;
use std::process::{Command, ExitCode};

const SIMULATION: Seeded = Seeded {
    verb: "simulate",
    package: "tanada-sim",
    binary: "tanada-sim",
    mode: None,
    seeds: 1_000,
    many: 20_000,
    sums: &["seeds", "operations", "crashes", "of these inside a call", "failing calls", "steps"],
};

/// Lives of which one takes as long as a thousand of the others.
const LONG: Seeded =
    Seeded { verb: "simulate --long", mode: Some("long"), seeds: 20, many: 1, ..SIMULATION };

/// `--seeds N` and the like, of long lives behind `--long`; or `--bytes FILE`.
pub(crate) fn main(root: &Path, arguments: &[&str]) -> ExitCode {
    match arguments {
        ["--bytes", file] => replay_bytes(root, file),
        ["--long", rest @ ..] => LONG.main(root, rest),
        _ => SIMULATION.main(root, arguments),
    }
}

/// The life that a fuzzer's input describes.
fn replay_bytes(root: &Path, file: &str) -> ExitCode {
    let what = ["run", "--quiet", "--package", "tanada-sim", "--bin", "tanada-sim", "--"];
    let status =
        Command::new("cargo").args(what).args(["--bytes", file]).current_dir(root).status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: cannot start the simulation: {e}");
            ExitCode::FAILURE
        }
    }
}
