//! A whole run: engines interleaved, round by round, each in a process of its
//! own, their rows appended to one file. What the file already has is not
//! measured again, so that a run can be made in pieces.

use crate::arguments::Arguments;
use crate::engine::Outcome;
use crate::machine::{self, Header};
use crate::row::Row;
use crate::{engines, floor, workloads};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Engines that bars are set by, and Tanada: these take part in every round. The
/// others come once, with shorter limits, for they take longer than all of these.
const EVERY_ROUND: &[&str] = &["tanada", "rocksdb", "fjall", "lmdb"];

/// Engines that are asked for ten times the pairs: the LSM trees.
const LARGE: &[&str] = &["tanada", "rocksdb", "fjall"];

/// How long one workload of the others may take.
const SHORT: Duration = Duration::from_secs(10);

/// One child process.
struct Turn {
    round: u64,
    engine: String,
    workloads: Vec<&'static str>,
}

/// Where the rows of run `run` are.
pub fn results(directory: &Path, run: &str) -> PathBuf {
    directory.join(format!("{run}.jsonl"))
}

/// Makes the run; answers the file of its rows.
pub fn run(arguments: &Arguments) -> Outcome<PathBuf> {
    std::fs::create_dir_all(&arguments.results)?;
    let path = results(&arguments.results, &arguments.run);
    let done = done(&path)?;
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    if file.metadata()?.len() == 0 {
        writeln!(file, "{}", Header::here(&arguments.command()).to_json())?;
    } else {
        same_commit(&path)?;
    }
    let plan = plan(arguments, &done)?;
    let count = plan.iter().map(|turn| turn.workloads.len() as u64).sum();
    let bar = ProgressBar::new(count).with_style(
        ProgressStyle::with_template("{elapsed_precise} {wide_bar} {pos}/{len} {msg}")
            .map_err(|e| e.to_string())?,
    );
    bar.enable_steady_tick(Duration::from_secs(1));
    for turn in plan {
        child(arguments, &turn, &mut file, &bar)?;
    }
    bar.finish_and_clear();
    Ok(path)
}

/// Rows of two commits do not belong in one table.
fn same_commit(path: &Path) -> Outcome<()> {
    let first = BufReader::new(File::open(path)?).lines().next().transpose()?;
    let header = machine::required(first.as_deref().and_then(Header::from_json))?;
    let (there, here) = (header.get("commit").unwrap_or_default(), machine::commit());
    if there != here {
        return Err(format!(
            "{} is of commit {there}, this is {here}: give another --run, or remove the file",
            path.display()
        )
        .into());
    }
    Ok(())
}

fn done(path: &Path) -> Outcome<HashSet<(u64, String, String)>> {
    let Ok(file) = File::open(path) else { return Ok(HashSet::new()) };
    let mut done = HashSet::new();
    for line in BufReader::new(file).lines() {
        if let Ok(row) = Row::from_json(&line?) {
            done.insert((row.round, row.engine, row.workload));
        }
    }
    Ok(done)
}

fn plan(arguments: &Arguments, done: &HashSet<(u64, String, String)>) -> Outcome<Vec<Turn>> {
    let asked: Vec<&'static str> = match arguments.workloads.is_empty() {
        true => workloads::ALL.iter().map(|w| w.name).collect(),
        false => {
            let found = arguments.workloads.iter().map(|w| workloads::find(w).map(|w| w.name));
            found.collect::<Outcome<_>>()?
        }
    };
    let (large, base): (Vec<_>, Vec<_>) = asked.into_iter().partition(|w| w.ends_with("20m"));
    let known = engines::names();
    if let Some(unknown) = arguments.engines.iter().find(|e| !known.contains(&e.as_str())) {
        return Err(format!("no engine '{unknown}' in this build: {}", known.join(", ")).into());
    }
    let chosen: Vec<&str> = known
        .into_iter()
        .filter(|name| arguments.engines.is_empty() || arguments.engines.iter().any(|e| e == name))
        .collect();
    let mut plan = Vec::new();
    let mut add = |round: u64, engine: &str, workloads: &[&'static str]| {
        let missing =
            |w: &&&'static str| !done.contains(&(round, engine.to_owned(), (**w).to_owned()));
        let workloads: Vec<_> = workloads.iter().filter(missing).copied().collect();
        if !workloads.is_empty() {
            plan.push(Turn { round, engine: engine.to_owned(), workloads });
        }
    };
    for round in 0..arguments.rounds {
        if arguments.workloads.is_empty() || base.iter().any(|w| w.starts_with("fillsync")) {
            add(round, floor::NAME, &[floor::DEVICE]);
        }
        // Another engine goes first in each round.
        for i in 0..chosen.len() {
            let engine = chosen[(i + round as usize) % chosen.len()];
            if round == 0 || EVERY_ROUND.contains(&engine) {
                add(round, engine, &base);
            }
        }
        if round < arguments.large_rounds {
            for engine in chosen.iter().filter(|e| LARGE.contains(e)) {
                add(round, engine, &large);
            }
        }
    }
    Ok(plan)
}

fn child(arguments: &Arguments, turn: &Turn, file: &mut File, bar: &ProgressBar) -> Outcome<()> {
    bar.set_message(format!("round {}, {}", turn.round + 1, turn.engine));
    let mut limit = arguments.scale.limit;
    if !EVERY_ROUND.contains(&turn.engine.as_str()) && turn.engine != floor::NAME {
        limit = limit.min(SHORT);
    }
    let mut command = Command::new(std::env::current_exe()?);
    match turn.engine == floor::NAME {
        true => command.arg("floor"),
        false => command.args([
            "one",
            "--engine",
            &turn.engine,
            "--workloads",
            &turn.workloads.join(","),
        ]),
    };
    let mut child = command
        .args(arguments.scale_flags(limit))
        .args(["--json", "--run", &arguments.run, "--round", &turn.round.to_string()])
        .args(["--dir".as_ref(), arguments.dir.as_os_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let errors = child.stderr.take().expect("piped");
    // Read beside, or a child with much to say would wait for ever.
    let errors = std::thread::spawn(move || {
        BufReader::new(errors).lines().map_while(Result::ok).collect::<Vec<_>>()
    });
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        let line = line?;
        let row = Row::from_json(&line)?;
        writeln!(file, "{line}")?;
        bar.println(row.describe());
        bar.set_message(format!(
            "round {}, {} after {}",
            turn.round + 1,
            turn.engine,
            row.workload
        ));
        if row.engine != floor::NAME || row.workload == floor::DEVICE {
            bar.inc(1);
        }
    }
    let (status, errors) = (child.wait()?, errors.join().unwrap_or_default());
    if !status.success() {
        // The rest of the run is still worth having; what is missing shows.
        let tail = errors.iter().find(|line| line.contains("panicked") || line.contains("Error"));
        bar.println(format!(
            "{} FAILED in round {}: {}",
            turn.engine,
            turn.round + 1,
            tail.map_or("no reason given", |line| line.as_str())
        ));
        errors.iter().for_each(|line| bar.println(format!("    {line}")));
    }
    Ok(())
}
