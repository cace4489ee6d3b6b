//! Rows of cells, from CSV and TSV, to the letter.
//!
//! CSV is that of RFC 4180. What is outside of it is an error that names the line: other
//! readers take it one way or another, and a value that is cut or merged is noticed years
//! later. TSV knows no quotes: a cell holds whatever stands between two tabs.

use super::{BadInput, MAX_LINE_BYTES};
use std::io::{self, BufRead, Read};

/// How cells are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Commas, and quotes around cells that need them.
    Csv,
    /// Tabs.
    Tsv,
}

/// The cells of one row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Where it begins, from 1.
    pub(super) line: u64,
    pub(super) cells: Vec<Vec<u8>>,
}

/// All rows of an input; empty lines are passed over.
pub(super) struct Rows<R> {
    source: R,
    syntax: Syntax,
    /// The line read last.
    line: u64,
    /// How the first line ends; all others must.
    ending: Option<Ending>,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Lf,
    CrLf,
}

/// Where in a row of CSV the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    CellStart,
    Plain,
    /// Between quotes; the line of the first one.
    Quoted(u64),
    /// Behind a quote that ends the cell, or is the first of two.
    QuoteSeen(u64),
}

impl<R: BufRead> Rows<R> {
    pub(super) fn new(source: R, syntax: Syntax) -> Rows<R> {
        Rows { source, syntax, line: 0, ending: None, buffer: Vec::new() }
    }

    fn bad<T>(&self, what: impl Into<String>) -> Result<T, BadInput> {
        Err(BadInput { line: self.line, what: what.into() })
    }

    /// Reads a line into the buffer, with its end. False at the end of the input.
    fn read_line(&mut self) -> Result<bool, BadInput> {
        self.buffer.clear();
        self.line += 1;
        let read = read_line(&mut self.source, &mut self.buffer);
        match read {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(e) => return self.bad(format!("cannot read on: {e}")),
        }
        if self.line == 1 && self.buffer.starts_with(b"\xef\xbb\xbf") {
            self.buffer.drain(..3);
        }
        Ok(true)
    }

    /// Cuts the end off the buffer, which ends a row.
    fn cut_ending(&mut self) -> Result<(), BadInput> {
        if self.buffer.pop_if(|last| *last == b'\n').is_none() {
            return Ok(()); // the last line, without an end
        }
        let ending = match self.buffer.pop_if(|last| *last == b'\r') {
            Some(_) => Ending::CrLf,
            None => Ending::Lf,
        };
        match (*self.ending.get_or_insert(ending), ending) {
            (Ending::Lf, Ending::CrLf) => self.bad(
                "the line ends with a carriage return, and those before do not: is it of the last cell? Make all line ends alike, or quote the cell",
            ),
            (Ending::CrLf, Ending::Lf) => {
                self.bad("the line ends without a carriage return, and those before do not; make all line ends alike")
            }
            _ => Ok(()),
        }
    }

    fn tsv(&mut self) -> Result<Vec<Vec<u8>>, BadInput> {
        self.cut_ending()?;
        Ok(self.buffer.split(|byte| *byte == b'\t').map(<[u8]>::to_vec).collect())
    }

    fn csv(&mut self) -> Result<Vec<Vec<u8>>, BadInput> {
        let mut cells = Vec::new();
        let mut cell = Vec::new();
        let mut at = At::CellStart;
        let mut bytes = 0;
        loop {
            let ends_between_quotes = self.read_cells(&mut at, &mut cell, &mut cells)?;
            if !ends_between_quotes {
                cells.push(cell);
                return Ok(cells);
            }
            bytes += self.buffer.len() as u64;
            let At::Quoted(line) = at else { unreachable!("a row goes on only between quotes") };
            if bytes > MAX_LINE_BYTES {
                return Err(BadInput { line, what: "the row is over 2 GiB long".into() });
            }
            if !self.read_line()? {
                let what = "the quote that begins a cell here is never closed";
                return Err(BadInput { line, what: what.into() });
            }
        }
    }

