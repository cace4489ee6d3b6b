//! Gathers [`Stats`] from all tiers.

use crate::control::account::Part;
use crate::control::counters::Count;
use crate::core::Core;
use crate::read::reading::Reading;
use crate::read::view::KeyspaceState;
use crate::tree::compaction::{Config, level_targets};
use crate::tree::version::Version;
use crate::types::stats::{
    AmplificationStats, CacheStats, ConsumerStats, DeadKeyStats, FilterStats, JobStats,
    KeyspaceStats, LevelStats, MemoryStats, ObsoleteStats, OperationStats, StallStats, Stats,
    TableStats, WalStats,
};
use crate::wal::Holder;
use std::sync::atomic::Ordering;
use tanada_table::BlockCacheStats;

/// Consumers that are told of one by one.
const MOST_CONSUMERS: usize = 16;

/// `part / whole`, 0 when there is no whole.
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn cache_stats(s: &BlockCacheStats) -> CacheStats {
    CacheStats {
        hits: s.hits(),
        misses: s.misses(),
        hit_ratio: ratio(s.hits(), s.hits() + s.misses()),
        entries: s.blocks,
        used_bytes: s.used_bytes,
        capacity_bytes: s.capacity_bytes,
        evictions: s.evictions,
    }
}

impl Core {
    /// Cost: a walk over all keyspaces, and over the tables for what their filters
    /// have answered. Stops no writer.
    pub(crate) fn stats(&self) -> Stats {
        if self.reading.health.owner.is_forked() {
            return self.stats_of_the_parents();
        }
        let count = |c| self.reading.counters.get(c);
        let (keyspaces, shape) = (self.reading.keyspaces.load(), &self.config.compaction);
        let keyspaces: Vec<_> =
            keyspaces.iter().map(|k| self.reading.keyspace_stats(k, Some(shape))).collect();
        let row_cache = self.reading.row_cache_stats();
        let blocks = self.reading.block_cache.stats();
        let block_cache = cache_stats(&blocks);
        let wal = self.wal_stats();
        let (flush, compaction) = self.job_stats();
        let written = wal.bytes_written + flush.bytes_written + compaction.bytes_written;
        let memory = self.reading.memory_stats(&row_cache, &blocks);
        let visible = self.reading.visible();
        Stats {
            database_id: self.reading.database_id.to_string(),
            lineage: self.reading.lineage.to_string(),
            path: self.reading.path.clone(),
            durability: self.config.durability,
            read_only: self.reading.health.read_only_reason(),
            seqno: visible.0,
            next_seqno: self.seqnos.first.max(visible.plus(1)).0,
            uptime_ms: self.reading.env.clock.monotonic_ns().saturating_sub(self.opened_ns)
                / 1_000_000,
            clock: self.reading.clock_stats(),
            operations: OperationStats {
                puts: count(Count::Puts),
                deletes: count(Count::Deletes),
                batches: count(Count::Batches),
                gets: count(Count::Gets),
                gets_found: count(Count::GetsFound),
                memtable_hits: count(Count::MemTableHits),
                scans: count(Count::Scans),
                user_bytes_written: count(Count::UserBytesWritten),
            },
            dead_keys: self.reading.dead_key_stats(),
            amplification: AmplificationStats {
                write: ratio(written, count(Count::UserBytesWritten)),
                read: ratio(count(Count::TableProbes), count(Count::Gets)),
                space: self.reading.space_amplification(),
            },
            memory,
            row_cache,
            block_cache,
            filter: self.reading.filter_stats(),
            wal,
            obsolete: self.reading.obsolete_stats(),
            flush,
            compaction,
            offloaded: self.jobs.offloaded.stats(),
            checkpoints: self.jobs.checkpoints.stats(),
            stalls: StallStats {
                paced_writes: count(Count::PacedWrites),
                paced_ns: count(Count::PacedNs),
                stopped_writes: count(Count::StoppedWrites),
                stopped_ns: count(Count::StoppedNs),
                longest_ns: self.reading.counters.longest_wait_ns(),
            },
            tables: self.table_stats(&blocks),
            keyspaces,
        }
    }

