//! The sequences of an LZ4 block: blocks of neighbouring pieces joined to one, and the
//! beginning of one that is cut off.
//!
//! A block is a row of sequences:
//!
//! | size | field |
//! |---|---|
//! | 1 | token: number of literals in the high nibble, length of the match less 4 in the low one; 15 says that more follows |
//! | .. | more of the first number: bytes to add, up to the first that is not 255 |
//! | .. | the literals |
//! | 2 | how far back the match lies; the last sequence ends before this |
//! | .. | more of the second number |
//!
//! Matches lie a distance back, not at a place, so a block stays right when others come
//! before it. Only its last literals have no match behind them: they become the first
//! literals of the block that follows. So a long input is compressed in pieces, in the
//! memory of one piece. The format: `lz4_Block_format.md` of the LZ4 project.

use std::ops::Range;

/// A match is this long at least.
const MIN_MATCH: usize = 4;
/// A nibble that says that more follows.
const MORE: usize = 15;

/// A sequence of a block, by where its parts lie.
struct Sequence {
    /// The low nibble of its token.
    match_nibble: u8,
    literals: Range<usize>,
    /// Distance and length of the match; `None` for the last sequence.
    matched: Option<(usize, usize)>,
    /// Where the next one begins.
    end: usize,
}

impl Sequence {
    /// The sequence at `at`; `None` when the block ends inside it.
    fn read(block: &[u8], at: usize) -> Option<Sequence> {
        let mut at = at;
        let token = usize::from(*block.get(at)?);
        at += 1;
        let count = read_number(block, &mut at, token >> 4)?;
        let literals = at..at.checked_add(count).filter(|&end| end <= block.len())?;
        at = literals.end;
        let match_nibble = (token & MORE) as u8;
        if at == block.len() {
            return Some(Sequence { match_nibble, literals, matched: None, end: at });
        }
        let distance = block.get(at..at + 2)?;
        let distance = usize::from(u16::from_le_bytes([distance[0], distance[1]]));
        at += 2;
        let len = MIN_MATCH + read_number(block, &mut at, token & MORE)?;
        Some(Sequence { match_nibble, literals, matched: Some((distance, len)), end: at })
    }
}

fn read_number(block: &[u8], at: &mut usize, nibble: usize) -> Option<usize> {
    let mut number = nibble;
    if nibble == MORE {
        loop {
            let more = *block.get(*at)?;
            *at += 1;
            number = number.checked_add(usize::from(more))?;
            if more != u8::MAX {
                break;
            }
        }
    }
    Some(number)
}

/// Joins the blocks of an input's pieces to one block of the whole. What becomes literals
/// is taken from the input, where it lies.
pub(crate) struct Joiner<'i> {
    /// The input, in two parts.
    head: &'i [u8],
    rest: &'i [u8],
    /// From here on the input is not in the output yet: literals without a match so far.
    pending: usize,
}

impl<'i> Joiner<'i> {
    /// For the input `head` and `rest`. The head stays as it is: pieces are of the rest.
    pub(crate) fn new(head: &'i [u8], rest: &'i [u8]) -> Joiner<'i> {
        Joiner { head, rest, pending: 0 }
    }

    /// Takes the block of the next piece, which ends at `end` in the rest.
    pub(crate) fn add<E>(
        &mut self,
        piece_len: usize,
        end: usize,
        block: &[u8],
        emit: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        const WHOLE: &str = "a compressor's block is whole";
        let first = Sequence::read(block, 0).expect(WHOLE);
        if first.matched.is_none() {
            return Ok(());
        }
        let end = self.head.len() + end;
        let literals_end = end - piece_len + first.literals.len();
        self.put_literals(first.match_nibble, literals_end, emit)?;
        let mut at = first.end;
        let last = loop {
            let sequence = Sequence::read(block, at).expect(WHOLE);
            if sequence.matched.is_none() {
                break sequence;
            }
            at = sequence.end;
        };
        emit(&block[first.literals.end..at])?;
        self.pending = end - last.literals.len();
        Ok(())
    }

    /// Ends the block.
    pub(crate) fn finish<E>(
        mut self,
        emit: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.put_literals(0, self.head.len() + self.rest.len(), emit)
    }

    /// A token, and as its literals the input up to `end`.
    fn put_literals<E>(
        &mut self,
        match_nibble: u8,
        end: usize,
        emit: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let count = end - self.pending;
        let mut token = vec![(count.min(MORE) << 4) as u8 | match_nibble];
        if let Some(more) = count.checked_sub(MORE) {
            token.resize(1 + more / 255, u8::MAX);
            token.push((more % 255) as u8);
        }
        emit(&token)?;
        let head_len = self.head.len();
        if self.pending < head_len {
            emit(&self.head[self.pending..end.min(head_len)])?;
        }
        if end > head_len {
            emit(&self.rest[self.pending.max(head_len) - head_len..end - head_len])?;
        }
        self.pending = end;
        Ok(())
    }
}

