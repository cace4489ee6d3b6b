//! Tables of a checkpoint: second names of the same files, or copies where that cannot be.

use crate::tree::version::TableHandle;
use crate::types::error::{Error, Result};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tanada_format::Corruption;
use tanada_table::{BlockCache, Table};
use tanada_vfs::{FileSystem, cannot_link};

/// Bytes copied at once.
pub(super) const COPY_BYTES: usize = 1 << 20;

/// What has become of the tables so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tables {
    pub(super) linked: u64,
    pub(super) linked_bytes: u64,
    pub(super) copied: u64,
    pub(super) copied_bytes: u64,
}

/// Puts tables into the directory of a checkpoint.
pub(super) struct Putter<'p> {
    pub(super) fs: &'p dyn FileSystem,
    pub(super) dir: &'p Path,
    pub(super) cache: &'p Arc<BlockCache>,
    pub(super) should_stop: &'p dyn Fn() -> Result<()>,
    /// Links are not tried again: source and target lie on two file systems.
    pub(super) only_copies: bool,
    pub(super) done: Tables,
}

impl Putter<'_> {
    /// Puts one table there. A link costs one change of a directory, whatever the table's
    /// size; a copy reads, writes and syncs it, and reads it back.
    ///
    /// # Errors
    /// `Io`; `Corruption` when a copy is not what the table should be.
    pub(super) fn put(&mut self, table: &TableHandle) -> Result<()> {
        (self.should_stop)()?;
        let (from, bytes) = (table.path(), table.meta().size_bytes);
        let name = from.file_name().expect("a table's path ends with its name");
        let to = self.dir.join(name);
        if !self.only_copies {
            match self.fs.hard_link(&from, &to) {
                Ok(()) => {
                    self.done.linked += 1;
                    self.done.linked_bytes += bytes;
                    return Ok(());
                }
                Err(e) if cannot_link(&e) => {
                    self.only_copies = e.kind() == io::ErrorKind::CrossesDevices;
                }
                Err(e) => return Err(e.into()),
            }
        }
        self.copy(table, &from, &to)?;
        self.done.copied += 1;
        self.done.copied_bytes += bytes;
        Ok(())
    }

    fn copy(&self, table: &TableHandle, from: &Path, to: &Path) -> Result<()> {
        let source = self.fs.open(from)?;
        let len = table.meta().size_bytes;
        if source.len() != len {
            let what = format!("it is {} bytes long, and the manifest says {len}", source.len());
            return Err(Corruption::new(from, len.min(source.len()), what).into());
        }
        let mut copy = self.fs.create(to)?;
        let mut buffer = vec![0; COPY_BYTES.min(len as usize)];
        let mut at = 0;
        while at < len {
            (self.should_stop)()?;
            let piece = &mut buffer[..COPY_BYTES.min((len - at) as usize)];
            source.read_exact_at(piece, at)?;
            copy.append(piece)?;
            at += piece.len() as u64;
        }
        copy.sync()?;
        // New bytes, that nobody has read yet: damage of the source would be copied too.
        let copied = Table::open(self.fs.open(to)?, table.origin(), self.cache)
            .and_then(|copied| copied.verify());
        copied.map(drop).map_err(Error::from)
    }
}
