//! Every place of the engine that calls the file system, met by every fault that can
//! happen there.
//!
//! Each course is lived once undisturbed: its calls are numbered, and the site of each
//! is found. Then it is lived again, once for each chosen call and each way in which
//! such a call can fail. And it is cut before and after each chosen call, by a power
//! cut and by a kill. Each time the database must come back: it opens, what it holds is
//! a prefix of the commits with all that was acknowledged and whole batches only, it
//! takes writes, and keeps them over another power cut. Of a repair: the source stays
//! as it was, what was saved had been written, and a second repair succeeds.

use crate::call_sites::{Site, Source};
use crate::courses::{self, COURSES, Course, Lived, Repairable, SAVED, Start, check_saved, repair};
use crate::inject::{check_next_life, write_something};
use crate::operation::{Exit, Operation};
use crate::oracle::Oracle;
use crate::runner::Runner;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tanada::{Durability, Error};
use tanada_vfs::MemoryMachine;
use tanada_vfs::fault::{Call, EIO, EMFILE, ENOSPC, Rule};
use tanada_vfs::memory::Dice;

/// Calls of a site that are chosen in the first course that makes one.
const FIRST_CALLS: usize = 3;
/// And so many of the later ones there, drawn from a seed.
const LATER_CALLS: usize = 3;
/// Tries to write, after which a cured database must have taken one.
const MOST_CURES: u32 = 4;

/// Sites that no course reaches, and why that is right.
pub const EXCEPTIONS: [(&str, &str); 4] = [
    (
        "engine/src/tree/manifest/open.rs open len 1",
        "it only asks where the damage lies, for an error that is being answered already",
    ),
    (
        "table/src/read/table/long.rs check_in_pieces read_exact_at 1",
        "of values above 1 MiB, longer than a course's batches may be: the table's own tests fail it",
    ),
    (
        "table/src/read/table/long.rs check_in_pieces read_exact_at 2",
        "of values above 1 MiB, longer than a course's batches may be: the table's own tests fail it",
    ),
    (
        "engine/src/wal/handle.rs sync_up_to sync 1",
        "a planted fault, in builds that ask for it alone",
    ),
];

/// What can happen at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The disk failed.
    Eio,
    /// The disk is full.
    Enospc,
    /// Too many files are open.
    Emfile,
    /// A part is written, then the disk is full.
    ShortWrite,
    /// The power fails, or the process dies, before it.
    CrashBefore,
    /// And after it.
    CrashAfter,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 6] = [
        Fault::Eio,
        Fault::Enospc,
        Fault::Emfile,
        Fault::ShortWrite,
        Fault::CrashBefore,
        Fault::CrashAfter,
    ];

    /// Whether it can happen at this call: `ENOSPC` where something is written,
    /// allocated or named, `EMFILE` where a descriptor is opened, a short write where
    /// bytes are written.
    pub fn applies_to(self, call: &str) -> bool {
        let names = matches!(
            call,
            "create_dir_all" | "create_dir" | "create" | "create_log" | "rename" | "lock"
        );
        match self {
            Fault::Eio | Fault::CrashBefore | Fault::CrashAfter => true,
            Fault::Enospc => names || matches!(call, "append" | "sync" | "sync_dir" | "hard_link"),
            Fault::Emfile => matches!(
                call,
                "create" | "create_log" | "open" | "open_append" | "lock" | "read_dir" | "sync_dir"
            ),
            Fault::ShortWrite => call == "append",
        }
    }

    /// The rule that makes a call fail so; none for a crash.
    fn rule(self) -> Option<Rule> {
        match self {
            Fault::Eio => Some(Rule::fail(EIO)),
            Fault::Enospc => Some(Rule::fail(ENOSPC)),
            Fault::Emfile => Some(Rule::fail(EMFILE)),
            Fault::ShortWrite => Some(Rule::short_write(7, ENOSPC)),
            Fault::CrashBefore | Fault::CrashAfter => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Fault::Eio => "EIO",
            Fault::Enospc => "ENOSPC",
            Fault::Emfile => "EMFILE",
            Fault::ShortWrite => "short write",
            Fault::CrashBefore => "crash before",
            Fault::CrashAfter => "crash after",
        }
    }
}

