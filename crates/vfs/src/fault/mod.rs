//! A file system that fails when told to, over a real one or one in memory.
//!
//! Two uses. A [`Rule`] makes chosen calls fail with a chosen error. A cut
//! ([`Faults::cut_after`]) lets the first `k` changing calls through and
//! nothing after them: with [`MemoryMachine::crash`] behind it, a test cuts a
//! workload after each of its calls. [`Faults::before_each_change`] gives the
//! same moments in a single run.
//!
//! ```
//! use std::path::Path;
//! use tanada_vfs::fault::{EIO, Faults, Op, Rule};
//! use tanada_vfs::{MemoryMachine, raw_os_error};
//!
//! let machine = MemoryMachine::new(1);
//! let faults = Faults::over_memory(&machine);
//! faults.add(Rule::fail(EIO).on(Op::Sync).path_suffix(".table").nth(2));
//!
//! let fs = faults.env(&machine.env()).fs;
//! let mut file = fs.create(Path::new("/1.table")).unwrap();
//! file.append(b"rows").unwrap();
//! assert!(file.sync().is_ok());
//! assert_eq!(raw_os_error(&file.sync().unwrap_err()), Some(EIO));
//! assert!(file.sync().is_ok(), "as on Linux, the next sync says that all is well");
//! ```

mod rule;
mod files;
mod file_system;

use crate::sync::Mutex;
use crate::{Env, FileSystem, MemoryMachine, PathError};
use rule::Armed;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use rule::{EIO, EMFILE, EMLINK, ENOSPC, EOPNOTSUPP, EPERM, EROFS, EXDEV, Op, Rule};

/// One call to the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub op: Op,
    /// Of which path: for a handle the one it was opened by, for a rename or
    /// link the new name.
    pub path: PathBuf,
    /// Of a read, which bytes are asked for; none for every other call.
    pub bytes: Range<u64>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.op, self.path.display())
    }
}

/// Steers a failing file system. Clones steer the same one.
#[derive(Clone, Debug)]
pub struct Faults {
    shared: Arc<Shared>,
}

type Hook = Arc<dyn Fn(u64, &Call) + Send + Sync>;

struct Shared {
    inner: Arc<dyn FileSystem>,
    /// Told of failed syncs.
    machine: Option<MemoryMachine>,
    /// Never held during a call to `inner` or to the hook.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: Vec<Armed>,
    cut_after: Option<u64>,
    /// All calls so far.
    calls: u64,
    /// Of these, calls that would change something.
    changes: u64,
    recorded: Option<Vec<Call>>,
    hook: Option<Hook>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Faults")
            .field("inner", &self.inner)
            .field("rules", &state.rules)
            .field("cut_after", &state.cut_after)
            .field("calls", &state.calls)
            .field("changes", &state.changes)
            .finish_non_exhaustive()
    }
}

impl Faults {
    /// Over any file system. A sync made to fail is not passed on.
    pub fn over(fs: Arc<dyn FileSystem>) -> Faults {
        Faults::new(fs, None)
    }

    /// Over a machine in memory. A sync made to fail does there what it does
    /// on Linux, see [`MemoryMachine::fail_next_sync`].
    pub fn over_memory(machine: &MemoryMachine) -> Faults {
        Faults::new(machine.env().fs, Some(machine.clone()))
    }

    fn new(inner: Arc<dyn FileSystem>, machine: Option<MemoryMachine>) -> Faults {
        Faults { shared: Arc::new(Shared { inner, machine, state: Mutex::default() }) }
    }

    /// The failing file system.
    pub fn fs(&self) -> Arc<dyn FileSystem> {
        Arc::new(file_system::FaultFileSystem(self.shared.clone()))
    }

    /// `base` with the failing file system in place of its own.
    pub fn env(&self, base: &Env) -> Env {
        Env { fs: self.fs(), ..base.clone() }
    }

    /// Arms a rule. Of several that match a call, the one added first decides;
    /// every matching rule counts the call.
    pub fn add(&self, rule: Rule) {
        self.shared.state.lock().rules.push(Armed::new(rule));
    }

    /// Lets `changes` more changing calls through (see [`Op::changes`]). The
    /// next one fails, as does every call after it, reads too: nothing more is
    /// applied.
    pub fn cut_after(&self, changes: u64) {
        let mut state = self.shared.state.lock();
        state.cut_after = Some(state.changes + changes);
    }

    /// Whether a cut has refused a call.
    pub fn is_cut(&self) -> bool {
        self.shared.is_cut()
    }

    /// Takes all rules and the cut away. Counts, recording and hook stay.
    pub fn clear(&self) {
        let mut state = self.shared.state.lock();
        state.rules.clear();
        state.cut_after = None;
    }

    /// Calls so far, failed ones included.
    pub fn calls(&self) -> u64 {
        self.shared.state.lock().calls
    }

    /// Calls so far that would change something, failed ones included.
    pub fn changes(&self) -> u64 {
        self.shared.state.lock().changes
    }

    /// Records calls from now on. What was recorded so far is dropped.
    pub fn start_recording(&self) {
        self.shared.state.lock().recorded = Some(Vec::new());
    }

