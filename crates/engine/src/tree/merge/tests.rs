//! The merge against a sorted vector, and its failures.

use super::vec_cursor::{OwnedEntry, VecCursor, sort};
use super::*;
use proptest::prelude::*;
use tanada_format::awkward_keys;

fn merge_of(sources: &[Vec<OwnedEntry>]) -> MergeCursor<VecCursor> {
    MergeCursor::new(sources.iter().cloned().map(VecCursor::new).collect())
}

fn sorted(sources: &[Vec<OwnedEntry>]) -> Vec<OwnedEntry> {
    let mut all = sources.concat();
    sort(&mut all);
    all
}

/// Sources whose keys collide often, share long beginnings, end in bytes of
/// zeros and ones; each entry has a seqno of its own.
fn sources() -> impl Strategy<Value = Vec<Vec<OwnedEntry>>> {
    let key = prop_oneof![
        "[ab]{1,3}".prop_map(String::into_bytes),
        "[ab]{1,2}".prop_map(|tail| format!("sixteen bytes or more {tail}").into_bytes()),
        prop::collection::vec(prop_oneof![Just(0u8), Just(0xff)], 1..20),
        prop::collection::vec(any::<u64>(), 0..=awkward_keys::WORDS)
            .prop_map(|words| awkward_keys::of_words(&words)),
        prop::collection::vec(any::<u64>(), 0..=awkward_keys::WORDS)
            .prop_map(|words| awkward_keys::of_words(&words)),
    ];
    prop::collection::vec((key, 0usize..9), 0..60).prop_map(|keys| {
        let mut sources = vec![Vec::new(); keys.len() % 9 + 1];
        let count = sources.len();
        for (i, (key, source)) in keys.into_iter().enumerate() {
            sources[source % count].push(OwnedEntry::put(key, i as u64 + 1, [i as u8]));
        }
        sources
    })
}

#[derive(Clone, Debug)]
enum Op {
    First,
    Last,
    Seek(usize, bool),
    SeekBefore(usize),
    Next(usize),
    Prev(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::First),
        Just(Op::Last),
        (0usize..60, any::<bool>()).prop_map(|(i, newest)| Op::Seek(i, newest)),
        (0usize..60).prop_map(Op::SeekBefore),
        (1usize..6).prop_map(Op::Next),
        (1usize..6).prop_map(Op::Prev),
    ]
}

proptest! {
    #[test]
    fn a_merge_walks_like_one_sorted_vector(
        sources in sources(),
        ops in prop::collection::vec(op(), 1..40),
    ) {
        let mut model = VecCursor::new(sorted(&sources));
        let mut merge = merge_of(&sources);
        let all = sorted(&sources);
        let target = |i: usize| match all.get(i % all.len().max(1)) {
            Some(e) => (e.key.clone(), e.seqno),
            None => (b"k".to_vec(), SeqNo(1)),
        };
        for op in ops {
            // It is turned by a seek alone.
            let turns = match op {
                Op::Next(_) => merge.direction == Direction::Backward,
                Op::Prev(_) => merge.direction == Direction::Forward,
                _ => false,
            };
            if turns {
                continue;
            }
            let (key, seqno) = target(match op {
                Op::Seek(i, _) | Op::SeekBefore(i) => i,
                _ => 0,
            });
            let apply = |c: &mut dyn Cursor| match op {
                Op::First => c.seek_first(),
                Op::Last => c.seek_last(),
                Op::Seek(_, true) => c.seek(&key, SeqNo::MAX),
                Op::Seek(_, false) => c.seek(&key, seqno),
                Op::SeekBefore(_) => c.seek_before(&key),
                Op::Next(n) => (0..n).try_for_each(|_| if c.valid() { c.next() } else { Ok(()) }),
                Op::Prev(n) => (0..n).try_for_each(|_| if c.valid() { c.prev() } else { Ok(()) }),
            };
            apply(&mut model).unwrap();
            apply(&mut merge).unwrap();
            prop_assert_eq!(model.valid(), merge.valid());
            if model.valid() {
                prop_assert_eq!(model.entry(), merge.entry());
                if merge.direction == Direction::Forward {
                    let (winner, key) = (merge.winner(), merge.entry().key);
                    let others = merge.sources.iter().enumerate().filter(|(i, _)| *i != winner);
                    let again = others.into_iter().any(|(_, c)| c.valid() && c.key() == key);
                    prop_assert!(merge.may_come_again() || !again);
                }
            }
        }
    }

    /// iterator_swallows_error: a scan met an I/O error in one of its sources,
    /// took it for that source's end, and looked complete.
    #[test]
    fn iterator_swallows_error(
        sources in sources(),
        broken in 0usize..9,
        moves in 0usize..12,
        backward in any::<bool>(),
    ) {
        let mut cursors: Vec<_> = sources.iter().cloned().map(VecCursor::new).collect();
        let broken = broken % cursors.len();
        cursors[broken].moves_until_failure = Some(moves);
        let mut merge = MergeCursor::new(cursors);
        let mut all = sorted(&sources);
        if backward {
            all.reverse();
        }
        let mut seen = 0;
        let mut outcome = if backward { merge.seek_last() } else { merge.seek_first() };
        while outcome.is_ok() && merge.valid() {
            prop_assert_eq!(merge.entry(), all[seen].as_ref());
            seen += 1;
            outcome = if backward { merge.prev() } else { merge.next() };
        }
        prop_assert!(seen == all.len() || outcome.is_err(), "{} of {} and no error", seen, all.len());
        if outcome.is_err() {
            prop_assert!(!merge.valid());
            prop_assert!(merge.next().is_err() && merge.prev().is_err(), "the error was forgotten");
        }
    }
}

