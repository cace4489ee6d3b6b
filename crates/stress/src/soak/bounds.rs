//! What a server may take of the machine, as it is documented, and what it took at most.
//!
//! Memory and descriptors are sampled the whole time, by a thread; the disk when clients
//! rest, and strictly when they have rested for so long that all garbage must have gone.

use crate::client::Client;
use crate::contents::done;
use crate::failure::{Failure, Result};
use crate::memory::BESIDE_MIB;
use crate::server::{Killer, Server, Settings};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tanada_vfs::{Env, Priority};

/// Most descriptors that the system lets the server have: so few that the bound says much.
pub(super) const DESCRIPTORS: u64 = 256;

/// Of these, half are for tables; beside them what an opening asks for (decision 0011), with
/// two threads of the background for each processor and some, and the connections of clients.
const NEEDED: u64 = 29 + 2 * 16;
const CONNECTIONS: u64 = 40;

/// How often memory and descriptors are looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// The manifest grows to this before it is written anew (docs/format/manifest.md), and is
/// there twice meanwhile.
const MANIFEST_BYTES: u64 = 2 * (4 << 20);

/// The thread that looks, and what it has seen.
pub(super) struct Watch {
    watched: Mutex<Option<(Killer, u64)>>,
    stop: AtomicBool,
    // Maxima that nothing is ordered by: relaxed.
    over_budget_kib: AtomicU64,
    resident_kib: AtomicU64,
    descriptors: AtomicU64,
}

impl Watch {
    /// Begins to look.
    pub(super) fn begin(env: &Env) -> Result<Arc<Watch>> {
        let watch = Arc::new(Watch {
            watched: Mutex::new(None),
            stop: AtomicBool::new(false),
            over_budget_kib: AtomicU64::new(0),
            resident_kib: AtomicU64::new(0),
            descriptors: AtomicU64::new(0),
        });
        let (own, env_of_thread) = (Arc::clone(&watch), env.clone());
        let look = move || {
            while !own.stop.load(Ordering::Relaxed) {
                own.look(&env_of_thread);
                env_of_thread.clock.sleep(GLANCE);
            }
        };
        env.threads.spawn("watch", Priority::Soon, Box::new(look))?;
        Ok(watch)
    }

    /// From now on at this server.
    pub(super) fn at(&self, server: &Server, settings: Settings) {
        *self.watched.lock() = Some((server.killer(), settings.memory_mib << 10));
    }

    /// No more, for its number may soon be another's.
    pub(super) fn nobody(&self) {
        *self.watched.lock() = None;
    }

    pub(super) fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn look(&self, env: &Env) {
        // Held meanwhile: who takes the server away waits for the end of a look.
        let watched = self.watched.lock();
        let Some((pid, budget_kib)) = *watched else { return };
        // It may have been killed a moment ago.
        if let Ok(kib) = Server::resident_kib_of(pid, "VmHWM:") {
            self.resident_kib.fetch_max(kib, Ordering::Relaxed);
            self.over_budget_kib.fetch_max(kib.saturating_sub(budget_kib), Ordering::Relaxed);
        }
        if let Ok(open) = Server::open_descriptors(env, pid) {
            self.descriptors.fetch_max(open, Ordering::Relaxed);
        }
    }

    /// Judges what has been seen so far.
    ///
    /// # Errors
    /// Broken.
    pub(super) fn judge(&self) -> Result<()> {
        for row in self.rows() {
            row.judge()?;
        }
        Ok(())
    }

    /// For the table at the end.
    pub(super) fn rows(&self) -> [Row; 2] {
        let seen = |number: &AtomicU64| number.load(Ordering::Relaxed);
        [
            Row {
                what: "resident KiB above the budget",
                most: seen(&self.over_budget_kib),
                bound: BESIDE_MIB << 10,
            },
            Row {
                what: "descriptors",
                most: seen(&self.descriptors),
                bound: DESCRIPTORS / 2 + NEEDED + CONNECTIONS,
            },
        ]
    }
}

/// Something that is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) most: u64,
    pub(super) bound: u64,
}

impl Row {
    fn judge(self) -> Result<()> {
        if self.most <= self.bound {
            return Ok(());
        }
        let Row { what, most, bound } = self;
        Err(Failure::broken(format!("{what}: {most}, and the documented bound is {bound}")))
    }

    /// Which of two came closer to its bound.
    pub(super) fn worse(self, other: Row) -> Row {
        let share = |row: Row| u128::from(row.most) * u128::from(other.bound.max(1));
        let others = u128::from(other.most) * u128::from(self.bound.max(1));
        if share(self) >= others { self } else { other }
    }
}

