//! How fast a table is written, looked up in and walked, on one thread.
//!
//! `cargo run --release -p tanada-table --example table_speed [entries]`
//!
//! Keys of 16 bytes in random order of access, values of 100 bytes of which
//! half compress, a table in a file of the temporary directory. Processor time
//! of the process, which a busy machine disturbs less; the best of three rounds.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use tanada_format::{DatabaseId, EntryRef, Origin, SeqNo, TableId, ValueKind, hash_key};
use tanada_table::{
    BlockCache, Compression, Cursor, CursorOptions, GetContext, Table, TableBuilder, TableCursor,
    TableOptions,
};
use tanada_vfs::Env;

const DATABASE: DatabaseId = DatabaseId([1; 16]);

/// Processor time of this process.
fn now() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    hash_key(&state.to_le_bytes())
}

fn report(name: &str, time: Duration, count: u64, bytes: u64) {
    let seconds = time.as_secs_f64();
    println!(
        "  {name:34} {:8.1} ns {:7.2} M/s {:8.0} MB/s",
        seconds * 1e9 / count as f64,
        count as f64 / seconds / 1e6,
        bytes as f64 / seconds / 1e6
    );
}

fn timed(name: &str, count: u64, bytes: u64, mut run: impl FnMut()) {
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = now();
        run();
        best = best.min(now() - start);
    }
    report(name, best, count, bytes);
}

fn main() {
    let count: u64 = std::env::args().nth(1).map_or(500_000, |n| n.parse().unwrap());
    let env = Env::real();
    let mut keys: Vec<[u8; 16]> = (0..count)
        .map(|i| {
            let h = hash_key(&i.to_le_bytes());
            let mut key = [0; 16];
            key[..8].copy_from_slice(&h.to_be_bytes());
            key[8..].copy_from_slice(&i.to_be_bytes());
            key
        })
        .collect();
    keys.sort_unstable();
    let mut state = 1;
    let mut noise = vec![0u8; 1 << 20];
    noise.iter_mut().for_each(|b| *b = random(&mut state) as u8);
    // Half of each value is noise, half is one byte.
    let values: Vec<[u8; 100]> = (0..count as usize)
        .map(|i| {
            let mut value = [b'r'; 100];
            value[..50].copy_from_slice(&noise[i * 50 % (noise.len() - 50)..][..50]);
            value
        })
        .collect();
    let raw = count * 116;
    let order: Vec<u32> = (0..1_000_000).map(|_| (random(&mut state) % count) as u32).collect();

    let filter = std::env::args().nth(2);
    for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
        if filter.as_ref().is_some_and(|f| *f != format!("{compression:?}")) {
            continue;
        }
        let path = std::env::temp_dir().join(format!("tanada-table-speed-{}", std::process::id()));
        let mut size = 0;
        let mut best = Duration::MAX;
        for _ in 0..3 {
            let _ = env.fs.remove(&path);
            let start = now();
            let file = env.fs.create(&path).unwrap();
            let options = TableOptions { compression, ..TableOptions::new(TableId(1), DATABASE) };
            let mut builder = TableBuilder::new(file, &path, options);
            for (i, (key, value)) in keys.iter().zip(&values).enumerate() {
                builder
                    .add(EntryRef {
                        key,
                        seqno: SeqNo(1_000_000 + (i as u64 * 7919) % count),
                        kind: ValueKind::Put,
                        expires_at_ms: 0,
                        value,
                    })
                    .unwrap();
            }
            let summary = builder.finish().unwrap();
            size = summary.size_bytes;
            best = best.min(now() - start);
        }
        println!("{compression:?}: {size} bytes, {:.3} of raw", size as f64 / raw as f64);
        report("build, synced", best, count, raw);

        let cache = BlockCache::new(4 << 30);
        let open = || {
            let file = env.fs.open(&path).unwrap();
            Arc::new(Table::open(file, Origin::local(DATABASE, TableId(1)), &cache).unwrap())
        };
        timed("open", 1, 0, || drop(open()));
        let table = open();
        let walk = |options, backwards| {
            let mut cursor = TableCursor::new(table.clone(), options);
            let mut sum = 0u64;
            if backwards {
                cursor.seek_last().unwrap()
            } else {
                cursor.seek_first().unwrap()
            }
            while cursor.valid() {
                let e = cursor.entry();
                sum += u64::from(e.value[0]) + u64::from(e.key[15]);
                if backwards { cursor.prev().unwrap() } else { cursor.next().unwrap() }
            }
            black_box(sum);
        };
        timed("walk past the cache", count, raw, || walk(CursorOptions::compaction(), false));
        let gets = order.len() as u64;
        let get = |miss: bool| {
            let context = GetContext::default();
            let mut sum = 0u64;
            for &i in &order {
                let mut key = keys[i as usize];
                key[15] ^= u8::from(miss);
                key[8] ^= u8::from(miss);
                // The next lookup waits for this one, as a caller's does.
                key[0] ^= (sum >> 63) as u8;
                let found = table.get(&key, hash_key(&key), SeqNo::MAX, &context).unwrap();
                assert!(found.is_some() != miss);
                sum += found.map_or(1, |f| u64::from(f.value[0])) & 0xff;
            }
            black_box(sum);
        };
        get(false);
        timed("get, cached", gets, 0, || get(false));
        timed("get, absent", gets, 0, || get(true));
        timed("walk, cached", count, raw, || walk(CursorOptions::scan(), false));
        timed("walk back, cached", count, raw, || walk(CursorOptions::scan(), true));
        let mut cursor = TableCursor::new(table.clone(), CursorOptions::scan());
        timed("seek + 10 next, cached", gets / 4, 0, || {
            for &i in &order[..order.len() / 4] {
                cursor.seek(&keys[i as usize], SeqNo::MAX).unwrap();
                for _ in 0..10 {
                    if cursor.valid() {
                        cursor.next().unwrap();
                    }
                }
            }
        });
        timed("get, two threads", 2 * gets, 0, || {
            std::thread::scope(|s| {
                s.spawn(|| get(false));
                s.spawn(|| get(false));
            });
        });
        cache.set_capacity(size / 10);
        get(false);
        timed("get, cache a tenth of the file", gets, 0, || get(false));
        println!("  {:?}", cache.stats());
        drop((cursor, table));
        env.fs.remove(&path).unwrap();
    }
}
