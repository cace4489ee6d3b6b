//! A keyspace's options as the manifest keeps them: version u8 = 1, compression u8.
//!
//! They are those it was created with; who opens it may say otherwise for new
//! tables, and that is not kept.

use crate::types::error::{Error, Result};
use crate::types::options::Compression;
use std::path::Path;

const VERSION: u8 = 1;

pub(crate) fn encode(compression: Compression) -> Vec<u8> {
    let compression = match compression {
        Compression::None => 0,
        Compression::Lz4 => 1,
        Compression::Zstd => 2,
    };
    vec![VERSION, compression]
}

/// # Errors
/// [`Error::Unsupported`] for what a newer version wrote.
pub(crate) fn decode(bytes: &[u8], dir: &Path) -> Result<Compression> {
    match bytes {
        [VERSION, 0] => Ok(Compression::None),
        [VERSION, 1] => Ok(Compression::Lz4),
        [VERSION, 2] => Ok(Compression::Zstd),
        _ => {
            let what = "a keyspace has options that are not known here".to_owned();
            Err(Error::Unsupported { file: dir.to_owned(), what })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_read_back_and_newer_ones_are_refused() {
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
            assert_eq!(decode(&encode(compression), Path::new("db")).unwrap(), compression);
        }
        for bytes in [&[][..], &[2, 0], &[1, 3], &[1, 0, 0]] {
            assert!(decode(bytes, Path::new("db")).is_err(), "{bytes:?}");
        }
    }
}
