//! A window of a file, mapped into memory for writing: a write is a memcpy.
//!
//! Why it is safe against a kill: the mapping is shared, so bytes copied into
//! it are the kernel's at once.
//!
//! The danger is SIGBUS, which a page raises when the file system cannot back
//! it at the moment of the first write. Two things keep it away: the file is
//! allocated in full beforehand, and [`Window::populate`] makes the kernel
//! prepare pages inside a system call, where a failing file system gives an
//! error instead of a signal.
#![allow(unsafe_code)]

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::ptr::{self, NonNull};

/// A writable window of a file.
///
/// Invariants: `ptr` points to `len` mapped bytes until drop; nothing else in
/// this process refers to them; the file is at least as long as the window's end.
#[derive(Debug)]
pub(super) struct Window {
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: the window owns its mapping, which is not tied to a thread.
unsafe impl Send for Window {}

impl Window {
    /// Maps `len` bytes of `file` from `offset`, a multiple of the page size.
    /// The bytes must be allocated and must stay so while the window lives.
    pub(super) fn map(file: &File, offset: u64, len: usize) -> io::Result<Window> {
        // SAFETY: with a null hint the kernel places the mapping where nothing is.
        let ptr = unsafe {
            mmap(ptr::null_mut(), len, ProtFlags::WRITE, MapFlags::SHARED, file, offset)?
        };
        let ptr = NonNull::new(ptr.cast()).expect("the kernel maps nothing at address 0 unasked");
        Ok(Window { ptr, len })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Prepares the pages of `range` for writing, so that writing there raises
    /// no fault until the kernel next writes them out. `range.start` must be a
    /// multiple of the page size. One system call, and a page's worth of work
    /// for each page.
    ///
    /// # Errors
    /// What the file system says when it cannot back the pages. A kernel that
    /// does not know the call (before 5.14) is no error: the pages then fault.
    pub(super) fn populate(&mut self, range: Range<usize>) -> io::Result<()> {
        assert!(range.start <= range.end && range.end <= self.len, "populate outside the window");
        let outcome = rustix::io::retry_on_intr(|| {
            // SAFETY: the range lies inside our mapping, and populating changes no byte.
            unsafe {
                let start = self.ptr.as_ptr().add(range.start);
                madvise(start.cast(), range.end - range.start, Advice::LinuxPopulateWrite)
            }
        });
        match outcome {
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
            // The call's word for "this write would have raised SIGBUS".
            Err(rustix::io::Errno::FAULT) => Err(rustix::io::Errno::IO.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Copies `bytes` to `at`, within the window.
    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        assert!(
            at <= self.len && bytes.len() <= self.len - at,
            "write of {} bytes at {at} leaves a window of {}",
            bytes.len(),
            self.len
        );
        // SAFETY: the target lies inside our mapping (asserted), which we hold
        // exclusively, so `bytes` cannot overlap it.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.ptr.as_ptr().add(at), bytes.len());
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: we mapped exactly this range, and no reference into it remains.
        let outcome = unsafe { munmap(self.ptr.as_ptr().cast(), self.len) };
        debug_assert!(outcome.is_ok(), "munmap of our own mapping failed");
    }
}
