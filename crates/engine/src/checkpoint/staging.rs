//! The directory in which a checkpoint is made: beside its target, under a name that says
//! that it is not finished.
//!
//! Invariants:
//! 1. Whoever writes into it holds the lock of its file `LOCK.tmp`. A directory whose lock
//!    is free was left by a process that died.
//! 2. It becomes the target by one rename, when all in it is durable. So the target is
//!    never there in part.
//!
//! `LOCK.tmp` goes after the rename: before it, another maker could take the directory for
//! one that was left. It is a name that opening a database removes, should the process die
//! in between; and not `LOCK`, so nobody who opens the checkpoint at once is refused.

use crate::tree::manifest::FileName;
use crate::types::error::{Error, Result};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tanada_format::planted;
use tanada_vfs::{DirLock, FileSystem};

/// What stands behind the name of a checkpoint that is not finished.
pub(super) const UNFINISHED: &str = ".unfinished";

/// Held by whoever makes the checkpoint.
pub(super) const LOCK: &str = "LOCK.tmp";

/// Tries to get the directory, while others finish theirs under the same name.
const TRIES: usize = 8;

/// A checkpoint being made. Dropped before [`Staging::finish`] has begun, it removes all.
#[derive(Debug)]
pub(super) struct Staging {
    fs: Arc<dyn FileSystem>,
    target: PathBuf,
    /// The directory that holds both.
    above: PathBuf,
    dir: PathBuf,
    /// Whether it may have become `target`.
    renaming: bool,
    /// `None` once all is done.
    lock: Option<Box<dyn DirLock>>,
}

impl Staging {
    /// Makes the directory for a checkpoint in `target`, of the database in `database`.
    /// What a process that died has left of one under this name is removed.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when `target` holds anything, or is being made;
    /// [`Error::InvalidArgument`] when it cannot be a checkpoint's place; `Io`.
    pub(super) fn begin(
        fs: &Arc<dyn FileSystem>,
        database: &Path,
        target: &Path,
    ) -> Result<Staging> {
        let above = check_place(&**fs, database, target)?;
        let mut name = OsString::from(target.file_name().expect("checked above"));
        name.push(UNFINISHED);
        let dir = target.with_file_name(name);
        if is_taken(&**fs, target)? {
            return Err(taken(target));
        }
        for _ in 0..TRIES {
            let created = match fs.create_dir(&dir) {
                // Before it is touched: it may be somebody's whose name we did not foresee.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match foreign_in(&**fs, &dir)
                {
                    Ok(Some(foreign)) => return Err(is_foreign(&dir, &foreign)),
                    Err(e) if !is_gone(&e) => return Err(e),
                    Ok(None) | Err(_) => false,
                },
                Err(e) => {
                    let _ = fs.remove_dir(&dir);
                    return Err(e.into());
                }
                Ok(()) => true,
            };
            let lock = match fs.lock(&dir.join(LOCK)) {
                // It was another's, and has got its name: now, or before.
                Ok(lock) if !lock.is_in_place()? => continue,
                Ok(lock) => Some(lock),
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let why = "another checkpoint is being made there".to_owned();
                    return Err(Error::AlreadyExists { path: target.to_owned(), why });
                }
                Err(e) => {
                    if created {
                        let _ = (fs.remove(&dir.join(LOCK)), fs.remove_dir(&dir));
                    }
                    return Err(e.into());
                }
            };
            let (fs, target) = (Arc::clone(fs), target.to_owned());
            let staging = Staging { fs, target, above, dir, renaming: false, lock };
            staging.remove_leftovers()?;
            // Now that no other can get this name.
            if is_taken(&*staging.fs, &staging.target)? {
                return Err(taken(&staging.target));
            }
            return Ok(staging);
        }
        Err(taken(target))
    }

    /// Where to write.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Removes what another process has left here.
    fn remove_leftovers(&self) -> Result<()> {
        let entries = self.fs.read_dir(&self.dir)?;
        let mut left = entries.iter().filter(|entry| entry.name != LOCK).peekable();
        if left.peek().is_some() {
            free_name(&*self.fs, &self.target, &self.above)?;
        }
        for entry in left {
            self.fs.remove(&self.dir.join(&entry.name))?;
        }
        Ok(())
    }

    /// Gives the directory, in which all files are synced, its name, durably: two syncs of
    /// directories.
    ///
    /// # Errors
    /// `Io`; nothing is left then, as far as that can be done.
    pub(super) fn finish(mut self) -> Result<()> {
        if !planted!(checkpoint_directory_not_synced) {
            self.fs.sync_dir_once(&self.dir)?;
        }
        self.renaming = true;
        self.fs.rename(&self.dir, &self.target)?;
        if !planted!(checkpoint_name_not_synced) {
            self.fs.sync_dir_once(&self.above)?;
        }
        // Who opens it may have been faster.
        let _ = self.fs.remove(&self.target.join(LOCK));
        drop(self.lock.take());
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        // Nobody but this one moves the directory: where it is not, it is the target.
        if self.renaming && self.fs.exists(&self.dir).is_ok_and(|there| !there) {
            // Under its old name again, durably, before anything of it goes: a power cut
            // must not leave a part of it as the target. Where that fails all of it stays.
            let back = self.fs.rename(&self.target, &self.dir);
            if back.and_then(|()| self.fs.sync_dir_once(&self.above)).is_err() {
                return;
            }
        }
        // What cannot be removed is found by the next checkpoint of this name.
        let _ = remove_all(&*self.fs, &self.dir);
        drop(lock);
    }
}

