//! A wall clock that a run of `tanada-stress soak` sets, for the server that it starts.
//!
//! The real clock of a machine is everybody's, and namespaces shift only those that tell
//! elapsed time. So this library stands before the system's in the real server, unchanged
//! (`LD_PRELOAD`), and adds to each reading of the wall clock what a file says: a `i64` of
//! milliseconds, in the memory of both processes. What asks for another clock is answered
//! as ever.
#![allow(unsafe_code)]

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

/// Names the file.
const FILE: &std::ffi::CStr = c"TANADA_STRESS_CLOCK";

/// What is added, in milliseconds; `None` when nobody shifts the clock.
fn shift() -> Option<&'static AtomicI64> {
    static SHIFT: OnceLock<Option<&'static AtomicI64>> = OnceLock::new();
    *SHIFT.get_or_init(|| {
        // SAFETY: the name is a C string, and nothing changes the environment of the server.
        let path = unsafe { libc::getenv(FILE.as_ptr()) };
        if path.is_null() {
            return None;
        }
        // SAFETY: `getenv` answers a C string; the call has no other preconditions.
        let file = unsafe { libc::open(path, libc::O_RDONLY | libc::O_CLOEXEC) };
        if file < 0 {
            return None;
        }
        let (read, shared) = (libc::PROT_READ, libc::MAP_SHARED);
        // SAFETY: a new mapping, anywhere, of a file that is open and at least 8 bytes long.
        let mapped = unsafe { libc::mmap(ptr::null_mut(), 8, read, shared, file, 0) };
        // SAFETY: it is ours, and is used no more: the mapping stays without it.
        unsafe { libc::close(file) };
        if mapped == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: 8 bytes that stay mapped until the process ends, at the start of a page, so
        // aligned; both processes touch them by atomic loads and single aligned writes.
        Some(unsafe { &*mapped.cast::<AtomicI64>() })
    })
}

/// Answers in the place of the system's.
///
/// # Safety
/// As there: `time` points to a `timespec` that may be written.
// SAFETY: the name and the signature are those of the C library's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> i32 {
    // SAFETY: the system call of the same name, with the caller's arguments.
    let told = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as i32;
    let is_wall = clock == libc::CLOCK_REALTIME || clock == libc::CLOCK_REALTIME_COARSE;
    // Relaxed: a reading a moment before or behind a change is as good as the other.
    let shift_ms = shift().filter(|_| is_wall).map_or(0, |shift| shift.load(Ordering::Relaxed));
    if told == 0 && shift_ms != 0 {
        // SAFETY: the call above has just written it.
        let time = unsafe { &mut *time };
        let ns = time.tv_nsec + shift_ms.rem_euclid(1000) * 1_000_000;
        time.tv_sec += shift_ms.div_euclid(1000) + ns / 1_000_000_000;
        time.tv_nsec = ns % 1_000_000_000;
    }
    told
}
