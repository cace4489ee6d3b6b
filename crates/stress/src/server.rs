//! The server under test: a real process of the real binary.

use crate::client::name_of;
use crate::failure::{Failure, Result};
use crate::shifted_clock::Shift;
use parking_lot::Mutex;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tanada::Durability;
use tanada_vfs::{Env, Priority};

/// A server that has not opened its database after so long hangs.
const PATIENCE_NS: u64 = 120_000_000_000;

/// How often a server that is opening is looked at.
const GLANCE: Duration = Duration::from_micros(200);

/// Of what a server says on standard error so much is kept.
const MAX_SAID_BYTES: usize = 64 << 10;

/// How a server is started. What `tanada serve --help` offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) memory_mib: u64,
    pub(crate) durability: Durability,
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--memory {}MiB --durability {}", self.memory_mib, name_of(self.durability))
    }
}

/// What to start, and how.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) binary: PathBuf,
    pub(crate) data: PathBuf,
    pub(crate) settings: Settings,
    /// Kills it with SIGKILL while it opens, once it has made so many calls
    /// that write: a moment decided by work, not by time.
    pub(crate) kill_after_writes: Option<u64>,
    pub(crate) surroundings: Surroundings,
}

/// What a server finds around it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// Most file descriptors, from its first moment on: the hard limit too, for a server
    /// raises the soft one.
    pub(crate) descriptors: Option<u64>,
    /// Where clients may have checkpoints made.
    pub(crate) checkpoints: Option<PathBuf>,
    /// A wall clock that is set by somebody else than the machine.
    pub(crate) clock: Option<Shift>,
}

/// How a start ended.
pub(crate) enum Started {
    /// It serves.
    Serving(Server),
    /// It was killed while it opened, as asked.
    KilledOpening,
    /// It ended by itself and said why.
    Refused(String),
}

/// A server that serves. Killed when dropped.
pub(crate) struct Server {
    child: Child,
    pid: Pid,
    url: String,
    said: Arc<Mutex<String>>,
}

