//! What can still be read of a damaged table beside its data: footer, properties, indexes.

use crate::Error;
use crate::damage::Damage;
use crate::filter::KeptFilter;
use crate::index::{Handle, Partition, Top};
use crate::meta::footer::{FOOTER_LEN, Footer};
use crate::meta::properties::TableProperties;
use crate::seal::sealed::{self, MAX_RAW_LEN};
use std::ops::Bound;
use tanada_format::{BlockSalt, Corruption, Origin};
use tanada_vfs::ReadFile;

/// What is left of the parts behind the data blocks.
pub(super) struct Parts {
    pub(super) properties: Option<TableProperties>,
    pub(super) top: Option<Top>,
    /// Blocks end before this.
    pub(super) limit: u64,
    /// Binds the blocks to the table.
    pub(super) salt: BlockSalt,
}

impl Parts {
    pub(super) fn read(
        file: &dyn ReadFile,
        origin: Origin,
        notes: &mut Vec<String>,
    ) -> Result<Parts, Error> {
        let salt = BlockSalt::of(&origin);
        let mut parts = Parts { properties: None, top: None, limit: file.len(), salt };
        let footer = match footer(file) {
            Ok(footer) => footer,
            Err(what) => {
                notes.push(format!("footer: {}", what.0));
                return Ok(parts);
            }
        };
        let at = file.len() - FOOTER_LEN as u64;
        if let Some(what) = footer.unsupported() {
            return Err(Error::Unsupported { file: file.path().to_path_buf(), what });
        }
        if footer.database != origin.database || footer.table != origin.table {
            let what = format!("it is table {} of database {}", footer.table, footer.database);
            return Err(Corruption::new(file.path(), at, what).into());
        }
        parts.limit = at;
        let by_id = BlockSalt::of_id(origin.table);
        let properties = raw(file, by_id, footer.properties, MAX_RAW_LEN)
            .and_then(|raw| TableProperties::parse(&raw));
        if let Ok(TableProperties { epoch, .. }) = &properties {
            parts.salt = BlockSalt::of(&Origin { epoch: *epoch, ..origin });
        }
        let top = properties.as_ref().map_err(|_| None).and_then(|properties| {
            let handle = properties.top_handle().map_err(Some)?;
            raw(file, parts.salt, handle, MAX_RAW_LEN)
                .and_then(|raw| Top::parse(&raw, at))
                .map_err(Some)
        });
        match top {
            Ok(top) => parts.top = Some(top),
            Err(Some(what)) => notes.push(format!("top index: {}", what.0)),
            Err(None) => {}
        }
        match properties {
            Ok(properties) => parts.properties = Some(properties),
            Err(what) => notes.push(format!("properties: {}", what.0)),
        }
        Ok(parts)
    }

    /// All index partitions, if none is damaged and they agree with the top index.
    pub(super) fn indexes(
        &self,
        file: &dyn ReadFile,
        notes: &mut Vec<String>,
    ) -> Option<Vec<Partition>> {
        let (top, _) = (self.top.as_ref()?, self.properties.as_ref()?);
        let mut indexes = Vec::with_capacity(top.partitions().len());
        let mut at = 0;
        for handle in top.partitions() {
            let index = raw(file, self.salt, handle.index, MAX_RAW_LEN).and_then(|raw| {
                let index = Partition::parse(&raw)?;
                let agrees = index.count() == handle.blocks as usize
                    && index.count() > 0
                    && index.handle(0).offset == at;
                if agrees { Ok(index) } else { Err("it and the top index disagree".into()) }
            });
            match index {
                Ok(index) => {
                    at = index.end();
                    indexes.push(index);
                }
                Err(what) => {
                    let offset = handle.index.offset;
                    notes.push(format!("index partition at offset {offset}: {}", what.0));
                    return None;
                }
            }
        }
        Some(indexes)
    }

    /// The filter of partition `p`; none: unknown.
    pub(super) fn filter(&self, file: &dyn ReadFile, p: usize) -> Option<KeptFilter> {
        let handle = self.top.as_ref()?.partitions().get(p)?.filter;
        if handle.len == 0 {
            return None;
        }
        raw(file, self.salt, handle, MAX_RAW_LEN).ok().and_then(KeptFilter::parse)
    }

    /// The filters of all partitions, or none of them.
    pub(super) fn filters(&self, file: &dyn ReadFile) -> Vec<KeptFilter> {
        let count = self.top.as_ref().map_or(0, |top| top.partitions().len());
        let all: Option<Vec<KeptFilter>> = (0..count).map(|p| self.filter(file, p)).collect();
        all.unwrap_or_default()
    }

    pub(super) fn first_key(&self) -> Bound<Vec<u8>> {
        let known = self.properties.as_ref().map(|p| p.min_key.clone());
        known.map_or(Bound::Unbounded, Bound::Included)
    }

    pub(super) fn last_key(&self) -> Bound<Vec<u8>> {
        let known = self.properties.as_ref().map(|p| p.max_key.clone());
        known.map_or(Bound::Unbounded, Bound::Included)
    }
}

pub(super) fn footer(file: &dyn ReadFile) -> Result<Footer, Damage> {
    let at = file.len().checked_sub(FOOTER_LEN as u64).ok_or("it is too short for one")?;
    let mut bytes = [0; FOOTER_LEN];
    file.read_exact_at(&mut bytes, at).map_err(|e| Damage::from(e.to_string()))?;
    let footer = Footer::parse(&bytes)?;
    if footer.file_len == file.len() {
        Ok(footer)
    } else {
        Err("it was written for a file of another length".into())
    }
}

/// A block, checked and decompressed. A disk that refuses to read it is damage too.
pub(super) fn raw(
    file: &dyn ReadFile,
    salt: BlockSalt,
    handle: Handle,
    max: usize,
) -> Result<Vec<u8>, Damage> {
    if handle.end() > file.len() {
        return Err("a block ends behind the file's end".into());
    }
    let mut bytes = vec![0; handle.len as usize];
    file.read_exact_at(&mut bytes, handle.offset).map_err(|e| Damage::from(e.to_string()))?;
    sealed::open_alone(bytes, salt, handle.offset, max)
}
