//! The block cache as tables use it: its budget, its counters, its races.

mod house;
#[path = "../../vfs/tests/house/alone.rs"]
mod alone;

use house::{Bytes, DATABASE, Entry, ID, bytes, options, read, table, write};
use std::cell::Cell;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use tanada_format::{Origin, SeqNo, TableId, hash_key};
use tanada_table::{
    BlockCache, BlockCacheStats, CacheUse, Compression, Cursor, CursorOptions, Error, FilterStats,
    GetContext, GetTrace, ReadMode, Table, TableCursor, TableOptions,
};
use tanada_vfs::{Env, ReadFile};

/// `count` entries of some 116 bytes: key `user:000000` on, value from the number.
fn entries(count: u64) -> Vec<Entry> {
    (0..count).map(|i| Entry::put(format!("user:{i:06}"), i + 1, value(i))).collect()
}

fn value(i: u64) -> Vec<u8> {
    (0..100).map(|b| (i.wrapping_mul(0x9e37_79b9) >> (b % 24)) as u8).collect()
}

fn get(table: &Table, i: u64, context: &GetContext<'_>) -> Result<Option<Vec<u8>>, Error> {
    let key = format!("user:{i:06}").into_bytes();
    Ok(table.get(&key, hash_key(&key), SeqNo::MAX, context)?.map(|f| f.value.to_vec()))
}

#[test]
fn the_capacity_holds_shrinks_and_grows_and_a_dropped_table_gives_all_back() {
    let env = Env::memory(1);
    write(&env, options(), &entries(10_000));
    let cache = BlockCache::new(300_000);
    let table = read(&env, &cache);
    let context = GetContext::default();
    for capacity in [300_000, 100_000, 250_000, 1 << 30, 40_000] {
        cache.set_capacity(capacity);
        assert!(cache.used_bytes() <= capacity);
        for i in 0..3000 {
            let i = i * 7919 % 10_000;
            assert_eq!(get(&table, i, &context).unwrap().unwrap(), value(i));
            assert!(cache.used_bytes() <= capacity, "after {i}");
        }
    }
    let stats = cache.stats();
    assert_eq!(stats.blocks, stats.insertions - stats.evictions);
    assert!(stats.evictions > 1000 && stats.blocks > 4, "{stats:?}");
    assert_eq!(stats.resident_bytes, table.resident_bytes());
    drop(table);
    assert_eq!((cache.used_bytes(), cache.stats().blocks), (0, 0));
}

#[test]
fn a_full_cache_lets_a_block_in_at_its_second_miss() {
    let env = Env::memory(1);
    write(&env, options(), &entries(10_000));
    let cache = BlockCache::new(200_000);
    let table = read(&env, &cache);
    let context = GetContext::default();
    // One key after another: no block comes back.
    (0..9000).for_each(|i| drop(get(&table, i, &context).unwrap()));
    let figures = || (cache.stats().data_misses, cache.stats().insertions);
    let (misses, insertions) = figures();
    for (more_misses, more_insertions) in [(1, 0), (2, 1), (2, 1)] {
        assert_eq!(get(&table, 9500, &context).unwrap().unwrap(), value(9500));
        assert_eq!(figures(), (misses + more_misses, insertions + more_insertions));
    }
}

#[test]
fn a_block_larger_than_the_cache_is_read_and_not_kept() {
    let env = Env::memory(1);
    write(&env, options(), &[Entry::put("k", 1, vec![3; 500_000])]);
    let cache = BlockCache::new(100_000);
    let table = read(&env, &cache);
    for _ in 0..2 {
        let found = table.get(b"k", hash_key(b"k"), SeqNo::MAX, &GetContext::default()).unwrap();
        assert_eq!(found.unwrap().value, vec![3; 500_000]);
    }
    assert_eq!(cache.stats().data_misses, 2);
    assert!(cache.used_bytes() < 100_000);
}

