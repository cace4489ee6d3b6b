//! Random tables against a sorted list: lookups at every seqno, and cursors in
//! all directions.

mod house;

use house::{Entry, options, read, sorted, write};
use proptest::collection::vec;
use proptest::prelude::*;
use tanada_format::{SeqNo, ValueKind, awkward_keys, compare_internal, hash_key};
use tanada_table::{
    BlockCache, CacheUse, Compression, Cursor, CursorOptions, GetContext, TableCursor, TableOptions,
};
use tanada_vfs::Env;

/// Keys that share prefixes, end in zeros or 0xff, and collide often.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(prop_oneof![Just(0u8), Just(1), Just(b'a'), Just(0xff)], 1..7),
        (0u32..40).prop_map(|n| format!("user:{n:06}").into_bytes()),
        (any::<[u8; 8]>()).prop_map(|b| b.to_vec()),
        Just(b"hot".to_vec()),
        vec(any::<u8>(), 30..200),
        vec(any::<u64>(), 0..=awkward_keys::WORDS).prop_map(|w| awkward_keys::of_words(&w)),
        vec(any::<u64>(), 0..=awkward_keys::WORDS).prop_map(|w| awkward_keys::of_words(&w)),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        8 => Just(ValueKind::Put),
        2 => Just(ValueKind::Delete),
        1 => Just(ValueKind::Merge),
    ];
    (key(), 1u64..400, kind, prop_oneof![4 => Just(0u64), 1 => any::<u64>()], 0usize..120).prop_map(
        |(key, seqno, kind, expires_at_ms, len)| Entry {
            value: if kind == ValueKind::Delete { vec![] } else { vec![len as u8; len] },
            key,
            seqno: SeqNo(seqno),
            kind,
            expires_at_ms,
        },
    )
}

