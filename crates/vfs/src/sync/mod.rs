//! Locks and atomics, and what takes their places where races are looked for.
//!
//! In every build that anybody uses they are those of `parking_lot` and `std`, under
//! other names. With `--cfg loom`, which `cargo xtask concurrency` sets, they are those
//! of loom (<https://docs.rs/loom>): it tries every order in which the threads can run,
//! up to a number of preemptions, and every value that the memory model lets a load see.
//!
//! Loom is no dependency of a build without that flag.

#[cfg(loom)]
mod locks;
#[cfg(loom)]
mod weak_memory;

#[cfg(loom)]
pub use loom;
#[cfg(loom)]
pub use weak_memory::{Without, check};

#[cfg(not(loom))]
pub use parking_lot::Mutex;

#[cfg(loom)]
pub use locks::Mutex;

#[cfg(loom)]
pub use crate::loom_thread_local as thread_local;
/// Variables that each thread has of its own.
#[cfg(not(loom))]
pub use std::thread_local;

/// What code without locks is made of.
pub mod lock_free {
    #[cfg(not(loom))]
    pub use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64};
    #[cfg(not(loom))]
    pub use std::{hint::spin_loop, thread::yield_now};

    #[cfg(loom)]
    pub use super::weak_memory::{AtomicBool, AtomicPtr, AtomicU64};
    #[cfg(loom)]
    pub use loom::{hint::spin_loop, thread::yield_now};

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
