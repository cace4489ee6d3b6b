//! A failing run made as short as it can be: turns are taken out, many at a time
//! first, as long as what is left still fails in the same place.
//!
//! Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002.

use crate::plan::{Plan, Turn};
use crate::simulation::{Summary, run};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// Runs tried before what is left is taken for short.
const MOST_TRIES: u32 = 600;
/// The same of a long run.
const MOST_LONG_TRIES: u32 = 12;

/// A run that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Where it comes from; 0 for bytes.
    pub seed: u64,
    /// What was said.
    pub message: String,
    /// Where: file and line.
    pub place: String,
    /// What is left of its turns.
    pub plan: Plan,
    /// How many there were.
    pub turns_before: usize,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, message, place, plan, turns_before } = self;
        writeln!(f, "seed {seed} failed at {place}: {message}")?;
        match seed {
            0 => writeln!(
                f,
                "drawn from bytes; replay them from a file with:\n    \
                 cargo xtask simulate --bytes FILE"
            )?,
            _ => {
                let long = if plan.is_long { " --long" } else { "" };
                writeln!(f, "replay it with:\n    cargo xtask simulate{long} --seed {seed}")?;
            }
        }
        writeln!(f, "of {turns_before} turns these suffice, with {:?}", plan.settings)?;
        writeln!(f, "and {:?}:", plan.tuning)?;
        for (n, turn) in plan.turns.iter().enumerate() {
            writeln!(f, "  {n:3}. {turn:?}")?;
        }
        Ok(())
    }
}

/// Runs the plan of `seed`. When it fails, shortens it.
///
/// # Errors
/// What failed, and the shortest list that still does.
pub fn check(seed: u64) -> Result<Summary, Box<Failure>> {
    check_plan(Plan::of_seed(seed))
}

/// As [`check`], of any plan.
///
/// # Errors
/// As [`check`].
pub fn check_plan(plan: Plan) -> Result<Summary, Box<Failure>> {
    attempt(|| run(&plan)).map_err(|panic| Box::new(shrink(plan, panic, run)))
}

/// A panic that was caught.
#[derive(Clone, Debug)]
pub struct Caught {
    /// What it said.
    pub message: String,
    /// Where: file and line.
    pub place: String,
}

thread_local! {
    /// Whether this thread's panics are expected, and kept instead of printed.
    static LISTENS: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: RefCell<Option<Caught>> = const { RefCell::new(None) };
}

/// Keeps the panics of threads that listen; others are printed as ever.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = take_hook();
        set_hook(Box::new(move |info| {
            if !LISTENS.get() {
                return print(info);
            }
            let payload = info.payload();
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
            let message = text.unwrap_or("no text").to_owned();
            let place = info.location().map_or("nowhere".to_owned(), |l| l.to_string());
            // The first one: what unwinding meets is not the cause.
            CAUGHT.with_borrow_mut(|caught| {
                caught.get_or_insert(Caught { message, place });
            });
        }));
    });
}

/// Runs `run`, which shares nothing with the next run but what it is told to do.
///
/// # Errors
/// Its first panic, which is not printed.
///
/// # Panics
/// When it panics on another thread than this one, and lets that unwind it.
pub fn attempt<T>(run: impl FnOnce() -> T) -> Result<T, Caught> {
    listen();
    CAUGHT.set(None);
    let before = LISTENS.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    LISTENS.set(before);
    result.map_err(|_| CAUGHT.take().expect("the hook has seen the panic"))
}

fn shrink<T>(plan: Plan, panic: Caught, run: impl Fn(&Plan) -> T) -> Failure {
    let turns_before = plan.turns.len();
    let fails = |turns: &[Turn]| {
        let shorter = Plan { turns: turns.to_vec(), ..plan.clone() };
        attempt(|| run(&shorter)).is_err_and(|caught| caught.place == panic.place)
    };
    let tries = if plan.is_long { MOST_LONG_TRIES } else { MOST_TRIES };
    let turns = shorten_within(tries, plan.turns.clone(), fails);
    let plan = Plan { turns, ..plan };
    Failure { seed: plan.seed, message: panic.message, place: panic.place, plan, turns_before }
}

/// Takes out what can be spared of a list that fails, as long as what is left still does;
/// answers that. Asks at most six hundred times.
pub fn shorten<T: Clone>(items: Vec<T>, fails: impl Fn(&[T]) -> bool) -> Vec<T> {
    shorten_within(MOST_TRIES, items, fails)
}

fn shorten_within<T: Clone>(tries: u32, mut items: Vec<T>, fails: impl Fn(&[T]) -> bool) -> Vec<T> {
    let mut chunk = items.len().div_ceil(2);
    let mut left = tries;
    while chunk > 0 && left > 0 {
        let (mut start, mut shorter) = (0, false);
        while start < items.len() && left > 0 {
            left -= 1;
            let end = (start + chunk).min(items.len());
            let without = [&items[..start], &items[end..]].concat();
            if fails(&without) {
                (items, shorter) = (without, true);
            } else {
                start = end;
            }
        }
        // Single ones are tried until none can be spared.
        if chunk > 1 || !shorter {
            chunk /= 2;
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Event;

    /// Fails when a write comes after work in the background, whatever lies between.
    fn fussy(plan: &Plan) {
        let mut worked = false;
        for turn in &plan.turns {
            match turn.event {
                Event::Work(_) => worked = true,
                Event::CutAt(..) => assert!(!worked, "cut behind work"),
                _ => {}
            }
        }
    }

    #[test]
    fn what_is_left_is_what_the_failure_needs() {
        let plan = (1..).map(Plan::of_seed).find(|plan| attempt(|| fussy(plan)).is_err());
        let plan = plan.expect("there are infinitely many");
        let caught = attempt(|| fussy(&plan)).unwrap_err();
        let failure = shrink(plan, caught, fussy);
        let events: Vec<_> = failure.plan.turns.iter().map(|turn| &turn.event).collect();
        assert!(matches!(events[..], [Event::Work(_), Event::CutAt(..)]), "{failure}");
        assert!(failure.turns_before > 2);
        assert!(failure.message.contains("cut behind work"), "{failure}");
        assert!(failure.to_string().contains("cargo xtask simulate --seed"), "{failure}");
    }
}
