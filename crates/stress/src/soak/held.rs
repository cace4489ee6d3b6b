//! A cursor that is held over everything else that clients do.

use super::shadow::{self, Shadow};
use crate::client::Client;
use crate::contents::insist;
use crate::failure::{Failure, Result};
use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use tanada_vfs::Env;

/// A cursor over the records that is opened before the chores, read on between them, and
/// read to its end behind them: it is of one moment.
pub(super) struct Held {
    lines: Box<dyn BufRead + Send>,
    /// What has been read.
    read: String,
    records: BTreeMap<String, shadow::Expected>,
    from_ms: u64,
}

impl Held {
    /// Lines that are read between two chores.
    const LINES: usize = 50;

    /// Where the clock is wrong nobody knows what has expired: nothing is held.
    pub(super) fn open(
        env: &Env,
        client: &Client,
        shadow: &Shadow,
        wrong_clock: bool,
    ) -> Result<Option<Held>> {
        let Some(records) = shadow.of("records").filter(|_| !wrong_clock) else { return Ok(None) };
        let from_ms = env.clock.monotonic_ns() / 1_000_000;
        let lines = insist(env, "a cursor", || client.stream("/v1/ks/records/kv"))?;
        let records = records.clone();
        let mut held = Held { lines, read: String::new(), records, from_ms };
        // The answer has begun, and with it its moment.
        held.read_on()?;
        Ok(Some(held))
    }

    pub(super) fn read_on(&mut self) -> Result<()> {
        for _ in 0..Held::LINES {
            let read = self.lines.read_line(&mut self.read);
            read.map_err(|e| Failure::broken(format!("a cursor that is held breaks off: {e}")))?;
        }
        Ok(())
    }

    pub(super) fn compare(self) -> Result<()> {
        let all = std::io::Cursor::new(self.read).chain(self.lines);
        shadow::compare("records", &self.records, all, self.from_ms)
            .map_err(|e| e.before("a cursor that was held"))
    }
}
