//! Standard output: tables and colour for a person, JSON for a program.

use crate::failure::Result;
use std::io::{self, BufWriter, IsTerminal, Write};

/// How a verb answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Tables, colour, short values.
    Human,
    /// One JSON document, or one a line.
    Json,
}

/// Standard output, buffered; errors are told, a closed pipe is no error.
#[derive(Debug)]
pub(crate) struct Output {
    out: BufWriter<io::StdoutLock<'static>>,
    form: Form,
    colour: bool,
}

/// A shade of meaning.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shade {
    Title,
    Good,
    Bad,
    Quiet,
}

impl Output {
    /// JSON when asked for, or when nobody sits at the other end.
    pub(crate) fn new(json: bool) -> Output {
        let terminal = io::stdout().is_terminal();
        Output {
            out: BufWriter::new(io::stdout().lock()),
            form: if json || !terminal { Form::Json } else { Form::Human },
            colour: terminal && colour_is_welcome(),
        }
    }

    /// Words for a person unless JSON is asked for: for answers that are one plain thing.
    pub(crate) fn plain(json: bool) -> Output {
        let mut output = Output::new(json);
        output.form = if json { Form::Json } else { Form::Human };
        output
    }

    /// For whom the answer is.
    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// A line of text.
    pub(crate) fn line(&mut self, text: &str) -> Result<()> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.write_all(b"\n")?)
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.out.write_all(bytes)?)
    }

    /// `text` in a colour, where colour is welcome.
    pub(crate) fn shade(&self, shade: Shade, text: &str) -> String {
        let code = match shade {
            Shade::Title => "1",
            Shade::Good => "32",
            Shade::Bad => "31",
            Shade::Quiet => "2",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }

    /// A title over what follows.
    pub(crate) fn title(&mut self, text: &str) -> Result<()> {
        let text = self.shade(Shade::Title, text);
        self.line(&format!("\n{text}"))
    }

    /// Rows in columns as wide as their widest cell; the first column to the left, numbers to the right.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> Result<()> {
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).chain([head[column].chars().count()]).max()
        };
        let widths: Vec<usize> = (0..head.len()).map(|c| width(c).unwrap_or(0)).collect();
        let to_the_right = |column: usize| {
            column > 0
                && rows.iter().filter_map(|row| row.get(column)).all(|cell| {
                    cell.is_empty() || cell.starts_with(|c: char| c.is_ascii_digit() || c == '-')
                })
        };
        let lay = |cells: &[&str]| {
            let mut text = String::new();
            for (column, cell) in cells.iter().enumerate() {
                let space = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
                text.push_str("  ");
                if to_the_right(column) {
                    text.push_str(&space);
                    text.push_str(cell);
                } else {
                    text.push_str(cell);
                    text.push_str(&space);
                }
            }
            text.trim_end().to_string()
        };
        let head_line = self.shade(Shade::Quiet, &lay(head));
        self.line(&head_line)?;
        for row in rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            self.line(&lay(&cells))?;
        }
        Ok(())
    }

    /// Sends everything on its way.
    pub(crate) fn finish(mut self) -> Result<()> {
        Ok(self.out.flush()?)
    }
}

/// Colour is unwelcome when `NO_COLOR` is set (<https://no-color.org>) or the terminal is dumb.
pub(crate) fn colour_is_welcome() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Bytes for a person's eyes: text as text, the rest escaped, at most `limit` characters.
pub(crate) fn readable(bytes: &[u8], limit: usize) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if text.chars().count() >= limit {
                return text + "…";
            }
            match c {
                '\n' => text.push_str("\\n"),
                c if c.is_control() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        for byte in chunk.invalid() {
            if text.chars().count() >= limit {
                return text + "…";
            }
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readable_bytes_never_break_a_line_or_a_terminal() {
        assert_eq!(readable(b"a\nb\x1b[31m\xff", 80), "a\\nb\\u{1b}[31m\\xff");
        assert_eq!(readable("棚田棚田".as_bytes(), 2), "棚田…");
    }
}
