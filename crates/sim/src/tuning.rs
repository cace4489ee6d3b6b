//! Random sizes: from one extreme to the other, so that a border which no write of
//! a run reaches under one set is crossed by every write under the next.

use crate::choices::Choices;
use crate::generator::{LONGEST_WRITE_BYTES, Profile};
use tanada::Tuning;

/// Any sizes under which the batches of [`Profile::small`] are taken.
pub fn random_tuning(choices: &mut impl Choices) -> Tuning {
    let memtable_bytes = pick(choices, &[4 << 10, 16 << 10, 64 << 10, 256 << 10, 2 << 20]);
    // Half of it must hold a batch of that profile, its last write besides, and what
    // writes to several keyspaces take in memory beside keys and values.
    let least = 2 * (Profile::small().batch_bytes + LONGEST_WRITE_BYTES + (128 << 10)) as u64;
    Tuning {
        memtable_bytes: Some(memtable_bytes),
        memtables_max_bytes: Some((4 * memtable_bytes).max(least)),
        // None of the first three has room for a row: the row cache takes 16 KiB without any.
        cache_bytes: pick(choices, &[Some(0), Some(4 << 10), Some(64 << 10), Some(2 << 20), None]),
        log_bytes: pick(choices, &[Some(8 << 10), Some(64 << 10), None]),
        held_log_bytes: pick(choices, &[None, Some(0), Some(64 << 10)]),
        // A few dead keys side by side are a span.
        dead_entries: Some(1),
        block_bytes: Some(pick(choices, &[64, 512, 4032, 32 << 10])),
        bits_per_key: Some(pick(choices, &[0.0, 2.0, 10.0, 20.0])),
        table_bytes: Some(pick(choices, &[4 << 10, 64 << 10, 2 << 20])),
        // So that tables of small trees, too, grow with their level.
        tables_a_level: Some(16),
        base_bytes: Some(pick(choices, &[16 << 10, 256 << 10, 8 << 20])),
        size_ratio: Some(pick(choices, &[2, 4, 8])),
        l0_runs: Some(pick(choices, &[2, 3, 4, 8])),
        inner_runs: Some(pick(choices, &[1, 1, 2, 3])),
        garbage_age_ms: Some(pick(choices, &[0, 1_000, 60_000])),
        // So that trees of a few tables, too, are looked at a part at a time.
        window: Some(3),
        snapshot_part_bytes: Some(1 << 10),
        table_descriptors: pick(choices, &[None, None, Some(1), Some(4)]),
        seqno_block: Some(200),
        open_tables: pick(choices, &[None, None, Some(1), Some(3)]),
    }
}

/// Sizes under which the keys of [`Profile::long`] lie in about a thousand tables, with
/// few of them open, and levels of one run, as they are unless somebody asks.
pub fn long_tuning(choices: &mut impl Choices) -> Tuning {
    Tuning {
        memtable_bytes: Some(pick(choices, &[16 << 10, 64 << 10, 128 << 10])),
        memtables_max_bytes: Some(1 << 20),
        block_bytes: Some(pick(choices, &[512, 4032])),
        table_bytes: Some(4 << 10),
        tables_a_level: Some(1 << 20),
        base_bytes: Some(pick(choices, &[64 << 10, 256 << 10])),
        inner_runs: Some(1),
        garbage_age_ms: None,
        table_descriptors: Some(pick(choices, &[1, 4])),
        open_tables: pick(choices, &[None, Some(3), Some(64)]),
        ..random_tuning(choices)
    }
}

/// How many files the process may have open, so that a table that keeps its own for
/// ever is refused: somewhat more than a database needs that keeps to its part. No
/// limit where tables have no bound.
pub fn descriptor_limit(tuning: &Tuning) -> Option<u64> {
    tuning.table_descriptors.map(|_| 48)
}

fn pick<T: Copy>(choices: &mut impl Choices, of: &[T]) -> T {
    of[choices.below(of.len() as u64) as usize]
}
