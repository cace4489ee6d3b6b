//! Forking in tests: a process of the test's own, and a child that says how it went.
#![allow(unsafe_code, clippy::unwrap_used, dead_code)]

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::process::{Command, Stdio};

/// Set in the process of a test's own.
const ALONE: &str = "TANADA_TEST_ALONE";

/// A command that runs the test `name` of this program, and only that, in a process of
/// its own, where [`is_alone`] is true.
pub(crate) fn alone(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command.env(ALONE, "yes").stdin(Stdio::null());
    command
}

/// Whether this is a process of the test's own.
pub(crate) fn is_alone() -> bool {
    std::env::var_os(ALONE).is_some()
}

/// Runs the test `name` in a process of its own, unless this is that process: there it
/// answers false, and the test goes on. A fork copies the thread that forks and none
/// other, so it wants a process without other tests.
pub(crate) fn ran_alone(name: &str) -> bool {
    if is_alone() {
        return false;
    }
    let output = alone(name).output().unwrap();
    let (told, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{told}\n{errors}", output.status);
    assert!(told.contains("1 passed"), "no test is called {name}: {told}");
    true
}

/// Which side of a fork this is.
pub(crate) enum Side {
    /// The child. It must end by [`Teller::exit`].
    Child(Teller),
    Parent(Child),
}

/// What a child may take before it is ended: a bound on a test that hangs, many times
/// what one needs.
const LONGEST_SECONDS: u32 = 30;

/// Forks.
pub(crate) fn fork() -> Side {
    let (ear, mouth) = std::io::pipe().unwrap();
    // SAFETY: the child uses what this test has made before, memory and the kernel; no
    // other thread of this process is in the middle of anything that it needs.
    match unsafe { libc::fork() } {
        -1 => panic!("cannot fork: {}", std::io::Error::last_os_error()),
        0 => {
            // SAFETY: ends the child, should it wait for ever: a lock that a thread of its
            // parent's held at the fork is never let go of here.
            unsafe { libc::alarm(LONGEST_SECONDS) };
            Side::Child(Teller(mouth))
        }
        pid => Side::Parent(Child { pid, ear }),
    }
}

/// Runs in a child what needs nothing of the parent's but what it borrows, and answers
/// what it told. Whatever it made itself it drops.
pub(crate) fn in_a_child(body: impl FnOnce() -> String) -> String {
    match fork() {
        Side::Child(teller) => {
            let told = body();
            teller.exit(&told)
        }
        Side::Parent(child) => {
            std::mem::forget(body);
            child.told()
        }
    }
}

/// How a child tells its parent something.
pub(crate) struct Teller(PipeWriter);

impl Teller {
    /// Tells it now.
    pub(crate) fn tell(&mut self, what: &str) {
        self.0.write_all(what.as_bytes()).unwrap();
    }

    /// Tells it and ends the child, without destructors.
    pub(crate) fn exit(mut self, what: &str) -> ! {
        self.tell(what);
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        // A panic on its way: the test's harness must not go on in the child.
        let _ = self.0.write_all(b" and panicked");
        // SAFETY: ends the process.
        unsafe { libc::_exit(101) }
    }
}

/// A child that is running.
pub(crate) struct Child {
    pid: libc::pid_t,
    ear: PipeReader,
}

impl Child {
    /// Waits for the next byte that it tells.
    pub(crate) fn wait_for_a_byte(&mut self) -> u8 {
        let mut byte = [0];
        self.ear.read_exact(&mut byte).unwrap();
        byte[0]
    }

    /// Waits until it ends; what it told, and how it ended unless that was well.
    pub(crate) fn told(mut self) -> String {
        let mut told = String::new();
        self.ear.read_to_string(&mut told).unwrap();
        let mut status = 0;
        // SAFETY: a child of ours, waited for once.
        assert_eq!(unsafe { libc::waitpid(self.pid, &mut status, 0) }, self.pid);
        if status != 0 {
            told.push_str(&format!(" (status {status:#x})"));
        }
        told
    }
}
