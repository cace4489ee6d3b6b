//! How many files the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// The soft limit; `None` for none.
pub(super) fn limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Raises the number of files that this process may have open to the most that its
/// user may set, and answers it; `None` for no limit. For a program that is a
/// database and nothing else: a library leaves the process's limits alone. Programs
/// that it starts inherit it.
///
/// # Errors
/// When the system refuses; the limit is as it was.
pub fn raise_descriptor_limit() -> io::Result<Option<u64>> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // macOS takes no more, whatever it says of the hard limit (OPEN_MAX).
    let wanted = match cfg!(target_os = "macos") {
        true => Some(maximum.map_or(10_240, |most| most.min(10_240))),
        false => maximum,
    };
    let is_lower = current.is_some_and(|now| wanted.is_none_or(|wanted| now < wanted));
    if is_lower {
        setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum })?;
    }
    Ok(limit())
}
