//! Files, clocks, threads and randomness are reached through `vfs` alone, so
//! that a simulation can hold all of them in its hand.

use super::{Finding, each_crate_source};
use crate::tree::Tree;

pub(crate) const RULE: &str = "one-door";

/// Path beginnings that are doors of their own.
const BEGINNINGS: &[(&[&str], &str)] = &[
    (&["std", "fs"], "touch files through vfs::FileSystem"),
    (&["tokio", "fs"], "touch files through vfs::FileSystem"),
    (&["std", "time", "SystemTime"], "take the time from vfs::Clock"),
    (&["std", "time", "Instant"], "take the time from vfs::Clock"),
    (&["std", "thread", "spawn"], "start threads through vfs::Threads"),
    (&["std", "thread", "scope"], "start threads through vfs::Threads"),
    (&["std", "thread", "Builder"], "start threads through vfs::Threads"),
    (&["std", "thread", "sleep"], "sleep through vfs::Clock"),
    (&["rand"], "take random bits from vfs::Random"),
    (&["getrandom"], "take random bits from vfs::Random"),
    (&["fastrand"], "take random bits from vfs::Random"),
];

/// Path endings that betray an imported door.
const ENDINGS: &[(&[&str], &str)] = &[
    (&["Instant", "now"], "take the time from vfs::Clock"),
    (&["SystemTime", "now"], "take the time from vfs::Clock"),
    (&["thread", "spawn"], "start threads through vfs::Threads"),
    (&["thread", "scope"], "start threads through vfs::Threads"),
    (&["thread", "Builder", "new"], "start threads through vfs::Threads"),
    (&["thread", "sleep"], "sleep through vfs::Clock"),
    (&["fs", "File"], "touch files through vfs::FileSystem"),
];

/// Finds doors outside `crates/vfs`.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    each_crate_source(tree, |file, source| {
        if file.starts_with("crates/vfs/") {
            return;
        }
        for path in &source.paths {
            let names: Vec<&str> = path.segments.iter().map(String::as_str).collect();
            let door = BEGINNINGS
                .iter()
                .find(|(begin, _)| names.starts_with(begin))
                .or_else(|| ENDINGS.iter().find(|(end, _)| names.ends_with(end)));
            if let Some((_, cure)) = door {
                let what = format!("{} outside vfs; {cure}", names.join("::"));
                findings.push(Finding {
                    file: file.to_string(),
                    line: path.line,
                    rule: RULE,
                    what,
                });
            }
        }
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn every_door_is_found() {
        let file = "crates/engine/src/wal.rs";
        assert_eq!(count(file, "use std::fs;"), 1);
        assert_eq!(count(file, "use std::{fs::File, io};"), 1);
        assert_eq!(count(file, "fn f() { std::fs::read(p); }"), 1);
        assert_eq!(count(file, "fn f() { Instant::now(); }"), 1);
        assert_eq!(count(file, "fn f() { let t = SystemTime::now(); }"), 1);
        assert_eq!(count(file, "fn f() { thread::spawn(|| ()); }"), 1);
        assert_eq!(count(file, "fn f() { std::thread::sleep(d); }"), 1);
        assert_eq!(count(file, "use rand::Rng;"), 1);
        assert_eq!(count(file, "fn f() { getrandom::fill(b); }"), 1);
    }

    #[test]
    fn what_is_no_door_passes() {
        let file = "crates/engine/src/wal.rs";
        assert_eq!(count(file, "use std::time::Duration; use std::thread::panicking;"), 0);
        assert_eq!(count(file, "fn f(fs: &dyn Fs) { fs.open(); }"), 0);
    }

    #[test]
    fn vfs_and_tests_are_exempt() {
        let text = "fn f() { std::fs::read(p); }";
        assert_eq!(count("crates/vfs/src/real.rs", text), 0);
        assert_eq!(count("crates/engine/tests/reopen.rs", text), 0);
        assert_eq!(
            count("crates/engine/src/wal.rs", &format!("#[cfg(test)] mod tests {{ {text} }}")),
            0
        );
        let tree = Tree::of(&[
            ("crates/engine/src/wal/mod.rs", "#[cfg(test)] mod checks;"),
            ("crates/engine/src/wal/checks.rs", text),
            ("crates/engine/src/read.rs", "#[cfg(test)] mod tests;"),
            ("crates/engine/src/read/tests.rs", text),
        ]);
        assert_eq!(check(&tree), []);
    }
}