#[test]
fn huge_values_work_with_every_compression() {
    let huge: Vec<u8> = (0..(12u32 << 20)).map(|i| (i ^ (i >> 9)) as u8).collect();
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let mut all = entries(100);
        all.push(Entry::put("user:000050x", 7, &huge));
        all.push(Entry::put("user:000050y", 7, &huge[..4_000_000]));
        let all = house::sorted(all);
        let table = table(TableOptions { compression, ..options() }, &all);
        table.verify().unwrap();
        let key = b"user:000050x";
        let found = table.get(key, hash_key(key), SeqNo::MAX, &GetContext::default()).unwrap();
        assert!(found.unwrap().value == huge);
        let mut cursor = TableCursor::new(table, CursorOptions::compaction());
        cursor.seek(b"user:000050", SeqNo::MAX).unwrap();
        for len in [100, huge.len(), 4_000_000, 100] {
            assert_eq!(cursor.entry().value.len(), len);
            cursor.next().unwrap();
        }
    }
}

#[test]
fn memory_only_reads_never_touch_the_disk_and_answer_once_the_blocks_are_there() {
    let env = Env::memory(1);
    write(&env, options(), &entries(2000));
    let cache = BlockCache::new(1 << 20);
    let file = Arc::new(CountingFile::new(bytes(&env)));
    let table = Table::open(file.clone(), Origin::local(DATABASE, ID), &cache).unwrap();
    let opening = file.reads.load(Ordering::Relaxed);
    assert_eq!(opening, 1, "opening a small table takes one read");
    let memory = GetContext { mode: ReadMode::MemoryOnly, ..GetContext::default() };
    assert!(matches!(get(&table, 5, &memory), Err(Error::WouldBlock)));
    assert_eq!(file.reads.load(Ordering::Relaxed), opening);
    get(&table, 5, &GetContext::default()).unwrap();
    assert_eq!(file.reads.load(Ordering::Relaxed), opening + 3, "filter, index and data");
    assert_eq!(get(&table, 5, &memory).unwrap().unwrap(), value(5));
    assert!(matches!(get(&table, 1500, &memory), Err(Error::WouldBlock)));
    assert_eq!(get(&table, 2_000_000, &memory).unwrap(), None, "the filter is in memory");
    assert_eq!(file.reads.load(Ordering::Relaxed), opening + 3);
}

#[test]
fn a_trace_tells_what_each_part_answered_and_the_counters_agree() {
    let env = Env::memory(1);
    write(&env, options(), &entries(2000));
    let cache = BlockCache::new(1 << 20);
    let table = read(&env, &cache);
    let trace = Cell::new(GetTrace::default());
    let context = GetContext { trace: Some(&trace), ..GetContext::default() };
    get(&table, 9, &context).unwrap();
    let cold = trace.take();
    assert_eq!((cold.filter_maybe, cold.found), (Some(true), true));
    assert_eq!((cold.filter_cached, cold.index_cached), (Some(false), Some(false)));
    assert_eq!((cold.data_cached, cold.data_offset), (Some(false), Some(0)));
    get(&table, 9, &context).unwrap();
    let warm = trace.take();
    assert_eq!((warm.filter_cached, warm.index_cached), (Some(true), Some(true)));
    assert_eq!((warm.data_cached, warm.data_offset, warm.found), (Some(true), Some(0), true));

    let absent = 10_000..20_000;
    let mut false_positives = 0;
    for i in absent.clone() {
        assert_eq!(get(&table, i, &context).unwrap(), None);
        let trace = trace.take();
        assert!(!trace.found);
        assert_eq!(trace.data_cached.is_some(), trace.filter_maybe == Some(true));
        false_positives += u64::from(trace.filter_maybe == Some(true));
    }
    let stats = cache.filter_stats();
    assert_eq!(
        stats,
        FilterStats { negatives: 10_000 - false_positives, true_positives: 2, false_positives }
    );
    assert_eq!(stats.probes(), 10_002);
    let measured = false_positives as f64 / 10_000.0;
    let theory = table.properties().theoretical_false_positive_rate();
    assert!((theory / 2.0..theory * 2.0).contains(&measured), "{measured} {theory}");
    let stats = cache.stats();
    assert_eq!((stats.filter_misses, stats.filter_hits), (1, 10_001));
    assert_eq!((stats.index_misses, stats.index_hits), (1, 1 + false_positives));
    assert_eq!(stats.data_misses + stats.data_hits, 2 + false_positives);
    assert_eq!(stats.misses(), stats.insertions);
}

