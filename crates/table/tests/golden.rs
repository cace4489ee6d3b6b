//! Tables written by the first version of the format, kept in the repository:
//! they read back for ever, and the same input still gives the same bytes.
//!
//! When a compression library's new version packs differently, the second
//! half may fail where the first does not; then, and after a deliberate change
//! of a format that nobody has data in yet, write them anew:
//! `TANADA_WRITE_GOLDEN=1 cargo test -p tanada-table --test golden`.

mod house;

use house::{Entry, bytes, open_bytes, options, sorted, write};
use tanada_format::{SeqNo, ValueKind, hash_key};
use tanada_table::{
    BlockCache, Compression, Cursor, CursorOptions, GetContext, TableCursor, TableOptions,
};
use tanada_vfs::Env;

const GOLDEN: [(&str, Compression, &[u8]); 3] = [
    ("none.sst", Compression::None, include_bytes!("golden/none.sst")),
    ("lz4.sst", Compression::Lz4, include_bytes!("golden/lz4.sst")),
    ("zstd.sst", Compression::Zstd, include_bytes!("golden/zstd.sst")),
];

/// Every kind, an expiry, versions over a block's border, an empty value, a
/// value longer than a block.
fn entries() -> Vec<Entry> {
    let mut entries = vec![
        Entry { kind: ValueKind::Delete, ..Entry::put("deleted", 900, "") },
        Entry { kind: ValueKind::Merge, ..Entry::put("merged", 901, "+1") },
        Entry { kind: ValueKind::RangeDelete, ..Entry::put("range", 902, "ranged") },
        Entry { kind: ValueKind::BlobRef, ..Entry::put("blob", 903, "blob 4 at 96") },
        Entry { expires_at_ms: 1_700_000_000_000, ..Entry::put("expiring", 904, "soon gone") },
        Entry::put("empty", 905, ""),
        Entry::put("long", 906, "rice ".repeat(300)),
        Entry::put([0], 1, "the smallest"),
        Entry::put([0xff; 40], SeqNo::MAX.0, "the greatest"),
    ];
    entries
        .extend((0..40u64).map(|i| Entry::put("hot", 10 + i, format!("version {i} of a hot key"))));
    entries.extend((0..60u64).map(|i| {
        Entry::put(format!("user:{i:06}"), 300 + i, format!("name {i}, terrace {}", i / 7))
    }));
    sorted(entries)
}

fn written(compression: Compression) -> Vec<u8> {
    let env = Env::memory(1);
    write(&env, TableOptions { compression, block_size: 1024, ..options() }, &entries());
    bytes(&env)
}

#[test]
fn tables_written_by_the_first_version_read_back() {
    let entries = entries();
    for (name, compression, golden) in GOLDEN {
        let table = open_bytes(golden.to_vec(), &BlockCache::new(1 << 20)).expect(name);
        assert_eq!(table.properties().compression, compression);
        table.verify().expect(name);
        let mut cursor = TableCursor::new(table.clone(), CursorOptions::scan());
        cursor.seek_first().expect(name);
        for e in &entries {
            assert_eq!(cursor.entry(), e.borrow());
            cursor.next().expect(name);
            let context = GetContext::default();
            let found = table.get(&e.key, hash_key(&e.key), e.seqno, &context).expect(name);
            assert_eq!(found.expect("it was written").value, e.value);
        }
        assert!(!cursor.valid());
    }
}

#[test]
#[allow(clippy::disallowed_methods)] // writes into the repository, when told to
fn the_same_input_gives_the_same_bytes() {
    for (name, compression, golden) in GOLDEN {
        let now = written(compression);
        if std::env::var_os("TANADA_WRITE_GOLDEN").is_some() {
            let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/");
            std::fs::write(format!("{dir}{name}"), &now).expect(name);
        } else {
            assert!(now == golden, "{name} is written differently now");
        }
    }
}
