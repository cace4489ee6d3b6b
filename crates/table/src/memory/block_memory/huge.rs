//! Which parts of the regions lie on huge pages.
//!
//! What is read here and there over more than some megabytes spends a tenth of its time on
//! finding pages of 4 KiB (docs/decisions/0019-huge-pages.md). But of a huge page nothing
//! can go alone, and the system makes huge again what has become small, with what was given
//! back filled with zeros: that memory would be in no account. So a slot, which is as large
//! as a huge page, is made one when all of it is taken, until a part of it is given back.
//!
//! Not by the thread that touches it first: in a control group that is full the system looks
//! for 2 MiB at once then, and a read waited 0.6 s. A thread of the background copies what
//! is there; who reads of it meanwhile waits for the copy, 0.2 ms.

use super::{FreePages, PAGE_BYTES, REGION_BYTES, Span};
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::Ordering;
use tanada_format::planted;
use tanada_vfs::Reserved;
use tanada_vfs::sync::OnceLock;
use tanada_vfs::sync::atomic::AtomicBool;

const SLOT_PAGES: usize = Reserved::HUGE_PAGE_BYTES / PAGE_BYTES;
const SLOTS: usize = REGION_BYTES / Reserved::HUGE_PAGE_BYTES;

/// What the slots of all regions are.
#[derive(Debug, Default)]
pub(super) struct HugeSlots {
    regions: Vec<[Slot; SLOTS]>,
    /// Those that are [`Pages::Asked`], and some that no longer are; each slot once.
    asked: VecDeque<Place>,
    /// Whether it has become longer.
    more: bool,
    /// How many slots are [`Pages::Huge`].
    huge: usize,
    /// Whether the system gives huge pages; without, nothing is asked for.
    given: bool,
}

/// A slot of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) region: usize,
    slot: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Pages in runs.
    taken: usize,
    pages: Pages,
    /// Whether it is in the queue.
    queued: bool,
}

/// What a slot lies on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pages {
    #[default]
    Small,
    /// All of it is taken.
    Asked,
    /// Somebody is copying it.
    Collapsing,
    /// A part of it went meanwhile.
    Broken,
    Huge,
}

/// Wakes whoever makes slots huge.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

/// Whether there is something to make huge, and for whom.
pub(super) struct Collapses {
    /// Set and cleared under the lock of the slots; read without, as a hint: relaxed.
    due: AtomicBool,
    wake: OnceLock<Wake>,
}

impl Collapses {
    pub(super) fn new() -> Collapses {
        Collapses { due: AtomicBool::new(false), wake: OnceLock::new() }
    }

    pub(super) fn is_due(&self) -> bool {
        self.due.load(Ordering::Relaxed)
    }

    /// Answers what it was.
    pub(super) fn set_due(&self, due: bool) -> bool {
        self.due.swap(due, Ordering::Relaxed)
    }

    /// Called when it has become due, without a lock.
    pub(super) fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    /// Without anybody that is woken, all stays on small pages.
    pub(super) fn served_by(&self, wake: Wake) {
        // A database has its threads started once.
        let _ = self.wake.set(wake);
    }
}

impl fmt::Debug for Collapses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collapses").field("due", &self.is_due()).finish_non_exhaustive()
    }
}

impl Place {
    /// Bytes of the region.
    pub(super) fn bytes(self) -> Range<usize> {
        let start = self.slot * Reserved::HUGE_PAGE_BYTES;
        start..start + Reserved::HUGE_PAGE_BYTES
    }

    fn span(self) -> Span {
        Span { region: self.region, page: self.slot * SLOT_PAGES, pages: SLOT_PAGES }
    }
}

impl HugeSlots {
    /// None yet.
    pub(super) fn new() -> HugeSlots {
        HugeSlots { given: Reserved::can_be_huge(), ..HugeSlots::default() }
    }

    /// A region more, wholly free and on small pages.
    pub(super) fn add_region(&mut self) {
        self.regions.push([Slot::default(); SLOTS]);
    }

    /// Notes that `span` is taken, for a run or for one long block. A long one asks for
    /// nothing: it may be a reader's, gone with it and back with the next; and where it
    /// takes a slot alone, that would be huge at its first touch.
    pub(super) fn taken(&mut self, span: Span, long: bool) {
        for place in places_of(span) {
            self.regions[place.region][place.slot].taken += span.overlap(place.span()).pages;
            if !long {
                self.ask_for(place);
            }
        }
    }