#[test]
fn compaction_reads_past_the_cache() {
    let env = Env::memory(1);
    write(&env, options(), &entries(5000));
    let cache = BlockCache::new(1 << 20);
    let table = read(&env, &cache);
    get(&table, 77, &GetContext::default()).unwrap();
    let before = cache.stats();
    let mut cursor = TableCursor::new(table.clone(), CursorOptions::compaction());
    cursor.seek_first().unwrap();
    let mut count = 0;
    while cursor.valid() {
        assert_eq!(cursor.entry().value, value(count));
        count += 1;
        cursor.next().unwrap();
    }
    assert_eq!(count, 5000);
    let bypass = GetContext { cache: CacheUse::Bypass, ..GetContext::default() };
    assert_eq!(get(&table, 4000, &bypass).unwrap().unwrap(), value(4000));
    let unlisted_bytes = before.unlisted_bytes; // the walk's own block and buffer
    assert_eq!(BlockCacheStats { unlisted_bytes, ..cache.stats() }, before);
}

#[test]
fn walking_on_reads_much_at_once_and_jumping_about_does_not() {
    let env = Env::memory(1);
    let compression = Compression::None;
    let summary = write(&env, TableOptions { compression, ..options() }, &entries(5000));
    let file = Arc::new(CountingFile::new(bytes(&env)));
    let table = Arc::new(
        Table::open(file.clone(), Origin::local(DATABASE, ID), &BlockCache::new(0)).unwrap(),
    );
    let count = |run: &dyn Fn(&mut TableCursor)| {
        let before = (file.reads.load(Ordering::Relaxed), file.bytes.load(Ordering::Relaxed));
        run(&mut TableCursor::new(table.clone(), CursorOptions::compaction()));
        (
            file.reads.load(Ordering::Relaxed) - before.0,
            file.bytes.load(Ordering::Relaxed) - before.1,
        )
    };
    let (reads, read_bytes) = count(&|cursor| {
        cursor.seek_first().unwrap();
        while cursor.valid() {
            cursor.next().unwrap();
        }
    });
    assert!(summary.properties.data_blocks > 100 && reads < 12, "{reads} reads");
    assert!(read_bytes < summary.size_bytes * 11 / 10, "only blocks cut in two are read again");
    let (reads, read_bytes) = count(&|cursor| {
        for i in 0..50 {
            cursor.seek(format!("user:{:06}", i * 97).as_bytes(), SeqNo::MAX).unwrap();
        }
    });
    assert!(reads <= 51 && read_bytes < 51 * 4200 + 10_000, "{reads} reads, {read_bytes} bytes");
}

