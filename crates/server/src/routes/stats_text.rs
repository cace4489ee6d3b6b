//! Statistics as text for a person: one line a tier, one line a level.

use super::stats_report::AllStats;
use crate::encoding::rfc3339;
use std::fmt::{self, Display, Formatter, Write};
use tanada::{CacheStats, JobStats, KeyspaceStats, Stats};

/// The whole page.
pub(super) fn render(all: &AllStats) -> String {
    let mut out = String::with_capacity(4096);
    write_all(&mut out, all).expect("a string takes all text");
    out
}

fn write_all(out: &mut String, all: &AllStats) -> fmt::Result {
    let Stats {
        operations,
        dead_keys,
        memory,
        filter,
        tables,
        obsolete,
        wal,
        stalls,
        amplification,
        ..
    } = &all.engine;
    writeln!(out, "database    {} at {}", all.engine.database_id, all.engine.path.display())?;
    writeln!(
        out,
        "            up {}, lineage {}, sequence number {}, next {}, durability {:?}",
        Millis(all.engine.uptime_ms),
        all.engine.lineage,
        all.engine.seqno,
        all.engine.next_seqno,
        all.engine.durability
    )?;
    let clock = &all.engine.clock;
    writeln!(
        out,
        "clock       {:?}: says {}, {} is believed, what expired by {} may be removed; held {} times",
        clock.state,
        rfc3339(clock.wall_ms),
        rfc3339(clock.believed_ms),
        rfc3339(clock.removable_ms),
        clock.holds
    )?;
    if let Some(ms) = clock.held_for_ms {
        writeln!(out, "CLOCK HELD  for {}: set it right, or POST /v1/admin/clock", Millis(ms))?;
    }
    if let Some(reason) = &all.engine.read_only {
        writeln!(out, "READ-ONLY   {reason}")?;
    }
    writeln!(
        out,
        "operations  {} puts, {} deletes, {} batches, {} gets ({} found, {} in memtables), {} scans",
        operations.puts,
        operations.deletes,
        operations.batches,
        operations.gets,
        operations.gets_found,
        operations.memtable_hits,
        operations.scans
    )?;
    writeln!(
        out,
        "dead keys   scans stepped over {} entries one by one and over {} spans, \
         which paid for {} flushes and {} tables; {} spans are known, {}",
        dead_keys.entries_stepped_over,
        dead_keys.spans_stepped_over,
        dead_keys.flushes_paid,
        dead_keys.tables_paid,
        dead_keys.spans,
        Bytes(dead_keys.span_bytes)
    )?;
    writeln!(
        out,
        "memory      {} of {}: memtables {} ({} of them held by readers alone), pool {}, row cache {}, \
         block cache {} ({} of them on huge pages), tables {}, jobs {}, readers {}, queue {}, claimed {}, trees {}",
        Bytes(memory.used_bytes),
        Bytes(memory.budget_bytes),
        Bytes(memory.memtable_bytes),
        Bytes(memory.memtable_held_bytes),
        Bytes(memory.pooled_bytes),
        Bytes(memory.row_cache_bytes),
        Bytes(memory.block_cache_bytes),
        Bytes(memory.block_cache_huge_page_bytes),
        Bytes(memory.table_bytes),
        Bytes(memory.job_bytes),
        Bytes(memory.reader_bytes),
        Bytes(memory.queue_bytes),
        Bytes(memory.claimed_bytes),
        Bytes(memory.tree_bytes)
    )?;
    if let Some(resident) = memory.resident_bytes {
        writeln!(out, "            {} resident in the whole process", Bytes(resident))?;
    }
    writeln!(
        out,
        "            a batch, and so about a value, is at most {} (3/16 of the budget)",
        Bytes(memory.largest_batch_bytes)
    )?;
    for reader in &memory.oldest_readers {
        writeln!(
            out,
            "reader      {}{}, open for {}, holds {} of memtables",
            reader.kind,
            reader.keyspace.as_ref().map(|name| format!(" over {name}")).unwrap_or_default(),
            Millis(reader.age_ms),
            Bytes(reader.memtable_bytes)
        )?;
    }
    cache(out, "L1 rows", &all.engine.row_cache)?;
    cache(out, "L2 blocks", &all.engine.block_cache)?;
    writeln!(
        out,
        "filters     {} probes: {} negative, {} true positive, {} false positive; \
         false-positive rate {:.3} % measured, {:.3} % theoretical; {:.1} bits a key, {}",
        filter.probes,
        filter.negatives,
        filter.true_positives,
        filter.false_positives,
        filter.measured_false_positive_rate * 100.0,
        filter.theoretical_false_positive_rate * 100.0,
        filter.bits_per_key,
        Bytes(filter.bytes)
    )?;
    writeln!(
        out,
        "tables      {} open, {} of memory; {} opened, {} closed for others; \
         {} descriptors of {}, {} opened, {} closed for others",
        tables.open,
        Bytes(tables.resident_bytes),
        tables.openings,
        tables.closings,
        tables.descriptors,
        tables.descriptor_limit,
        tables.descriptor_openings,
        tables.descriptor_closings
    )?;
    if let Some(reason) = &tables.set_aside_reason {
        writeln!(out, "            {} set aside: {reason}", tables.set_aside)?;
    }
    writeln!(
        out,
        "obsolete    {} in {} files wait to be removed; readers hold {} in {} tables",
        Bytes(obsolete.bytes),
        obsolete.files,
        Bytes(obsolete.held_bytes),
        obsolete.held_tables
    )?;
    writeln!(
        out,
        "wal         {} in {} files; {} written in {} groups of {} batches; {} syncs of {} on average",
        Bytes(wal.bytes_on_disk),
        wal.files,
        Bytes(wal.bytes_written),
        wal.groups,
        wal.batches,
        wal.syncs,
        Nanos(wal.sync_ns.checked_div(wal.syncs).unwrap_or(0))
    )?;
    if wal.consumers > 0 || wal.held_bytes > 0 || wal.lost_windows > 0 {
        writeln!(
            out,
            "            {} consumers; {} held for them in {} files, of {} at most; {} lost their window",
            wal.consumers,
            Bytes(wal.held_bytes),
            wal.held_files,
            Bytes(wal.held_limit_bytes),
            wal.lost_windows
        )?;
    }
    for consumer in &wal.oldest_consumers {
        writeln!(
            out,
            "            '{}' is {} behind, and has not moved for {} ms",
            consumer.name,
            Bytes(consumer.lag_bytes),
            consumer.idle_ms
        )?;
    }
    jobs(out, "flush", &all.engine.flush)?;
    jobs(out, "compaction", &all.engine.compaction)?;
    let checkpoints = &all.engine.checkpoints;
    writeln!(
        out,
        "checkpoints {} made, {} failed, {} being made; the last took {} and ends with write {}; \
         {} linked, {} written",
        checkpoints.made,
        checkpoints.failed,
        checkpoints.running,
        Nanos(checkpoints.last_ns),
        checkpoints.last_seqno,
        Bytes(checkpoints.linked_bytes),
        Bytes(checkpoints.written_bytes)
    )?;
    writeln!(
        out,
        "stalls      {} writes paced for {}, {} stopped for {}; longest {}",
        stalls.paced_writes,
        Nanos(stalls.paced_ns),
        stalls.stopped_writes,
        Nanos(stalls.stopped_ns),
        Nanos(stalls.longest_ns)
    )?;
    writeln!(
        out,
        "amplified   write {:.2}, read {:.2}, space {:.2}",
        amplification.write, amplification.read, amplification.space
    )?;
    all.engine.keyspaces.iter().try_for_each(|k| keyspace(out, k))?;
    let server = &all.server;
    writeln!(
        out,
        "server      {} requests; {} connections open, {} accepted, {} refused, {} cut off; \
         {} writes queued, {} committed in {} groups; {} scans open",
        server.connections.requests,
        server.connections.open,
        server.connections.accepted,
        server.connections.refused,
        server.connections.cut_off,
        server.queued_writes,
        server.committed_requests,
        server.commit_groups,
        server.open_scans
    )
}

