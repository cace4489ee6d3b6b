//! Jobs over real tables in memory: what they write, and what they leave when they fail.

use super::super::disk::*;
use super::super::job::split_ranges;
use super::super::plan::Method;
use super::super::sketch::Sketch;
use super::super::worker_tests::is_the_same_elsewhere;
use super::*;
use crate::tree::compaction::{Begun, Config, InFlight, ManualStep, Moment, plan_range};
use crate::tree::merge::vec_cursor::{OwnedEntry, VecCursor, sort};
use crate::types::error::Error;
use proptest::prelude::*;
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::Ordering;
use tanada_format::ValueKind;
use tanada_vfs::fault::{EIO, ENOSPC, Op, Rule};

/// The plan that merges everything.
pub(in super::super) fn merge_all(disk: &Disk) -> Plan {
    let base_bytes = 256 << 10;
    let config = Config { table_bytes: 4096, base_bytes, ..Config::for_memtable(64 << 10) };
    let moment = Moment { now_ms: 1000, oldest_snapshot: SeqNo::MAX };
    let all = (Bound::Unbounded, Bound::Unbounded);
    let in_flight = InFlight::default();
    match plan_range(&disk.version, &config, &in_flight, moment, all, Begun::LAST) {
        ManualStep::Run(plan) => *plan,
        step => panic!("there is something to merge: {step:?}"),
    }
}

/// Entries with values that do not compress, `runs` of them over the same keys.
/// Each run's values have a length of their own, so that its tables are cut at
/// other keys and no part of the runs can be merged without the rest.
pub(in super::super) fn overlapping(disk: &mut Disk, runs: u64, keys: u64) -> Vec<OwnedEntry> {
    let mut all = Vec::new();
    for run in 0..runs {
        let entries = (0..keys).map(|key| {
            let seqno = run * keys + key + 1;
            let value = tanada_format::hash_key(&seqno.to_le_bytes()).to_le_bytes();
            let value = value.repeat(8 + run as usize);
            OwnedEntry::put(format!("key{key:05}"), seqno, value)
        });
        let entries: Vec<_> = entries.collect();
        all.extend(entries.iter().cloned());
        disk.flush(entries, &[]).unwrap();
    }
    all
}

/// Each input was read with 512 KiB at once: a merge of 64 runs took 32 MiB of a
/// budget that knew of 4.
#[test]
fn a_merge_of_many_runs_divides_its_share_of_the_memory_among_them() {
    let mut disk = Disk::new();
    overlapping(&mut disk, 64, 40);
    let plan = merge_all(&disk);
    assert_eq!(plan.inputs.len(), 64);
    disk.buffers.lock().1 = 0;
    disk.run(&plan, &[]).unwrap();
    let (now, most) = *disk.buffers.lock();
    assert_eq!(now, 0, "what is counted when a job ends");
    assert!(most > 64 * (16 << 10) && most as u64 <= SHARE_BYTES, "{most}");
}

/// Each input had its present value in memory: a merge of five runs of values of 50 MB
/// took 240 MiB besides all budgets.
#[test]
fn a_merge_of_long_values_holds_one_of_them() {
    let mut disk = Disk::new();
    disk.table_bytes = 64 << 20;
    let value = |n: u64| tanada_format::hash_key(&[n as u8]).to_le_bytes().repeat(300_000);
    let put = |key: &str, n: u64| OwnedEntry::put(key, n, value(n));
    for run in 0..5u64 {
        // One of their own between two that the next run replaces.
        let own = format!("key{run}");
        let n = 10 * run;
        disk.flush(vec![put("a", n + 1), put(&own, n + 2), put("z", n + 3)], &[]).unwrap();
    }
    disk.blocks.store(0, Ordering::Relaxed);
    let plan = merge_all(&disk);
    assert_eq!(plan.inputs.len(), 5);
    let output = disk.run(&plan, &[]).unwrap();
    assert_eq!((output.entries_in, output.entries_out), (15, 7));
    let most = disk.blocks.load(Ordering::Relaxed);
    assert!((2_400_000..3_400_000).contains(&most), "{most} bytes of blocks");
    assert!(disk.buffers.lock().1 < 4 << 20, "{:?}", disk.buffers.lock());
    drop(plan);
    disk.install(&output.edit);
    let mut expected = vec![put("a", 41), put("z", 43)];
    expected.extend((0..5).map(|run| put(&format!("key{run}"), 10 * run + 2)));
    sort(&mut expected);
    assert!(disk.entries() == expected);
}