/// Faults of a kind at a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many were injected.
    pub injected: u64,
    /// After how many of them the database came back as it must.
    pub recovered: u64,
}

/// What was done, and what went wrong.
#[derive(Debug, Default)]
pub struct Report {
    /// Of each site that was reached, by fault.
    pub sites: BTreeMap<Site, [Count; 6]>,
    /// Sites of the source.
    pub known: Vec<Site>,
    /// Calls of all courses.
    pub calls: u64,
    /// Calls from places that are not in the source.
    pub unknown: Vec<String>,
    /// What did not come back, and why.
    pub failures: Vec<String>,
}

/// One fault.
#[derive(Clone, Copy)]
struct Case {
    course: usize,
    call: u64,
    fault: Fault,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.course, self.call, self.fault as usize)
    }
}

/// Lives all courses, with a fault of every kind at every site; or one case alone, given
/// as a failure has named it.
///
/// # Panics
/// When a course fails undisturbed, or a case has no such name.
pub fn sweep(only: Option<&str>) -> Report {
    let source = Arc::new(Source::read());
    let mut report = Report { known: source.sites().cloned().collect(), ..Report::default() };
    report.known.sort_unstable();
    let only = only.map(|name| {
        let numbers: Vec<u64> = name.split(':').filter_map(|part| part.parse().ok()).collect();
        let [course, call, fault] = numbers[..] else { panic!("no case is named {name:?}") };
        Case { course: course as usize, call, fault: Fault::ALL[fault as usize] }
    });
    for (number, course) in COURSES.iter().enumerate() {
        if only.is_some_and(|only| only.course != number) {
            continue;
        }
        let start = (course.start)();
        let calls = calls_of(course, &start, &source, &mut report);
        let mut chosen = match only {
            Some(only) => vec![only.call],
            None => choose(&calls, &report.sites),
        };
        // What a course ends with must be durable if it says so.
        chosen
            .extend(calls.len().checked_sub(1).map(|last| last as u64).filter(|_| only.is_none()));
        chosen.sort_unstable();
        chosen.dedup();
        chosen.retain(|n| calls[*n as usize].1.is_some());
        let wanted = |fault| only.is_none_or(|only| only.fault == fault);
        let mut tally = Tally { number, course, report: &mut report, calls: &calls };
        for &call in &chosen {
            for fault in Fault::ALL.into_iter().filter(|fault| wanted(*fault)) {
                tally.fail(&start, call, fault);
            }
        }
        let crashes = [Fault::CrashBefore, Fault::CrashAfter];
        if crashes.into_iter().any(wanted) {
            let moments = moments_of(course, &start, &chosen);
            for &call in &chosen {
                for (fault, at) in crashes.into_iter().zip([call, call + 1]) {
                    if wanted(fault) {
                        tally.crash(call, fault, &moments[&at]);
                    }
                }
            }
        }
    }
    report
}

type Calls = Vec<(Call, Option<Site>)>;

/// Numbers the calls of a course, each with its site.
fn calls_of(course: &Course, start: &Start, source: &Arc<Source>, report: &mut Report) -> Calls {
    let found = Arc::new(Mutex::new((Calls::new(), Vec::new())));
    let (place, source) = (Arc::clone(&found), Arc::clone(source));
    let lived = course.live(start, false, |runner| {
        courses::arm(runner.faults(), Rule::fail(EIO), move |_, call| {
            let (calls, unknown) = &mut *place.lock();
            let before = calls.last().and_then(|(_, site): &(Call, Option<Site>)| site.as_ref());
            let site = source.caller(call.op, before).map_err(|place| unknown.push(place)).ok();
            calls.push((call.clone(), site));
            false
        });
    });
    lived.runner.faults().clear();
    let (calls, unknown) = std::mem::take(&mut *found.lock());
    report.calls += calls.len() as u64;
    report.unknown.extend(unknown);
    calls
}

