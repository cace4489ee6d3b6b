//! The planted bugs are complete and true: every failure of `docs/scenarios.md`
//! has its faults or says what it waits for, every fault stands in the source and
//! has a test, and nothing that is waited for has come.

use super::Finding;
use crate::concurrency::races;
use crate::planted::places::{LIST, Story, held_by, stories, switches};
use crate::planted::table::{Fault, SCENARIOS, SIMULATION, Scenario, State, Test};
use crate::tree::Tree;

pub(crate) const RULE: &str = "planted-bugs";

/// What is to be mended when the table is wrong.
const TABLE: &str = "xtask/src/planted/table.rs";

/// And when what the checkers of concurrency find is.
const RACES: &str = "xtask/src/concurrency.rs";

/// Finds what is missing, or no longer true.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let races: Vec<_> = races().map(|race| (race.name, race.test)).collect();
    let mut findings = check_table(tree, SCENARIOS, &races);
    findings.extend(check_switch(tree));
    for test in SIMULATION.iter().filter(|test| !is_there(tree, test)) {
        let what = format!("no test {}", test.name);
        findings.push(Finding { file: TABLE.to_owned(), line: 1, rule: RULE, what });
    }
    findings
}

/// What makes a build one with planted bugs.
const SWITCH: &str = "tanada_planted";

/// Where it may stand: where the macro is made, and here. The root's manifest
/// tells the compiler that it exists.
fn may_name_the_switch(file: &str, line: &str) -> bool {
    ["crates/format/src/planted.rs", "crates/format/src/lib.rs"].contains(&file)
        || file.starts_with("xtask/src/")
        || (file == "Cargo.toml" && line.contains("check-cfg"))
}

/// Places that could turn the switch on, or off, for others than `cargo xtask planted`.
fn check_switch(tree: &Tree) -> Vec<Finding> {
    let files = tree.select("", ".rs").chain(tree.select("", ".toml"));
    let lines = files.flat_map(|(file, text)| (1..).zip(text.lines()).map(move |l| (file, l)));
    lines
        .filter(|(file, (_, line))| line.contains(SWITCH) && !may_name_the_switch(file, line))
        .map(|(file, (line, _))| Finding {
            file: file.to_owned(),
            line,
            rule: RULE,
            what: format!(
                "only `cargo xtask planted` sets {SWITCH}, and only `planted!` asks for it"
            ),
        })
        .collect()
}

/// `races` are found by the checkers of concurrency, by a test of that name each.
fn check_table(tree: &Tree, scenarios: &[Scenario], races: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |file: &str, line, what: String| {
        findings.push(Finding { file: file.to_owned(), line, rule: RULE, what });
    };
    let listed = stories(tree.text(LIST).unwrap_or_default());
    for Story { name, row: (names, held), line, .. } in &listed {
        if scenarios.iter().filter(|s| s.name == *name).count() != 1 {
            found(LIST, *line, format!("'{name}' must have one place in {TABLE}"));
        }
        let true_held = held_by(names, scenarios);
        if *held != true_held {
            found(LIST, *line, format!("'{name}' is held by: {true_held}"));
        }
    }
    let switches = switches(tree);
    let mut faults: Vec<&Fault> = Vec::new();
    for scenario in scenarios {
        let name = scenario.name;
        if !listed.iter().any(|story| story.name == name) {
            found(TABLE, 1, format!("'{name}' is not in {LIST}"));
        }
        match &scenario.state {
            State::Planted(planted) => faults.extend(*planted),
            State::Comes(feature) => {
                let mut files = tree.select(feature.below, ".rs");
                if let Some((file, _)) = files.find(|(_, text)| text.contains(feature.text)) {
                    let what = feature.what;
                    found(file, 1, format!("{what} is here: plant '{name}' and write its test"));
                }
            }
            State::Elsewhere(test) if is_there(tree, test) => {}
            State::Elsewhere(test) => found(TABLE, 1, format!("'{name}': no test {}", test.name)),
        }
    }
    for (name, places) in &switches {
        let is_race = races.iter().any(|(race, _)| race == name);
        if !is_race && !faults.iter().any(|fault| fault.name == name) {
            let place = &places[0];
            found(&place.file, place.line, format!("'{name}' has no place in {TABLE}"));
        }
    }
    for fault in faults {
        if !switches.contains_key(fault.name) {
            found(TABLE, 1, format!("'{}' is planted nowhere", fault.name));
        }
        if fault.tests.is_empty() {
            found(TABLE, 1, format!("no test is to find '{}'", fault.name));
        }
        for test in fault.tests {
            if !is_there(tree, test) {
                found(TABLE, 1, format!("'{}': no test {}", fault.name, test.name));
            }
        }
    }
    for (race, test) in races {
        let function = format!("fn {test}(");
        if !switches.contains_key(*race) {
            found(RACES, 1, format!("'{race}' is planted nowhere"));
        }
        if !tree.select("crates/", ".rs").any(|(_, text)| text.contains(&function)) {
            found(RACES, 1, format!("'{race}': no test {test}"));
        }
    }
    findings
}

