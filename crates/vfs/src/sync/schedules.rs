//! Shuttle's orders: half of them by chance, half with few changes of threads, each
//! seed the same ones in every run.

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

/// Orders tried of each kind for each seed.
const ORDERS: usize = 50;
/// Changes of threads that [`PctScheduler`] places: of these, one after the other.
const CHANGES: [usize; 4] = [3, 2, 5, 10];
/// The one seed that is tried, instead of all.
const SEED: &str = "TANADA_SHUTTLE_SEED";
/// Of how many seeds at most the orders are tried.
const MOST_SEEDS: &str = "TANADA_SHUTTLE_MOST_SEEDS";

/// Runs `body` in 100 orders of its threads for each of `seeds` seeds, and prints how
/// many they were.
///
/// # Panics
/// When `body` panics in one of them, or all its threads wait for each other. The seed
/// is printed.
pub fn explore(name: &str, seeds: u64, body: impl Fn() + Send + Sync + Clone + 'static) {
    let most = number(MOST_SEEDS).unwrap_or(u64::MAX);
    let (first, seeds) = number(SEED).map_or((1, seeds.min(most)), |seed| (seed, 1));
    let mut orders = 0;
    for seed in first..first + seeds {
        let _told = Told { name, seed };
        let random = RandomScheduler::new_from_seed(seed, ORDERS);
        orders += Runner::new(random, config()).run(body.clone());
        let changes = CHANGES[(seed - 1) as usize % CHANGES.len()];
        let few = PctScheduler::new_from_seed(seed, changes, ORDERS);
        orders += Runner::new(few, config()).run(body.clone());
    }
    println!("shuttle: {name}: {orders} orders of {seeds} seeds");
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a seed is a number"))
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