/// The first calls of each site, and some later ones; one of those that were met in
/// another course already.
fn choose(calls: &Calls, met: &BTreeMap<Site, [Count; 6]>) -> Vec<u64> {
    let mut by_site: BTreeMap<&Site, Vec<u64>> = BTreeMap::new();
    for (n, (_, site)) in calls.iter().enumerate() {
        if let Some(site) = site {
            by_site.entry(site).or_default().push(n as u64);
        }
    }
    let mut dice = Dice::new(calls.len() as u64);
    let mut chosen = Vec::new();
    for (site, calls) in by_site {
        let first = if met.contains_key(site) { 1 } else { FIRST_CALLS };
        let (first, later) = calls.split_at(first.min(calls.len()));
        chosen.extend(first);
        if !met.contains_key(site) && !later.is_empty() {
            let mut draw = || later[dice.below(later.len() as u64) as usize];
            chosen.extend((0..LATER_CALLS).map(|_| draw()));
        }
    }
    chosen
}

/// What a crash at a moment of a course leaves.
struct Moment {
    cut: MemoryMachine,
    killed: MemoryMachine,
    oracle: Oracle,
}

/// The moments before and behind these calls, of one life.
fn moments_of(course: &Course, start: &Start, chosen: &[u64]) -> BTreeMap<u64, Moment> {
    let wanted = chosen.iter().flat_map(|&n| [n, n + 1]).collect::<BTreeSet<_>>();
    let found = Arc::new(Mutex::new((BTreeMap::new(), 0)));
    let place = Arc::clone(&found);
    let lived = course.live(start, false, |runner| {
        let (machine, oracle) = (runner.machine().clone(), Arc::clone(runner.oracle()));
        courses::arm(runner.faults(), Rule::fail(EIO), move |n, _| {
            let (moments, calls) = &mut *place.lock();
            *calls = n + 1;
            if wanted.contains(&n) {
                let oracle = oracle.try_lock().expect("nobody looks at it during a call");
                moments.insert(n, moment(&machine, &oracle, n));
            }
            false
        });
    });
    let (mut moments, calls) = std::mem::take(&mut *found.lock());
    moments.insert(calls, moment(lived.runner.machine(), &lived.runner.oracle().lock(), calls));
    moments
}

fn moment(machine: &MemoryMachine, oracle: &Oracle, n: u64) -> Moment {
    Moment { cut: machine.crash(n + 1), killed: machine.kill(), oracle: oracle.clone() }
}

/// Counts what was injected into a course, and what came back.
struct Tally<'a> {
    number: usize,
    course: &'a Course,
    report: &'a mut Report,
    calls: &'a Calls,
}

