//! One version of one key as it lies in the arena, and the chain of its older
//! versions.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | seqno (high 56 bits), flags: low 4 bits [`ValueKind`], 0x10 expiry, 0x20 older |
//! | 8 | 4 | key length |
//! | 12 | 4 | value length |
//! | 16 | 24 | only with 0x20: pointer to the next older version, jump pointer, depth |
//! | … | 8 | only with 0x10: expiry in milliseconds since 1970 |
//! | … | | key, value |
//!
//! Never changed once written. The jump pointers are those of Myers,
//! "An applicative random-access stack" (IPL 17, 1983): each points to a version
//! so much older that any age is reached from the newest in O(log n) steps, and
//! each is found from its neighbours alone when the version is written.

#![allow(unsafe_code)]

use super::arena::Arena;
use super::prefetch::prefetch_lines;
use std::marker::PhantomData;
use std::ptr::NonNull;
use tanada_format::{EntryRef, MAX_KEY_LEN, MAX_VALUE_LEN, SeqNo, ValueKind};

const KIND_MASK: u64 = 0x0f;
const HAS_EXPIRY: u64 = 0x10;
const HAS_OLDER: u64 = 0x20;

#[repr(C)]
struct Header {
    meta: u64,
    key_len: u32,
    value_len: u32,
    /// Stands for the entry's bytes: loom finds who reads before they are written.
    #[cfg(loom)]
    written: tanada_vfs::sync::loom::cell::UnsafeCell<()>,
}

/// Most bytes that an entry takes beside its key and value.
pub(super) const MOST_OVERHEAD_BYTES: usize = size_of::<Header>() + size_of::<Chain>() + 8;

#[repr(C)]
struct Chain {
    older: NonNull<u8>,
    jump: NonNull<u8>,
    depth: u64,
}

/// An entry in an arena that lives for `'a`.
///
/// Invariant: points to an entry written by [`Stored::write`] into an arena that
/// outlives `'a`, and the write happened before the holder got the pointer.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    at: NonNull<u8>,
    arena: PhantomData<&'a Arena>,
}

// SAFETY: an entry is immutable plain bytes once written.
unsafe impl Send for Stored<'_> {}
// SAFETY: as above.
unsafe impl Sync for Stored<'_> {}

