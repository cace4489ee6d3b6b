//! The key that a walk stands on, put together from the parts in which a block
//! keeps it.

use std::ops::Deref;

/// Suffix bytes that are written whether they belong to the key or not: a copy
/// of known length is two instructions, one of unknown length a call.
const SLACK: usize = HEAD_LEN + REST_LEN;
const HEAD_LEN: usize = 4;
/// Bytes copied at once behind the head.
const REST_LEN: usize = 16;

/// A key whose first bytes, which its neighbours share, stay in place.
///
/// Invariant: `bytes` holds at least [`SLACK`] bytes behind the prefix.
#[derive(Default)]
pub(crate) struct KeyBuffer {
    bytes: Vec<u8>,
    len: usize,
}

impl KeyBuffer {
    /// Starts with the prefix that the keys to come share.
    pub(crate) fn set_prefix(&mut self, prefix: &[u8]) {
        self.reserve(prefix.len() + SLACK);
        self.bytes[..prefix.len()].copy_from_slice(prefix);
        self.len = prefix.len();
    }

    /// Puts a suffix behind the first `prefix_len` bytes: its first bytes are
    /// `head`'s, those behind them `block[rest_at..]`. The caller has checked
    /// that they lie there.
    #[inline]
    pub(crate) fn set_suffix(
        &mut self,
        prefix_len: usize,
        suffix_len: usize,
        head: [u8; HEAD_LEN],
        block: &[u8],
        rest_at: usize,
    ) {
        self.len = prefix_len + suffix_len;
        if suffix_len <= SLACK
            && let Some(rest) = block.get(rest_at..).and_then(|b| b.first_chunk::<REST_LEN>())
            && let Some(out) = self.bytes.get_mut(prefix_len..)
            && let Some(out) = out.first_chunk_mut::<SLACK>()
        {
            // Put together in registers: words that are read from two stores wait
            // until both have left the store buffer.
            let (rest_words, _) = rest.as_chunks::<8>();
            let (low, high) =
                (u64::from_le_bytes(rest_words[0]), u64::from_le_bytes(rest_words[1]));
            let head = u64::from(u32::from_le_bytes(head));
            let (words, last) = out.as_chunks_mut::<8>();
            words[0] = (head | low << 32).to_le_bytes();
            words[1] = (low >> 32 | high << 32).to_le_bytes();
            last.copy_from_slice(&((high >> 32) as u32).to_le_bytes());
            return;
        }
        self.set_long_suffix(prefix_len, head, block, rest_at);
    }

    /// The same for a suffix that is long, or lies at its block's end.
    #[inline(never)]
    fn set_long_suffix(
        &mut self,
        prefix_len: usize,
        head: [u8; HEAD_LEN],
        block: &[u8],
        rest_at: usize,
    ) {
        self.reserve(self.len + SLACK);
        self.bytes[prefix_len..prefix_len + HEAD_LEN].copy_from_slice(&head);
        let rest_len = (self.len - prefix_len).saturating_sub(HEAD_LEN);
        self.bytes[prefix_len + HEAD_LEN..][..rest_len]
            .copy_from_slice(&block[rest_at..rest_at + rest_len]);
    }

    fn reserve(&mut self, len: usize) {
        if self.bytes.len() < len {
            self.bytes.resize(len.max(64), 0);
        }
    }
}

impl Deref for KeyBuffer {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_of_every_length_at_every_place_come_out() {
        let block: Vec<u8> = (0..100).collect();
        let mut key = KeyBuffer::default();
        for prefix_len in [0, 1, 7, 40, 90] {
            key.set_prefix(&block[..prefix_len]);
            assert_eq!(*key, block[..prefix_len]);
            for suffix_len in 0..60usize {
                let rest_len = suffix_len.saturating_sub(4);
                for rest_at in [0, 3, 50, 100 - rest_len] {
                    if rest_at + rest_len > block.len() {
                        continue;
                    }
                    let head = [201, 202, 203, 204];
                    key.set_suffix(prefix_len, suffix_len, head, &block, rest_at);
                    let mut want = block[..prefix_len].to_vec();
                    want.extend_from_slice(&head[..suffix_len.min(4)]);
                    want.extend_from_slice(&block[rest_at..rest_at + rest_len]);
                    assert_eq!(*key, want[..]);
                }
            }
        }
    }
}
