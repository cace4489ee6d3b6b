//! What [`crate::Db::stats`] answers: one plain structure for every tier.

use crate::types::options::Durability;
use std::path::PathBuf;

/// A moment's statistics. Counters run from opening; sizes are of now.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(missing_docs)] // the names are the field's own
pub struct Stats {
    pub database_id: String,
    /// Whose sequence numbers they are: 16 hex digits. Where it differs, so may what one
    /// number means.
    pub lineage: String,
    pub path: PathBuf,
    pub durability: Durability,
    /// Why writes are refused, when they are.
    pub read_only: Option<String>,
    /// Sequence number of the newest visible write.
    pub seqno: u64,
    /// That of the next write. Behind an unclean end some are left out, so that no two
    /// writes ever have the same.
    pub next_seqno: u64,
    pub uptime_ms: u64,
    pub clock: ClockStats,
    pub operations: OperationStats,
    pub dead_keys: DeadKeyStats,
    pub memory: MemoryStats,
    pub row_cache: CacheStats,
    pub block_cache: CacheStats,
    pub filter: FilterStats,
    pub tables: TableStats,
    pub wal: WalStats,
    pub obsolete: ObsoleteStats,
    pub flush: JobStats,
    pub compaction: JobStats,
    pub offloaded: OffloadedStats,
    pub checkpoints: CheckpointStats,
    pub stalls: StallStats,
    pub amplification: AmplificationStats,
    pub keyspaces: Vec<KeyspaceStats>,
}

/// The time by which expiry is judged, and the wall clock beside it; all in milliseconds,
/// moments since 1970.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ClockStats {
    /// What the wall clock says.
    pub wall_ms: u64,
    /// What is believed: by then has expired what has expired.
    pub believed_ms: u64,
    /// What has expired by then may be removed from the disk.
    pub removable_ms: u64,
    /// Whether the wall clock is believed.
    pub state: ClockState,
    /// For how long it has not been, if it is not.
    pub held_for_ms: Option<u64>,
    /// How often it was not believed from some reading on, since opening.
    pub holds: u64,
}

/// Whether the wall clock is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum ClockState {
    /// It is, or it is less than five minutes behind what was believed before.
    #[default]
    Believed,
    /// It is further ahead than elapsed time allows, and time goes on without it.
    Ahead,
    /// It is behind a time for which there is evidence, and time goes on without it.
    Behind,
}

/// Calls of the public API.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(missing_docs)]
pub struct OperationStats {
    pub puts: u64,
    pub deletes: u64,
    pub batches: u64,
    /// With those that conditions of batches have made in tables.
    pub gets: u64,
    pub gets_found: u64,
    /// Gets that a MemTable answered.
    pub memtable_hits: u64,
    pub scans: u64,
    /// Bytes of keys and values written by callers.
    pub user_bytes_written: u64,
}

/// What scans have met of keys that were deleted, overwritten or expired.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct DeadKeyStats {
    /// Entries that scans stepped over one by one, once they are closed or have met many.
    pub entries_stepped_over: u64,
    /// Spans of dead keys that scans stepped over in one step each.
    pub spans_stepped_over: u64,
    /// MemTables that were to be flushed early, because a scan had stepped over more of
    /// them than it left.
    pub flushes_paid: u64,
    /// Tables for whose rewriting scans have paid: of dead keys they stepped over as many
    /// entries as it reads. It is done at once where a table is mostly garbage.
    pub tables_paid: u64,
    /// Spans that are known now.
    pub spans: u64,
    /// Bytes that these take, part of [`MemoryStats::reader_bytes`].
    pub span_bytes: u64,
}

