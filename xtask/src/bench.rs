//! `cargo xtask bench`: builds the judge and lets it make `docs/benchmarks.md`.
//!
//! The judge is a workspace of its own (`bench/`), because RocksDB takes a
//! quarter of an hour to compile and is no one's business but its own.

use std::path::Path;
use std::process::{Command, ExitCode};

/// What RocksDB's bindings and its own code need.
struct Need {
    package: &'static str,
    why: &'static str,
    /// A shell condition that holds when it is there.
    there: &'static str,
}

const NEEDS: &[Need] = &[
    Need {
        package: "libclang-dev",
        why: "RocksDB's bindings are made from its headers",
        there: "test -n \"$LIBCLANG_PATH\" || ls /usr/lib/llvm-*/lib/libclang*.so* \
                /usr/lib/*/libclang*.so*",
    },
    Need { package: "clang", why: "the same", there: "command -v clang" },
    Need { package: "g++", why: "RocksDB is compiled from C++", there: "command -v c++" },
    Need { package: "cmake", why: "so are libraries it needs", there: "command -v cmake" },
];

/// Builds, runs, reports. `arguments` are the judge's own.
pub(crate) fn main(root: &Path, arguments: &[&str]) -> ExitCode {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !holds(need.there)).collect();
    if !missing.is_empty() {
        for need in &missing {
            eprintln!("missing: {} ({})", need.package, need.why);
        }
        let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
        eprintln!("install them as root: apt-get install {}", packages.join(" "));
        return ExitCode::FAILURE;
    }
    let (verb, arguments) = match arguments {
        ["report", rest @ ..] => ("report", rest),
        rest => ("run", rest),
    };
    println!("building the judge and all engines; the first time takes about 20 minutes");
    let build = ["build", "--release", "--manifest-path", "bench/Cargo.toml"];
    if !run(root, "cargo", &build) {
        return ExitCode::FAILURE;
    }
    if verb == "run" && !arguments.contains(&"--quick") {
        println!(
            "measuring; three rounds of all engines take about two hours, and want a quiet machine"
        );
        println!("stopped, it goes on where it was when started again on the same commit");
    }
    let program = root.join("bench/target/release/tanada-bench");
    match run(root, &program.to_string_lossy(), &[&[verb], arguments].concat()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn holds(condition: &str) -> bool {
    Command::new("sh").args(["-c", condition]).output().is_ok_and(|o| o.status.success())
}

fn run(root: &Path, program: &str, arguments: &[&str]) -> bool {
    match Command::new(program).args(arguments).current_dir(root).status() {
        Ok(status) => status.success(),
        Err(e) => {
            eprintln!("error: cannot run {program}: {e}");
            false
        }
    }
}
