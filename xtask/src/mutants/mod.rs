//! `cargo xtask mutants`: changes the engine in small ways, one at a time, and looks
//! whether a test notices.
//!
//! The changes are those of cargo-mutants, which lists them; `.cargo/mutants.toml`
//! says which modules, and which changes no test could notice, and why. Building
//! anew for each of more than a thousand would take half a day, so all of them are
//! put into one build, each behind a number that the environment chooses (`switch`):
//! DeMillo, Offutt, Untch, "Mutation analysis using mutant schemata", 1993. The few
//! that cannot be switched, such as those of constants, are built one by one.
//!
//! What each came to stands in `target/mutants/outcomes`, a line each.

mod list;
mod outcome;
mod switch;
mod tree;
mod trial;

use list::Mutant;
use outcome::Outcome;
use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tree::Tree;
use trial::Trial;

const OUTCOMES: &str = "target/mutants/outcomes";

const USAGE: &str = "\
Usage: cargo xtask mutants [--survivors] [--jobs N] [PART OF A NAME ..]
  --survivors  only those that no test noticed the last time
  PART         only mutants whose names, as `cargo mutants --list` has them,
               contain this, such as 'wal/' or 'Group::encode'";

/// What was asked for.
struct Wanted {
    survivors: bool,
    jobs: usize,
    parts: Vec<String>,
}

impl Wanted {
    fn parse(arguments: &[&str]) -> Result<Wanted, String> {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        let mut wanted = Wanted { survivors: false, jobs: cores, parts: Vec::new() };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match *argument {
                "--survivors" => wanted.survivors = true,
                "--jobs" => {
                    let number = rest.next().and_then(|n| n.parse().ok()).filter(|&n| n > 0);
                    wanted.jobs = number.ok_or("--jobs wants a number from 1 on")?;
                }
                flag if flag.starts_with('-') => return Err(format!("{flag} is not known")),
                part => wanted.parts.push(part.to_owned()),
            }
        }
        Ok(wanted)
    }

    fn wants(&self, mutant: &Mutant, survived: &BTreeSet<String>) -> bool {
        let named =
            self.parts.is_empty() || self.parts.iter().any(|p| mutant.name.contains(p.as_str()));
        named && (!self.survivors || survived.contains(&mutant.name))
    }
}

/// Lists, builds, tries, reports.
pub(crate) fn main(root: &Path, arguments: &[&str]) -> ExitCode {
    let wanted = match Wanted::parse(arguments) {
        Ok(wanted) => wanted,
        Err(e) => {
            eprintln!("error: {e}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(root, &wanted) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Answers how many survived.
fn run(root: &Path, wanted: &Wanted) -> Result<usize, String> {
    let started = Instant::now();
    let survived = last_survivors(root);
    let mut mutants = list::list(root)?;
    mutants.retain(|m| wanted.wants(m, &survived));
    if mutants.is_empty() {
        return Err("no mutant has such a name; `cargo mutants --list` names all".to_owned());
    }
    println!("{} mutants; building those that can be switched", mutants.len());
    let tree = Tree::new(root)?;
    let (outcomes, alone) = tree.build_all(&mutants)?;
    let board = Board::new(root, &mutants, outcomes)?;
    trial::check_baseline(&tree)?;

    let switched = |i: &usize| !alone.contains(i);
    let open: Vec<usize> = board.with(None).into_iter().filter(switched).collect();
    for_each(&open, wanted.jobs, |i, job| {
        board.note(i, Trial { tree: &tree, mutant: &mutants[i], number: i + 1, job }.run_quick());
    });
    let unnoticed = board.with(Some(Outcome::Unnoticed));
    println!("\n{} for the slow tests", unnoticed.len());
    for_each(&unnoticed, wanted.jobs, |i, job| {
        board.note(i, Trial { tree: &tree, mutant: &mutants[i], number: i + 1, job }.run_slow());
    });
    println!("\n{} to be built alone", alone.len());
    for &i in &alone {
        let trial = Trial { tree: &tree, mutant: &mutants[i], number: 0, job: 0 };
        let outcome = match tree.build_one(&mutants[i])? {
            true => match trial.run_quick() {
                Outcome::Unnoticed => trial.run_slow(),
                outcome => outcome,
            },
            false => Outcome::Unviable,
        };
        board.note(i, outcome);
    }
    Ok(board.report(started))
}

/// Does `work` for each item with so many threads, which it is given the number of.
fn for_each(items: &[usize], threads: usize, work: impl Fn(usize, usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (next, work) = (&next, &work);
            scope.spawn(move || {
                // Relaxed: the number alone is shared.
                while let Some(&item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(item, thread);
                }
            });
        }
    });
}

/// Names of those that no test noticed when this ran before.
fn last_survivors(root: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root.join(OUTCOMES)).unwrap_or_default();
    let mut survived = BTreeSet::new();
    for line in text.lines() {
        let mut words = line.split('\t');
        let (Some(outcome), Some(name)) = (words.next(), words.next()) else { continue };
        // The last line of a mutant counts.
        match outcome {
            "survived" | "unnoticed" => drop(survived.insert(name.to_owned())),
            _ => drop(survived.remove(name)),
        }
    }
    survived
}

/// What became of each mutant so far.
struct Board<'m> {
    mutants: &'m [Mutant],
    inner: Mutex<Notes>,
}

struct Notes {
    outcomes: Vec<Option<Outcome>>,
    file: std::fs::File,
}

impl<'m> Board<'m> {
    fn new(
        root: &Path,
        mutants: &'m [Mutant],
        outcomes: Vec<Option<Outcome>>,
    ) -> Result<Board<'m>, String> {
        let path = root.join(OUTCOMES);
        let file = std::fs::File::create(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Board { mutants, inner: Mutex::new(Notes { outcomes, file }) })
    }

    /// Those of which this is known so far.
    fn with(&self, outcome: Option<Outcome>) -> Vec<usize> {
        let notes = self.inner.lock().expect("no thread panics here");
        (0..self.mutants.len()).filter(|&i| notes.outcomes[i] == outcome).collect()
    }

    fn note(&self, i: usize, outcome: Outcome) {
        let mut notes = self.inner.lock().expect("no thread panics here");
        let name = &self.mutants[i].name;
        let (word, stage) = outcome.words();
        let _ = writeln!(notes.file, "{word}\t{name}\t{stage}");
        if matches!(outcome, Outcome::Unnoticed | Outcome::Survived) {
            println!("{word}: {name}");
        }
        notes.outcomes[i] = Some(outcome);
        if std::io::stdout().is_terminal() {
            let done = notes.outcomes.iter().flatten().count();
            print!("\r\x1b[K{}", bar(done, notes.outcomes.len()));
            let _ = std::io::stdout().flush();
        }
    }

    /// A line for `docs/reliability.md`, and how many survived.
    fn report(&self, started: Instant) -> usize {
        let notes = self.inner.lock().expect("no thread panics here");
        let count =
            |word: &str| notes.outcomes.iter().flatten().filter(|o| o.words().0 == word).count();
        let noticed = count("noticed");
        let hung = count("hung");
        let unviable = count("unviable");
        let survived = count("survived");
        println!(
            "\n{} mutants in {:.0} s: {noticed} noticed, {hung} hung, {unviable} do not compile, \
             {survived} survived",
            self.mutants.len(),
            started.elapsed().as_secs_f64(),
        );
        survived
    }
}

fn bar(done: usize, all: usize) -> String {
    let full = 30 * done / all.max(1);
    format!("[{}{}] {done} of {all} mutants", "=".repeat(full), " ".repeat(30 - full))
}
