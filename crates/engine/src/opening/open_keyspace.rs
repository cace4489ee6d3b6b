//! Opening and creating keyspaces.

use crate::core::Core;
use crate::read::mem::Mem;
use crate::read::reading::Reading;
use crate::read::view::{KeyspaceState, Paid, View};
use crate::tree::manifest::{CreatedKeyspace, Edit, MAX_KEYSPACES};
use crate::tree::version::Version;
use crate::types::error::{Error, Result};
use crate::types::keyspace_options;
use crate::types::options::KeyspaceOptions;
use std::sync::Arc;
use tanada_format::planted;
use tanada_table::Published;
use tanada_vfs::sync::Mutex;

/// Longest name of a keyspace, in bytes.
const MAX_NAME_LEN: usize = 255;

impl Core {
    /// The keyspace `name`; created, durably, when it is not there.
    ///
    /// # Errors
    /// As [`crate::Db::keyspace`].
    pub(crate) fn open_keyspace(
        &self,
        name: &str,
        options: &KeyspaceOptions,
    ) -> Result<Arc<KeyspaceState>> {
        if name.is_empty() || name.len() > MAX_NAME_LEN {
            return Err(Error::InvalidArgument(format!(
                "a keyspace's name has 1 to {MAX_NAME_LEN} bytes, not {}",
                name.len()
            )));
        }
        self.reading.health.check_readable()?;
        if let Some(known) = self.keyspace_named(name, options) {
            return Ok(known);
        }
        self.reading.health.check_writable()?;
        let needed = self.reading.budget.growth(0);
        if !self.reading.has_room(needed) {
            return Err(Error::MemoryFull { reason: self.reading.why_no_room(needed) });
        }
        let mut manifest = self.manifest.lock();
        // It may have been closed while this waited, and be another process's by now.
        self.reading.health.check_committable()?;
        // Somebody may have created it while this waited for the lock.
        if let Some(known) = self.keyspace_named(name, options)
            && !planted!(keyspace_created_twice)
        {
            return Ok(known);
        }
        if manifest.state().keyspaces.len() >= MAX_KEYSPACES {
            return Err(Error::InvalidArgument(format!(
                "the database has {MAX_KEYSPACES} keyspaces, as many as it may have, and {name:?} is none of them; give related data one keyspace, and each part of it a prefix of its keys"
            )));
        }
        let compression = options.compression.unwrap_or_default();
        let id = manifest.state().next_keyspace_id;
        let created = CreatedKeyspace {
            id,
            name: name.to_owned(),
            options: keyspace_options::encode(compression),
        };
        let edit = Edit { created: vec![created], ..Edit::default() };
        let early = planted!(keyspace_usable_before_its_edit);
        if !early {
            manifest.append(&edit).map_err(|e| self.edit_failed(&manifest, e))?;
        }
        let state = Arc::new(KeyspaceState {
            id,
            name: name.to_owned(),
            compression: Mutex::new(compression),
            view: Published::new(Arc::new(View {
                active: Mem::new(&self.reading.chunks),
                sealed: Vec::new(),
                version: Version::empty(),
            })),
            paid: Paid::nothing(),
        });
        let keyspaces = self.reading.keyspaces.load().with(Arc::clone(&state));
        self.reading.keyspaces.store(Arc::new(keyspaces));
        self.reading.keyspace_names.lock().insert(name.to_owned(), id);
        if early {
            manifest.append(&edit).map_err(|e| self.edit_failed(&manifest, e))?;
        }
        Ok(state)
    }

    /// The keyspace `name`, if it is there; `options` hold for it from now on.
    fn keyspace_named(&self, name: &str, options: &KeyspaceOptions) -> Option<Arc<KeyspaceState>> {
        let known = self.reading.keyspace_named(name)?;
        if let Some(compression) = options.compression {
            *known.compression.lock() = compression;
        }
        Some(known)
    }
}

impl Reading {
    /// The keyspace of this name, if there is one.
    pub(crate) fn find_keyspace(&self, name: &str) -> Result<Option<Arc<KeyspaceState>>> {
        self.health.check_readable()?;
        Ok(self.keyspace_named(name))
    }

    fn keyspace_named(&self, name: &str) -> Option<Arc<KeyspaceState>> {
        let id = *self.keyspace_names.lock().get(name)?;
        Some(Arc::clone(self.keyspaces.load().get(id)?))
    }
}
