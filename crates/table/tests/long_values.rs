//! Long values: what reading them takes is asked for before it is taken, and cursors read
//! them on demand.
#![allow(clippy::unwrap_used)]

mod house;

use house::{Bytes, DATABASE, Entry, ID, bytes, options, read, sorted, write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tanada_format::{EntryRef, Origin, SeqNo, ValueKind, hash_key};
use tanada_table::{
    BlockCache, Compression, Cursor, CursorOptions, Error, GetContext, Table, TableCursor,
    TableOptions, Value,
};
use tanada_vfs::{Env, ReadFile};

const MIB: u64 = 1 << 20;
const LEN: usize = 4 << 20;

/// Half noise, half not.
fn long(n: u64, len: usize) -> Vec<u8> {
    let mut value = vec![n as u8; len];
    for (i, word) in value[..len / 2].chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&hash_key(&(n << 32 | i as u64).to_le_bytes()).to_le_bytes());
    }
    value
}

fn entries(count: u64) -> Vec<Entry> {
    (0..count).map(|n| Entry::put(format!("long:{n}"), n + 1, long(n, LEN))).collect()
}

fn get(table: &Table, n: u64) -> Result<Value, Error> {
    let key = format!("long:{n}").into_bytes();
    let found = table.get(&key, hash_key(&key), SeqNo::MAX, &GetContext::default())?;
    Ok(found.expect("it is there").value)
}

/// As [`get`], until others have let go of what they hold.
fn get_in_time(table: &Table, n: u64) -> Value {
    // Each of them may wait for a second.
    for _ in 0..300 {
        match get(table, n) {
            Err(Error::MemoryFull { .. }) => {}
            other => return other.unwrap(),
        }
    }
    panic!("nobody lets go of what is held, and {n} is never read");
}

/// Notes, at each read, what blocks take.
#[derive(Debug)]
struct Watched {
    file: Bytes,
    cache: Arc<BlockCache>,
    most: AtomicU64,
}

impl Watched {
    fn look(&self) {
        let stats = self.cache.stats();
        self.most.fetch_max(stats.used_bytes + stats.unlisted_bytes, Ordering::Relaxed);
    }
}

impl ReadFile for Watched {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.look();
        let outcome = self.file.read_exact_at(buf, offset);
        self.look();
        outcome
    }
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn path(&self) -> &Path {
        self.file.path()
    }
}

/// Four readers of six values of 50 MB were 100 to 300 MiB above the budget: what each
/// took to read was in the account once it had been taken, and nobody waited for anybody.
#[test]
fn readers_of_long_values_stay_together_within_what_blocks_may_take() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let env = Env::memory(1);
        let all = entries(6);
        write(&env, TableOptions { compression, ..options() }, &all);
        // Two of them, with what is taken beside one to decompress it, and not three.
        let capacity = 11 * MIB;
        let cache = BlockCache::new(capacity);
        let file =
            Arc::new(Watched { file: Bytes(bytes(&env)), cache: cache.clone(), most: 0.into() });
        let table =
            Arc::new(Table::open(file.clone(), Origin::local(DATABASE, ID), &cache).unwrap());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (table, all) = (&table, &all);
                scope.spawn(move || {
                    for i in 0..12 {
                        let n = (i + thread) % 6;
                        assert!(get_in_time(table, n) == all[n as usize].value);
                    }
                });
            }
            // A compaction beside them.
            scope.spawn(|| {
                let mut cursor = TableCursor::new(table.clone(), CursorOptions::compaction());
                cursor.seek_first().unwrap();
                for entry in &all {
                    assert!(cursor.entry().value == entry.value);
                    cursor.next().unwrap();
                }
            });
        });
        let most = file.most.load(Ordering::Relaxed);
        // What blocks may take besides: holes.
        assert!(most <= capacity + MIB, "{compression:?}: {most} bytes");
        assert!(most > 4 * MIB, "{compression:?}: {most} bytes");
    }
}

