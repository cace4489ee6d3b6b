//! What `load` reads: records from NDJSON, CSV or TSV, each with its line.

use crate::record::{Encoding, Expiry, Record, decode_base64, ttl_ms};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A longer line is no record: base64 of the longest value, with room to spare.
const MAX_LINE_BYTES: u64 = 2 << 30;

/// The form of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line: {"key" or "key64","value","encoding"?,"ttl"?}
    Ndjson,
    /// Comma-separated: a header with key and value, or columns 1 and 2
    Csv,
    /// Tab-separated, without quotes: a header with key and value, or columns 1 and 2
    Tsv,
}

impl Format {
    /// By the file's extension; NDJSON for standard input.
    pub(crate) fn of(path: &Path) -> Option<Format> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("ndjson" | "jsonl" | "json") => Some(Format::Ndjson),
            Some("csv") => Some(Format::Csv),
            Some("tsv" | "tab") => Some(Format::Tsv),
            _ => (path.as_os_str() == "-").then_some(Format::Ndjson),
        }
    }
}

/// Why a record could not be read.
#[derive(Debug)]
pub(crate) struct BadInput {
    /// Line, from 1.
    pub(crate) line: u64,
    pub(crate) what: String,
}

type Next = std::result::Result<Record, BadInput>;

/// All records of `source` in order. `read` counts the bytes taken so far.
pub(crate) fn records(
    source: Box<dyn Read + Send>,
    format: Format,
    read: Arc<AtomicU64>,
) -> Box<dyn Iterator<Item = Next>> {
    let source = BufReader::with_capacity(256 << 10, Counted { source, read });
    match format {
        Format::Ndjson => Box::new(Lines { source, line: 0, buffer: Vec::new() }),
        Format::Csv => Box::new(Columns::new(source, b',', true)),
        Format::Tsv => Box::new(Columns::new(source, b'\t', false)),
    }
}

/// Counts what passes, for the progress bar.
struct Counted {
    source: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(buffer)?;
        // Relaxed: a number on a screen, ordered with nothing.
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

struct Lines<R> {
    source: R,
    line: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Iterator for Lines<R> {
    type Item = Next;

    fn next(&mut self) -> Option<Next> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let bad = |what: String| Some(Err(BadInput { line: self.line, what }));
            let read = (&mut self.source).take(MAX_LINE_BYTES).read_until(b'\n', &mut self.buffer);
            match read {
                Err(e) => return bad(format!("cannot read on: {e}")),
                Ok(0) => return None,
                Ok(n) if n as u64 == MAX_LINE_BYTES => {
                    return bad("the line is over 2 GiB long".into());
                }
                Ok(_) => {}
            }
            // Windows line ends, a byte order mark, and empty lines are harmless.
            let line = self.buffer.trim_ascii();
            let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
            if !line.is_empty() {
                return Some(
                    Record::from_json(line).map_err(|what| BadInput { line: self.line, what }),
                );
            }
        }
    }
}

/// Where each part of a record stands in a row.
struct Places {
    key: usize,
    /// The key's column is named `key64`: it holds base64.
    key64: bool,
    value: usize,
    encoding: Option<usize>,
    ttl: Option<usize>,
    /// Columns in a row, when there is no header to say so.
    exactly: Option<usize>,
}

struct Columns<R> {
    reader: csv::Reader<R>,
    places: Option<Places>,
    row: csv::ByteRecord,
}

impl<R: Read> Columns<R> {
    fn new(source: R, delimiter: u8, quoting: bool) -> Columns<R> {
        let reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(quoting)
            .has_headers(false)
            .flexible(true)
            .from_reader(source);
        Columns { reader, places: None, row: csv::ByteRecord::new() }
    }

    fn record(&self, places: &Places) -> std::result::Result<Record, String> {
        if let Some(wanted) = places.exactly
            && self.row.len() != wanted
        {
            return Err(format!(
                "{} columns instead of {wanted} (key and value); quote values that hold the separator, or begin with a header line that names the columns key and value",
                self.row.len()
            ));
        }
        let cell = |at: usize, name: &str| {
            let cell = self.row.get(at).ok_or_else(|| format!("the column {name} is missing"))?;
            std::str::from_utf8(cell).map_err(|_| {
                format!("{name} is not UTF-8; write such keys in a column key64, and such values in base64 with a column encoding that says so")
            })
        };
        let (key, value) = (cell(places.key, "key")?, cell(places.value, "value")?);
        let encoding = match places.encoding.map(|at| cell(at, "encoding")).transpose()? {
            None | Some("" | "utf8") => Encoding::Utf8,
            Some("base64") => Encoding::Base64,
            Some(other) => return Err(format!("encoding '{other}'; it is utf8 or base64")),
        };
        let key = if places.key64 { decode_base64(key)? } else { key.as_bytes().to_vec() };
        let value = match encoding {
            Encoding::Base64 => decode_base64(value)?,
            Encoding::Utf8 => value.as_bytes().to_vec(),
        };
        let expiry = match places.ttl.map(|at| cell(at, "ttl")).transpose()? {
            None | Some("") => Expiry::Never,
            Some(text) => {
                let seconds: f64 =
                    text.parse().map_err(|_| format!("ttl '{text}' is not a number of seconds"))?;
                Expiry::In(ttl_ms(seconds)?)
            }
        };
        Record { key, value, expiry }.checked()
    }
}

