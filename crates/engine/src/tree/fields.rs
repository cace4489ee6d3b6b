//! Tagged fields with lengths: how edits and compaction jobs are written.
//!
//! | bytes | field |
//! |---|---|
//! | varint | tag: twice the field's number, plus 1 when a reader that does not know it may skip it |
//! | varint | length of the content |
//! | length | content: `u8`, `u32`, `u64` little-endian, bytes, or fields again |
//!
//! A field that is not known and may not be skipped says that a newer version
//! wrote it. What the numbers mean is the business of those who use them.

use tanada_format::{read_varint, write_varint};

/// Why bytes are not what they should be, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DecodeError {
    /// Offset in all that is decoded.
    pub(crate) offset: usize,
    /// What is wrong there.
    pub(crate) problem: Problem,
}

/// Damage, or the future.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// No version wrote this.
    Damaged(&'static str),
    /// A newer version wrote this: the number of a field that must be known.
    Unknown(u64),
}

pub(crate) fn put(out: &mut Vec<u8>, number: u64, content: &[u8]) {
    put_tagged(out, number << 1, content);
}

pub(crate) fn put_tagged(out: &mut Vec<u8>, tag: u64, content: &[u8]) {
    write_varint(out, tag);
    write_varint(out, content.len() as u64);
    out.extend_from_slice(content);
}

pub(crate) fn put_u64(out: &mut Vec<u8>, number: u64, value: Option<u64>) {
    if let Some(value) = value {
        put(out, number, &value.to_le_bytes());
    }
}

pub(crate) fn put_u32(out: &mut Vec<u8>, number: u64, value: Option<u32>) {
    if let Some(value) = value {
        put(out, number, &value.to_le_bytes());
    }
}

/// Sets a field that may stand once.
pub(crate) fn once<T>(
    slot: &mut Option<T>,
    value: T,
    field: &Field<'_>,
) -> Result<(), DecodeError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(field.damaged("a field stands twice")),
    }
}

/// One field.
pub(crate) struct Field<'a> {
    pub(crate) number: u64,
    may_skip: bool,
    pub(crate) content: &'a [u8],
    /// Where the content begins in all that is decoded.
    offset: usize,
}

impl<'a> Field<'a> {
    pub(crate) fn damaged(&self, what: &'static str) -> DecodeError {
        DecodeError { offset: self.offset, problem: Problem::Damaged(what) }
    }

    pub(crate) fn array<const N: usize>(&self) -> Result<[u8; N], DecodeError> {
        self.content.try_into().map_err(|_| self.damaged("a number has the wrong length"))
    }

    pub(crate) fn u64(&self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u32(&self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u8(&self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn bytes_up_to(&self, limit: usize) -> Result<&'a [u8], DecodeError> {
        if self.content.len() > limit {
            return Err(self.damaged("a field is too long"));
        }
        Ok(self.content)
    }

    pub(crate) fn fields(&self) -> Fields<'a> {
        Fields::new(self.content, self.offset)
    }

    /// For a field that is not known here.
    pub(crate) fn skip(&self) -> Result<(), DecodeError> {
        if self.may_skip {
            return Ok(());
        }
        Err(DecodeError { offset: self.offset, problem: Problem::Unknown(self.number) })
    }
}

/// Walks fields that stand one behind the other.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8], offset: usize) -> Fields<'a> {
        Fields { rest: bytes, offset }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Field<'a>>, DecodeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let len = self.varint()?;
        let len = usize::try_from(len).ok().filter(|&len| len <= self.rest.len());
        let Some(len) = len else { return Err(self.damaged("a field is longer than its record")) };
        let (content, rest) = self.rest.split_at(len);
        let field =
            Field { number: tag >> 1, may_skip: tag & 1 == 1, content, offset: self.offset };
        self.rest = rest;
        self.offset += len;
        Ok(Some(field))
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let Some((n, len)) = read_varint(self.rest) else {
            return Err(self.damaged("a field's tag or length is cut off"));
        };
        self.rest = &self.rest[len..];
        self.offset += len;
        Ok(n)
    }

    pub(crate) fn damaged(&self, what: &'static str) -> DecodeError {
        DecodeError { offset: self.offset, problem: Problem::Damaged(what) }
    }
}