/// Makes it durable that no unfinished checkpoint has the name `target`, which has been one's
/// name perhaps. Only then may anything of that one go: a power cut must not leave a part of
/// it as the target.
///
/// A sync alone is not enough. Where the sync after the renaming has failed, later ones
/// succeed and write nothing of it: what they write is what was changed since. So the name
/// is taken and given back first. A target that holds anything keeps its name. An empty one,
/// which a power cut in here can leave, goes; it is in nobody's way.
///
/// # Errors
/// `Io`; everything is there still.
pub(super) fn free_name(fs: &dyn FileSystem, target: &Path, above: &Path) -> Result<()> {
    if !planted!(checkpoint_name_not_freed) {
        match fs.create_dir(target) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e.into()),
            Ok(()) | Err(_) => {}
        }
        // Refused where somebody has the name: they told so when they got it.
        let is_kept = |e: &io::Error| {
            use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory, NotFound};
            matches!(e.kind(), AlreadyExists | DirectoryNotEmpty | NotADirectory | NotFound)
        };
        match fs.remove_dir(target) {
            Err(e) if !is_kept(&e) => return Err(e.into()),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(fs.sync_dir_once(above)?)
}

/// The first name in a directory that no database has.
pub(super) fn foreign_in(fs: &dyn FileSystem, dir: &Path) -> Result<Option<String>> {
    let is_foreign = |name: &str, is_dir| is_dir || FileName::parse(name).is_none();
    let mut entries = fs.read_dir(dir)?.into_iter();
    Ok(entries.find(|entry| is_foreign(&entry.name, entry.is_dir)).map(|entry| entry.name))
}

/// What to say of a directory that is not to be removed for the sake of what is in it.
pub(super) fn is_foreign(dir: &Path, name: &str) -> Error {
    Error::InvalidArgument(format!(
        "{} holds {name:?}, which is no file of a database; move it away, or remove the directory yourself",
        dir.display()
    ))
}

/// Removes a directory and the files in it, those first without which it is no database;
/// the lock of whoever does so last. What others remove meanwhile is no error.
///
/// # Errors
/// `InvalidArgument` when it holds anything foreign: nothing was removed. `Io`.
pub(super) fn remove_all(fs: &dyn FileSystem, dir: &Path) -> Result<()> {
    if let Some(foreign) = foreign_in(fs, dir)? {
        return Err(is_foreign(dir, &foreign));
    }
    let rank = |name: &str| match FileName::parse(name) {
        Some(FileName::Current) => 0,
        _ if name == LOCK => 2,
        _ => 1,
    };
    let mut names: Vec<String> = fs.read_dir(dir)?.into_iter().map(|entry| entry.name).collect();
    names.sort_by_key(|name| rank(name));
    let gone = |removed: io::Result<()>| match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    };
    for name in names {
        gone(fs.remove(&dir.join(name)))?;
    }
    Ok(gone(fs.remove_dir(dir))?)
}

/// Whether it was moved or removed by another.
fn is_gone(e: &Error) -> bool {
    matches!(e, Error::Io(e) if e.kind() == io::ErrorKind::NotFound)
}

/// Whether anything has the name `target` but a directory that holds nothing: that one a
/// renaming replaces, as long as it holds nothing.
fn is_taken(fs: &dyn FileSystem, target: &Path) -> io::Result<bool> {
    match fs.read_dir(target) {
        Ok(entries) => Ok(!entries.is_empty()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => Ok(true),
        Err(e) => Err(e),
    }
}

fn taken(target: &Path) -> Error {
    let why = "a checkpoint is made in a directory that is new or empty".to_owned();
    Error::AlreadyExists { path: target.to_owned(), why }
}

/// Looks at where a checkpoint is to lie. Answers the directory above it.
fn check_place(fs: &dyn FileSystem, database: &Path, target: &Path) -> Result<PathBuf> {
    let refused = |why: &str| Err(Error::InvalidArgument(format!("{} {why}", target.display())));
    let Some(name) = target.file_name() else {
        return refused("names no new directory; name one below a directory that is there");
    };
    if name.as_encoded_bytes().ends_with(UNFINISHED.as_bytes()) {
        return refused(
            "has a name that is kept for checkpoints that are not finished; choose another",
        );
    }
    let above = target.parent().map_or(Path::new(""), |above| above).to_owned();
    let real = match fs.canonical(&above) {
        Ok(real) => real,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            // Not made: where the disk for copies is not mounted, they would lie on another.
            return refused("lies in a directory that is not there; create that first");
        }
        Err(e) => return Err(e.into()),
    };
    if real.starts_with(fs.canonical(database)?) {
        return refused(
            "lies in the directory of the database, where it would be lost with it; name one outside",
        );
    }
    Ok(above)
}
