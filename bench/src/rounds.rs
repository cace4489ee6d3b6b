//! A whole run: engines interleaved, round by round, each in a process of its
//! own, their rows appended to one file. What the file already has is not
//! measured again, so that a run can be made in pieces.

use crate::arguments::Arguments;
use crate::engine::Outcome;
use crate::machine::{self, Header};
use crate::row::Row;
use crate::workloads::{self, Size, Workload};
use crate::{cgroup, engines, floor};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Engines that bars are set by, and Tanada: these take part in every round. The
/// others come once, with shorter limits, for they take longer than all of these.
const EVERY_ROUND: &[&str] = &["tanada", "rocksdb", "fjall", "lmdb"];

/// Engines that are asked for ten times the pairs: the LSM trees.
const LARGE: &[&str] = &["tanada", "rocksdb", "fjall"];

/// Engines that are measured where data is larger than memory, in each round; and the one
/// that comes once, for most of its time goes into loading.
const CONFINED: &[&str] = &["tanada", "rocksdb", "fjall"];
const CONFINED_ONCE: &[&str] = &["lmdb"];

/// How long one workload of the others may take.
const SHORT: Duration = Duration::from_secs(10);

/// What the kernel ends a process with that needs more memory than its cgroup has.
const SIGKILL: i32 = 9;

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
    for mut turn in plan {
        // Who needs more memory than there is is killed for it: the rest is tried anew.
        while let Some(killed) = child(arguments, &turn, &mut file, &bar)? {
            let row = killed_for_memory(arguments, &turn, killed);
            writeln!(file, "{}", row.to_json())?;
            let next = turn.workloads.iter().position(|w| *w == killed).map_or(0, |i| i + 1);
            turn.workloads.drain(..next);
            if turn.workloads.is_empty() {
                break;
            }
        }
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
        // With a right that was missing then, it may be measured now.
        let row = Row::from_json(&line?).ok().filter(|row| !row.lacks_cgroup());
        if let Some(row) = row {
            done.insert((row.round, row.engine, row.workload));
        }
    }
    Ok(done)
}

fn plan(arguments: &Arguments, done: &HashSet<(u64, String, String)>) -> Outcome<Vec<Turn>> {
    let asked: Vec<&'static Workload> = match arguments.workloads.is_empty() {
        true => workloads::ALL.iter().collect(),
        false => arguments.workloads.iter().map(|w| workloads::find(w)).collect::<Outcome<_>>()?,
    };
    let of_kind = |kind: Size| -> Vec<&'static str> {
        asked.iter().filter(|w| w.kind() == kind).map(|w| w.name).collect()
    };
    let (base, large, confined) =
        (of_kind(Size::Base), of_kind(Size::Large), of_kind(Size::Confined));
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
        match arguments.workloads.is_empty() {
            true => add(round, floor::NAME, &[&[floor::DEVICE], floor::MEMORY].concat()),
            false if base.iter().any(|w| w.starts_with("fillsync")) => {
                add(round, floor::NAME, &[floor::DEVICE]);
            }
            false => {}
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
        if !confined.is_empty() {
            add(round, floor::NAME, &[floor::DEVICE_READ, floor::DEVICE_READ_2]);
        }
        for i in 0..chosen.len() {
            let engine = chosen[(i + round as usize) % chosen.len()];
            if CONFINED.contains(&engine) || (round == 0 && CONFINED_ONCE.contains(&engine)) {
                add(round, engine, &confined);
            }
        }
    }
    Ok(plan)
}

/// The row of a workload in a cgroup that the engine did not survive.
fn killed_for_memory(arguments: &Arguments, turn: &Turn, workload: &str) -> Row {
    let mut row = Row { run: arguments.run.clone(), round: turn.round, ..Row::default() };
    (row.engine, row.workload, row.cut) = (turn.engine.clone(), workload.into(), true);
    row.notes = vec!["killed by the kernel: it needed more memory than the cgroup has".into()];
    row
}

/// Runs one. Answers the workload in a cgroup in which the kernel killed it, if it did.
fn child(
    arguments: &Arguments,
    turn: &Turn,
    file: &mut File,
    bar: &ProgressBar,
) -> Outcome<Option<&'static str>> {
    let mut left = turn.workloads.iter();
    bar.set_message(format!("round {}, {}", turn.round + 1, turn.engine));
    let mut limit = arguments.scale.limit;
    if !EVERY_ROUND.contains(&turn.engine.as_str()) && turn.engine != floor::NAME {
        limit = limit.min(SHORT);
    }
    let mut command = Command::new(std::env::current_exe()?);
    match turn.engine == floor::NAME {
        true => command.arg("floor"),
        false => command.args(["one", "--engine", &turn.engine]),
    };
    command.args(["--workloads", &turn.workloads.join(",")]);
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
        bar.inc(1);
        left.next();
    }
    let (process, status) = (child.id(), child.wait()?);
    cgroup::remove_of(process);
    let errors = errors.join().unwrap_or_default();
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
    let next = left.next().filter(|_| status.signal() == Some(SIGKILL));
    let confined = |name: &&'static str| {
        workloads::find(name).is_ok_and(|workload| workload.kind() == Size::Confined)
    };
    Ok(next.copied().filter(confined))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(done: &HashSet<(u64, String, String)>) -> Vec<(u64, String, &'static str)> {
        let arguments = Arguments::parse(["run".to_owned()].into_iter()).expect("a verb");
        let plan = plan(&arguments, done).expect("known names");
        let each = |turn: Turn| {
            let Turn { round, engine, workloads } = turn;
            workloads.into_iter().map(move |w| (round, engine.clone(), w)).collect::<Vec<_>>()
        };
        plan.into_iter().flat_map(each).collect()
    }

    #[test]
    fn a_plain_run_has_every_workload_and_every_floor_once_a_round() {
        let planned = planned(&HashSet::new());
        let count = |round, engine: &str, name: &str| {
            planned.iter().filter(|(r, e, w)| (*r, &**e, *w) == (round, engine, name)).count()
        };
        for workload in workloads::ALL {
            assert_eq!(count(0, "tanada", workload.name), 1, "{}", workload.name);
        }
        for floor in floor::MEMORY.iter().chain(&[floor::DEVICE, floor::DEVICE_READ]) {
            assert_eq!(count(2, floor::NAME, floor), 1, "{floor}");
        }
        for name in ["queue", "window", "deadprefix", "readloaded6m"] {
            assert_eq!(count(2, "tanada", name), 1, "{name}");
        }
    }

    #[test]
    fn what_is_there_is_not_measured_again_but_for_want_of_a_cgroup() {
        let path = std::env::temp_dir().join(format!("tanada-bench-rows-{}", std::process::id()));
        let row = |workload: &str, note: &str| Row {
            engine: "tanada".into(),
            workload: workload.into(),
            notes: vec![note.into()],
            ..Row::default()
        };
        let lacking = format!("{}no root", workloads::NO_CGROUP);
        let lines = [row("readloaded6m", "settings"), row("readzipf6m", &lacking)];
        let lines: Vec<String> = lines.iter().map(Row::to_json).collect();
        std::fs::write(&path, lines.join("\n")).expect("a temporary file");
        let planned = planned(&done(&path).expect("own lines"));
        let again = |name| planned.contains(&(0, "tanada".to_owned(), name));
        assert!(!again("readloaded6m") && again("readzipf6m") && again("readrandom6m"));
        std::fs::remove_file(path).expect("own file");
    }
}