/// Whether clients have just rested for long enough that all garbage must have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rested {
    No,
    Long,
}

/// Judges what the database takes on disk, in which `live_bytes` are stored (docs/guide/space.md).
///
/// # Errors
/// Broken when it takes more, or when something is left over.
pub(super) fn judge_disk(
    env: &Env,
    client: &Client,
    data: &Path,
    (settings, live_bytes, rested): (Settings, u64, Rested),
) -> Result<Row> {
    let stats = done("the statistics", client.fetch("/stats"))?;
    let budget = settings.memory_mib << 20;
    let memtable = (budget / 8).min(64 << 20);
    let memtables = match rested {
        Rested::Long => 2,
        Rested::No => 2 + 8,
    };
    let tables = live_bytes / 2 * 3 + memtables * memtable;
    // What lies in MemTables, the log being written, and the one that is prepared.
    let logs = budget / 4 * 3 + 2 * (32 << 20);
    let number = |path: &str| stats.pointer(path).and_then(|n| n.as_u64()).unwrap_or(0);
    let waiting = match rested {
        Rested::Long => 0,
        Rested::No => {
            let jobs = number("/compaction/running") + number("/flush/running");
            number("/obsolete/bytes") + number("/obsolete/held_bytes") + jobs * 20 * memtable
        }
    };
    let entries = env.fs.read_dir(data)?;
    let bytes: u64 = entries.iter().map(|entry| entry.len).sum();
    let (what, bound) = match rested {
        Rested::Long => ("bytes on disk after a rest", tables + logs + MANIFEST_BYTES),
        Rested::No => ("bytes on disk beside work", tables + logs + MANIFEST_BYTES + waiting),
    };
    let row = Row { what, most: bytes, bound };
    row.judge().map_err(|e| e.before(format!("{live_bytes} bytes live, {stats}")))?;
    if rested == Rested::Long {
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        nothing_left_over(&names, &stats)?;
    }
    Ok(row)
}

/// Nothing but what the statistics tell of: no unfinished file, no table or log that nobody
/// needs.
fn nothing_left_over(names: &[&str], stats: &serde_json::Value) -> Result<()> {
    let of = |kind: &str| names.iter().filter(|name| name.ends_with(kind)).count() as u64;
    let known = |name: &&&str| {
        let is = |kind: &str| name.ends_with(kind);
        is(".sst") || is(".log") || **name == "CURRENT" || **name == "LOCK"
    };
    let others: Vec<_> = names.iter().filter(|name| !known(name)).collect();
    let keyspaces = stats["keyspaces"].as_array().map(Vec::as_slice).unwrap_or_default();
    let levels = keyspaces.iter().filter_map(|k| k["levels"].as_array()).flatten();
    let tables: u64 = levels.filter_map(|level| level["tables"].as_u64()).sum();
    let logs = stats["wal"]["files"].as_u64().unwrap_or(0);
    let obsolete = stats["obsolete"]["files"].as_u64().unwrap_or(0);
    if others.len() != 1 || !others[0].starts_with("MANIFEST-") {
        return Err(Failure::broken(format!("left over: {others:?}")));
    }
    if obsolete != 0 || of(".sst") != tables || of(".log") > logs + 1 {
        return Err(Failure::broken(format!(
            "{} tables lie there and {} logs, {tables} and {logs} are needed, {obsolete} files are to be removed",
            of(".sst"),
            of(".log")
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_nobody_needs_is_found() {
        let levels = json!([{ "tables": 1 }]);
        let stats = json!({
            "keyspaces": [{ "levels": levels }], "wal": { "files": 1 }, "obsolete": { "files": 0 },
        });
        let good = ["CURRENT", "LOCK", "MANIFEST-000007", "000009.sst", "000010.log"];
        nothing_left_over(&good, &stats).unwrap();
        for more in ["000011.sst", "000003.log.tmp", "MANIFEST-000008", "CURRENT.tmp", "a"] {
            let names = [&good[..], &[more]].concat();
            assert!(nothing_left_over(&names, &stats).is_err(), "{more}");
        }
        let logs = [&good[..], &["000012.log", "000013.log"]].concat();
        assert!(nothing_left_over(&logs, &stats).is_err());
    }

    #[test]
    fn the_worse_of_two_is_nearer_to_its_bound() {
        let row = |most, bound| Row { what: "bytes", most, bound };
        assert_eq!(row(9, 100).worse(row(2, 10)), row(2, 10));
        assert_eq!(row(30, 100).worse(row(2, 10)), row(30, 100));
        assert!(row(11, 10).judge().is_err());
        row(10, 10).judge().unwrap();
    }
}
