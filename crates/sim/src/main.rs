//! Runs the plans of many seeds, one after the other, and says how far it is:
//! `cargo xtask simulate` starts one such process a core, for a run must be alone in
//! its process to have the same trace each time.
//!
//! Lines on standard output, for who started it: `done SEEDS OPERATIONS CRASHES
//! CUT_CALLS FAULTS STEPS`, sums so far, now and then and at the end. What failed
//! goes to standard error, and the exit code is 1 then; so it is when a part of the engine
//! was at work in hardly any of many runs.
//!
//! `tanada-sim faults` lets every call site meet every fault, for `cargo xtask faults`,
//! and prints the table; with the name of a case it does that one alone.

use std::path::Path;
use std::process::ExitCode;
use tanada_sim::plan::Plan;
use tanada_sim::shrink::check_plan;
use tanada_sim::simulation::{Summary, run};
use tanada_sim::sweep::sweep;
use tanada_vfs::Env;

const HELP: &str = "\
usage: tanada-sim [long] FIRST END STRIDE: seeds FIRST, FIRST + STRIDE, .. below END; long
       lives, of thousands of turns over about a thousand tables
       tanada-sim --bytes FILE: the life that a fuzzer's input describes
       tanada-sim faults [CASE]: every fault at every call to the file system";

/// One run in so many is run twice, to see that it leaves the same trace.
const TWICE_EVERY: u64 = 64;

/// Of so many runs it is asked whether each part of the engine was at work.
const ENOUGH_RUNS: u64 = 500;

/// Seeds between two lines.
const REPORT_EVERY: u64 = 16;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--bytes", file] => return run_bytes(Path::new(file)),
        ["faults"] => return faults(None),
        ["faults", case] => return faults(Some(case)),
        _ => {}
    }
    let is_long = arguments.first().is_some_and(|argument| argument == "long");
    let plan = if is_long { Plan::long_of_seed } else { Plan::of_seed };
    let numbers = &arguments[usize::from(is_long)..];
    let numbers: Result<Vec<u64>, _> = numbers.iter().map(|a| a.parse()).collect();
    let Ok([first, end, stride]) = numbers.as_deref() else {
        eprintln!("{HELP}");
        return ExitCode::from(2);
    };
    let (mut seeds, mut sum) = (0, Summary::default());
    for seed in (*first..*end).step_by((*stride).max(1) as usize) {
        match check_plan(plan(seed)) {
            Ok(summary) => {
                sum = sum.and(&summary);
                if seeds % TWICE_EVERY == 0 && run(&plan(seed)) != summary {
                    eprintln!("seed {seed} left another trace the second time; see both with:");
                    let long = if is_long { " --long" } else { "" };
                    eprintln!("    cargo xtask simulate{long} --seed {seed}");
                    return ExitCode::FAILURE;
                }
            }
            Err(failure) => {
                eprintln!("{failure}");
                return ExitCode::FAILURE;
            }
        }
        seeds += 1;
        if is_long || seeds % REPORT_EVERY == 0 {
            report(seeds, &sum);
        }
    }
    report(seeds, &sum);
    let idle = if is_long || seeds < ENOUGH_RUNS { Vec::new() } else { sum.work.idle() };
    idle.iter().for_each(|part| eprintln!("hardly ever: {part}"));
    if idle.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs what a file of bytes describes; when that fails, makes it short.
fn run_bytes(path: &Path) -> ExitCode {
    let bytes = Env::real().fs.open(path).and_then(|file| {
        let mut bytes = vec![0; file.len() as usize];
        file.read_exact_at(&mut bytes, 0).map(|()| bytes)
    });
    let plan = match bytes {
        Ok(bytes) => Plan::from_bytes(&bytes),
        Err(e) => {
            eprintln!("error: {e}");
            return ExitCode::from(2);
        }
    };
    let turns = plan.turns.len();
    match check_plan(plan) {
        Ok(summary) => {
            println!("{turns} turns kept every promise: {summary:?}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn faults(case: Option<&str>) -> ExitCode {
    let report = sweep(case);
    let gaps = if case.is_some() { report.failures.clone() } else { report.gaps() };
    gaps.iter().for_each(|gap| eprintln!("{gap}"));
    print!("{report}");
    if gaps.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(seeds: u64, sum: &Summary) {
    let Summary { operations, crashes, cut_calls, faults, steps, .. } = sum;
    println!("done {seeds} {operations} {crashes} {cut_calls} {faults} {steps}");
}
