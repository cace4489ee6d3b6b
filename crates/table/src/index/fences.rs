//! Fences: the borders between blocks, and between index partitions.
//!
//! Fence `i` is a position in internal order, after everything in part `i - 1`
//! and not after anything in part `i`; it is as short as it can be. Where one
//! user key's versions go on from part to part, fences are told apart by seqno.
//!
//! | size | field |
//! |---|---|
//! | 4 | number of fences `n` |
//! | 4 | length of the prefix that all fence keys share |
//! | 1 | 1 when seqnos follow, else 0: all fences stand before every version of their key |
//! | .. | the prefix |
//! | .. | n times: varint suffix length, suffix |
//! | 8n | seqnos, if any |

use crate::damage::{Damage, Fields};
use crate::data::data_block::common_prefix_len;
use std::cmp::Ordering;
use tanada_format::{MAX_KEY_LEN, SeqNo, compare_internal, planted, write_varint};

/// The shortest fence between the neighbours `before` and `after`, as the
/// number of bytes of `after`'s key, and a seqno.
pub(crate) fn between(before: (&[u8], SeqNo), after: (&[u8], SeqNo)) -> (usize, SeqNo) {
    debug_assert!(compare_internal(before, after).is_lt());
    let shared = common_prefix_len(before.0, after.0);
    if shared < after.0.len() {
        (if planted!(fence_one_byte_short) { shared } else { shared + 1 }, SeqNo::MAX)
    } else {
        // The same key goes on: the next older version that there could be.
        (shared, SeqNo(before.1.0 - 1))
    }
}

/// Collects fences in order.
#[derive(Default)]
pub(crate) struct FenceBuilder {
    keys: Vec<u8>,
    ends: Vec<u32>,
    seqnos: Vec<SeqNo>,
}

impl FenceBuilder {
    pub(crate) fn push(&mut self, key: &[u8], seqno: SeqNo) {
        self.keys.extend_from_slice(key);
        self.ends.push(self.keys.len() as u32);
        self.seqnos.push(seqno);
    }

    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// About what the fences take in memory once decoded.
    pub(crate) fn decoded_len(&self) -> usize {
        self.keys.len() + self.count() * 12
    }

    /// The first fence.
    pub(crate) fn first(&self) -> (&[u8], SeqNo) {
        (&self.keys[..self.ends[0] as usize], self.seqnos[0])
    }

    /// Appends the encoded fences, and starts anew.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        let count = self.count();
        let key = |i: usize| {
            let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
            &self.keys[start..self.ends[i] as usize]
        };
        let prefix_len = if count == 0 { 0 } else { common_prefix_len(key(0), key(count - 1)) };
        let with_seqnos = self.seqnos.iter().any(|&s| s != SeqNo::MAX);
        out.extend_from_slice(&(count as u32).to_le_bytes());
        out.extend_from_slice(&(prefix_len as u32).to_le_bytes());
        out.push(u8::from(with_seqnos));
        out.extend_from_slice(&self.keys[..prefix_len]);
        for i in 0..count {
            let suffix = &key(i)[prefix_len..];
            write_varint(out, suffix.len() as u64);
            out.extend_from_slice(suffix);
        }
        if with_seqnos {
            self.seqnos.iter().for_each(|s| out.extend_from_slice(&s.0.to_le_bytes()));
        }
        *self = FenceBuilder::default();
    }
}

/// Decoded fences, searched by 8-byte heads.
pub(crate) struct Fences {
    prefix: Box<[u8]>,
    heads: Box<[u64]>,
    /// Where each suffix ends in `suffixes`.
    ends: Box<[u32]>,
    suffixes: Box<[u8]>,
    /// Empty when all are [`SeqNo::MAX`].
    seqnos: Box<[SeqNo]>,
}

/// The first 8 bytes as a number that orders as they do, a shorter suffix
/// tying with its continuation by zeros.
#[inline]
fn head_of(suffix: &[u8]) -> u64 {
    match suffix.first_chunk() {
        Some(head) => u64::from_be_bytes(*head),
        None => u64::from_be_bytes(std::array::from_fn(|i| suffix.get(i).copied().unwrap_or(0))),
    }
}

