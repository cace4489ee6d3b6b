//! `tanada stats`: what every tier holds and how well it works.

use crate::failure::Result;
use crate::place::Place;
use crate::target::Target;
use crate::terminal::{Form, Output};
use crate::units::{count, nanoseconds, size};
use clap::Args;
use serde_json::Value;

const EXAMPLES: &str = "\
Examples:
  tanada stats
  tanada stats --url http://127.0.0.1:7878
  tanada stats --json | jq .filter.measured_false_positive_rate

Counters run from the moment the database was opened: of a directory that is
this very command, so sizes and levels say more there; ask a server for rates.";

/// Show the statistics of every tier
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Stats {
    /// Answer in JSON even on a terminal
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    place: Place,
}

impl Stats {
    pub(crate) fn run(self) -> Result<()> {
        let target = Target::open_to_read(&self.place)?;
        let stats = target.stats()?;
        target.close()?;
        let mut output = Output::plain(self.json || Output::new(false).form() == Form::Json);
        match output.form() {
            Form::Json => output.line(&stats.to_string())?,
            Form::Human => show(&mut output, &stats)?,
        }
        output.finish()
    }
}

/// One number of the statistics, written in its unit.
struct Row<'a> {
    name: &'a str,
    text: String,
}

fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or_default()
}

fn ratio(of: &Value, name: &str) -> String {
    format!("{:.2} %", of[name].as_f64().unwrap_or_default() * 100.0)
}

