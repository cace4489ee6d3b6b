//! Spans by hand, and drawn writes, walks and readers against a map that knows everything.

use super::*;
use std::collections::BTreeMap;
use tanada_vfs::memory::Dice;

const SPACE: KeyspaceId = KeyspaceId(3);
const OTHER: KeyspaceId = KeyspaceId(3 + SHARDS as u32);

fn spans() -> DeadSpans {
    DeadSpans::new(1 << 30, Account::new(), LOOKED)
}

fn at(seqno: u64) -> Since {
    Since { seqno: SeqNo(seqno), now_ms: 0 }
}

/// Walks from `from` to `last` and records that, for readers from `seqno` on.
fn record(spans: &DeadSpans, (from, last): (&str, &str), seqno: u64, readers: &[u64]) {
    let way = if from <= last { Way::Up } else { Way::Down };
    let listed = spans.begin_walk(SPACE, &Edge::at(from.as_bytes()), at(seqno), way).unwrap();
    end(spans, &listed, last, seqno, readers);
}

fn end(spans: &DeadSpans, listed: &Listed, last: &str, seqno: u64, readers: &[u64]) {
    let last = Edge::at(last.as_bytes());
    let walked = Walked { last: &last, entries: 100, since: at(seqno) };
    let readers: Vec<_> = readers.iter().copied().map(SeqNo).collect();
    spans.end_walk(SPACE, listed, Some(walked), &readers);
}

/// Where a scan at `seqno` goes on, and whether the key there is known to be dead.
fn far(spans: &DeadSpans, key: &str, seqno: u64, way: Way) -> Option<(String, bool)> {
    let end = spans.far_end(SPACE, key.as_bytes(), at(seqno), way)?.edge;
    Some((String::from_utf8(end.key).unwrap(), end.inside))
}

fn up(spans: &DeadSpans, key: &str, seqno: u64) -> Option<(String, bool)> {
    far(spans, key, seqno, Way::Up)
}

fn to(key: &str, inside: bool) -> Option<(String, bool)> {
    Some((key.to_owned(), inside))
}

#[test]
fn a_span_is_used_both_ways_by_those_who_see_it_and_in_its_keyspace_alone() {
    let spans = spans();
    assert!(!spans.must_note());
    record(&spans, ("d", "p"), 10, &[]);
    assert!(spans.must_note());
    assert_eq!(up(&spans, "d", 10), to("p", true));
    assert_eq!(far(&spans, "p", 11, Way::Down), to("d", true));
    assert_eq!(up(&spans, "d", 9), None, "an earlier moment");
    assert_eq!((up(&spans, "c", 10), up(&spans, "pp", 10)), (None, None));
    assert_eq!(spans.far_end(OTHER, b"e", at(10), Way::Up), None);
    spans.note_put(OTHER, b"e", SeqNo(11));
    assert_eq!(up(&spans, "d", 10), to("p", true));
}

#[test]
fn what_has_expired_is_dead_for_those_whose_clock_is_as_late() {
    let spans = spans();
    let listed = spans.begin_walk(SPACE, &Edge::at(b"a"), at(5), Way::Up).unwrap();
    let last = Edge::at(b"m");
    let since = Since { seqno: SeqNo(5), now_ms: 1_000 };
    spans.end_walk(SPACE, &listed, Some(Walked { last: &last, entries: 9, since }), &[]);
    let early = Since { seqno: SeqNo(9), now_ms: 999 };
    assert!(spans.far_end(SPACE, b"b", early, Way::Up).is_none());
    assert!(spans.far_end(SPACE, b"b", since, Way::Up).is_some());
}

