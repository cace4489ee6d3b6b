//! Shuttle's orders: by chance, with few changes of threads, and with threads that are
//! held up; each seed the same ones in every run.

use super::delays::{Base, Delays, Where};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

/// Orders tried of each kind for each seed.
const ORDERS: usize = 20;
/// Changes of threads that [`PctScheduler`] places: of these, one after the other.
const CHANGES: [usize; 4] = [3, 2, 5, 10];
/// The one seed that is tried, instead of all.
const SEED: &str = "TANADA_SHUTTLE_SEED";
/// How many seeds of a test that asks for many.
const SEEDS: &str = "TANADA_SHUTTLE_SEEDS";

/// Runs `body` in 100 orders of its threads for each of `seeds` seeds, and prints how
/// many they were.
///
/// # Panics
/// When `body` panics in one of them, or all its threads wait for each other. The seed
/// is printed.
pub fn explore(name: &str, seeds: u64, body: impl Fn() + Send + Sync + Clone + 'static) {
    let (first, seeds) = number(SEED).map_or((1, seeds), |seed| (seed, 1));
    let mut orders = 0;
    for seed in first..first + seeds {
        let _told = Told { name, seed };
        let changes = CHANGES[(seed - 1) as usize % CHANGES.len()];
        // What holds up at places counts for more: it finds most.
        let delays = |base, places, orders| Box::new(Delays::new(base, places, seed, orders));
        let kinds: [Box<dyn Scheduler + Send>; 6] = [
            Box::new(RandomScheduler::new_from_seed(seed, ORDERS)),
            Box::new(PctScheduler::new_from_seed(seed, changes, ORDERS)),
            delays(Base::Priority, Where::Steps, ORDERS / 2),
            delays(Base::Chance, Where::Steps, ORDERS / 2),
            delays(Base::Priority, Where::Sites, ORDERS),
            delays(Base::Chance, Where::Sites, ORDERS),
        ];
        for kind in kinds {
            orders += Runner::new(kind, config()).run(body.clone());
        }
    }
    println!("shuttle: {name}: {orders} orders of {seeds} seeds");
}

/// How many seeds a test of a whole database is given: `all`, or fewer where somebody
/// waits for it.
pub fn seeds(all: u64) -> u64 {
    number(SEEDS).unwrap_or(all)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("seeds are numbers"))
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 512 << 10;
    config.silence_warnings = true;
    config
}

/// Says which seed it was when a run panics.
struct Told<'n> {
    name: &'n str,
    seed: u64,
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Told { name, seed } = self;
            eprintln!("shuttle: {name} fails with seed {seed}; replay it with");
            eprintln!("    {SEED}={seed} cargo xtask concurrency shuttle {name}");
        }
    }
}
