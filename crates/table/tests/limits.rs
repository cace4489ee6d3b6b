//! The longest keys, odd tables, and files that fail.

mod house;

use house::{Bytes, DATABASE, Entry, ID, bytes, open_bytes, options, sorted, table, write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tanada_format::{MAX_KEY_LEN, Origin, SeqNo, hash_key};
use tanada_table::{
    BlockCache, Compression, Cursor, CursorOptions, Error, GetContext, Table, TableBuilder,
    TableCursor, TableOptions,
};
use tanada_vfs::{Env, ReadFile, WriteFile};

#[test]
fn keys_of_the_greatest_length_work_at_every_place_where_keys_are_kept() {
    for compression in [Compression::None, Compression::Lz4] {
        let mut entries = vec![];
        for i in 0..8u8 {
            // They differ in the last byte only, so fences are as long as they are.
            let mut key = vec![b'k'; MAX_KEY_LEN];
            key[MAX_KEY_LEN - 1] = i;
            entries.push(Entry::put(&key, 9, "new"));
            entries.push(Entry::put(&key, 3, "old"));
        }
        entries.push(Entry::put("k", 1, "short"));
        entries.push(Entry::put([0xff; MAX_KEY_LEN], 1, vec![1; 300_000]));
        let entries = sorted(entries);
        let table = table(TableOptions { compression, ..options() }, &entries);
        assert_eq!(table.properties().max_key.len(), MAX_KEY_LEN);
        table.verify().unwrap();
        for e in &entries {
            let found = table.get(&e.key, hash_key(&e.key), e.seqno, &GetContext::default());
            assert_eq!(found.unwrap().unwrap().value, e.value);
        }
        let mut cursor = TableCursor::new(table, CursorOptions::scan());
        cursor.seek_last().unwrap();
        for e in entries.iter().rev() {
            assert_eq!(cursor.entry(), e.borrow());
            cursor.prev().unwrap();
        }
    }
}

#[test]
fn a_table_without_entries_is_a_table() {
    let table = table(options(), &[]);
    table.verify().unwrap();
    let context = GetContext::default();
    assert_eq!(table.get(b"k", hash_key(b"k"), SeqNo::MAX, &context).unwrap(), None);
    assert!(!table.may_contain(b"k", hash_key(b"k"), &context).unwrap());
    let mut cursor = TableCursor::new(table, CursorOptions::scan());
    cursor.seek_first().unwrap();
    assert!(!cursor.valid());
    cursor.seek_before(b"z").unwrap();
    assert!(!cursor.valid());
}

#[test]
#[should_panic(expected = "internal order")]
fn an_entry_out_of_order_is_a_bug_and_stops_the_builder() {
    table(options(), &[Entry::put("b", 1, ""), Entry::put("a", 2, "")]);
}

#[test]
#[should_panic(expected = "internal order")]
fn two_versions_with_one_seqno_are_a_bug_and_stop_the_builder() {
    table(options(), &[Entry::put("a", 1, ""), Entry::put("a", 1, "")]);
}

#[test]
fn the_estimated_size_is_near_the_size() {
    for (count, len) in [(1u64, 10), (50, 100), (20_000, 100), (300, 4000), (3, 400_000)] {
        for compression in [Compression::None, Compression::Lz4] {
            let env = Env::memory(1);
            let path = Path::new("/t");
            let mut builder = TableBuilder::new(
                env.fs.create(path).unwrap(),
                path,
                TableOptions { compression, ..options() },
            );
            for i in 0..count {
                let value: Vec<u8> =
                    (0..len as u64).map(|b| (((i + 7) * (b + 3)) >> 5) as u8).collect();
                builder.add(Entry::put(format!("user:{i:012}"), i + 1, value).borrow()).unwrap();
            }
            let estimate = builder.estimated_size();
            let size = builder.finish().unwrap().size_bytes;
            assert!(estimate.abs_diff(size) < size / 20 + 5000, "{estimate} for {size}");
        }
    }
}

/// A file whose reads fail while it is told to.
#[derive(Debug)]
struct FailingFile {
    file: Bytes,
    broken: Arc<AtomicBool>,
}

impl ReadFile for FailingFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        if self.broken.load(Ordering::Relaxed) {
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

/// pebble #3199: an I/O error on the newest table fell through to an older
/// value. A scan that ended early and looked complete did the same damage.
#[test]
fn a_failed_read_is_an_error_each_time_and_is_forgotten_once_reads_work_again() {
    let entries: Vec<_> = (0..2000u64)
        .map(|i| Entry::put(format!("user:{i:06}"), i + 1, format!("value {i}").repeat(9)))
        .collect();
    let env = Env::memory(1);
    write(&env, options(), &entries);
    let broken = Arc::new(AtomicBool::new(false));
    let file = FailingFile { file: Bytes(bytes(&env)), broken: broken.clone() };
    let cache = BlockCache::new(1 << 20);
    let table = Arc::new(Table::open(Arc::new(file), Origin::local(DATABASE, ID), &cache).unwrap());
    let get = |e: &Entry| table.get(&e.key, hash_key(&e.key), SeqNo::MAX, &GetContext::default());
    for options in [CursorOptions::scan(), CursorOptions::compaction()] {
        let mut cursor = TableCursor::new(table.clone(), options);
        cursor.seek_first().unwrap();
        broken.store(true, Ordering::Relaxed);
        let mut result = Ok(());
        let mut steps = 0;
        while result.is_ok() && cursor.valid() {
            result = cursor.next();
            steps += 1;
        }
        assert!(matches!(result, Err(Error::Io(_))) && !cursor.valid() && steps < 2000);
        assert!(matches!(get(&entries[1999]), Err(Error::Io(_))));
        assert!(matches!(table.verify(), Err(Error::Io(_))));
        assert!(matches!(cursor.seek(b"user:001999", SeqNo::MAX), Err(Error::Io(_))));
        broken.store(false, Ordering::Relaxed);
        cursor.seek(b"user:001000", SeqNo::MAX).unwrap();
        assert_eq!(cursor.entry(), entries[1000].borrow());
    }
    assert_eq!(get(&entries[1999]).unwrap().unwrap().value, entries[1999].value);
}

/// A file that is full after some bytes, or cannot be synced.
#[derive(Debug)]
struct FullFile {
    len: u64,
    room: u64,
}

impl WriteFile for FullFile {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.len += bytes.len() as u64;
        if self.len > self.room {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
    fn sync(&mut self) -> std::io::Result<()> {
        Err(std::io::Error::other("cannot be synced"))
    }
    fn len(&self) -> u64 {
        self.len
    }
}

#[test]
fn a_full_disk_or_a_failed_sync_is_an_error_of_the_builder_and_never_a_table() {
    for room in [0, 600_000, u64::MAX] {
        let mut builder = TableBuilder::new(Box::new(FullFile { len: 0, room }), "/t", options());
        let mut failed = false;
        for i in 0..20_000u64 {
            let value: Vec<u8> = (0..100).map(|b| ((i * (b + 3)) >> 3) as u8).collect();
            if builder.add(Entry::put(format!("user:{i:06}"), 1, value).borrow()).is_err() {
                failed = true;
                break;
            }
        }
        if failed {
            assert_eq!(builder.abandon(), Path::new("/t"));
        } else {
            assert!(matches!(builder.finish(), Err(Error::Io(_))));
        }
    }
}

#[test]
fn what_is_no_table_at_all_is_refused() {
    let cache = BlockCache::new(1 << 20);
    for len in [0, 1, 87, 88, 89, 8192, 100_000] {
        for byte in [0, 0xff, b'T'] {
            let got = open_bytes(vec![byte; len], &cache);
            assert!(matches!(got, Err(Error::Corruption(_))));
        }
    }
    assert_eq!(cache.used_bytes(), 0);
}