/// Programs that start the server in our place: it is killed when we are, so
/// that a run that dies leaves no server behind; and its limits are set.
fn command(launch: &Launch) -> Command {
    let mut words: Vec<String> = Vec::new();
    let Surroundings { descriptors, checkpoints, clock } = &launch.surroundings;
    if let Some(descriptors) = descriptors {
        words.extend([
            "prlimit".into(),
            format!("--nofile={descriptors}:{descriptors}"),
            "--".into(),
        ]);
    }
    if dies_with_us() {
        words.extend(["setpriv", "--pdeathsig", "KILL", "--"].map(String::from));
    }
    words.push(launch.binary.display().to_string());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command.args(["serve", "--http", "127.0.0.1:0", "--data"]).arg(&launch.data);
    command.args(["--memory", &format!("{}MiB", launch.settings.memory_mib)]);
    command.args(["--durability", name_of(launch.settings.durability)]);
    if let Some(checkpoints) = checkpoints {
        command.arg("--checkpoint-dir").arg(checkpoints);
    }
    if let Some(clock) = clock {
        clock.shift(&mut command);
    }
    command.env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Whether util-linux's `setpriv` is here. Where it is not (macOS), a run that
/// is killed leaves its server running.
fn dies_with_us() -> bool {
    static HERE: OnceLock<bool> = OnceLock::new();
    *HERE.get_or_init(|| {
        let probe = Command::new("setpriv").args(["--pdeathsig", "KILL", "--", "true"]).output();
        probe.is_ok_and(|output| output.status.success())
    })
}

impl Server {
    /// Starts one and waits until it serves, or ends.
    ///
    /// Call it from the thread that lives as long as the server should: the
    /// system ties the server's life to that.
    ///
    /// # Errors
    /// Broken when it hangs or panics while it opens.
    pub(crate) fn start(env: &Env, launch: &Launch) -> Result<Started> {
        let mut child = command(launch).spawn().map_err(|e| {
            Failure::trouble(format!("cannot start {}: {e}", launch.binary.display()))
        })?;
        let pid = Pid::from_child(&child);
        let said = Arc::new(Mutex::new(String::new()));
        let (lines, heard) = channel();
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        in_background(env, "stdout", move || hear(stdout, &lines))?;
        let keep = Arc::clone(&said);
        in_background(env, "stderr", move || keep_said(stderr, &keep))?;
        let server = Server { child, pid, url: String::new(), said };
        server.wait_until_it_serves(env, launch, &heard)
    }

    fn wait_until_it_serves(
        mut self,
        env: &Env,
        launch: &Launch,
        heard: &Receiver<String>,
    ) -> Result<Started> {
        let began_ns = env.clock.monotonic_ns();
        loop {
            match heard.recv_timeout(GLANCE) {
                Ok(line) => {
                    if let Some(at) = line.find("http://127.0.0.1:") {
                        self.url = line[at..].trim().to_owned();
                        if launch.kill_after_writes.is_some() {
                            // It was faster: killed before anyone asks it anything.
                            self.kill()?;
                            return Ok(Started::KilledOpening);
                        }
                        return Ok(Started::Serving(self));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(writes) = launch.kill_after_writes
                        && writes_of(self.pid) >= writes
                    {
                        self.kill()?;
                        return Ok(Started::KilledOpening);
                    }
                    if env.clock.monotonic_ns() - began_ns > PATIENCE_NS {
                        let said = self.said();
                        return Err(Failure::broken(format!("the server does not open: {said}")));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    return self.refused(env, status);
                }
            }
        }
    }

    /// What it said when it did not start.
    fn refused(&self, env: &Env, status: ExitStatus) -> Result<Started> {
        // Its standard error ends a moment after its standard output.
        for _ in 0..1000 {
            if self.said().contains("error: ") {
                break;
            }
            env.clock.sleep(Duration::from_millis(1));
        }
        let said = self.said();
        if status.code() != Some(1) || said.contains("panicked") || !said.contains("error: ") {
            return Err(Failure::broken(format!(
                "the server ended with {status} instead of an error in words: {said}"
            )));
        }
        Ok(Started::Refused(said.trim().to_owned()))
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A way to kill it from another thread.
    pub(crate) fn killer(&self) -> Killer {
        Killer(self.pid)
    }

    /// Lets it have at most `soft` file descriptors from now on; `None`: as many as it was
    /// started with, which are `all`, or those of this process.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn limit_descriptors(
        pid: Killer,
        soft: Option<u64>,
        all: Option<u64>,
    ) -> Result<()> {
        let maximum = all.or(rustix::process::getrlimit(Resource::Nofile).maximum);
        let limit = Rlimit { current: soft.or(maximum), maximum };
        prlimit(Some(pid.0), Resource::Nofile, limit)
            .map_err(|e| Failure::trouble(format!("prlimit: {e}")))?;
        Ok(())
    }

    /// How many descriptors it has open.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub(crate) fn open_descriptors(env: &Env, pid: Killer) -> Result<u64> {
        let dir = format!("/proc/{}/fd", pid.0.as_raw_nonzero());
        Ok(env.fs.read_dir(Path::new(&dir))?.len() as u64)
    }

    /// What the system says of its memory, in KiB: `VmRSS:` now, `VmHWM:` at most.
    ///
    /// # Errors
    /// Lacking where there is no `/proc`.
    pub(crate) fn resident_kib(&self, field: &str) -> Result<u64> {
        Server::resident_kib_of(self.killer(), field)
    }

    /// The same of a process that another thread watches.
    ///
    /// # Errors
    /// As there; and when it has ended.
    pub(crate) fn resident_kib_of(pid: Killer, field: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", pid.0.as_raw_nonzero());
        let mut text = String::new();
        tanada_vfs::open_input(Path::new(&path))
            .and_then(|mut file| file.read_to_string(&mut text))
            .map_err(|e| Failure::lacking(format!("{path} ({e})")))?;
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
            .ok_or_else(|| Failure::lacking(format!("{field} in {path}")))
    }

    /// SIGKILL, and waits for its end.
    ///
    /// # Errors
    /// Broken when it had ended by itself, or had panicked.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.killer().kill();
        let status = self.child.wait()?;
        let said = self.said();
        if said.contains("panicked") {
            return Err(Failure::broken(format!("the server panicked: {said}")));
        }
        if status.signal() != Some(Signal::KILL.as_raw()) {
            return Err(Failure::broken(format!("the server ended by itself, {status}: {said}")));
        }
        Ok(())
    }

    /// Kills a server whose file system was taken from under it, which may have
    /// ended it already: its log is mapped, and such a page raises SIGBUS.
    ///
    /// # Errors
    /// Broken when it had panicked.
    pub(crate) fn end_in_any_way(&mut self) -> Result<()> {
        self.killer().kill();
        self.child.wait()?;
        let said = self.said();
        match said.contains("panicked") {
            true => Err(Failure::broken(format!("the server panicked: {said}"))),
            false => Ok(()),
        }
    }

    /// SIGTERM, and waits for its end.
    ///
    /// # Errors
    /// Broken when it does not end well.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let _ = kill_process(self.pid, Signal::TERM);
        let status = self.child.wait()?;
        let said = self.said();
        match status.success() && !said.contains("panicked") {
            true => Ok(()),
            false => Err(Failure::broken(format!("the server does not stop, {status}: {said}"))),
        }
    }

    /// What it said on standard error.
    pub(crate) fn said(&self) -> String {
        self.said.lock().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, and has been waited for then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills a server. The process must not have been waited for yet: its number
/// could be another's then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Killer(Pid);

impl Killer {
    /// SIGKILL.
    pub(crate) fn kill(self) {
        // An error would mean that it has ended already; who waits for it hears.
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// Sends all lines until the end; the rest is read when nobody listens any more,
/// for a full pipe would stop the server.
fn hear(stdout: impl Read, lines: &Sender<String>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let _ = lines.send(line);
    }
}

fn keep_said(stderr: impl Read, said: &Mutex<String>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        let mut said = said.lock();
        if said.len() < MAX_SAID_BYTES {
            said.push_str(&line);
            said.push('\n');
        }
    }
}

/// Calls that write, which a process has made so far; 0 where that is not told.
fn writes_of(pid: Pid) -> u64 {
    let path = format!("/proc/{}/io", pid.as_raw_nonzero());
    let mut text = String::new();
    let read = tanada_vfs::open_input(Path::new(&path))
        .and_then(|mut file| file.read_to_string(&mut text));
    let line = read.ok().and_then(|_| text.lines().find_map(|line| line.strip_prefix("syscw: ")));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

fn in_background(env: &Env, name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    // It ends when the server does; nobody needs to wait for it.
    env.threads.spawn(name, Priority::Soon, Box::new(body))?;
    Ok(())
}
