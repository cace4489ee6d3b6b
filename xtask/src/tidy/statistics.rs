//! Statistics never subtract: their numbers are read at different moments.
//!
//! Of two counters that others change meanwhile the second may have overtaken the first, and
//! the difference is less than nothing: a panic with overflow checks, 2^64 less a little
//! without. Whoever gathers statistics adds, or subtracts down to 0.

use super::Finding;
use crate::tree::Tree;

pub(crate) const RULE: &str = "statistics";

/// Where statistics are gathered.
const GATHERED: [&str; 2] =
    ["crates/engine/src/api/report.rs", "crates/server/src/routes/stats.rs"];

/// Finds differences in those files.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in GATHERED {
        for (file, text) in tree.select(path, "") {
            for (at, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if code.contains(" - ") || code.contains(" -= ") {
                    findings.push(Finding {
                        file: file.to_string(),
                        line: at + 1,
                        rule: RULE,
                        what: "subtracts numbers of two moments; use saturating_sub".into(),
                    });
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_where_statistics_are_gathered_is_found() {
        let report = "let a = b; // x - y\nlet c = used - resident;\nlet d = e.saturating_sub(f);";
        let tree = Tree::of(&[(GATHERED[0], report), ("crates/engine/src/api/db.rs", "a - b")]);
        let found: Vec<_> = check(&tree).into_iter().map(|f| (f.file, f.line)).collect();
        assert_eq!(found, [(GATHERED[0].to_string(), 2)]);
    }
}
