//! Asking the processor for memory before it is needed.

#![allow(unsafe_code)]

/// Asks the processor for `N` cache lines from `at` on. Only a hint.
#[inline]
pub(super) fn prefetch_lines<const N: usize>(at: *mut u8) {
    #[cfg(target_arch = "x86_64")]
    for i in 0..N {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching reads nothing, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(i * 64).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
