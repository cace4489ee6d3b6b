//! What a piece of a test takes of its process's memory, measured by the system.
//!
//! The test runs again in a process of its own, for others in the same one take memory too.
#![allow(dead_code)] // each test program uses its part

use std::process::Command;

/// Set in the process that is alone.
const ALONE: &str = "TANADA_ALONE";

/// Runs `body` in a process that runs the test `name` alone. Of its address space, so that
/// memory counts which is asked for and never touched.
///
/// # Panics
/// When that fails, or the address space grows by `bytes` or more meanwhile.
pub(crate) fn grows_by_less_than(bytes: u64, name: &str, body: impl FnOnce()) {
    measured(bytes, name, ["VmSize:", "VmPeak:"], body);
}

/// The same of its resident memory: what has been touched.
///
/// # Panics
/// When that fails, or `bytes` or more are resident besides at any time.
#[allow(clippy::disallowed_methods)] // /proc is no file of ours
pub(crate) fn takes_less_than(bytes: u64, name: &str, body: impl FnOnce()) {
    measured(bytes, name, ["VmRSS:", "VmHWM:"], || {
        // The peak begins anew.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        body();
    });
}

/// Runs the test `name` in a process of its own, unless this is that process: there it
/// answers false, and the test goes on.
///
/// # Panics
/// When it fails there.
pub(crate) fn has_run(name: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return false;
    }
    let program = std::env::current_exe().expect("the test's program");
    let arguments = ["--exact", name, "--nocapture", "--test-threads=1"];
    let ended = Command::new(program)
        .args(arguments)
        .env(ALONE, "1")
        // Or each thread would reserve a heap of its own, used or not.
        .env("MALLOC_ARENA_MAX", "1")
        .output();
    let ended = ended.expect("the test's program runs again");
    let said = String::from_utf8_lossy(&ended.stdout);
    let complained = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}\n{complained}");
    assert!(said.contains("1 passed"), "there is no test {name}: {said}");
    true
}

/// What of this process's memory is resident now, where the system tells it.
pub(crate) fn resident_bytes() -> Option<u64> {
    figure("VmRSS:")
}

fn measured(bytes: u64, name: &str, [now, most]: [&str; 2], body: impl FnOnce()) {
    if has_run(name) {
        return;
    }
    // What buffers take at their first use is no matter of the body's.
    drop(vec![0_u8; 1 << 20]);
    let before = figure(now);
    body();
    let (Some(before), Some(most)) = (before, figure(most)) else { return };
    let grown = most.saturating_sub(before);
    assert!(grown < bytes, "memory grew by {grown} bytes, less than {bytes} are allowed");
}

/// A figure of this process in bytes, where the system tells it.
#[allow(clippy::disallowed_methods)] // /proc is no file of ours
fn figure(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}
