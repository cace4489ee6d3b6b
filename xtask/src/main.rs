//! Work on the repository itself: `cargo xtask tidy`, `cargo xtask test`,
//! `cargo xtask simulate`, `cargo xtask differential`, `cargo xtask planted`, `cargo xtask stress`,
//! `cargo xtask damage`, `cargo xtask faults`, `cargo xtask mutants`,
//! `cargo xtask concurrency`, `cargo xtask fuzz`, `cargo xtask miri`, `cargo xtask tsan`,
//! `cargo xtask coverage`, `cargo xtask bench`, `cargo xtask scale` and `cargo xtask large`.
//!
//! Not part of the product. It touches files and the clock directly, because
//! the walls it guards are those of the crates, not its own.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod bench;
mod concurrency;
mod coverage;
mod damage;
mod differential;
mod faults;
mod fuzz;
mod large;
mod miri;
mod mutants;
mod named_tests;
mod planted;
mod scale;
mod seeded;
mod simulate;
mod source;
mod stress;
mod test;
mod tidy;
mod tree;
mod tsan;

use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
Work on the repository.

Usage: cargo xtask <COMMAND>

Commands:
  tidy   Hold the walls: crate edges, module order, the one door to the
         operating system, unsafe code, links in the docs, translations in step
  test   Everything that must be green: format, clippy, tidy, tests, end-to-end.
         Installs the Debian packages it needs when they are missing and it may
  planted [--quick | --simulation] [NAME ..]
         Puts bugs back that other engines had, and shows which test finds each,
         and that a release has none of the switches; with --quick it looks at
         the ordinary build, with --simulation it tells what is found by chance
  stress MODE [--count N] [--seed N] [--clients N] [--dir DIR] [--require]
         Kills, cuts off and starves the real server, as long as asked;
         `stress bounded` is what `test` runs; `stress` alone names the modes
  simulate  [--long] [--seeds N] [--first SEED] [--jobs N] [--seed SEED]
         Runs N simulated lives (default 1000): random operations, the background's
         steps, power cuts and failing calls, all from a seed; with --long each has
         thousands of turns, about a thousand tables and quiet nights, and what
         has a bound is held to it. `--seed` replays one,
         `--bytes FILE` what the fuzzer has found;
         what fails is made as short as it can be, and printed
  differential  [--seeds N] [--first SEED] [--jobs N] [--seed SEED]
         Runs N lives (default 1000) of the whole public API on real files, and the same
         calls on redb, and compares every answer; what differs is made short
  bench  [report] [--quick] [--only WORKLOAD,..] [--engines NAME,..] [--rounds N]
         Builds Tanada and its peers, measures them in turn, and writes
         docs/benchmarks.md; `report` writes it from the rows that are there
  large  tables|bytes [PER MILLE]
         Builds 6,400 tables of 25 million blocks, or 20 GB of pairs, within 256 MiB
         and 256 descriptors: writes, reads, scans, compacts; needs as much disk again
  scale  Measures what edits, decisions, openings and flushes cost with up to 65,000
         tables and 10,000 keyspaces, and writes docs/scale.md
  damage Changes every byte of the golden databases in three ways, cuts every
         file at every length, and repairs each; tests look at a part of them
  faults [CASE]
         Lets every call to the file system in the engine's source meet every fault
         that can happen there, and writes docs/faults.md; CASE, as a failure names
         it, is replayed alone
  mutants [--survivors] [--jobs N] [PART OF A NAME ..]
         Changes the log, the manifest, recovery and compaction in small ways, one
         at a time, and names each change that no test notices
  concurrency [--quick] [loom | shuttle] [TEST]
         Runs what threads share without locks in every order that loom knows, and
         whole databases, the commit pipeline and the block cache in more than 100,000
         orders of shuttle's; --quick is what `test` runs
  fuzz   [TARGET] [--seconds N]
         Runs the fuzzing targets of fuzz/, a minute each unless told otherwise;
         `operations` are whole lives, with power cuts and failing calls
  miri   [--seeds N | --seed N]
         Interprets the tests of unsafe code, which shows what no processor does:
         races, stale pointers, leaks; each seed is another order of the steps
  tsan   Runs the tests that have threads under ThreadSanitizer
  coverage [--missing]
         Tells how many lines of wal, manifest, recovery and compaction the tests
         of the engine and the simulation reach; the goal is 95 % of each
";

fn main() -> ExitCode {
    // xtask/ lies directly below the repository's root.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask has a parent");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["help" | "--help" | "-h"] | [_, "--help" | "-h"] | [] => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        ["tidy"] => tidy::main(root),
        ["test"] => test::main(root),
        ["planted", rest @ ..] => planted::main(root, rest),
        ["stress", rest @ ..] => stress::main(root, rest),
        ["simulate", rest @ ..] => simulate::main(root, rest),
        ["differential", rest @ ..] => differential::main(root, rest),
        ["bench", rest @ ..] => bench::main(root, rest),
        ["large", rest @ ..] => large::main(root, rest),
        ["scale"] => scale::main(root),
        ["damage"] => damage::main(root),
        ["faults"] => faults::main(root, &[]),
        ["faults", case] => faults::main(root, &[case]),
        ["mutants", rest @ ..] => mutants::main(root, rest),
        ["concurrency", rest @ ..] => concurrency::main(root, rest),
        ["fuzz", rest @ ..] => fuzz::main(root, rest),
        ["miri", rest @ ..] => miri::main(root, rest),
        ["tsan"] => tsan::main(root),
        ["coverage", rest @ ..] => coverage::main(root, rest),
        other => {
            eprintln!("error: xtask does not know '{}'\n\n{HELP}", other.join(" "));
            ExitCode::from(2)
        }
    }
}
