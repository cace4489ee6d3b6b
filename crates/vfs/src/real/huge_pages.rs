//! Memory straight from the system, on huge pages where it has some.
//!
//! What is read here and there over dozens of megabytes spends a third of its time
//! on finding pages of 4 KiB. Asking the system directly, and not the allocator, also
//! gives the memory back at once when it is dropped.
#![allow(unsafe_code)]

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::io;
use std::ptr::{self, NonNull};

/// Memory of its own mapping, zeroed, and unmapped when dropped.
#[derive(Debug)]
pub struct HugePages {
    at: NonNull<u8>,
    size_bytes: usize,
}

// SAFETY: owns its memory, as a `Box<[u8]>` does.
unsafe impl Send for HugePages {}
// SAFETY: as above; nothing is reached through a shared reference.
unsafe impl Sync for HugePages {}

impl HugePages {
    /// Size and alignment of one page, in bytes.
    pub const PAGE_BYTES: usize = 2 << 20;

    /// Maps `pages` huge pages. Costs three system calls; each page is zeroed when it
    /// is first touched (about 0.1 ms). Where the system has no huge pages it uses
    /// small ones.
    ///
    /// # Errors
    /// Out of memory, or too many mappings.
    pub fn new(pages: usize) -> io::Result<HugePages> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let size = pages.max(1).checked_mul(Self::PAGE_BYTES).ok_or_else(too_large)?;
        let mapped = size.checked_add(Self::PAGE_BYTES).ok_or_else(too_large)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address the kernel chooses concerns nobody.
        let map = unsafe { mmap_anonymous(ptr::null_mut(), mapped, access, MapFlags::PRIVATE) }?;
        let map: *mut u8 = map.cast();
        let before = map.addr().wrapping_neg() & (Self::PAGE_BYTES - 1);
        let at = map.wrapping_add(before);
        let behind = mapped - before - size;
        // SAFETY: all three ranges are parts of the mapping just made, whole pages of
        // it, and the two that are given back are used by nobody. When that fails they
        // merely stay mapped, untouched; the advice changes nothing but speed.
        unsafe {
            if before > 0 {
                let _ = munmap(map.cast(), before);
            }
            if behind > 0 {
                let _ = munmap(at.wrapping_add(size).cast(), behind);
            }
            #[cfg(target_os = "linux")]
            let _ = rustix::mm::madvise(at.cast(), size, rustix::mm::Advice::LinuxHugepage);
        }
        let at = NonNull::new(at).expect("the kernel maps nothing at address 0 unasked");
        Ok(HugePages { at, size_bytes: size })
    }

    /// The first byte, aligned to [`HugePages::PAGE_BYTES`].
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.at
    }

    /// How many bytes there are.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, unmapped only here.
        let unmapped = unsafe { munmap(self.at.as_ptr().cast(), self.size_bytes) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_aligned_zeroed_and_ours_to_the_last_byte() {
        for pages in [1, 3] {
            let memory = HugePages::new(pages).unwrap();
            assert_eq!(memory.size_bytes(), pages * HugePages::PAGE_BYTES);
            assert_eq!(memory.as_ptr().as_ptr().addr() % HugePages::PAGE_BYTES, 0);
            for i in (0..memory.size_bytes()).step_by(4096).chain([memory.size_bytes() - 1]) {
                // SAFETY: within the mapping, which is initialized with zeros.
                unsafe {
                    let byte = memory.as_ptr().add(i);
                    assert_eq!(byte.read(), 0);
                    byte.write(1);
                }
            }
        }
    }

    #[test]
    fn a_size_that_no_machine_has_is_an_error() {
        assert!(HugePages::new(usize::MAX).is_err());
        assert!(HugePages::new(usize::MAX / HugePages::PAGE_BYTES - 1).is_err());
    }
}