#[test]
fn what_is_read_at_once_follows_the_share_and_the_number_of_inputs() {
    assert_eq!(read_ahead(4 << 20, 4), 512 << 10);
    for inputs in [8, 16, 64, 150] {
        let all = inputs as u64 * u64::from(read_ahead(4 << 20, inputs));
        assert!(all + BUILDER_BYTES <= 4 << 20, "{inputs}: {all}");
    }
    assert_eq!(read_ahead(0, 1000), 16 << 10);
}

#[test]
fn a_merge_writes_the_newest_versions_and_counts_what_it_did() {
    let mut disk = Disk::new();
    let all = overlapping(&mut disk, 3, 500);
    let plan = merge_all(&disk);
    let output = disk.run(&plan, &[]).unwrap();
    assert_eq!((output.entries_in, output.entries_out), (1500, 500));
    assert_eq!(output.bytes_read, disk.version.size_bytes());
    let written: u64 = output.edit.added.iter().map(|added| added.meta.size_bytes).sum();
    assert_eq!(output.bytes_written, written);
    assert!(output.edit.added.len() > 5, "tables are cut at their size");
    drop(plan);
    disk.install(&output.edit);
    assert_eq!(disk.entries(), all[1000..]);
    assert_eq!(disk.files_on_disk(), disk.files_in_tree());
}

/// leveldb #184, #320: the versions of a key were cut apart, over two files.
#[test]
fn same_user_key_across_files() {
    let mut disk = Disk::new();
    let snapshots: Vec<SeqNo> = (1..400).map(SeqNo).collect();
    for run in 0..4u64 {
        let versions = (1..100).map(|n| {
            let value = tanada_format::hash_key(&[n as u8, run as u8]).to_le_bytes().repeat(16);
            OwnedEntry::put(["a", "b", "c"][n as usize % 3], run * 100 + n, value)
        });
        disk.flush(versions.collect(), &snapshots).unwrap();
    }
    let plan = merge_all(&disk);
    let output = disk.run(&plan, &snapshots).unwrap();
    assert_eq!(output.entries_out, 4 * 99);
    assert_eq!(output.edit.added.len(), 3, "one table a key, and each over the size");
    disk.install(&output.edit);
}

#[test]
fn parts_of_a_job_make_the_same_tables_as_the_whole() {
    let mut disk = Disk::new();
    overlapping(&mut disk, 3, 500);
    let plan = merge_all(&disk);
    let whole = disk.run(&plan, &[]).unwrap();
    let job = disk.job(&plan, &[], 4);
    assert_eq!(job.parts.len(), 4);
    let outputs = disk.carry_out(&job).unwrap();
    let joined = JobOutput::of_outputs(&plan, outputs, || unreachable!()).unwrap();
    assert_eq!((joined.entries_in, joined.entries_out), (whole.entries_in, whole.entries_out));
    disk.install(&joined.edit);
    assert_eq!(disk.entries().len(), 500);
}

/// The plan that merges all of a tree that is written down as text.
fn merge_of(tree: &str) -> Plan {
    let tree = Sketch::new(Config::for_memtable(1 << 20), tree);
    let all = (Bound::Unbounded, Bound::Unbounded);
    let (version, config, in_flight) = (&tree.version, &tree.config, &tree.in_flight);
    match plan_range(version, config, in_flight, tree.moment, all, Begun::LAST) {
        ManualStep::Run(plan) => *plan,
        step => panic!("there is something to merge: {step:?}"),
    }
}

#[test]
fn a_job_has_a_part_for_each_16_mib_when_someone_waits_for_it() {
    let parts = |mib: u64, reason| {
        let bytes = (mib << 20) - 1;
        let plan = merge_of(&format!("L5: 2 a-c 1\nL6: 1 a-c {bytes}"));
        parts_worth_it(&Plan { reason, ..plan }, 4)
    };
    assert_eq!(
        [15, 16, 31, 32, 48, 64, 1000].map(|mib| parts(mib, Reason::Manual)),
        [1, 1, 1, 2, 3, 4, 4]
    );
    assert_eq!(parts(1000, Reason::LevelSize), 1);
}

