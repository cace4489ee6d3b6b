//! Locks, atomics, links and threads' variables of the crates below the server come from
//! `vfs::sync`, where the checkers of concurrency take their places; what no checker looks
//! at stands in a short list.

use super::{Finding, each_crate_source};
use crate::tree::Tree;

pub(crate) const RULE: &str = "checked-sync";

/// Crates whose threads a checker schedules.
const CRATES: &[&str] = &["crates/format/", "crates/vfs/", "crates/table/", "crates/engine/"];

/// Files, or directories with a `/` at the end, that may have others, and why.
const EXCEPT: &[(&str, &str)] = &[
    ("crates/vfs/src/sync/", "the stand-ins themselves"),
    ("crates/vfs/src/real/", "the machine: no checker runs on it"),
    ("crates/vfs/src/memory/", "sums and the clock of the machine in memory, not of the engine"),
    ("crates/vfs/src/process.rs", "counts forks, of which a checker makes none"),
    ("crates/format/src/planted.rs", "asks the environment once a process"),
];

/// Who may use `vfs::sync::unchecked`, and for what.
const UNCHECKED: &[(&str, &str)] = &[
    ("crates/vfs/src/open_files.rs", "a hint which file was used last"),
    (
        "crates/table/src/memory/block.rs",
        "counts of references, as those of `Arc`; hints for SIEVE",
    ),
    ("crates/table/src/cache/doorkeeper.rs", "marks that may be lost"),
    ("crates/engine/src/control/counters.rs", "the longest wait, for statistics"),
    ("crates/engine/src/core/jobs.rs", "sums for statistics"),
    ("crates/engine/src/memtable/mod.rs", "numbers of tokens: only that no two are equal"),
    ("crates/engine/src/memtable/key_filter.rs", "bits that one thread sets before a seqno shows"),
    ("crates/engine/src/read/holders.rs", "which list a thread uses: any will do"),
    ("crates/engine/src/read/row_cache/mod.rs", "hits and misses"),
    ("crates/engine/src/read/row_cache/shard.rs", "hints for SIEVE, marks that may be lost"),
    (
        "crates/engine/src/tree/store/handle.rs",
        "a hint which table was used last, sums of what scans met",
    ),
];

/// Beginnings of paths that no checker sees.
const UNSEEN: &[&[&str]] = &[
    &["std", "sync", "Mutex"],
    &["std", "sync", "RwLock"],
    &["std", "sync", "Condvar"],
    &["std", "sync", "Once"],
    &["std", "sync", "OnceLock"],
    &["std", "sync", "LazyLock"],
    &["std", "sync", "Barrier"],
    &["std", "sync", "mpsc"],
    &["std", "sync", "*"],
    &["std", "sync", "atomic", "fence"],
    &["std", "sync", "atomic", "*"],
    &["core", "sync", "atomic"],
    &["std", "thread_local"],
    &["std", "thread", "park"],
    &["std", "thread", "JoinHandle"],
    &["std", "thread", "LocalKey"],
    &["parking_lot"],
    &["arc_swap"],
    &["crossbeam"],
    &["crossbeam_utils"],
    &["crossbeam_epoch"],
    &["once_cell"],
];

/// Finds what no checker would see.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    each_crate_source(tree, |file, source| {
        if !CRATES.iter().any(|place| file.starts_with(place)) || is_in(file, EXCEPT) {
            return;
        }
        let mut found = |line, what: String| {
            findings.push(Finding { file: file.to_string(), line, rule: RULE, what });
        };
        for path in &source.paths {
            let names: Vec<&str> = path.segments.iter().map(String::as_str).collect();
            let is_atomic = |name: &&str| name.starts_with("Atomic");
            let of_std = names.starts_with(&["std", "sync", "atomic"]);
            let whole = names == ["std", "sync"] || names == ["std", "sync", "atomic"];
            let unseen = UNSEEN.iter().any(|begin| names.starts_with(begin));
            if unseen || whole || (of_std && names.iter().any(is_atomic)) {
                let what = format!(
                    "no checker of concurrency sees {}; take it from vfs::sync",
                    names.join("::")
                );
                found(path.line, what);
            }
            if names.contains(&"unchecked") && names.contains(&"sync") && !is_in(file, UNCHECKED) {
                let what = "vfs::sync::unchecked outside of the list with reasons in xtask/src/tidy/checked_sync.rs";
                found(path.line, what.to_string());
            }
        }
        let is_ours = |path: &[String]| path.ends_with(&["sync".into(), "thread_local".into()]);
        let imported = source.paths.iter().any(|path| is_ours(&path.segments));
        for line in source.macro_lines("thread_local").filter(|_| !imported) {
            found(
                line,
                "no checker of concurrency sees std's thread_local; import that of vfs::sync"
                    .into(),
            );
        }
    });
    findings
}

fn is_in(file: &str, list: &[(&str, &str)]) -> bool {
    list.iter().any(|(place, _)| match place.ends_with('/') {
        true => file.starts_with(place),
        false => file == *place,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn what_no_checker_sees_is_found() {
        let file = "crates/engine/src/wal.rs";
        for text in [
            "use std::sync::atomic::AtomicU64;",
            "use std::sync::{Arc, Mutex};",
            "use std::sync::atomic::{self, Ordering};",
            "use std::sync::{self, Arc};",
            "use std::sync::*;",
            "fn f() { let a = std::sync::atomic::AtomicBool::new(true); }",
            "use std::sync::OnceLock;",
            "use arc_swap::ArcSwap;",
            "use parking_lot::RwLock;",
            "thread_local! { static A: u8 = 1; }",
            "use tanada_vfs::sync::unchecked::AtomicU64;",
            "use tanada_vfs::sync::{Mutex, unchecked};",
        ] {
            assert_eq!(count(file, text), 1, "{text}");
        }
    }

    #[test]
    fn what_a_checker_sees_or_need_not_see_passes() {
        let file = "crates/engine/src/wal.rs";
        for text in [
            "use std::sync::{Arc, Weak}; use std::sync::atomic::Ordering::{self, Relaxed};",
            "use tanada_vfs::sync::{ArcSwap, Mutex, OnceLock, atomic::AtomicU64};",
            "use tanada_vfs::sync::thread_local; thread_local! { static A: u8 = 1; }",
            "#[cfg(test)] thread_local! { static A: u8 = 1; }",
            "#[cfg(test)] mod tests { use std::sync::Mutex; }",
        ] {
            assert_eq!(count(file, text), 0, "{text}");
        }
        assert_eq!(count("crates/server/src/a.rs", "use std::sync::Mutex;"), 0);
        assert_eq!(count("crates/vfs/src/real/fork.rs", "use std::sync::atomic::AtomicU64;"), 0);
        let jobs = "use tanada_vfs::sync::unchecked::AtomicU64;";
        assert_eq!(count("crates/engine/src/core/jobs.rs", jobs), 0);
    }
}