#[test]
fn readers_evictions_and_changes_of_capacity_race_without_a_wrong_value_or_account() {
    const GETS: u64 = if cfg!(miri) { 40 } else { 4000 };
    const OPENINGS: u64 = if cfg!(miri) { 1 } else { 60 };
    // Miri runs no compression, which is written in C.
    let compression = if cfg!(miri) { Compression::None } else { options().compression };
    let options = || TableOptions { compression, ..options() };
    let env = Env::memory(1);
    write(&env, options(), &entries(GETS));
    let cache = BlockCache::new(60_000);
    let other = TableOptions { id: TableId(8), ..options() };
    let file = env.fs.create(Path::new("/other")).unwrap();
    let mut builder = tanada_table::TableBuilder::new(file, "/other", other);
    entries(500).iter().for_each(|e| builder.add(e.borrow()).unwrap());
    builder.finish().unwrap();
    let table = read(&env, &cache);
    std::thread::scope(|scope| {
        for seed in 0..4u64 {
            let (table, cache) = (&table, &cache);
            scope.spawn(move || {
                let mut held = Vec::new();
                for n in 0..GETS {
                    let i = (n * 7919 + seed * 1013) * (n + seed) % GETS;
                    let key = format!("user:{i:06}").into_bytes();
                    let context = GetContext::default();
                    let found = table.get(&key, hash_key(&key), SeqNo::MAX, &context).unwrap();
                    let found = found.unwrap();
                    assert_eq!(found.value, value(i));
                    // Some values outlive their block's stay in the cache.
                    if n % 50 == 0 {
                        held.push((i, found.value));
                    }
                    if seed == 0 && n % 16 == 0 {
                        cache.set_capacity(30_000 + n * 20);
                    }
                }
                held.iter().for_each(|(i, v)| assert_eq!(*v, value(*i)));
            });
        }
        // A second table comes and goes meanwhile.
        let (env, cache) = (&env, &cache);
        scope.spawn(move || {
            for _ in 0..OPENINGS {
                let file = env.fs.open(Path::new("/other")).unwrap();
                let table = Table::open(file, Origin::local(DATABASE, TableId(8)), cache).unwrap();
                for i in (0..500).step_by(29) {
                    let got = get(&table, i, &GetContext::default()).unwrap();
                    assert_eq!(got.unwrap(), value(i));
                }
            }
        });
    });
    assert!(cache.used_bytes() <= cache.capacity_bytes());
    let stats = cache.stats();
    assert_eq!(stats.resident_bytes, table.resident_bytes());
    assert_eq!(stats.data_hits + stats.data_misses, 4 * GETS + OPENINGS * 18);
    drop(table);
    assert_eq!((cache.used_bytes(), cache.stats().blocks), (0, 0));
}

/// Scenario block_cache_pays_twice: readers who missed the same block at the same time all
/// counted its bytes, and the sum only grew, until the cache held nothing (redb #870, #872).
/// Here both read it; one block is kept and paid for.
#[test]
fn two_readers_who_miss_the_same_block_pay_for_it_once() {
    let env = Env::memory(1);
    let compression = Compression::None;
    write(&env, TableOptions { bits_per_key: 0.0, compression, ..options() }, &entries(10));
    let file = Arc::new(MeetingFile { bytes: Bytes(bytes(&env)), meet: Barrier::new(2) });
    let cache = BlockCache::new(1 << 20);
    let table =
        Table::open(Arc::new(OpenFirst(file)), Origin::local(DATABASE, ID), &cache).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            // Both threads read the index, then both the data: each read waits for the other.
            scope.spawn(|| {
                assert_eq!(get(&table, 3, &GetContext::default()).unwrap().unwrap(), value(3));
            });
        }
    });
    let stats = cache.stats();
    assert_eq!((stats.index_misses, stats.data_misses), (2, 2));
    assert_eq!((stats.blocks, stats.insertions), (2, 2));
    drop(table);
    assert_eq!((cache.used_bytes(), cache.stats().blocks), (0, 0));
}

/// Counts reads.
#[derive(Debug)]
struct CountingFile {
    file: Bytes,
    reads: AtomicU64,
    bytes: AtomicU64,
}

impl CountingFile {
    fn new(bytes: Vec<u8>) -> CountingFile {
        CountingFile { file: Bytes(bytes), reads: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }
}

impl ReadFile for CountingFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.file.read_exact_at(buf, offset)
    }
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn path(&self) -> &Path {
        self.file.path()
    }
}

/// A file whose reads of blocks wait until two threads read.
#[derive(Debug)]
struct MeetingFile {
    bytes: Bytes,
    meet: Barrier,
}