/// The columns that a header names, or `None` when the row is no header.
fn header(row: &csv::ByteRecord) -> Option<Places> {
    let place = |name: &[u8]| {
        row.iter().position(|cell| {
            let cell = cell.strip_prefix(b"\xef\xbb\xbf").unwrap_or(cell);
            cell.trim_ascii().eq_ignore_ascii_case(name)
        })
    };
    let text_key = place(b"key");
    Some(Places {
        key: text_key.or_else(|| place(b"key64"))?,
        key64: text_key.is_none(),
        value: place(b"value")?,
        encoding: place(b"encoding"),
        ttl: place(b"ttl"),
        exactly: None,
    })
}

impl<R: Read> Iterator for Columns<R> {
    type Item = Next;

    fn next(&mut self) -> Option<Next> {
        loop {
            let mut row = std::mem::take(&mut self.row);
            let more = self.reader.read_byte_record(&mut row);
            self.row = row;
            let line = self.row.position().map_or(0, csv::Position::line);
            match more {
                Ok(false) => return None,
                Ok(true) => {}
                Err(e) => {
                    let line = e.position().map_or(line, csv::Position::line);
                    return Some(Err(BadInput { line, what: format!("cannot read on: {e}") }));
                }
            }
            let places = match self.places.take() {
                Some(places) => places,
                None => {
                    if let Some(places) = header(&self.row) {
                        self.places = Some(places);
                        continue;
                    }
                    Places {
                        key: 0,
                        key64: false,
                        value: 1,
                        encoding: None,
                        ttl: None,
                        exactly: Some(2),
                    }
                }
            };
            let record = self.record(&places).map_err(|what| BadInput { line, what });
            self.places = Some(places);
            return Some(record);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        text: &'static [u8],
        format: Format,
    ) -> Vec<std::result::Result<(String, String), u64>> {
        records(Box::new(text), format, Arc::default())
            .map(|next| {
                next.map(|r| {
                    (String::from_utf8(r.key).unwrap(), String::from_utf8(r.value).unwrap())
                })
                .map_err(|e| e.line)
            })
            .collect()
    }

    fn pair(key: &str, value: &str) -> std::result::Result<(String, String), u64> {
        Ok((key.into(), value.into()))
    }

    #[test]
    fn csv_is_read_with_and_without_a_header_and_quotes() {
        let rows = read(b"a,1\n\"b,\"\"c\"\"\",\"2\n3\"\n", Format::Csv);
        assert_eq!(rows, [pair("a", "1"), pair("b,\"c\"", "2\n3")]);
        let rows = read(b"\xef\xbb\xbfvalue,ignored,Key\r\n1,x,a\r\n", Format::Csv);
        assert_eq!(rows, [pair("a", "1")]);
        assert_eq!(
            read(b"key64,value,encoding\nYQ==,Yg==,base64\n", Format::Csv),
            [pair("a", "b")]
        );
    }

    #[test]
    fn tsv_takes_quotes_as_they_are() {
        assert_eq!(read(b"a\t\"1\nb\t2", Format::Tsv), [pair("a", "\"1"), pair("b", "2")]);
    }

    #[test]
    fn a_bad_row_is_named_by_its_line_and_the_next_one_is_read() {
        assert_eq!(read(b"a,1\nb\nc,3\n", Format::Csv), [pair("a", "1"), Err(2), pair("c", "3")]);
        let text = b"\n{\"key\":\"a\",\"value\":\"1\"}\n\nnot json\n{\"key\":\"b\",\"value\":\"\"}";
        assert_eq!(read(text, Format::Ndjson), [pair("a", "1"), Err(4), pair("b", "")]);
    }

    #[test]
    fn formats_follow_the_extension() {
        assert_eq!(Format::of(Path::new("x/a.csv")), Some(Format::Csv));
        assert_eq!(Format::of(Path::new("a.jsonl")), Some(Format::Ndjson));
        assert_eq!(Format::of(Path::new("-")), Some(Format::Ndjson));
        assert_eq!(Format::of(Path::new("a.txt")), None);
    }
}
