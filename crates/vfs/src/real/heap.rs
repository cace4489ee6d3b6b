//! What the allocator of the process keeps of freed memory, given back to the system.
//!
//! Small pieces that are freed in great number lie between others, and the C library
//! gives back by itself only what lies at its heap's end: 40 MiB of rows that a cache had
//! dropped stayed with the process for as long as it lived.
#![allow(unsafe_code)]

/// Gives whole free pages of the C library's heaps back to the system. Some milliseconds
/// for a heap of 100 MiB, during which other threads may wait to allocate. Does nothing
/// where the C library is not glibc, nor for another allocator's memory.
pub fn give_back_free_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu", not(miri)))]
    {
        // SAFETY: declared as in <malloc.h>.
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: it takes the allocator's own locks, and touches only what is free.
        let _ = unsafe { malloc_trim(0) };
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn resident_bytes() -> u64 {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages = text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
        pages * rustix::param::page_size() as u64
    }

    #[test]
    fn what_was_freed_between_others_goes_back_to_the_system() {
        let mut pieces: Vec<Vec<u8>> = (0..200_000).map(|_| vec![1; 300]).collect();
        // One in a thousand stays, the last among them: the heap's end is in use.
        let mut n = 0;
        pieces.retain(|_| {
            n += 1;
            n % 1000 == 0
        });
        let before = resident_bytes();
        give_back_free_heap();
        let given = before.saturating_sub(resident_bytes());
        assert!(given > 40 << 20, "{given} bytes of 60 MB");
        assert!(pieces.iter().all(|piece| piece == &[1; 300]));
    }
}