    /// What a forked child may know: which database it is, and why it is not its own.
    /// All numbers are 0: they are behind locks that may be held for ever.
    #[cold]
    fn stats_of_the_parents(&self) -> Stats {
        Stats {
            database_id: self.reading.database_id.to_string(),
            lineage: self.reading.lineage.to_string(),
            path: self.reading.path.clone(),
            durability: self.config.durability,
            read_only: Some(self.reading.health.owner.refusal().to_string()),
            ..Stats::default()
        }
    }

    fn wal_stats(&self) -> WalStats {
        let segments = self.wal.segments();
        let files = segments.len() as u64;
        let segment_bytes: u64 = segments.iter().map(|s| s.bytes).sum();
        let bytes_on_disk = segment_bytes + self.wal.spare_bytes();
        let position = self.wal.position();
        let bytes_written = position.0.saturating_sub(self.opened_position.0);
        let held = self.wal.held_logs(self.background.oldest_log(), MOST_CONSUMERS);
        let now_ns = self.reading.env.clock.monotonic_ns();
        let ms_since = |then_ns: u64| now_ns.saturating_sub(then_ns) / 1_000_000;
        let consumer = |holder: Holder| ConsumerStats {
            name: holder.name,
            age_ms: ms_since(holder.since_ns),
            idle_ms: ms_since(holder.moved_ns),
            lag_bytes: position.0.saturating_sub(holder.position.0),
        };
        let oldest_consumers = held.holders.into_iter().map(consumer).collect();
        WalStats {
            files,
            bytes_on_disk,
            bytes_written,
            groups: self.reading.counters.get(Count::Groups),
            batches: self.reading.counters.get(Count::Batches),
            syncs: self.reading.counters.get(Count::Syncs),
            sync_ns: self.reading.counters.get(Count::SyncNs),
            held_files: held.files,
            held_bytes: held.bytes,
            held_limit_bytes: held.limit_bytes,
            lost_windows: held.lost,
            consumers: held.count,
            oldest_consumers,
        }
    }

    fn job_stats(&self) -> (JobStats, JobStats) {
        let (flushes, compactions) = self.background.running();
        let (mut unflushed, mut debt) = (0, 0);
        for keyspace in self.reading.keyspaces.load().iter() {
            let view = keyspace.view.load();
            unflushed += view.sealed.iter().map(|m| m.size_bytes()).sum::<u64>();
            debt += crate::tree::compaction::debt(&view.version, &self.config.compaction);
        }
        let compaction = JobStats {
            yielded_ns: self.io_rate.waited_ns(),
            yielded_bytes: self.io_rate.held_bytes(),
            ..self.jobs.compaction.stats(compactions as u64, debt)
        };
        (self.jobs.flush.stats(flushes as u64, unflushed), compaction)
    }

    fn table_stats(&self, blocks: &BlockCacheStats) -> TableStats {
        let (set_aside, set_aside_reason) = self.background.set_aside();
        TableStats { set_aside, set_aside_reason, ..self.reading.table_stats(blocks) }
    }
}

impl Reading {
    /// Statistics of a database that was opened for reading only: of all that it has.
    pub(crate) fn stats(&self) -> Stats {
        let told = Stats {
            database_id: self.database_id.to_string(),
            lineage: self.lineage.to_string(),
            path: self.path.clone(),
            ..Stats::default()
        };
        if self.health.owner.is_forked() {
            return Stats { read_only: Some(self.health.owner.refusal().to_string()), ..told };
        }
        let count = |c| self.counters.get(c);
        let row_cache = self.row_cache_stats();
        let blocks = self.block_cache.stats();
        let visible = self.visible();
        Stats {
            read_only: self.health.read_only_reason(),
            seqno: visible.0,
            next_seqno: visible.plus(1).0,
            clock: self.clock_stats(),
            operations: OperationStats {
                gets: count(Count::Gets),
                gets_found: count(Count::GetsFound),
                memtable_hits: count(Count::MemTableHits),
                scans: count(Count::Scans),
                ..OperationStats::default()
            },
            dead_keys: self.dead_key_stats(),
            amplification: AmplificationStats {
                read: ratio(count(Count::TableProbes), count(Count::Gets)),
                space: self.space_amplification(),
                ..AmplificationStats::default()
            },
            memory: self.memory_stats(&row_cache, &blocks),
            row_cache,
            block_cache: cache_stats(&blocks),
            filter: self.filter_stats(),
            tables: self.table_stats(&blocks),
            keyspaces: self.keyspaces.load().iter().map(|k| self.keyspace_stats(k, None)).collect(),
            ..told
        }
    }

