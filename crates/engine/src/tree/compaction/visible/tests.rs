//! Retention as tables to read, and against a model that is too slow to be wrong.

use super::*;
use crate::tree::merge::vec_cursor::{OwnedEntry, sort};
use proptest::prelude::*;

const NOW: u64 = 1000;

/// Entries as text: `k@5=v` put, `k@5=v!900` expiring at 900, `k@5-` delete.
fn parse(text: &str) -> Vec<OwnedEntry> {
    text.split_whitespace()
        .map(|word| {
            let (key, rest) = word.split_once('@').unwrap();
            if let Some(seqno) = rest.strip_suffix('-') {
                return OwnedEntry::delete(key, seqno.parse().unwrap());
            }
            let (seqno, value) = rest.split_once('=').unwrap();
            let (value, expires) = value.split_once('!').unwrap_or((value, "0"));
            let put = OwnedEntry::put(key, seqno.parse().unwrap(), value);
            OwnedEntry { expires_at_ms: expires.parse().unwrap(), ..put }
        })
        .collect()
}

fn retain(entries: &[OwnedEntry], snapshots: &[u64], below: &[&str]) -> Vec<OwnedEntry> {
    let snapshots: Vec<SeqNo> = snapshots.iter().map(|&s| SeqNo(s)).collect();
    let mut retention = Retention::new(&snapshots, NOW);
    let below = |key: &[u8]| below.iter().any(|k| k.as_bytes() == key);
    let kept = entries.iter().filter_map(|e| retention.keep(e.as_ref(), below).unwrap());
    kept.map(OwnedEntry::of).collect()
}

/// Checks rows of (entries, snapshots, keys that lie below, what is kept).
#[track_caller]
fn check(rows: &[(&str, &[u64], &[&str], &str)]) {
    for (entries, snapshots, below, kept) in rows {
        let found = retain(&parse(entries), snapshots, below);
        assert_eq!(found, parse(kept), "{entries} with snapshots {snapshots:?}, below {below:?}");
    }
}

#[test]
fn only_the_newest_version_in_each_stripe_is_kept() {
    check(&[
        ("a@9=x a@7=y a@5=z b@8=w", &[], &[], "a@9=x b@8=w"),
        ("a@9=x a@7=y a@5=z", &[6], &[], "a@9=x a@5=z"),
        ("a@9=x a@7=y a@5=z", &[5], &[], "a@9=x a@5=z"),
        ("a@9=x a@7=y a@5=z", &[4], &[], "a@9=x"),
        ("a@9=x a@7=y a@5=z", &[9], &[], "a@9=x"),
        ("a@9=x a@7=y a@5=z", &[7, 8], &[], "a@9=x a@7=y"),
        ("a@9=x a@7=y a@5=z", &[5, 7, 9], &[], "a@9=x a@7=y a@5=z"),
    ]);
}

/// surrealkv #351, cockroach #70967: a tombstone fell at the bottom, and with
/// it, or uncovered by it, the version that a snapshot needed.
#[test]
fn delete_at_bottom_drops_snapshot_version() {
    check(&[
        // Nobody looks back: the tombstone and all it hides go.
        ("a@9- a@5=z", &[], &[], ""),
        // A snapshot at 6 needs a@5: then the tombstone must hide it from the others.
        ("a@9- a@5=z", &[6], &[], "a@9- a@5=z"),
        // A snapshot behind the tombstone needs neither.
        ("a@9- a@5=z", &[9], &[], ""),
        ("a@9- a@5=z", &[12], &[], ""),
        // An older tombstone hides nothing at the bottom, the newer put stays.
        ("a@9=x a@5-", &[6], &[], "a@9=x"),
        ("a@9- a@7=y a@5- a@3=z", &[4, 6, 8], &[], "a@9- a@7=y a@5- a@3=z"),
        ("a@9- a@7=y a@5- a@3=z", &[4, 8], &[], "a@9- a@7=y a@3=z"),
        ("a@9- a@7=y a@5- a@3=z", &[8], &[], "a@9- a@7=y"),
    ]);
}

#[test]
fn a_tombstone_with_something_below_it_stays() {
    check(&[
        ("a@9- a@5=z b@8-", &[], &["a"], "a@9-"),
        ("a@9- b@8-", &[], &["a", "b"], "a@9- b@8-"),
        ("a@9- a@5-", &[6], &["a"], "a@9- a@5-"),
    ]);
}

