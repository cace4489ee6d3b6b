//! Many pairs under a small budget, Tanada alone.
//!
//! A child process fills and is killed with SIGKILL; this one opens what it
//! left, checks it and scans it.

use crate::engines::{Engine, Outcome, Tanada};
use crate::{Args, data, report};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The whole measurement.
pub fn run(args: &Args) -> Outcome<()> {
    let dir = args.dir.join("large");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&args.dir)?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["large-child", "--pairs", &args.pairs.to_string()])
        .args(["--memory", &(args.memory >> 20).to_string()])
        .args(["--dir".as_ref(), args.dir.as_os_str()])
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().expect("piped");
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if line == "done" {
            break;
        }
        println!("{line}");
    }
    child.kill()?;
    child.wait()?;

    let raw = args.pairs * 116;
    println!("space on disk: {} MiB of {} MiB raw", size(&dir)? >> 20, raw >> 20);
    let started = Instant::now();
    let engine = Tanada::open(&dir, args.memory)?;
    println!("reopened after a kill in {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
    let (started, mut count) = (Instant::now(), 0);
    engine.scan(&mut |key, value| {
        let n = u64::from_be_bytes(key[8..].try_into().expect("8 of 16 bytes"));
        data::check_value(n, value);
        count += 1;
    })?;
    assert_eq!(count, args.pairs, "something was lost");
    println!("full scan of {count} in {:.2} s", started.elapsed().as_secs_f64());
    println!("{}", engine.describe());
    println!("peak memory of the reader: {} MiB", peak_mib()?);
    Ok(())
}

/// Fills, prints, waits to be killed.
pub fn child(args: &Args) -> Outcome<()> {
    let engine = Tanada::open(&args.dir.join("large"), args.memory)?;
    let mut value = [0; 100];
    report("fillrandom", args.pairs, |i| {
        data::fill_value(i, &mut value);
        engine.put(&data::key(i), &value)
    })?;
    println!("{}", engine.describe());
    println!("peak memory of the writer: {} MiB", peak_mib()?);
    println!("done");
    loop {
        std::thread::park();
    }
}

fn size(dir: &Path) -> Outcome<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        bytes += entry?.metadata()?.blocks() * 512;
    }
    Ok(bytes)
}

/// The largest resident size of this process, from the kernel.
fn peak_mib() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|l| l.starts_with("VmHWM")).ok_or("no VmHWM")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kib >> 10)
}
