//! Address space whose pages are taken when they are first written, and given back
//! one by one.
//!
//! An allocator keeps what is freed for the next who asks, in pieces that nobody else
//! can use. Who must stay below a bound on the memory of the process asks the system
//! instead, and says which pages it no longer needs.
#![allow(unsafe_code)]

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};

/// Zeroed memory of its own mapping, unmapped when dropped. Takes no memory, only
/// addresses, until it is written to.
#[derive(Debug)]
pub struct Reserved {
    at: NonNull<u8>,
    size_bytes: usize,
}

// SAFETY: owns its memory, as a `Box<[u8]>` does.
unsafe impl Send for Reserved {}
// SAFETY: as above; nothing is reached through a shared reference.
unsafe impl Sync for Reserved {}

impl Reserved {
    /// Maps `size_bytes`, rounded up to whole pages; at least one. Two system calls.
    ///
    /// Never on huge pages: of one of these nothing could be given back.
    ///
    /// # Errors
    /// Out of addresses, or too many mappings.
    pub fn new(size_bytes: usize) -> io::Result<Reserved> {
        if cfg!(miri) {
            return Err(io::ErrorKind::Unsupported.into()); // Miri maps nothing
        }
        let page = rustix::param::page_size();
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let size = size_bytes.max(1).checked_next_multiple_of(page).ok_or_else(too_large)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address the kernel chooses concerns nobody.
        let map = unsafe {
            mmap_anonymous(ptr::null_mut(), size, access, MapFlags::PRIVATE | MapFlags::NORESERVE)
        }?;
        #[cfg(target_os = "linux")]
        // SAFETY: the mapping just made; the advice changes what it is made of, not what
        // is in it. A kernel without huge pages refuses it.
        let _ = unsafe { rustix::mm::madvise(map, size, rustix::mm::Advice::LinuxNoHugepage) };
        let at = NonNull::new(map.cast()).expect("the kernel maps nothing at address 0 unasked");
        Ok(Reserved { at, size_bytes: size })
    }

    /// The first byte, at the beginning of a page.
    pub fn as_ptr(&self) -> NonNull<u8> {
        self.at
    }

    /// How many bytes there are.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Gives the whole pages of `range` back to the system: they read as zero until they
    /// are written again. One system call.
    ///
    /// # Safety
    /// Nobody has a reference to these bytes, reads or writes them meanwhile.
    ///
    /// # Panics
    /// When the range leaves the mapping.
    pub unsafe fn give_back(&self, range: Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.size_bytes, "outside the mapping");
        let page = rustix::param::page_size();
        let (start, end) = (range.start.next_multiple_of(page), range.end / page * page);
        if start >= end {
            return;
        }
        let at = self.at.as_ptr().wrapping_add(start);
        // SAFETY: whole pages of our mapping that nobody uses, as the caller says. When it
        // fails they stay as they are, which costs memory and nothing else.
        unsafe {
            #[cfg(target_os = "linux")]
            let _ = rustix::mm::madvise(at.cast(), end - start, rustix::mm::Advice::LinuxDontNeed);
            #[cfg(not(target_os = "linux"))]
            let _ = mmap_anonymous(
                at.cast(),
                end - start,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::FIXED,
            );
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, unmapped only here.
        let unmapped = unsafe { munmap(self.at.as_ptr().cast(), self.size_bytes) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages of `reserved` that take memory.
    #[cfg(target_os = "linux")]
    fn resident_pages(reserved: &Reserved) -> usize {
        use std::io::{Read, Seek, SeekFrom};
        let page = rustix::param::page_size();
        let mut map = std::fs::File::open("/proc/self/pagemap").unwrap();
        map.seek(SeekFrom::Start((reserved.at.as_ptr().addr() / page * 8) as u64)).unwrap();
        let mut entries = vec![0; reserved.size_bytes / page * 8];
        map.read_exact(&mut entries).unwrap();
        let (entries, _) = entries.as_chunks::<8>();
        entries.iter().filter(|entry| u64::from_le_bytes(**entry) >> 63 == 1).count()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn pages_are_taken_by_the_first_write_and_given_back_alone() {
        let page = rustix::param::page_size();
        let reserved = Reserved::new(64 * page).unwrap();
        assert_eq!(reserved.size_bytes(), 64 * page);
        assert_eq!(resident_pages(&reserved), 0);
        let byte = |at: usize| reserved.as_ptr().as_ptr().wrapping_add(at);
        for at in 0..64 {
            // SAFETY: within the mapping, which is ours.
            unsafe { byte(at * page).write(7) };
        }
        assert_eq!(resident_pages(&reserved), 64);
        // Half pages at both ends stay: somebody may have the other half.
        // SAFETY: nobody refers to these bytes.
        unsafe { reserved.give_back(page / 2..20 * page + page / 2) };
        assert_eq!(resident_pages(&reserved), 64 - 19);
        // SAFETY: within the mapping; given back or not, it is initialized.
        unsafe {
            assert_eq!([byte(0).read(), byte(page).read(), byte(20 * page).read()], [7, 0, 7]);
            byte(5 * page).write(9);
            assert_eq!(byte(5 * page).read(), 9);
        }
    }

    #[test]
    fn a_size_that_no_machine_has_is_an_error() {
        assert!(Reserved::new(usize::MAX).is_err());
        assert!(Reserved::new(usize::MAX / 2).is_err());
    }
}
