//! Whether the database still takes writes, and why not.
//!
//! Three states beside healthy. *Read-only*: nothing is lost, and the cure is
//! in the reason (space came back, say); it ends by itself. *Poisoned*: a write
//! or sync of log or manifest failed, so what is on disk is unknown; a second
//! sync would lie, and only opening again ends it. *Closed*.
//!
//! Each check is of the process too: a forked child is refused whatever the state.

use crate::control::owner::Owner;
use crate::types::error::{Error, Result};
use std::fmt;
use std::sync::atomic::Ordering;
use tanada_vfs::sync::atomic::AtomicU8;
use tanada_vfs::sync::{Mutex, OnceLock};

const HEALTHY: u8 = 0;
const READ_ONLY: u8 = 1;
const POISONED: u8 = 2;
const CLOSED: u8 = 3;

/// The state; only ever gets worse, but for read-only, which heals.
#[derive(Debug)]
pub(crate) struct Health {
    /// Who opened the database.
    pub(crate) owner: Owner,
    /// One of the four above. Stored with Release after the reason is in
    /// place, so that who loads a bad state with Acquire finds its reason.
    state: AtomicU8,
    reason: Mutex<String>,
    /// Who else is to hear of it when the state gets worse.
    listener: Listener,
}

/// Called once the state has got worse. Set once, at the opening.
#[derive(Default)]
struct Listener(OnceLock<Box<dyn Fn() + Send + Sync>>);

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Listener")
    }
}

impl Health {
    /// Healthy.
    pub(crate) fn new(owner: Owner) -> Health {
        let (reason, listener) = Default::default();
        Health { owner, state: AtomicU8::new(HEALTHY), reason, listener }
    }

    /// Lets `told` hear of each state that is worse than the one before. Called under
    /// whatever locks the one who finds out has: it may take none that is in their order.
    pub(crate) fn tell(&self, told: impl Fn() + Send + Sync + 'static) {
        // One listener, set while the database is opened.
        let _ = self.listener.0.set(Box::new(told));
    }

    /// An error unless writes are taken.
    #[inline]
    pub(crate) fn check_writable(&self) -> Result<()> {
        self.owner.check()?;
        match self.state.load(Ordering::Acquire) {
            HEALTHY => Ok(()),
            state => Err(self.error(state)),
        }
    }

    /// The answer to who waits for background work while none can be done. When
    /// no state says why, a job has just failed, and there is no thread that
    /// would wait until it is due again.
    pub(crate) fn why_nothing_changes(&self) -> Error {
        self.check_writable().err().unwrap_or_else(|| Error::ReadOnly {
            reason: "background work failed a moment ago; it is tried again a second later"
                .to_owned(),
        })
    }

    /// An error once closed. A poisoned database still reads.
    #[inline]
    pub(crate) fn check_readable(&self) -> Result<()> {
        self.owner.check()?;
        if self.state.load(Ordering::Relaxed) == CLOSED { Err(Error::Closed) } else { Ok(()) }
    }

    /// An error once writes cannot reach the log any more. Unlike
    /// [`Health::check_writable`] lets pass what has been admitted, deletes
    /// on a full disk among it.
    #[inline]
    pub(crate) fn check_committable(&self) -> Result<()> {
        match self.state.load(Ordering::Acquire) {
            HEALTHY | READ_ONLY => Ok(()),
            state => Err(self.error(state)),
        }
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.state.load(Ordering::Acquire) == READ_ONLY
    }

    /// Whether flush and compaction may go on: they may while read-only, since
    /// they are what makes room.
    pub(crate) fn may_work(&self) -> bool {
        self.state.load(Ordering::Acquire) <= READ_ONLY
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.state.load(Ordering::Acquire) == POISONED
    }

    /// The first failure decides; answers the error that every writer gets.
    pub(crate) fn poison(&self, cause: &Error) -> Error {
        self.worsen(POISONED, || match cause {
            Error::Poisoned { reason } => reason.clone(),
            cause => cause.to_string(),
        });
        self.error(self.state.load(Ordering::Acquire))
    }

    pub(crate) fn make_read_only(&self, why: String) {
        self.worsen(READ_ONLY, || why);
    }

    /// Takes writes again after read-only.
    pub(crate) fn heal(&self) {
        let _reason = self.reason.lock();
        // Relaxed on failure: another, worse state stands and is left alone.
        let _ =
            self.state.compare_exchange(READ_ONLY, HEALTHY, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Whether this call was the one that closed it.
    pub(crate) fn close(&self) -> bool {
        self.worsen(CLOSED, String::new)
    }

    pub(crate) fn read_only_reason(&self) -> Option<String> {
        match self.state.load(Ordering::Acquire) {
            READ_ONLY | POISONED => Some(self.reason.lock().clone()),
            _ => None,
        }
    }

    fn worsen(&self, to: u8, why: impl FnOnce() -> String) -> bool {
        let mut reason = self.reason.lock();
        if self.state.load(Ordering::Acquire) >= to {
            return false;
        }
        *reason = why();
        self.state.store(to, Ordering::Release);
        drop(reason);
        if let Some(told) = self.listener.0.get() {
            told();
        }
        true
    }

    fn error(&self, state: u8) -> Error {
        let reason = self.reason.lock().clone();
        match state {
            READ_ONLY => Error::ReadOnly { reason },
            CLOSED => Error::Closed,
            _ => Error::Poisoned { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_the_one_that_all_hear_of() {
        let health = Health::new(Owner::new(tanada_vfs::Process::unforked()));
        let first = health.poison(&Error::InvalidArgument("first".into()));
        assert!(first.to_string().contains("first"));
        let second = health.poison(&Error::InvalidArgument("second".into()));
        assert!(second.to_string().contains("first"));
        health.heal();
        assert!(health.is_poisoned(), "only read-only heals");
        assert!(health.check_readable().is_ok());
        assert!(health.close());
        assert!(matches!(health.check_readable(), Err(Error::Closed)));
    }
}
