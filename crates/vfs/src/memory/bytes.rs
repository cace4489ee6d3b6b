//! The bytes of one file, twice: as reads see them, and as the disk has them.
//!
//! Pages are shared between the two, and between a machine and its
//! successors, until written to.

use super::dice::Dice;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a disk writes whole or not at all, nearly always.
pub const SECTOR_BYTES: usize = 512;

const PAGE_BYTES: usize = 4096;
const SECTORS: usize = PAGE_BYTES / SECTOR_BYTES;

type Page = [u8; PAGE_BYTES];

/// One state of a file's bytes. Pages that were never written are absent, or
/// lie behind the end of the vector, and read as zero.
///
/// Invariant: bytes behind `len` are zero.
#[derive(Clone, Debug, Default)]
struct Image {
    pages: Vec<Option<Arc<Page>>>,
    len: u64,
}

impl Image {
    fn page(&self, index: usize) -> Option<&Arc<Page>> {
        self.pages.get(index)?.as_ref()
    }

    fn set_page(&mut self, index: usize, page: Option<Arc<Page>>) {
        if index >= self.pages.len() {
            self.pages.resize(index + 1, None);
        }
        self.pages[index] = page;
    }

    fn page_mut(&mut self, index: usize) -> &mut Page {
        if index >= self.pages.len() {
            self.pages.resize(index + 1, None);
        }
        Arc::make_mut(self.pages[index].get_or_insert_with(|| Arc::new([0; PAGE_BYTES])))
    }

    fn truncate(&mut self, len: u64) {
        self.len = len;
        let (full, rest) = (len / PAGE_BYTES as u64, (len % PAGE_BYTES as u64) as usize);
        let keep = full as usize + usize::from(rest > 0);
        self.pages.truncate(keep);
        if rest > 0 && self.page(full as usize).is_some() {
            self.page_mut(full as usize)[rest..].fill(0);
        }
    }
}

/// The bytes of a file, with what of them is durable.
///
/// Invariant: a sector in which `now` and `durable` differ is either in
/// `dirty`, or was so when a sync failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Bytes {
    now: Image,
    durable: Image,
    /// By page: a bit for each sector that the next sync will write.
    dirty: BTreeMap<usize, u8>,
    /// Whether the next sync will write the length.
    len_dirty: bool,
}

impl Bytes {
    /// `len` zeros, whose length is not durable yet.
    pub(super) fn zeros(len: u64) -> Bytes {
        let now = Image { pages: Vec::new(), len };
        Bytes { now, len_dirty: len > 0, ..Bytes::default() }
    }

    pub(super) fn len(&self) -> u64 {
        self.now.len
    }

    /// Fills `buf` from `offset`; false when the file ends first.
    pub(super) fn read(&self, mut offset: u64, mut buf: &mut [u8]) -> bool {
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > self.now.len) {
            return false;
        }
        while !buf.is_empty() {
            let (index, from) = split(offset);
            let n = buf.len().min(PAGE_BYTES - from);
            let (now, later) = buf.split_at_mut(n);
            match self.now.page(index) {
                Some(page) => now.copy_from_slice(&page[from..from + n]),
                None => now.fill(0),
            }
            buf = later;
            offset += n as u64;
        }
        true
    }

    /// Writes `bytes` at `offset`, making the file longer where they pass its end.
    pub(super) fn write(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (index, from) = split(offset);
            let n = bytes.len().min(PAGE_BYTES - from);
            let (now, later) = bytes.split_at(n);
            self.now.page_mut(index)[from..from + n].copy_from_slice(now);
            let sectors = self.dirty.entry(index).or_default();
            for sector in from / SECTOR_BYTES..=(from + n - 1) / SECTOR_BYTES {
                *sectors |= 1 << sector;
            }
            bytes = later;
            offset += n as u64;
        }
        if offset > self.now.len {
            self.now.len = offset;
            self.len_dirty = true;
        }
    }

    /// Cuts off what lies behind `len`. The disk has it until the next sync.
    pub(super) fn truncate(&mut self, len: u64) {
        if len >= self.now.len {
            return;
        }
        self.now.truncate(len);
        self.dirty.retain(|&page, _| page as u64 * PAGE_BYTES as u64 <= len);
        self.len_dirty = true;
    }

    /// Makes what is dirty durable.
    pub(super) fn sync(&mut self) {
        for (index, sectors) in std::mem::take(&mut self.dirty) {
            let same_but_dirty = sectors == u8::MAX
                || (0..SECTORS).all(|sector| {
                    sectors & (1 << sector) != 0
                        || sector_of(self.now.page(index), sector)
                            == sector_of(self.durable.page(index), sector)
                });
            if same_but_dirty {
                self.durable.set_page(index, self.now.page(index).cloned());
                continue;
            }
            for sector in (0..SECTORS).filter(|sector| sectors & (1 << sector) != 0) {
                let range = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
                let new = sector_of(self.now.page(index), sector);
                self.durable.page_mut(index)[range].copy_from_slice(new);
            }
        }
        if std::mem::take(&mut self.len_dirty) {
            if self.now.len < self.durable.len {
                self.durable.truncate(self.now.len);
            }
            self.durable.len = self.now.len;
        }
    }

    /// A sync that fails: nothing becomes durable, and all counts as written.
    pub(super) fn fail_sync(&mut self) {
        self.dirty.clear();
        self.len_dirty = false;
    }

    /// What a power cut leaves; all of it durable.
    pub(super) fn after_power_cut(&self, dice: &mut Dice) -> Bytes {
        // A fair coin for each sector would almost never leave a long run of
        // survivors, or none at all; so the coin is chosen first.
        let permille = [0, 100, 500, 900, 1000][dice.below(5) as usize];
        let mut left = self.durable.clone();
        for index in 0..self.now.pages.len() {
            let (Some(now), old) = (self.now.page(index), self.durable.page(index)) else {
                continue;
            };
            if old.is_some_and(|old| Arc::ptr_eq(old, now)) {
                continue;
            }
            for sector in 0..SECTORS {
                let new = sector_of(Some(now), sector);
                if new == sector_of(old, sector) {
                    continue;
                }
                let kept = match dice.chance(permille) {
                    true => SECTOR_BYTES,
                    false if dice.chance(200) => dice.below(SECTOR_BYTES as u64) as usize,
                    false => 0,
                };
                if kept > 0 {
                    let from = sector * SECTOR_BYTES;
                    left.page_mut(index)[from..from + kept].copy_from_slice(&new[..kept]);
                }
            }
        }
        left.truncate(self.len_after_power_cut(permille, dice));
        Bytes { now: left.clone(), durable: left, ..Bytes::default() }
    }

    fn len_after_power_cut(&self, permille: u64, dice: &mut Dice) -> u64 {
        let (old, new) = (self.durable.len, self.now.len);
        if old == new || dice.chance(permille) {
            new
        } else if dice.chance(500) {
            old
        } else {
            old.min(new) + dice.below(old.abs_diff(new))
        }
    }
}

