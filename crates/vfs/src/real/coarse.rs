//! The system's monotonic clocks by name: std reads one of them alone.
//!
//! Not by `rustix`, which looks for the kernel's page of clocks by itself and crashes
//! under valgrind, where there is none.
#![allow(unsafe_code)]

/// Nanoseconds of `clock`, since the machine was started.
pub(super) fn monotonic_ns(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, and this is one. It fails only for a clock
    // that the system does not have; Linux has had all three since 2.6.39.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