    fn table_stats(&self, blocks: &BlockCacheStats) -> TableStats {
        let open = self.tables.open_tables();
        let descriptors = self.tables.descriptors();
        TableStats {
            open: open.tables,
            resident_bytes: blocks.resident_bytes,
            openings: open.opened,
            closings: open.closed,
            descriptors: descriptors.open,
            descriptor_limit: descriptors.limit,
            descriptor_openings: descriptors.opened,
            descriptor_closings: descriptors.closed,
            ..TableStats::default()
        }
    }

    fn dead_key_stats(&self) -> DeadKeyStats {
        let (spans, span_bytes) = self.dead_spans.taken();
        DeadKeyStats {
            entries_stepped_over: self.counters.get(Count::DeadEntries),
            spans_stepped_over: self.counters.get(Count::DeadSpanSteps),
            flushes_paid: self.counters.get(Count::PaidFlushes),
            tables_paid: self.counters.get(Count::PaidTables),
            spans,
            span_bytes,
        }
    }

    /// With the caches as one look has found them: of two looks the second may find
    /// tables that the first has not.
    fn memory_stats(&self, row_cache: &CacheStats, blocks: &BlockCacheStats) -> MemoryStats {
        let budget = &self.budget;
        let of = |part| budget.account.of(part);
        let memtable_bytes = of(Part::MemTables);
        let job_bytes = budget.jobs.max(budget.job_bytes.load(Ordering::Relaxed));
        let caches = row_cache.used_bytes + blocks.used_bytes;
        let keyspaces = self.keyspaces.load();
        let views = keyspaces.iter().map(|k| k.view.load());
        let in_views: u64 =
            views.map(|v| v.mems().map(|m| m.table.size_bytes() as u64).sum::<u64>()).sum();
        let (readers, oldest_readers) = self.readers();
        MemoryStats {
            budget_bytes: budget.total,
            used_bytes: budget.account.taken() + job_bytes + caches,
            memtable_bytes,
            // A MemTable that has grown or come between the two looks is held by nobody.
            memtable_held_bytes: memtable_bytes.saturating_sub(in_views),
            pooled_bytes: of(Part::Pool),
            row_cache_bytes: row_cache.used_bytes,
            block_cache_bytes: blocks.block_bytes,
            block_cache_unlisted_bytes: blocks.unlisted_bytes,
            block_cache_huge_page_bytes: blocks.huge_page_bytes,
            block_cache_collapsed_bytes: blocks.collapsed_bytes,
            table_bytes: blocks.resident_bytes,
            job_bytes,
            reader_bytes: of(Part::Readers),
            queue_bytes: of(Part::Queue),
            claimed_bytes: of(Part::Claims),
            tree_bytes: of(Part::Trees),
            largest_batch_bytes: budget.largest_batch(),
            resident_bytes: self.env.threads.resident_bytes(),
            readers,
            oldest_readers,
        }
    }

    fn obsolete_stats(&self) -> ObsoleteStats {
        let (queued, held) = self.tables.deletions.obsolete();
        ObsoleteStats {
            files: queued.files,
            bytes: queued.bytes,
            held_tables: held.files,
            held_bytes: held.bytes,
        }
    }

    fn row_cache_stats(&self) -> CacheStats {
        let s = self.row_cache.stats();
        CacheStats {
            hits: s.hits,
            misses: s.misses,
            hit_ratio: ratio(s.hits, s.hits + s.misses),
            entries: s.entries,
            used_bytes: s.used_bytes,
            capacity_bytes: s.capacity_bytes,
            evictions: s.evictions,
        }
    }