impl Fences {
    /// Reads fences from the front of `fields`.
    pub(crate) fn parse(fields: &mut Fields<'_>) -> Result<Fences, Damage> {
        let count = fields.u32()? as usize;
        let prefix_len = fields.u32()? as usize;
        let [with_seqnos] = fields.array()?;
        if with_seqnos > 1 || prefix_len > MAX_KEY_LEN {
            return Err("an index has a field out of bounds".into());
        }
        let prefix = fields.bytes(prefix_len)?.into();
        // Each fence takes at least one byte, so the count is bounded by what is there.
        if count > fields.0.len() {
            return Err("an index is shorter than its fences".into());
        }
        let mut heads = Vec::with_capacity(count);
        let mut ends = Vec::with_capacity(count);
        let mut suffixes = Vec::new();
        for _ in 0..count {
            let len = fields.varint_u32()? as usize;
            let suffix = fields.bytes(len)?;
            suffixes.extend_from_slice(suffix);
            heads.push(head_of(suffix));
            ends.push(u32::try_from(suffixes.len()).map_err(|_| "an index is too large")?);
        }
        let mut seqnos = Vec::new();
        if with_seqnos == 1 {
            let bytes = count.checked_mul(8).ok_or("an index is too large")?;
            let (words, _) = fields.bytes(bytes)?.as_chunks();
            seqnos.extend(words.iter().map(|w| SeqNo(u64::from_le_bytes(*w))));
        }
        let fences = Fences {
            prefix,
            heads: heads.into(),
            ends: ends.into(),
            suffixes: suffixes.into(),
            seqnos: seqnos.into(),
        };
        if fences.heads.is_sorted() { Ok(fences) } else { Err("fences are out of order".into()) }
    }

    pub(crate) fn count(&self) -> usize {
        self.heads.len()
    }

    /// Bytes of memory behind this structure.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.prefix.len() + self.suffixes.len() + self.count() * 12 + self.seqnos.len() * 8
    }

    #[inline]
    fn suffix(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        &self.suffixes[start as usize..self.ends[i] as usize]
    }

    /// The whole key of fence `i`.
    pub(crate) fn key(&self, i: usize) -> Vec<u8> {
        [&self.prefix, self.suffix(i)].concat()
    }

    pub(crate) fn seqno(&self, i: usize) -> SeqNo {
        if self.seqnos.is_empty() { SeqNo::MAX } else { self.seqnos[i] }
    }

    /// The part that holds the first entry at or after `(key, seqno)`, if any
    /// entry of that key does: the last one whose fence is not after it; the
    /// first when all are.
    #[inline]
    pub(crate) fn part(&self, key: &[u8], seqno: SeqNo) -> usize {
        if self.heads.len() <= 1 {
            return 0;
        }
        self.rank(key, seqno).saturating_sub(1)
    }

    /// Number of fences at or before `(key, seqno)`.
    #[inline]
    fn rank(&self, key: &[u8], seqno: SeqNo) -> usize {
        let suffix = match key.split_at_checked(self.prefix.len()) {
            // An empty slice points nowhere, and comparing it reads there with no lane
            // enabled: the processor takes a hundred cycles to find that no fault is due.
            Some((_, suffix)) if self.prefix.is_empty() => suffix,
            Some((start, suffix)) if *start == *self.prefix => suffix,
            Some((start, _)) if *start > *self.prefix => return self.count(),
            None if *key > *self.prefix => return self.count(),
            _ => return 0,
        };
        let head = head_of(suffix);
        let low = lower_bound(&self.heads, head);
        if self.heads.get(low) != Some(&head) {
            return low;
        }
        let high = match head.checked_add(1) {
            Some(next) => lower_bound(&self.heads, next),
            None => self.count(),
        };
        if planted!(fence_heads_taken_for_keys) {
            return high;
        }
        let (mut low, mut high) = (low, high);
        while low < high {
            let middle = low + (high - low) / 2;
            let fence = (self.suffix(middle), self.seqno(middle));
            match compare_internal(fence, (suffix, seqno)) {
                Ordering::Greater => high = middle,
                _ => low = middle + 1,
            }
        }
        low
    }
}

