//! The maps are complete: `ARCHITECTURE.md` names every module of every crate,
//! and `docs/decisions/README.md` links every decision.

use super::Finding;
use crate::source::Source;
use crate::tree::Tree;

pub(crate) const RULE: &str = "map";

const HOUSE: &str = "ARCHITECTURE.md";
const DECISIONS: &str = "docs/decisions/README.md";

/// Finds modules and decisions that are on no map.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(map) = tree.text(HOUSE) {
        for (file, text) in tree.select("crates/", ".rs") {
            let root = file.ends_with("/src/lib.rs") || file.ends_with("/src/main.rs");
            let Some(source) =
                (root || is_part(file, text)).then(|| Source::parse(text).ok()).flatten()
            else {
                continue;
            };
            for module in source.modules.iter().filter(|module| !module.test) {
                if !map.contains(&format!("`{}`", module.name)) {
                    findings.push(Finding {
                        file: file.to_string(),
                        line: module.line,
                        rule: RULE,
                        what: format!(
                            "{HOUSE} does not name `{}`; give it a place there",
                            module.name
                        ),
                    });
                }
            }
        }
    }
    if let Some(map) = tree.text(DECISIONS) {
        for (file, _) in tree.select("docs/decisions/", ".md") {
            let name = &file["docs/decisions/".len()..];
            if file != DECISIONS && !map.contains(&format!("({name})")) {
                findings.push(Finding {
                    file: file.to_string(),
                    line: 1,
                    rule: RULE,
                    what: format!("{DECISIONS} does not link it; add it to the index"),
                });
            }
        }
    }
    findings
}

/// The crates whose modules stand in parts.
const IN_PARTS: [&str; 2] = ["crates/engine/src/", "crates/table/src/"];

/// Whether a file opens a part that holds modules for the whole crate: a folder directly
/// below the sources of a crate in parts, which shows its modules to the others.
fn is_part(file: &str, text: &str) -> bool {
    let inside = IN_PARTS.iter().find_map(|sources| file.strip_prefix(sources));
    let folder = inside.and_then(|file| file.strip_suffix("/mod.rs"));
    let shows = text.contains("\npub(crate) mod ");
    folder.is_some_and(|f| !f.contains('/')) && shows && !text.contains("\nmod ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_and_a_decision_on_no_map_are_found() {
        let tree = Tree::of(&[
            ("ARCHITECTURE.md", "| `wal` | the log |"),
            ("crates/engine/src/lib.rs", "mod wal;\nmod lost;\n#[cfg(test)] mod tests;"),
            ("crates/engine/src/lost/mod.rs", "//! A part.\npub(crate) mod room;"),
            ("crates/engine/src/wal/mod.rs", "//! One thing.\nmod inside;"),
            ("docs/decisions/README.md", "- [one](0001-one.md)"),
            ("docs/decisions/0001-one.md", ""),
            ("docs/decisions/0002-two.md", ""),
        ]);
        let found: Vec<_> = check(&tree).into_iter().map(|f| (f.file, f.line)).collect();
        assert_eq!(
            found,
            [
                ("crates/engine/src/lib.rs".to_string(), 2),
                ("crates/engine/src/lost/mod.rs".to_string(), 2),
                ("docs/decisions/0002-two.md".to_string(), 1)
            ]
        );
    }
}
