//! What opening a table reads: footer, properties and top index.

use crate::Error;
use crate::damage::Damage;
use crate::index::{Handle, Top};
use crate::meta::footer::{BOUND_TO_ORIGIN, FOOTER_LEN, Footer};
use crate::meta::properties::TableProperties;
use crate::seal::sealed;
use tanada_format::{BlockSalt, Corruption, MAX_KEY_LEN, Origin, WriterEpoch};
use tanada_vfs::ReadFile;

/// What is read at once when a table is opened: nearly always all it takes.
const TAIL_LEN: u64 = 8 << 10;

/// No properties are longer: two keys and some numbers.
const MAX_PROPERTIES_LEN: usize = 2 * MAX_KEY_LEN + (64 << 10);

/// What opening reads.
pub(crate) struct Opened {
    pub(crate) properties: TableProperties,
    pub(crate) top: Top,
    /// Where the properties begin; everything before is blocks.
    pub(crate) properties_at: u64,
}

impl Opened {
    pub(crate) fn read(file: &dyn ReadFile, origin: Origin) -> Result<Opened, Error> {
        let path = file.path();
        let damaged = |offset, what: Damage| Error::from(Corruption::new(path, offset, what.0));
        let len = file.len();
        let footer_at = len
            .checked_sub(FOOTER_LEN as u64)
            .ok_or_else(|| damaged(0, "it is shorter than a table's footer".into()))?;
        let tail_at = len.saturating_sub(TAIL_LEN);
        let mut tail = vec![0; (len - tail_at) as usize];
        file.read_exact_at(&mut tail, tail_at)?;

        let footer = tail.last_chunk().expect("the tail is longer than the footer");
        let footer = Footer::parse(footer).map_err(|what| damaged(footer_at, what))?;
        if let Some(what) = footer.unsupported() {
            return Err(Error::Unsupported { file: path.to_path_buf(), what });
        }
        if footer.database != origin.database {
            let what =
                format!("it belongs to database {}, not {}", footer.database, origin.database);
            return Err(damaged(footer_at, what.into()));
        }
        if footer.table != origin.table {
            let what = format!("it is table {}, not {}", footer.table, origin.table);
            return Err(damaged(footer_at, what.into()));
        }
        let has_epoch = footer.required_features & BOUND_TO_ORIGIN != 0;
        if has_epoch != (origin.epoch != WriterEpoch(0)) {
            let what = format!("it is not {origin}, but one of another epoch");
            return Err(damaged(footer_at, what.into()));
        }
        if footer.file_len != len {
            let what = format!("it has {len} bytes and was written with {}", footer.file_len);
            return Err(damaged(footer_at, what.into()));
        }

        // From the tail when it lies there, else read.
        let sealed = |handle: Handle, salt, max_len: usize| -> Result<Vec<u8>, Error> {
            if handle.end() > footer_at {
                return Err(damaged(handle.offset, "a block reaches into the footer".into()));
            }
            let read;
            let bytes = match handle.offset.checked_sub(tail_at) {
                Some(start) => &tail[start as usize..][..handle.len as usize],
                None => {
                    let mut bytes = vec![0; handle.len as usize];
                    file.read_exact_at(&mut bytes, handle.offset)?;
                    read = bytes;
                    &read
                }
            };
            sealed::open_alone(bytes.to_vec(), salt, handle.offset, max_len)
                .map_err(|what| damaged(handle.offset, what))
        };
        let at = footer.properties;
        let properties = sealed(at, BlockSalt::of_id(origin.table), MAX_PROPERTIES_LEN)?;
        let properties =
            TableProperties::parse(&properties).map_err(|what| damaged(at.offset, what))?;
        if properties.epoch != origin.epoch {
            let what = format!("it is of epoch {}, not {}", properties.epoch, origin.epoch);
            return Err(damaged(at.offset, what.into()));
        }
        let top_at = properties.top_handle().map_err(|what| damaged(at.offset, what))?;
        let max_len = usize::try_from(properties.max_block_len).unwrap_or(usize::MAX);
        let top = Top::parse(&sealed(top_at, BlockSalt::of(&origin), max_len)?, footer_at)
            .map_err(|what| damaged(top_at.offset, what))?;
        if u64::from(top.blocks()) != properties.data_blocks
            || top.partitions().len() as u64 != properties.partitions
        {
            return Err(damaged(top_at.offset, "the top index counts other blocks".into()));
        }
        Ok(Opened { properties, top, properties_at: at.offset })
    }
}
