//! `cargo xtask planted`: puts bugs back that others really had, one after the
//! other, and shows which test finds each.
//!
//! A fault is found when its tests pass without it and fail with it, each within
//! a minute. A fault that is not found is a hole in the tests, and fails this.

pub(crate) mod places;
mod programs;
mod release;
pub(crate) mod table;

use crate::tree::Tree;
use places::{LIST, Place};
use programs::{LIMIT, Programs, Run, Verdict};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use table::{Fault, SCENARIOS, SIMULATION, State, Test, faults};

/// What became of one fault.
struct Finding {
    fault: &'static Fault,
    /// The tests that found it, after how long, and what they said.
    found_by: Vec<(Test, Duration, String)>,
    /// Why it does not count as found.
    holes: Vec<String>,
    /// The first test of the simulation that found it too, when that was asked.
    by_chance: Option<Option<(Test, Duration)>>,
}

/// `[--quick | --simulation] [NAME…]`: all faults or these. All of them is also a
/// look at a program built without them: at the release, and with an option at
/// the one of ordinary builds. `--simulation` tells besides which faults are
/// found by tests that know nothing of them; takes up to an hour.
pub(crate) fn main(root: &Path, arguments: &[&str]) -> ExitCode {
    let began = Instant::now();
    let (options, names): (Vec<&str>, Vec<&str>) =
        arguments.iter().copied().partition(|argument| argument.starts_with('-'));
    let is_unknown = |name: &&&str| faults().all(|fault| fault.name != **name);
    if let Some(unknown) = names.iter().find(is_unknown) {
        eprintln!("error: no fault is called '{unknown}'; there are:");
        faults().for_each(|fault| eprintln!("  {}", fault.name));
        return ExitCode::from(2);
    }
    let nothing: &[Test] = &[];
    let (quick, simulation) = match options[..] {
        [] => (false, nothing),
        ["--quick"] => (true, nothing),
        ["--simulation"] => (true, SIMULATION),
        _ => {
            eprintln!("error: planted takes --quick or --simulation, and names of faults");
            return ExitCode::from(2);
        }
    };
    let chosen: Vec<_> = faults().filter(|f| names.is_empty() || names.contains(&f.name)).collect();
    println!("{} planted bugs; building the tests with the switches", chosen.len());
    let tests = chosen.iter().flat_map(|fault| fault.tests).chain(simulation);
    let Some(programs) = Programs::build(root, tests) else { return ExitCode::FAILURE };
    let built = began.elapsed();

    let mut baseline = BTreeMap::new();
    let mut findings = Vec::new();
    for fault in chosen {
        let mut finding = look(&programs, fault, &mut baseline);
        if !simulation.is_empty() {
            finding.by_chance = Some(find_by_chance(&programs, fault, simulation));
        }
        println!("planted: {} ... {}", fault.name, finding.verdict());
        findings.push(finding);
    }
    report(root, &findings);
    let missed = findings.iter().filter(|finding| !finding.holes.is_empty()).count();
    // Of single faults nobody asks what the program has.
    let clean = match (names.is_empty(), quick) {
        (false, _) => true,
        (true, true) => release::check_ordinary(root, &programs),
        (true, false) => release::check_release(root),
    };
    println!(
        "planted: {} of {} found, in {:.0} s of which {:.0} s to build",
        findings.len() - missed,
        findings.len(),
        began.elapsed().as_secs_f64(),
        built.as_secs_f64()
    );
    if missed == 0 && clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the tests of one fault, without it and with it.
fn look(programs: &Programs, fault: &'static Fault, baseline: &mut BTreeMap<Test, Run>) -> Finding {
    let mut finding = Finding { fault, found_by: Vec::new(), holes: Vec::new(), by_chance: None };
    for test in fault.tests {
        let without = baseline.entry(*test).or_insert_with(|| programs.run(test, None));
        if without.verdict != Verdict::Passed {
            finding.hole(test, "without the fault", without);
            continue;
        }
        let with = programs.run(test, Some(fault.name));
        match with.verdict {
            Verdict::Failed => finding.found_by.push((*test, with.time, with.reason())),
            _ => finding.hole(test, "with the fault", &with),
        }
    }
    finding
}

/// The first of the simulation's tests that finds the fault.
fn find_by_chance(
    programs: &Programs,
    fault: &Fault,
    simulation: &[Test],
) -> Option<(Test, Duration)> {
    simulation.iter().find_map(|test| {
        let with = programs.run(test, Some(fault.name));
        if with.verdict == Verdict::NoAnswer {
            println!("{} gives no answer:\n{}", test.name, with.output);
        }
        (with.verdict == Verdict::Failed).then_some((*test, with.time))
    })
}

impl Finding {
    fn hole(&mut self, test: &Test, when: &str, run: &Run) {
        let what = match run.verdict {
            Verdict::Passed => "passes",
            Verdict::Failed => "fails",
            Verdict::Overran => "does not end",
            Verdict::NoAnswer => "gives no answer",
        };
        self.holes.push(format!("{} {what} {when}", test.name));
        if run.verdict != Verdict::Passed {
            println!("{}", run.output);
        }
    }

    fn verdict(&self) -> String {
        let times: Vec<_> = self
            .found_by
            .iter()
            .map(|(_, time, _)| format!("{:.2} s", time.as_secs_f64()))
            .collect();
        match self.holes[..] {
            [] => format!("found in {}", times.join(", ")),
            _ => format!("NOT FOUND: {}", self.holes.join("; ")),
        }
    }
}

/// Prints the table: fault, story, where it is planted, which test found it, when.
fn report(root: &Path, findings: &[Finding]) {
    let tree = Tree::read(root).unwrap_or_default();
    let switches = places::switches(&tree);
    let stories = places::stories(tree.text(LIST).unwrap_or_default());
    for finding in findings {
        let name = finding.fault.name;
        let story = places::scenario_of(name, SCENARIOS)
            .and_then(|scenario| stories.iter().find(|story| story.name == scenario.name));
        let places = switches.get(name).map(Vec::as_slice).unwrap_or_default();
        let places: Vec<_> = places.iter().map(Place::to_string).collect();
        println!("\n{name}\n  story    {}", story.map_or("", |story| story.what));
        println!("  planted  {}", places.join(", "));
        for (test, time, reason) in &finding.found_by {
            let (room, target, name) = (test.room, test.target, test.name);
            println!("  found    {:.2} s by {room}/{target} {name}", time.as_secs_f64());
            println!("  reason   {reason}");
        }
        match &finding.by_chance {
            Some(Some((test, time))) => {
                let (room, target, name) = (test.room, test.target, test.name);
                println!("  chance   {:.1} s by {room}/{target} {name}", time.as_secs_f64());
            }
            Some(None) => println!("  chance   not found by the simulation"),
            None => {}
        }
        for hole in &finding.holes {
            println!("  NOT FOUND within {} s: {hole}", LIMIT.as_secs());
        }
    }
    println!();
    for scenario in SCENARIOS {
        match scenario.state {
            State::Planted(_) => {}
            State::Comes(feature) => println!("{}: comes with {}", scenario.name, feature.what),
            State::Elsewhere(test) => {
                let (room, target) = (test.room, test.target);
                println!("{}: held by {room}/{target} {}", scenario.name, test.name);
            }
        }
    }
}
