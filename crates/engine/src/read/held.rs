//! Which readers hold memory that nobody else needs, and since when: for statistics
//! and for whoever is refused because of it.

use crate::control::account::Part;
use crate::control::budget::Bytes;
use crate::read::holders::{Holder, HolderKind};
use crate::read::mem::Mem;
use crate::read::reading::Reading;
use crate::types::stats::ReaderStats;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// Readers named in statistics.
const NAMED: usize = 16;

impl HolderKind {
    fn name(self) -> &'static str {
        match self {
            HolderKind::Snapshot => "snapshot",
            HolderKind::Cursor => "cursor",
            HolderKind::Iterator => "iterator",
        }
    }
}

/// Readers of one kind that hold MemTables beyond their flush.
#[derive(Default)]
struct Group {
    count: u64,
    oldest_ns: u64,
    /// Each MemTable once, by its address.
    mems: BTreeMap<usize, u64>,
}

impl Reading {
    /// How many readers live, and the oldest of them.
    pub(crate) fn readers(&self) -> (u64, Vec<ReaderStats>) {
        let mut all = self.holders.all();
        let count = all.len() as u64;
        all.sort_by_key(|holder| holder.opened_ns);
        let now_ns = self.env.clock.monotonic_ns();
        let oldest = all.iter().take(NAMED).map(|holder| ReaderStats {
            kind: holder.kind.name(),
            keyspace: match holder.kind {
                HolderKind::Snapshot => None,
                _ => Some(self.keyspaces.load()[holder.keyspace].name.clone()),
            },
            age_ms: now_ns.saturating_sub(holder.opened_ns) / 1_000_000,
            seqno: holder.seqno.0,
            memtable_bytes: self.retired_mems(holder).values().sum(),
        });
        (count, oldest.collect())
    }

    /// Bytes of the MemTables that `holder` walks and its keyspace no longer has, by
    /// their address: several holders may have the same.
    fn retired_mems(&self, holder: &Holder) -> BTreeMap<usize, u64> {
        let keyspaces = self.keyspaces.load();
        let present = keyspaces[holder.keyspace].view.load();
        let walked = holder.views().flat_map(|view| view.mems());
        let retired = walked.filter(|mem| !present.holds(mem));
        retired.map(|mem| (Arc::<Mem>::as_ptr(mem).addr(), mem.table.size_bytes() as u64)).collect()
    }

    /// Why `needed` bytes cannot be had, and what to do about it, for an error.
    pub(crate) fn why_no_room(&self, needed: u64) -> String {
        let budget = &self.budget;
        let now_ns = self.env.clock.monotonic_ns();
        let mut groups = BTreeMap::<HolderKind, Group>::new();
        for holder in self.holders.all() {
            let mems = self.retired_mems(&holder);
            if !mems.is_empty() {
                let group = groups.entry(holder.kind).or_default();
                group.count += 1;
                group.oldest_ns = group.oldest_ns.max(now_ns.saturating_sub(holder.opened_ns));
                group.mems.extend(mems);
            }
        }
        let mut held = Vec::new();
        for (kind, group) in &groups {
            held.push(format!(
                "{} {}{} open for {} hold{} {}",
                group.count,
                kind.name(),
                if group.count == 1 { "" } else { "s" },
                Age(group.oldest_ns),
                if group.count == 1 { "s" } else { "" },
                Bytes(group.mems.values().sum())
            ));
        }
        let claims = budget.account.of(Part::Claims);
        if claims > 0 {
            held.push(format!("the program has claimed {}", Bytes(claims)));
        }
        let readers = budget.account.of(Part::Readers);
        if readers > budget.total / 64 {
            held.push(format!("cursors and iterators take {}", Bytes(readers)));
        }
        let stuck = budget.granted().saturating_sub(budget.caches_floor());
        if stuck > 0 {
            held.push(format!("values in use keep {} of blocks", Bytes(stuck)));
        }
        let mut text = String::new();
        let free = budget.total.saturating_sub(budget.taken() + budget.granted());
        // A string takes all text.
        let _ = write!(
            text,
            "{} are needed, {} of the budget of {} can be had",
            Bytes(needed),
            Bytes(free),
            Bytes(budget.total)
        );
        if !held.is_empty() {
            let _ = write!(text, "; {}", held.join(", "));
        }
        text.push_str(match (groups.is_empty(), claims) {
            (false, _) => "; close them or move them on, or give the database more memory",
            (true, 1..) => "; give claims back, or give the database more memory",
            (true, 0) => "; give the database more memory",
        });
        text
    }
}

/// A time for people.
struct Age(u64);

impl std::fmt::Display for Age {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 / 1_000_000 {
            ms @ 0..1_000 => write!(f, "{ms} ms"),
            ms @ 1_000..120_000 => write!(f, "{} s", ms / 1_000),
            ms => write!(f, "{} min", ms / 60_000),
        }
    }
}