    /// Goes through the line in the buffer. True when it ends between quotes.
    fn read_cells(
        &mut self,
        at: &mut At,
        cell: &mut Vec<u8>,
        cells: &mut Vec<Vec<u8>>,
    ) -> Result<bool, BadInput> {
        let mut position = 0;
        loop {
            // Between quotes a line end belongs to the cell; elsewhere it ends the row.
            let rest = &self.buffer[position..];
            if !matches!(at, At::Quoted(_)) && matches!(rest, [] | b"\n" | b"\r\n") {
                self.cut_ending()?;
                return Ok(false);
            }
            let Some(&byte) = rest.first() else { return Ok(true) };
            position += 1;
            *at = match (*at, byte) {
                (At::Quoted(line), b'"') => At::QuoteSeen(line),
                (quoted @ At::Quoted(_), byte) => {
                    cell.push(byte);
                    quoted
                }
                (At::QuoteSeen(line), b'"') => {
                    cell.push(b'"');
                    At::Quoted(line)
                }
                (_, b',') => {
                    cells.push(std::mem::take(cell));
                    At::CellStart
                }
                (At::QuoteSeen(_), _) => {
                    return self.bad(
                        "there is text behind the quote that ends a cell; a quote inside of a cell is written twice",
                    );
                }
                (At::CellStart, b'"') => At::Quoted(self.line),
                (_, b'"') => {
                    return self.bad(
                        "there is a quote in a cell that does not begin with one; put quotes around the cell, and write the inner one twice",
                    );
                }
                (_, b'\r') => {
                    return self
                        .bad("there is a carriage return in a cell; put quotes around the cell");
                }
                (_, byte) => {
                    cell.push(byte);
                    At::Plain
                }
            };
        }
    }
}

/// Reads to the line's end and with it, to a bound. Answers how many bytes.
pub(super) fn read_line(source: &mut impl BufRead, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let read = source.take(MAX_LINE_BYTES).read_until(b'\n', buffer)?;
    if read as u64 == MAX_LINE_BYTES {
        return Err(io::Error::other("the line is over 2 GiB long"));
    }
    Ok(read)
}

impl<R: BufRead> Iterator for Rows<R> {
    type Item = Result<Row, BadInput>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read_line() {
                Ok(true) if matches!(&self.buffer[..], b"\n" | b"\r\n") => {}
                Ok(true) => break,
                Ok(false) => return None,
                Err(bad) => return Some(Err(bad)),
            }
        }
        let line = self.line;
        let cells = match self.syntax {
            Syntax::Csv => self.csv(),
            Syntax::Tsv => self.tsv(),
        };
        Some(cells.map(|cells| Row { line, cells }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cells, or the line that is bad and what is said of it.
    type Read = Vec<Result<Vec<String>, (u64, String)>>;

    fn read(text: &[u8], syntax: Syntax) -> Read {
        let texts =
            |row: Row| row.cells.into_iter().map(|cell| String::from_utf8(cell).unwrap()).collect();
        Rows::new(text, syntax).map(|row| row.map(texts).map_err(|e| (e.line, e.what))).collect()
    }

    fn rows(text: &[u8], syntax: Syntax) -> Vec<Vec<String>> {
        read(text, syntax).into_iter().map(|row| row.expect("a row")).collect()
    }

    #[test]
    fn csv_is_read_with_quotes_line_ends_in_cells_and_empty_cells() {
        assert_eq!(
            rows(b"a,1\n\"b,\"\"c\"\"\",\"2\r\n3\"\n\n,\n\"\",x", Syntax::Csv),
            [["a", "1"], ["b,\"c\"", "2\r\n3"], ["", ""], ["", "x"]]
        );
        assert_eq!(rows(b"\xef\xbb\xbfk,v\r\na,\"b\"\r\n", Syntax::Csv), [["k", "v"], ["a", "b"]]);
        assert_eq!(rows(b"a,\"\n\n\"", Syntax::Csv), [["a", "\n\n"]]);
    }

    #[test]
    fn tsv_takes_quotes_and_carriage_returns_as_they_are() {
        assert_eq!(rows(b"a\t\"1\nb\t2\r3", Syntax::Tsv), [["a", "\"1"], ["b", "2\r3"]]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_an_error_that_names_the_line() {
        let cases: [(&[u8], Syntax, u64, &str); 9] = [
            (b"a,1\nb,\"x\"y\n", Syntax::Csv, 2, "behind the quote"),
            (b"a,1\nb,x\"y\"\n", Syntax::Csv, 2, "does not begin with one"),
            (b"a,1\nb,\"2\nc,3\nd,4\n", Syntax::Csv, 2, "never closed"),
            (b"a,1\n\nb,2\rc,3\n", Syntax::Csv, 3, "carriage return"),
            (b"a,1\nb,2\r\n", Syntax::Csv, 2, "carriage return"),
            (b"a,1\r\nb,2\n", Syntax::Csv, 2, "carriage return"),
            (b"a,1\nb,2\r", Syntax::Csv, 2, "carriage return"),
            (b"a\t1\nb\t2\r\n", Syntax::Tsv, 2, "carriage return"),
            (b"a\t1\r\nb\t2\n", Syntax::Tsv, 2, "carriage return"),
        ];
        for (text, syntax, line, word) in cases {
            let bad = read(text, syntax).into_iter().find_map(Result::err).expect("an error");
            assert_eq!(bad.0, line, "{bad:?}");
            assert!(bad.1.contains(word), "{bad:?}");
        }
    }
}
