//! Inside a crate no two modules import each other, not even by a detour; in
//! the engine a module imports only what `lib.rs` declares before it.
//!
//! Rust itself lets every module import every other, so this is checked here.
//! Imports are followed through re-exports (`crate::Error` counts for the
//! module behind it). A module and those inside it are one room: what they
//! import from each other is their own affair, but rooms beside each other
//! must not form a circle.

use super::{Finding, each_crate_source};
use crate::source::{NamedPath, Source};
use crate::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const RULE: &str = "module-order";

/// The crate whose `lib.rs` declares modules in reading order, lowest first.
const ORDERED: &str = "engine";

/// A module's place: `["wal", "writer"]` for `crate::wal::writer`.
type Place = Vec<String>;

struct Crate {
    modules: BTreeMap<Place, (String, Source)>,
}

/// Finds imports against the order, and circles.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut crates: BTreeMap<String, Crate> = BTreeMap::new();
    each_crate_source(tree, |path, source| {
        let Some((name, place)) = place_of(path) else { return };
        crates
            .entry(name.to_string())
            .or_insert_with(|| Crate { modules: BTreeMap::new() })
            .modules
            .insert(place, (path.to_string(), source.clone()));
    });
    let mut findings = Vec::new();
    for (name, krate) in &crates {
        krate.check(name, &mut findings);
    }
    findings
}

/// `crates/engine/src/wal/writer.rs` is `wal::writer` of `engine`.
fn place_of(path: &str) -> Option<(&str, Place)> {
    let (name, inside) = path.strip_prefix("crates/")?.split_once("/src/")?;
    let mut place: Place = inside.strip_suffix(".rs")?.split('/').map(String::from).collect();
    if matches!(place.last().map(String::as_str), Some("lib" | "main" | "mod")) {
        place.pop();
    }
    Some((name, place))
}

/// One import, lifted to two neighbouring modules.
struct Edge {
    from: String,
    to: String,
    file: String,
    line: usize,
}

impl Crate {
    fn check(&self, name: &str, findings: &mut Vec<Finding>) {
        // Neighbours are judged parent by parent.
        let mut neighbours: BTreeMap<Place, Vec<Edge>> = BTreeMap::new();
        for (from, (file, source)) in &self.modules {
            for path in &source.paths {
                let Some(to) = self.resolve(from, path) else { continue };
                let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
                let (Some(a), Some(b)) = (from.get(shared), to.get(shared)) else { continue };
                neighbours.entry(from[..shared].to_vec()).or_default().push(Edge {
                    from: a.clone(),
                    to: b.clone(),
                    file: file.clone(),
                    line: path.line,
                });
            }
        }
        for (parent, edges) in &neighbours {
            if name == ORDERED && parent.is_empty() {
                self.check_order(edges, findings);
            } else {
                check_circles(edges, findings);
            }
        }
    }

    fn check_order(&self, edges: &[Edge], findings: &mut Vec<Finding>) {
        let Some((_, root)) = self.modules.get(&Vec::new()) else { return };
        let rank = |name: &str| root.modules.iter().position(|m| m.name == name);
        for edge in edges {
            if rank(&edge.to) > rank(&edge.from) {
                findings.push(Finding {
                    file: edge.file.clone(),
                    line: edge.line,
                    rule: RULE,
                    what: format!(
                        "'{}' imports '{}', which lib.rs declares after it",
                        edge.from, edge.to
                    ),
                });
            }
        }
    }

    /// The module that a path leads to, or `None` when it leaves the crate.
    fn resolve(&self, from: &Place, path: &NamedPath) -> Option<Place> {
        let mut segments = path.segments.as_slice();
        let mut place = match segments.first()?.as_str() {
            "crate" => {
                segments = &segments[1..];
                Vec::new()
            }
            "self" => {
                segments = &segments[1..];
                from.clone()
            }
            "super" => {
                let supers = segments.iter().take_while(|s| *s == "super").count();
                segments = &segments[supers..];
                let climbed = supers.saturating_sub(path.depth);
                from[..from.len().saturating_sub(climbed)].to_vec()
            }
            first => {
                // A module's own children are named without a prefix.
                let mut child = from.clone();
                child.push(first.to_string());
                self.modules.contains_key(&child).then(|| from.clone())?
            }
        };
        // Bounded: each turn goes one module down or through one re-export.
        for _ in 0..16 {
            let Some(next) = segments.first() else { break };
            let mut down = place.clone();
            down.push(next.clone());
            if self.modules.contains_key(&down) {
                place = down;
                segments = &segments[1..];
                continue;
            }
            let (_, source) = self.modules.get(&place)?;
            let Some((_, behind)) = source.exports.iter().find(|(name, _)| name == next) else {
                break;
            };
            let mut target = place.clone();
            for name in behind {
                match name.as_str() {
                    "crate" => target.clear(),
                    "self" => {}
                    "super" => {
                        target.pop();
                    }
                    _ => {
                        target.push(name.clone());
                        if !self.modules.contains_key(&target) {
                            target.pop();
                            break;
                        }
                    }
                }
            }
            place = target;
            break;
        }
        Some(place)
    }
}