#[test]
fn a_put_cuts_a_span_and_what_saves_nothing_goes() {
    let spans = spans();
    record(&spans, ("d", "p"), 10, &[]);
    spans.note_put(SPACE, b"h", SeqNo(11));
    assert_eq!(up(&spans, "d", 11), to("h", false));
    assert_eq!(up(&spans, "h", 11), None);
    assert_eq!(up(&spans, "hh", 11), to("p", true));
    assert_eq!(far(&spans, "p", 11, Way::Down), to("h", false));
    for key in ["e", "f", "g", "g5", "g7", "g8"] {
        spans.note_put(SPACE, key.as_bytes(), SeqNo(12));
    }
    assert_eq!(up(&spans, "g9", 12), None, "100 entries halved so often are few");
    assert_eq!(up(&spans, "hh", 12), to("p", true));
}

#[test]
fn a_walk_ends_before_the_nearest_put_that_came_into_its_way() {
    let spans = spans();
    let listed = spans.begin_walk(SPACE, &Edge::at(b"d"), at(10), Way::Up).unwrap();
    for key in ["c", "k", "h", "z"] {
        spans.note_put(SPACE, key.as_bytes(), SeqNo(11));
    }
    end(&spans, &listed, "p", 10, &[]);
    assert_eq!(up(&spans, "d", 11), to("h", false));
    let listed = spans.begin_walk(SPACE, &Edge::at(b"y"), at(11), Way::Down).unwrap();
    for key in ["q", "s", "z"] {
        spans.note_put(SPACE, key.as_bytes(), SeqNo(12));
    }
    end(&spans, &listed, "p", 11, &[]);
    assert_eq!(far(&spans, "y", 12, Way::Down), to("s", false));
    let listed = spans.begin_walk(SPACE, &Edge::at(b"m"), at(12), Way::Up).unwrap();
    spans.note_put(SPACE, b"m", SeqNo(13));
    end(&spans, &listed, "n", 12, &[]);
    assert_eq!(up(&spans, "m", 13), None);
}

/// A put in the span that a walk goes on from must not be covered by what both become.
#[test]
fn a_walk_behind_a_span_takes_it_in_as_it_is_then() {
    let spans = spans();
    record(&spans, ("d", "h"), 10, &[]);
    let listed = spans.begin_walk(SPACE, &Edge::at(b"h"), at(11), Way::Up).unwrap();
    end(&spans, &listed, "p", 11, &[]);
    assert_eq!(up(&spans, "d", 11), to("p", true));
    assert_eq!(spans.taken().0, 1);
    let listed = spans.begin_walk(SPACE, &Edge::at(b"p"), at(12), Way::Up).unwrap();
    spans.note_put(SPACE, b"f", SeqNo(13));
    end(&spans, &listed, "t", 12, &[]);
    assert_eq!(up(&spans, "e", 13), to("f", false));
    assert_eq!(up(&spans, "g", 13), to("p", true));
    assert_eq!(up(&spans, "f", 13), None);
}

#[test]
fn readers_that_look_back_keep_their_spans_and_those_survive_later_puts() {
    let spans = spans();
    record(&spans, ("d", "h"), 10, &[10]);
    record(&spans, ("d", "p"), 20, &[10, 20]);
    assert_eq!(up(&spans, "e", 20), to("p", true));
    assert_eq!(up(&spans, "e", 10), to("h", true));
    spans.note_put(SPACE, b"f", SeqNo(21));
    assert_eq!(up(&spans, "e", 21), to("f", false));
    assert_eq!(up(&spans, "f", 10), to("h", true), "it does not see the put");
    assert_eq!(up(&spans, "f", 21), None);
    // Recorded by one that looks back.
    record(&spans, ("d", "i"), 12, &[12]);
    assert_eq!(up(&spans, "h", 12), to("i", true));
}

#[test]
fn spans_take_no_more_than_they_may_and_those_that_are_used_stay() {
    let account = Account::new();
    let spans = DeadSpans::new(256 * 8 * 10_000, Arc::clone(&account), LOOKED);
    record(&spans, ("a", "b"), 1, &[]);
    for n in 0..500 {
        let (from, last) = (format!("k{n:04}a"), format!("k{n:04}b"));
        record(&spans, (&from, &last), 2, &[]);
        assert_eq!(up(&spans, "a", 2), to("b", true));
    }
    let (count, bytes) = spans.taken();
    assert!((10..200).contains(&count) && bytes <= 10_000, "{count} of {bytes} bytes");
    assert_eq!(account.of(Part::Readers), bytes);
    assert_eq!(up(&spans, "k0000a", 2), None);
    assert_eq!(up(&spans, "k0499a", 2), to("k0499b", true));
}