impl Tally<'_> {
    /// Lets the call fail, if it can fail so.
    fn fail(&mut self, start: &Start, call: u64, fault: Fault) {
        let Some(rule) = fault.rule() else { return };
        let (expected, course) = (self.calls[call as usize].0.clone(), self.course);
        self.count(call, fault, || {
            let met = Arc::new(AtomicBool::new(false));
            let note = Arc::clone(&met);
            let lived = course.live(start, true, |runner| {
                courses::arm(runner.faults(), rule, move |n, made| {
                    if n == call {
                        assert_eq!(made, &expected, "the course was another this time");
                        // Relaxed, here and below: there is one thread.
                        note.store(true, Ordering::Relaxed);
                    }
                    n == call
                });
            });
            assert!(met.load(Ordering::Relaxed), "the call was not made again");
            lived.runner.faults().clear();
            match course.source {
                None => come_back(lived.runner, call),
                Some(source) => repair_again(lived, source, call),
            }
        });
    }

    /// Lets the power fail, and the process die, at this moment.
    fn crash(&mut self, call: u64, fault: Fault, moment: &Moment) {
        let course = self.course;
        let whole = course.source == Some(Repairable::Whole);
        let ended = fault == Fault::CrashAfter && call + 1 == self.calls.len() as u64;
        self.count(call, fault, || {
            let Moment { cut, killed, oracle } = moment;
            let exits =
                [(cut, Exit::PowerCut(0), oracle.synced), (killed, Exit::Kill, oracle.buffered)];
            for (machine, exit, floor) in exits {
                // A moment may be looked at twice.
                let mut runner = courses::runner(machine.kill(), oracle.clone());
                if course.source.is_some() {
                    // It may be there or not, but it holds nothing else; when the repair
                    // was over, it is there.
                    let saved = check_saved(runner.machine(), SAVED[0], oracle, ended && whole);
                    assert!(!ended || saved.is_ok(), "what was saved is gone: {saved:?}");
                    repair(&runner, SAVED[1]).expect("nothing fails any more");
                    check_saved(runner.machine(), SAVED[1], oracle, false)
                        .expect("what a repair has saved opens");
                }
                if course.source != Some(Repairable::Damaged) {
                    live_on(&mut runner, exit, floor, call);
                }
            }
        });
    }

    /// Counts a fault, if it can happen at this call.
    fn count(&mut self, call: u64, fault: Fault, run: impl FnOnce()) {
        let Some(site) = &self.calls[call as usize].1 else { return };
        if !fault.applies_to(site.call) {
            return;
        }
        let count = &mut self.report.sites.entry(site.clone()).or_default()[fault as usize];
        count.injected += 1;
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(()) => count.recovered += 1,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
                let case = Case { course: self.number, call, fault };
                self.report.failures.push(format!(
                    "{} at {site}, call {call} of the course {:?}: {text}\n    \
                     replay it with: cargo xtask faults {case}",
                    fault.name(),
                    self.course.name,
                ));
            }
        }
    }
}

/// Opens what a crash has left, writes, and cuts the power again.
fn live_on(runner: &mut Runner, exit: Exit, floor: u64, seed: u64) {
    runner.come_up(exit, floor).expect("it opens after a crash");
    write_something(runner, Durability::Synced).expect("a new process may write");
    runner.reopen(Exit::PowerCut(seed)).expect("it opens after another power cut");
}

/// Nothing fails any more, and time passes: it takes writes again, or says that it must
/// be opened again; then it has all that was acknowledged, and keeps what comes next.
fn come_back(mut runner: Runner, seed: u64) {
    runner.check_everything().expect("reads go on");
    let mut outcome = Ok(());
    for _ in 0..MOST_CURES {
        runner.machine().clock().advance(Duration::from_secs(2));
        // A job that succeeds is what ends a read-only state.
        while runner.db().step() {}
        outcome = runner
            .apply(&Operation::Flush(None))
            .and_then(|()| write_something(&mut runner, Durability::Synced));
        if outcome.is_ok() {
            break;
        }
    }
    match outcome {
        Ok(()) | Err(Error::Poisoned { .. }) => {}
        Err(e) => panic!("nothing fails any more, yet it takes no writes: {e}"),
    }
    check_next_life(&mut runner, seed);
}