/// Lets the one read of opening, which ends at the file's end, pass alone.
#[derive(Debug)]
struct OpenFirst(Arc<MeetingFile>);

impl ReadFile for OpenFirst {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        if offset + (buf.len() as u64) < self.len() {
            self.0.meet.wait();
        }
        self.0.bytes.read_exact_at(buf, offset)
    }
    fn len(&self) -> u64 {
        self.0.bytes.len()
    }
    fn path(&self) -> &Path {
        self.0.bytes.path()
    }
}

/// Scenario evicted_memory_not_returned (rocksdb #5222, #4112, mysql-5.6 #814).
/// Eviction in the order of age frees a block here and a block there, and no allocator can
/// give such pieces back: the heap stayed at 337 MiB while the cache fell to 47, and the
/// process went 400 MiB above its budget.
#[test]
fn a_cache_that_must_shrink_gives_its_memory_back_to_the_system() {
    if alone::has_run("a_cache_that_must_shrink_gives_its_memory_back_to_the_system") {
        return;
    }
    let env = Env::memory(1);
    write(&env, options(), &entries(60_000));
    let cache = BlockCache::new(64 << 20);
    let table = read(&env, &cache);
    let context = GetContext::default();
    let read_each = |step: usize| {
        for i in (0..60_000).step_by(step) {
            drop(get(&table, i, &context).unwrap());
        }
    };
    // Hardly a block twice.
    read_each(36);
    let full = cache.stats();
    let held = |stats: BlockCacheStats| stats.used_bytes + stats.unlisted_bytes;
    assert!(full.used_bytes > 6 << 20, "{full:?}");
    // What stays, because it was read again, lies here and there among what goes.
    read_each(144);
    // Some are looked at while they go.
    let look = |i: u64| {
        let key = format!("user:{i:06}").into_bytes();
        table.get(&key, hash_key(&key), SeqNo::MAX, &context).unwrap().expect("it is there")
    };
    let kept: Vec<_> = (0..60_000).step_by(600).map(look).collect();
    let (before, resident_before) = (held(cache.stats()), alone::resident_bytes());
    cache.set_capacity(2 << 20);
    drop(kept);
    let stats = cache.stats();
    assert!(held(stats) <= 4 << 20, "{stats:?}");
    if let (Some(then), Some(now)) = (resident_before, alone::resident_bytes()) {
        let (gone, given_back) = (before - held(stats), then.saturating_sub(now));
        assert!(gone >= 2 << 20, "{stats:?}");
        assert!(given_back >= gone / 2, "{gone} bytes have gone, the system has {given_back}");
    }
    read_each(1);
    let stats = cache.stats();
    assert!(stats.used_bytes <= 2 << 20, "{stats:?}");
    assert!(held(stats) <= (2 << 20) + (1 << 20), "{stats:?}");
    drop(table);
    assert_eq!(cache.used_bytes(), 0);
}