fn cache(out: &mut String, name: &str, cache: &CacheStats) -> fmt::Result {
    writeln!(
        out,
        "{name:<11} {} hits, {} misses ({:.1} % hit), {} entries, {} of {}, {} evicted",
        cache.hits,
        cache.misses,
        cache.hit_ratio * 100.0,
        cache.entries,
        Bytes(cache.used_bytes),
        Bytes(cache.capacity_bytes),
        cache.evictions
    )
}

fn jobs(out: &mut String, name: &str, jobs: &JobStats) -> fmt::Result {
    writeln!(
        out,
        "{name:<11} {} done, {} running, {} pending; {} read, {} written, {} of {} entries kept, {} moves, {} busy, {} waited for readers",
        jobs.jobs,
        jobs.running,
        Bytes(jobs.pending_bytes),
        Bytes(jobs.bytes_read),
        Bytes(jobs.bytes_written),
        jobs.entries_out,
        jobs.entries_in,
        jobs.trivial_moves,
        Nanos(jobs.busy_ns),
        Nanos(jobs.yielded_ns)
    )
}

fn keyspace(out: &mut String, keyspace: &KeyspaceStats) -> fmt::Result {
    writeln!(
        out,
        "keyspace {:?}: memtables {} entries in {} ({} sealed); tables {} entries in {}",
        keyspace.name,
        keyspace.memtable_entries,
        Bytes(keyspace.memtable_bytes),
        keyspace.sealed_memtables,
        keyspace.table_entries,
        Bytes(keyspace.table_bytes)
    )?;
    for level in keyspace.levels.iter().filter(|level| level.tables > 0) {
        writeln!(
            out,
            "  L{}  {} runs, {} tables, {} of {}, {} entries, {} tombstones",
            level.level,
            level.runs,
            level.tables,
            Bytes(level.bytes),
            Bytes(level.target_bytes),
            level.entries,
            level.tombstones
        )?;
    }
    Ok(())
}

struct Bytes(u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut size = self.0 as f64;
        let mut unit = 0;
        while size >= 1024.0 && unit + 1 < UNITS.len() {
            size /= 1024.0;
            unit += 1;
        }
        let digits = usize::from(unit > 0);
        write!(f, "{size:.digits$} {}", UNITS[unit])
    }
}

struct Nanos(u64);

impl Display for Nanos {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..1_000 => write!(f, "{} ns", self.0),
            1_000..1_000_000 => write!(f, "{:.1} µs", self.0 as f64 / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} ms", self.0 as f64 / 1e6),
            _ => write!(f, "{:.1} s", self.0 as f64 / 1e9),
        }
    }
}

struct Millis(u64);

impl Display for Millis {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Nanos(self.0.saturating_mul(1_000_000)).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_written_for_people() {
        let sizes = [0, 1023, 1024, 1536, 5 << 30].map(|b| Bytes(b).to_string());
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 GiB"]);
        let times = [5, 1_500, 2_000_000, 61_000_000_000].map(|n| Nanos(n).to_string());
        assert_eq!(times, ["5 ns", "1.5 µs", "2.0 ms", "61.0 s"]);
    }
}
