//! Rows of fields: a tag, a length, and the content, as in the manifest on the disk.
//!
//! A tag is twice the field's number, plus 1 when a reader that does not know the number may
//! skip the field. Numbers stand in ascending order, and a field that stands more than once
//! stands in its own order, so that a state has one spelling.

use super::damage::Unreadable;
use tanada_format::{read_varint, write_varint};

/// Whether a reader that does not know a field may read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    Refuses,
    Skips,
}

/// Writes fields.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn bytes(&mut self, number: u64, unknown: Unknown, content: &[u8]) -> &mut Writer {
        write_varint(&mut self.0, number << 1 | u64::from(unknown == Unknown::Skips));
        write_varint(&mut self.0, content.len() as u64);
        self.0.extend_from_slice(content);
        self
    }

    pub(super) fn field(&mut self, number: u64, content: &[u8]) -> &mut Writer {
        self.bytes(number, Unknown::Refuses, content)
    }

    pub(super) fn u64(&mut self, number: u64, value: u64) -> &mut Writer {
        self.field(number, &value.to_le_bytes())
    }

    pub(super) fn u64s<const N: usize>(&mut self, number: u64, values: [u64; N]) -> &mut Writer {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.field(number, &bytes)
    }

    pub(super) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// One field as it was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u64,
    pub(super) content: &'a [u8],
    /// Of the content, from the object's start.
    pub(super) offset: usize,
    may_be_skipped: bool,
}

/// Reads fields; ends after the first thing that is wrong.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    base: usize,
    last: u64,
}

impl<'a> Reader<'a> {
    /// `base`: where `bytes` begin in the object.
    pub(super) fn new(bytes: &'a [u8], base: usize) -> Reader<'a> {
        Reader { bytes, at: 0, base, last: 0 }
    }

    fn number(&mut self, what: &'static str) -> Result<u64, Unreadable> {
        let rest = &self.bytes[self.at..];
        match read_varint(rest) {
            // One spelling: no zeros behind the number.
            Some((n, len)) if len == tanada_format::varint_len(n) => {
                self.at += len;
                Ok(n)
            }
            _ => Err(Unreadable::damaged(self.base + self.at, what)),
        }
    }

    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, Unreadable> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let begin = self.base + self.at;
        let tag = self.number("no field begins here")?;
        let len = self.number("a field has no length")?;
        let rest = self.bytes.len() - self.at;
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= rest) else {
            return Err(Unreadable::damaged(begin, "a field is longer than the object"));
        };
        let number = tag >> 1;
        if number < self.last {
            return Err(Unreadable::damaged(begin, "fields are not in order"));
        }
        self.last = number;
        let content = &self.bytes[self.at..self.at + len];
        let offset = self.base + self.at;
        self.at += len;
        Ok(Some(Field { number, content, offset, may_be_skipped: tag & 1 == 1 }))
    }
}

impl Field<'_> {
    /// A field of a number that this version does not know.
    pub(super) fn unknown(&self) -> Result<(), Unreadable> {
        match self.may_be_skipped {
            true => Ok(()),
            false => Err(Unreadable::Newer(format!("field {}", self.number).into())),
        }
    }

    pub(super) fn damaged(&self, what: &'static str) -> Unreadable {
        Unreadable::damaged(self.offset, what)
    }

    pub(super) fn array<const N: usize>(&self) -> Result<[u8; N], Unreadable> {
        self.content.try_into().map_err(|_| self.damaged("a field has a wrong length"))
    }

    pub(super) fn u64(&self) -> Result<u64, Unreadable> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn u8(&self) -> Result<u8, Unreadable> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u64s<const N: usize>(&self) -> Result<[u64; N], Unreadable> {
        if self.content.len() != N * 8 {
            return Err(self.damaged("a field has a wrong length"));
        }
        let mut values = [0; N];
        for (value, bytes) in values.iter_mut().zip(self.content.chunks_exact(8)) {
            *value = u64::from_le_bytes(bytes.try_into().expect("chunks of eight bytes"));
        }
        Ok(values)
    }

    pub(super) fn text(&self, most: usize) -> Result<String, Unreadable> {
        if self.content.len() > most {
            return Err(self.damaged("a text is longer than it may be"));
        }
        let text = std::str::from_utf8(self.content);
        text.map(str::to_owned).map_err(|_| self.damaged("a text is not UTF-8"))
    }

    pub(super) fn fields(&self) -> Reader<'_> {
        Reader::new(self.content, self.offset)
    }
}

/// Puts a field's value in its place; an error when it stands there already.
pub(super) fn once<T>(
    place: &mut Option<T>,
    field: &Field<'_>,
    value: T,
) -> Result<(), Unreadable> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(field.damaged("a field stands twice")),
    }
}

/// The value of a field that must stand; `at` is where its row begins.
pub(super) fn needed<T>(value: Option<T>, at: usize, what: &'static str) -> Result<T, Unreadable> {
    value.ok_or_else(|| Unreadable::damaged(at, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_is_skipped_or_refused_as_it_says() {
        let bytes = Writer::default()
            .bytes(9, Unknown::Skips, b"x")
            .bytes(9, Unknown::Refuses, b"y")
            .finish();
        let mut reader = Reader::new(&bytes, 0);
        assert_eq!(reader.next().unwrap().unwrap().unknown(), Ok(()));
        let refused = reader.next().unwrap().unwrap().unknown();
        assert_eq!(refused, Err(Unreadable::Newer("field 9".into())));
        assert!(reader.next().unwrap().is_none());
    }

    #[test]
    fn fields_that_are_cut_out_of_order_or_spelt_otherwise_are_damage() {
        let bytes = Writer::default().u64(1, 5).u64(2, 6).finish();
        for cut in 1..bytes.len() {
            let mut reader = Reader::new(&bytes[..cut], 0);
            let all = std::iter::from_fn(|| reader.next().transpose());
            let read: Result<Vec<_>, _> = all.take(3).collect();
            assert!(read.is_err() || read.unwrap().len() == 1, "cut at {cut}");
        }
        let bytes = Writer::default().u64(2, 5).u64(1, 6).finish();
        let mut reader = Reader::new(&bytes, 0);
        assert!(reader.next().is_ok() && reader.next().is_err());
        assert!(Reader::new(&[0x82, 0x00, 0x00], 0).next().is_err(), "a longer spelling of 2");
    }
}