#[test]
fn who_asks_for_a_long_value_beside_those_that_are_held_waits_and_then_is_refused_with_figures() {
    let env = Env::memory(1);
    write(&env, options(), &entries(3));
    let cache = BlockCache::new(10 * MIB);
    let table = read(&env, &cache);
    let (first, second) = (get(&table, 0).unwrap(), get(&table, 1).unwrap());
    let clock = Env::real().clock;
    let began_ns = clock.monotonic_ns();
    let Err(Error::MemoryFull { needed, held, allowed }) = get(&table, 2) else {
        panic!("three of 4 MiB in 10");
    };
    let waited = Duration::from_nanos(clock.monotonic_ns() - began_ns);
    assert!(waited >= Duration::from_millis(500), "it waited for {waited:?} of a second");
    assert!((4 * MIB..5 * MIB).contains(&needed) && (8 * MIB..9 * MIB).contains(&held));
    assert!((10 * MIB..=11 * MIB).contains(&allowed));
    // It takes nothing, and others go on.
    let stats = cache.stats();
    assert!(stats.used_bytes + stats.unlisted_bytes < 9 * MIB, "{stats:?}");
    assert!(matches!(cache.copy_of(&long(9, LEN)), Err(Error::MemoryFull { .. })));
    assert_eq!(cache.copy_of(b"a short one").unwrap(), b"a short one");
    std::thread::scope(|scope| {
        let third = scope.spawn(|| get_in_time(&table, 2));
        drop(first);
        assert!(third.join().unwrap() == long(2, LEN));
    });
    // So it is for copies of what lies in MemTables.
    let copy = cache.copy_of(&long(9, LEN)).unwrap();
    assert!(copy == long(9, LEN) && cache.stats().unlisted_bytes >= 4 * MIB);
    drop((copy, second));
    drop(table);
    assert!(cache.stats().unlisted_bytes < MIB, "but for spare runs");
}

/// Else what was written with a larger budget could never be read again.
#[test]
fn a_value_longer_than_all_that_blocks_may_take_is_read_when_it_is_the_only_one() {
    let env = Env::memory(1);
    write(&env, options(), &entries(2));
    let table = read(&env, &BlockCache::new(MIB));
    let first = get(&table, 0).unwrap();
    assert!(first == long(0, LEN));
    assert!(matches!(get(&table, 1), Err(Error::MemoryFull { .. })));
    // A job goes on: the tree depends on it.
    let mut cursor = TableCursor::new(table.clone(), CursorOptions::compaction());
    cursor.seek(b"long:1", SeqNo::MAX).unwrap();
    assert!(cursor.entry().value == long(1, LEN));
    drop((cursor, first));
    assert!(get(&table, 1).unwrap() == long(1, LEN));
}

#[test]
fn a_cursor_on_demand_stands_on_the_same_entries_and_holds_no_long_value_before_it_is_asked() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        // Nearly nothing when it is compressed.
        let mut even = long(4, 16 << 10);
        even.resize(8 << 20, 3);
        let mut all = vec![
            Entry { expires_at_ms: 77, ..Entry::put("b", 5, long(1, LEN)) },
            Entry::put("b", 3, long(2, 3_000_000)),
            Entry::put("c", 9, even),
            Entry::put("k".repeat(60_000), 4, long(3, LEN)),
        ];
        all.extend((0..400).map(|n| Entry::put(format!("b{n:03}"), n + 1, long(n, 300))));
        all.extend((0..400).map(|n| Entry::put(format!("d{n:03}"), n + 1, long(n, 300))));
        let all = sorted(all);
        let env = Env::memory(1);
        write(&env, TableOptions { compression, ..options() }, &all);
        let cache = BlockCache::new(0);
        let table = read(&env, &cache);
        let reading = CursorOptions { read_ahead_bytes: 64 << 10, ..CursorOptions::compaction() };
        let mut cursor = TableCursor::new(table.clone(), reading).on_demand();
        let check = |cursor: &mut TableCursor, entry: &Entry, load: bool| {
            assert!(cursor.valid());
            let long = entry.value.len() > MIB as usize;
            let held = || cache.stats().unlisted_bytes >= entry.value.len() as u64;
            assert_eq!(cursor.key(), entry.key);
            let bare = cursor.bare_entry();
            let told = (bare.key, bare.seqno, bare.kind, bare.expires_at_ms);
            let EntryRef { key, seqno, kind, expires_at_ms, .. } = entry.borrow();
            assert_eq!(told, (key, seqno, kind, expires_at_ms));
            if long && !load {
                assert!(!cursor.is_plain() && !held(), "{compression:?}");
            }
            if load {
                cursor.load().unwrap();
                assert!(cursor.entry() == entry.borrow() && cursor.value() == entry.value);
                assert_eq!(cursor.is_plain(), entry.expires_at_ms == 0);
                assert!(!long || held());
                let most = entry.value.len() as u64 + MIB;
                assert!(cache.stats().unlisted_bytes < most, "and none but this one");
            }
        };
        for load in [false, true] {
            cursor.seek_first().unwrap();
            for entry in &all {
                check(&mut cursor, entry, load);
                cursor.next().unwrap();
            }
            assert!(!cursor.valid());
            cursor.seek_last().unwrap();
            for entry in all.iter().rev() {
                check(&mut cursor, entry, load);
                cursor.prev().unwrap();
            }
            assert!(!cursor.valid());
            for (i, entry) in all.iter().enumerate().filter(|(_, e)| e.value.len() > 300) {
                for seqno in [SeqNo::MAX, entry.seqno, SeqNo(entry.seqno.0 - 1)] {
                    let at = all.partition_point(|e| {
                        (&e.key, std::cmp::Reverse(e.seqno))
                            < (&entry.key, std::cmp::Reverse(seqno))
                    });
                    cursor.seek(&entry.key, seqno).unwrap();
                    match all.get(at) {
                        Some(next) => check(&mut cursor, next, load),
                        None => assert!(!cursor.valid()),
                    }
                }
                cursor.seek_before(&entry.key).unwrap();
                let before = all[..i].iter().rev().find(|e| e.key < entry.key);
                match before {
                    Some(before) => check(&mut cursor, before, load),
                    None => assert!(!cursor.valid()),
                }
            }
        }
        // Of each key the newest version that a reader sees.
        for (seqno, seen) in [(9, vec![5]), (4, vec![3]), (2, vec![])] {
            let mut cursor = TableCursor::new(table.clone(), reading).on_demand();
            cursor = cursor.visible_at(SeqNo(seqno));
            cursor.seek(b"b", SeqNo::MAX).unwrap();
            let mut told = Vec::new();
            while cursor.valid() && cursor.key() == b"b" {
                told.push(cursor.bare_entry().seqno.0);
                cursor.next().unwrap();
            }
            assert_eq!(told, seen);
        }
    }
}