/// Looks at what a disturbed repair has left, and repairs again.
fn repair_again(lived: Lived, source: Repairable, seed: u64) {
    let Lived { mut runner, repaired } = lived;
    let oracle = runner.oracle().lock().clone();
    let whole = source == Repairable::Whole;
    match repaired {
        Some(told) => {
            let all = whole && told.lost.is_empty() && told.doubtful == 0;
            check_saved(runner.machine(), SAVED[0], &oracle, all)
                .expect("what a repair has saved opens");
        }
        // It may be there or not, but it holds nothing else.
        None => drop(check_saved(runner.machine(), SAVED[0], &oracle, false)),
    }
    let told = repair(&runner, SAVED[1]).expect("nothing fails any more");
    assert!(!whole || told.lost.is_empty(), "lost of a whole database: {:?}", told.lost);
    check_saved(runner.machine(), SAVED[1], &oracle, whole).expect("what a repair has saved opens");
    if whole {
        let floor = oracle.buffered;
        runner.come_up(Exit::Kill, floor).expect("the source is as it was");
        check_next_life(&mut runner, seed);
    }
}

impl Report {
    /// All that is missing or wrong. Empty: every site has met every fault that can
    /// happen there, and the database has always come back.
    pub fn gaps(&self) -> Vec<String> {
        let mut gaps = self.failures.clone();
        gaps.extend(self.unknown.iter().map(|place| format!("not found in the source: {place}")));
        for site in &self.known {
            let name = site.to_string();
            let excepted = EXCEPTIONS.iter().any(|(exception, _)| *exception == name);
            match (self.sites.get(site), excepted) {
                (None, false) => gaps.push(format!("no course reaches {name}")),
                (Some(_), true) => gaps.push(format!("{name} is reached: it is no exception")),
                (None, true) => {}
                (Some(counts), false) => {
                    let missing = Fault::ALL.into_iter().filter(|fault| {
                        fault.applies_to(site.call) && counts[*fault as usize].injected == 0
                    });
                    gaps.extend(missing.map(|fault| format!("{name} never met {}", fault.name())));
                }
            }
        }
        let known = |name: &str| self.known.iter().any(|site| site.to_string() == name);
        let gone = EXCEPTIONS.iter().filter(|(name, _)| !known(name));
        gaps.extend(gone.map(|(name, _)| format!("there is no {name} to be excepted")));
        gaps
    }

    /// Sums over all sites, by fault.
    pub fn sums(&self) -> [Count; 6] {
        let mut sums = [Count::default(); 6];
        for counts in self.sites.values() {
            for (sum, count) in sums.iter_mut().zip(counts) {
                sum.injected += count.injected;
                sum.recovered += count.recovered;
            }
        }
        sums
    }
}

impl fmt::Display for Report {
    /// The table, as Markdown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row =
            |f: &mut fmt::Formatter<'_>, name: &str, call: Option<&str>, counts: &[Count; 6]| {
                write!(f, "| {name} |")?;
                for (fault, Count { injected, recovered }) in Fault::ALL.into_iter().zip(counts) {
                    match call {
                        Some(call) if !fault.applies_to(call) => write!(f, " – |")?,
                        _ => write!(f, " {injected}/{recovered} |")?,
                    }
                }
                writeln!(f)
            };
        let heads = |f: &mut fmt::Formatter<'_>| {
            let names: Vec<&str> = Fault::ALL.into_iter().map(Fault::name).collect();
            writeln!(f, "| call | {} |", names.join(" | "))?;
            writeln!(f, "|---|{}", "---:|".repeat(names.len()))
        };
        heads(f)?;
        row(f, "all", None, &self.sums())?;
        let mut file = "";
        for (site, counts) in &self.sites {
            if site.file != file {
                file = &site.file;
                writeln!(f, "\n## {file}\n")?;
                heads(f)?;
            }
            let many = self.known.iter().any(|other| {
                (&other.file, &other.function, other.call)
                    == (&site.file, &site.function, site.call)
                    && other.nth > 1
            });
            let nth = if many { format!(" {}", site.nth) } else { String::new() };
            let name = format!("`{}`: {}{nth}", site.function, site.call);
            row(f, &name, Some(site.call), counts)?;
        }
        writeln!(f, "\n## Calls that no run reaches\n")?;
        for (name, why) in EXCEPTIONS {
            writeln!(f, "- `{name}`: {why}")?;
        }
        Ok(())
    }
}
