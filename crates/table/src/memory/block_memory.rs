//! Where blocks lie: memory of their own, in runs that are given back when they are empty.
//!
//! An allocator of a whole program keeps what a cache has freed: when the cache must
//! shrink, because MemTables grow, the blocks that go lie here and there, and hardly a
//! page between them becomes free. Measured, the heap stayed at its largest size however
//! small the cache became, under every allocator (docs/decisions/0010-block-memory.md).
//! So a run holds blocks of one size; which runs there are, and what lies in each, is
//! known here, and the cache empties whole runs when it is told to take less.
//!
//! What this counts is what the system has given: holes in runs included, and blocks
//! that the cache has let go of while a reader still has them.
//!
//! | request | run | blocks in it |
//! |---|---|---|
//! | up to 2 KiB | 64 KiB | 32 to 128, all of one size |
//! | up to 32 KiB | 256 KiB | 7 to 127, all of one size |
//! | above | whole pages | 1 |
//! | from 8 MiB | a mapping of its own | 1 |
//!
//! A block of 4 KiB takes a cache line more, so that 63 lie in a run, and not 64: heads
//! at the same place of every page fall on the same few sets of the processor's caches
//! (Bonwick's colours of slabs). With 64, and with runs that came and went at the limit of
//! the cache, `seek10tenth` took 9 % more CPU than with malloc; without both 1 %. The two
//! were not measured apart.

#![allow(unsafe_code)]

mod free_pages;
mod huge;

use free_pages::{FreePages, Span};
pub(crate) use huge::Wake;
use huge::{Collapses, HugeSlots, Place};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tanada_vfs::Reserved;
use tanada_vfs::sync::atomic::AtomicU64;
use tanada_vfs::sync::{Condvar, Mutex, MutexGuard};

const PAGE_BYTES: usize = 4 << 10;
/// Bytes of address space taken at once; untouched ones cost nothing.
const REGION_BYTES: usize = 32 << 20;
/// A block from this size on has a mapping of its own.
const OWN_BYTES: usize = 8 << 20;
/// A block above this length is long: there is not always room for it.
pub(crate) const LONG_BYTES: usize = 1 << 20;
/// Blocks begin at multiples of it: a cache line.
const ALIGN: usize = 64;
const MOST_BLOCKS: usize = 128;
/// The two sizes of runs: of blocks up to [`SMALL`], and of longer ones.
const RUN_BYTES: [usize; 2] = [64 << 10, 256 << 10];
const SMALL: usize = 2 << 10;
/// Blocks up to this length have few sizes, and begin all over a page.
const USUAL: usize = RUN_BYTES[0] / 12 / ALIGN * ALIGN;
/// Blocks of one value of 4 KiB in a run: a size of their own, so that the end of one and the
/// head of the next lie in neighbouring lines. Else a scan took 63 ns a block instead of 38.
const OF_A_PAGE: usize = 61;
/// The longest block that shares a run.
const LONGEST: usize = 32 << 10;
/// Empty runs that are kept, so that a block that comes and goes costs no system call.
const SPARE_RUNS: [usize; 2] = [2, 2];

/// A run of a [`BlockMemory`], while a block lies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RunId(pub(crate) u32);

/// Memory for one block.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Initialized, with whatever lay there before; at a multiple of 64.
    pub(crate) at: NonNull<u8>,
    pub(crate) run: RunId,
    /// At least what was asked for.
    pub(crate) size_bytes: usize,
}

/// Memory of the blocks of one cache.
///
/// 1. `resident` is the sum of the lengths of all runs that have not been given back.
/// 2. A run is in `partial` of its kind exactly when it has blocks and room for more; in
///    `spare` when it is empty and was kept.
#[derive(Debug)]
pub(crate) struct BlockMemory {
    runs: Mutex<Runs>,
    /// Changed under the lock, read without it: a figure (relaxed).
    resident: AtomicU64,
    /// What long blocks take of it, likewise.
    long: AtomicU64,
    /// How often a long block's memory has been given back, or something else has made
    /// room. Held to add to it and to wait for more; nothing is locked under it.
    returns: Mutex<u64>,
    returned: Condvar,
    collapses: Collapses,
    /// Runs of blocks given back so far (relaxed: a figure).
    released: AtomicU64,
    /// Bytes that were copied to huge pages, likewise.
    collapsed: AtomicU64,
}

/// What all runs are.
#[derive(Debug, Default)]
struct Runs {
    regions: Vec<Arc<Reserved>>,
    /// Address space that is not part of any run.
    free: FreePages,
    huge: HugeSlots,
    runs: Vec<Run>,
    /// Numbers of runs that are no more.
    unused: Vec<u32>,
    partial: BTreeMap<Kind, BTreeSet<u32>>,
    /// By the size of runs.
    spare: [Vec<u32>; 2],
}

