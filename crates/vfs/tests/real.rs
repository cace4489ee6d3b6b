//! What only a real machine can show: another process, its death, real time.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tanada_vfs::{Env, LockHeld, Priority, input_size, open_input};

/// Set for the child of `a_killed_process_leaves_...`: the directory to work in.
const CHILD_DIR: &str = "TANADA_VFS_TEST_CHILD_DIR";

fn temp_dir(name: &str) -> PathBuf {
    let unique = Env::real().random_u64();
    let dir = std::env::temp_dir().join(format!("tanada-vfs-{name}-{unique:016x}"));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// The child: locks, appends without a sync, says so, and waits to be killed.
fn lock_append_and_wait(dir: &Path) {
    let fs = Env::real().fs;
    let _lock = fs.lock(&dir.join("LOCK")).unwrap();
    let mut log = fs.create_log(&dir.join("1.log"), 4 << 20).unwrap();
    for n in 0..20_000u32 {
        log.append(&[n as u8; 132]).unwrap();
    }
    println!("\nappended");
    std::io::stdin().read_exact(&mut [0]).unwrap_err();
}

#[test]
fn a_killed_process_leaves_every_appended_byte_and_no_lock() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        return lock_append_and_wait(Path::new(&dir));
    }
    let dir = temp_dir("kill");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_process_leaves_every_appended_byte_and_no_lock", "--nocapture"])
        .env(CHILD_DIR, &dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "appended"));

    let fs = Env::real().fs;
    let lock = dir.join("LOCK");
    let error = fs.lock(&lock).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    assert_eq!(LockHeld::of(&error).unwrap().pid, Some(child.id()));
    assert!(error.to_string().contains(&format!("process {}", child.id())), "{error}");

    child.kill().unwrap();
    child.wait().unwrap();
    drop(fs.lock(&lock).unwrap());
    let log = fs.open(&dir.join("1.log")).unwrap();
    let mut bytes = vec![0; log.len() as usize];
    log.read_exact_at(&mut bytes, 0).unwrap();
    for (n, record) in bytes[..20_000 * 132].chunks(132).enumerate() {
        assert!(record.iter().all(|b| *b == n as u8), "record {n}");
    }
    assert!(bytes[20_000 * 132..].iter().all(|b| *b == 0));
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn input_is_read_from_a_file_and_refused_from_a_directory() {
    let dir = temp_dir("input");
    let path = dir.join("in.ndjson");
    std::fs::write(&path, "{}\n{}\n").unwrap();
    let mut text = String::new();
    open_input(&path).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), input_size(&path)), ("{}\n{}\n", Some(6)));
    assert_eq!((input_size(Path::new("-")), input_size(&dir)), (None, None));
    let error = open_input(&dir).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IsADirectory);
    let error = open_input(&dir.join("absent")).map(drop).unwrap_err();
    assert!(error.kind() == ErrorKind::NotFound && error.to_string().contains("absent"), "{error}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_log_that_does_not_fit_on_the_disk_leaves_no_name() {
    let dir = temp_dir("full");
    let path = dir.join("1.log");
    let fs = Env::real().fs;
    let too_much = fs.free_space(&dir).unwrap() + (1 << 50);
    let error = fs.create_log(&path, too_much).map(drop).unwrap_err();
    assert!(error.to_string().contains("1.log"), "{error}");
    assert!(!fs.exists(&path).unwrap());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn threads_clock_and_bits_are_the_machine_s() {
    let env = Env::real();
    assert_ne!(env.random_u64(), env.random_u64());
    assert!(env.threads.parallelism() >= 1);
    let ran = Arc::new(AtomicBool::new(false));
    let body = {
        let ran = ran.clone();
        move || ran.store(std::thread::current().name() == Some("worker"), Ordering::Release)
    };
    env.threads.spawn("worker", Priority::Soon, Box::new(body)).unwrap().unwrap().join().unwrap();
    assert!(ran.load(Ordering::Acquire));
    let panicking =
        env.threads.spawn("doomed", Priority::Later, Box::new(|| panic!("as planned"))).unwrap();
    assert!(panicking.unwrap().join().is_err());
    let before = env.clock.monotonic_ns();
    env.clock.sleep(Duration::from_millis(2));
    assert!(env.clock.monotonic_ns() - before >= 2_000_000);
    let coarse = env.clock.coarse_monotonic_ns();
    assert!(coarse <= env.clock.monotonic_ns(), "behind, never ahead");
    env.clock.sleep(Duration::from_millis(50));
    assert!(env.clock.coarse_monotonic_ns() > coarse, "and it goes on");
    assert!(env.clock.wall_ms() > 1_704_067_200_000, "later than 2024");
}
