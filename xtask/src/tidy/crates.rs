//! Crates depend downwards only, and no further than their task needs.
//!
//! Read from each `Cargo.toml`'s `[dependencies]`; what a crate uses in its
//! tests alone may point anywhere, for tests are above everything.

use super::Finding;
use crate::tree::Tree;

pub(crate) const RULE: &str = "crate-edges";

/// Package, its directory below `crates/`, and what it may use, lowest first.
const WALLS: &[(&str, &str, &[&str])] = &[
    ("tanada-format", "format", &[]),
    ("tanada-vfs", "vfs", &["tanada-format"]),
    ("tanada-table", "table", &["tanada-format", "tanada-vfs"]),
    ("tanada", "engine", &["tanada-format", "tanada-vfs", "tanada-table"]),
    ("tanada-remote", "remote", &["tanada-format", "tanada-vfs", "tanada-table", "tanada"]),
    ("tanada-server", "server", &["tanada", "tanada-remote"]),
    ("tanada-cli", "cli", &["tanada", "tanada-remote", "tanada-server"]),
    ("tanada-sim", "sim", &["tanada-format", "tanada-vfs", "tanada-table", "tanada"]),
    (
        "tanada-differential",
        "differential",
        &["tanada-format", "tanada-vfs", "tanada-table", "tanada", "tanada-sim"],
    ),
    (
        "tanada-stress",
        "stress",
        &[
            "tanada-format",
            "tanada-vfs",
            "tanada-table",
            "tanada",
            "tanada-remote",
            "tanada-server",
        ],
    ),
];

/// The engine is synchronous and knows no network: these stay above it.
const NETWORK: &[&str] =
    &["tokio", "async-std", "smol", "hyper", "axum", "reqwest", "ureq", "futures"];
const BELOW_THE_NETWORK: &[&str] = &["format", "vfs", "table", "engine"];

/// Finds edges that point upwards.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for directory in tree.packages().iter().filter_map(|path| path.strip_prefix("crates/")) {
        let file = format!("crates/{directory}/Cargo.toml");
        let Some(text) = tree.text(&file) else { continue };
        let mut found = |line, what| {
            findings.push(Finding { file: file.clone(), line, rule: RULE, what });
        };
        let Some((_, _, allowed)) = WALLS.iter().find(|(_, dir, _)| *dir == directory) else {
            found(
                1,
                format!(
                    "crate '{directory}' has no place in the order; give it one in xtask/src/tidy/crates.rs and ARCHITECTURE.md"
                ),
            );
            continue;
        };
        for (line, dependency) in dependencies(text) {
            let ours = WALLS.iter().any(|(name, _, _)| *name == dependency);
            if ours && !allowed.contains(&dependency) {
                found(
                    line,
                    format!(
                        "{directory} must not use {dependency}, which stands above or beside it"
                    ),
                );
            }
            if BELOW_THE_NETWORK.contains(&directory) && NETWORK.contains(&dependency) {
                found(
                    line,
                    format!(
                        "{directory} must not know of networks ({dependency}); that is the server's"
                    ),
                );
            }
        }
    }
    findings
}

/// Names under `[dependencies]`, `[build-dependencies]` and their per-target
/// forms, with their lines. Cargo's own checks see to the rest of the syntax.
fn dependencies(text: &str) -> Vec<(usize, &str)> {
    let mut names = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let parts: Vec<&str> = section.split('.').collect();
            let at = parts.iter().position(|p| matches!(*p, "dependencies" | "build-dependencies"));
            inside = at.is_some_and(|at| at + 1 == parts.len());
            // `[dependencies.name]` is a table of its own.
            if let Some(name) = at.and_then(|at| parts.get(at + 1)) {
                names.push((number + 1, *name));
            }
        } else if inside && !line.is_empty() && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            names.push((number + 1, name.trim_matches('"')));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_upwards_is_found_with_its_line() {
        let tree = Tree::of(&[(
            "crates/table/Cargo.toml",
            "[package]\nname = \"tanada-table\"\n\n[dependencies]\ntanada-vfs.workspace = true\ntanada.workspace = true\n",
        )]);
        let findings = check(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].line, findings[0].rule), (6, RULE));
    }

    #[test]
    fn the_same_edge_for_tests_is_allowed() {
        let tree = Tree::of(&[(
            "crates/table/Cargo.toml",
            "[dev-dependencies]\ntanada.workspace = true\n",
        )]);
        assert_eq!(check(&tree), []);
    }

    #[test]
    fn an_engine_with_a_network_is_found() {
        let tree =
            Tree::of(&[("crates/engine/Cargo.toml", "[dependencies.tokio]\nversion = \"1\"\n")]);
        assert_eq!(check(&tree).len(), 1);
    }

    #[test]
    fn the_server_uses_the_engine_only_through_its_public_api() {
        let tree = Tree::of(&[(
            "crates/server/Cargo.toml",
            "[target.'cfg(unix)'.dependencies]\ntanada-table = { workspace = true }\n",
        )]);
        assert_eq!(check(&tree).len(), 1);
    }

    #[test]
    fn a_crate_without_a_place_is_found() {
        let tree = Tree::of(&[("crates/misc/Cargo.toml", "[dependencies]\n")]);
        assert_eq!(check(&tree).len(), 1);
    }
}
