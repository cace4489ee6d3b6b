//! Address space whose pages are taken when they are first written, and given back
//! one by one.
//!
//! An allocator keeps what is freed for the next who asks, in pieces that nobody else
//! can use. Who must stay below a bound on the memory of the process asks the system
//! instead, and says which pages it no longer needs.
//!
//! Where a huge page is given back in part, the system is told first that the part may go:
//! that alone makes it small pages. Else all of it stays with the process, though its
//! resident size does not say so: of 256 MiB of which every other 256 KiB had been given
//! back, a control group was still charged 256 MiB, and 128 with it (Linux 6.18; 70 us a
//! huge page instead of 7).
#![allow(unsafe_code)]

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};
#[cfg(target_os = "linux")]
use std::sync::OnceLock;

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
    /// Size of a huge page, in bytes.
    pub const HUGE_PAGE_BYTES: usize = 2 << 20;

    /// Maps `size_bytes`, rounded up to whole pages; at least one. From a huge page on it
    /// begins at a multiple of that. On small pages until [`Reserved::make_huge`], whatever
    /// the system gives unasked. Two to four system calls.
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
        let aligned = size >= Self::HUGE_PAGE_BYTES;
        let more = if aligned { Self::HUGE_PAGE_BYTES } else { 0 };
        let mapped = size.checked_add(more).ok_or_else(too_large)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address the kernel chooses concerns nobody.
        let map = unsafe {
            mmap_anonymous(ptr::null_mut(), mapped, access, MapFlags::PRIVATE | MapFlags::NORESERVE)
        }?;
        let before = if aligned { map.addr().wrapping_neg() % Self::HUGE_PAGE_BYTES } else { 0 };
        let (first, map) = (map, map.wrapping_byte_add(before));
        let behind = more - before;
        // SAFETY: both are whole pages of the mapping just made, which nobody uses. When it
        // fails they stay mapped, untouched.
        unsafe {
            if before > 0 {
                let _ = munmap(first, before);
            }
            if behind > 0 {
                let _ = munmap(map.wrapping_byte_add(size), behind);
            }
        }
        #[cfg(target_os = "linux")]
        // SAFETY: the mapping just made; the advice changes what it is made of, not what
        // is in it. A kernel without huge pages refuses it.
        let _ = unsafe { rustix::mm::madvise(map, size, rustix::mm::Advice::LinuxNoHugepage) };
        let at = NonNull::new(map.cast()).expect("the kernel maps nothing at address 0 unasked");
        Ok(Reserved { at, size_bytes: size })
    }

    /// Whether the system gives huge pages to a process that asks for them.
    pub fn can_be_huge() -> bool {
        static CAN: OnceLock<bool> = OnceLock::new();
        *CAN.get_or_init(|| {
            let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
            setting.is_ok_and(|setting| !setting.contains("[never]"))
        })
    }

    /// Copies `range`, which has been written to, to huge pages, where the system has any
    /// and is not told to give none. Some 0.2 ms for each, during which others who read of
    /// it wait; before that the system may look for room, for which nobody else waits.
    ///
    /// # Panics
    /// When the range leaves the mapping or does not begin and end at huge pages.
    pub fn make_huge(&self, range: Range<usize>) {
        self.check_huge(&range);
        #[cfg(target_os = "linux")]
        if Self::can_be_huge() {
            use rustix::mm::Advice;
            // SAFETY: declared as in <sys/mman.h>; rustix does not have the advice.
            unsafe extern "C" {
                fn madvise(at: *mut std::ffi::c_void, bytes: usize, advice: i32) -> i32;
            }
            const MADV_COLLAPSE: i32 = 25;
            let at = self.at.as_ptr().wrapping_add(range.start).cast();
            let bytes = range.end - range.start;
            // SAFETY: pages of our mapping; the advice changes what they are made of, not
            // what is in them. A kernel before 6.1 refuses the second and copies by itself,
            // some time later.
            unsafe {
                let _ = rustix::mm::madvise(at, bytes, Advice::LinuxHugepage);
                let _ = madvise(at, bytes, MADV_COLLAPSE);
            }
        }
    }

    /// Says that `range` is to have small pages from now on: nothing of it is copied to huge
    /// ones any more. One system call.
    ///
    /// # Panics
    /// As [`Reserved::make_huge`].
    pub fn keep_small(&self, range: Range<usize>) {
        self.check_huge(&range);
        #[cfg(target_os = "linux")]
        {
            use rustix::mm::{Advice, madvise};
            let at = self.at.as_ptr().wrapping_add(range.start);
            // SAFETY: as in `make_huge`.
            let _ = unsafe { madvise(at.cast(), range.end - range.start, Advice::LinuxNoHugepage) };
        }
    }

    fn check_huge(&self, range: &Range<usize>) {
        assert!(range.start <= range.end && range.end <= self.size_bytes, "outside the mapping");
        let at_huge_page = |at: &usize| at.is_multiple_of(Self::HUGE_PAGE_BYTES);
        assert!([range.start, range.end].iter().all(at_huge_page), "in the middle of one");
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
    /// are written again. One system call, or two.
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
            {
                use rustix::mm::{Advice, madvise};
                let whole = [start, end].iter().all(|at| at % Self::HUGE_PAGE_BYTES == 0);
                if !whole && self.size_bytes >= Self::HUGE_PAGE_BYTES {
                    let _ = madvise(at.cast(), end - start, Advice::LinuxFree);
                }
                let _ = madvise(at.cast(), end - start, Advice::LinuxDontNeed);
            }
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
        entries.iter().filter(|entry| u64::from_le_bytes(**entry) >> 62 != 0).count()
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

    /// Huge pages are more than the resident size says: what is left of one that was given
    /// back in part stays charged. Here the pages that remain are small ones.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_huge_page_given_back_in_part_is_small_pages() {
        const HUGE: usize = Reserved::HUGE_PAGE_BYTES;
        let page = rustix::param::page_size();
        let reserved = Reserved::new(3 * HUGE).unwrap();
        assert_eq!(reserved.as_ptr().as_ptr().addr() % HUGE, 0);
        let byte = |at: usize| reserved.as_ptr().as_ptr().wrapping_add(at);
        for at in 0..3 * HUGE / page {
            // SAFETY: within the mapping, which is ours.
            unsafe { byte(at * page).write(7) };
        }
        assert_eq!(huge_bytes(&reserved), 0);
        reserved.make_huge(HUGE..3 * HUGE);
        // A machine may have no huge pages to give, and none at all where they are off.
        let had_huge = huge_bytes(&reserved);
        assert!(had_huge <= 2 * HUGE);
        // SAFETY: within the mapping, which is ours.
        let bytes = unsafe { [byte(HUGE).read(), byte(2 * HUGE + 5 * page).read()] };
        assert_eq!(bytes, [7, 7]);
        reserved.keep_small(HUGE..2 * HUGE);
        // SAFETY: nobody refers to these bytes.
        unsafe { reserved.give_back(HUGE..HUGE + HUGE / 8) };
        assert!(huge_bytes(&reserved) <= HUGE.min(had_huge));
        assert_eq!(resident_pages(&reserved), (3 * HUGE - HUGE / 8) / page);
        // SAFETY: within the mapping; given back or not, it is initialized.
        unsafe { assert_eq!([byte(HUGE).read(), byte(HUGE + HUGE / 8).read()], [0, 7]) };
        // SAFETY: nobody refers to these bytes.
        unsafe { reserved.give_back(HUGE..3 * HUGE) };
        assert_eq!(resident_pages(&reserved), HUGE / page);
        assert_eq!(huge_bytes(&reserved), 0);
    }

    /// Bytes of `reserved` on huge pages.
    #[cfg(target_os = "linux")]
    fn huge_bytes(reserved: &Reserved) -> usize {
        let ours = reserved.at.as_ptr().addr()..reserved.at.as_ptr().addr() + reserved.size_bytes;
        let (mut within, mut bytes) = (false, 0);
        for line in std::fs::read_to_string("/proc/self/smaps").unwrap().lines() {
            let first = line.split(' ').next().unwrap();
            if let Some((start, _)) = first.split_once('-') {
                within = usize::from_str_radix(start, 16).is_ok_and(|at| ours.contains(&at));
            } else if within && first == "AnonHugePages:" {
                let kib = line.split_whitespace().nth(1).unwrap();
                bytes += kib.parse::<usize>().unwrap() << 10;
            }
        }
        bytes
    }

    #[test]
    fn a_size_that_no_machine_has_is_an_error() {
        assert!(Reserved::new(usize::MAX).is_err());
        assert!(Reserved::new(usize::MAX / 2).is_err());
    }
}
