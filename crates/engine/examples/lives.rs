//! Short lives of a database, and the opening of a long log, measured on this machine.
//!
//! `cargo run --release -p tanada --example lives [LIVES] [LOG_MIB]`
//!
//! For each order of lives it prints what they left (bytes and files in the directory)
//! and how long the last openings took; then what a process with little memory takes to
//! open the log that one with much memory has left. The first lives are those of one
//! process, one behind the other; then each is a process of its own.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;
use tanada::{Batch, Db, Durability};

type Failure = Box<dyn std::error::Error>;

const LITTLE: u64 = 16 << 20;
const MUCH: u64 = 2 << 30;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args[..] {
        ["life", order, dir, number] => life(order, dir, number),
        ["loop", dir, lives] => in_one_process(dir, lives),
        ["fill", dir, mib] => fill(dir, mib),
        _ => measure(args.first().unwrap_or(&"1000"), args.get(1).unwrap_or(&"366")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn measure(lives: &str, mib: &str) -> Result<(), Failure> {
    let lives: u64 = lives.parse()?;
    println!("{lives} lives each, {} MiB of memory", LITTLE >> 20);
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("db").display().to_string();
    let said = run(&["loop", &path, &lives.to_string()], false)?;
    let (bytes, files) = size(Path::new(&path))?;
    println!(
        "one process {:8.1} MiB in {files:5} files; {}",
        bytes as f64 / f64::from(1 << 20),
        said.trim().replace('\n', ", ")
    );
    for order in ["put+drop", "put+kill", "read+drop", "read+kill"] {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("db").display().to_string();
        let mut last = Vec::new();
        for number in 0..lives {
            let said = run(&["life", order, &path, &number.to_string()], order.contains("kill"))?;
            if number + 20 >= lives {
                last.push(said);
            }
        }
        let figures = |word: &str| -> Vec<f64> {
            let of = |said: &String| said.lines().find_map(|l| l.strip_prefix(word)?.parse().ok());
            last.iter().filter_map(of).collect()
        };
        let median = |mut of: Vec<f64>| {
            of.sort_by(f64::total_cmp);
            of.get(of.len() / 2).copied().unwrap_or_default()
        };
        let most = figures("open_ms ").into_iter().fold(0.0, f64::max);
        let (bytes, files) = size(Path::new(&path))?;
        println!(
            "{order:10} {:8.1} MiB in {files:5} files; opening {:6.1} ms median, {most:6.1} most; RSS {:5.1} MiB",
            bytes as f64 / f64::from(1 << 20),
            median(figures("open_ms ")),
            median(figures("rss_mib ")),
        );
    }
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("db").display().to_string();
    run(&["fill", &path, mib], true)?;
    let (bytes, files) = size(Path::new(&path))?;
    println!("a log of {} MiB in {files} files, opened with {} MiB", bytes >> 20, LITTLE >> 20);
    for opening in ["first", "second"] {
        let said = run(&["life", "read+drop", &path, "0"], false)?;
        println!("{opening}: {}", said.trim().replace('\n', ", "));
    }
    Ok(())
}

/// Runs this program in a process of its own; answers what it prints.
fn run(args: &[&str], aborts: bool) -> Result<String, Failure> {
    let ran = Command::new(std::env::current_exe()?).args(args).output()?;
    if !ran.status.success() && !aborts {
        return Err(String::from_utf8_lossy(&ran.stderr).into_owned().into());
    }
    Ok(String::from_utf8(ran.stdout)?)
}

fn life(order: &str, dir: &str, number: &str) -> Result<(), Failure> {
    let started = Instant::now();
    let db = Db::builder(dir).memory(LITTLE).durability(Durability::Buffered).open()?;
    println!("open_ms {:.2}", started.elapsed().as_secs_f64() * 1e3);
    match order.starts_with("put") {
        true => drop(db.put(number, "value")?),
        false => drop(db.get(number)?),
    }
    println!("rss_mib {:.1}", peak_mib()?);
    if order.ends_with("kill") {
        std::process::abort();
    }
    Ok(())
}

fn in_one_process(dir: &str, lives: &str) -> Result<(), Failure> {
    let mut last = 0.0;
    for number in 0..lives.parse::<u64>()? {
        let started = Instant::now();
        let db = Db::builder(dir).memory(LITTLE).durability(Durability::Buffered).open()?;
        last = started.elapsed().as_secs_f64() * 1e3;
        db.put(number.to_be_bytes(), "12345")?;
    }
    println!("open_ms {last:.2}\nrss_mib {:.1}", peak_mib()?);
    Ok(())
}

/// A log of so many MiB that no table has taken anything from.
fn fill(dir: &str, mib: &str) -> Result<(), Failure> {
    let db = Db::builder(dir).memory(MUCH).durability(Durability::Buffered).open()?;
    let (wanted, mut written) = (mib.parse::<u64>()? << 20, 0u64);
    let mut batch = Batch::new();
    for number in 0u64.. {
        let key = number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        batch.put(key, [number as u8; 100]);
        if batch.size_bytes() > 32 << 20 {
            // Faster than any flush, so that most of it is in the log alone at the end.
            written += batch.size_bytes() as u64;
            db.write(std::mem::take(&mut batch))?;
            if written >= wanted {
                break;
            }
        }
    }
    std::process::abort()
}

fn peak_mib() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = peak.and_then(|p| p.split_whitespace().next()).unwrap_or("0").parse()?;
    Ok(kib / 1024.0)
}

fn size(dir: &Path) -> Result<(u64, u64), Failure> {
    let mut sum = (0, 0);
    for entry in std::fs::read_dir(dir)? {
        sum = (sum.0 + entry?.metadata()?.len(), sum.1 + 1);
    }
    Ok(sum)
}
