//! How many file descriptors tables may have.

use crate::types::error::{Error, Result};
use std::sync::Arc;
use tanada_format::planted;
use tanada_vfs::{DescriptorBound, FileSystem, OpenFiles};

/// So many tables have a descriptor at once, whatever the process may have: fewer and
/// every read would open a file first.
const LEAST: u64 = 16;
/// More pay nothing: opening a file costs microseconds, and the kernel's memory for
/// open files is in nobody's budget.
const MOST: u64 = 4096;

/// What a database needs beside its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DescriptorNeeds {
    /// Tables being written at once.
    jobs: u64,
}

impl DescriptorNeeds {
    /// Of a database of which so many jobs write tables at once, each with as many
    /// threads.
    pub(crate) fn of_jobs(jobs: usize) -> DescriptorNeeds {
        DescriptorNeeds { jobs: jobs as u64 }
    }

    /// The lock, the directory; the log that is written, the next, and the one before
    /// while it is synced; the manifest, its successor and `CURRENT`; one to list a
    /// directory, one for a log that is read; the three that a process is born with.
    const FIXED: u64 = 13;

    /// All descriptors, with the least that tables need.
    fn all(self) -> u64 {
        DescriptorNeeds::FIXED + 2 * self.jobs + LEAST
    }
}

/// How many descriptors there are, and how many of them are for tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// The process's limit.
    limit: Option<u64>,
    /// Jobs that write tables at once.
    jobs: u64,
    bound: DescriptorBound,
}

impl Descriptors {
    /// By the process's limit of now: half of it is for tables, three quarters of that for
    /// those that are read and a quarter for what flushes write. The rest is for what else the
    /// process does, such as the sockets of a server.
    pub(crate) fn of(fs: &dyn FileSystem, needs: DescriptorNeeds) -> Descriptors {
        Descriptors::by(fs.descriptor_limit(), needs)
    }

    fn by(limit: Option<u64>, needs: DescriptorNeeds) -> Descriptors {
        let read = limit.map_or(MOST, |limit| limit / 8 * 3);
        let most = if planted!(descriptor_per_table) { u64::MAX } else { read.clamp(LEAST, MOST) };
        Descriptors {
            limit,
            jobs: needs.jobs,
            bound: DescriptorBound { most, needed: needs.all() },
        }
    }

    /// With at most so many for tables.
    pub(crate) fn at_most(mut self, tables: Option<u64>) -> Descriptors {
        if !planted!(descriptor_per_table) {
            self.bound.most = self.bound.most.min(tables.unwrap_or(u64::MAX));
        }
        self
    }

    /// Refuses a process that may have too few.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] saying how many are needed.
    pub(crate) fn check(&self) -> Result<()> {
        let needed = self.bound.needed;
        match self.limit {
            Some(limit) if limit < needed => Err(Error::InvalidArgument(format!(
                "this process may have {limit} files open, and the database needs {needed}: \
                 raise its limit (RLIMIT_NOFILE)"
            ))),
            _ => Ok(()),
        }
    }

    /// How many files one flush may have open beside what is counted as needed: an eighth of
    /// all, no more than half of what is left, divided among all jobs.
    pub(crate) fn spare_of_a_flush(&self) -> u64 {
        let limit = self.limit.unwrap_or(u64::MAX);
        let left = limit.saturating_sub(self.bound.needed);
        let most =
            if planted!(flush_takes_what_is_left) { left / 2 } else { (limit / 8).min(left / 2) };
        most / self.jobs.max(1)
    }

    /// A file system whose tables keep within that.
    pub(crate) fn over(self, fs: Arc<dyn FileSystem>) -> OpenFiles {
        OpenFiles::over(fs, self.bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 256 descriptors 214 were files of tables, and clients found none.
    #[test]
    fn tables_that_are_read_or_flushed_leave_half_of_the_descriptors_to_others() {
        for limit in [64, 256, 1024, 4096] {
            for jobs in 1..8 {
                let descriptors = Descriptors::by(Some(limit), DescriptorNeeds::of_jobs(jobs));
                let flushed = jobs as u64 * descriptors.spare_of_a_flush();
                let read = descriptors.bound.most;
                assert!(read + flushed <= limit / 2, "{read} read, {flushed} written of {limit}");
                assert!(descriptors.check().is_err() || read >= LEAST);
            }
        }
        let needs = DescriptorNeeds::of_jobs(2);
        let least = Descriptors::by(Some(needs.all()), needs);
        assert!(least.check().is_ok() && least.spare_of_a_flush() == 0);
    }
}