/// Number of heads below `head`, without a branch that depends on them.
#[inline]
fn lower_bound(heads: &[u64], head: u64) -> usize {
    let mut rest = heads;
    let mut below = 0;
    while rest.len() > 1 {
        let half = rest.len() / 2;
        let skip = if rest[half - 1] < head { half } else { 0 };
        below += skip;
        rest = &rest[skip..skip + rest.len() - half];
    }
    below + usize::from(rest.first().is_some_and(|&h| h < head))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanada_format::awkward_keys;
    use tanada_vfs::memory::Dice;

    fn drawn(of: &[(Vec<u8>, SeqNo)]) -> Fences {
        let mut builder = FenceBuilder::default();
        of.iter().for_each(|(key, seqno)| builder.push(key, *seqno));
        let mut out = Vec::new();
        builder.finish(&mut out);
        Fences::parse(&mut Fields(&out)).unwrap()
    }

    fn fences(of: &[(&[u8], SeqNo)]) -> Fences {
        let mut builder = FenceBuilder::default();
        of.iter().for_each(|&(k, s)| builder.push(k, s));
        let mut out = Vec::new();
        builder.finish(&mut out);
        let mut fields = Fields(&out);
        let fences = Fences::parse(&mut fields).unwrap();
        fields.end().unwrap();
        for cut in 0..out.len() {
            assert!(Fences::parse(&mut Fields(&out[..cut])).is_err());
        }
        fences
    }

    #[test]
    fn the_part_is_the_last_one_whose_fence_is_not_after_the_target() {
        let mut positions: Vec<(&[u8], SeqNo)> = vec![
            (b"k/a", SeqNo::MAX),
            (b"k/a\0", SeqNo::MAX),
            (b"k/abcdefgh", SeqNo::MAX),
            (b"k/abcdefghi", SeqNo(90)),
            (b"k/abcdefghi", SeqNo(40)),
            (b"k/abcdefghi", SeqNo(7)),
            (b"k/abcdefghij", SeqNo::MAX),
            (b"k/b", SeqNo::MAX),
            (b"k/\xff\xff\xff\xff\xff\xff\xff\xff", SeqNo::MAX),
            (b"k/\xff\xff\xff\xff\xff\xff\xff\xff\xff", SeqNo::MAX),
        ];
        for start in 0..positions.len() {
            let fences = fences(&positions[start..]);
            let mut targets = positions.clone();
            targets.extend([
                (&b"j"[..], SeqNo::MAX),
                (b"k", SeqNo::MAX),
                (b"k/abcdefghi", SeqNo::MAX),
                (b"k/abcdefghi", SeqNo(50)),
                (b"k/abcdefghi", SeqNo::ZERO),
                (b"k0", SeqNo::ZERO),
                (b"l", SeqNo::MAX),
            ]);
            for t in targets {
                let want = positions[start..]
                    .partition_point(|&f| compare_internal(f, t).is_le())
                    .saturating_sub(1);
                assert_eq!(fences.part(t.0, t.1), want, "{t:?}");
            }
            assert_eq!(fences.key(0), positions[start].0);
        }
        positions.clear();
        assert_eq!(fences(&positions).part(b"x", SeqNo::MAX), 0);
    }

    /// Every key, and one beside each, with the neighbours of every version.
    #[test]
    fn drawn_fences_lie_between_their_neighbours_and_part_them() {
        for seed in 0..200 {
            let mut dice = Dice::new(seed);
            let mut below = |bound| dice.below(bound);
            let mut keys: Vec<(Vec<u8>, SeqNo)> = Vec::new();
            for key in awkward_keys::pool(&mut below, 16) {
                keys.extend((0..1 + below(3)).map(|n| (key.clone(), SeqNo(1 + 10 * n + below(9)))));
            }
            let order = |a: &(Vec<u8>, SeqNo), b: &(Vec<u8>, SeqNo)| {
                compare_internal((&a.0, a.1), (&b.0, b.1))
            };
            keys.sort_by(order);
            keys.dedup();
            let mut cuts: Vec<(Vec<u8>, SeqNo)> = vec![(Vec::new(), SeqNo::MAX)];
            for pair in keys.windows(2) {
                let (len, seqno) = between((&pair[0].0, pair[0].1), (&pair[1].0, pair[1].1));
                let fence = (pair[1].0[..len].to_vec(), seqno);
                assert!(order(&pair[0], &fence).is_lt() && order(&fence, &pair[1]).is_le());
                if len > 1 && seqno == SeqNo::MAX {
                    let shorter = (fence.0[..len - 1].to_vec(), SeqNo::MAX);
                    assert!(order(&pair[0], &shorter).is_gt(), "it is as short as it can be");
                }
                if below(3) == 0 {
                    cuts.push(fence);
                }
            }
            let fences = drawn(&cuts);
            let mut beside = keys.clone();
            beside.iter_mut().for_each(|(key, _)| awkward_keys::beside(&mut below, key));
            for target in keys.iter().chain(&beside) {
                let want = cuts.partition_point(|fence| order(fence, target).is_le());
                assert_eq!(fences.part(&target.0, target.1), want - 1);
            }
        }
    }

    #[test]
    fn a_fence_lies_between_its_neighbours() {
        let ordered: [(&[u8], u64); 8] = [
            (b"a", 9),
            (b"a", 3),
            (b"ab", 9),
            (b"abc", 1),
            (b"abd", 1),
            (b"b", 5),
            (b"b", 4),
            (b"bcdefgh", 1),
        ];
        for pair in ordered.windows(2) {
            let (before, after) = ((pair[0].0, SeqNo(pair[0].1)), (pair[1].0, SeqNo(pair[1].1)));
            let (len, seqno) = between(before, after);
            let fence = (&after.0[..len], seqno);
            assert!(compare_internal(before, fence).is_lt());
            assert!(compare_internal(fence, after).is_le());
        }
        assert_eq!(between((b"apple", SeqNo(1)), (b"banana", SeqNo(1))), (1, SeqNo::MAX));
    }
}
