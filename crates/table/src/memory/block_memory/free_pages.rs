//! Which pages are free, so that neighbours become one again.

use super::PAGE_BYTES;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Pages of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    pub(super) region: usize,
    pub(super) page: usize,
    pub(super) pages: usize,
}

impl Span {
    pub(super) fn bytes(&self) -> usize {
        self.pages * PAGE_BYTES
    }

    /// Of the region.
    pub(super) fn byte_range(&self) -> Range<usize> {
        self.page * PAGE_BYTES..self.end() * PAGE_BYTES
    }

    /// The page behind it.
    pub(super) fn end(&self) -> usize {
        self.page + self.pages
    }

    /// What it shares with another of its region.
    pub(super) fn overlap(&self, other: Span) -> Span {
        let page = self.page.max(other.page);
        let pages = self.end().min(other.end()).saturating_sub(page);
        Span { region: self.region, page, pages }
    }
}

/// Stretches of address space, joined where they touch.
#[derive(Debug, Default)]
pub(super) struct FreePages {
    /// By place: region and first page to number of pages.
    pub(super) by_place: BTreeMap<(usize, usize), usize>,
    /// By length: number of pages, region, first page.
    pub(super) by_length: BTreeSet<(usize, usize, usize)>,
}

impl FreePages {
    /// The shortest stretch that is long enough, or its beginning.
    pub(super) fn take(&mut self, pages: usize) -> Option<Span> {
        let &(length, region, page) = self.by_length.range((pages, 0, 0)..).next()?;
        self.remove(region, page, length);
        if length > pages {
            self.insert(region, page + pages, length - pages);
        }
        Some(Span { region, page, pages })
    }

    pub(super) fn add(&mut self, Span { region, mut page, mut pages }: Span) {
        if let Some((&(_, before), &length)) =
            self.by_place.range((region, 0)..(region, page)).next_back()
            && before + length == page
        {
            self.remove(region, before, length);
            (page, pages) = (before, length + pages);
        }
        if let Some(&length) = self.by_place.get(&(region, page + pages)) {
            self.remove(region, page + pages, length);
            pages += length;
        }
        self.insert(region, page, pages);
    }

    /// How many pages of `place` are free.
    #[cfg(test)]
    pub(super) fn within(&self, place: Span) -> usize {
        self.overlapping(place).map(|free| free.overlap(place).pages).sum()
    }

    /// Takes what of `place` is free.
    pub(super) fn cut(&mut self, place: Span) -> Vec<Span> {
        let mut cut: Vec<_> = self.overlapping(place).collect();
        for free in &mut cut {
            self.remove(free.region, free.page, free.pages);
            let part = free.overlap(place);
            if free.page < part.page {
                self.insert(free.region, free.page, part.page - free.page);
            }
            if part.end() < free.end() {
                self.insert(free.region, part.end(), free.end() - part.end());
            }
            *free = part;
        }
        cut
    }

    /// Stretches that have pages of `place`.
    fn overlapping(&self, place: Span) -> impl Iterator<Item = Span> {
        let Span { region, page, .. } = place;
        let before = self.by_place.range((region, 0)..(region, page)).next_back();
        let from = self.by_place.range((region, page)..(region, place.end()));
        let all = before.into_iter().chain(from);
        let all = all.map(|(&(region, page), &pages)| Span { region, page, pages });
        all.filter(move |free| free.end() > page)
    }

    fn insert(&mut self, region: usize, page: usize, pages: usize) {
        self.by_place.insert((region, page), pages);
        self.by_length.insert((pages, region, page));
    }

    fn remove(&mut self, region: usize, page: usize, pages: usize) {
        self.by_place.remove(&(region, page));
        self.by_length.remove(&(pages, region, page));
    }
}
