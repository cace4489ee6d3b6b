//! Which pages are free, so that neighbours become one again.

use super::Span;
use std::collections::{BTreeMap, BTreeSet};

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

    fn insert(&mut self, region: usize, page: usize, pages: usize) {
        self.by_place.insert((region, page), pages);
        self.by_length.insert((pages, region, page));
    }

    fn remove(&mut self, region: usize, page: usize, pages: usize) {
        self.by_place.remove(&(region, page));
        self.by_length.remove(&(pages, region, page));
    }
}