/// Against a map that knows of each key when it was put and deleted: whatever is stepped
/// over is dead for who steps over it.
#[test]
fn no_reader_steps_over_what_it_sees_alive() {
    for seed in 0..40 {
        let mut dice = Dice::new(seed);
        let spans = spans();
        // By key, the numbers at which it was put or deleted.
        let mut writes: BTreeMap<String, Vec<(u64, bool)>> = BTreeMap::new();
        let mut seqno = 1;
        let name = |n: u64| format!("{n:03}");
        let alive = |writes: &BTreeMap<String, Vec<(u64, bool)>>, key: &str, at: u64| {
            let of_key = writes.get(key).map_or(&[][..], Vec::as_slice);
            of_key.iter().rev().find(|(n, _)| *n <= at).is_some_and(|(_, put)| *put)
        };
        let mut walks: Vec<(Listed, Way, u64, u64)> = Vec::new();
        let mut used = 0;
        for _ in 0..3_000 {
            let n = dice.below(60);
            match dice.below(10) {
                0..=3 => {
                    let put = dice.below(6) == 0;
                    seqno += 1;
                    writes.entry(name(n)).or_default().push((seqno, put));
                    if put {
                        spans.note_put(SPACE, name(n).as_bytes(), SeqNo(seqno));
                    }
                }
                // A walk begins at a key that is dead at its moment.
                4 => {
                    let then = seqno - dice.below(seqno.min(30));
                    let way = if dice.below(2) == 0 { Way::Up } else { Way::Down };
                    if !alive(&writes, &name(n), then) {
                        let from = Edge::at(name(n).as_bytes());
                        let listed = spans.begin_walk(SPACE, &from, at(then), way);
                        // What came behind its moment and before it was listed is seen.
                        let newer = |n: u64| {
                            let key = writes.get(&name(n));
                            key.is_some_and(|of| of.iter().any(|(at, _)| *at > then))
                        };
                        let reach = (0..60).take_while(|step| {
                            let next =
                                if way == Way::Up { n + step } else { n.wrapping_sub(*step) };
                            next < 60 && !newer(next) && !alive(&writes, &name(next), then)
                        });
                        match (listed, reach.count() as u64) {
                            (Some(listed), 0) => spans.end_walk(SPACE, &listed, None, &[]),
                            (Some(listed), count) => {
                                let last =
                                    if way == Way::Up { n + count - 1 } else { n + 1 - count };
                                walks.push((listed, way, last, then));
                            }
                            (None, _) => assert_eq!(walks.len(), MOST_WALKS),
                        }
                    }
                }
                5 if !walks.is_empty() => {
                    let which = dice.below(walks.len() as u64) as usize;
                    let (listed, _, last, then) = walks.swap_remove(which);
                    let back = seqno - dice.below(seqno.min(30));
                    end(&spans, &listed, &name(last), then, &[back, seqno]);
                }
                _ => {
                    let then = seqno - dice.below(seqno.min(30));
                    for (way, steps) in [(Way::Up, n..60), (Way::Down, 0..n + 1)] {
                        let Some((end, inside)) = far(&spans, &name(n), then, way) else {
                            continue;
                        };
                        used += 1;
                        for n in steps.map(name) {
                            let beyond = match way {
                                Way::Up => n > end || (n == end && !inside),
                                Way::Down => n < end || (n == end && !inside),
                            };
                            assert!(
                                beyond || !alive(&writes, &n, then),
                                "seed {seed}: {n} lives at {then}, on the way {way:?} to {end}"
                            );
                        }
                    }
                }
            }
        }
        assert!(used > 50, "seed {seed}: {used} uses say little");
    }
}