/// The one budget and who holds how much of it, in bytes.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MemoryStats {
    /// What the database was opened with.
    pub budget_bytes: u64,
    /// The sum of all parts below.
    pub used_bytes: u64,
    /// MemTables, by the chunks of memory they lie in: those that are filled or wait
    /// for their flush, and those that only readers still hold.
    pub memtable_bytes: u64,
    /// Of these, flushed already and held by readers alone.
    pub memtable_held_bytes: u64,
    /// Chunks of MemTables that are gone, kept for the next ones.
    pub pooled_bytes: u64,
    /// The row cache.
    pub row_cache_bytes: u64,
    /// Blocks in the block cache.
    pub block_cache_bytes: u64,
    /// Beside the sum: holes between cached blocks, blocks that only readers still hold,
    /// and buffers of scans that read ahead. The cache gives up blocks for them; a
    /// thirty-second of it, 1 MiB at least and 8 MiB at most, may come on top.
    pub block_cache_unlisted_bytes: u64,
    /// Of blocks, held and unlisted, what lies on huge pages, where the system gives any.
    pub block_cache_huge_page_bytes: u64,
    /// What was copied to huge pages since the opening. A cache that shrinks and grows
    /// copies parts of itself again.
    pub block_cache_collapsed_bytes: u64,
    /// Resident parts of open tables: top indexes, fences, handles.
    pub table_bytes: u64,
    /// Buffers of flush and compaction jobs, and the mapped log: the share kept for
    /// them, or what they have where that is more.
    pub job_bytes: u64,
    /// Cursors and iterators, without the MemTables and blocks that they walk; and the
    /// spans of dead keys that they have found.
    pub reader_bytes: u64,
    /// Batches that wait behind a commit group.
    pub queue_bytes: u64,
    /// Memory that the program has claimed by [`crate::Db::claim_memory`].
    pub claimed_bytes: u64,
    /// What the trees keep of each table, opened or not: key range, sizes, ages.
    pub tree_bytes: u64,
    /// The longest batch that is taken, and so about the longest value: 3/16 of the
    /// budget.
    pub largest_batch_bytes: u64,
    /// Resident memory of the whole process, where the system tells it.
    pub resident_bytes: Option<u64>,
    /// Live snapshots, cursors and iterators.
    pub readers: u64,
    /// The oldest of them, at most sixteen.
    pub oldest_readers: Vec<ReaderStats>,
}

/// One live snapshot, cursor or iterator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ReaderStats {
    /// `"snapshot"`, `"cursor"` or `"iterator"`.
    pub kind: &'static str,
    /// The keyspace it reads; of a snapshot, which reads all, none.
    pub keyspace: Option<String>,
    /// How long it has lived.
    pub age_ms: u64,
    /// The newest write that it sees. Compactions keep every version that it needs.
    pub seqno: u64,
    /// Bytes of MemTables that have been flushed and that it still holds. They go when
    /// it moves or is dropped. Several may hold the same ones.
    pub memtable_bytes: u64,
}

/// One cache tier.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(missing_docs)]
pub struct CacheStats {
    pub hits: u64,
    pub misses: u64,
    /// hits / (hits + misses); 0 before the first lookup.
    pub hit_ratio: f64,
    pub entries: u64,
    pub used_bytes: u64,
    pub capacity_bytes: u64,
    pub evictions: u64,
}

/// The Bloom filters of all tables.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(missing_docs)]
pub struct FilterStats {
    pub probes: u64,
    /// Probes that answered "not here".
    pub negatives: u64,
    /// "Maybe here", and it was.
    pub true_positives: u64,
    /// "Maybe here", and it was not.
    pub false_positives: u64,
    /// false_positives / (false_positives + negatives).
    pub measured_false_positive_rate: f64,
    /// What bits a key and the number of probes promise, weighed by table entries.
    pub theoretical_false_positive_rate: f64,
    pub bits_per_key: f64,
    pub bytes: u64,
}

/// Tables that are open: how many there are is a matter of the tree. Their resident
/// parts take at most half of the block cache, their files at most half of the
/// descriptors that the process may have.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(missing_docs)]
pub struct TableStats {
    pub open: u64,
    /// What they keep in memory beside the blocks in the block cache; part of
    /// `block_cache.used_bytes`.
    pub resident_bytes: u64,
    /// Tables opened, the first time or again.
    pub openings: u64,
    /// Tables closed to make room for others.
    pub closings: u64,
    /// File descriptors that tables have now.
    pub descriptors: u64,
    /// Most that they may have.
    pub descriptor_limit: u64,
    pub descriptor_openings: u64,
    /// Tables that a compaction could not read. Each is left alone for a while, longer after
    /// each try, up to an hour; all others are compacted.
    pub set_aside: u64,
    /// Why the first of them could not be read; names the file.
    pub set_aside_reason: Option<String>,
    /// Descriptors closed to make room, while their tables stayed open.
    pub descriptor_closings: u64,
}

/// Files on disk that nobody needs any more: tables that were replaced, logs whose writes
/// are in tables, old manifests.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(missing_docs)]
pub struct ObsoleteStats {
    /// They wait to be removed, or are being removed.
    pub files: u64,
    pub bytes: u64,
    /// Tables that cursors, iterators or jobs still read: they are removed once these let
    /// go of them.
    pub held_tables: u64,
    pub held_bytes: u64,
}

