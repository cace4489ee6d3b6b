//! What every mode shares: a seed, a directory, a bar that shows how far it
//! is, counts, and the line for the ledger at the end.

use crate::failure::{Failure, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::process::Command;
use tanada_vfs::Env;
use tempfile::TempDir;

/// What the command line asks for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Which mode, as the command line calls it.
    pub(crate) mode: &'static str,
    pub(crate) seed: u64,
    /// Kills, cuts or rounds.
    pub(crate) count: u32,
    pub(crate) clients: u32,
    pub(crate) server: PathBuf,
    /// Where to work; `None` for a temporary directory.
    pub(crate) dir: Option<PathBuf>,
    /// Go on with what an earlier run that died left in `dir`.
    pub(crate) resume: bool,
    /// The life in which this run kills itself, to be resumed by another.
    pub(crate) die_in: Option<u32>,
    /// Leave out nothing for what the machine lacks.
    pub(crate) require: bool,
}

/// One run.
pub(crate) struct Rig {
    pub(crate) env: Env,
    pub(crate) options: Options,
    dir: PathBuf,
    temporary: Option<TempDir>,
    bar: ProgressBar,
    began_ns: u64,
    /// In the order in which they were first counted.
    counts: Vec<(&'static str, u64)>,
}

impl Rig {
    /// Prepares a run, and says what it will do.
    ///
    /// # Errors
    /// When there is no server to test, or no directory to work in.
    pub(crate) fn new(options: Options) -> Result<Rig> {
        let env = Env::real();
        if !env.fs.exists(&options.server)? {
            return Err(Failure::trouble(format!(
                "there is no server at {}; build it (cargo build -p tanada-cli), or name it with --server",
                options.server.display()
            )));
        }
        let (dir, temporary) = match &options.dir {
            Some(dir) => {
                env.fs.create_dir_all(dir)?;
                let used = !env.fs.read_dir(dir)?.is_empty();
                if used && !options.resume {
                    return Err(Failure::trouble(format!(
                        "{} is not empty; name an empty directory, or go on with --resume",
                        dir.display()
                    )));
                }
                (dir.clone(), None)
            }
            None => {
                let temporary = tempfile::Builder::new().prefix("tanada-stress-").tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        println!("tanada-stress {}: {} times, seed {}", options.mode, options.count, options.seed);
        println!("  replay: {}", replay(&options));
        let bar = ProgressBar::new(u64::from(options.count));
        let style = ProgressStyle::with_template(
            "  {bar:30} {pos}/{len} {elapsed_precise} (left {eta}) {msg}",
        );
        bar.set_style(style.expect("a template of ours"));
        let began_ns = env.clock.monotonic_ns();
        Ok(Rig { env, options, dir, temporary, bar, began_ns, counts: Vec::new() })
    }

    /// Where this run works.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Adds to a count.
    pub(crate) fn count(&mut self, name: &'static str, more: u64) {
        match self.counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += more,
            None => self.counts.push((name, more)),
        }
    }

    /// What was counted under `name`.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.counts.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
    }

    /// Runs as many rounds as were asked for, until one fails.
    ///
    /// # Errors
    /// That of the round.
    pub(crate) fn rounds(&mut self, one: fn(&mut Rig, u32) -> Result<()>) -> Result<()> {
        for round in 0..self.options.count {
            one(self, round)?;
            self.advance();
        }
        Ok(())
    }

    /// One kill, cut or round is done.
    pub(crate) fn advance(&self) {
        self.bar.inc(1);
        self.bar.set_message(format!("{} acknowledged", self.counted("acknowledged")));
    }

    /// Tells of what was done, for who looks on: a line.
    pub(crate) fn tell(&self, line: &str) {
        self.bar.suspend(|| println!("{line}"));
    }

    /// How far it is, of the rounds or whatever is counted.
    pub(crate) fn is_at(&self, position: u64) {
        self.bar.set_position(position);
        self.bar.set_message(format!("{} acknowledged", self.counted("acknowledged")));
    }

    /// Ends the run: prints its line for the ledger, or how to see the failure again.
    pub(crate) fn end(self, outcome: Result<()>) -> Result<()> {
        self.bar.finish_and_clear();
        let seconds = (self.env.clock.monotonic_ns() - self.began_ns) as f64 / 1e9;
        let counts: Vec<String> =
            self.counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let counts = counts.join(", ");
        match outcome {
            Ok(()) => {
                println!(
                    "ledger: | {} | {} | {} | {seconds:.1} s | {counts} | `{}` |",
                    self.options.mode,
                    commit(),
                    self.options.seed,
                    replay(&self.options)
                );
                Ok(())
            }
            Err(failure) => {
                if matches!(failure, Failure::Broken(_)) {
                    println!("FAILED after {seconds:.1} s: {counts}");
                    println!("seed {} failed; replay it with:", self.options.seed);
                    println!("    {}", replay(&self.options));
                    println!(
                        "(the seed decides options, operations and when the end comes; which of"
                    );
                    println!(
                        "them are under way just then is the machine's choice: try some times)"
                    );
                    let kept = self.temporary.map(TempDir::keep).unwrap_or(self.dir);
                    println!("what was left is kept in {}", kept.display());
                }
                Err(failure)
            }
        }
    }
}

/// The one command that does this again.
fn replay(options: &Options) -> String {
    format!(
        "cargo xtask stress {} --count {} --seed {} --clients {}",
        options.mode, options.count, options.seed, options.clients
    )
}

/// The commit that is checked out, `+` behind it when files differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let said = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        said.status.success().then_some(text)
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".to_owned() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}+"),
    }
}