impl<'a> Stored<'a> {
    /// Writes `entry` in front of `older`, the newest version of the same key.
    /// Copies key and value once.
    pub(super) fn write(
        arena: &mut Arena,
        entry: EntryRef<'_>,
        older: Option<Stored<'a>>,
    ) -> Stored<'a> {
        assert!(entry.key.len() <= MAX_KEY_LEN && entry.value.len() <= MAX_VALUE_LEN);
        let mut meta = entry.seqno.0 << 8 | entry.kind as u64;
        if entry.expires_at_ms != 0 {
            meta |= HAS_EXPIRY;
        }
        if let Some(older) = older {
            assert!(entry.seqno > older.seqno(), "versions of a key come in commit order");
            meta |= HAS_OLDER;
        }
        let key_at = key_offset(meta);
        let size = key_at + entry.key.len() + entry.value.len();
        let at = arena.alloc(size, align_of::<Header>());
        // SAFETY: `size` bytes are ours; the header, the chain, the expiry, key and
        // value lie in them one after the other, the first three at multiples of 8
        // from an address aligned to 8.
        unsafe {
            at.cast().write(Header {
                meta,
                key_len: entry.key.len() as u32,
                value_len: entry.value.len() as u32,
                #[cfg(loom)]
                written: tanada_vfs::sync::loom::cell::UnsafeCell::new(()),
            });
            if let Some(older) = older {
                at.add(size_of::<Header>()).cast().write(Chain {
                    older: older.at,
                    jump: older.jump_for_newer().at,
                    depth: older.depth() + 1,
                });
            }
            if entry.expires_at_ms != 0 {
                at.add(key_at - 8).cast().write(entry.expires_at_ms);
            }
            let key = at.add(key_at).as_ptr();
            key.copy_from_nonoverlapping(entry.key.as_ptr(), entry.key.len());
            key.add(entry.key.len())
                .copy_from_nonoverlapping(entry.value.as_ptr(), entry.value.len());
        }
        Stored { at, arena: PhantomData }
    }

    /// The address, to be kept in a slot.
    pub(super) fn as_ptr(self) -> *mut u8 {
        self.at.as_ptr()
    }

    /// The entry at an address; `None` for null.
    ///
    /// # Safety
    /// `at` is null or came from [`Stored::as_ptr`], read with an ordering that
    /// makes the entry's bytes visible, and its arena outlives `'a`.
    #[inline]
    pub(super) unsafe fn from_ptr(at: *mut u8) -> Option<Stored<'a>> {
        NonNull::new(at).map(|at| Stored { at, arena: PhantomData })
    }

    #[inline]
    fn header(self) -> &'a Header {
        // SAFETY: a header lies there, immutable (invariant).
        let header: &Header = unsafe { self.at.cast().as_ref() };
        #[cfg(loom)]
        header.written.with(|_| ());
        header
    }

    fn chain(self) -> Option<&'a Chain> {
        if self.header().meta & HAS_OLDER == 0 {
            return None;
        }
        // SAFETY: with the flag, a chain lies behind the header.
        Some(unsafe { self.at.add(size_of::<Header>()).cast().as_ref() })
    }

    /// The user key.
    #[inline]
    pub(super) fn key(self) -> &'a [u8] {
        let header = self.header();
        // SAFETY: the key lies there, so long and immutable (invariant).
        unsafe {
            let key = self.at.add(key_offset(header.meta)).as_ptr();
            std::slice::from_raw_parts(key, header.key_len as usize)
        }
    }

    #[inline]
    pub(super) fn seqno(self) -> SeqNo {
        SeqNo(self.header().meta >> 8)
    }

    /// Whether it is a put that never expires.
    #[inline]
    pub(super) fn is_plain(self) -> bool {
        self.header().meta & (KIND_MASK | HAS_EXPIRY) == ValueKind::Put as u64
    }

    /// The whole entry.
    #[inline]
    pub(super) fn entry(self) -> EntryRef<'a> {
        let header = self.header();
        let key_at = key_offset(header.meta);
        let (key_len, value_len) = (header.key_len as usize, header.value_len as usize);
        // SAFETY: key, value and, with its flag, the expiry in front of the key lie
        // there as `write` left them.
        let (key, value, expires_at_ms) = unsafe {
            let key = self.at.add(key_at).as_ptr();
            let expiry = if header.meta & HAS_EXPIRY != 0 {
                self.at.add(key_at - 8).cast().read()
            } else {
                0
            };
            (
                std::slice::from_raw_parts(key, key_len),
                std::slice::from_raw_parts(key.add(key_len), value_len),
                expiry,
            )
        };
        let kind = ValueKind::from_u8((header.meta & KIND_MASK) as u8)
            .expect("`write` stored a ValueKind");
        EntryRef { key, seqno: SeqNo(header.meta >> 8), kind, expires_at_ms, value }
    }

    /// The next older version of this key.
    pub(super) fn older(self) -> Option<Stored<'a>> {
        self.chain().map(|chain| Stored { at: chain.older, arena: PhantomData })
    }

    /// The newest version not newer than `seqno`, this one included. O(log n) in
    /// the number of versions; one comparison when this one will do.
    #[inline]
    pub(super) fn newest_at(self, seqno: SeqNo) -> Option<Stored<'a>> {
        let mut at = self;
        while at.seqno() > seqno {
            let jump = at.jump();
            at = if jump.seqno() > seqno && jump.at != at.at { jump } else { at.older()? };
        }
        Some(at)
    }

    /// The oldest version. O(log n).
    pub(super) fn oldest(self) -> Stored<'a> {
        let mut at = self;
        while at.chain().is_some() {
            at = at.jump();
        }
        at
    }

    /// The version just newer than the one with `seqno`, this one included;
    /// `None` when this is not newer. O(log n).
    pub(super) fn oldest_above(self, seqno: SeqNo) -> Option<Stored<'a>> {
        let mut at = self;
        if at.seqno() <= seqno {
            return None;
        }
        loop {
            let jump = at.jump();
            at = match at.older() {
                _ if jump.at != at.at && jump.seqno() > seqno => jump,
                Some(older) if older.seqno() > seqno => older,
                _ => return Some(at),
            };
        }
    }

    fn depth(self) -> u64 {
        self.chain().map_or(0, |chain| chain.depth)
    }

    /// Where this version's jump leads; the oldest version leads to itself.
    fn jump(self) -> Stored<'a> {
        self.chain().map_or(self, |chain| Stored { at: chain.jump, arena: PhantomData })
    }

    /// The jump of a version that is put in front of this one.
    fn jump_for_newer(self) -> Stored<'a> {
        let near = self.jump();
        let far = near.jump();
        if self.depth() - near.depth() == near.depth() - far.depth() { far } else { self }
    }

    /// Asks the processor for the entry's first cache lines.
    #[inline]
    pub(super) fn prefetch(self) {
        prefetch_lines::<3>(self.as_ptr());
    }
}

#[inline]
fn key_offset(meta: u64) -> usize {
    let chain = (meta & HAS_OLDER != 0) as usize * size_of::<Chain>();
    let expiry = (meta & HAS_EXPIRY != 0) as usize * 8;
    size_of::<Header>() + chain + expiry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(seqno: u64) -> EntryRef<'static> {
        EntryRef {
            key: b"hot",
            seqno: SeqNo(seqno),
            kind: ValueKind::Put,
            expires_at_ms: seqno % 2 * 77,
            value: b"v",
        }
    }

    #[test]
    fn every_version_of_a_long_chain_is_reached_in_few_steps() {
        let versions = if cfg!(miri) { 100 } else { 3_000u64 };
        let mut arena =
            Arena::new(crate::memtable::ChunkPool::new(0, crate::control::account::Account::new()));
        let mut newest = Stored::write(&mut arena, version(2), None);
        for seqno in 2..=versions {
            newest = Stored::write(&mut arena, version(seqno * 2), Some(newest));
        }
        for seqno in 1..=versions {
            let at = |n| newest.newest_at(SeqNo(n)).map(|s| s.seqno().0);
            assert_eq!(at(seqno * 2), Some(seqno * 2));
            assert_eq!(at(seqno * 2 + 1), Some(seqno * 2));
            let above = |n| newest.oldest_above(SeqNo(n)).map(|s| s.seqno().0);
            assert_eq!(above(seqno * 2 - 1), Some(seqno * 2));
            assert_eq!(above(seqno * 2), (seqno < versions).then_some(seqno * 2 + 2));
        }
        assert!(newest.newest_at(SeqNo(1)).is_none());
        assert_eq!(newest.oldest().entry(), version(2));
        let (mut steps, mut at) = (0, newest);
        while at.chain().is_some() {
            (steps, at) = (steps + 1, at.jump());
        }
        assert!(steps < 30, "{steps} jumps");
    }
}
