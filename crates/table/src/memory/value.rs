//! A value handed out without copying the block it lies in.

use crate::memory::block::Block;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Values up to this long are kept in the handle itself: no memory is taken,
/// and no counter that other readers of the block share is touched.
const INLINE_LEN: usize = 22;

/// The bytes of a value. Cheap to clone; keeps alive what it points into.
///
/// 24 bytes: short values lie inside, others are shared with the block they
/// were read from, or with the other clones of an owned copy. A value that
/// shares a block keeps the whole block in memory, so what lives long should
/// be [`Value::detached`] first.
#[derive(Clone)]
pub struct Value(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_LEN] },
    Shared { block: Block, offset: u32, len: u32 },
    Owned(Arc<[u8]>),
}

impl Value {
    /// A value inside `block`. The caller has checked the range.
    #[inline]
    pub(crate) fn in_block(block: Block, offset: u32, len: u32) -> Value {
        Value(Repr::Shared { block, offset, len })
    }

    /// Whether `bytes` would be kept inside the handle.
    #[inline]
    pub(crate) fn fits_inline(len: usize) -> bool {
        len <= INLINE_LEN
    }

    /// The same bytes, holding no more memory than they need: a copy when the
    /// value shares a block, a clone otherwise.
    pub fn detached(&self) -> Value {
        match self.0 {
            Repr::Shared { .. } => Value::from(&**self),
            _ => self.clone(),
        }
    }

    /// Bytes of memory that this value alone holds beside the handle.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Inline { .. } => 0,
            Repr::Shared { block, .. } => block.cost_bytes() as usize,
            Repr::Owned(bytes) => bytes.len() + 2 * size_of::<usize>(),
        }
    }
}

impl From<&[u8]> for Value {
    #[inline]
    fn from(bytes: &[u8]) -> Value {
        if bytes.len() <= INLINE_LEN {
            let mut inline = [0; INLINE_LEN];
            inline[..bytes.len()].copy_from_slice(bytes);
            Value(Repr::Inline { len: bytes.len() as u8, bytes: inline })
        } else {
            Value(Repr::Owned(bytes.into()))
        }
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Value {
        Value::from(&bytes[..])
    }
}

impl Deref for Value {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Shared { block, offset, len } => {
                &block.data().bytes[*offset as usize..][..*len as usize]
            }
            Repr::Owned(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Value {
    fn eq(&self, other: &T) -> bool {
        **self == *other.as_ref()
    }
}

impl Eq for Value {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_takes_24_bytes_and_short_values_take_no_other_memory() {
        assert_eq!(size_of::<Value>(), 24);
        for len in 0..64 {
            let bytes: Vec<u8> = (0..len).collect();
            let value = Value::from(&bytes[..]);
            assert_eq!(value, bytes);
            assert_eq!(value.heap_bytes() == 0, bytes.len() <= INLINE_LEN);
            let handle = std::ptr::from_ref(&value).addr();
            let lies_inside = (handle..handle + 24).contains(&value.as_ptr().addr());
            assert_eq!(lies_inside, bytes.len() <= INLINE_LEN, "{len} bytes");
            assert_eq!(value.detached(), bytes);
        }
    }
}
