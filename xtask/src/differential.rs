//! `cargo xtask differential`: the whole public API beside redb, by seed.
//!
//! A life has some 1,800 calls: 10^7 of them are `--seeds 5500`.

use crate::seeded::Seeded;
use std::path::Path;
use std::process::ExitCode;

const DIFFERENTIAL: Seeded = Seeded {
    verb: "differential",
    package: "tanada-differential",
    binary: "tanada-differential",
    mode: None,
    seeds: 1_000,
    many: 20_000,
    sums: &["seeds", "calls"],
};

/// As `cargo xtask simulate`.
pub(crate) fn main(root: &Path, arguments: &[&str]) -> ExitCode {
    DIFFERENTIAL.main(root, arguments)
}
