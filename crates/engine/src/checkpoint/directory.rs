//! A directory of checkpoints that are asked for by name: for a server, whose clients may
//! choose a name and never a path.

use super::staging::{LOCK, UNFINISHED, foreign_in, free_name, is_foreign, remove_all};
use crate::tree::manifest::{FileName, Found, inspect};
use crate::types::error::{Error, Result};
use std::io;
use std::path::{Path, PathBuf};
use tanada_vfs::{Env, FileSystem, LockHeld};

/// Longest name of a checkpoint, in bytes.
const MAX_NAME_LEN: usize = 100;

/// A directory, and the checkpoints in it.
///
/// A name has 1 to 100 of the ASCII letters, digits, `-` and `_`, and begins with a letter
/// or a digit. So no name is a path, a hidden file, an option of a command, or what a
/// checkpoint is called that is not finished.
#[derive(Clone, Debug)]
pub struct CheckpointDir {
    env: Env,
    path: PathBuf,
}

/// A checkpoint that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CheckpointEntry {
    /// Its name.
    pub name: String,
    /// Bytes of its files; those that it shares with the database or with other
    /// checkpoints are counted in each of them.
    pub bytes: u64,
}

impl CheckpointDir {
    /// The directory `path`, which must be there. What processes that died have left of
    /// checkpoints that were not finished is removed. Cost: a listing.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when it is not there; [`Error::Io`].
    pub fn open(env: &Env, path: impl AsRef<Path>) -> Result<CheckpointDir> {
        let path = path.as_ref();
        match env.fs.read_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Error::InvalidArgument(format!(
                    "there is no directory {} for checkpoints; create it first",
                    path.display()
                )));
            }
            listed => drop(listed?),
        }
        let directory = CheckpointDir { env: env.clone(), path: path.to_owned() };
        directory.remove_unfinished()?;
        Ok(directory)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the checkpoint `name` is or would be.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what is no name.
    pub fn place(&self, name: &str) -> Result<PathBuf> {
        check_name(name)?;
        Ok(self.path.join(name))
    }

    /// The checkpoints, by name. Cost: a listing of the directory and of each of them.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn list(&self) -> Result<Vec<CheckpointEntry>> {
        let mut entries = Vec::new();
        for entry in self.env.fs.read_dir(&self.path)? {
            if !entry.is_dir || check_name(&entry.name).is_err() || !self.has(&entry.name)? {
                continue;
            }
            match self.env.fs.read_dir(&self.path.join(&entry.name)) {
                Ok(files) => {
                    let bytes = files.iter().map(|file| file.len).sum();
                    entries.push(CheckpointEntry { name: entry.name, bytes });
                }
                // Somebody has removed it meanwhile.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(entries)
    }

    /// Removes the checkpoint `name`; `false` when there is none. Cost: the removal of its
    /// files.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for what is no name, and when it holds files that are not a
    /// database's; [`Error::Locked`] when somebody has
    /// it open as a database; [`Error::Io`]: it is no database any more, or as it was.
    pub fn remove(&self, name: &str) -> Result<bool> {
        let path = self.place(name)?;
        if !self.has(name)? {
            return Ok(false);
        }
        let fs = &self.env.fs;
        if let Some(foreign) = foreign_in(&**fs, &path)? {
            return Err(is_foreign(&path, &foreign));
        }
        let lock = fs.lock(&path.join(FileName::Lock.to_string())).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => {
                let pid = LockHeld::of(&e).and_then(|held| held.pid);
                Error::Locked { path: path.clone(), pid }
            }
            _ => e.into(),
        })?;
        // Under a name that nobody takes for a checkpoint, however this ends.
        let doomed = self.path.join(format!("{name}{UNFINISHED}"));
        fs.rename(&path, &doomed)?;
        fs.sync_dir_once(&self.path)?;
        remove_all(&**fs, &doomed)?;
        drop(lock);
        Ok(true)
    }

    /// Whether there is a checkpoint of this name. A damaged one is one too: it can be
    /// listed, and removed.
    fn has(&self, name: &str) -> Result<bool> {
        match inspect(&*self.env.fs, &self.path.join(name)) {
            Ok(Found::Nothing) | Err(Error::NotADatabase { .. }) => Ok(false),
            Err(Error::Io(e)) if e.kind() == io::ErrorKind::NotADirectory => Ok(false),
            Err(e @ Error::Io(_)) => Err(e),
            Ok(Found::Database(_)) | Err(_) => Ok(true),
        }
    }

    fn remove_unfinished(&self) -> Result<()> {
        let fs: &dyn FileSystem = &*self.env.fs;
        for entry in fs.read_dir(&self.path)? {
            let Some(name) = entry.name.strip_suffix(UNFINISHED) else { continue };
            if !entry.is_dir || check_name(name).is_err() {
                continue;
            }
            let dir = self.path.join(&entry.name);
            // What holds foreign files stays; so does what another process is making.
            if foreign_in(fs, &dir)?.is_some() {
                continue;
            }
            let lock = match fs.lock(&dir.join(LOCK)) {
                Err(e)
                    if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotFound) =>
                {
                    continue;
                }
                locked => locked?,
            };
            match free_name(fs, &self.path.join(name), &self.path) {
                // It waits for room, and the server need not.
                Err(Error::Io(e)) if e.kind() == io::ErrorKind::StorageFull => continue,
                freed => freed?,
            }
            remove_all(fs, &dir)?;
            drop(lock);
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<()> {
    let refused = |why: &str| {
        let name: String = name.chars().take(40).collect();
        Err(Error::InvalidArgument(format!(
            "{name:?} cannot be the name of a checkpoint: {why}; a name has 1 to {MAX_NAME_LEN} of the characters a-z, A-Z, 0-9, '-' and '_', and begins with a letter or a digit"
        )))
    };
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match name {
        "" => refused("it is empty"),
        _ if name.len() > MAX_NAME_LEN => refused("it is too long"),
        _ if !name.chars().all(is_allowed) => refused("it has other characters"),
        _ if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) => {
            refused("it begins with another character")
        }
        _ => Ok(()),
    }
}
