//! Tables that are opened, closed and found again.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use tanada_format::{EntryRef, SeqNo, ValueKind};
use tanada_table::{Cursor, CursorOptions, GetContext, TableCursor};
use tanada_vfs::{DescriptorBound, Env};

const DATABASE: DatabaseId = DatabaseId([3; 16]);
const ENTRIES: u64 = 200;

/// A store with so many tables, of which so many may be open, with two descriptors.
fn store(tables: u64, most: usize, cache_bytes: u64) -> (Arc<TableStore>, Vec<Arc<TableHandle>>) {
    let files = OpenFiles::over(Env::memory(1).fs, DescriptorBound { most: 2, needed: 1 });
    let cache = BlockCache::new(cache_bytes);
    let open_tables = OpenTables::new(Arc::clone(&cache), most);
    let store = TableStore::within(files, "/", DATABASE, cache, open_tables);
    let handles = (1..=tables).map(|id| TableHandle::new(build(&store, id), Arc::clone(&store)));
    let handles = handles.collect();
    (store, handles)
}

fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// A table in which a later version has put what hides other keys than its own.
#[test]
fn a_table_with_an_entry_of_a_reserved_kind_is_refused_whole() {
    for kind in [ValueKind::Merge, ValueKind::RangeDelete, ValueKind::BlobRef] {
        let store = TableStore::new(Env::memory(1).fs, "/", DATABASE, BlockCache::new(0));
        let mut builder = store.create(TableOptions::new(TableId(1), DATABASE)).unwrap();
        let (seqno, expires_at_ms) = (SeqNo(1), 0);
        let put = ValueKind::Put;
        for (key, kind) in [(b"a", kind), (b"b", put)] {
            builder.add(EntryRef { key, seqno, kind, expires_at_ms, value: b"z" }).unwrap();
        }
        builder.finish().unwrap();
        let meta = TableMeta { id: TableId(1), ..build(&store, 2) };
        let handle = TableHandle::new(meta, store);
        match handle.table() {
            Err(tanada_table::Error::Unsupported { file, what }) => {
                assert_eq!(file, handle.path());
                assert!(what.contains("later version"), "{what}");
            }
            opened => panic!("{kind:?}: {opened:?}"),
        }
    }
}

fn build(store: &TableStore, id: u64) -> TableMeta {
    let options = TableOptions { block_size: 64, ..TableOptions::new(TableId(id), DATABASE) };
    let mut builder = store.create(options).unwrap();
    for number in 0..ENTRIES {
        let (key, value) = (key(number), (number * id).to_be_bytes());
        let entry = EntryRef {
            key: &key,
            seqno: SeqNo(1),
            kind: ValueKind::Put,
            expires_at_ms: 0,
            value: &value,
        };
        builder.add(entry).unwrap();
    }
    let summary = builder.finish().unwrap();
    store.publish().unwrap();
    TableMeta {
        id: summary.origin.table,
        origin: None,
        size_bytes: summary.size_bytes,
        tail_bytes: 0,
        raw_bytes: 0,
        entries: ENTRIES,
        tombstones: 0,
        min_key: key(0).into(),
        max_key: key(ENTRIES - 1).into(),
        min_seqno: SeqNo(1),
        max_seqno: SeqNo(1),
        created_ms: 0,
        min_expires_at_ms: 0,
        max_expires_at_ms: 0,
        expiring: 0,
        expiry_quantiles: None,
        superseded: 0,
    }
}

/// Looks a key up as a get does.
fn check(handle: &TableHandle, number: u64) {
    let key = key(number);
    let hash = tanada_format::hash_key(&key);
    let table = handle.table().unwrap();
    let found = table.get(&key, hash, SeqNo::MAX, &GetContext::default()).unwrap().unwrap();
    assert_eq!(found.value, (number * handle.id().0).to_be_bytes());
}

