//! `cargo xtask tidy`: the walls of the house, one rule a file.
//!
//! A rule is a function from a [`Tree`] to its [`Finding`]s and touches no
//! disk; each has a test with a planted violation.

mod cellar;
mod checked_sync;
mod crates;
mod differential;
mod doors;
mod links;
mod map;
mod modules;
mod opening;
mod planted;
mod statistics;
mod translations;

use crate::source::Source;
use crate::tree::Tree;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;

/// One violation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) rule: &'static str,
    pub(crate) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file, self.line, self.rule, self.what)
    }
}

/// A rule: its name, what it holds, and how.
type Rule = (&'static str, &'static str, fn(&Tree) -> Vec<Finding>);

const RULES: &[Rule] = &[
    (crates::RULE, "crates depend downwards only", crates::check),
    (
        modules::RULE,
        "modules import what is declared before them, never in circles",
        modules::check,
    ),
    (doors::RULE, "files, clocks, threads and randomness only through vfs", doors::check),
    (cellar::RULE, "unsafe code only in the listed modules", cellar::check),
    (
        checked_sync::RULE,
        "locks and atomics where the checkers of concurrency see them",
        checked_sync::check,
    ),
    (opening::RULE, "every Rust file opens with //!", opening::check),
    (map::RULE, "the maps name every module and every decision", map::check),
    (
        planted::RULE,
        "every listed failure has its planted bug, or waits for its feature",
        planted::check,
    ),
    (
        differential::RULE,
        "every public method of the engine is compared with another store's",
        differential::check,
    ),
    (
        statistics::RULE,
        "where statistics are gathered nothing is subtracted below zero",
        statistics::check,
    ),
    (links::RULE, "relative links in the docs lead somewhere", links::check),
    (translations::RULE, "a page and its translation are in step", translations::check),
];

/// Runs all rules over the repository at `root` and prints what they found.
pub(crate) fn main(root: &Path) -> ExitCode {
    let tree = match Tree::read(root) {
        Ok(tree) => tree,
        Err(e) => {
            eprintln!("error: cannot read the repository at {}: {e}", root.display());
            return ExitCode::FAILURE;
        }
    };
    let mut count = 0;
    for (name, holds, check) in RULES {
        let mut findings = check(&tree);
        findings.sort();
        for finding in &findings {
            println!("{finding}");
        }
        let verdict = if findings.is_empty() { "ok" } else { "FAILED" };
        println!("tidy: {name} ... {verdict} ({holds})");
        count += findings.len();
    }
    if count > 0 {
        eprintln!(
            "error: tidy found {count} violation(s); each line above names file, line and rule"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Parses every `.rs` file of the crates' own code, that is without tests,
/// benches and examples, and hands each to `visit`.
fn each_crate_source(tree: &Tree, mut visit: impl FnMut(&str, &Source)) {
    for (path, text) in tree.select("crates/", ".rs") {
        if is_test_path(path) || in_test_module(tree, path) {
            continue;
        }
        // A file that does not parse does not compile either: cargo names it better.
        if let Ok(source) = Source::parse(text)
            && !source.test_only
        {
            visit(path, &source);
        }
    }
}

/// In a directory of tests, benches or examples.
fn is_test_path(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "benches" | "examples" | "build.rs"))
}

/// Whether the file's parent declares it under `#[cfg(test)]`, or its parent's parent that.
fn in_test_module(tree: &Tree, path: &str) -> bool {
    let Some((dir, file)) = path.rsplit_once('/') else { return false };
    let (dir, name) = match file.strip_suffix(".rs") {
        Some("mod") => match dir.rsplit_once('/') {
            Some((up, name)) => (up, name),
            None => return false,
        },
        Some(name) => (dir, name),
        None => return false,
    };
    ["/lib.rs", "/main.rs", "/mod.rs", ".rs"].iter().any(|parent| {
        tree.text(&format!("{dir}{parent}"))
            .and_then(|text| Source::parse(text).ok())
            .is_some_and(|source| source.modules.iter().any(|m| m.test && m.name == name))
    }) || (!dir.ends_with("/src") && in_test_module(tree, &format!("{dir}/mod.rs")))
}
