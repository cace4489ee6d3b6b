//! A damaged table gives the right value or an error that names file and
//! offset: never a wrong value, never a panic.

mod house;

use house::{DATABASE, Entry, ID, bytes, open_bytes, options, sorted, write};
use std::path::Path;
use std::sync::Arc;
use tanada_format::{
    BlockSalt, DatabaseId, Origin, SeqNo, TableId, ValueKind, block_checksum, crc32c, hash_key,
};
use tanada_table::{
    BlockCache, Compression, Cursor, CursorOptions, Error, GetContext, Table, TableCursor,
    TableOptions,
};
use tanada_vfs::Env;

/// Some blocks, several versions, deletes, expiries; about 2 KiB.
fn small() -> (Vec<Entry>, Vec<u8>) {
    let mut entries = vec![];
    for i in 0..30u64 {
        entries.push(Entry::put(format!("user:{i:04}"), 100 + i, format!("value {i}").repeat(3)));
        if i % 5 == 0 {
            let kind = ValueKind::Delete;
            let e = Entry { kind, ..Entry::put(format!("user:{i:04}"), 200 + i, "") };
            entries.push(Entry { expires_at_ms: i % 2, ..e });
        }
    }
    let entries = sorted(entries);
    let env = Env::memory(1);
    write(&env, TableOptions { block_size: 200, ..options() }, &entries);
    (entries, bytes(&env))
}

fn check_error(error: &Error) {
    match error {
        Error::Corruption(c) => assert_eq!(c.file, Path::new("/db/000007.sst")),
        Error::Io(_) => {}
        other => panic!("{other}"),
    }
}

/// Reads everything in every way. Returns whether anything failed.
fn read_all(entries: &[Entry], table: &Arc<Table>) -> bool {
    let mut failed = false;
    for e in entries {
        match table.get(&e.key, hash_key(&e.key), e.seqno, &GetContext::default()) {
            Ok(found) => {
                let found = found.expect("a key is never silently absent");
                assert_eq!((found.seqno, found.kind), (e.seqno, e.kind));
                assert_eq!(found.expires_at_ms, e.expires_at_ms);
                assert_eq!(found.value, e.value);
            }
            Err(error) => {
                check_error(&error);
                failed = true;
            }
        }
    }
    for forwards in [true, false] {
        let mut cursor = TableCursor::new(table.clone(), CursorOptions::compaction());
        let mut seen = vec![];
        let mut result = if forwards { cursor.seek_first() } else { cursor.seek_last() };
        while result.is_ok() && cursor.valid() {
            seen.push(Entry::from(cursor.entry()));
            result = if forwards { cursor.next() } else { cursor.prev() };
        }
        match result {
            Ok(()) => {
                if !forwards {
                    seen.reverse();
                }
                assert_eq!(seen, entries, "a walk that ends without an error is complete");
            }
            Err(error) => {
                check_error(&error);
                assert!(!cursor.valid());
                failed = true;
            }
        }
    }
    failed
}

#[test]
fn each_flipped_byte_gives_the_right_value_or_an_error_that_names_the_place() {
    let (entries, good) = small();
    let cache = BlockCache::new(1 << 20);
    let table = open_bytes(good.clone(), &cache).unwrap();
    assert!(!read_all(&entries, &table));
    table.verify().unwrap();
    for i in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[i] ^= flip;
            match open_bytes(bad, &cache) {
                Err(Error::Corruption(c)) => assert!(c.offset <= i as u64, "byte {i}: {c}"),
                Err(other) => panic!("byte {i}: {other}"),
                Ok(table) => {
                    let failed = read_all(&entries, &table);
                    let error = table.verify().expect_err("verify reads every byte");
                    let Error::Corruption(c) = error else { panic!("byte {i}: {error}") };
                    assert!(c.offset <= i as u64 && i as u64 - c.offset < 700, "byte {i}: {c}");
                    assert!(failed, "byte {i} is read by no one");
                }
            }
        }
    }
    // All the damaged tables have given back what they held.
    assert_eq!(cache.stats().resident_bytes, table.resident_bytes());
    drop(table);
    assert_eq!((cache.used_bytes(), cache.stats().blocks), (0, 0));
}