#[test]
fn parts_are_equal_and_begin_where_tables_do() {
    let cuts = |tree: &str, parts| -> Vec<String> {
        let ranges = split_ranges(&merge_of(tree), parts);
        assert_eq!((&ranges[0].start, &ranges[ranges.len() - 1].end), (&None, &None));
        let joined = ranges.windows(2).map(|pair| {
            assert_eq!(pair[0].end, pair[1].start);
            String::from_utf8(pair[1].start.clone().unwrap().into()).unwrap()
        });
        joined.collect()
    };
    let equal =
        "L5: 9 a-z 300\nL6: 1 b-c 100, 2 d-e 100, 3 f-g 100, 4 h-i 100, 5 j-k 100, 6 l-m 100";
    assert_eq!(cuts(equal, 1), [""; 0]);
    // 900 B, of which 300 begin at a.
    assert_eq!(cuts(equal, 3), ["b", "h"]);
    assert_eq!(cuts(equal, 2), ["f"]);
    // Tables that begin together are not to be parted.
    let together = "L4: 9 a-z 1\nL5: 7 a-e 200, 8 f-h 199\nL6: 1 a-b 100, 2 f-g 100, 3 h-i 100";
    assert_eq!(cuts(together, 7), ["f", "h"]);
}

#[test]
fn a_move_changes_the_place_of_a_table_and_no_file() {
    let mut disk = Disk::new();
    disk.flush(vec![OwnedEntry::put("a", 1, "x"), OwnedEntry::put("b", 2, "y")], &[]).unwrap();
    let files = disk.files_on_disk();
    let plan = merge_all(&disk);
    assert_eq!(plan.method, Method::Move);
    let output = disk.run(&plan, &[]).unwrap();
    assert_eq!((output.bytes_read, output.bytes_written), (0, 0));
    disk.install(&output.edit);
    assert_eq!((disk.files_on_disk(), disk.files_in_tree()), (files.clone(), files));
    let last = disk.version.last_level();
    assert_eq!((last, disk.version.table_count()), (Some(plan.target), 1));
    assert_eq!(disk.entries().len(), 2);
}

/// What the manifest says of a table is what decisions are made by.
#[test]
fn the_facts_about_a_table_are_those_of_its_entries() {
    let mut disk = Disk::new();
    let entries = vec![
        OwnedEntry { expires_at_ms: 2000, ..OwnedEntry::put("a", 5, "four") },
        OwnedEntry::delete("bb", 7),
        OwnedEntry { expires_at_ms: 3000, ..OwnedEntry::put("ccc", 6, "seven77") },
        OwnedEntry::put("dddd", 4, ""),
    ];
    disk.flush(entries, &[]).unwrap();
    let meta = disk.version.tables().next().unwrap().meta();
    assert_eq!((meta.entries, meta.tombstones, meta.expiring), (4, 1, 2));
    assert_eq!((&*meta.min_key, &*meta.max_key), (&b"a"[..], &b"dddd"[..]));
    assert_eq!((meta.min_seqno, meta.max_seqno), (SeqNo(4), SeqNo(7)));
    assert_eq!((meta.min_expires_at_ms, meta.max_expires_at_ms), (2000, 3000));
    assert_eq!(meta.raw_bytes, (1 + 2 + 3 + 4) + (4 + 7), "keys and values");
    assert_eq!(meta.created_ms, 1000);
    assert_eq!(meta.size_bytes, disk.length_of(&disk.files_on_disk()[0]));
}

/// Entries weigh their keys and values and 16 B more.
#[test]
fn a_job_gives_way_after_each_mebibyte_of_entries() {
    let mut disk = Disk::new();
    let value = vec![b'v'; 65_000 - 16 - 8];
    let entries = (0..40).map(|n| OwnedEntry::put(format!("key{n:05}"), n + 1, &value)).collect();
    disk.flush(entries, &[]).unwrap();
    // 17 entries are the first to weigh a MiB or more.
    assert_eq!(*disk.yields.lock(), [17 * 65_000, 17 * 65_000]);
}

/// A block that cannot be read is no reason to lose it: the job ends, and the
/// inputs stay.
#[test]
fn damage_in_an_input_ends_the_job_with_its_place() {
    let mut disk = Disk::new();
    overlapping(&mut disk, 3, 500);
    let victim = disk.version.tables().nth(1).unwrap().path();
    let before = disk.files_on_disk();
    disk.flip_byte(&victim, 2000);
    let plan = merge_all(&disk);
    let error = disk.run(&plan, &[]).unwrap_err();
    assert!(matches!(&error, Error::Corruption(c) if c.file == victim), "{error}");
    assert_eq!(disk.files_on_disk(), before, "the outputs are removed");
}

