//! `cargo xtask faults`: every call to the file system meets every fault that can
//! happen there, and docs/faults.md shows how often.

use std::path::Path;
use std::process::{Command, ExitCode};

const FILE: &str = "docs/faults.md";

const HEAD: &str = "\
# Faults at every call to the file system

Written by `cargo xtask faults`; a test does the same and fails when anything is missing.

Each place in the source of the engine and its tables that calls the file system is a row: \
the function, what it calls, and which of the calls of that name it is there. Short lives of \
a database make all these calls: a new one, one that was killed, creations that were cut, \
damaged ones and their repair, and lives with a mishap, for some calls only clean up behind \
a failure. They run on a machine in memory, without threads, the same each time. The first \
calls of each place, and some later ones drawn from a seed, meet each fault that can happen \
there, one fault a life:

- **EIO**: any call; nothing of it is done. Of a failed sync, the bytes are lost to later \
syncs, as on Linux.
- **ENOSPC**: calls that write, sync, name or allocate.
- **EMFILE**: calls that open a descriptor.
- **short write**: appends; seven bytes are written, then the disk is full.
- **crash before**, **crash after**: any call; each is a power cut, of which a seed says what \
is left, and the death of the process.

A cell says how often a fault was injected, and after how many of these the database came \
back: every error names its cause and no answer is wrong; it opens; what it holds is a prefix \
of the commits, with all that was acknowledged and nothing that was not begun, batches whole; \
and it takes writes that another power cut leaves. Of a repair: its source is as it was, what \
was saved had been written, and a second repair succeeds. A dash: the fault cannot happen \
there.

Hints to the kernel (`read_ahead`, `forget`) cannot fail and are left out.

";

/// Runs the sweep and writes the table; or one case alone, as a failure has named it.
pub(crate) fn main(root: &Path, arguments: &[&str]) -> ExitCode {
    let what = ["run", "--quiet", "--package", "tanada-sim", "--bin", "tanada-sim", "--", "faults"];
    let mut command = Command::new("cargo");
    command.args(what).args(arguments).current_dir(root).stderr(std::process::Stdio::inherit());
    let output = match command.output() {
        Ok(output) => output,
        Err(e) => {
            eprintln!("error: cannot run cargo: {e}");
            return ExitCode::FAILURE;
        }
    };
    let table = String::from_utf8_lossy(&output.stdout);
    if !arguments.is_empty() || !output.status.success() {
        print!("{table}");
        return if output.status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match std::fs::write(root.join(FILE), format!("{HEAD}{table}")) {
        Ok(()) => {
            println!("wrote {FILE}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("error: cannot write {FILE}: {e}");
            ExitCode::FAILURE
        }
    }
}