/// The first bytes of what `block` says, which may be cut off: `len` of them, or as many
/// as can be told.
pub(crate) fn beginning(block: &[u8], len: usize) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(len), 0);
    while out.len() < len {
        let Some(sequence) = Sequence::read(block, at) else {
            // Cut off inside: its literals may reach further than what is there.
            let mut literals_at = at + 1;
            let token = block.get(at).map(|&token| usize::from(token >> 4));
            let count = token.and_then(|nibble| read_number(block, &mut literals_at, nibble));
            let there = block.get(literals_at..).unwrap_or_default();
            let count = count.unwrap_or(0).min(there.len());
            out.extend_from_slice(&there[..count]);
            break;
        };
        out.extend_from_slice(&block[sequence.literals]);
        let Some((distance, match_len)) = sequence.matched else { break };
        let Some(from) = out.len().checked_sub(distance).filter(|_| distance > 0) else { break };
        for i in from..from + match_len.min(len) {
            out.push(out[i]);
        }
        at = sequence.end;
    }
    out.truncate(len);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use tanada_format::hash_key;

    /// Bytes of which some stretches repeat themselves and some do not.
    fn mixed(len: usize, seed: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut n = seed;
        while bytes.len() < len {
            n = hash_key(&n.to_le_bytes());
            let stretch = (n >> 8) as usize % 700;
            match n % 3 {
                0 => bytes
                    .extend((0..stretch as u64).map(|i| hash_key(&(n ^ i).to_le_bytes()) as u8)),
                1 => bytes.extend(std::iter::repeat_n(n as u8, stretch)),
                _ => bytes.extend((0..stretch).map(|i| b"terrace by terrace; "[i % 20])),
            }
        }
        bytes.truncate(len);
        bytes
    }

    fn joined(head: &[u8], rest: &[u8], piece: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut emit = |bytes: &[u8]| -> Result<(), Infallible> {
            out.extend_from_slice(bytes);
            Ok(())
        };
        let mut joiner = Joiner::new(head, rest);
        let mut end = 0;
        for piece in rest.chunks(piece) {
            end += piece.len();
            let block = lz4_flex::block::compress(piece);
            joiner.add(piece.len(), end, &block, &mut emit).unwrap();
        }
        joiner.finish(&mut emit).unwrap();
        out
    }

    #[test]
    fn blocks_of_pieces_are_one_block_of_the_whole_to_any_decoder() {
        for (i, len) in [0, 1, 5, 12, 13, 14, 300, 5_000, 70_000].into_iter().enumerate() {
            let input = mixed(len, i as u64);
            let noise: Vec<u8> =
                (0..len as u64).map(|n| hash_key(&n.to_le_bytes()) as u8).collect();
            for (rest, piece, head) in [
                (&input, 64 << 10, 0),
                (&input, 1_000, 20),
                (&input, 17, 300),
                (&input, 1, 1),
                (&noise, 999, 14),
                (&vec![7; len], 500, 15),
            ] {
                let head = mixed(head, 99);
                let block = joined(&head, rest, piece);
                let whole = [&head[..], rest].concat();
                let decoded = lz4_flex::block::decompress(&block, whole.len()).unwrap();
                assert!(decoded == whole, "{len} bytes by {piece}");
                if !cfg!(miri) && !whole.is_empty() {
                    let decoded = lz4::block::decompress(&block, Some(whole.len() as i32));
                    assert!(decoded.unwrap() == whole, "{len} bytes by {piece}");
                }
                for want in [0, 1, 20, 1_000] {
                    let want = want.min(whole.len());
                    assert_eq!(beginning(&block, want), &whole[..want]);
                }
            }
        }
    }

    #[test]
    fn the_beginning_of_a_block_that_is_cut_off_is_right_as_far_as_it_goes() {
        let input = mixed(9_000, 3);
        let block = joined(&input[..100], &input[100..], 1_000);
        let mut longest = 0;
        for cut in 0..block.len() {
            let told = beginning(&block[..cut], input.len());
            assert!(input.starts_with(&told), "cut at {cut}");
            assert!(told.len() + 300 >= longest, "a longer block tells more");
            longest = longest.max(told.len());
        }
        assert!(longest > 8_000);
    }

    #[test]
    fn bytes_that_are_no_block_are_no_panic() {
        for seed in 0..200u64 {
            let bytes: Vec<u8> =
                (0..90u64).map(|i| hash_key(&(seed << 8 | i).to_le_bytes()) as u8).collect();
            assert!(beginning(&bytes, 500).len() <= 500);
        }
    }
}
