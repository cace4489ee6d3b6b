//! Runs lives: `tanada-differential FIRST END STRIDE [DIR]`, for `cargo xtask differential`.
//!
//! Prints `done SEEDS CALLS` now and then, and at its end.

use std::path::PathBuf;
use std::process::ExitCode;
use tanada_differential::life::Life;

/// A line after so many lives.
const REPORT_EVERY: u64 = 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u64> = arguments.iter().take(3).filter_map(|n| n.parse().ok()).collect();
    let ([first, end, stride], true) = (&numbers[..], arguments.len() <= 4) else {
        eprintln!("error: wants FIRST END STRIDE [DIR]; `cargo xtask differential` gives them");
        return ExitCode::from(2);
    };
    let place = arguments.get(3).map(PathBuf::from);
    let (mut seeds, mut calls) = (0, 0);
    for seed in (*first..*end).step_by((*stride).max(1) as usize) {
        match Life::of_seed(seed).check(place.as_deref()) {
            Ok(count) => calls += count,
            Err(difference) => {
                eprintln!("{difference}");
                return ExitCode::FAILURE;
            }
        }
        seeds += 1;
        if seeds % REPORT_EVERY == 0 {
            println!("done {seeds} {calls}");
        }
    }
    println!("done {seeds} {calls}");
    ExitCode::SUCCESS
}