fn show(output: &mut Output, stats: &Value) -> Result<()> {
    output.line(&format!(
        "database {} at {}",
        stats["database_id"].as_str().unwrap_or_default(),
        stats["path"].as_str().unwrap_or_default()
    ))?;
    if let Some(reason) = stats["read_only"].as_str() {
        output.line(&format!("READ-ONLY: {reason}"))?;
    }

    let operations = &stats["operations"];
    output.title("operations")?;
    rows(
        output,
        &["puts", "deletes", "batches", "gets", "gets_found", "memtable_hits", "scans"]
            .map(|name| Row { name, text: count(number(operations, name)) }),
    )?;

    let dead_keys = &stats["dead_keys"];
    output.title("dead keys")?;
    let counted = |name| Row { name, text: count(number(dead_keys, name)) };
    rows(
        output,
        &[
            counted("entries_stepped_over"),
            counted("spans_stepped_over"),
            counted("flushes_paid"),
            counted("tables_paid"),
            counted("spans"),
            Row { name: "span_bytes", text: size(number(dead_keys, "span_bytes")) },
        ],
    )?;

    let memory = &stats["memory"];
    output.title("memory")?;
    let names = [
        "budget_bytes",
        "used_bytes",
        "memtable_bytes",
        "memtable_held_bytes",
        "pooled_bytes",
        "row_cache_bytes",
        "block_cache_bytes",
        "block_cache_unlisted_bytes",
        "block_cache_huge_page_bytes",
        "block_cache_collapsed_bytes",
        "table_bytes",
        "job_bytes",
        "reader_bytes",
        "queue_bytes",
        "claimed_bytes",
        "tree_bytes",
        "resident_bytes",
        "largest_batch_bytes",
    ];
    rows(output, &names.map(|name| Row { name, text: size(number(memory, name)) }))?;
    let readers = memory["oldest_readers"].as_array().map_or(&[][..], Vec::as_slice);
    if !readers.is_empty() {
        output.title(&format!("oldest of {} readers", number(memory, "readers")))?;
    }
    for reader in readers {
        output.line(&format!(
            "{}{}, open for {} s, holds {} of memtables",
            reader["kind"].as_str().unwrap_or_default(),
            reader["keyspace"].as_str().map(|name| format!(" over {name}")).unwrap_or_default(),
            number(reader, "age_ms") / 1000,
            size(number(reader, "memtable_bytes"))
        ))?;
    }

    output.title("caches")?;
    let cache = |title: &str, name: &str| {
        let cache = &stats[name];
        vec![
            title.to_string(),
            count(number(cache, "hits")),
            count(number(cache, "misses")),
            ratio(cache, "hit_ratio"),
            count(number(cache, "entries")),
            size(number(cache, "used_bytes")),
            size(number(cache, "capacity_bytes")),
            count(number(cache, "evictions")),
        ]
    };
    output.table(
        &["cache", "hits", "misses", "hit ratio", "entries", "used", "capacity", "evictions"],
        &[cache("L1 rows", "row_cache"), cache("L2 blocks", "block_cache")],
    )?;

    let filter = &stats["filter"];
    output.title("Bloom filters")?;
    let counted = ["probes", "negatives", "true_positives", "false_positives"]
        .map(|name| Row { name, text: count(number(filter, name)) });
    rows(output, &counted)?;
    rows(
        output,
        &[
            Row {
                name: "measured false positives",
                text: ratio(filter, "measured_false_positive_rate"),
            },
            Row { name: "theoretical", text: ratio(filter, "theoretical_false_positive_rate") },
            Row {
                name: "bits a key",
                text: format!("{:.1}", filter["bits_per_key"].as_f64().unwrap_or_default()),
            },
            Row { name: "bytes", text: size(number(filter, "bytes")) },
        ],
    )?;

    let tables = &stats["tables"];
    output.title("open tables")?;
    let counted = |name| Row { name, text: count(number(tables, name)) };
    rows(
        output,
        &[
            counted("open"),
            Row { name: "resident", text: size(number(tables, "resident_bytes")) },
            counted("openings"),
            counted("closings"),
            counted("descriptors"),
            counted("descriptor_limit"),
            counted("descriptor_openings"),
            counted("descriptor_closings"),
            counted("set_aside"),
        ],
    )?;

    let wal = &stats["wal"];
    output.title("write-ahead log")?;
    let mut log = vec![
        Row { name: "files", text: count(number(wal, "files")) },
        Row { name: "on disk", text: size(number(wal, "bytes_on_disk")) },
        Row { name: "written", text: size(number(wal, "bytes_written")) },
        Row { name: "commit groups", text: count(number(wal, "groups")) },
        Row { name: "batches", text: count(number(wal, "batches")) },
        Row { name: "syncs", text: count(number(wal, "syncs")) },
        Row { name: "time in sync", text: nanoseconds(number(wal, "sync_ns")) },
    ];
    if number(wal, "consumers") > 0 || number(wal, "held_bytes") > 0 {
        log.push(Row { name: "consumers", text: count(number(wal, "consumers")) });
        log.push(Row { name: "held for them", text: size(number(wal, "held_bytes")) });
    }
    rows(output, &log)?;

    output.title("background")?;
    let job = |name: &str| {
        let job = &stats[name];
        vec![
            name.to_string(),
            count(number(job, "jobs")),
            count(number(job, "running")),
            size(number(job, "pending_bytes")),
            size(number(job, "bytes_read")),
            size(number(job, "bytes_written")),
            count(number(job, "entries_in")),
            count(number(job, "entries_out")),
            nanoseconds(number(job, "busy_ns")),
            nanoseconds(number(job, "yielded_ns")),
        ]
    };
    output.table(
        &[
            "job",
            "done",
            "running",
            "pending",
            "read",
            "written",
            "entries in",
            "out",
            "busy",
            "waited for readers",
        ],
        &[job("flush"), job("compaction")],
    )?;
    let checkpoints = &stats["checkpoints"];
    output.table(
        &["checkpoints made", "failed", "running", "linked", "written", "the last took"],
        &[vec![
            count(number(checkpoints, "made")),
            count(number(checkpoints, "failed")),
            count(number(checkpoints, "running")),
            size(number(checkpoints, "linked_bytes")),
            size(number(checkpoints, "written_bytes")),
            nanoseconds(number(checkpoints, "last_ns")),
        ]],
    )?;

    let stalls = &stats["stalls"];
    output.title("stalls")?;
    rows(
        output,
        &[
            Row { name: "paced writes", text: count(number(stalls, "paced_writes")) },
            Row { name: "stopped writes", text: count(number(stalls, "stopped_writes")) },
            Row { name: "longest", text: nanoseconds(number(stalls, "longest_ns")) },
        ],
    )?;

    let amplification = &stats["amplification"];
    output.title("amplification")?;
    let names = ["write", "read", "space"];
    rows(
        output,
        &names.map(|name| Row {
            name,
            text: format!("{:.2}", amplification[name].as_f64().unwrap_or_default()),
        }),
    )?;

    for keyspace in stats["keyspaces"].as_array().map(Vec::as_slice).unwrap_or_default() {
        levels(output, keyspace)?;
    }
    Ok(())
}

fn rows(output: &mut Output, rows: &[Row<'_>]) -> Result<()> {
    for Row { name, text } in rows {
        let name = name.trim_end_matches("_bytes").replace('_', " ");
        output.line(&format!("  {name:<26}{text:>14}"))?;
    }
    Ok(())
}

fn levels(output: &mut Output, keyspace: &Value) -> Result<()> {
    output.title(&format!("keyspace {}", keyspace["name"].as_str().unwrap_or_default()))?;
    let mut table = vec![vec![
        "memtables".to_string(),
        String::new(),
        count(1 + number(keyspace, "sealed_memtables")),
        size(number(keyspace, "memtable_bytes")),
        String::new(),
        count(number(keyspace, "memtable_entries")),
        String::new(),
    ]];
    for level in keyspace["levels"].as_array().map(Vec::as_slice).unwrap_or_default() {
        table.push(vec![
            format!("level {}", number(level, "level")),
            count(number(level, "runs")),
            count(number(level, "tables")),
            size(number(level, "bytes")),
            size(number(level, "target_bytes")),
            count(number(level, "entries")),
            count(number(level, "tombstones")),
        ]);
    }
    output.table(&["", "runs", "tables", "size", "target", "entries", "tombstones"], &table)
}
