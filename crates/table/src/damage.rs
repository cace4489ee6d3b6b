//! What a decoder says of bytes that no builder has written.
//!
//! Decoders know neither file nor offset; the reader that called them adds
//! both and makes a [`tanada_format::Corruption`] of it.

use std::borrow::Cow;

/// What is wrong, in a sentence without a full stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage(pub(crate) Cow<'static, str>);

impl From<&'static str> for Damage {
    fn from(what: &'static str) -> Damage {
        Damage(Cow::Borrowed(what))
    }
}

impl From<String> for Damage {
    fn from(what: String) -> Damage {
        Damage(Cow::Owned(what))
    }
}

/// Reads numbers and byte strings from the front of a slice, never beyond it.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// The next `len` bytes.
    #[inline]
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let (head, tail) = self.0.split_at_checked(len).ok_or("it ends inside a field")?;
        self.0 = tail;
        Ok(head)
    }

    /// The next `N` bytes.
    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or("it ends inside a number")?;
        self.0 = tail;
        Ok(*head)
    }

    /// A little-endian `u32`.
    pub(crate) fn u32(&mut self) -> Result<u32, Damage> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A little-endian `u64`.
    pub(crate) fn u64(&mut self) -> Result<u64, Damage> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A varint.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Damage> {
        let (n, len) = tanada_format::read_varint(self.0).ok_or("a varint has no end")?;
        self.0 = &self.0[len..];
        Ok(n)
    }

    /// A varint that must fit into 32 bits.
    #[inline]
    pub(crate) fn varint_u32(&mut self) -> Result<u32, Damage> {
        u32::try_from(self.varint()?).map_err(|_| "a length is too large".into())
    }

    /// An error unless everything has been read.
    pub(crate) fn end(self) -> Result<(), Damage> {
        if self.0.is_empty() { Ok(()) } else { Err("there is something behind its end".into()) }
    }
}