/// The page of an offset, and the place in it.
fn split(offset: u64) -> (usize, usize) {
    ((offset / PAGE_BYTES as u64) as usize, (offset % PAGE_BYTES as u64) as usize)
}

fn sector_of(page: Option<&Arc<Page>>, sector: usize) -> &[u8] {
    static ZEROS: [u8; SECTOR_BYTES] = [0; SECTOR_BYTES];
    match page {
        Some(page) => &page[sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES],
        None => &ZEROS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &Bytes) -> Vec<u8> {
        let mut buf = vec![0; bytes.len() as usize];
        assert!(bytes.read(0, &mut buf));
        buf
    }

    #[test]
    fn each_sector_of_an_unsynced_write_is_kept_dropped_or_torn_on_its_own() {
        let mut bytes = Bytes::zeros(64 << 10);
        bytes.sync();
        bytes.write(100, &[7; 20_000]);
        let (mut kept_after_dropped, mut torn) = (0, 0);
        for seed in 0..200 {
            let left = all(&bytes.after_power_cut(&mut Dice::new(seed)));
            assert_eq!(left.len(), 64 << 10);
            assert!(left[..100].iter().chain(&left[20_100..]).all(|b| *b == 0));
            let counts: Vec<usize> = left[512..19_968]
                .chunks(512)
                .map(|sector| {
                    let n = sector.iter().take_while(|b| **b == 7).count();
                    assert!(sector[n..].iter().all(|b| *b == 0), "a tear has one edge");
                    n
                })
                .collect();
            kept_after_dropped += usize::from(counts.windows(2).any(|w| w == [0, 512]));
            torn += usize::from(counts.iter().any(|n| *n > 0 && *n < 512));
        }
        assert!(kept_after_dropped > 50, "{kept_after_dropped}");
        assert!(torn > 50, "{torn}");
    }

    #[test]
    fn synced_bytes_survive_every_cut_even_beside_unsynced_ones_in_their_sector() {
        let mut bytes = Bytes::default();
        bytes.write(0, &[1; 700]);
        bytes.sync();
        bytes.write(700, &[2; 5000]);
        for seed in 0..200 {
            let left = all(&bytes.after_power_cut(&mut Dice::new(seed)));
            assert!(left.len() >= 700 && left.len() <= 5700);
            assert!(left[..700].iter().all(|b| *b == 1), "seed {seed}");
            assert!(left[700..].iter().all(|b| *b == 0 || *b == 2), "seed {seed}");
        }
    }

    #[test]
    fn after_a_failed_sync_the_next_one_writes_only_what_came_later() {
        let mut bytes = Bytes::default();
        bytes.write(0, &[1; 512]);
        bytes.fail_sync();
        bytes.write(512, &[2; 512]);
        bytes.sync();
        assert_eq!(all(&bytes)[..512], [1; 512], "reads see what was never written");
        let lost = (0..50)
            .filter(|seed| all(&bytes.after_power_cut(&mut Dice::new(*seed)))[..512] != [1; 512])
            .count();
        assert!(lost > 10, "{lost}");
        for seed in 0..50 {
            assert_eq!(all(&bytes.after_power_cut(&mut Dice::new(seed)))[512..], [2; 512]);
        }
    }

    #[test]
    fn a_file_cut_short_reads_zeros_where_it_grows_again() {
        let mut image = Image::default();
        image.page_mut(0).fill(9);
        image.page_mut(1).fill(9);
        image.len = 8192;
        image.truncate(5000);
        assert!(image.page(1).unwrap()[904..].iter().all(|b| *b == 0));
        image.truncate(4096);
        assert!(image.page(1).is_none());
    }
}
