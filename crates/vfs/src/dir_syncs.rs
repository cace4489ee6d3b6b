//! Syncs of directories: once one has failed, every later sync of that directory fails.
//!
//! A failed sync gives up the names that it should have made durable, and the kernel reports
//! success for the next one. The job that meets the failure ends the writing, but another
//! thread may sync the same directory before that, for a name of its own.

use crate::error::is_out_of_descriptors;
use crate::sync::Mutex;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use tanada_format::planted;

/// The directories whose sync has failed, each with its failure. No more than are synced:
/// the database's own, and those above it.
#[derive(Default)]
pub(crate) struct DirSyncs {
    /// Held over each sync: none that began before another failed answers after it.
    failed: Mutex<Vec<Failed>>,
}

struct Failed {
    dir: PathBuf,
    kind: io::ErrorKind,
    what: String,
}

impl DirSyncs {
    /// Runs `sync` of `dir`.
    ///
    /// # Errors
    /// Its own; and the first one's for ever after, unless that was for want of a
    /// descriptor: nothing has been tried then.
    pub(crate) fn run(&self, dir: &Path, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut all = self.failed.lock();
        if let Some(first) = all.iter().find(|failed| failed.dir == dir)
            && !planted!(directory_synced_after_a_failure)
        {
            return Err(io::Error::new(first.kind, first.what.clone()));
        }
        sync().inspect_err(|e| {
            if !is_out_of_descriptors(e) {
                all.push(Failed { dir: dir.to_owned(), kind: e.kind(), what: e.to_string() });
            }
        })
    }
}

impl fmt::Debug for DirSyncs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirSyncs").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use crate::fault::{EIO, EMFILE, Faults, Op, Rule};
    use crate::{DescriptorBound, Env, FileSystem, MemoryMachine, OpenFiles};
    use std::path::Path;

    fn over(faults: &Faults, env: &Env) -> OpenFiles {
        OpenFiles::over(faults.env(env).fs, DescriptorBound { most: 2, needed: 1 })
    }

    #[test]
    fn a_directory_whose_sync_failed_is_never_said_to_be_durable_again() {
        let machine = MemoryMachine::new(1);
        let faults = Faults::over_memory(&machine);
        let fs = over(&faults, &machine.env());
        let (dir, other) = (Path::new("/a"), Path::new("/"));
        fs.create_dir_all(dir).unwrap();
        faults.add(Rule::fail(EIO).on(Op::SyncDir).nth(1));
        let first = fs.sync_dir(dir).unwrap_err();
        for _ in 0..2 {
            let later = fs.sync_dir(dir).unwrap_err();
            assert_eq!((later.kind(), later.to_string()), (first.kind(), first.to_string()));
        }
        fs.sync_dir(other).unwrap();
        // Whoever opens it anew begins with what is there.
        over(&faults, &machine.env()).sync_dir(dir).unwrap();
    }

    #[test]
    fn a_sync_that_was_never_tried_is_tried_again() {
        let machine = MemoryMachine::new(1);
        let faults = Faults::over_memory(&machine);
        let fs = over(&faults, &machine.env());
        faults.add(Rule::fail(EMFILE).on(Op::SyncDir).nth(1));
        fs.sync_dir(Path::new("/")).unwrap_err();
        fs.sync_dir(Path::new("/")).unwrap();
    }
}
