//! The judge: the same workloads on Tanada and on its peers.
//!
//! `peers [--pairs N] [--rounds R] [--memory MIB]`: fill in random order and
//! cached reads, each engine in a process of its own, rounds interleaved,
//! medians printed. `large [--pairs N] [--memory MIB]`: Tanada alone, with the
//! figures that an operator wants: rate, memory, longest write, amplification,
//! space, reopening after a kill, full scan.

mod data;
mod engines;
mod large;

use engines::Outcome;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// What the command line asks for.
pub struct Args {
    pairs: u64,
    rounds: usize,
    memory: u64,
    dir: PathBuf,
}

fn main() -> Outcome<()> {
    let mut words = std::env::args().skip(1);
    let verb = words.next().unwrap_or_default();
    let mut engine = String::new();
    let mut args = Args {
        pairs: if verb == "large" { 10_000_000 } else { 2_000_000 },
        rounds: 3,
        memory: if verb == "large" { 256 << 20 } else { 1 << 30 },
        dir: std::env::temp_dir().join("tanada-bench"),
    };
    while let Some(flag) = words.next() {
        let value = words.next().ok_or(format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--pairs" => args.pairs = value.parse()?,
            "--rounds" => args.rounds = value.parse()?,
            "--memory" => args.memory = value.parse::<u64>()? << 20,
            "--dir" => args.dir = value.into(),
            "--engine" => engine = value,
            other => return Err(format!("unknown flag {other}").into()),
        }
    }
    match verb.as_str() {
        "peers" => peers(&args),
        "one" => one(&engine, &args),
        "large" => large::run(&args),
        "large-child" => large::child(&args),
        _ => Err("say `peers` or `large`; see the top of src/main.rs".into()),
    }
}

/// All engines, round by round, and the medians.
fn peers(args: &Args) -> Outcome<()> {
    let mut rates: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    let mut extras: BTreeMap<(String, String), String> = BTreeMap::new();
    for round in 0..args.rounds {
        // Another engine goes first in each round.
        for i in 0..engines::NAMES.len() {
            let name = engines::NAMES[(i + round) % engines::NAMES.len()];
            let output = Command::new(std::env::current_exe()?)
                .args(["one", "--engine", name])
                .args(["--pairs", &args.pairs.to_string()])
                .args(["--memory", &(args.memory >> 20).to_string()])
                .args(["--dir".as_ref(), args.dir.as_os_str()])
                .output()?;
            if !output.status.success() {
                return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into());
            }
            for line in String::from_utf8(output.stdout)?.lines() {
                eprintln!("round {round} {name:8} {line}");
                let mut words = line.split_whitespace();
                if let (Some(workload), Some(Ok(rate))) =
                    (words.next(), words.next().map(str::parse::<f64>))
                {
                    let at = (workload.to_owned(), name.to_owned());
                    rates.entry(at.clone()).or_default().push(rate);
                    extras.insert(at, words.collect::<Vec<_>>().join(" "));
                }
            }
        }
    }
    println!("{} pairs of 16 B + 100 B, {} rounds, medians", args.pairs, args.rounds);
    println!("| workload | engine | ops/s (min..max) | last round |\n|---|---|---|---|");
    for ((workload, name), mut all) in rates {
        all.sort_by(f64::total_cmp);
        let (low, mid, high) = (all[0], all[all.len() / 2], all[all.len() - 1]);
        let extra = &extras[&(workload.clone(), name.clone())];
        println!("| {workload} | {name} | {mid:.0} ({low:.0}..{high:.0}) | {extra} |");
    }
    Ok(())
}

/// One engine's turn.
fn one(name: &str, args: &Args) -> Outcome<()> {
    let dir = args.dir.join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&args.dir)?;
    let engine = engines::open(name, &dir, args.memory)?;
    let n = args.pairs;

    let mut value = [0; 100];
    report("fillrandom", n, |i| {
        data::fill_value(i, &mut value);
        engine.put(&data::key(i), &value)
    })?;
    engine.settle()?;
    // Once over everything, so that all is in the cache.
    let mut found = 0;
    let read = |i: u64, found: &mut u64| {
        engine.get(&data::key(i), &mut |value| {
            data::check_value(i, value);
            *found += 1;
        })
    };
    for i in 0..n {
        read(i, &mut found)?;
    }
    assert_eq!(found, n, "{name} lost something");
    report("readrandom", n, |i| read(data::mix(i) % n, &mut found))?;
    assert_eq!(found, 2 * n, "{name} lost something");
    report("readmissing", n, |i| read(n + i, &mut found))?;
    assert_eq!(found, 2 * n, "{name} made something up");
    let (started, mut count) = (Instant::now(), 0);
    engine.scan(&mut |_, _| count += 1)?;
    assert_eq!(count, n, "{name} lost something");
    println!("readseq {:.0}", n as f64 / started.elapsed().as_secs_f64());
    println!("settings: {}", engine.describe());
    drop(engine);
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Times `n` operations one by one.
pub fn report(
    workload: &str,
    n: u64,
    mut operation: impl FnMut(u64) -> Outcome<()>,
) -> Outcome<Histogram<u64>> {
    let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3)?;
    let started = Instant::now();
    let mut last = started;
    for i in 0..n {
        operation(i)?;
        let now = Instant::now();
        times.saturating_record((now - last).as_nanos() as u64);
        last = now;
    }
    let rate = n as f64 / started.elapsed().as_secs_f64();
    println!(
        "{workload} {rate:.0} p50 {:.1} µs, p99 {:.1} µs, p99.9 {:.1} µs, max {:.1} ms",
        times.value_at_quantile(0.5) as f64 / 1e3,
        times.value_at_quantile(0.99) as f64 / 1e3,
        times.value_at_quantile(0.999) as f64 / 1e3,
        times.max() as f64 / 1e6,
    );
    Ok(times)
}