#[test]
fn a_seek_after_an_error_starts_afresh() {
    let mut source = VecCursor::new(vec![OwnedEntry::put("a", 1, ""), OwnedEntry::put("c", 2, "")]);
    source.moves_until_failure = Some(1);
    let other = VecCursor::new(vec![OwnedEntry::put("b", 3, "")]);
    let mut merge = MergeCursor::new(vec![source, other]);
    merge.seek_first().unwrap();
    assert!(merge.next().is_err());
    merge.sources[0].moves_until_failure = None;
    merge.seek_first().unwrap();
    assert_eq!(merge.entry().key, b"a");
}

#[test]
fn a_merge_of_nothing_is_empty() {
    let mut merge = MergeCursor::<VecCursor>::new(Vec::new());
    merge.seek_first().unwrap();
    assert!(!merge.valid());
    merge.seek_last().unwrap();
    assert!(!merge.valid());
    merge.next().unwrap();
}

/// Entries that cost nothing to walk, so that what is measured is the merge.
struct Keys {
    keys: std::sync::Arc<Vec<[u8; 16]>>,
    at: usize,
}

impl Cursor for Keys {
    fn valid(&self) -> bool {
        self.at < self.keys.len()
    }
    fn entry(&self) -> EntryRef<'_> {
        let kind = tanada_format::ValueKind::Put;
        EntryRef { key: &self.keys[self.at], seqno: SeqNo(1), kind, expires_at_ms: 0, value: b"" }
    }
    fn seek_first(&mut self) -> Result<(), Error> {
        self.at = 0;
        Ok(())
    }
    fn next(&mut self) -> Result<(), Error> {
        self.at += 1;
        Ok(())
    }
    fn prev(&mut self) -> Result<(), Error> {
        self.at = self.at.wrapping_sub(1);
        Ok(())
    }
    fn seek_last(&mut self) -> Result<(), Error> {
        self.at = self.keys.len().wrapping_sub(1);
        Ok(())
    }
    fn seek(&mut self, key: &[u8], _: SeqNo) -> Result<(), Error> {
        self.at = self.keys.partition_point(|k| &k[..] < key);
        Ok(())
    }
    fn seek_before(&mut self, key: &[u8]) -> Result<(), Error> {
        self.at = self.keys.partition_point(|k| &k[..] < key).wrapping_sub(1);
        Ok(())
    }
}

/// `cargo test -p tanada --release merge_cost -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods, reason = "it measures real time")]
fn merge_cost() {
    for count in [1usize, 2, 4, 8, 16] {
        let total = 1_000_000u64;
        let mut sources = vec![Vec::new(); count];
        let mut state = 7u64;
        for n in 0..total {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let key: [u8; 16] = format!("{n:016}").into_bytes().try_into().unwrap();
            sources[(state >> 33) as usize % count].push(key);
        }
        let sources = sources.into_iter().map(std::sync::Arc::new);
        let mut merge = MergeCursor::new(sources.map(|keys| Keys { keys, at: 0 }).collect());
        let best = (0..5).map(|_| {
            let start = std::time::Instant::now();
            let mut sum = 0u64;
            merge.seek_first().unwrap();
            while merge.valid() {
                sum += u64::from(merge.entry().key[15]);
                merge.next().unwrap();
            }
            assert!(sum > 0);
            start.elapsed().as_nanos()
        });
        println!("{count:2} sources: {:.1} ns an entry", best.min().unwrap() as f64 / total as f64);
    }
}