#[test]
fn a_table_cut_at_any_length_or_grown_is_refused() {
    let (_, good) = small();
    let cache = BlockCache::new(1 << 20);
    for len in 0..good.len() {
        match open_bytes(good[..len].to_vec(), &cache) {
            Err(Error::Corruption(_)) => {}
            other => panic!("cut to {len}: {other:?}"),
        }
    }
    for extra in [1, 88, 4096] {
        let grown = [good.clone(), vec![0; extra]].concat();
        assert!(matches!(open_bytes(grown, &cache), Err(Error::Corruption(_))));
    }
    // Behind a second footer everything is where it was, but the length is not.
    let doubled = [&good[..], &good[good.len() - 88..]].concat();
    assert!(matches!(open_bytes(doubled, &cache), Err(Error::Corruption(_))));
}

#[test]
fn a_table_of_another_database_or_under_another_name_is_refused() {
    let (_, good) = small();
    let cache = BlockCache::new(1 << 20);
    for (id, database) in [(TableId(8), DATABASE), (ID, DatabaseId([1; 16]))] {
        let file = Arc::new(house::Bytes(good.clone()));
        assert!(matches!(
            Table::open(file, Origin::local(database, id), &cache),
            Err(Error::Corruption(_))
        ));
    }
}

/// A footer with a field changed and its checksum made right.
fn with_footer(good: &[u8], at: usize, value: u32) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let footer = bytes.len() - 88;
    bytes[footer + at..footer + at + 4].copy_from_slice(&value.to_le_bytes());
    let mut covered = bytes[footer..footer + 76].to_vec();
    covered.extend_from_slice(b"TANADAst");
    let crc = crc32c(&covered);
    bytes[footer + 76..footer + 80].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn a_newer_version_or_an_unknown_required_feature_is_refused_by_name_and_an_optional_one_is_not() {
    let (entries, good) = small();
    let cache = BlockCache::new(1 << 20);
    for (at, value) in [(68, 2), (68, u32::MAX), (32, 1), (32, 1 << 31)] {
        match open_bytes(with_footer(&good, at, value), &cache) {
            Err(Error::Unsupported { file, .. }) => assert_eq!(file, Path::new("/db/000007.sst")),
            other => panic!("{other:?}"),
        }
    }
    let table = open_bytes(with_footer(&good, 36, 1 << 5), &cache).unwrap();
    assert!(!read_all(&entries, &table));
}

/// Bytes changed under a checksum that is right: what a bug or an enemy could
/// write. Answers may be wrong then, but nothing panics or hangs. What a declared length
/// takes is measured where blocks are opened, in `seal/sealed.rs`.
#[test]
fn changed_bytes_under_right_checksums_never_panic() {
    let entries: Vec<_> = (0..30u64)
        .map(|i| Entry::put(format!("user:{i:04}"), 100 + i, format!("value {i}").repeat(3)))
        .collect();
    let env = Env::memory(1);
    let compression = Compression::None;
    write(&env, TableOptions { block_size: 400, compression, ..options() }, &entries);
    let good = bytes(&env);
    let cache = BlockCache::new(1 << 20);
    let blocks = sealed_blocks(&good);
    assert!(blocks.len() >= 6);
    for &(start, end) in &blocks {
        for i in start..end - 4 {
            for flip in [1, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[i] ^= flip;
                let sum = block_checksum(BlockSalt::of_id(ID), start as u64, &bad[start..end - 4]);
                bad[end - 4..end].copy_from_slice(&sum.to_le_bytes());
                let Ok(table) = open_bytes(bad, &cache) else { continue };
                for e in &entries {
                    let _ = table.get(&e.key, hash_key(&e.key), e.seqno, &GetContext::default());
                    let _ = table.may_contain(&e.key, 0, &GetContext::default());
                }
                let mut cursor = TableCursor::new(table.clone(), CursorOptions::scan());
                let mut steps = 0;
                let mut result = cursor.seek_first();
                while result.is_ok() && cursor.valid() && steps < 1000 {
                    steps += 1;
                    result = cursor.next();
                }
                let _ = cursor.seek(b"user:0013", SeqNo::MAX);
                let _ = cursor.seek_before(b"user:0013");
                let _ = cursor.seek_last();
                let _ = table.verify();
            }
        }
    }
}

/// The blocks of an uncompressed table, found by their trailers.
fn sealed_blocks(file: &[u8]) -> Vec<(usize, usize)> {
    let mut blocks = vec![];
    let mut start = 0;
    while start < file.len() - 88 {
        let end = (start + 9..=file.len() - 88)
            .find(|&end| {
                let sum = block_checksum(BlockSalt::of_id(ID), start as u64, &file[start..end - 4]);
                file[end - 4..end] == sum.to_le_bytes()
            })
            .expect("blocks lie one behind the other");
        blocks.push((start, end));
        start = end;
    }
    blocks
}