    /// The calls since recording began, in order; recording ends.
    pub fn take_recorded(&self) -> Vec<Call> {
        self.shared.state.lock().recorded.take().unwrap_or_default()
    }

    /// Calls `hook` before each changing call, with the number of changing
    /// calls before it. There a test takes `machine.crash(seed)`, and so
    /// meets every moment of a workload in one run of it.
    pub fn before_each_change(&self, hook: impl Fn(u64, &Call) + Send + Sync + 'static) {
        self.shared.state.lock().hook = Some(Arc::new(hook));
    }

    /// Ends [`before_each_change`](Faults::before_each_change).
    pub fn remove_hook(&self) {
        self.shared.state.lock().hook = None;
    }
}

/// What shall happen to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pass,
    /// Not applied; the error of this number.
    Fail(i32),
    /// Of an append, this many bytes are applied, then the error.
    Short {
        bytes: usize,
        errno: i32,
    },
    /// Applied, and an error all the same.
    ApplyAndFail(i32),
}

impl State {
    /// The changing call that a cut refuses has been counted.
    fn is_cut(&self) -> bool {
        self.cut_after.is_some_and(|cut| self.changes > cut)
    }
}

impl Shared {
    fn is_cut(&self) -> bool {
        self.state.lock().is_cut()
    }

    /// Counts a call and decides its fate.
    fn meet(&self, op: Op, path: &Path) -> Fate {
        self.meet_call(&Call { op, path: path.to_path_buf(), bytes: 0..0 })
    }

    fn meet_call(&self, call: &Call) -> Fate {
        let op = call.op;
        let (fate, hook) = {
            let mut state = self.state.lock();
            let changes_before = state.changes;
            state.calls += 1;
            state.changes += u64::from(op.changes());
            if let Some(recorded) = &mut state.recorded {
                recorded.push(call.clone());
            }
            let mut fate = Fate::Pass;
            for rule in &mut state.rules {
                if let (Some(decided), Fate::Pass) = (rule.meet(call), fate) {
                    fate = decided;
                }
            }
            let is_cut = state.is_cut();
            if is_cut {
                fate = Fate::Fail(EIO);
            }
            let hook = state.hook.clone().filter(|_| op.changes() && !is_cut);
            (fate, hook.map(|hook| (hook, changes_before)))
        };
        if let Some((hook, changes_before)) = hook {
            hook(changes_before, call);
        }
        fate
    }

    /// Meets a call that either happens or does not.
    fn run<T>(
        &self,
        op: Op,
        path: &Path,
        apply: impl FnOnce(&dyn FileSystem) -> io::Result<T>,
    ) -> io::Result<T> {
        self.run_call(&Call { op, path: path.to_path_buf(), bytes: 0..0 }, apply)
    }

    /// The same of a read.
    fn run_read(
        &self,
        path: &Path,
        bytes: Range<u64>,
        read: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        self.run_call(&Call { op: Op::Read, path: path.to_path_buf(), bytes }, |_| read())
    }

    fn run_call<T>(
        &self,
        call: &Call,
        apply: impl FnOnce(&dyn FileSystem) -> io::Result<T>,
    ) -> io::Result<T> {
        let Call { op, path, .. } = call;
        match self.meet_call(call) {
            Fate::Pass => apply(&*self.inner),
            Fate::Fail(errno) | Fate::Short { errno, .. } => Err(injected(*op, path, errno)),
            Fate::ApplyAndFail(errno) => {
                apply(&*self.inner)?;
                Err(injected(*op, path, errno))
            }
        }
    }

    /// Meets a sync of a directory. One that finds no descriptor is none.
    fn run_dir_sync(
        &self,
        dir: &Path,
        sync: impl FnOnce(&dyn FileSystem) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.meet(Op::SyncDir, dir) {
            Fate::Pass => sync(&*self.inner),
            Fate::ApplyAndFail(errno) => {
                sync(&*self.inner)?;
                Err(injected(Op::SyncDir, dir, errno))
            }
            Fate::Fail(errno) | Fate::Short { errno, .. } => {
                if let (Some(machine), false) = (&self.machine, self.is_cut() || errno == EMFILE) {
                    // One that is not there has no names either.
                    let _ = machine.fail_dir_sync(dir);
                }
                Err(injected(Op::SyncDir, dir, errno))
            }
        }
    }

    /// Meets a sync of a file or log.
    fn run_sync(
        &self,
        op: Op,
        path: &Path,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        match self.meet(op, path) {
            Fate::Pass => sync(),
            Fate::ApplyAndFail(errno) => {
                sync()?;
                Err(injected(op, path, errno))
            }
            Fate::Fail(errno) | Fate::Short { errno, .. } => {
                if let (Some(machine), false) = (&self.machine, self.is_cut()) {
                    // A file that lost its name since cannot be told; then
                    // its bytes merely stay dirty.
                    if machine.fail_next_sync(path).is_ok() {
                        let outcome = sync();
                        debug_assert!(outcome.is_err(), "the machine was told to fail it");
                    }
                }
                Err(injected(op, path, errno))
            }
        }
    }
}

fn injected(op: Op, path: &Path, errno: i32) -> io::Error {
    PathError::wrap(op.verb(), path, io::Error::from_raw_os_error(errno))
}