#[test]
fn one_part_that_fails_takes_the_others_along() {
    let mut disk = Disk::new();
    overlapping(&mut disk, 3, 500);
    let before = disk.files_on_disk();
    let plan = merge_all(&disk);
    let job = disk.job(&plan, &[], 3);
    assert_eq!(job.parts.len(), 3);
    disk.faults.add(Rule::fail(EIO).on(Op::Sync).nth(5));
    let error = disk.carry_out(&job).unwrap_err();
    assert!(matches!(error, Error::Io(_)), "{error}");
    assert_eq!(disk.files_on_disk(), before);
}

#[test]
fn a_table_that_ends_too_early_ends_the_job() {
    let mut disk = Disk::new();
    overlapping(&mut disk, 2, 50);
    disk.claim_one_entry_more();
    let plan = merge_all(&disk);
    let error = disk.run(&plan, &[]).unwrap_err();
    assert!(error.to_string().contains("entries where the manifest names"), "{error}");
}

#[test]
fn a_job_that_is_told_to_stop_leaves_no_file() {
    let mut disk = Disk::new();
    overlapping(&mut disk, 3, 10_000);
    let before = disk.files_on_disk();
    disk.stop.store(true, Ordering::Relaxed);
    let plan = merge_all(&disk);
    assert!(matches!(disk.run(&plan, &[]), Err(Error::Closed)));
    assert_eq!(disk.files_on_disk(), before);
}

#[test]
fn a_failing_disk_fails_the_job_and_leaves_no_file() {
    for op in [Op::Create, Op::Append, Op::Sync, Op::SyncDir, Op::Read] {
        for errno in [EIO, ENOSPC] {
            let mut disk = Disk::new();
            overlapping(&mut disk, 3, 500);
            let before = disk.files_on_disk();
            let plan = merge_all(&disk);
            disk.faults.add(Rule::fail(errno).on(op).nth(1));
            let error = disk.run(&plan, &[]).unwrap_err();
            // Of a failed sync of the directory nobody knows which names it gave up.
            match op {
                Op::SyncDir => assert!(matches!(error, Error::Poisoned { .. }), "{error}"),
                _ => assert!(matches!(error, Error::Io(_)), "{op:?}: {error}"),
            }
            assert_eq!(disk.files_on_disk(), before, "{op:?}");
        }
    }
}

#[test]
fn entries_of_reserved_kinds_end_the_job() {
    let mut disk = Disk::new();
    let merge = OwnedEntry { kind: ValueKind::Merge, ..OwnedEntry::put("a", 1, "+1") };
    let error = disk.flush(vec![merge], &[]).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(disk.files_on_disk().is_empty());
}

#[test]
fn outputs_survive_a_power_cut_after_the_job() {
    let mut disk = Disk::new();
    let all = overlapping(&mut disk, 3, 200);
    let plan = merge_all(&disk);
    let output = disk.run(&plan, &[]).unwrap();
    disk.install(&output.edit);
    for seed in 0..8 {
        let after = disk.after_power_cut(seed);
        assert_eq!(after.entries(), all[400..]);
    }
}

