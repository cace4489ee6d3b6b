//! Where in the source the faults stand, and what the list says of them.

use super::table::{Scenario, State, Test};
use crate::tree::Tree;
use std::collections::BTreeMap;

/// The list of failures.
pub(crate) const LIST: &str = "docs/scenarios.md";

/// Where `planted!` itself is made.
const MACRO: &str = "crates/format/src/planted.rs";

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The crates' directory and `src` say nothing that the rest does not.
        let short = self.file.strip_prefix("crates/").unwrap_or(&self.file);
        write!(f, "{}:{}", short.replacen("/src/", "/", 1), self.line)
    }
}

/// Every `planted!(name)`, by name.
pub(crate) fn switches(tree: &Tree) -> BTreeMap<String, Vec<Place>> {
    let mut switches: BTreeMap<String, Vec<Place>> = BTreeMap::new();
    for (file, text) in tree.select("crates/", ".rs").filter(|(file, _)| *file != MACRO) {
        for (number, line) in text.lines().enumerate() {
            for rest in line.split("planted!(").skip(1) {
                let name = rest.split(')').next().unwrap_or_default().trim().to_owned();
                let place = Place { file: file.to_owned(), line: number + 1 };
                switches.entry(name).or_default().push(place);
            }
        }
    }
    switches
}

/// A name of the list. Several may share a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Story<'t> {
    pub(crate) name: &'t str,
    pub(crate) what: &'t str,
    /// The names of its row, and the row's last cell.
    pub(crate) row: (&'t str, &'t str),
    pub(crate) line: usize,
}

/// What the list has.
pub(crate) fn stories(list: &str) -> Vec<Story<'_>> {
    let mut stories = Vec::new();
    for (number, line) in list.lines().enumerate() {
        let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) else {
            continue;
        };
        let cells: Vec<&str> = row.split(" | ").collect();
        let (names, what) = (cells[0], cells.get(1).copied().unwrap_or_default());
        if names != "name" {
            let row = (names, cells.get(2).copied().unwrap_or_default());
            let line = number + 1;
            stories.extend(names.split(", ").map(|name| Story { name, what, row, line }));
        }
    }
    stories
}

/// What the last cell of a row must say: the tests, or what they wait for.
pub(crate) fn held_by(names: &str, scenarios: &[Scenario]) -> String {
    let mut parts: Vec<String> = Vec::new();
    for name in names.split(", ") {
        let Some(scenario) = scenarios.iter().find(|scenario| scenario.name == name) else {
            continue;
        };
        let function = |test: &Test| format!("`{}`", test.function());
        match &scenario.state {
            State::Planted(faults) => {
                parts.extend(faults.iter().flat_map(|fault| fault.tests).map(function));
            }
            State::Comes(feature) => parts.push(format!("comes with {}", feature.what)),
            State::Elsewhere(test) => parts.push(function(test)),
        }
    }
    let mut once: Vec<String> = Vec::new();
    for part in parts {
        if !once.contains(&part) {
            once.push(part);
        }
    }
    once.join(", ")
}

/// The scenario of a fault.
pub(crate) fn scenario_of<'s>(fault: &str, scenarios: &'s [Scenario]) -> Option<&'s Scenario> {
    scenarios.iter().find(|scenario| match scenario.state {
        State::Planted(faults) => faults.iter().any(|f| f.name == fault),
        State::Comes(_) | State::Elsewhere(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_found_with_their_lines_and_the_macro_is_none() {
        let tree = Tree::of(&[
            ("crates/engine/src/a.rs", "//! a\nif planted!(one) || planted!( two ) {}\n"),
            ("crates/table/src/b.rs", "x(planted!(one));"),
            (MACRO, "planted!(example)"),
        ]);
        let found = switches(&tree);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["one", "two"]);
        let places: Vec<_> = found["one"].iter().map(ToString::to_string).collect();
        assert_eq!(places, ["engine/a.rs:2", "table/b.rs:1"]);
    }

    #[test]
    fn a_row_may_have_several_names() {
        let list = "| name | what | held by |\n|---|---|---|\n| a_b | it broke | `t` |\n| c, d | so did this |\n";
        let story = |name, what, row, line| Story { name, what, row, line };
        assert_eq!(
            stories(list),
            [
                story("a_b", "it broke", ("a_b", "`t`"), 3),
                story("c", "so did this", ("c, d", ""), 4),
                story("d", "so did this", ("c, d", ""), 4)
            ]
        );
    }
}