fn check_circles(edges: &[Edge], findings: &mut Vec<Finding>) {
    let mut onward: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in edges {
        onward.entry(&edge.from).or_default().insert(&edge.to);
    }
    let mut reported = BTreeSet::new();
    for edge in edges {
        if let Some(way_back) = way(&onward, &edge.to, &edge.from)
            && reported.insert((&edge.from, &edge.to))
        {
            findings.push(Finding {
                file: edge.file.clone(),
                line: edge.line,
                rule: RULE,
                what: format!(
                    "'{}' imports '{}', which leads back: {}",
                    edge.from,
                    edge.to,
                    way_back.join(" -> ")
                ),
            });
        }
    }
}

/// A way from `start` to `goal`, both included.
fn way<'a>(
    onward: &BTreeMap<&'a str, BTreeSet<&'a str>>,
    start: &'a str,
    goal: &str,
) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = vec![start];
    while let Some(here) = queue.pop() {
        if here == goal {
            let mut steps = vec![here];
            let mut at = here;
            while at != start {
                at = before[at];
                steps.push(at);
            }
            steps.reverse();
            return Some(steps);
        }
        for &next in onward.get(here).into_iter().flatten() {
            if next != start && !before.contains_key(next) {
                before.insert(next, here);
                queue.push(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_must_not_import_a_later_module() {
        let tree = Tree::of(&[
            ("crates/engine/src/lib.rs", "mod wal; mod db;"),
            ("crates/engine/src/wal.rs", "//! w\nuse crate::db::Db;"),
            ("crates/engine/src/db.rs", "use crate::wal::Wal;"),
        ]);
        let findings = check(&tree);
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].file.as_str(), findings[0].line), ("crates/engine/src/wal.rs", 2));
    }

    #[test]
    fn a_re_export_does_not_hide_an_import() {
        let tree = Tree::of(&[
            ("crates/engine/src/lib.rs", "mod wal; mod db; pub use db::Db;"),
            ("crates/engine/src/wal/mod.rs", "mod writer;"),
            ("crates/engine/src/wal/writer.rs", "fn f() { crate::Db::open(); }"),
            ("crates/engine/src/db.rs", ""),
        ]);
        assert_eq!(check(&tree).len(), 1);
    }

    #[test]
    fn a_circle_by_a_detour_is_found_in_every_crate() {
        let tree = Tree::of(&[
            ("crates/table/src/lib.rs", "mod a; mod b; mod c;"),
            ("crates/table/src/a.rs", "use crate::b::B;"),
            ("crates/table/src/b.rs", "use super::c::C;"),
            ("crates/table/src/c.rs", "use crate::a::A;"),
        ]);
        assert_eq!(check(&tree).len(), 3, "each edge of the circle is named");
    }

    #[test]
    fn a_circle_inside_a_room_is_found_and_its_face_is_not_one() {
        let tree = Tree::of(&[
            ("crates/table/src/lib.rs", "mod block;"),
            (
                "crates/table/src/block/mod.rs",
                "mod a; mod b; pub use a::A; use b::B; struct Shared;",
            ),
            ("crates/table/src/block/a.rs", "use super::b::B; use super::Shared;"),
            ("crates/table/src/block/b.rs", "use super::A;"),
        ]);
        let findings = check(&tree);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings.iter().all(|f| f.file != "crates/table/src/block/mod.rs"));
    }

    #[test]
    fn tests_may_import_anything() {
        let tree = Tree::of(&[
            ("crates/engine/src/lib.rs", "mod wal; mod db;"),
            ("crates/engine/src/wal.rs", "#[cfg(test)] mod tests { use crate::db::Db; }"),
            ("crates/engine/src/db.rs", ""),
        ]);
        assert_eq!(check(&tree), []);
    }
}