    /// Asks for a slot that is wholly taken.
    fn ask_for(&mut self, place: Place) {
        let slot = &mut self.regions[place.region][place.slot];
        if self.given && slot.taken == SLOT_PAGES && slot.pages == Pages::Small {
            slot.pages = Pages::Asked;
            if !std::mem::replace(&mut slot.queued, true) {
                self.asked.push_back(place);
            }
            self.more = true;
        }
    }

    /// Bytes on huge pages.
    pub(super) fn huge_bytes(&self) -> u64 {
        (self.huge * Reserved::HUGE_PAGE_BYTES) as u64
    }

    /// Whether there is more to make huge than when this was last asked.
    pub(super) fn take_more(&mut self) -> bool {
        std::mem::take(&mut self.more)
    }

    /// Notes that `span`, whose run has ended, is to be given back. Answers the slots that
    /// must be on small pages before.
    pub(super) fn released(&mut self, span: Span) -> Vec<Place> {
        let mut to_small = Vec::new();
        for place in places_of(span) {
            let slot = &mut self.regions[place.region][place.slot];
            slot.taken -= span.overlap(place.span()).pages;
            slot.pages = match slot.pages {
                Pages::Small | Pages::Asked => Pages::Small,
                // Whoever copies it sees that.
                Pages::Collapsing | Pages::Broken => Pages::Broken,
                Pages::Huge if planted!(huge_page_kept_when_a_part_goes) => Pages::Huge,
                Pages::Huge => {
                    self.huge -= 1;
                    to_small.push(place);
                    Pages::Small
                }
            };
        }
        to_small
    }

    /// The next slot to make huge, for this caller alone, until [`HugeSlots::collapsed`].
    pub(super) fn next_to_collapse(&mut self) -> Option<Place> {
        while let Some(place) = self.asked.pop_front() {
            let slot = &mut self.regions[place.region][place.slot];
            slot.queued = false;
            if slot.pages == Pages::Asked {
                slot.pages = Pages::Collapsing;
                return Some(place);
            }
        }
        None
    }

    /// Notes that the slot was copied. `None` when all of it is still taken. Else it must be
    /// on small pages again, and what is free of it is answered, taken from the free pages,
    /// to be given back once more: the copy has filled it.
    pub(super) fn collapsed(&mut self, place: Place, free: &mut FreePages) -> Option<Vec<Span>> {
        let slot = &mut self.regions[place.region][place.slot];
        if slot.pages == Pages::Collapsing {
            slot.pages = Pages::Huge;
            self.huge += 1;
            return None;
        }
        // Still broken, so that nobody asks for it before it is small.
        Some(free.cut(place.span()))
    }

    /// The slot is on small pages again. It may have been taken wholly meanwhile.
    pub(super) fn mended(&mut self, place: Place) {
        self.regions[place.region][place.slot].pages = Pages::Small;
        self.ask_for(place);
    }

    /// Asserts what the head of this file says, while nobody takes or gives back.
    #[cfg(test)]
    pub(super) fn check(&self, free: &FreePages) {
        for (region, slots) in self.regions.iter().enumerate() {
            for (number, slot) in slots.iter().enumerate() {
                let place = Place { region, slot: number };
                assert_eq!(slot.taken, SLOT_PAGES - free.within(place.span()));
                let expected: &[Pages] = match slot.taken == SLOT_PAGES {
                    // Small where a long block came last.
                    true => &[Pages::Small, Pages::Asked, Pages::Huge],
                    false => &[Pages::Small],
                };
                assert!(expected.contains(&slot.pages), "{slot:?}");
                assert!(slot.queued || slot.pages != Pages::Asked);
            }
        }
        let huge = self.regions.iter().flatten().filter(|slot| slot.pages == Pages::Huge);
        assert_eq!(huge.count(), self.huge);
        assert!(self.asked.len() <= self.regions.len() * SLOTS);
    }
}

fn places_of(Span { region, page, pages }: Span) -> impl Iterator<Item = Place> {
    let slots = page / SLOT_PAGES..(page + pages).div_ceil(SLOT_PAGES);
    slots.map(move |slot| Place { region, slot })
}
