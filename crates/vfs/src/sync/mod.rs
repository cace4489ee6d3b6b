//! Locks and atomics, and what takes their places where races are looked for.
//!
//! In every build that anybody uses they are those of `std`, under other names. With `--cfg loom` or `--cfg shuttle`, which `cargo xtask concurrency`
//! sets, a checker decides which thread runs next:
//!
//! - loom (<https://docs.rs/loom>) tries every order in which the threads can run, up to
//!   a number of preemptions, and every value that the memory model lets a load see.
//!   For the small parts without locks: [`lock_free`].
//! - shuttle (<https://docs.rs/shuttle>) tries many orders, drawn from a seed, and every
//!   load sees the last store. For locks and what is built on them: [`Mutex`],
//!   [`atomic`], [`ArcSwap`] and [`thread`]; a whole database runs on them.
//!
//! What neither needs to look at is in [`unchecked`], and `cargo xtask tidy` lists who may
//! use it. Neither checker is a dependency of a build without its flag.

mod locks;
#[cfg(shuttle)]
mod sites;
#[cfg(shuttle)]
mod swap;
#[cfg(shuttle)]
mod delays;
#[cfg(loom)]
mod weak_memory;
#[cfg(shuttle)]
mod schedules;

#[cfg(loom)]
pub use loom;
#[cfg(shuttle)]
pub use shuttle;

pub use locks::{Condvar, Mutex, MutexGuard, OnceLock, RwLock};

/// A link to an `Arc` that is read by anyone and replaced as a whole.
#[cfg(not(shuttle))]
pub use arc_swap::ArcSwap;
#[cfg(shuttle)]
pub use swap::ArcSwap;

#[cfg(loom)]
pub use weak_memory::{Without, check};

#[cfg(shuttle)]
pub use schedules::{explore, seeds};

#[cfg(loom)]
pub use crate::loom_thread_local as thread_local;
#[cfg(shuttle)]
pub use shuttle::thread_local;
/// Variables that each thread has of its own.
#[cfg(not(any(loom, shuttle)))]
pub use std::thread_local;

/// Atomics of protocols between threads, where shuttle may change threads. Loom looks at
/// pointers alone: links to what is freed when no reader is left.
pub mod atomic {
    #[cfg(shuttle)]
    pub use super::sites::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
    #[cfg(not(any(loom, shuttle)))]
    pub use std::sync::atomic::AtomicPtr;
    #[cfg(not(shuttle))]
    pub use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};

    #[cfg(loom)]
    pub use super::weak_memory::AtomicPtr;
}

/// Atomics that no checker looks at: sums for statistics, hints that may be lost, unique
/// numbers, and counts of references like those of `Arc`. No thread may decide by them
/// what another one will see.
pub mod unchecked {
    pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, fence};
}

/// Threads of the system, or of shuttle.
pub mod thread {
    #[cfg(shuttle)]
    pub use shuttle::thread::{Builder, JoinHandle, scope};
    #[cfg(not(shuttle))]
    pub use std::thread::{Builder, JoinHandle, scope};
}

/// What code without locks is made of. Shuttle does not change threads here.
pub mod lock_free {
    #[cfg(not(loom))]
    pub use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, fence};
    #[cfg(not(any(loom, shuttle)))]
    pub use std::{hint::spin_loop, thread::yield_now};

    #[cfg(loom)]
    pub use super::weak_memory::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, fence};
    #[cfg(loom)]
    pub use loom::{hint::spin_loop, thread::yield_now};
    #[cfg(shuttle)]
    pub use shuttle::{hint::spin_loop, thread::yield_now};

    /// Whether loom has found a fault and unwinds: what is left is not cleared away.
    #[inline]
    pub fn is_given_up() -> bool {
        cfg!(loom) && std::thread::panicking()
    }
}

/// Loom's, that takes constants for what they are.
#[cfg(loom)]
#[macro_export]
macro_rules! loom_thread_local {
    ($($(#[$attr:meta])* static $name:ident: $of:ty = $init:expr;)*) => {
        $($crate::sync::loom::thread_local! { $(#[$attr])* static $name: $of = $init; })*
    };
}

/// An array of `$len` atomics, each made by `$new`.
#[cfg(not(loom))]
#[macro_export]
macro_rules! atomics {
    ($new:expr; $len:expr) => {
        [const { $new }; $len]
    };
}

/// As without loom, whose atomics are not constants.
#[cfg(loom)]
#[macro_export]
macro_rules! atomics {
    ($new:expr; $len:expr) => {
        std::array::from_fn::<_, { $len }, _>(|_| $new)
    };
}
