//! Setting the clock right, when a person says that it is.

use crate::core::Core;
use crate::tree::manifest::Edit;
use crate::types::error::Result;
use crate::types::stats::ClockStats;

impl Core {
    /// Believes the wall clock from now on, and notes that durably.
    pub(crate) fn trust_clock(&self) -> Result<ClockStats> {
        self.reading.health.owner.check()?;
        self.reading.health.check_readable()?;
        let mut manifest = self.manifest.lock();
        // It may have been closed while this waited, and be another process's by now.
        self.reading.health.check_committable()?;
        self.reading.trust_clock();
        let time = Some(self.reading.durable_time());
        let edit = Edit { time, ..Edit::default() };
        manifest.append(&edit).map_err(|e| self.edit_failed(&manifest, e))?;
        drop(manifest);
        // What is due by this time may be due earlier, or later, than a thread sleeps.
        self.background.state.lock().lineup.want_sweep();
        self.background.work.ring();
        Ok(self.reading.clock_stats())
    }
}