/// What is looked at is checked like what is read: a key that is not the one written would
/// be merged to another place, or be dropped for another.
#[test]
fn a_damaged_long_block_is_an_error_to_who_reads_it_and_to_who_only_looks_at_it() {
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        let env = Env::memory(1);
        write(&env, TableOptions { compression, ..options() }, &entries(1));
        let good = bytes(&env);
        let table = read(&env, &BlockCache::new(0));
        let len = table.properties().data_bytes as usize;
        for place in [0, 17, 30, len / 2, len - 10, len - 9, len - 6, len - 5, len - 4, len - 1] {
            let mut bad = good.clone();
            bad[place] ^= 0x40;
            let cache = BlockCache::new(64 * MIB);
            let table =
                Table::open(Arc::new(Bytes(bad)), Origin::local(DATABASE, ID), &cache).unwrap();
            let table = Arc::new(table);
            let offset = |outcome: Result<(), Error>| match outcome {
                Err(Error::Corruption(corruption)) => corruption.offset,
                other => panic!("{compression:?}, byte {place} of {len}: {other:?}"),
            };
            assert_eq!(offset(get(&table, 0).map(drop)), 0);
            for options in [CursorOptions::scan(), CursorOptions::compaction()] {
                let mut cursor = TableCursor::new(table.clone(), options);
                assert_eq!(offset(cursor.seek_first()), 0);
                let mut cursor = TableCursor::new(table.clone(), options).on_demand();
                assert_eq!(offset(cursor.seek_first()), 0);
                assert!(!cursor.valid());
            }
            assert!(table.verify().is_err());
            assert!(cache.stats().unlisted_bytes < MIB, "but for spare runs");
        }
    }
}

#[test]
fn deletes_and_kinds_yet_unknown_to_cursors_keep_their_kind_when_they_are_long() {
    let entry = Entry { kind: ValueKind::Merge, ..Entry::put("m", 3, long(1, LEN)) };
    let env = Env::memory(1);
    write(&env, options(), std::slice::from_ref(&entry));
    let table = read(&env, &BlockCache::new(0));
    let mut cursor = TableCursor::new(table, CursorOptions::compaction()).on_demand();
    cursor.seek_first().unwrap();
    assert_eq!(cursor.bare_entry().kind, ValueKind::Merge);
    cursor.load().unwrap();
    assert!(cursor.entry() == entry.borrow() && !cursor.is_plain());
}

/// Fails the read of this number, once.
#[derive(Debug)]
struct FailsOnce {
    file: Bytes,
    reads_left: AtomicU64,
}