#[test]
fn a_flush_keeps_what_a_snapshot_sees() {
    let mut disk = Disk::new();
    let versions = (1..=9).map(|n| OwnedEntry::put("k", n, n.to_string())).collect();
    disk.flush(versions, &[SeqNo(4), SeqNo(7)]).unwrap();
    let kept: Vec<u64> = disk.entries().iter().map(|e| e.seqno.0).collect();
    assert_eq!(kept, [9, 7, 4]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// The runner against the judge alone, over everything at once.
    #[test]
    fn a_job_keeps_exactly_what_retention_keeps(
        runs in prop::collection::vec(
            prop::collection::vec((0u64..50, 0u8..4, 0u64..3), 1..60), 1..6,
        ),
        mut snapshots in prop::collection::vec(0u64..200, 0..4),
        parts in 1usize..5,
    ) {
        snapshots.sort_unstable();
        let snapshots: Vec<_> = snapshots.into_iter().map(SeqNo).collect();
        let mut disk = Disk::new();
        let mut all = Vec::new();
        let mut seqno = 0;
        for run in &runs {
            let entries: Vec<_> = run.iter().map(|&(key, kind, expiry)| {
                seqno += 1;
                let key = format!("{key:02}");
                match kind {
                    0 => OwnedEntry::delete(key, seqno),
                    _ => OwnedEntry {
                        expires_at_ms: [0, 900, 1100][expiry as usize],
                        ..OwnedEntry::put(key, seqno, seqno.to_string())
                    },
                }
            }).collect();
            all.extend(entries.iter().cloned());
            disk.flush(entries, &snapshots).unwrap();
        }
        sort(&mut all);
        let mut retention = Retention::new(&snapshots, 1000);
        let keep = |e: &OwnedEntry| retention.keep(e.as_ref(), |_| false).unwrap().map(OwnedEntry::of);
        let expected: Vec<_> = all.iter().filter_map(keep).collect();

        let plan = Plan { method: Method::Merge, ..merge_all(&disk) };
        let job = disk.job(&plan, &snapshots, parts);
        let outputs = disk.carry_out(&job).unwrap();
        is_the_same_elsewhere(&disk, &job, &outputs);
        let output = JobOutput::of_outputs(&plan, outputs, || Ok(TableId(1 << 40))).unwrap();
        // Tables that meet no other are left for another step.
        let whole = plan.tables().count() == disk.version.table_count();
        disk.install(&output.edit);
        if whole {
            prop_assert_eq!(output.entries_out, expected.len() as u64);
            prop_assert_eq!(disk.entries(), expected);
        }
    }
}

#[test]
fn a_write_of_nothing_is_an_empty_edit() {
    let disk = Disk::new();
    let cursor = VecCursor::default();
    let options = OutputOptions {
        snapshots: &[],
        time: 1.into(),
        table_bytes: 1 << 20,
        guards: &[],
        table: disk.options.clone(),
        next_id: &|| unreachable!("nothing is written"),
    };
    let output = disk.with_io(|io| write_tables(cursor, &options, io)).unwrap();
    assert!(output.edit.is_empty());
    assert!(!Path::new("/db").join("000001.sst").exists());
}

/// `cargo test -p tanada --release job_rate -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn job_rate() {
    let clock = tanada_vfs::Env::real().clock;
    let now_ns = || clock.monotonic_ns();
    for runs in [1u64, 2, 4, 8] {
        let mut disk = Disk::new();
        disk.options.block_size = 4096;
        disk.options.compression = tanada_table::Compression::Lz4;
        let per_run = 800_000 / runs;
        let mut flush_ns = 0;
        for run in 0..runs {
            let entries = (0..per_run).map(|n| {
                let key = tanada_format::hash_key(&(n * 8 + run).to_le_bytes()) % 10_000_000;
                let half = tanada_format::hash_key(&n.to_le_bytes()).to_le_bytes().repeat(6);
                let value = [half.as_slice(), &[b'x'; 52]].concat();
                OwnedEntry::put(format!("{key:016}"), run * per_run + n + 1, value)
            });
            let entries = entries.collect();
            let start = now_ns();
            disk.flush(entries, &[]).unwrap();
            flush_ns += now_ns() - start;
        }
        let config = Config::for_memtable(64 << 20);
        let moment = Moment { now_ms: 1000, oldest_snapshot: SeqNo::MAX };
        let all = (Bound::Unbounded, Bound::Unbounded);
        let in_flight = InFlight::default();
        let step = plan_range(&disk.version, &config, &in_flight, moment, all, Begun::LAST);
        let ManualStep::Run(mut plan) = step else { panic!("there is work") };
        plan.method = Method::Merge;
        let start = now_ns();
        let output = disk.run(&plan, &[]).unwrap();
        let seconds = (now_ns() - start) as f64 / 1e9;
        let raw = output.entries_in as f64 * 116.0 / 1e6;
        println!(
            "{runs} runs: {:.2} M entries a second, {:.0} MB/s raw, {:.0} ns an entry; flush with sort {:.0} ns",
            output.entries_in as f64 / seconds / 1e6,
            raw / seconds,
            seconds * 1e9 / output.entries_in as f64,
            flush_ns as f64 / 800_000.0,
        );
    }
}
