//! Where flushes cut their tables.
//!
//! Runs of level 0 that are cut at the same keys can be merged down a slice at
//! a time. Cut anywhere, each table overlaps two of the next run, those two
//! more, and every merge of level 0 takes all of it and all of the base level:
//! a job of seconds while writers wait (vLSM, arXiv 2407.15581, measures what
//! that does to the tail; PebblesDB, SOSP'17, has the word guard).
//!
//! No guard is stored. They follow from the tree, and are chosen so that small
//! changes of it do not move them: near each share of the data the roundest key.

use super::Config;
use super::shape::Shape;
use crate::tree::version::Version;

/// Most slices of level 0.
const SLICES: usize = 8;

/// The keys at which a flush into this tree should begin new tables, ascending.
/// Cost: a few steps a guard.
pub(crate) fn flush_guards(version: &Version, config: &Config) -> Vec<Box<[u8]>> {
    let base = Shape::of(version, config).base;
    let Some(run) = version.levels()[base].runs().last() else { return Vec::new() };
    let tables = run.tables();
    // Of each guard's share the middle half is the guard's to choose from: two
    // tables at least.
    let slices = SLICES.min(tables.len() / 4);
    let key_at = |quarter: usize| -> &[u8] {
        let table = tables.get(quarter * tables.len() / (4 * slices));
        &table.expect("a quarter of the tables lies before their end").meta().min_key
    };
    let mut guards: Vec<Box<[u8]>> =
        (1..slices).map(|slice| roundest(key_at(4 * slice - 1), key_at(4 * slice + 1))).collect();
    guards.dedup();
    guards
}

/// The shortest key above `low` and not above `high`; of several the one whose
/// last byte is the roundest number. `low` must be smaller than `high`.
fn roundest(low: &[u8], high: &[u8]) -> Box<[u8]> {
    debug_assert!(low < high);
    let shared = low.iter().zip(high).take_while(|(a, b)| a == b).count();
    // Where they part, `high` has a byte more, or a larger one.
    let above = low.get(shared).map_or(0, |&byte| byte + 1);
    let last = (above..=high[shared]).max_by_key(|byte| byte.trailing_zeros());
    let mut key = high[..=shared].to_vec();
    key[shared] = last.expect("the byte of high lies in its own range");
    key.into()
}

#[cfg(test)]
mod tests {
    use super::super::sketch::Sketch;
    use super::*;
    use proptest::prelude::*;
    use tanada_format::awkward_keys;

    /// The guards over a base level of so many tables of a key each: one byte, from
    /// `first` on, every `step`.
    fn guards(tables: u8, first: u8, step: u8) -> Vec<u8> {
        let config = Config::for_memtable(1 << 20);
        let spell = |n: u8| {
            let key = char::from(first + n * step);
            format!("{} {key}-{key}", n + 1)
        };
        let text: Vec<String> = (0..tables).map(spell).collect();
        let tree = Sketch::new(config.clone(), &format!("L6: {}", text.join(", ")));
        flush_guards(&tree.version, &config).concat()
    }

    #[test]
    fn guards_lie_at_equal_shares_of_the_base_level() {
        let config = Config::for_memtable(1 << 20);
        assert!(flush_guards(&Version::empty(), &config).is_empty());
        // A slice for each four tables: two of them at least, or there is no cut.
        assert_eq!(guards(7, 65, 2), []);
        // Between the keys of the tables 3 and 5 of 8, which are 71 and 75.
        assert_eq!(guards(8, 65, 2), [72]);
        assert_eq!(guards(12, 65, 2), [72, 80]);
        // The second guard lies between the keys of the tables 8 and 10: 81 and 85.
        assert_eq!(guards(14, 65, 2), [72, 84]);
        // The upper of the two keys may be the guard, the lower not.
        assert_eq!(guards(8, 62, 2), [72]);
        assert_eq!(guards(8, 66, 2), [76]);
        // Eight slices at most.
        assert_eq!(guards(63, 64, 1), [72, 80, 88, 96, 104, 112, 120]);
    }

    #[test]
    fn the_roundest_key_is_short_and_stays_when_its_bounds_move() {
        assert_eq!(*roundest(b"user:4712", b"user:5309"), *b"user:5");
        assert_eq!(*roundest(b"user:4609", b"user:5411"), *b"user:5");
        assert_eq!(*roundest(&[0x31, 7], &[0x4e]), [0x40]);
        assert_eq!(*roundest(b"a", b"ab"), *b"a\0");
        assert_eq!(*roundest(b"a", b"a\0"), *b"a\0");
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        let words = prop::collection::vec(any::<u64>(), 0..=awkward_keys::WORDS);
        prop_oneof![
            prop::collection::vec(any::<u8>(), 1..6),
            words.prop_map(|words| awkward_keys::of_words(&words)),
        ]
    }

    proptest! {
        #[test]
        fn the_roundest_key_lies_between_its_bounds(
            a in key(),
            b in key(),
        ) {
            prop_assume!(a != b);
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            let key = roundest(&low, &high);
            prop_assert!(*low < *key && *key <= *high, "{low:?} {key:?} {high:?}");
            prop_assert!(key.len() <= high.len());
        }
    }
}