fn table_options() -> impl Strategy<Value = TableOptions> {
    let compression =
        prop_oneof![Just(Compression::None), Just(Compression::Lz4), Just(Compression::Zstd)];
    let bits = prop_oneof![Just(0.0), Just(10.0), Just(3.3)];
    (compression, prop_oneof![Just(64u32), Just(300), Just(4096)], bits).prop_map(
        |(compression, block_size, bits_per_key)| TableOptions {
            compression,
            block_size,
            bits_per_key,
            ..options()
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    First,
    Last,
    Seek(Vec<u8>, u64),
    /// The same in its two halves.
    Aim(Vec<u8>, u64),
    SeekBefore(Vec<u8>),
    Next,
    Prev,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::First),
        1 => Just(Step::Last),
        4 => (key(), prop_oneof![Just(SeqNo::MAX.0), 0u64..400]).prop_map(|(k, s)| Step::Seek(k, s)),
        3 => (key(), prop_oneof![Just(SeqNo::MAX.0), 0u64..400]).prop_map(|(k, s)| Step::Aim(k, s)),
        3 => key().prop_map(Step::SeekBefore),
        10 => Just(Step::Next),
        10 => Just(Step::Prev),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_table_answers_as_the_sorted_list_of_its_entries_does(
        entries in vec(entry(), 0..400),
        options in table_options(),
        capacity in prop_oneof![Just(0u64), Just(6_000), Just(1 << 20)],
        steps in vec(step(), 0..200),
        cache_use in prop_oneof![Just(CacheUse::Fill), Just(CacheUse::Bypass)],
        read_ahead_bytes in prop_oneof![Just(0u32), Just(1000), Just(1 << 20)],
    ) {
        let entries = sorted(entries);
        let env = Env::memory(1);
        let summary = write(&env, options.clone(), &entries);
        let cache = BlockCache::new(capacity);
        let table = read(&env, &cache);
        let report = table.verify().unwrap();
        prop_assert_eq!(report.entries, entries.len() as u64);
        prop_assert_eq!(report.bytes, summary.size_bytes);
        prop_assert_eq!(table.properties(), &summary.properties);

        let context = GetContext::default();
        for e in &entries {
            for seqno in [e.seqno, SeqNo(e.seqno.0 - 1), SeqNo::MAX] {
                let want = entries.iter().find(|w| w.key == e.key && w.seqno <= seqno);
                let got = table.get(&e.key, hash_key(&e.key), seqno, &context).unwrap();
                let got = got.map(|f| Entry {
                    key: e.key.clone(),
                    seqno: f.seqno,
                    kind: f.kind,
                    expires_at_ms: f.expires_at_ms,
                    value: f.value.to_vec(),
                });
                prop_assert_eq!(got.as_ref(), want);
            }
            prop_assert!(table.may_contain(&e.key, hash_key(&e.key), &context).unwrap());
        }
        for step in &steps {
            if let Step::Seek(key, seqno) = step {
                let want = entries.iter().find(|w| w.key == *key && w.seqno.0 <= *seqno);
                let got = table.get(key, hash_key(key), SeqNo(*seqno), &context).unwrap();
                prop_assert_eq!(got.map(|f| f.seqno), want.map(|w| w.seqno));
            }
        }

        let mut cursor =
            TableCursor::new(table.clone(), CursorOptions { cache: cache_use, read_ahead_bytes });
        let mut at: Option<usize> = None;
        for step in steps {
            match step {
                Step::First => {
                    cursor.seek_first().unwrap();
                    at = (!entries.is_empty()).then_some(0);
                }
                Step::Last => {
                    cursor.seek_last().unwrap();
                    at = entries.len().checked_sub(1);
                }
                Step::Seek(ref key, seqno) | Step::Aim(ref key, seqno) => {
                    if matches!(step, Step::Seek(..)) {
                        cursor.seek(key, SeqNo(seqno)).unwrap();
                    } else {
                        cursor.aim(key, SeqNo(seqno)).unwrap();
                        prop_assert!(!cursor.valid());
                        cursor.seek_aimed(key, SeqNo(seqno)).unwrap();
                    }
                    let i = entries.partition_point(|e| {
                        compare_internal((&e.key, e.seqno), (key, SeqNo(seqno))).is_lt()
                    });
                    at = (i < entries.len()).then_some(i);
                }
                Step::SeekBefore(key) => {
                    cursor.seek_before(&key).unwrap();
                    at = entries.partition_point(|e| e.key < key).checked_sub(1);
                }
                Step::Next => match at {
                    Some(i) => {
                        cursor.next().unwrap();
                        at = (i + 1 < entries.len()).then_some(i + 1);
                    }
                    None => continue,
                },
                Step::Prev => match at {
                    Some(i) => {
                        cursor.prev().unwrap();
                        at = i.checked_sub(1);
                    }
                    None => continue,
                },
            }
            prop_assert_eq!(cursor.valid(), at.is_some());
            if let Some(i) = at {
                prop_assert_eq!(cursor.entry(), entries[i].borrow());
            }
        }
        drop(cursor);
        drop(table);
        let stats = cache.stats();
        prop_assert_eq!((stats.used_bytes, stats.blocks, stats.resident_bytes), (0, 0, 0));
    }
}

/// Versions of one key over many blocks and over partitions: leveldb #184 and
/// #320 answered an older version where a key's versions spanned two files.
#[test]
fn versions_of_one_key_over_many_blocks_are_found_at_every_seqno() {
    let value = vec![5; 90];
    let mut entries = vec![Entry::put("a", 1, "first"), Entry::put("z", 2, "last")];
    entries.extend((1..=4000).map(|i| Entry::put("key", 10 * i, &value)));
    let entries = sorted(entries);
    let env = Env::memory(1);
    let options = TableOptions { block_size: 200, ..options() };
    let summary = write(&env, options, &entries);
    assert!(summary.properties.partitions > 1, "{:?}", summary.properties);
    assert_eq!(summary.properties.keys, 3);
    let table = read(&env, &BlockCache::new(1 << 20));
    table.verify().unwrap();
    let context = GetContext::default();
    for seqno in 0..=40_011 {
        let got = table.get(b"key", hash_key(b"key"), SeqNo(seqno), &context).unwrap();
        let want = (seqno / 10).min(4000) * 10;
        assert_eq!(got.map_or(0, |f| f.seqno.0), want, "at {seqno}");
    }
    let mut cursor = TableCursor::new(table, CursorOptions::scan());
    cursor.seek_before(b"key").unwrap();
    assert_eq!(cursor.entry().key, b"a");
    cursor.seek(b"key", SeqNo::ZERO).unwrap();
    assert_eq!(cursor.entry().key, b"z");
    cursor.prev().unwrap();
    assert_eq!(cursor.entry().seqno, SeqNo(10));
}
