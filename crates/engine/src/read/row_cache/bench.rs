//! What lookups and insertions cost. Not a test: run it with
//!
//! `cargo test --release -p tanada row_cache::bench -- --ignored --nocapture`
use super::*;
use std::hint::black_box;
use tanada_format::hash_key;

const KS: KeyspaceId = KeyspaceId::DEFAULT;
const ROWS: u64 = 100_000;
const READS: u64 = 1_000_000;

fn key(n: u64) -> [u8; 16] {
    u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes()
}

/// Processor time of this thread in nanoseconds: other work on the machine counts less.
fn now_ns() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

fn report(what: &str, count: u64, since_ns: u64) {
    println!("{what}: {} ns", (now_ns() - since_ns) / count);
}

fn read(cache: &RowCache, from: u64, span: u64) -> u64 {
    let mut found = 0;
    for i in 0..READS {
        let key = key((i.wrapping_mul(0x9e37_79b9) + from) % span);
        found += u64::from(cache.get(KS, &key, hash_key(&key), SeqNo::MAX).is_some());
    }
    found
}

#[test]
#[ignore = "a measurement"]
fn figures() {
    let cache = RowCache::new(64 << 20);
    let row = Row { value: Value::from(&[7; 100][..]), seqno: SeqNo(1), expires_at_ms: 0 };
    let insert = |n: u64| {
        let key = key(n);
        cache.insert(KS, &key, hash_key(&key), &row, 0);
    };
    let start = now_ns();
    (0..ROWS).for_each(insert);
    report("insert while there is room", ROWS, start);
    assert_eq!(cache.stats().entries, ROWS);
    println!("{} bytes a row", cache.stats().used_bytes / ROWS);
    for _ in 0..2 {
        let start = now_ns();
        assert_eq!(black_box(read(&cache, 0, ROWS)), READS);
        report("hit", READS, start);
        let start = now_ns();
        assert_eq!(black_box(read(&cache, ROWS, u64::MAX)), 0);
        report("miss", READS, start);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let start = now_ns();
                    assert_eq!(black_box(read(&cache, 0, ROWS)), READS);
                    report("hit, one of two threads", READS, start);
                });
            }
        });
    }
    cache.set_capacity(cache.stats().used_bytes);
    let start = now_ns();
    (ROWS..ROWS + READS).for_each(insert);
    report("insert of what comes for the first time, full", READS, start);
    let start = now_ns();
    for n in ROWS..ROWS + READS {
        insert(n);
        insert(n);
    }
    report("both inserts of what comes twice, full", READS, start);
    let start = now_ns();
    for n in 0..READS {
        let key = key(n);
        cache.remove(KS, &key, hash_key(&key));
    }
    report("remove of what mostly is not there", READS, start);
}
