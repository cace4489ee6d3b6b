//! Blocks of every size, taken and put back.

use super::*;

/// A piece with a mark in its first and last byte.
struct Marked {
    piece: Piece,
    asked: usize,
    mark: u8,
}

fn take(memory: &BlockMemory, asked: usize, mark: u8) -> Marked {
    let piece = memory.take(asked).unwrap();
    assert!(piece.size_bytes >= asked && piece.size_bytes == size_of_block(asked));
    assert_eq!(piece.at.as_ptr().addr() % ALIGN, 0);
    // SAFETY: `take` gave so many bytes.
    unsafe {
        piece.at.write(mark);
        piece.at.add(asked - 1).write(mark);
    }
    Marked { piece, asked, mark }
}

fn put_back(memory: &BlockMemory, marked: Marked) {
    let Marked { piece, asked, mark } = marked;
    // SAFETY: `take` gave it, and it is put back once.
    unsafe {
        assert_eq!((piece.at.read(), piece.at.add(asked - 1).read()), (mark, mark));
        memory.put_back(piece.at, piece.run);
    }
}

#[test]
fn blocks_of_every_size_keep_their_bytes_and_all_is_given_back() {
    let memory = BlockMemory::new();
    let (mut held, mut die) = (Vec::new(), 1u64);
    let rounds = if cfg!(miri) { 100 } else { 20_000 };
    for round in 0..rounds {
        die = die.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let die = (die >> 33) as usize;
        if die % 5 < 2 && !held.is_empty() {
            put_back(&memory, held.swap_remove(die % held.len()));
        } else {
            let longest = [600, 5_000, 9_000, 40_000, 300_000][die % 5];
            held.push(take(&memory, 1 + die / 5 % longest, round as u8));
        }
        if held.len() > 2_000 {
            held.drain(..1_500).for_each(|marked| put_back(&memory, marked));
        }
    }
    held.push(take(&memory, OWN_BYTES + 1, 3));
    let least: usize = held.iter().map(|marked| marked.asked).sum();
    assert!(memory.resident_bytes() >= least as u64);
    held.drain(..).for_each(|marked| put_back(&memory, marked));
    assert_eq!(memory.resident_bytes(), spare_bytes());
    let runs = memory.runs.lock();
    assert!(runs.partial.values().all(BTreeSet::is_empty));
    let free: usize = runs.free.by_place.values().sum();
    let regions = runs.regions.len() * REGION_BYTES / PAGE_BYTES;
    assert_eq!(free, regions - spare_bytes() as usize / PAGE_BYTES);
    assert_eq!(runs.free.by_place.len(), runs.free.by_length.len());
}

/// Pages of all regions that take memory.
#[cfg(target_os = "linux")]
#[allow(clippy::disallowed_types, clippy::disallowed_methods)] // what the kernel says of itself
fn present_pages(runs: &Runs) -> usize {
    use std::io::{Read, Seek, SeekFrom};
    let mut map = std::fs::File::open("/proc/self/pagemap").unwrap();
    let mut of_region = |region: &Arc<Reserved>| {
        let first = region.as_ptr().as_ptr().addr() / PAGE_BYTES;
        map.seek(SeekFrom::Start(first as u64 * 8)).unwrap();
        let mut entries = vec![0; REGION_BYTES / PAGE_BYTES * 8];
        map.read_exact(&mut entries).unwrap();
        let (entries, _) = entries.as_chunks::<8>();
        entries.iter().filter(|entry| u64::from_le_bytes(**entry) >> 62 != 0).count()
    };
    runs.regions.iter().map(&mut of_region).sum()
}

/// A copy to a huge page fills what is free of it, and what is given back of one stays with
/// the process if the whole does.
#[test]
#[cfg(target_os = "linux")]
fn no_more_memory_is_taken_than_what_is_counted_whatever_is_put_on_huge_pages() {
    let memory = BlockMemory::new();
    let (mut held, mut die) = (Vec::new(), 5u64);
    for round in 0..64 {
        // Wanes and grows again, up to some 60 MiB.
        let longest = [4_000, 5_000, 40_000, 3_000_000][round % 4];
        let most = [50_usize << 20, 20 << 20, 64 << 20, 0][round / 2 % 4];
        while (memory.resident_bytes() as usize) < most {
            die = die.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            held.push(take(&memory, longest - (die >> 33) as usize % (longest / 2), round as u8));
        }
        while memory.resident_bytes() as usize > most && !held.is_empty() {
            die = die.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (die >> 33) as usize % held.len();
            // Whole runs, as a cache that must shrink gives them up.
            let run = held[at].piece.run;
            let (gone, left) = held.drain(..).partition(|marked| marked.piece.run == run);
            held = left;
            Vec::into_iter(gone).for_each(|marked| put_back(&memory, marked));
        }
        if round % 3 > 0 {
            while memory.collapse() {}
            assert!(!memory.may_collapse());
        }
        let runs = memory.runs.lock();
        let counted = memory.resident_bytes() as usize / PAGE_BYTES;
        let present = present_pages(&runs);
        assert!(present <= counted, "{present} pages, {counted} in the account");
        runs.huge.check(&runs.free);
    }
    assert!(held.is_empty());
    memory.give_back_spare();
    assert_eq!(present_pages(&memory.runs.lock()), 0);
}

