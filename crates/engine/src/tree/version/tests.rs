//! The tree: lookups against a plain list, edits that fit and edits that do not.

use super::*;
use std::ops::Bound;
use tanada_format::{DatabaseId, SeqNo};

/// A file system that is never asked for anything.
#[derive(Debug)]
struct NoFiles;

macro_rules! never {
    ($($name:ident($($arg:ty),*) -> $out:ty;)*) => {
        impl tanada_vfs::FileSystem for NoFiles {$(
            fn $name(&self, $(_: $arg),*) -> std::io::Result<$out> {
                panic!("the tree touched the file system")
            }
        )*}
    };
}

use std::path::Path;
never! {
    create_dir_all(&Path) -> ();
    create_dir(&Path) -> ();
    remove_dir(&Path) -> ();
    canonical(&Path) -> std::path::PathBuf;
    read_dir(&Path) -> Vec<tanada_vfs::DirEntry>;
    create(&Path) -> Box<dyn tanada_vfs::WriteFile>;
    open_append(&Path) -> Box<dyn tanada_vfs::WriteFile>;
    open(&Path) -> Arc<dyn tanada_vfs::ReadFile>;
    create_log(&Path, u64) -> Box<dyn tanada_vfs::LogFile>;
    rename(&Path, &Path) -> ();
    remove(&Path) -> ();
    hard_link(&Path, &Path) -> ();
    sync_dir(&Path) -> ();
    len(&Path) -> u64;
    lock(&Path) -> Box<dyn tanada_vfs::DirLock>;
    free_space(&Path) -> u64;
}

fn files() -> Arc<TableStore> {
    TableStore::new(Arc::new(NoFiles), "db", DatabaseId([7; 16]), tanada_table::BlockCache::new(0))
}

fn meta(id: u64, min: &[u8], max: &[u8]) -> TableMeta {
    TableMeta {
        id: TableId(id),
        origin: None,
        tail_bytes: 0,
        size_bytes: 1000,
        raw_bytes: 2000,
        entries: 10,
        tombstones: 1,
        min_key: min.into(),
        max_key: max.into(),
        min_seqno: SeqNo(id * 10),
        max_seqno: SeqNo(id * 10 + 9),
        created_ms: 5,
        min_expires_at_ms: 0,
        max_expires_at_ms: 0,
        expiring: 0,
        expiry_quantiles: None,
        superseded: 0,
    }
}

fn add(level: u8, run: u64, id: u64, min: &str, max: &str) -> AddedTable {
    let meta = meta(id, min.as_bytes(), max.as_bytes());
    AddedTable { level: Level(level), run: RunId(run), meta }
}

fn edit(added: &[AddedTable], removed: &[(u8, u64)]) -> VersionEdit {
    let removed = removed
        .iter()
        .map(|&(level, id)| RemovedTable { level: Level(level), id: TableId(id) })
        .collect();
    VersionEdit { added: added.to_vec(), removed }
}

fn ids<'a>(tables: impl IntoIterator<Item = &'a Arc<TableHandle>>) -> Vec<u64> {
    tables.into_iter().map(|t| t.id().0).collect()
}

/// Keys chosen so that heads tie, are short, hold zeros, and leave the prefix.
fn awkward_keys() -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    for stem in ["", "p", "pre", "prefix:", "prefix:aaaaaaaa", "prefix:aaaaaaaab", "q", "prefix;"] {
        for tail in [&b""[..], b"\0", b"\0\0", b"a", b"a\0", b"zzzzzzzzz", b"\xff", b"\xff\xff"] {
            let key = [stem.as_bytes(), tail].concat();
            if !key.is_empty() {
                keys.push(key);
            }
        }
    }
    keys.sort();
    keys.dedup();
    keys
}

