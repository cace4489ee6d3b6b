//! A keyspace's options as the manifest keeps them: version u8 = 1, compression u8.

use crate::error::{Error, Result};
use crate::options::{Compression, KeyspaceOptions};
use std::path::Path;

const VERSION: u8 = 1;

pub(crate) fn encode(options: &KeyspaceOptions) -> Vec<u8> {
    let compression = match options.compression {
        Compression::None => 0,
        Compression::Lz4 => 1,
        Compression::Zstd => 2,
    };
    vec![VERSION, compression]
}

/// # Errors
/// [`Error::Unsupported`] for what a newer version wrote.
pub(crate) fn decode(bytes: &[u8], dir: &Path) -> Result<KeyspaceOptions> {
    let compression = match bytes {
        [VERSION, 0] => Compression::None,
        [VERSION, 1] => Compression::Lz4,
        [VERSION, 2] => Compression::Zstd,
        _ => {
            let what = "a keyspace has options that are not known here".to_owned();
            return Err(Error::Unsupported { file: dir.to_owned(), what });
        }
    };
    Ok(KeyspaceOptions::new().compression(compression))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_read_back_and_newer_ones_are_refused() {
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let options = KeyspaceOptions::new().compression(compression);
            assert_eq!(decode(&encode(&options), Path::new("db")).unwrap(), options);
        }
        for bytes in [&[][..], &[2, 0], &[1, 3], &[1, 0, 0]] {
            assert!(decode(bytes, Path::new("db")).is_err(), "{bytes:?}");
        }
    }
}
