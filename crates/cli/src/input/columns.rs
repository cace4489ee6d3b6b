//! Which column of a table is what: records out of rows.
//!
//! A header names every column, and nothing is left out that the caller has not named: a
//! table with one column too many is another table than was meant.

use super::rows::Row;
use crate::record::{Encoding, Expiry, Record, check_keyspace, decode_base64, parse_time, ttl_ms};

/// How a table says which column is what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// The first row is a record, of a key and a value.
    pub(crate) none: bool,
    /// Names of the columns of keys and values, if not `key` and `value`.
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    /// Columns to pass over.
    pub(crate) ignored: Vec<String>,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Key,
    /// In base64.
    Key64,
    Value,
    Encoding,
    Ttl,
    ExpiresAt,
    Keyspace,
    Ignored,
}

/// The columns of a table, in order.
pub(super) struct Columns(Vec<Column>);

const NAMES: &str = "the columns are key (or key64), value, encoding, ttl, expires_at and keyspace";

impl Columns {
    /// Those of a table without a header.
    pub(super) fn unnamed() -> Columns {
        Columns(vec![Column::Key, Column::Value])
    }

    /// Those that a header names.
    ///
    /// # Errors
    /// When it leaves anything open.
    pub(super) fn named(row: &Row, header: &Header) -> Result<Columns, String> {
        let mut columns = Vec::new();
        let mut names = Vec::new();
        for cell in &row.cells {
            let name = String::from_utf8_lossy(cell.trim_ascii()).into_owned();
            let column = column_named(&name, header).ok_or_else(|| {
                format!(
                    "the header has a column '{name}'; {NAMES}; for other names say --key-column and --value-column, for columns to leave out --ignore-column, and for a table without a header --no-header"
                )
            })?;
            if column != Column::Ignored && columns.contains(&column) {
                return Err(format!("the header has two columns '{name}'; keep one"));
            }
            columns.push(column);
            names.push(name);
        }
        let has = |column| columns.contains(&column);
        if has(Column::Key) && has(Column::Key64) {
            return Err("the header has both key and key64; keep one".into());
        }
        if !has(Column::Key) && !has(Column::Key64) {
            return Err(format!("the header has no column of keys; {NAMES}, or say --key-column"));
        }
        if !has(Column::Value) {
            return Err(format!(
                "the header has no column of values; {NAMES}, or say --value-column"
            ));
        }
        for ignored in &header.ignored {
            if !names.iter().any(|name| name.eq_ignore_ascii_case(ignored)) {
                return Err(format!("the header has no column '{ignored}' to leave out"));
            }
        }
        Ok(Columns(columns))
    }

    /// The record of a row.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn record(&self, row: Row) -> Result<Record, String> {
        let (found, wanted) = (row.cells.len(), self.0.len());
        if found != wanted {
            return Err(format!(
                "{found} cells where there are {wanted} columns; put quotes around cells of CSV that hold a comma, and write what holds a tab as CSV or NDJSON"
            ));
        }
        let mut record = Record::default();
        let (mut encoding, mut ttl, mut expires_at) = (Encoding::Utf8, None, None);
        for (column, cell) in self.0.iter().zip(row.cells) {
            match column {
                Column::Key => record.key = text("key", cell)?.into_bytes(),
                Column::Key64 => record.key = decode_base64(&text("key64", cell)?)?,
                Column::Value => record.value = text("value", cell)?.into_bytes(),
                Column::Encoding => {
                    encoding = match text("encoding", cell)?.as_str() {
                        "" | "utf8" => Encoding::Utf8,
                        "base64" => Encoding::Base64,
                        other => {
                            return Err(format!("encoding '{other}'; it is utf8 or base64"));
                        }
                    };
                }
                Column::Ttl => ttl = Some(text("ttl", cell)?).filter(|t| !t.is_empty()),
                Column::ExpiresAt => {
                    expires_at = Some(text("expires_at", cell)?).filter(|t| !t.is_empty());
                }
                Column::Keyspace => {
                    let name = Some(text("keyspace", cell)?).filter(|name| !name.is_empty());
                    name.as_deref().map_or(Ok(()), check_keyspace)?;
                    record.keyspace = name;
                }
                Column::Ignored => {}
            }
        }
        if encoding == Encoding::Base64 {
            let value = std::str::from_utf8(&record.value).expect("looked at above");
            record.value = decode_base64(value)?;
        }
        record.expiry = match (ttl, expires_at) {
            (None, None) => Expiry::Never,
            (None, Some(at)) => Expiry::At(parse_time(&at)?),
            (Some(ttl), None) => {
                let seconds: f64 =
                    ttl.parse().map_err(|_| format!("ttl '{ttl}' is not a number of seconds"))?;
                Expiry::In(ttl_ms(seconds)?)
            }
            (Some(_), Some(_)) => return Err("there is both a ttl and an expires_at".into()),
        };
        record.checked()
    }
}

fn column_named(name: &str, header: &Header) -> Option<Column> {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    if header.ignored.iter().any(|ignored| is(ignored)) {
        return Some(Column::Ignored);
    }
    if header.key.as_deref().is_some_and(is) {
        return Some(Column::Key);
    }
    if header.value.as_deref().is_some_and(is) {
        return Some(Column::Value);
    }
    let known = [
        ("key", Column::Key),
        ("key64", Column::Key64),
        ("value", Column::Value),
        ("encoding", Column::Encoding),
        ("ttl", Column::Ttl),
        ("expires_at", Column::ExpiresAt),
        ("keyspace", Column::Keyspace),
    ];
    known.into_iter().find(|(known, _)| is(known)).map(|(_, column)| column)
}

fn text(name: &str, cell: Vec<u8>) -> Result<String, String> {
    String::from_utf8(cell).map_err(|_| {
        format!("{name} is not UTF-8; write such keys in a column key64, and such values in base64 with a column encoding that says so")
    })
}