    /// Answers are of all tables since opening, those gone included; size and
    /// theory are of the tables that are open now.
    fn filter_stats(&self) -> FilterStats {
        let answers = self.block_cache.filter_stats();
        let (mut bytes, mut keys, mut expected) = (0, 0, 0.0);
        let keyspaces = self.keyspaces.load();
        for keyspace in keyspaces.iter() {
            for handle in keyspace.view.load().version.tables() {
                let pin = tanada_table::pin();
                let Some(table) = handle.peek(&pin) else { continue };
                let properties = table.properties();
                bytes += properties.filter_bytes;
                keys += properties.keys;
                expected += properties.theoretical_false_positive_rate() * properties.keys as f64;
            }
        }
        let told_absent = answers.false_positives + answers.negatives;
        FilterStats {
            probes: answers.probes(),
            negatives: answers.negatives,
            true_positives: answers.true_positives,
            false_positives: answers.false_positives,
            measured_false_positive_rate: ratio(answers.false_positives, told_absent),
            theoretical_false_positive_rate: if keys == 0 { 0.0 } else { expected / keys as f64 },
            bits_per_key: ratio(bytes * 8, keys),
            bytes,
        }
    }

    /// Bytes of all tables against those of the last level alone: what lies
    /// above it is newer versions of what it holds, or new.
    fn space_amplification(&self) -> f64 {
        let keyspaces = self.keyspaces.load();
        let (mut all, mut last) = (0, 0);
        for keyspace in keyspaces.iter() {
            let version = &keyspace.view.load().version;
            all += version.size_bytes();
            last += version.last_level().map_or(0, |l| version.level(l).size_bytes());
        }
        ratio(all, last)
    }

    fn keyspace_stats(&self, keyspace: &KeyspaceState, shape: Option<&Config>) -> KeyspaceStats {
        let view = keyspace.view.load();
        let levels = level_stats(&view.version, shape);
        KeyspaceStats {
            id: keyspace.id.0,
            name: keyspace.name.clone(),
            memtable_entries: view.mems().map(|m| m.table.entries()).sum(),
            memtable_bytes: view.mems().map(|m| m.table.size_bytes() as u64).sum(),
            sealed_memtables: view.sealed.len() as u64,
            table_entries: levels.iter().map(|l| l.entries).sum(),
            table_bytes: levels.iter().map(|l| l.bytes).sum(),
            levels,
        }
    }
}

/// Without a shape to steer to there are no targets.
fn level_stats(version: &Version, shape: Option<&Config>) -> Vec<LevelStats> {
    let last = version.last_level().map_or(0, |level| level.index() + 1);
    let targets = shape.map(|config| level_targets(version, config));
    let levels = version.levels()[..last].iter().zip(0u8..).map(|(level, number)| LevelStats {
        level: number,
        runs: level.runs().len() as u64,
        tables: level.table_count() as u64,
        bytes: level.size_bytes(),
        target_bytes: targets.as_ref().map_or(0, |targets| targets[usize::from(number)]),
        entries: level.sums().entries,
        tombstones: level.sums().tombstones,
    });
    levels.collect()
}

#[cfg(test)]
mod tests {
    use crate::Db;
    use tanada_vfs::Env;

    /// Statistics took the bytes of the cache from one look and those of open tables from
    /// a second. A table that was opened in between gave less than nothing: a panic of
    /// `stats` with overflow checks (22 times in 15 s beside a writer), as shipped
    /// 18446744073709537196 bytes.
    #[test]
    fn a_table_that_is_opened_while_statistics_are_gathered_leaves_their_sums_right() {
        let db = Db::builder("db").memory(16 << 20).env(Env::memory(1)).open().unwrap();
        for n in 0..2000u32 {
            db.put(n.to_be_bytes(), [n as u8; 100]).unwrap();
        }
        db.flush().unwrap();
        let core = db.default_keyspace().core();
        let (rows, blocks) = (core.reading.row_cache_stats(), core.reading.block_cache.stats());
        db.get(7u32.to_be_bytes()).unwrap().unwrap();
        let after = core.reading.block_cache.stats();
        assert!(after.resident_bytes > blocks.used_bytes, "the get opened a table");
        let (memory, tables) =
            (core.reading.memory_stats(&rows, &blocks), core.table_stats(&blocks));
        assert_eq!(memory.block_cache_bytes + memory.table_bytes, blocks.used_bytes);
        assert_eq!(tables.resident_bytes, memory.table_bytes);
        let all = db.stats();
        let parts = all.memory.block_cache_bytes + all.memory.table_bytes;
        assert_eq!(parts, all.block_cache.used_bytes);
    }
}