/// kvrocks #2315: the newest version had expired and was dropped, and the
/// version that it had overwritten was read again.
#[test]
fn ttl_exposes_older() {
    check(&[
        // Expired, with an older version below: it must go on hiding that one.
        ("a@9=x!900", &[], &["a"], "a@9-"),
        ("a@9=x!1000", &[], &["a"], "a@9-"),
        ("a@9=x!1001", &[], &["a"], "a@9=x!1001"),
        // Nothing below: gone, with the older version in the job.
        ("a@9=x!900 a@5=z", &[], &[], ""),
        // A snapshot needs the older version.
        ("a@9=x!900 a@5=z", &[6], &[], "a@9- a@5=z"),
        // An older version that expires later must not come back either.
        ("a@9=x!900 a@5=z!2000", &[], &[], ""),
        ("a@9=x!900 a@5=z!2000", &[], &["a"], "a@9-"),
    ]);
}

/// A snapshot judges by its own time, and so do jobs what it sees; what is newer than all
/// snapshots is seen by later readers alone, who judge by the clock.
#[test]
fn each_version_is_judged_by_the_time_of_those_who_see_it() {
    let snapshots = [SeqNo(5)];
    let mut retention = Retention::new(&snapshots, JobTime { held_ms: 900, clock_ms: 1000 });
    let entries = parse("a@6=x!1000 a@5=y!901 b@6=x!1001 c@5=x!900 d@5=x!901");
    let kept = entries.iter().filter_map(|e| retention.keep(e.as_ref(), |_| true).unwrap());
    let kept: Vec<_> = kept.map(OwnedEntry::of).collect();
    assert_eq!(kept, parse("a@6- a@5=y!901 b@6=x!1001 c@5- d@5=x!901"));
}

#[test]
fn kinds_reserved_for_later_end_the_job() {
    for kind in [ValueKind::Merge, ValueKind::RangeDelete, ValueKind::BlobRef] {
        let entry = OwnedEntry { kind, ..OwnedEntry::put("a", 5, "x") };
        let verdict = Retention::new(&[], NOW).keep(entry.as_ref(), |_| true);
        assert_eq!(verdict, Err(UnsupportedKind(kind)));
    }
}

/// What a reader at `at` finds.
fn visible<'e>(entries: &'e [OwnedEntry], key: &[u8], at: SeqNo) -> Option<&'e [u8]> {
    let newest =
        entries.iter().filter(|e| e.key == key && e.seqno <= at).max_by_key(|e| e.seqno)?;
    let dead = newest.kind == ValueKind::Delete || is_expired(newest.expires_at_ms, NOW);
    (!dead).then_some(&newest.value)
}

fn versions() -> impl Strategy<Value = Vec<OwnedEntry>> {
    let version = ("[abc]", 0u8..3, prop_oneof![Just(0u64), 900u64..1100]);
    prop::collection::vec(version, 0..40).prop_map(|versions| {
        let entries = versions.into_iter().zip(1u64..).map(|((key, kind, expires_at_ms), n)| {
            if kind == 0 {
                return OwnedEntry::delete(key, n);
            }
            OwnedEntry { expires_at_ms, ..OwnedEntry::put(key, n, n.to_string()) }
        });
        entries.collect()
    })
}

proptest! {
    #[test]
    fn every_reader_sees_what_it_saw(
        all in versions(),
        cut in 0usize..40,
        mut snapshots in prop::collection::vec(0u64..45, 0..4),
    ) {
        snapshots.sort_unstable();
        // The oldest writes lie below, the others are the job's.
        let (below, job) = all.split_at(cut.min(all.len()));
        let mut job = job.to_vec();
        sort(&mut job);
        let keys = ["a", "b", "c"];
        let is_below = |k: &str| below.iter().any(|e| e.key == k.as_bytes());
        let below_keys: Vec<&str> = keys.into_iter().filter(|k| is_below(k)).collect();
        let kept = retain(&job, &snapshots, &below_keys);

        let mut after = below.to_vec();
        after.extend(kept.iter().cloned());
        for at in snapshots.iter().map(|&s| SeqNo(s)).chain([SeqNo::MAX]) {
            for key in keys {
                prop_assert_eq!(
                    visible(&all, key.as_bytes(), at),
                    visible(&after, key.as_bytes(), at),
                    "key {} at {}", key, at
                );
            }
        }
        for key in keys {
            let versions = kept.iter().filter(|e| e.key == key.as_bytes());
            prop_assert!(versions.count() <= snapshots.len() + 1);
        }
        if snapshots.is_empty() && below.is_empty() {
            prop_assert!(kept.iter().all(|e| e.kind == ValueKind::Put));
            prop_assert!(kept.iter().all(|e| !is_expired(e.expires_at_ms, NOW)));
        }
    }
}

#[test]
#[should_panic(expected = "keys are not sorted")]
fn keys_out_of_order_stop_a_job_in_a_release_too() {
    let mut retention = Retention::new(&[], 0);
    for key in ["b", "a"] {
        let entry = EntryRef {
            key: key.as_bytes(),
            seqno: SeqNo(1),
            kind: ValueKind::Put,
            expires_at_ms: 0,
            value: b"v",
        };
        let _ = retention.keep(entry, |_| true);
    }
}