/// A full cache emptied a run, of many blocks, to make room for the next block, took the
/// memory again for the blocks after it, and emptied the next run: whenever a little more
/// than it allows itself was taken for what it does not list, as by a compaction beside it.
/// Scans of data that is not cached took twice the CPU with a budget of 16 MiB, and blocks
/// that are read all the time went with the others.
#[test]
fn blocks_that_are_read_all_the_time_stay_when_others_take_a_part_of_a_full_cache() {
    let env = Env::memory(1);
    write(&env, options(), &entries(60_000));
    let cache = BlockCache::new(5 << 20);
    let table = read(&env, &cache);
    // Each holds half a MiB that was read ahead.
    let compactions: Vec<_> = (0..5)
        .map(|_| {
            let mut cursor = TableCursor::new(Arc::clone(&table), CursorOptions::compaction());
            cursor.seek(b"user:", SeqNo::MAX).unwrap();
            (0..20_000).for_each(|_| cursor.next().unwrap());
            cursor
        })
        .collect();
    let mut cursor = TableCursor::new(Arc::clone(&table), CursorOptions::scan());
    let mut seek = |i: u64| {
        let before = cache.stats().data_misses;
        cursor.seek(format!("user:{i:06}").as_bytes(), SeqNo::MAX).unwrap();
        cache.stats().data_misses - before
    };
    let (mut cold, mut hot) = (0, 0);
    for i in 0..30_000u64 {
        let many = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        cold += seek(many % 60_000);
        let missed = seek(many % 3_000);
        hot += if i < 5_000 { 0 } else { missed };
    }
    let stats = cache.stats();
    let taken = stats.used_bytes + stats.unlisted_bytes;
    assert!(taken <= (5 << 20) + (1 << 20), "{stats:?}");
    assert!(stats.used_bytes > 2 << 20, "{stats:?}");
    assert!(cold > 5_000, "{cold}");
    assert!(hot < 25, "{hot} times a block was not there that is read at each turn");
    // When they are done the cache takes all again.
    drop(compactions);
    (0..5_000u64).for_each(|i| cold += seek(i * 7919 % 60_000));
    let stats = cache.stats();
    assert!(stats.used_bytes > (5 << 20) / 100 * 98, "{stats:?}");
}

/// A file that notes, at each read, how many of them the cache takes to be in flight.
#[derive(Debug)]
struct Watched {
    file: Arc<dyn ReadFile>,
    cache: Arc<BlockCache>,
    seen: Arc<AtomicU64>,
}

impl ReadFile for Watched {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.seen.fetch_max(self.cache.reads().1, Ordering::Relaxed);
        self.file.read_exact_at(buf, offset)
    }

    fn len(&self) -> u64 {
        self.file.len()
    }

    fn path(&self) -> &Path {
        self.file.path()
    }
}

#[test]
fn a_reader_is_known_to_be_at_the_file_while_it_reads_and_a_job_never_is() {
    let env = Env::memory(1);
    let mut all = entries(1000);
    all.push(Entry::put("user:000050x", 1001, vec![7; 400_000]));
    write(&env, options(), &house::sorted(all));
    let (cache, seen) = (BlockCache::new(1 << 20), Arc::new(AtomicU64::new(0)));
    let file = env.fs.open(Path::new("/t")).unwrap();
    let watched = Watched { file, cache: Arc::clone(&cache), seen: Arc::clone(&seen) };
    let table =
        Arc::new(Table::open(Arc::new(watched), Origin::local(DATABASE, ID), &cache).unwrap());
    let most = || seen.swap(0, Ordering::Relaxed);
    assert_eq!((most(), cache.reads()), (0, (0, 0)), "an opening is no reader's read");

    let walk = |options| {
        let mut cursor = TableCursor::new(Arc::clone(&table), options);
        cursor.seek_first().unwrap();
        while cursor.valid() {
            cursor.next().unwrap();
        }
    };
    walk(CursorOptions::compaction());
    assert_eq!((most(), cache.reads()), (0, (0, 0)), "a compaction");

    get(&table, 7, &GetContext::default()).unwrap().unwrap();
    let (begun, in_flight) = cache.reads();
    assert!(begun >= 2 && in_flight == 0, "index and data: {begun}, {in_flight}");
    assert_eq!(most(), 1);
    get(&table, 7, &GetContext::default()).unwrap().unwrap();
    assert_eq!((most(), cache.reads()), (0, (begun, 0)), "it is in the cache");

    let key = b"user:000050x";
    table.get(key, hash_key(key), SeqNo::MAX, &GetContext::default()).unwrap().unwrap();
    assert!(most() == 1 && cache.reads().0 > begun, "a long block");
    let begun = cache.reads().0;
    walk(CursorOptions::scan());
    assert!(most() == 1 && cache.reads().0 > begun, "a scan reads ahead");
    assert_eq!(cache.reads().1, 0);
}