/// A scan's read-ahead comes and goes in the same hole: 2 MiB were copied, and split again,
/// for each.
#[test]
fn long_blocks_ask_for_no_huge_pages() {
    let memory = BlockMemory::new();
    let whole = take(&memory, 3 * Reserved::HUGE_PAGE_BYTES, 1);
    let mut rest: Vec<_> = (0..61).map(|i| take(&memory, 32 << 10, i)).collect();
    while memory.collapse() {}
    for round in 0..10 {
        let long = take(&memory, 128 << 10, round);
        assert!(!memory.may_collapse());
        put_back(&memory, long);
    }
    rest.push(whole);
    rest.into_iter().for_each(|marked| put_back(&memory, marked));
}

/// What goes while the system copies it is filled by the copy.
#[test]
#[cfg(target_os = "linux")]
fn what_goes_while_it_is_put_on_a_huge_page_is_given_back_all_the_same() {
    let memory = BlockMemory::new();
    let to_a_huge_page = Reserved::HUGE_PAGE_BYTES / RUN_BYTES[1];
    let mut held: Vec<_> =
        (0..3 * to_a_huge_page * 8).map(|i| take(&memory, 32 << 10, i as u8)).collect();
    for marked in &held {
        // Every page of it. SAFETY: `take` gave so many bytes.
        unsafe { marked.piece.at.write_bytes(marked.mark, marked.asked) };
    }
    let (region, place) = memory.next_to_collapse().unwrap();
    // Five runs of the first eight: two of them stay as spare ones.
    held.drain(..40).for_each(|marked| put_back(&memory, marked));
    region.make_huge(place.bytes());
    // Taken again before the copy ends: asked for once more.
    held.extend((0..8).map(|i| take(&memory, 32 << 10, i)));
    memory.end_collapse(&region, place);
    let present = |memory: &BlockMemory| present_pages(&memory.runs.lock()) * PAGE_BYTES;
    assert!(present(&memory) <= memory.resident_bytes() as usize);
    let runs = memory.runs.lock();
    runs.huge.check(&runs.free);
    drop(runs);
    held.extend((0..32).map(|i| take(&memory, 32 << 10, i)));
    while memory.collapse() {}
    let runs = memory.runs.lock();
    runs.huge.check(&runs.free);
    drop(runs);
    held.into_iter().for_each(|marked| put_back(&memory, marked));
    memory.give_back_spare();
    assert_eq!(present(&memory), 0);
}

/// What all spare runs take, when there are as many as may be.
fn spare_bytes() -> u64 {
    SPARE_RUNS.iter().zip(RUN_BYTES).map(|(runs, bytes)| (runs * bytes) as u64).sum()
}

#[test]
fn a_run_with_one_block_left_stays_and_takes_the_next_ones() {
    let run_bytes = RUN_BYTES[1] as u64;
    let memory = BlockMemory::new();
    let mut held: Vec<_> = (0..630).map(|i| take(&memory, 4096, i as u8)).collect();
    assert_eq!(memory.resident_bytes(), 10 * run_bytes, "63 to a run");
    let kept: Vec<_> = (0..10).map(|i| held.remove(i * 62)).collect();
    held.drain(..).for_each(|marked| put_back(&memory, marked));
    assert_eq!(memory.resident_bytes(), 10 * run_bytes);
    held.extend((0..620).map(|i| take(&memory, 4000, i as u8)));
    assert_eq!(memory.resident_bytes(), 10 * run_bytes);
    held.into_iter().chain(kept).for_each(|marked| put_back(&memory, marked));
    assert_eq!(memory.resident_bytes(), SPARE_RUNS[1] as u64 * run_bytes);
    memory.give_back_spare();
    assert_eq!(memory.resident_bytes(), 0);
}

/// Heads at one place of every page share a few sets of the processor's caches.
#[test]
fn blocks_of_the_usual_length_begin_at_different_places_of_their_pages() {
    let memory = BlockMemory::new();
    let held: Vec<_> = (0..63).map(|i| take(&memory, 4096, i)).collect();
    let place = |marked: &Marked| marked.piece.at.as_ptr().addr() % PAGE_BYTES;
    let places: std::collections::HashSet<_> = held.iter().map(place).collect();
    assert_eq!(places.len(), 63);
    held.into_iter().for_each(|marked| put_back(&memory, marked));
}

#[test]
fn no_block_takes_much_more_than_it_asked_for() {
    assert_eq!([512, 4096, 32 << 10].map(size_of_block), [512, 4160, 32 << 10]);
    let mut last = 0;
    for asked in 1..100_000 {
        let size = size_of_block(asked);
        assert!(size >= asked.max(last) && size.is_multiple_of(ALIGN));
        assert!(size <= asked.max(448) * 9 / 8 + ALIGN, "{size} for {asked}");
        last = size;
    }
}
