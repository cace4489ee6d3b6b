//! Unsafe code lives in a few named modules.
//!
//! The compiler denies it everywhere (`unsafe_code = "deny"`), but any module
//! may lift that for itself; this list is what a reviewer sees change.

use super::{Finding, each_crate_source};
use crate::tree::Tree;

pub(crate) const RULE: &str = "unsafe-cellar";

/// Files, or directories with a `/` at the end, that may hold unsafe code, and why.
const CELLAR: &[(&str, &str)] = &[
    ("crates/vfs/src/real/", "memory-mapped logs, huge pages, what a fork leaves a child"),
    ("crates/table/src/epoch.rs", "who looks at what, and since when"),
    ("crates/table/src/epoch/link.rs", "readers of what others replace, without a count for each"),
    ("crates/table/src/seal/in_place.rs", "LZ4 decompressed within one buffer"),
    ("crates/table/src/memory/block.rs", "blocks in memory of their own, counted"),
    ("crates/table/src/memory/block_memory.rs", "runs of pages that are given back"),
    ("crates/table/src/cache/slots.rs", "blocks borrowed from their slots"),
    ("crates/engine/src/memtable/", "readers without locks beside one writer"),
    ("crates/stress/examples/shifted_clock.rs", "a clock that stands before the C library's"),
    ("crates/stress/src/power_cut.rs", "the ioctl that cuts the power of a file system"),
];

/// Finds `unsafe` elsewhere.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    each_crate_source(tree, |file, source| {
        let allowed = CELLAR.iter().any(|(place, _)| match place.strip_suffix('/') {
            Some(_) => file.starts_with(place),
            None => file == *place,
        });
        if !allowed {
            findings.extend(source.unsafe_lines.iter().map(|&line| Finding {
                file: file.to_string(),
                line,
                rule: RULE,
                what: "unsafe outside the modules listed in xtask/src/tidy/cellar.rs".into(),
            }));
        }
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_outside_the_cellar_is_found() {
        let text = "//! x\nfn f() {\n    unsafe { g() }\n}";
        let findings = check(&Tree::of(&[("crates/engine/src/db.rs", text)]));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, 3);
        assert_eq!(check(&Tree::of(&[("crates/engine/src/memtable/arena.rs", text)])), []);
    }

    #[test]
    fn the_attribute_and_the_word_in_a_comment_are_not_unsafe_code() {
        let text = "#![deny(unsafe_code)]\n// unsafe is not used\nfn f() {}";
        assert_eq!(check(&Tree::of(&[("crates/engine/src/db.rs", text)])), []);
    }
}
