//! `cargo xtask scale`: what decisions, edits, openings and flushes cost as tables and
//! keyspaces grow in number, written to docs/scale.md.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

const FILE: &str = "docs/scale.md";

const HEAD: &str = "\
# Many tables, many keyspaces

Written by `cargo xtask scale`. How long things take is measured; that they do not walk \
what they need not touch is counted by the tests beside the code \
(`an_edit_copies_the_segments_that_it_touches_and_shares_all_others`, \
`a_table_of_garbage_among_ten_thousand_is_found_wherever_it_lies`, \
`a_flush_of_many_keyspaces_syncs_directory_log_and_manifest_a_few_times`).

A run is a list of segments of at most 256 tables, each with sums and bounds over its \
tables. An edit copies the segments it touches. A decision looks at a window of a level \
that moves on each time, and at those segments only in which something may have died. \
Tables grow with their level, up to 128 MiB, so that 100 GB are some 800 of them: the \
rows below go much further than most databases will.

## Tables

In memory, over a disk that takes no time: what is left is the work. *Edit of the tree*: a \
job of the size that the decision asks for is put into the tree. *Edit of the manifest*: ten \
tables replaced by ten. *Opening*: reads the manifest, compares each table with the \
directory, and writes a new manifest, as the first append does.

";

const KEYSPACES: &str = "
## Keyspaces

On the disk of this machine. Creating one is an edit of the manifest: a sync, and for the \
first a few. A flush of all has a file for each keyspace to write and to sync, sixteen syncs \
at once, and for each 64 of them one sync of the directory, one of the log and one of the \
manifest: the syncs of the files are what bounds it. *Memory each* is by how much the \
resident memory of the process grows: nothing where earlier rows have left enough. *Flush of one* is a flush of one keyspace's only write while all others are \
there.

";

/// Measures, prints and writes the page.
pub(crate) fn main(root: &Path) -> ExitCode {
    let mut page = HEAD.to_owned();
    for (test, between) in [("scale_of_tables", KEYSPACES), ("scale_of_keyspaces", "")] {
        let Some(table) = measure(root, test) else { return ExitCode::FAILURE };
        print!("{table}");
        page.push_str(&table);
        page.push_str(between);
    }
    match std::fs::write(root.join(FILE), page) {
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

/// The rows that a measuring test of the engine prints.
fn measure(root: &Path, test: &str) -> Option<String> {
    let what = ["test", "--release", "--quiet", "--package", "tanada", "--lib"];
    let how = ["--", "--ignored", "--nocapture", "--test-threads=1", test];
    let mut command = Command::new("cargo");
    command.args(what).args(how).current_dir(root).stderr(Stdio::inherit());
    let output = match command.output() {
        Ok(output) => output,
        Err(e) => {
            eprintln!("error: cannot run cargo: {e}");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        eprintln!("{text}");
        return None;
    }
    let rows = text.lines().filter(|line| line.starts_with('|'));
    Some(rows.map(|line| format!("{line}\n")).collect())
}