/// Whether the source has such a test.
fn is_there(tree: &Tree, test: &Test) -> bool {
    let below = format!("crates/{}/", test.room);
    let function = format!("fn {}(", test.function());
    tree.select(&below, ".rs").any(|(_, text)| text.contains(&function))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planted::table::Feature;

    const TEST: Test = Test { room: "engine", target: "lib", name: "wal::tests::it_is_found" };
    const LATER: Feature =
        Feature { what: "flying", below: "crates/engine/src/", text: "pub fn fly(" };
    const SMALL: &[Scenario] = &[
        Scenario {
            name: "wal_lies",
            state: State::Planted(&[Fault { name: "wal_lies", tests: &[TEST] }]),
        },
        Scenario { name: "wings_break", state: State::Comes(LATER) },
    ];

    const SMALL_LIST: &str = "| name | what | held by |\n|---|---|---|\n\
        | wal_lies | it lied | `it_is_found` |\n| wings_break | ow | comes with flying |\n";

    /// The findings on a house that is in order but for these files.
    fn findings(changed: &[(&str, &str)]) -> Vec<String> {
        let mut files = vec![
            (LIST, SMALL_LIST),
            (
                "crates/engine/src/wal.rs",
                "fn it_is_found() { if planted!(wal_lies) || planted!(wal_races) {} }",
            ),
        ];
        files.retain(|(path, _)| changed.iter().all(|(other, _)| other != path));
        files.extend(changed);
        check_table(&Tree::of(&files), SMALL, &[("wal_races", "it_is_found")])
            .into_iter()
            .map(|f| f.what)
            .collect()
    }

    #[test]
    fn a_house_in_order_passes() {
        assert_eq!(findings(&[]), Vec::<String>::new());
    }

    #[test]
    fn a_failure_without_a_place_and_a_place_without_a_failure_are_found() {
        let list = SMALL_LIST.replace("wings_break", "wings_break, tail_falls_off");
        assert!(findings(&[(LIST, &list)])[0].contains("'tail_falls_off' must have one place"));
        assert_eq!(findings(&[(LIST, "")]).len(), 2);
        let list = SMALL_LIST.replace("it_is_found", "nobody");
        assert_eq!(findings(&[(LIST, &list)]), ["'wal_lies' is held by: `it_is_found`"]);
    }

    #[test]
    fn a_fault_without_switch_or_test_and_a_switch_without_fault_are_found() {
        let file = "crates/engine/src/wal.rs";
        assert!(findings(&[(file, "fn it_is_found() {}")])[0].contains("planted nowhere"));
        assert!(findings(&[(file, "planted!(wal_lies)")])[0].contains("no test"));
        let more = ("crates/table/src/a.rs", "planted!(a_third)");
        assert!(findings(&[more])[0].contains("'a_third' has no place"));
    }

    #[test]
    fn a_race_without_switch_is_found_and_its_switch_needs_no_other_place() {
        let file = "crates/engine/src/wal.rs";
        let without = findings(&[(file, "fn it_is_found() { planted!(wal_lies) }")]);
        assert_eq!(without, ["'wal_races' is planted nowhere"]);
        let nobody = findings(&[(file, "planted!(wal_lies) planted!(wal_races)")]);
        assert!(nobody[1].contains("'wal_races': no test it_is_found"), "{nobody:?}");
    }

    #[test]
    fn a_feature_that_has_come_asks_for_its_planted_bug() {
        let come = ("crates/engine/src/fly.rs", "pub fn fly(&self) {}");
        assert!(findings(&[come])[0].contains("plant 'wings_break'"));
    }

    #[test]
    fn the_switch_may_be_set_nowhere_else() {
        let flags = "[build]\nrustflags = [\"--cfg\", \"tanada_planted\"]\n";
        let tree = Tree::of(&[
            (".cargo/config.toml", flags),
            ("Cargo.toml", "check-cfg = [\"cfg(tanada_planted)\"]\n[x]\ny = \"tanada_planted\"\n"),
            ("crates/engine/src/a.rs", "//! a\n#[cfg(tanada_planted)]\n"),
            ("crates/format/src/planted.rs", "#[cfg(tanada_planted)]\n"),
        ]);
        let found: Vec<_> = check_switch(&tree).into_iter().map(|f| (f.file, f.line)).collect();
        let places = [("crates/engine/src/a.rs", 2), (".cargo/config.toml", 2), ("Cargo.toml", 3)];
        assert_eq!(found, places.map(|(file, line)| (file.to_owned(), line)));
    }
}
