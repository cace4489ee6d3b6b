//! What the end-to-end tests share: the built command, a server of it, and
//! whether this machine may skip what it lacks.
#![allow(dead_code, unused_imports)] // each test program uses its own part

pub(crate) mod pages;
#[path = "../../../vfs/tests/house/skip.rs"]
mod skip;

pub(crate) use skip::skip;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// The `tanada` command under test.
pub(crate) fn tanada() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tanada"));
    command.env("NO_COLOR", "1");
    command
}

/// What a finished command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        Said {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// Its standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// Panics unless it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Said {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// Panics unless it failed with this exit code, began with `error: `, and said all `words`.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) -> Said {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.err.starts_with("error: "), "{self:?}");
        for word in words {
            assert!(self.err.contains(word), "'{word}' is missing: {self:?}");
        }
        assert!(!self.err.contains("panicked"), "{self:?}");
        self
    }
}

/// Runs `tanada ARGS --data DIR`.
pub(crate) fn on_directory(data: &Path, args: &[&str]) -> Said {
    tanada().args(args).arg("--data").arg(data).output().expect("tanada runs").into()
}

/// Runs `tanada ARGS` as given.
pub(crate) fn run(args: &[&str]) -> Said {
    tanada().args(args).output().expect("tanada runs").into()
}

/// Runs `tanada ARGS --data DIR` with this standard input.
pub(crate) fn with_input(data: &Path, args: &[&str], input: &[u8]) -> Said {
    let mut child = tanada()
        .args(args)
        .arg("--data")
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tanada runs");
    let mut stdin = child.stdin.take().expect("piped");
    // A command that refuses its arguments closes its input early: that is its right.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().expect("it ends").into()
}

/// A running `tanada serve`; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
}

impl Server {
    /// Starts a server on a free port and waits until it answers.
    pub(crate) fn start(data: &Path, args: &[&str]) -> Server {
        let mut child = tanada()
            .args(["serve", "--http", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("tanada runs");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let url = loop {
            let line = lines.next().expect("the first screen names the address").expect("text");
            if let Some(at) = line.find("http://127.0.0.1:") {
                break line[at..].trim().to_string();
            }
        };
        // Nobody reads the rest: a full pipe must not stop the server.
        std::thread::spawn(move || lines.for_each(drop));
        let server = Server { child, url };
        let began = Instant::now();
        while !ureq::get(format!("{}/readyz", server.url)).call().is_ok_and(|r| r.status() == 200) {
            assert!(began.elapsed() < PATIENCE, "the server at {} does not answer", server.url);
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs `tanada ARGS --url URL`.
    pub(crate) fn tanada(&self, args: &[&str]) -> Said {
        tanada().args(args).args(["--url", &self.url]).output().expect("tanada runs").into()
    }

    /// Its statistics.
    pub(crate) fn stats(&self) -> serde_json::Value {
        self.tanada(&["stats", "--json"]).ok().json()
    }

    /// Takes its life without a word.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it is our child");
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.signal();
        self.child.wait().expect("it is our child")
    }

    fn signal(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether this process has root's rights.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
