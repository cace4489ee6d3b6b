//! Compression of one block.

use crate::damage::Damage;
use crate::seal::lz4_sequences;
use lz4_flex::block as lz4_compress;
use std::cell::RefCell;
use std::io;
use tanada_vfs::sync::thread_local;
use zstd::stream::raw::{self, Operation as _};

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

    /// How it compresses.
    pub(crate) fn kind(&self) -> Compression {
        self.kind
    }

    /// Bytes of its working memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.out.len()
    }

    /// `raw` compressed, or `None` when that does not save an eighth: then
    /// reading it raw is cheaper than what the space is worth.
    pub(crate) fn compress(&mut self, raw: &[u8]) -> Option<(Compression, &[u8])> {
        let len = match self.kind {
            Compression::None => return None,
            Compression::Lz4 => self.lz4(raw)?,
            Compression::Zstd => self.zstd(raw).ok()?,
        };
        (len + len / 7 < raw.len()).then(|| (self.kind, &self.out[..len]))
    }

    /// A piece of a long block compressed, whether it pays or not.
    ///
    /// # Errors
    /// Zstandard has no memory.
    pub(crate) fn compress_piece(&mut self, raw: &[u8]) -> io::Result<&[u8]> {
        let len = match self.kind {
            Compression::Lz4 => self.lz4(raw).expect("there is room for the worst case"),
            Compression::Zstd => self.zstd(raw)?,
            Compression::None => unreachable!("nobody compresses by nothing"),
        };
        Ok(&self.out[..len])
    }

    fn lz4(&mut self, raw: &[u8]) -> Option<usize> {
        self.reserve(lz4_compress::get_maximum_output_size(raw.len()));
        // A block of 64 KiB or more makes the table grow for good, and
        // clearing the large one for each small block is dear.
        if raw.len() < usize::from(u16::MAX)
            && matches!(self.lz4, lz4_compress::CompressTable::Large(_))
        {
            self.lz4 = lz4_compress::CompressTable::default();
        }
        lz4_compress::compress_into_with_table(raw, &mut self.out, &mut self.lz4).ok()
    }

    fn zstd(&mut self, raw: &[u8]) -> io::Result<usize> {
        self.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        let compressor = match &mut self.zstd {
            Some(compressor) => compressor,
            None => self.zstd.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
        };
        compressor.compress_to_buffer(raw, &mut self.out[..])
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
        Compression::Zstd => UNZSTD.with(|context| {
            let context = &mut *context.borrow_mut();
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

/// The first bytes of what `stored` says, which may be cut off behind its first 192 KiB:
/// `len` of them, or as many as can be told. Nothing of it has been checked.
pub(crate) fn beginning(kind: Compression, stored: &[u8], len: usize) -> Vec<u8> {
    match kind {
        Compression::None => stored[..stored.len().min(len)].to_vec(),
        Compression::Lz4 => lz4_sequences::beginning(stored, len),
        Compression::Zstd => {
            let (mut out, mut filled) = (vec![0; len], 0);
            let Ok(mut decoder) = raw::Decoder::new() else { return Vec::new() };
            let mut rest = stored;
            while filled < len {
                let Ok(status) = decoder.run_on_buffers(rest, &mut out[filled..]) else { break };
                rest = &rest[status.bytes_read..];
                filled += status.bytes_written;
                if status.bytes_written == 0 && (rest.is_empty() || status.bytes_read == 0) {
                    break;
                }
            }
            out.truncate(filled);
            out
        }
    }
}