/// Which blocks a run holds: their number is their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    /// Index in [`RUN_BYTES`].
    run: usize,
    blocks: usize,
}

#[derive(Debug)]
enum Run {
    Unused,
    /// Empty.
    Spare(Span),
    /// Blocks of one size.
    Shared {
        kind: Kind,
        span: Span,
        /// A bit for each block that is free.
        free: u128,
    },
    /// One block.
    Alone(Span),
    /// One block in a mapping of its own.
    Own(Reserved),
}

impl Kind {
    /// The kind for blocks of up to `bytes`; `None` when they lie alone.
    fn of(bytes: usize) -> Option<Kind> {
        let bytes = bytes.max(1).next_multiple_of(ALIGN);
        let [small, large] = RUN_BYTES;
        let (run, blocks) = if bytes <= SMALL {
            (0, (small / bytes).min(MOST_BLOCKS))
        } else if bytes <= USUAL {
            // Four times as many as in a small run, so that sizes lie as far apart.
            let blocks = small / bytes * 4 - 1;
            (1, if blocks < OF_A_PAGE && large / bytes >= OF_A_PAGE { OF_A_PAGE } else { blocks })
        } else if bytes <= LONGEST {
            (1, large / bytes)
        } else {
            return None;
        };
        Some(Kind { run, blocks })
    }

    fn block_bytes(self) -> usize {
        RUN_BYTES[self.run] / self.blocks / ALIGN * ALIGN
    }

    fn all_free(self) -> u128 {
        u128::MAX >> (MOST_BLOCKS - self.blocks)
    }
}

/// What a block of `bytes` takes, in bytes.
#[cfg(test)]
fn size_of_block(bytes: usize) -> usize {
    Kind::of(bytes).map_or_else(|| bytes.next_multiple_of(PAGE_BYTES), Kind::block_bytes)
}

impl BlockMemory {
    /// Takes nothing yet.
    pub(crate) fn new() -> BlockMemory {
        BlockMemory {
            runs: Mutex::new(Runs { huge: HugeSlots::new(), ..Runs::default() }),
            resident: AtomicU64::new(0),
            long: AtomicU64::new(0),
            returns: Mutex::new(0),
            returned: Condvar::new(),
            collapses: Collapses::new(),
            released: AtomicU64::new(0),
            collapsed: AtomicU64::new(0),
        }
    }

    /// Bytes taken for blocks above [`LONG_BYTES`].
    pub(crate) fn long_bytes(&self) -> u64 {
        self.long.load(Ordering::Relaxed)
    }

    /// How often there has been more room for long blocks.
    pub(crate) fn returns(&self) -> u64 {
        *self.returns.lock()
    }

    /// Tells those who wait in [`BlockMemory::wait_past`] that there may be room.
    pub(crate) fn tell_of_room(&self) {
        *self.returns.lock() += 1;
        self.returned.notify_all();
    }

    /// Waits until there has been more room than when `returns` was read, at most
    /// `longest`; whether there has.
    pub(crate) fn wait_past(&self, returns: u64, longest: Duration) -> bool {
        let mut now = self.returns.lock();
        if *now == returns {
            self.returned.wait_for(&mut now, longest);
        }
        *now != returns
    }