#[test]
fn a_run_finds_the_same_table_as_a_linear_search() {
    let keys = awkward_keys();
    // Every way to cut the sorted keys into tables of 1 or 2 borders, from every start.
    for (start, width, gap) in (0..keys.len()).flat_map(|s| [(s, 1, 0), (s, 2, 0), (s, 2, 1)]) {
        let step = width + gap;
        let cuts: Vec<&[Vec<u8>]> =
            keys[start..].chunks(step).map(|c| &c[..width.min(c.len())]).collect();
        let tables = (1..)
            .zip(&cuts)
            .map(|(id, cut)| TableHandle::new(meta(id, &cut[0], &cut[cut.len() - 1]), files()));
        let run = Run::new(RunId(1), tables.collect()).unwrap();
        for key in &keys {
            let all = || run.tables().iter();
            let expected = all().find(|t| t.meta().overlaps(key, key)).map(|t| t.id());
            assert_eq!(run.find(key).map(|t| t.id()), expected, "{key:?}");
            let lower = all().take_while(|t| *t.meta().max_key < **key).count();
            assert_eq!(run.lower_bound(key), lower, "{key:?}");
            let upper = all().take_while(|t| *t.meta().min_key < **key).count();
            assert_eq!(run.upper_bound(key), upper, "{key:?}");
        }
        for (low, high) in keys.iter().step_by(3).flat_map(|l| keys.iter().map(move |h| (l, h))) {
            for lower in [Bound::Unbounded, Bound::Included(&low[..]), Bound::Excluded(&low[..])] {
                for upper in
                    [Bound::Unbounded, Bound::Included(&high[..]), Bound::Excluded(&high[..])]
                {
                    let expected = run.tables().iter().filter(|t| {
                        let (min, max) = (&*t.meta().min_key, &*t.meta().max_key);
                        let above = match lower {
                            Bound::Unbounded => true,
                            Bound::Included(l) => l <= max,
                            Bound::Excluded(l) => l < max,
                        };
                        let below = match upper {
                            Bound::Unbounded => true,
                            Bound::Included(u) => min <= u,
                            Bound::Excluded(u) => min < u,
                        };
                        above && below
                    });
                    let empty = low > high;
                    let found = ids(run.overlapping(lower, upper).iter());
                    let both = lower != Bound::Unbounded && upper != Bound::Unbounded;
                    if !(empty && both) {
                        assert_eq!(found, ids(expected), "{lower:?} {upper:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_get_asks_levels_and_runs_newest_first() {
    let files = files();
    let version = Version::empty();
    let version = version
        .edited(
            &edit(
                &[
                    add(0, 9, 9, "a", "z"),
                    add(0, 8, 8, "a", "c"),
                    add(1, 3, 3, "a", "f"),
                    add(1, 3, 4, "g", "m"),
                    add(2, 2, 2, "b", "b"),
                    add(2, 1, 1, "a", "z"),
                ],
                &[],
            ),
            &files,
        )
        .unwrap()
        .version;
    let asked = |key: &str| -> Vec<(u8, u64)> {
        version.tables_for_key(key.as_bytes()).map(|(l, t)| (l.0, t.id().0)).collect()
    };
    assert_eq!(asked("b"), [(0, 9), (0, 8), (1, 3), (2, 2), (2, 1)]);
    assert_eq!(asked("g"), [(0, 9), (1, 4), (2, 1)]);
    assert_eq!(asked("zz"), []);
    assert_eq!(version.last_level(), Some(Level(2)));
    assert_eq!(version.level_of(TableId(4)), Some(Level(1)));
    assert_eq!((version.table_count(), version.size_bytes()), (6, 6000));
}

#[test]
fn a_moved_table_keeps_its_handle_and_its_file() {
    let files = files();
    let start = Version::empty().edited(&edit(&[add(0, 5, 5, "a", "c")], &[]), &files).unwrap();
    let handle = start.version.tables().next().unwrap().clone();
    let moved = start.version.edited(&edit(&[add(1, 5, 5, "a", "c")], &[(0, 5)]), &files).unwrap();
    assert!(moved.obsolete.is_empty());
    assert!(Arc::ptr_eq(&handle, moved.version.tables().next().unwrap()));
    assert_eq!(moved.version.level_of(TableId(5)), Some(Level(1)));
}

#[test]
fn an_obsolete_file_is_queued_only_when_the_last_reader_lets_go() {
    let files = files();
    let before = Version::empty().edited(&edit(&[add(0, 5, 5, "a", "c")], &[]), &files).unwrap();
    let reader = before.version.clone();
    drop(before);
    let after = reader.edited(&edit(&[add(1, 6, 6, "a", "c")], &[(0, 5)]), &files).unwrap();
    assert_eq!(ids(&after.obsolete), [5]);
    for table in &after.obsolete {
        table.mark_obsolete();
    }
    drop(after);
    assert!(files.deletions.is_empty(), "a reader still holds the old version");
    drop(reader);
    assert_eq!(files.deletions.len(), 1);
}

#[test]
fn a_file_that_was_not_marked_is_never_queued() {
    let files = files();
    let before = Version::empty().edited(&edit(&[add(0, 5, 5, "a", "c")], &[]), &files).unwrap();
    let after = before.version.edited(&edit(&[], &[(0, 5)]), &files).unwrap();
    drop((before, after));
    assert!(files.deletions.is_empty());
}

/// leveldb #184, #320: compaction split the versions of one user key over two
/// files of a level, and a read met the older one first.
#[test]
fn same_user_key_across_files() {
    let split = edit(&[add(1, 1, 1, "a", "k"), add(1, 1, 2, "k", "z")], &[]);
    let error = Version::empty().edited(&split, &files()).unwrap_err();
    assert!(error.0.contains("overlap"), "{error}");
}

#[test]
fn an_edit_that_does_not_fit_is_refused_and_changes_nothing() {
    let files = files();
    let base = Version::empty();
    let base = base.edited(&edit(&[add(0, 5, 5, "a", "c")], &[]), &files).unwrap().version;
    let mut bad_meta = add(1, 7, 7, "a", "c");
    bad_meta.meta.tombstones = 11;
    let mut redescribed = add(1, 5, 5, "a", "c");
    redescribed.meta.size_bytes = 1;
    for (edit, what) in [
        (edit(&[], &[(0, 6)]), "has no table 000006"),
        (edit(&[], &[(1, 5)]), "has no table 000005"),
        (edit(&[], &[(0, 5), (0, 5)]), "removed twice"),
        (edit(&[], &[(7, 5)]), "no level L7"),
        (edit(&[add(9, 6, 6, "a", "b")], &[]), "no level L9"),
        (edit(&[add(1, 5, 5, "a", "c")], &[]), "in the tree twice"),
        (edit(&[add(0, 5, 6, "b", "d")], &[]), "overlap"),
        (edit(&[add(0, 6, 4, "b", "d")], &[]), "not all newer"),
        (edit(&[bad_meta], &[]), "contradict"),
        (edit(&[redescribed], &[(0, 5)]), "described differently"),
    ] {
        let error = base.edited(&edit, &files).unwrap_err();
        assert!(error.0.contains(what), "{error} should say {what}");
    }
    assert_eq!(ids(base.tables()), [5]);
    base.check_invariants().unwrap();
}

#[test]
fn a_snapshot_edit_rebuilds_the_same_tree() {
    let files = files();
    let all = [
        add(0, 9, 9, "a", "z"),
        add(1, 3, 3, "a", "f"),
        add(1, 3, 4, "g", "m"),
        add(6, 1, 1, "a", "z"),
    ];
    let version = Version::empty().edited(&edit(&all, &[]), &files).unwrap().version;
    let snapshot = version.as_edit();
    assert_eq!(snapshot.added, all);
    let again = Version::empty().edited(&snapshot, &files).unwrap().version;
    assert_eq!(again.as_edit(), snapshot);
}

/// A tree of n tables, `key 0` to `key n - 1`, in one run of level 6.
fn long_run(files: &Arc<TableStore>, n: u64) -> (Arc<Version>, LiveTables) {
    let added: Vec<_> = (0..n).map(|i| at_key(i, i + 1)).collect();
    let version = Version::empty().edited(&edit(&added, &[]), files).unwrap().version;
    let live = LiveTables::of(&version);
    (version, live)
}

fn at_key(key: u64, id: u64) -> AddedTable {
    let key = format!("key {key:06}");
    add(6, 1, id, &key, &format!("{key}z"))
}

/// At each edit the whole run was built anew: a database of 65,000 tables spent more on
/// its list of tables than on small jobs.
#[test]
fn an_edit_copies_the_segments_that_it_touches_and_shares_all_others() {
    let files = files();
    let (before, live) = long_run(&files, 10_000);
    let replaced: Vec<_> = (5000..5010).map(|key| at_key(key, key + 10_001)).collect();
    let removed: Vec<_> = (5000..5010).map(|key| (6, key + 1)).collect();
    let after = before.apply(&edit(&replaced, &removed), &live, &files).unwrap();
    let parts = |version: &Version| -> Vec<*const Arc<TableHandle>> {
        version.runs()[0].segments().map(|(_, tables)| tables.as_ptr()).collect()
    };
    let (old, new) = (parts(&before), parts(&after.version));
    let copied = new.iter().filter(|part| !old.contains(part)).count();
    assert!(new.len() > 20, "{} segments", new.len());
    assert!(copied <= 2, "{copied} of {} segments were copied", new.len());
    assert_eq!(ids(&after.obsolete), (5001..5011).collect::<Vec<_>>());
    assert_eq!((after.added.len(), after.version.table_count()), (10, 10_000));
    let bytes: u64 = after.version.tables().map(|table| table.meta().size_bytes).sum();
    assert_eq!(after.version.size_bytes(), bytes);
    after.version.check_invariants().unwrap();
}

/// Runs in segments of a few tables, changed at random, against the same run built at
/// once.
#[test]
fn a_run_changed_step_by_step_is_the_run_that_is_built_at_once() {
    let files = files();
    let handle = |key: u64, id: u64| TableHandle::new(at_key(key, id).meta, files.clone());
    let mut dice = 88_172_645_463_325_252u64;
    let mut roll = |below: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice % below
    };
    for most in [1, 2, 3, 5, 8] {
        let mut tables: BTreeMap<u64, Arc<TableHandle>> =
            (0..40).map(|key| (2 * key, handle(2 * key, key + 1))).collect();
        let all = tables.values().cloned().collect();
        let mut run = Run::in_segments(RunId(1), all, most).unwrap();
        for id in 100..400 {
            let mut change = RunChange::default();
            for _ in 0..roll(4) {
                let key = roll(90);
                let gone = tables.remove(&key);
                // What was added by this very change is not in the run.
                change.added.retain(|table| gone.as_ref().is_none_or(|g| g.id() != table.id()));
                change.out.extend(gone.filter(|table| table.id().0 < 1000 * id));
                if roll(3) > 0 {
                    let table = handle(key, 1000 * id + key);
                    change.added.push(Arc::clone(&table));
                    tables.insert(key, table);
                }
            }
            let Some(next) = run.changed_in_segments(change, most).unwrap() else {
                assert!(tables.is_empty());
                break;
            };
            run = next;
            let expected: Vec<_> = tables.values().cloned().collect();
            let whole = Run::new(RunId(1), expected.clone()).unwrap();
            assert_eq!(ids(run.tables().iter()), ids(&expected));
            assert_eq!((run.sums(), run.table_count()), (whole.sums(), expected.len()));
            let least = if run.segments().len() > 1 { most / 4 } else { 0 };
            for (_, tables) in run.segments() {
                assert!(tables.len() <= most && tables.len() > least.saturating_sub(1));
            }
            for key in 0..92 {
                let key = format!("key {key:06}a");
                assert_eq!(run.lower_bound(key.as_bytes()), whole.lower_bound(key.as_bytes()));
                assert_eq!(run.upper_bound(key.as_bytes()), whole.upper_bound(key.as_bytes()));
                let of = |run: &Run| run.find(key.as_bytes()).map(|table| table.id());
                assert_eq!(of(&run), of(&whole));
            }
            let (from, to) = (roll(expected.len() as u64) as usize, roll(9) as usize);
            let window: Vec<_> = expected.iter().skip(from).take(to).collect();
            assert_eq!(ids(run.tables().window(from, to).iter()), ids(window.iter().copied()));
            let bytes: u64 = window.iter().map(|table| table.meta().size_bytes).sum();
            assert_eq!(run.tables().window(from, to).size_bytes(), bytes);
        }
    }
}

#[test]
fn a_changed_run_refuses_tables_that_overlap_wherever_they_lie() {
    let files = files();
    let handle = |low: u64, high: u64, id| {
        let mut meta = at_key(low, id).meta;
        meta.max_key = format!("key {high:06}").into_bytes().into();
        TableHandle::new(meta, files.clone())
    };
    for most in [1, 2, 4, 256] {
        let tables = (0..20).map(|i| handle(10 * i, 10 * i + 5, i + 1)).collect();
        let run = Run::in_segments(RunId(1), tables, most).unwrap();
        for (low, high) in [(0, 0), (3, 4), (4, 7), (7, 10), (0, 300), (195, 300), (55, 63)] {
            let change = RunChange { out: Vec::new(), added: vec![handle(low, high, 99)] };
            let error = run.changed_in_segments(change, most).unwrap_err();
            assert!(error.contains("overlap"), "{low}-{high} in segments of {most}: {error}");
        }
        for (low, high) in [(6, 9), (196, 300), (56, 56)] {
            let change = RunChange { out: Vec::new(), added: vec![handle(low, high, 99)] };
            let next = run.changed_in_segments(change, most).unwrap().unwrap();
            assert_eq!(next.table_count(), 21);
        }
    }
}
