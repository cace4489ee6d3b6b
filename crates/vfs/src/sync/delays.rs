//! Orders in which some threads are held up at some point for a while, for shuttle.
//!
//! A race shows where one thread stops between two of its steps and others get far. Where
//! threads take thousands of steps, an order drawn step by step lets none of them get
//! far, and few changes of priority (PCT) seldom fall on the right step of the thread that
//! takes few of them. So here a thread is held up by a count of its own steps, however
//! many the others take, or at places in the source, however seldom they are passed; for
//! some steps of the others, or for nearly all.

use super::sites;
use shuttle::scheduler::{DataSource, RandomDataSource, Schedule, Scheduler, Task, TaskId};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::Location;

/// How the next thread is chosen among those that are not held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// Any; now and then the present one goes on for a while.
    Chance,
    /// That of the highest priority, which is drawn at its beginning.
    Priority,
}

/// Where threads are held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// Anywhere: at one in so many of a thread's steps.
    Steps,
    /// At some places in the source, drawn for each order: one in so many.
    Sites,
}

/// A thread is held up at one in so many of its steps: drawn for each.
const ONE_IN: [u64; 5] = [50, 150, 500, 1_500, 5_000];
/// Most delays of one order by steps.
const MOST_DELAYS: u64 = 8;
/// One in so many places is drawn.
const SITES_ONE_IN: [u64; 3] = [20, 60, 180];
/// Delays of one order at one place.
const DELAYS_A_SITE: u32 = 2;
/// A delay takes from 2^3 to 2^14 steps of others.
const LENGTHS: (u64, u64) = (3, 14);
/// Of 16 steps so many are the present thread's before chance has a say.
const STAYS: [u64; 4] = [0, 0, 8, 14];

/// The scheduler.
#[derive(Debug)]
pub(super) struct Delays {
    base: Base,
    places: Where,
    orders: usize,
    dice: u64,
    data: RandomDataSource,
    /// Steps of this order so far.
    step: u64,
    stays: u64,
    delays_left: u64,
    sites_one_in: u64,
    /// By their numbers.
    threads: Vec<Thread>,
    /// The places that have been passed, by their addresses.
    sites: HashMap<usize, Site>,
    /// Lower than all priorities given so far.
    lowest: i64,
}

#[derive(Clone, Copy, Debug)]
struct Thread {
    priority: i64,
    one_in: u64,
    /// It is not chosen before this step, unless nobody else can be.
    held_up_to: u64,
}

/// A place in the source.
#[derive(Clone, Copy, Debug)]
struct Site {
    /// The same in each build.
    hash: u64,
    /// Of this order.
    delays: u32,
}

impl Delays {
    /// So many orders.
    pub(super) fn new(base: Base, places: Where, seed: u64, orders: usize) -> Delays {
        let mut hasher = DefaultHasher::new();
        (seed, base as u8, places as u8).hash(&mut hasher);
        let seed = hasher.finish();
        Delays {
            base,
            places,
            orders,
            dice: seed,
            data: RandomDataSource::initialize(seed),
            step: 0,
            stays: 0,
            delays_left: 0,
            sites_one_in: 1,
            threads: Vec::new(),
            sites: HashMap::new(),
            lowest: 0,
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        below(self.dice, n)
    }

    fn pick(&mut self, of: &[u64]) -> u64 {
        of[self.below(of.len() as u64) as usize]
    }

    fn thread(&mut self, id: TaskId) -> &mut Thread {
        let number = usize::from(id);
        while self.threads.len() <= number {
            let priority = self.below(1 << 32) as i64;
            let one_in = self.pick(&ONE_IN);
            self.threads.push(Thread { priority, one_in, held_up_to: 0 });
        }
        &mut self.threads[number]
    }

    /// Whether the thread that is about to go on is held up instead.
    fn is_held_up(&mut self, id: TaskId, at: Option<&'static Location<'static>>) -> bool {
        match self.places {
            Where::Steps => {
                let one_in = self.thread(id).one_in;
                let held = self.delays_left > 0 && self.below(one_in) == 0;
                self.delays_left -= u64::from(held);
                held
            }
            Where::Sites => {
                let Some(at) = at else { return false };
                let (salt, one_in) = (self.stays ^ self.delays_left << 8, self.sites_one_in);
                let site = self.sites.entry(std::ptr::from_ref(at).addr()).or_insert_with(|| {
                    let mut hasher = DefaultHasher::new();
                    (at.file(), at.line(), at.column()).hash(&mut hasher);
                    Site { hash: hasher.finish(), delays: 0 }
                });
                if below(site.hash ^ salt, one_in) != 0 || site.delays == DELAYS_A_SITE {
                    return false;
                }
                site.delays += 1;
                // Not always at the first passing.
                self.below(2) == 0
            }
        }
    }
}

/// A number that looks random below `n`, which follows from another.
fn below(of: u64, n: u64) -> u64 {
    let z = (of ^ (of >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((u128::from(z ^ (z >> 31)) * u128::from(n)) >> 64) as u64
}

impl Scheduler for Delays {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.orders = self.orders.checked_sub(1)?;
        self.step = 0;
        self.threads.clear();
        self.sites.values_mut().for_each(|site| site.delays = 0);
        self.lowest = 0;
        self.stays = self.pick(&STAYS);
        self.sites_one_in = self.pick(&SITES_ONE_IN);
        self.delays_left = match self.places {
            Where::Steps => 1 + self.below(MOST_DELAYS),
            // It says which places are drawn.
            Where::Sites => self.below(1 << 50),
        };
        Some(Schedule::new(self.data.reinitialize()))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let at = sites::take();
        if let [only] = runnable {
            return Some(only.id());
        }
        self.step += 1;
        let is_there = |current: &TaskId| runnable.iter().any(|task| task.id() == *current);
        let current = current.filter(is_there);
        if let Some(current) = current {
            if self.is_held_up(current, at) {
                let (shortest, longest) = LENGTHS;
                let length = 1 << (shortest + self.below(longest - shortest + 1));
                self.thread(current).held_up_to = self.step + length;
            }
            if is_yielding {
                self.lowest -= 1;
                self.thread(current).priority = self.lowest;
            }
        }
        let step = self.step;
        let mut free = Vec::with_capacity(runnable.len());
        for task in runnable {
            if self.thread(task.id()).held_up_to <= step {
                free.push(task.id());
            }
        }
        let known = |id: &TaskId| self.threads[usize::from(*id)];
        if free.is_empty() {
            // Whoever would go on first does so now.
            let all = runnable.iter().map(|task| task.id());
            let first = all.min_by_key(|id| known(id).held_up_to)?;
            self.thread(first).held_up_to = 0;
            return Some(first);
        }
        match self.base {
            Base::Priority => free.into_iter().max_by_key(|id| known(id).priority),
            Base::Chance => {
                let goes_on = current.filter(|current| free.contains(current) && !is_yielding);
                if goes_on.is_some() && self.below(16) < self.stays {
                    return goes_on;
                }
                let chosen = self.below(free.len() as u64) as usize;
                Some(free[chosen])
            }
        }
    }

    fn next_u64(&mut self) -> u64 {
        self.data.next_u64()
    }
}