    /// Takes note of memory that was taken, or given back, in a run of its own.
    fn took(&self, bytes: usize) {
        self.resident.fetch_add(bytes as u64, Ordering::Relaxed);
        if bytes > LONG_BYTES {
            self.long.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    fn gave_back(&self, bytes: usize) {
        self.resident.fetch_sub(bytes as u64, Ordering::Relaxed);
        if bytes > LONG_BYTES {
            self.long.fetch_sub(bytes as u64, Ordering::Relaxed);
            self.tell_of_room();
        }
    }

    /// Bytes taken from the system.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.resident.load(Ordering::Relaxed)
    }

    /// Memory for `bytes`.
    ///
    /// Cost: a lock, and at times a page fault a page.
    ///
    /// # Errors
    /// The system has no more addresses, or allows no more mappings.
    pub(crate) fn take(&self, bytes: usize) -> io::Result<Piece> {
        if bytes >= OWN_BYTES {
            let own = Reserved::new(bytes)?; // not under the lock
            let (at, size_bytes) = (own.as_ptr(), own.size_bytes());
            let run = self.runs.lock().add(Run::Own(own));
            self.took(size_bytes);
            return Ok(Piece { at, run, size_bytes });
        }
        let mut runs = self.runs.lock();
        let (piece, taken) = match Kind::of(bytes) {
            Some(kind) => runs.take_shared(kind)?,
            None => runs.take_alone(bytes.div_ceil(PAGE_BYTES))?,
        };
        let has_become_due = runs.huge.take_more() && !self.collapses.set_due(true);
        drop(runs);
        self.took(taken);
        if has_become_due {
            self.collapses.wake();
        }
        Ok(piece)
    }

    /// Gives the spare runs back.
    pub(crate) fn give_back_spare(&self) {
        loop {
            let mut runs = self.runs.lock();
            let spare = runs.spare.iter_mut().find_map(Vec::pop);
            let Some(number) = spare else { return };
            let Run::Spare(span) = runs.end(number) else {
                unreachable!("a spare run is one");
            };
            self.give_back(runs, span);
        }
    }

    /// Gives the pages of a run that was ended back, and takes them for another one.
    fn give_back(&self, mut runs: MutexGuard<'_, Runs>, span: Span) {
        let region = Arc::clone(&runs.regions[span.region]);
        let to_small = runs.huge.released(span);
        drop(runs); // giving back takes its time: not under the lock
        to_small.into_iter().for_each(|place| region.keep_small(place.bytes()));
        // SAFETY: the run was empty, and is no run any more: nobody is given these pages
        // before they are put among the free ones below.
        unsafe { region.give_back(span.byte_range()) };
        self.runs.lock().free.add(span);
        self.gave_back(span.bytes());
    }

    /// Bytes on huge pages now, and bytes that were copied to such so far. Takes a lock.
    pub(crate) fn huge_and_collapsed_bytes(&self) -> (u64, u64) {
        (self.runs.lock().huge.huge_bytes(), self.collapsed.load(Ordering::Relaxed))
    }

    /// How many runs of blocks were given back so far.
    pub(crate) fn released_runs(&self) -> u64 {
        self.released.load(Ordering::Relaxed)
    }

    /// Whether some of it is to be put on huge pages. A hint.
    pub(crate) fn may_collapse(&self) -> bool {
        self.collapses.is_due()
    }

    /// Says how somebody is woken who calls [`BlockMemory::collapse`].
    pub(crate) fn collapsed_by(&self, wake: Wake) {
        self.collapses.served_by(wake);
    }

    /// Puts the next part that is wholly taken on huge pages. Whether there was one.
    pub(crate) fn collapse(&self) -> bool {
        let Some((region, place)) = self.next_to_collapse() else { return false };
        region.make_huge(place.bytes());
        self.collapsed.fetch_add(place.bytes().len() as u64, Ordering::Relaxed);
        self.end_collapse(&region, place);
        true
    }

    fn next_to_collapse(&self) -> Option<(Arc<Reserved>, Place)> {
        let mut runs = self.runs.lock();
        let place = runs.huge.next_to_collapse();
        if place.is_none() {
            self.collapses.set_due(false);
        }
        place.map(|place| (Arc::clone(&runs.regions[place.region]), place))
    }

    /// Gives back what the copy has filled though nobody has it any more. Who gives back
    /// other pages of it at this moment may find them filled again: a run each time, in no
    /// account until it is taken again.
    fn end_collapse(&self, region: &Reserved, place: Place) {
        let mut guard = self.runs.lock();
        let runs = &mut *guard;
        let Some(gone) = runs.huge.collapsed(place, &mut runs.free) else { return };
        drop(guard);
        region.keep_small(place.bytes());
        for span in &gone {
            // SAFETY: they were free, and nobody is given them before they are that again.
            unsafe { region.give_back(span.byte_range()) };
        }
        let mut runs = self.runs.lock();
        gone.into_iter().for_each(|span| runs.free.add(span));
        runs.huge.mended(place);
        if runs.huge.take_more() {
            self.collapses.set_due(true);
        }
    }

    /// Takes back a block's memory, and gives the run to the system when it was the last.
    ///
    /// Cost: a lock; a system call when the run is given back.
    ///
    /// # Safety
    /// `at` and `run` are those of a [`Piece`] of this memory that was not put back
    /// before, and nobody uses it any more.
    pub(crate) unsafe fn put_back(&self, at: NonNull<u8>, run: RunId) {
        let mut runs = self.runs.lock();
        let emptied = runs.put_back(at, run);
        let Some(emptied) = emptied else { return };
        match emptied {
            Emptied::Own(own) => {
                drop(runs); // unmapping takes its time: not under the lock
                let bytes = own.size_bytes();
                drop(own);
                self.gave_back(bytes);
            }
            Emptied::Run(span) => {
                self.released.fetch_add(1, Ordering::Relaxed);
                self.give_back(runs, span);
            }
            Emptied::Pages(span) => self.give_back(runs, span),
        }
    }
}

/// What is left of a run when its last block has gone.
enum Emptied {
    Own(Reserved),
    /// Of many blocks.
    Run(Span),
    /// Of one.
    Pages(Span),
}

impl Runs {
    /// A block of this kind, and what was taken from the system for it.
    fn take_shared(&mut self, kind: Kind) -> io::Result<(Piece, usize)> {
        // The lowest number: so others are emptied.
        let partial = self.partial.get(&kind).and_then(|runs| runs.first().copied());
        let (number, taken) = match partial {
            Some(number) => (number, 0),
            None => self.begin_run(kind)?,
        };
        let Run::Shared { span, free, .. } = &mut self.runs[number as usize] else {
            unreachable!("partial runs are shared");
        };
        let index = free.trailing_zeros() as usize;
        *free &= *free - 1;
        let (span, is_full) = (*span, *free == 0);
        if is_full {
            self.partial.entry(kind).or_default().remove(&number);
        }
        let at = self.address(span).wrapping_add(index * kind.block_bytes());
        let at = NonNull::new(at).expect("a region does not begin at address 0");
        Ok((Piece { at, run: RunId(number), size_bytes: kind.block_bytes() }, taken))
    }

