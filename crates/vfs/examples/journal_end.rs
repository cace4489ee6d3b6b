//! What a file system keeps of synced appends when its journal ends: docs/decisions/0018-journal-asked.md.
//!
//! `cargo run --release -p tanada-vfs --example journal_end -- DIR [ROUNDS]`, as root.
//!
//! Each round makes an ext4 file system in a file below `DIR`, appends to a file on it and
//! syncs: a log in every other round, else one that grows as tables and manifests do, has the kernel find an error in the file system at a random moment, and then reads
//! what was said to be durable. Fails when any of it is gone.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tanada_vfs::Env;

/// Each append fills blocks that nothing has been written to.
const RECORD_BYTES: usize = 256 << 10;
const LOG_BYTES: u64 = 48 << 20;

/// Appends and syncs.
type Append = Box<dyn FnMut(&[u8]) -> std::io::Result<()>>;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn tool(program: &str, words: &[&str]) -> Outcome<String> {
    let output = Command::new(program).args(words).output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// How many records were said to be durable, and how many of these are gone.
fn round(image: &Path, at: &Path, moment: Duration, is_log: bool) -> Outcome<(usize, usize)> {
    let (file, dir) = (image.display().to_string(), at.display().to_string());
    let _ = std::fs::remove_file(image);
    tool("truncate", &["--size", "96M", &file])?;
    tool("mkfs.ext4", &["-q", "-F", &file])?;
    tool("mount", &["-o", "loop,errors=remount-ro", &file, &dir])?;
    let device = tool("findmnt", &["-n", "-o", "SOURCE", &dir])?;
    let name = device.trim().trim_start_matches("/dev/").to_owned();
    let env = Env::real();
    let path = at.join("a.log");
    let mut append: Append = match is_log {
        true => {
            let mut log = env.fs.create_log(&path, LOG_BYTES)?;
            log.sync()?;
            Box::new(move |bytes| log.append(bytes).and_then(|()| log.sync()))
        }
        false => {
            let mut file = env.fs.create(&path)?;
            // Reserved ahead, as a manifest.
            file.reserve(LOG_BYTES)?;
            file.sync()?;
            Box::new(move |bytes| file.append(bytes).and_then(|()| file.sync()))
        }
    };
    env.fs.sync_dir_once(at)?;
    let began = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| -> Outcome<usize> {
        let trigger = scope.spawn(|| {
            while !began.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            std::thread::sleep(moment);
            std::fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "1")
        });
        let mut acknowledged = 0;
        while acknowledged < LOG_BYTES as usize / RECORD_BYTES {
            began.store(true, Ordering::Release);
            let record = vec![acknowledged as u8 + 1; RECORD_BYTES];
            if append(&record).is_err() {
                break;
            }
            acknowledged += 1;
        }
        trigger.join().expect("no panic")?;
        Ok(acknowledged)
    })?;
    drop(append);
    tool("umount", &[&dir])?;
    // What is wrong with it is mended; its exit code says only that something was.
    let _ = Command::new("e2fsck").args(["-f", "-y", &file]).output()?;
    tool("mount", &["-o", "loop", &file, &dir])?;
    let bytes = std::fs::read(&path)?;
    let gone = (0..acknowledged)
        .filter(|&n| {
            let record = bytes.get(n * RECORD_BYTES..(n + 1) * RECORD_BYTES);
            record.is_none_or(|record| record.iter().any(|&b| b != n as u8 + 1))
        })
        .count();
    tool("umount", &[&dir])?;
    Ok((acknowledged, gone))
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let Some(dir) = words.next().map(PathBuf::from) else {
        eprintln!("usage: journal_end DIR [ROUNDS]");
        return ExitCode::FAILURE;
    };
    let rounds: u64 = words.next().and_then(|n| n.parse().ok()).unwrap_or(100);
    let (image, at) = (dir.join("image"), dir.join("mounted"));
    let (mut acknowledged, mut gone, mut broken) = (0, 0, [0, 0]);
    for n in 0..rounds {
        let (moment, is_log) = (Duration::from_micros(n * 7919 % 20_000), n % 2 == 0);
        let made = std::fs::create_dir_all(&at).map_err(Into::into);
        match made.and_then(|()| round(&image, &at, moment, is_log)) {
            Ok((all, lost)) => {
                acknowledged += all;
                gone += lost;
                broken[usize::from(is_log)] += u64::from(lost > 0);
            }
            Err(e) => {
                eprintln!("{e}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{rounds} ends of a journal, {acknowledged} records synced, {gone} of them gone, in {} rounds with a log and {} without",
        broken[1], broken[0]
    );
    if gone == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
