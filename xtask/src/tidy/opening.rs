//! Every Rust file opens with `//!`: what it is and why it exists.

use super::Finding;
use crate::tree::Tree;

pub(crate) const RULE: &str = "opening";

/// Finds files that begin with something else.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    tree.select("", ".rs")
        .filter(|(_, text)| {
            let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            !first.starts_with("//!")
        })
        .map(|(file, _)| Finding {
            file: file.to_string(),
            line: 1,
            rule: RULE,
            what: "opens without //!; say what this file is and why it exists".into(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_opens_with_code_is_found() {
        let tree =
            Tree::of(&[("a.rs", "use x;\n//! late"), ("b.rs", "\n//! b\nuse x;"), ("c.rs", "")]);
        let files: Vec<String> = check(&tree).into_iter().map(|f| f.file).collect();
        assert_eq!(files, ["a.rs", "c.rs"]);
    }
}