#[test]
fn no_more_tables_stay_open_than_may_and_the_rest_give_all_their_memory_back() {
    let (store, handles) = store(20, 3, 1 << 20);
    for round in 0..3 {
        for handle in &handles {
            check(handle, round);
        }
        assert_eq!(store.open_tables().tables, 3);
    }
    let kept = |handle: &Arc<TableHandle>| Some(handle.peek(&tanada_table::pin())?.keep());
    let open: Vec<_> = handles.iter().filter_map(kept).collect();
    let resident: u64 = open.iter().map(|table| table.resident_bytes()).sum();
    assert_eq!((open.len(), resident), (3, store.cache.stats().resident_bytes));
    let stats = store.open_tables();
    assert_eq!((stats.opened, stats.closed), (60, 57));
    drop((open, handles));
    assert_eq!((store.cache.used_bytes(), store.open_tables().tables), (0, 0));
    assert_eq!(store.descriptors().open, 0);
}

#[test]
fn a_table_that_is_asked_again_and_again_stays_open() {
    let (store, handles) = store(20, 3, 1 << 20);
    for handle in &handles {
        check(&handles[0], 5);
        check(handle, 6);
    }
    assert_eq!(store.open_tables().opened, 20, "each once, the first among them");
}

#[test]
fn a_closed_table_that_somebody_reads_is_found_again_and_not_opened_twice() {
    let (store, handles) = store(3, 1, 1 << 20);
    let table = handles[0].table().unwrap();
    let mut cursor = TableCursor::new(Arc::clone(&table), CursorOptions::scan());
    cursor.seek_first().unwrap();
    check(&handles[1], 1);
    check(&handles[2], 1);
    assert!(handles[0].opened_table(&tanada_table::pin()).is_none(), "it was closed");
    assert!(Arc::ptr_eq(&handles[0].table().unwrap(), &table));
    check(&handles[1], 2);
    for number in 0..ENTRIES {
        assert_eq!(cursor.key(), key(number));
        cursor.next().unwrap();
    }
    // Nobody reads it any more: the next opening is one of the file.
    let before = store.descriptors().opened;
    drop((cursor, table));
    check(&handles[0], 3);
    assert!(store.descriptors().opened > before);
}

#[test]
fn open_tables_make_room_when_their_share_of_the_cache_shrinks() {
    let (store, handles) = store(60, usize::MAX, 1 << 20);
    for handle in &handles {
        check(handle, 7);
    }
    assert_eq!(store.open_tables().tables, 60);
    let all = store.cache.stats().resident_bytes;
    store.cache.set_capacity(all);
    store.fit();
    let half = store.cache.stats().resident_bytes;
    assert!(half <= all / 2 && half > all / 3, "{half} of {all}");
    // Some stay whatever happens, and blocks are kept beside them.
    store.cache.set_capacity(4 << 10);
    store.fit();
    assert_eq!(store.open_tables().tables, 16);
    check(&handles[3], 8);
    assert!(store.cache.stats().blocks > 0, "{:?}", store.cache.stats());
}

#[test]
fn the_file_of_an_obsolete_table_goes_with_its_handle_open_or_closed() {
    let (store, mut handles) = store(2, 1, 1 << 20);
    check(&handles[0], 1);
    check(&handles[1], 1);
    handles.iter().for_each(|handle| handle.mark_obsolete());
    assert!(store.deletions.is_empty());
    handles.pop();
    assert_eq!(store.deletions.len(), 1);
    check(&handles[0], 2);
    handles.pop();
    assert_eq!((store.deletions.len(), store.open_tables().tables), (2, 0));
}

#[test]
#[allow(clippy::disallowed_methods)] // real threads are what is tested
fn threads_read_tables_that_others_close() {
    let rounds = if cfg!(miri) { 3 } else { 400 };
    let (store, handles) = store(4, 1, 1 << 20);
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (handles, end) = (&handles, &end);
            scope.spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    let handle = &handles[thread];
                    let pin = tanada_table::pin();
                    if let Some(table) = handle.opened_table(&pin) {
                        assert_eq!(table.origin().table, handle.id());
                        assert_eq!(table.properties().entries, ENTRIES);
                    }
                }
            });
        }
        let _end = crate::patience::SetAtEnd(&end);
        for round in 0..rounds {
            handles.iter().for_each(|handle| check(handle, round % ENTRIES));
        }
    });
    assert_eq!(store.open_tables().tables, 1);
    drop(handles);
    store.fit();
    assert_eq!(store.cache.used_bytes(), 0);
}