    /// A run of this kind that is empty; it is among the partial ones.
    fn begin_run(&mut self, kind: Kind) -> io::Result<(u32, usize)> {
        let (number, span, taken) = match self.spare[kind.run].pop() {
            Some(number) => {
                let Run::Spare(span) = self.runs[number as usize] else {
                    unreachable!("a spare run is one");
                };
                (number, span, 0)
            }
            None => {
                let span = self.pages(RUN_BYTES[kind.run] / PAGE_BYTES, false)?;
                (self.add(Run::Unused).0, span, span.bytes())
            }
        };
        self.runs[number as usize] = Run::Shared { kind, span, free: kind.all_free() };
        self.partial.entry(kind).or_default().insert(number);
        Ok((number, taken))
    }

    fn take_alone(&mut self, pages: usize) -> io::Result<(Piece, usize)> {
        let span = self.pages(pages, true)?;
        let run = self.add(Run::Alone(span));
        let at = NonNull::new(self.address(span)).expect("a region does not begin at address 0");
        Ok((Piece { at, run, size_bytes: span.bytes() }, span.bytes()))
    }

    fn put_back(&mut self, at: NonNull<u8>, RunId(number): RunId) -> Option<Emptied> {
        let run = &mut self.runs[number as usize];
        match run {
            Run::Shared { kind, span, free } => {
                let (kind, span) = (*kind, *span);
                let base = self.regions[span.region].as_ptr().as_ptr().addr();
                let offset = at.as_ptr().addr() - base - span.page * PAGE_BYTES;
                let bit = 1u128 << (offset / kind.block_bytes());
                assert!(*free & bit == 0, "a block's memory is put back once");
                let was_full = *free == 0;
                *free |= bit;
                if *free != kind.all_free() {
                    if was_full {
                        self.partial.entry(kind).or_default().insert(number);
                    }
                    return None;
                }
                if !was_full {
                    self.partial.entry(kind).or_default().remove(&number);
                }
                if self.spare[kind.run].len() < SPARE_RUNS[kind.run] {
                    *run = Run::Spare(span);
                    self.spare[kind.run].push(number);
                    return None;
                }
                self.end(number);
                Some(Emptied::Run(span))
            }
            Run::Alone(span) => {
                let span = *span;
                self.end(number);
                Some(Emptied::Pages(span))
            }
            Run::Own(_) => match self.end(number) {
                Run::Own(own) => Some(Emptied::Own(own)),
                _ => unreachable!("looked at above"),
            },
            Run::Unused | Run::Spare(_) => unreachable!("no block lies in it"),
        }
    }

    fn add(&mut self, run: Run) -> RunId {
        if let Some(number) = self.unused.pop() {
            self.runs[number as usize] = run;
            return RunId(number);
        }
        self.runs.push(run);
        RunId(u32::try_from(self.runs.len() - 1).expect("so many blocks fit in no machine"))
    }

    fn end(&mut self, number: u32) -> Run {
        self.unused.push(number);
        std::mem::replace(&mut self.runs[number as usize], Run::Unused)
    }

    /// For a run, or for one long block.
    fn pages(&mut self, pages: usize, long: bool) -> io::Result<Span> {
        let span = match self.free.take(pages) {
            Some(span) => span,
            None => {
                self.add_region()?;
                self.free.take(pages).expect("a region has room for every run")
            }
        };
        self.huge.taken(span, long);
        Ok(span)
    }

    fn add_region(&mut self) -> io::Result<()> {
        let region = Reserved::new(REGION_BYTES)?;
        let whole = Span { region: self.regions.len(), page: 0, pages: REGION_BYTES / PAGE_BYTES };
        self.huge.add_region();
        self.regions.push(Arc::new(region));
        self.free.add(whole);
        Ok(())
    }

    fn address(&self, span: Span) -> *mut u8 {
        self.regions[span.region].as_ptr().as_ptr().wrapping_add(span.page * PAGE_BYTES)
    }
}

#[cfg(test)]
mod tests;