/// The write-ahead log.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(missing_docs)]
pub struct WalStats {
    pub files: u64,
    /// With what is reserved, and the one log that is prepared ahead.
    pub bytes_on_disk: u64,
    pub bytes_written: u64,
    /// Commit groups, each one record.
    pub groups: u64,
    pub batches: u64,
    pub syncs: u64,
    pub sync_ns: u64,
    /// Logs that no MemTable needs, kept for those who follow the changes, and for a
    /// checkpoint or a check that is under way. Part of `files` and `bytes_on_disk`.
    pub held_files: u64,
    pub held_bytes: u64,
    /// Most that they take for consumers: where it would be more, the consumer that is
    /// furthest behind loses its window.
    pub held_limit_bytes: u64,
    /// How often that has happened since opening. One that had read all that was there goes
    /// on all the same.
    pub lost_windows: u64,
    /// Those who follow the changes, or hold them.
    pub consumers: u64,
    /// The oldest of them, at most sixteen.
    pub oldest_consumers: Vec<ConsumerStats>,
}

/// One who follows the changes of the database, or holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ConsumerStats {
    /// What it was called; `"changes"` if it was not.
    pub name: String,
    /// How long it has lived.
    pub age_ms: u64,
    /// For how long it has not moved.
    pub idle_ms: u64,
    /// Bytes of log that were written behind its place.
    pub lag_bytes: u64,
}

/// Flushes or compactions.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(missing_docs)]
pub struct JobStats {
    pub jobs: u64,
    pub running: u64,
    /// Bytes that wait for such a job.
    pub pending_bytes: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub entries_in: u64,
    pub entries_out: u64,
    /// Tables moved to the next level without being rewritten.
    pub trivial_moves: u64,
    pub busy_ns: u64,
    /// How long they waited so that readers had the disk, not counted as busy; flushes never
    /// do.
    pub yielded_ns: u64,
    /// Bytes of entries that they merged at the low rate meanwhile.
    pub yielded_bytes: u64,
}

/// Compactions that a [`Compactor`](crate::Compactor) was asked for.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(missing_docs)]
pub struct OffloadedStats {
    /// Those that it carried out.
    pub done: u64,
    /// Those that it did not take: the database did them itself.
    pub declined: u64,
    /// Those that failed there, or whose outputs were refused: the database did them itself.
    pub failed: u64,
    /// What the last failure was.
    pub last_failure: Option<String>,
}

/// Checkpoints.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(missing_docs)]
pub struct CheckpointStats {
    pub made: u64,
    /// Calls that made none, those refused for their path included.
    pub failed: u64,
    pub running: u64,
    /// How long the last one took that was made; 0 before the first.
    pub last_ns: u64,
    /// Newest write in it.
    pub last_seqno: u64,
    /// Bytes of tables that all of them together share with the database, when they were
    /// made.
    pub linked_bytes: u64,
    /// Bytes that were written for them.
    pub written_bytes: u64,
}

/// How long writers waited for the background.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(missing_docs)]
pub struct StallStats {
    /// Writes slowed down to the rate at which debt is drained.
    pub paced_writes: u64,
    pub paced_ns: u64,
    /// Writes that waited because the memory budget was full.
    pub stopped_writes: u64,
    pub stopped_ns: u64,
    pub longest_ns: u64,
}

/// Amplification since opening (write, read) and of now (space).
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AmplificationStats {
    /// Bytes written to log and tables for each byte written by callers.
    pub write: f64,
    /// Table blocks looked at for each get.
    pub read: f64,
    /// Bytes of all tables for each byte in the largest level's worth of live data.
    pub space: f64,
}

/// One keyspace.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(missing_docs)]
pub struct KeyspaceStats {
    pub id: u32,
    pub name: String,
    /// Entries in MemTables, all versions and tombstones counted.
    pub memtable_entries: u64,
    pub memtable_bytes: u64,
    /// MemTables sealed and not yet flushed.
    pub sealed_memtables: u64,
    /// Entries in tables, all versions and tombstones counted.
    pub table_entries: u64,
    pub table_bytes: u64,
    /// From level 0 down to the last level that holds a table.
    pub levels: Vec<LevelStats>,
}

/// One level of one keyspace.
#[derive(Clone, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[allow(missing_docs)]
pub struct LevelStats {
    pub level: u8,
    /// Sorted runs: tables of one run do not overlap.
    pub runs: u64,
    pub tables: u64,
    pub bytes: u64,
    /// Bytes at which the level spills into the next; 0 for level 0.
    pub target_bytes: u64,
    pub entries: u64,
    pub tombstones: u64,
}
