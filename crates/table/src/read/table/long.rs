//! Blocks that are longer than a thread's buffer: what one takes is known before it is
//! read, and one of a single entry can be looked at without being read.

use super::Table;
use crate::Error;
use crate::cache::Turn;
use crate::data::data_block::{self, MAX_HEAD_LEN};
use crate::get::CacheUse;
use crate::index::Handle;
use crate::memory::block::{Block, Kind, Room};
use crate::memory::block_memory::LONG_BYTES;
use crate::seal::compression::{self, Compression};
use crate::seal::in_place;
use crate::seal::sealed::{self, TRAILER_LEN, Told};
use tanada_format::{BlockHasher, SeqNo, ValueKind};

/// A long block that is only looked at is read so much at once.
const PIECE_LEN: usize = 256 << 10;
/// So much of a sealed block tells what its one entry's key is: a block of Zstandard's.
const BEGINNING_LEN: usize = 192 << 10;

/// An entry without its value.
pub(crate) struct Bare {
    pub(crate) key: Vec<u8>,
    pub(crate) seqno: SeqNo,
    pub(crate) kind: ValueKind,
    pub(crate) expires_at_ms: u64,
}

impl Table {
    /// The same for one that each thread should not keep a buffer for. What a data block
    /// takes is known, and there is room for it, before it is read. It is read to where it
    /// stays, and decompressed there.
    #[cold]
    pub(super) fn read_long(
        &self,
        kind: Kind,
        handle: Handle,
        cache: CacheUse,
        turn: Option<&Turn<'_>>,
    ) -> Result<Block, Error> {
        let (len, offset) = (handle.len as usize, handle.offset);
        let told = match kind {
            Kind::Data => Some(self.told(handle)?),
            // A partition and its filter are never long.
            Kind::Index | Kind::Filter => None,
        };
        let stored_len = len.saturating_sub(TRAILER_LEN);
        let (buffer_len, apart) = match told {
            Some(Told { compression: Compression::Lz4, raw_len }) => {
                (in_place::buffer_len(raw_len, stored_len) + TRAILER_LEN, 0)
            }
            Some(Told { compression: Compression::Zstd, raw_len }) => (len, raw_len),
            _ => (len, 0),
        };
        let permit = self.cache.admit_long(buffer_len + apart, cache, turn)?;
        let memory = Some(self.memory());
        let mut buffer = Room::new(buffer_len, memory);
        let mut raw = (apart > 0).then(|| Room::new(apart, memory));
        drop(permit);
        self.cache.make_room();
        let at = buffer_len - len;
        let in_flight = self.begin_read(cache);
        self.file.read_exact_at(&mut buffer[at..], offset)?;
        drop(in_flight);
        let Some(told) = told else { return self.decode(kind, handle, &buffer, cache) };
        let damaged = |damage| self.damaged(offset, damage);
        let checked = sealed::check(&buffer[at..], self.salt, offset, self.max_block_len());
        let checked = checked.map_err(damaged)?;
        if checked.raw_len != told.raw_len {
            return Err(damaged("a block has changed while it was read".into()));
        }
        if let Some(mut raw) = raw.take() {
            checked.decompress(&mut raw).map_err(damaged)?;
            return raw.into_data(offset).map_err(damaged);
        }
        if told.compression == Compression::Lz4 {
            let stored = at..at + stored_len;
            in_place::decompress(&mut buffer, stored, told.raw_len).map_err(damaged)?;
        }
        buffer.truncate(told.raw_len);
        buffer.into_data(offset).map_err(damaged)
    }

    /// What the trailer of a data block says. It has not been checked, so nothing but the
    /// memory to read the block may depend on it.
    fn told(&self, handle: Handle) -> Result<Told, Error> {
        self.check_inside(handle)?;
        let mut trailer = [0; TRAILER_LEN];
        if (handle.len as usize) < TRAILER_LEN {
            let what = "a block is shorter than its trailer";
            return Err(self.damaged(handle.offset, what.into()));
        }
        self.file.read_exact_at(&mut trailer, handle.end() - TRAILER_LEN as u64)?;
        match sealed::told(&trailer, handle.len as usize, self.max_block_len()) {
            Ok(told) => Ok(told),
            Err(damage) => {
                // More likely that of other bytes than what was written.
                self.check_in_pieces(handle, 0)?;
                Err(self.damaged(handle.offset, damage))
            }
        }
    }

    /// Reads a sealed block in pieces and checks its checksum; answers its first bytes,
    /// up to `keep` of them.
    fn check_in_pieces(&self, handle: Handle, keep: usize) -> Result<Vec<u8>, Error> {
        const SUM_LEN: u64 = 4;
        let mut hasher = BlockHasher::new(self.salt, handle.offset);
        let (mut at, end) = (handle.offset, handle.end() - SUM_LEN);
        let mut piece = vec![0; PIECE_LEN.min(handle.len as usize)];
        let mut kept = Vec::new();
        while at < end {
            let len = ((end - at) as usize).min(piece.len());
            self.file.read_exact_at(&mut piece[..len], at)?;
            hasher.update(&piece[..len]);
            let more = len.min(keep - kept.len());
            kept.extend_from_slice(&piece[..more]);
            at += len as u64;
        }
        let mut sum = [0; SUM_LEN as usize];
        self.file.read_exact_at(&mut sum, end)?;
        match hasher.finish() == u32::from_le_bytes(sum) {
            true => Ok(kept),
            false => Err(self.damaged(handle.offset, "a block's checksum does not match".into())),
        }
    }

    /// Whether a data block of this sealed length may be long. Free of I/O.
    #[inline]
    pub(crate) fn may_be_long(&self, handle: Handle) -> bool {
        self.max_block_len() > LONG_BYTES && handle.len as usize > LONG_BYTES / 256
    }

    /// Whether a sealed data block that is in memory is not long, as far as its trailer
    /// says.
    pub(crate) fn is_short(&self, sealed: &[u8]) -> bool {
        let told = |trailer| sealed::told(trailer, sealed.len(), self.max_block_len());
        let told = sealed.last_chunk().map(told);
        told.is_some_and(|told| told.is_ok_and(|told| told.raw_len <= LONG_BYTES))
    }

    /// The entry of a data block, without its value, when the block is long and has no
    /// other: reads and checks all of it, and keeps nothing.
    #[cold]
    pub(crate) fn look_at_long(&self, handle: Handle) -> Result<Option<Bare>, Error> {
        let told = self.told(handle)?;
        if told.raw_len <= LONG_BYTES {
            return Ok(None);
        }
        let stored = self.check_in_pieces(handle, BEGINNING_LEN)?;
        let beginning = compression::beginning(told.compression, &stored, MAX_HEAD_LEN);
        Ok(data_block::only_entry(&beginning).map(|entry| Bare {
            key: entry.key.to_vec(),
            seqno: entry.seqno,
            kind: entry.kind,
            expires_at_ms: entry.expires_at_ms,
        }))
    }
}
