//! Programs that run seeds, as many as one has time for.
//!
//! One process a core, each with its own seeds, so that every run leaves the same trace
//! each time. Ends with lines for `docs/reliability.md`.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A program that takes `FIRST END STRIDE` and prints `done` and its sums now and then.
pub(crate) struct Seeded {
    /// As `cargo xtask` calls it.
    pub(crate) verb: &'static str,
    pub(crate) package: &'static str,
    pub(crate) binary: &'static str,
    /// Said before the numbers.
    pub(crate) mode: Option<&'static str>,
    /// Run unless somebody says how many.
    pub(crate) seeds: u64,
    /// So many are worth a build that is optimised.
    pub(crate) many: u64,
    /// Sums of a process, in the order in which it prints them; the first are the seeds.
    pub(crate) sums: &'static [&'static str],
}

type Sums = Vec<u64>;

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    first: u64,
    seeds: u64,
    jobs: u64,
}

impl Wanted {
    fn parse(verb: &str, seeds: u64, arguments: &[&str]) -> Result<Wanted, String> {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let mut wanted = Wanted { first: 1, seeds, jobs: cores };
        for pair in arguments.chunks(2) {
            let [name, value] = pair else { return Err(format!("{} wants a number", pair[0])) };
            let number: u64 =
                value.parse().map_err(|_| format!("{name} wants a number, not '{value}'"))?;
            match *name {
                "--seeds" => wanted.seeds = number,
                "--first" => wanted.first = number,
                "--jobs" if number > 0 => wanted.jobs = number,
                "--seed" => (wanted.first, wanted.seeds) = (number, 1),
                _ => return Err(format!("{verb} does not know '{name} {value}'")),
            }
        }
        wanted.jobs = wanted.jobs.min(wanted.seeds.max(1));
        Ok(wanted)
    }

    /// How it is built: a few seeds run as the tests do, with what those have built.
    fn profile(&self, many: u64) -> [&'static str; 2] {
        ["--profile", if self.seeds >= many { "checked" } else { "dev" }]
    }
}

impl Seeded {
    /// Builds, runs, sums up.
    pub(crate) fn main(&self, root: &Path, arguments: &[&str]) -> ExitCode {
        let Seeded { verb, package, binary, sums: names, .. } = *self;
        let wanted = match Wanted::parse(verb, self.seeds, arguments) {
            Ok(wanted) => wanted,
            Err(e) => {
                eprintln!("error: {e}; as in: cargo xtask {verb} --seeds 10000");
                return ExitCode::from(2);
            }
        };
        println!("building {binary}");
        let build = ["build", "--quiet", "--package", package, "--bin", binary];
        if !Command::new("cargo")
            .args(build)
            .args(wanted.profile(self.many))
            .current_dir(root)
            .status()
            .is_ok_and(|s| s.success())
        {
            return ExitCode::FAILURE;
        }
        let Wanted { first, seeds, jobs } = wanted;
        println!("{verb}: seeds {first} to {} in {jobs} processes", first + seeds - 1);
        let started = Instant::now();
        let (sums, ok) = self.run(root, &wanted, started);
        let seconds = started.elapsed().as_secs_f64();
        for (name, sum) in names.iter().zip(&sums) {
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

    /// Starts the processes and waits for them. Answers their sums, and whether all
    /// went well.
    fn run(&self, root: &Path, wanted: &Wanted, started: Instant) -> (Sums, bool) {
        let (sender, lines) = mpsc::channel();
        let mut children = Vec::new();
        let end = wanted.first + wanted.seeds;
        for job in 0..wanted.jobs {
            let numbers = [wanted.first + job, end, wanted.jobs].map(|n| n.to_string());
            let what = ["run", "--quiet", "--package", self.package, "--bin", self.binary];
            let command = Command::new("cargo")
                .args(what)
                .args(wanted.profile(self.many))
                .arg("--")
                .args(self.mode)
                .args(numbers)
                .current_dir(root)
                .stdout(Stdio::piped())
                .spawn();
            let mut child = match command {
                Ok(child) => child,
                Err(e) => {
                    eprintln!("error: cannot start it: {e}");
                    return (vec![0; self.sums.len()], false);
                }
            };
            let output = child.stdout.take().expect("it is piped");
            let (sender, count) = (sender.clone(), self.sums.len());
            let reader = std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Some(sums) = parse_sums(&line, count) {
                        let _ = sender.send((job as usize, sums));
                    }
                }
            });
            children.push((child, reader));
        }
        drop(sender);
        let mut sums = vec![vec![0; self.sums.len()]; children.len()];
        let mut bar = Bar { shown: started, terminal: std::io::stderr().is_terminal() };
        for (job, its) in lines {
            sums[job] = its;
            bar.show(self.sums, &total(&sums), wanted.seeds, started);
        }
        bar.end();
        let mut ok = true;
        for (mut child, reader) in children {
            ok &= child.wait().is_ok_and(|status| status.success());
            ok &= reader.join().is_ok();
        }
        (total(&sums), ok)
    }
}

fn commit(root: &Path) -> String {
    let git = Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(root).output();
    git.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn total(sums: &[Sums]) -> Sums {
    let count = sums.first().map_or(0, Vec::len);
    (0..count).map(|i| sums.iter().map(|its| its[i]).sum()).collect()
}

fn parse_sums(line: &str, count: usize) -> Option<Sums> {
    let numbers = line.strip_prefix("done ")?.split(' ').map(str::parse);
    let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().ok()?;
    (numbers.len() == count).then_some(numbers)
}

/// How far it is, on standard error: redrawn on a terminal, a line now and then
/// elsewhere.
struct Bar {
    shown: Instant,
    terminal: bool,
}

impl Bar {
    fn show(&mut self, names: &[&str], sums: &[u64], seeds: u64, started: Instant) {
        let pause = if self.terminal { 200 } else { 10_000 };
        if self.shown.elapsed() < Duration::from_millis(pause) {
            return;
        }
        self.shown = Instant::now();
        let done = (sums[0] * 30 / seeds.max(1)).min(30) as usize;
        let rate = sums[0] as f64 / started.elapsed().as_secs_f64().max(0.001);
        let left = (seeds.saturating_sub(sums[0])) as f64 / rate.max(0.001);
        let others = names.iter().zip(sums).skip(1).take(2);
        let others: Vec<_> = others.map(|(name, sum)| format!("{sum} {name}")).collect();
        let text = format!(
            "[{}{}] {} of {seeds} seeds, {}; {rate:.0}/s, {left:.0} s left",
            "=".repeat(done),
            " ".repeat(30 - done),
            sums[0],
            others.join(", ")
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
        assert_eq!(parse_sums("done 1 2 3", 3), Some(vec![1, 2, 3]));
        assert_eq!(parse_sums("done 1 2 3", 6), None);
        assert_eq!(parse_sums("seed 7 failed", 3), None);
        assert_eq!(total(&[vec![1; 6], vec![2; 6]]), [3; 6]);
    }

    #[test]
    fn one_seed_is_one_process_and_a_wrong_word_is_named() {
        assert_eq!(
            Wanted::parse("simulate", 1_000, &["--seed", "17"]),
            Ok(Wanted { first: 17, seeds: 1, jobs: 1 })
        );
        assert!(Wanted::parse("simulate", 1_000, &["--seeds"]).unwrap_err().contains("--seeds"));
        assert!(
            Wanted::parse("simulate", 1_000, &["--sheep", "3"]).unwrap_err().contains("--sheep")
        );
    }
}
