//! `cargo xtask large`: databases large enough to meet the limits of descriptors and
//! memory, a step a process that may have 256 files open.

use std::path::Path;
use std::process::{Command, ExitCode};

const STEPS: [&str; 5] = ["load", "get", "miss", "scan", "compact"];

/// `tables` or `bytes`, and how many thousandths of the whole, all by default.
pub(crate) fn main(root: &Path, arguments: &[&str]) -> ExitCode {
    let (what, scale) = match arguments {
        [what @ ("tables" | "bytes")] => (*what, "1000"),
        [what @ ("tables" | "bytes"), scale] => (*what, *scale),
        _ => {
            eprintln!("error: cargo xtask large tables|bytes [PER MILLE]");
            return ExitCode::from(2);
        }
    };
    let build = ["build", "--release", "--package", "tanada-sim", "--example", "large"];
    if !Command::new("cargo").args(build).current_dir(root).status().is_ok_and(|s| s.success()) {
        return ExitCode::FAILURE;
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let program = target.join("release/examples/large");
    let dir = target.join(format!("large-{what}"));
    let _ = std::fs::remove_dir_all(&dir);
    let mut ok = true;
    for step in STEPS {
        let ran = Command::new("sh")
            .args(["-c", "ulimit -n 256 && exec \"$0\" \"$@\""])
            .arg(&program)
            .args([what, step, scale])
            .arg(&dir)
            .status();
        // The later steps tell more, unless there is nothing to look at.
        ok &= ran.is_ok_and(|status| status.success());
        if !ok && step == "load" {
            break;
        }
    }
    if let Err(e) = std::fs::remove_dir_all(&dir) {
        eprintln!("error: {}: {e}", dir.display());
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
