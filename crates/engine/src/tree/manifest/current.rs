//! `CURRENT`: the one line that names the manifest.
//!
//! ```text
//! tanada 1 MANIFEST-000005 6f1d…(32 hex digits) 89abcdef
//! ```
//!
//! Format version, manifest, database id, and the CRC-32C in hex of all before
//! the last space. Text, so that a person can read it.

use super::names::FileName;
use crate::types::error::{Error, Result};
use std::path::Path;
use tanada_format::{Corruption, DatabaseId, crc32c};

/// Longest `CURRENT` that is read.
pub(crate) const MAX_CURRENT_LEN: u64 = 256;

/// What `CURRENT` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Current {
    /// The database in this directory.
    pub(crate) database: DatabaseId,
    /// The number of its manifest.
    pub(crate) manifest: u64,
}

impl Current {
    /// The file's content.
    pub(crate) fn encode(&self) -> String {
        let body = format!("tanada 1 {} {}", FileName::Manifest(self.manifest), self.database);
        format!("{body} {:08x}\n", crc32c(body.as_bytes()))
    }

    /// What `bytes`, the content of `file`, say.
    pub(crate) fn decode(bytes: &[u8], file: &Path) -> Result<Current> {
        let damaged = |what: &'static str| Error::from(Corruption::new(file, 0, what));
        let text = std::str::from_utf8(bytes).ok().and_then(|text| text.strip_suffix('\n'));
        let (body, crc) = text
            .and_then(|text| text.rsplit_once(' '))
            .ok_or_else(|| damaged("it is not one line as Tanada writes it"))?;
        if format!("{:08x}", crc32c(body.as_bytes())) != crc {
            return Err(damaged("its checksum does not match"));
        }
        let words: Vec<&str> = body.split(' ').collect();
        let (manifest, database) = match words[..] {
            ["tanada", "1", manifest, database] => (manifest, database),
            ["tanada", version, ..] if version != "1" => {
                let what = format!("its format version is {version}, and only 1 is known here");
                return Err(Error::Unsupported { file: file.into(), what });
            }
            _ => return Err(damaged("it is not one line as Tanada writes it")),
        };
        let Some(FileName::Manifest(manifest)) = FileName::parse(manifest) else {
            return Err(damaged("it names no manifest"));
        };
        let database = decode_id(database).ok_or_else(|| damaged("it names no database"))?;
        Ok(Current { database, manifest })
    }
}

fn decode_id(hex: &str) -> Option<DatabaseId> {
    if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(hex, 16).ok().map(|n| DatabaseId(n.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_or_missing_byte_of_current_is_noticed() {
        let current = Current { database: DatabaseId(*b"0123456789abcdef"), manifest: 5 };
        let bytes = current.encode().into_bytes();
        assert_eq!(Current::decode(&bytes, Path::new("CURRENT")).unwrap(), current);
        let refused = |bytes: &[u8]| {
            let error = Current::decode(bytes, Path::new("db/CURRENT")).unwrap_err();
            assert!(error.to_string().contains("db/CURRENT"), "{error}");
        };
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            refused(&bytes);
        }
        for len in 0..bytes.len() {
            refused(&bytes[..len]);
        }
    }

    #[test]
    fn the_line_is_as_docs_format_manifest_md_shows_it() {
        let current = Current { database: DatabaseId(*b"a test database!"), manifest: 5 };
        assert_eq!(
            current.encode(),
            "tanada 1 MANIFEST-000005 61207465737420646174616261736521 46380f5e\n"
        );
    }

    #[test]
    fn a_current_of_a_newer_format_asks_for_a_newer_version() {
        let body = "tanada 2 MANIFEST-000005 and more";
        let line = format!("{body} {:08x}\n", crc32c(body.as_bytes()));
        let error = Current::decode(line.as_bytes(), Path::new("CURRENT")).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    }

    #[test]
    fn a_line_under_a_right_checksum_that_names_nothing_is_damage() {
        let id = "61207465737420646174616261736521";
        for (body, what) in [
            (format!("tanada 1 CURRENT {id}"), "names no manifest"),
            ("tanada 1 MANIFEST-000005 6120".to_owned(), "names no database"),
            (format!("tanada 1 MANIFEST-000005 {}", id.replace('6', "x")), "names no database"),
            (format!("tanada 1 MANIFEST-000005 {id} more"), "not one line"),
            (format!("sled 1 MANIFEST-000005 {id}"), "not one line"),
        ] {
            let line = format!("{body} {:08x}\n", crc32c(body.as_bytes()));
            match Current::decode(line.as_bytes(), Path::new("CURRENT")) {
                Err(Error::Corruption(found)) => assert!(found.what.contains(what), "{found}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }
}
