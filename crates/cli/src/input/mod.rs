//! What `load` reads: records from NDJSON, CSV or TSV, each with its line.
//!
//! Nothing of the input may be dropped, cut, merged or passed over without an error that
//! names the line.

mod columns;
mod compressed;
mod rows;

pub(crate) use columns::Header;

use crate::record::Line;
use columns::Columns;
use rows::{Rows, Syntax, read_line};
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A longer line is no record: base64 of the longest value, with room to spare.
const MAX_LINE_BYTES: u64 = 2 << 30;

/// The form of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line, as dump and scan write it
    Ndjson,
    /// Comma-separated, with quotes, under a header that names key and value
    Csv,
    /// Tab-separated, without quotes, under a header that names key and value
    Tsv,
}

impl Format {
    /// By the file's extension, that of its compression aside; NDJSON for standard input.
    pub(crate) fn of(path: &Path) -> Option<Format> {
        let compressed = path.extension().is_some_and(|e| e == "gz" || e == "zst" || e == "zstd");
        let plain = if compressed { path.with_extension("") } else { path.to_owned() };
        match plain.extension().and_then(|extension| extension.to_str()) {
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

/// A line that says something, and which it is.
type Next = std::result::Result<(u64, Line), BadInput>;

/// All that `source` says, in order. `read` counts the bytes taken so far; `now_ms` is
/// when times to live begin.
pub(crate) fn lines(
    source: Box<dyn Read + Send>,
    format: Format,
    header: &Header,
    now_ms: u64,
    read: Arc<AtomicU64>,
) -> Box<dyn Iterator<Item = Next>> {
    let source = match compressed::decompressed(Box::new(Counted { source, read })) {
        Ok(source) => source,
        Err(e) => {
            let what = format!("cannot read on: {e}");
            return Box::new(std::iter::once(Err(BadInput { line: 1, what })));
        }
    };
    let table = |source, syntax| {
        let columns = header.none.then(Columns::unnamed);
        Table { rows: Rows::new(source, syntax), header: header.clone(), columns, ended: false }
    };
    let lines: Box<dyn Iterator<Item = Next>> = match format {
        Format::Ndjson => Box::new(Ndjson { source, line: 0, buffer: Vec::new() }),
        Format::Csv => Box::new(table(source, Syntax::Csv)),
        Format::Tsv => Box::new(table(source, Syntax::Tsv)),
    };
    Box::new(lines.map(move |next| {
        let (line, said) = next?;
        let checked = match said {
            Line::Record(record) => record.checked_at(now_ms).map(Line::Record),
            keyspace @ Line::Keyspace(_) => Ok(keyspace),
        };
        checked.map(|said| (line, said)).map_err(|what| BadInput { line, what })
    }))
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

struct Ndjson<R> {
    source: R,
    line: u64,
    buffer: Vec<u8>,
}

impl<R: BufRead> Iterator for Ndjson<R> {
    type Item = Next;

    fn next(&mut self) -> Option<Next> {
        loop {
            self.buffer.clear();
            self.line += 1;
            let line = self.line;
            let bad = |what| BadInput { line, what };
            match read_line(&mut self.source, &mut self.buffer) {
                Err(e) => return Some(Err(bad(format!("cannot read on: {e}")))),
                Ok(0) => return None,
                Ok(_) => {}
            }
            // White space around the object, a byte order mark, and empty lines are harmless.
            let text = self.buffer.trim_ascii();
            let text = text.strip_prefix(b"\xef\xbb\xbf").filter(|_| line == 1).unwrap_or(text);
            if !text.is_empty() {
                return Some(Line::from_json(text).map(|said| (line, said)).map_err(bad));
            }
        }
    }
}

/// Rows under a header, or without one.
struct Table<R> {
    rows: Rows<R>,
    header: Header,
    /// `None` until the header has been read.
    columns: Option<Columns>,
    /// A header that says nothing ends it: what the rows mean is not known.
    ended: bool,
}

impl<R: BufRead> Iterator for Table<R> {
    type Item = Next;

    fn next(&mut self) -> Option<Next> {
        if self.ended {
            return None;
        }
        loop {
            let row = match self.rows.next()? {
                Ok(row) => row,
                Err(bad) => return Some(Err(bad)),
            };
            let line = row.line;
            let bad = |what| BadInput { line, what };
            match &self.columns {
                Some(columns) => {
                    let record = columns.record(row).map_err(bad);
                    return Some(record.map(|record| (line, Line::Record(record))));
                }
                None => match Columns::named(&row, &self.header) {
                    Ok(columns) => self.columns = Some(columns),
                    Err(what) => {
                        self.ended = true;
                        return Some(Err(bad(what)));
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = Vec<std::result::Result<(String, String), (u64, String)>>;

    fn read_with(text: &'static [u8], format: Format, header: &Header) -> Pairs {
        lines(Box::new(text), format, header, 0, Arc::default())
            .map(|next| match next {
                Ok((_, Line::Record(r))) => {
                    Ok((String::from_utf8(r.key).unwrap(), String::from_utf8(r.value).unwrap()))
                }
                Ok((_, Line::Keyspace(name))) => Ok((name, "a keyspace".into())),
                Err(e) => Err((e.line, e.what)),
            })
            .collect()
    }

    fn read(text: &'static [u8], format: Format) -> Pairs {
        read_with(text, format, &Header::default())
    }

    fn pair(key: &str, value: &str) -> std::result::Result<(String, String), (u64, String)> {
        Ok((key.into(), value.into()))
    }

    fn no_header() -> Header {
        Header { none: true, ..Header::default() }
    }

    #[test]
    fn a_table_is_read_by_the_names_of_its_columns() {
        let rows = read(b"\xef\xbb\xbfvalue,ttl, Key\r\n1,,a\r\n2,5,\"b\nc\"\r\n", Format::Csv);
        assert_eq!(rows, [pair("a", "1"), pair("b\nc", "2")]);
        let rows = read(b"key64,value,encoding\nYQ==,Yg==,base64\nYg==,x,\n", Format::Csv);
        assert_eq!(rows, [pair("a", "b"), pair("b", "x")]);
        assert_eq!(read(b"key\tvalue\na\t\"1\n", Format::Tsv), [pair("a", "\"1")]);
        let header = Header {
            key: Some("id".into()),
            value: Some("name".into()),
            ignored: vec!["note".into()],
            ..Header::default()
        };
        assert_eq!(read_with(b"note,ID,name\nx,7,Ann\n", Format::Csv, &header), [pair("7", "Ann")]);
        assert_eq!(read_with(b"key,value\na,1\n", Format::Csv, &no_header()).len(), 2);
    }

    #[test]
    fn a_header_that_leaves_anything_open_is_refused_with_all_that_follows() {
        let cases: [(&[u8], &str); 8] = [
            (b"a,1\nb,2\n", "'a'"),
            (b"key,value,note\na,1,x\n", "'note'"),
            (b"key,value,value\na,1,2\n", "two columns 'value'"),
            (b"key,key64,value\na,YQ==,1\n", "both key and key64"),
            (b"key,ttl\na,1\n", "values"),
            (b"value\n1\n", "keys"),
            (b"key,value,\na,1,2\n", "''"),
            (b"key;value\na;1\n", "'key;value'"),
        ];
        for (text, word) in cases {
            let rows = read(text, Format::Csv);
            let [Err((1, what))] = &rows[..] else { panic!("{rows:?}") };
            assert!(
                what.contains(word) && (what.contains("column") || what.contains("both")),
                "{what}"
            );
        }
        let header = Header { ignored: vec!["note".into()], ..Header::default() };
        let rows = read_with(b"key,value\na,1\n", Format::Csv, &header);
        assert!(matches!(&rows[..], [Err((1, what))] if what.contains("'note'")), "{rows:?}");
    }

    #[test]
    fn a_row_with_a_cell_too_many_or_too_few_is_named_and_not_cut() {
        // `to be, or not` became `to be`.
        let rows = read(b"key,value\nhamlet,to be, or not\n\nb\nc,3\n", Format::Csv);
        let bad = |row: &std::result::Result<_, (u64, String)>, line, word: &str| matches!(row, Err((l, what)) if *l == line && what.contains(word));
        assert!(bad(&rows[0], 2, "3 cells") && bad(&rows[1], 4, "1 cells"), "{rows:?}");
        assert_eq!(rows[2], pair("c", "3"));
        for text in [&b"a\t1\tx\n"[..], b"a\n"] {
            let rows = read_with(text, Format::Tsv, &no_header());
            assert!(bad(&rows[0], 1, "cells"), "{rows:?}");
        }
    }

    #[test]
    fn a_bad_line_of_json_is_named_by_its_number() {
        let text = b"\n{\"key\":\"a\",\"value\":\"1\"}\n\nnot json\n{\"key\":\"b\",\"value\":\"\"}";
        let rows = read(text, Format::Ndjson);
        assert_eq!((&rows[0], &rows[2]), (&pair("a", "1"), &pair("b", "")));
        assert!(matches!(&rows[1], Err((4, _))), "{rows:?}");
        let rows = read(
            b"{\"keyspace\":\"users\"}\n{\"key\":\"a\",\"value\":\"1\",\"x\":1}",
            Format::Ndjson,
        );
        assert_eq!(rows[0], pair("users", "a keyspace"));
        assert!(matches!(&rows[1], Err((2, what)) if what.contains("`x`")), "{rows:?}");
    }

    #[test]
    fn formats_follow_the_extension() {
        assert_eq!(Format::of(Path::new("x/a.csv")), Some(Format::Csv));
        assert_eq!(Format::of(Path::new("a.jsonl")), Some(Format::Ndjson));
        assert_eq!(Format::of(Path::new("a.ndjson.gz")), Some(Format::Ndjson));
        assert_eq!(Format::of(Path::new("a.tsv.zst")), Some(Format::Tsv));
        assert_eq!(Format::of(Path::new("-")), Some(Format::Ndjson));
        assert_eq!(Format::of(Path::new("a.txt")), None);
        assert_eq!(Format::of(Path::new("a.gz")), None);
    }
}
