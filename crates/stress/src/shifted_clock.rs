//! Servers whose wall clock is set while they run, by the library that is built from
//! `examples/shifted_clock.rs`. Nobody else's clock is touched.

use crate::failure::{Failure, Result};
use rustix::fs::{Mode, OFlags, open};
use std::path::{Path, PathBuf};
use std::process::Command;
use tanada_vfs::Env;

/// A clock that several servers may have, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Shift {
    library: PathBuf,
    /// What is added to the machine's clock: see the library.
    file: PathBuf,
}

impl Shift {
    /// A clock that is right, kept in `file`.
    ///
    /// # Errors
    /// Lacking where the library has not been built, or cannot be (it is for Linux).
    pub(crate) fn right(env: &Env, file: &Path) -> Result<Shift> {
        let own = std::env::current_exe()?;
        let library = own.with_file_name("examples").join("libshifted_clock.so");
        if !env.fs.exists(&library)? {
            return Err(Failure::lacking(format!(
                "the clock at {} (cargo build -p tanada-stress --example shifted_clock)",
                library.display()
            )));
        }
        let mut created = env.fs.create(file)?;
        created.append(&0i64.to_ne_bytes())?;
        created.sync()?;
        Ok(Shift { library, file: file.to_owned() })
    }

    /// Sets it: so many milliseconds ahead of the machine's.
    ///
    /// # Errors
    /// Those of the disk that the file is on.
    pub(crate) fn set(&self, ahead_ms: i64) -> Result<()> {
        let failed = |e: rustix::io::Errno| Failure::trouble(format!("setting the clock: {e}"));
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = open(&self.file, flags, Mode::empty()).map_err(failed)?;
        rustix::io::pwrite(&file, &ahead_ms.to_ne_bytes(), 0).map_err(failed)?;
        Ok(())
    }

    /// Gives it to a program that has not started yet.
    pub(crate) fn shift(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("TANADA_STRESS_CLOCK", &self.file);
    }
}