impl ReadFile for FailsOnce {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        if self.reads_left.fetch_sub(1, Ordering::Relaxed) == 1 {
            return Err(std::io::Error::other("the disk is gone"));
        }
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
fn each_read_of_looking_at_a_long_value_and_of_loading_it_may_fail_and_the_next_try_finds_it() {
    let env = Env::memory(1);
    write(&env, options(), &entries(1));
    let good = bytes(&env);
    let mut failed = 0;
    for number in 1.. {
        let file = FailsOnce { file: Bytes(good.clone()), reads_left: u64::MAX.into() };
        let file = Arc::new(file);
        let cache = BlockCache::new(64 * MIB);
        let table =
            Arc::new(Table::open(file.clone(), Origin::local(DATABASE, ID), &cache).unwrap());
        let mut cursor = TableCursor::new(table, CursorOptions::compaction()).on_demand();
        file.reads_left.store(number, Ordering::Relaxed);
        let outcome = cursor.seek_first().and_then(|()| cursor.load());
        if outcome.is_ok() {
            break;
        }
        assert!(matches!(outcome, Err(Error::Io(_))) && !cursor.valid(), "read {number}");
        failed += 1;
        cursor.seek_first().unwrap();
        cursor.load().unwrap();
        assert!(cursor.entry().value == long(0, LEN));
    }
    // Index, trailer, eight pieces and more, the sum; trailer and block again.
    assert!(failed > 10, "{failed}");
}

/// One of 2 MiB that lay in the cache, held by nobody, stood in the way of one that was
/// longer than all that blocks may take, and stayed there: that one was refused for good.
#[test]
fn a_long_value_in_the_cache_that_nobody_holds_is_in_nobodys_way() {
    let env = Env::memory(1);
    let all = [Entry::put("long:0", 1, long(0, 2 << 20)), Entry::put("long:1", 2, long(1, LEN))];
    write(&env, TableOptions { compression: Compression::None, ..options() }, &all);
    let cache = BlockCache::new(5 << 19);
    let table = read(&env, &cache);
    for _ in 0..3 {
        assert!(get(&table, 0).unwrap() == all[0].value);
    }
    assert!(cache.used_bytes() > 2 * MIB, "it is in the cache");
    assert!(get(&table, 1).unwrap() == all[1].value);
    let held = get(&table, 0).unwrap();
    assert!(matches!(get(&table, 1), Err(Error::MemoryFull { .. })));
    drop(held);
    assert!(get(&table, 1).unwrap() == all[1].value);
}

/// Counts the reads.
#[derive(Debug)]
struct Counted {
    file: Bytes,
    reads: AtomicU64,
}

impl ReadFile for Counted {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.file.read_exact_at(buf, offset)
    }
    fn len(&self) -> u64 {
        self.file.len()
    }
    fn path(&self) -> &Path {
        self.file.path()
    }
}

/// One long value in a table made a merge read the trailer of each block of some KiB by
/// itself, which had been read with others already.
#[test]
fn a_cursor_on_demand_reads_short_blocks_beside_a_long_one_in_as_few_reads_as_others() {
    let mut all = vec![Entry::put("z", 1, long(1, 2 << 20))];
    all.extend((0..400).map(|n| Entry::put(format!("a{n:03}"), n + 1, long(n, 9_000))));
    let all = sorted(all);
    let env = Env::memory(1);
    write(&env, options(), &all);
    let file = Arc::new(Counted { file: Bytes(bytes(&env)), reads: 0.into() });
    let cache = BlockCache::new(0);
    let table = Arc::new(Table::open(file.clone(), Origin::local(DATABASE, ID), &cache).unwrap());
    let reads_of = |cursor: TableCursor| {
        let mut cursor = cursor;
        let before = file.reads.load(Ordering::Relaxed);
        cursor.seek_first().unwrap();
        for entry in &all[..400] {
            assert_eq!(cursor.bare_entry().key, entry.key);
            cursor.next().unwrap();
        }
        assert_eq!(cursor.key(), b"z");
        file.reads.load(Ordering::Relaxed) - before
    };
    let at_once = reads_of(TableCursor::new(table.clone(), CursorOptions::compaction()));
    let cursor = TableCursor::new(table.clone(), CursorOptions::compaction());
    let on_demand = reads_of(cursor.on_demand());
    // A trailer with each read of many blocks; the long one in pieces.
    assert!(on_demand <= 2 * at_once + 20, "{on_demand} reads, {at_once} without");
}
