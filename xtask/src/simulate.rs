//! `cargo xtask simulate`: as many simulated lives as one has time for.
//!
//! One process a core, each alone with its seeds, so that every run leaves the same
//! trace each time. Ends with one line for `docs/reliability.md`.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Sums of a process, in the order in which it prints them.
const NAMES: [&str; 6] =
    ["seeds", "operations", "crashes", "of these inside a call", "failing calls", "steps"];

/// So many seeds are worth a build that is optimised.
const MANY_SEEDS: u64 = 20_000;

type Sums = [u64; NAMES.len()];

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    first: u64,
    seeds: u64,
    jobs: u64,
}

impl Wanted {
    fn parse(arguments: &[&str]) -> Result<Wanted, String> {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let mut wanted = Wanted { first: 1, seeds: 1_000, jobs: cores };
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { return Err(format!("{} wants a number", pair[0])) };
            let number: u64 =
                value.parse().map_err(|_| format!("{name} wants a number, not '{value}'"))?;
            match *name {
                "--seeds" => wanted.seeds = number,
                "--first" => wanted.first = number,
                "--jobs" if number > 0 => wanted.jobs = number,
                "--seed" => (wanted.first, wanted.seeds) = (number, 1),
                _ => return Err(format!("simulate does not know '{name} {value}'")),
            }
        }
        wanted.jobs = wanted.jobs.min(wanted.seeds.max(1));
        Ok(wanted)
    }

    /// How it is built: a few seeds run as the tests do, with what those have built.
    fn profile(&self) -> [&'static str; 2] {
        ["--profile", if self.seeds >= MANY_SEEDS { "checked" } else { "dev" }]
    }
}

/// Builds, runs, sums up.
pub(crate) fn main(root: &Path, arguments: &[&str]) -> ExitCode {
    if let ["--bytes", file] = arguments {
        return replay_bytes(root, file);
    }
    let wanted = match Wanted::parse(arguments) {
        Ok(wanted) => wanted,
        Err(e) => {
            eprintln!("error: {e}; as in: cargo xtask simulate --seeds 10000");
            return ExitCode::from(2);
        }
    };
    println!("building the simulation");
    let build = ["build", "--quiet", "--package", "tanada-sim", "--bin", "tanada-sim"];
    if !Command::new("cargo")
        .args(build)
        .args(wanted.profile())
        .current_dir(root)
        .status()
        .is_ok_and(|s| s.success())
    {
        return ExitCode::FAILURE;
    }
    let Wanted { first, seeds, jobs } = wanted;
    println!("simulating seeds {first} to {} in {jobs} processes", first + seeds - 1);
    let started = Instant::now();
    let (sums, ok) = run(root, &wanted, started);
    let seconds = started.elapsed().as_secs_f64();
    for (name, sum) in NAMES.iter().zip(sums) {
        println!("{name:<24} {sum:>14}");
    }
    println!("{:<24} {:>14.1}", "seconds", seconds);
    println!("{:<24} {:>14.1}", "seeds a second", sums[0] as f64 / seconds.max(0.001));
    println!("{:<24} {:>14}", "commit", commit(root));
    match ok {
        true => {
            println!("every promise was kept");
            ExitCode::SUCCESS
        }
        false => {
            println!("FAILED: what failed, and how to replay it, stands above");
            ExitCode::FAILURE
        }
    }
}

/// The life that a fuzzer's input describes.
fn replay_bytes(root: &Path, file: &str) -> ExitCode {
    let what = ["run", "--quiet", "--package", "tanada-sim", "--bin", "tanada-sim", "--"];
    let status =
        Command::new("cargo").args(what).args(["--bytes", file]).current_dir(root).status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: cannot start the simulation: {e}");
            ExitCode::FAILURE
        }
    }
}

fn commit(root: &Path) -> String {
    let git = Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(root).output();
    git.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Starts the processes and waits for them. Answers their sums, and whether all
/// went well.
fn run(root: &Path, wanted: &Wanted, started: Instant) -> (Sums, bool) {
    let (sender, lines) = mpsc::channel();
    let mut children = Vec::new();
    let end = wanted.first + wanted.seeds;
    for job in 0..wanted.jobs {
        let numbers = [wanted.first + job, end, wanted.jobs].map(|n| n.to_string());
        let what = ["run", "--quiet", "--package", "tanada-sim", "--bin", "tanada-sim"];
        let command = Command::new("cargo")
            .args(what)
            .args(wanted.profile())
            .arg("--")
            .args(numbers)
            .current_dir(root)
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match command {
            Ok(child) => child,
            Err(e) => {
                eprintln!("error: cannot start a simulation: {e}");
                return (Sums::default(), false);
            }
        };
        let output = child.stdout.take().expect("it is piped");
        let sender = sender.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(sums) = parse_sums(&line) {
                    let _ = sender.send((job as usize, sums));
                }
            }
        });
        children.push((child, reader));
    }
    drop(sender);
    let mut sums = vec![Sums::default(); children.len()];
    let mut bar = Bar { shown: started, terminal: std::io::stderr().is_terminal() };
    for (job, its) in lines {
        sums[job] = its;
        bar.show(total(&sums), wanted.seeds, started);
    }
    bar.end();
    let mut ok = true;
    for (mut child, reader) in children {
        ok &= child.wait().is_ok_and(|status| status.success());
        ok &= reader.join().is_ok();
    }
    (total(&sums), ok)
}

fn total(sums: &[Sums]) -> Sums {
    std::array::from_fn(|i| sums.iter().map(|its| its[i]).sum())
}

fn parse_sums(line: &str) -> Option<Sums> {
    let numbers: Vec<u64> =
        line.strip_prefix("done ")?.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

/// How far it is, on standard error: redrawn on a terminal, a line now and then
/// elsewhere.
struct Bar {
    shown: Instant,
    terminal: bool,
}

impl Bar {
    fn show(&mut self, sums: Sums, seeds: u64, started: Instant) {
        let pause = if self.terminal { 200 } else { 10_000 };
        if self.shown.elapsed() < Duration::from_millis(pause) {
            return;
        }
        self.shown = Instant::now();
        let done = (sums[0] * 30 / seeds.max(1)).min(30) as usize;
        let rate = sums[0] as f64 / started.elapsed().as_secs_f64().max(0.001);
        let left = (seeds.saturating_sub(sums[0])) as f64 / rate.max(0.001);
        let text = format!(
            "[{}{}] {} of {seeds} seeds, {} operations, {} crashes; {rate:.0}/s, {left:.0} s left",
            "=".repeat(done),
            " ".repeat(30 - done),
            sums[0],
            sums[1],
            sums[2]
        );
        if self.terminal {
            eprint!("\r{text} ");
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{text}");
        }
    }

    fn end(&self) {
        if self.terminal {
            eprintln!();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_sums_is_understood_and_others_are_not() {
        assert_eq!(parse_sums("done 1 2 3 4 5 6"), Some([1, 2, 3, 4, 5, 6]));
        assert_eq!(parse_sums("done 1 2 3"), None);
        assert_eq!(parse_sums("seed 7 failed"), None);
        assert_eq!(total(&[[1; 6], [2; 6]]), [3; 6]);
    }

    #[test]
    fn one_seed_is_one_process_and_a_wrong_word_is_named() {
        assert_eq!(Wanted::parse(&["--seed", "17"]), Ok(Wanted { first: 17, seeds: 1, jobs: 1 }));
        assert!(Wanted::parse(&["--seeds"]).unwrap_err().contains("--seeds"));
        assert!(Wanted::parse(&["--sheep", "3"]).unwrap_err().contains("--sheep"));
    }
}
