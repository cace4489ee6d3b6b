//! What holds all along, however long a life lasts: memory within its budget, no byte on
//! the disk without a reason, statistics that are true; and behind a night in which nobody
//! held anything, no more garbage than docs/guide/space.md says.

use super::{MOST_STEPS, QUIET, Simulation};
use crate::operation::Operation;
use crate::oracle::Moment;
use crate::plan::Kept;
use crate::runner::PATH;
use std::path::Path;
use std::time::Duration;
use tanada::Stats;

/// Turns between two looks.
const LOOK_EVERY: u64 = 8;
/// What a table of a few entries takes besides them: its fences, index, filter and ends.
const TABLE_BYTES: u64 = 1_200;
/// What an entry takes besides its key and value, in a block of its own at most.
const ENTRY_BYTES: u64 = 40;
/// Two MemTables, and a minute of flushes: none behind a night.
const MEMTABLES: u64 = 2;
/// No counter of a life gets so far. One that was taken below zero does.
const ABSURD: u64 = 1 << 60;

impl Simulation {
    /// Looks at what must hold between any two turns.
    pub(super) fn check_bounds(&mut self) {
        self.turns += 1;
        if !self.turns.is_multiple_of(LOOK_EVERY) {
            return;
        }
        let stats = self.note_work();
        // Where calls fail or the disk is full, files may lie about.
        if self.scarred {
            return;
        }
        let memory = &stats.memory;
        assert!(memory.used_bytes <= memory.budget_bytes, "over the budget: {memory:?}");
        assert_eq!(stats.seqno, self.world.oracle.lock().visible, "the newest visible write");
        assert_no_wrap(&stats);
        let wal = &stats.wal;
        assert!(wal.held_bytes <= wal.held_limit_bytes, "held beyond the bound: {wal:?}");
        let sum = |of: fn(&tanada::LevelStats) -> u64| -> u64 {
            stats.keyspaces.iter().flat_map(|keyspace| &keyspace.levels).map(of).sum()
        };
        self.summary.looks += 1;
        self.summary.most_tables = self.summary.most_tables.max(sum(|level| level.tables));
        let tables: u64 = stats.keyspaces.iter().map(|keyspace| keyspace.table_bytes).sum();
        let obsolete = stats.obsolete.bytes + stats.obsolete.held_bytes;
        let counted = tables + stats.wal.bytes_on_disk + obsolete;
        assert_eq!(self.bytes_on_disk(), counted, "bytes that no statistic knows: {stats:?}");
    }

    /// Nobody does anything for `hours`, and the background what is due.
    pub(super) fn pass_the_night(&mut self, hours: u64, kept: Kept) {
        const TEN_MINUTES: Duration = Duration::from_secs(600);
        if kept == Kept::Nothing {
            self.runner.let_go();
        }
        self.part();
        // A clock that stays wrong all night is believed in the end, little by little.
        self.runner.apply(&Operation::SetRight).expect("a clock can be set");
        let (mut steps, troubled) = (0, self.world.state.lock().may_answer_errors());
        for _ in 0..6 * hours {
            self.runner.machine().clock().advance(TEN_MINUTES);
            let mut quiet = 0;
            while quiet < QUIET && !self.has_fallen() {
                if self.runner.db().step() {
                    (steps, quiet) = (steps + 1, 0);
                    assert!(steps < MOST_STEPS, "{steps} steps in one night, and no end of work");
                } else {
                    quiet += 1;
                }
                // Looks at nothing forever count as orders, of which a turn has a bound.
                self.world.orders.new_turn(steps + quiet as u64);
            }
        }
        // So that the truth does not fall behind a clock that is wrong.
        self.runner.time().now_ms(self.runner.machine());
        let is_sound = !self.scarred && !troubled && !self.has_fallen();
        if is_sound && kept == Kept::Nothing && self.runner.time().is_right() {
            self.check_garbage();
        }
        if !self.has_fallen() {
            self.meet();
        }
    }

    /// What tables take, nobody holding anything and nothing being due.
    fn check_garbage(&mut self) {
        let now_ms = self.runner.time().believed_ms(self.runner.machine(), self.runner.db());
        let stats = self.runner.db().stats();
        let oracle = self.world.oracle.lock();
        let moment = Moment { seqno: oracle.visible, now_ms };
        let mut live = 0;
        for space in &oracle.spaces {
            for (key, versions) in &space.keys {
                let newest = versions.iter().rev().find(|version| version.seqno <= moment.seqno);
                let value = newest.and_then(|version| version.live(moment.now_ms));
                live += value.map_or(0, |value| (key.len() + value.len()) as u64 + ENTRY_BYTES);
            }
        }
        drop(oracle);
        let sum = |of: fn(&tanada::LevelStats) -> u64| -> u64 {
            stats.keyspaces.iter().flat_map(|keyspace| &keyspace.levels).map(of).sum()
        };
        self.summary.nights += 1;
        let (bytes, tables) = (sum(|level| level.bytes), sum(|level| level.tables));
        let most = live * 3 / 2 + MEMTABLES * self.memtable_bytes + tables * TABLE_BYTES;
        assert!(
            bytes <= most,
            "{tables} tables take {bytes} bytes, {most} at most, with {live} alive: {:?}",
            stats.keyspaces
        );
    }

    fn bytes_on_disk(&self) -> u64 {
        let fs = self.runner.machine().env().fs;
        let dir = Path::new(PATH);
        let names = fs.read_dir(dir).expect("the database is there");
        let names: Vec<String> = names.into_iter().map(|entry| entry.name).collect();
        // The newest is the current one, and all before it wait to be removed.
        let manifest = names.iter().filter(|name| name.starts_with("MANIFEST-")).max();
        let counts = |name: &str| match name.starts_with("MANIFEST-") {
            true => manifest.is_some_and(|current| current != name),
            false => name.ends_with(".sst") || name.ends_with(".log"),
        };
        let names = names.iter().filter(|name| counts(name));
        names.map(|name| fs.open(&dir.join(name)).expect("it is there").len()).sum()
    }
}

/// No number of these has been taken below zero, but for the ids, which may be any.
fn assert_no_wrap(stats: &Stats) {
    let text = format!("{stats:?}");
    // Ids and names are in quotes.
    for part in text.split('"').step_by(2) {
        for digits in part.split(|c: char| !c.is_ascii_digit()) {
            let number = digits.parse().unwrap_or(0);
            assert!(number < ABSURD, "{number} in {text}");
        }
    }
}
