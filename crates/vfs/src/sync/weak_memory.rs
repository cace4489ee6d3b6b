//! Loom's atomics, made fit for code that needs sequential consistency, and a way to
//! show that a model would notice what it is there to notice.
//!
//! Loom takes a SeqCst access for one with AcqRel, and so would call races what are
//! none. It knows SeqCst fences. So here a thread whose last SeqCst access was a store
//! passes a fence before its next SeqCst load: that forbids what the language forbids,
//! that each of two threads misses the other's store. A fence of loom's orders a little
//! more than the language promises: whatever happens before one of two fences happens
//! before what follows the later one, and what a thread has loaded counts as acquired. A
//! fault that hides behind exactly that is not found: of the orderings of
//! `tanada_table::epoch`, the Acquire with which a pin loads the epoch is such a one.

use loom::sync::atomic as checker;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, Release, SeqCst};

/// Runs `body` in every order that loom knows with up to three preemptions, or 200,000 of
/// them, and prints how many they were. `LOOM_MAX_PREEMPTIONS` and
/// `LOOM_MAX_PERMUTATIONS` set other bounds.
///
/// # Panics
/// When `body` panics in one of them, or accesses race.
pub fn check(name: &str, without: Without, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    let most = *builder.max_permutations.get_or_insert(200_000);
    builder.max_branches = 20_000;
    // How often it looks whether it has had enough.
    builder.checkpoint_interval = 1_000;
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    WITHOUT.set(without);
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        body();
    });
    let orders = orders.load(Relaxed);
    let bounds = if orders + 1 < most { "all there are" } else { "stopped there" };
    println!("loom: {name}: {orders} orders, {bounds}");
}

/// What is left out of every access, to show that a model finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Nothing: the code as it is.
    Nothing,
    /// SeqCst accesses are AcqRel ones.
    SeqCst,
    /// Stores that are Release, and no more, are Relaxed.
    Release,
    /// Loads that are Acquire, and no more, are Relaxed.
    Acquire,
    /// Fences do nothing.
    Fences,
}

// Of the test's thread, in which loom runs all threads of the model.
std::thread_local! {
    static WITHOUT: Cell<Without> = const { Cell::new(Without::Nothing) };
}

loom::thread_local! {
    /// Whether the thread's last SeqCst access was a store.
    static STORED: Cell<bool> = Cell::new(false);
}

fn for_load(order: Ordering) -> Ordering {
    match (order, WITHOUT.get()) {
        (SeqCst, Without::SeqCst) => Acquire,
        (SeqCst, _) => {
            if STORED.with(|stored| stored.replace(false)) {
                checker::fence(SeqCst);
            }
            Acquire
        }
        (Acquire, Without::Acquire) => Relaxed,
        (order, _) => order,
    }
}

fn for_store(order: Ordering) -> Ordering {
    match (order, WITHOUT.get()) {
        (SeqCst, Without::SeqCst) => Release,
        (SeqCst, _) => {
            STORED.with(|stored| stored.set(true));
            Release
        }
        (Release, Without::Release) => Relaxed,
        (order, _) => order,
    }
}

fn for_update(order: Ordering) -> Ordering {
    match (order, WITHOUT.get()) {
        (SeqCst, Without::SeqCst) => AcqRel,
        (SeqCst, _) => {
            STORED.with(|stored| stored.set(true));
            AcqRel
        }
        (AcqRel, Without::Release) => Acquire,
        (AcqRel, Without::Acquire) => Release,
        (Release, Without::Release) | (Acquire, Without::Acquire) => Relaxed,
        (order, _) => order,
    }
}

/// As that of `std`.
pub fn fence(order: Ordering) {
    if WITHOUT.get() != Without::Fences {
        checker::fence(order);
    }
}

macro_rules! atomics {
    ($($name:ident $(<$of:ident>)?, $value:ty;)*) => {$(
        /// As that of `std`.
        pub struct $name $(<$of>)? (checker::$name $(<$of>)?);

        #[allow(missing_docs)] // as those of `std`
        impl $(<$of>)? $name $(<$of>)? {
            pub fn new(value: $value) -> Self {
                Self(checker::$name::new(value))
            }

            pub fn load(&self, order: Ordering) -> $value {
                self.0.load(for_load(order))
            }

            pub fn store(&self, value: $value, order: Ordering) {
                // A thread that has found a fault must not be changed for another one.
                if !std::thread::panicking() {
                    self.0.store(value, for_store(order));
                }
            }

            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                self.0.swap(value, for_update(order))
            }

            pub fn compare_exchange(
                &self,
                from: $value,
                to: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.0.compare_exchange(from, to, for_update(success), failure)
            }
        }

        impl $(<$of>)? fmt::Debug for $name $(<$of>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

atomics! {
    AtomicBool, bool;
    AtomicU32, u32;
    AtomicU64, u64;
    AtomicPtr<T>, *mut T;
}

#[allow(missing_docs)] // as those of `std`
impl AtomicU64 {
    pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        self.0.fetch_add(value, for_update(order))
    }
}
