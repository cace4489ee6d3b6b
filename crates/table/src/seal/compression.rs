//! Compression of one block.

use crate::damage::Damage;
use lz4_flex::block as lz4_compress;
use std::cell::RefCell;

/// How blocks are compressed. The numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Compression {
    /// Stored as they are.
    None = 0,
    /// LZ4 block format: fast, about half the size.
    #[default]
    Lz4 = 1,
    /// Zstandard, level 3: smaller, slower to write.
    Zstd = 2,
}

impl Compression {
    /// The compression with this number on disk, if there is one.
    pub fn from_u8(n: u8) -> Option<Compression> {
        Some(match n {
            0 => Compression::None,
            1 => Compression::Lz4,
            2 => Compression::Zstd,
            _ => return None,
        })
    }
}

/// The default level of the reference implementation.
const ZSTD_LEVEL: i32 = 3;

/// Compresses block after block, keeping the working memory between them.
pub(crate) struct Compressor {
    kind: Compression,
    lz4: lz4_compress::CompressTable,
    zstd: Option<zstd::bulk::Compressor<'static>>,
    out: Vec<u8>,
}

impl Compressor {
    pub(crate) fn new(kind: Compression) -> Compressor {
        Compressor {
            kind,
            lz4: lz4_compress::CompressTable::default(),
            zstd: None,
            out: Vec::new(),
        }
    }

    /// `raw` compressed, or `None` when that does not save an eighth: then
    /// reading it raw is cheaper than what the space is worth.
    pub(crate) fn compress(&mut self, raw: &[u8]) -> Option<(Compression, &[u8])> {
        let len = match self.kind {
            Compression::None => return None,
            Compression::Lz4 => {
                self.reserve(lz4_compress::get_maximum_output_size(raw.len()));
                // A block of 64 KiB or more makes the table grow for good, and
                // clearing the large one for each small block is dear.
                if raw.len() < usize::from(u16::MAX)
                    && matches!(self.lz4, lz4_compress::CompressTable::Large(_))
                {
                    self.lz4 = lz4_compress::CompressTable::default();
                }
                lz4_compress::compress_into_with_table(raw, &mut self.out, &mut self.lz4).ok()?
            }
            Compression::Zstd => {
                self.reserve(zstd::zstd_safe::compress_bound(raw.len()));
                if self.zstd.is_none() {
                    self.zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
                }
                self.zstd.as_mut()?.compress_to_buffer(raw, &mut self.out[..]).ok()?
            }
        };
        (len + len / 7 < raw.len()).then(|| (self.kind, &self.out[..len]))
    }

    /// Gives back the memory that a huge block has taken.
    pub(crate) fn trim(&mut self, keep: usize) {
        if self.out.len() > keep {
            self.out = Vec::new();
        }
    }

    fn reserve(&mut self, len: usize) {
        if self.out.len() < len {
            // Zeroed by the system where it is long, so that of the room for a block that
            // cannot be compressed only what is written to is taken.
            self.out = vec![0; len];
        }
    }
}

thread_local! {
    /// A Zstandard context is some 100 KiB: made once a thread.
    static UNZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Decompresses what fills `raw` exactly; its length, which `stored` declares,
/// has been bounded by the caller.
pub(crate) fn decompress(kind: Compression, stored: &[u8], raw: &mut [u8]) -> Result<(), Damage> {
    let len = match kind {
        Compression::None => return Err("there is nothing to decompress".into()),
        Compression::Lz4 => {
            // The reference implementation: three times as fast as others where values
            // repeat themselves (docs/decisions/0007-cached-get.md).
            let len = i32::try_from(raw.len()).map_err(|_| "LZ4 knows no block so long")?;
            i32::try_from(stored.len()).map_err(|_| "LZ4 knows no block so long")?;
            lz4::block::decompress_to_buffer(stored, Some(len), raw)
                .map_err(|e| Damage::from(format!("LZ4 says: {e}")))?
        }
        Compression::Zstd => UNZSTD.with_borrow_mut(|context| {
            let says = |e| Damage::from(format!("Zstandard says: {e}"));
            if context.is_none() {
                *context = Some(zstd::bulk::Decompressor::new().map_err(says)?);
            }
            let context = context.as_mut().expect("it has just been made");
            context.decompress_to_buffer(stored, raw).map_err(says)
        })?,
    };
    if len == raw.len() { Ok(()) } else { Err("it is shorter than declared".into()) }
}
