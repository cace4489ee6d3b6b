//! The tour of the tiers, as `docs/guide/tour.md` walks it: four steps, each a
//! claim about what a person sees.
//!
//! 1. Bloom filters know the keys that were put, and not others.
//! 2. The first read of a key goes through the tiers; the second stops at L1.
//! 3. Compaction merges tables, and space comes back.
//! 4. Every tier has its statistics.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

mod support;

use serde_json::Value;
use support::{Server, skip, with_input};

/// As the tour's first command makes them: `terrace:0001` and so on, even numbers only.
fn terraces() -> String {
    (0..1000).map(|i| format!("terrace:{:04}\trice of terrace {:04}\n", 2 * i, 2 * i)).collect()
}

fn explain(server: &Server, key: &str) -> Value {
    let said = server.tanada(&["get", key, "--explain", "--json"]);
    said.json()
}

/// Tiers and answers of a read, in order: `["filter never", …]`.
fn steps(explained: &Value) -> Vec<String> {
    let steps = explained["explain"]["steps"].as_array().unwrap_or_else(|| panic!("{explained}"));
    let words = |step: &Value| {
        format!("{} {}", step["tier"].as_str().unwrap(), step["outcome"].as_str().unwrap())
    };
    steps.iter().map(words).collect()
}

fn counter(stats: &Value, path: &str) -> u64 {
    stats.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} in {stats}"))
}

/// Writes the MemTable out, and merges nothing: no key is behind `~`.
fn write_memtable_out(server: &Server) {
    server.tanada(&["compact", "--start", "~"]).ok();
}

#[test]
fn the_four_steps_of_the_tour_show_what_they_claim() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");

    // Step 1. Put several keys, and see that the filters know them and not others.
    let said = with_input(
        &data,
        &["load", "-", "--format", "tsv", "--no-header", "--json"],
        terraces().as_bytes(),
    )
    .ok();
    assert_eq!(said.json()["loaded"], 1000);
    let server = Server::start(&data, &[]);
    write_memtable_out(&server);

    let before = server.stats();
    for i in 0..50 {
        let present = steps(&explain(&server, &format!("terrace:{:04}", 40 * i)));
        assert!(present.contains(&"filter maybe".to_string()), "{present:?}");
    }
    let after_present = server.stats();
    let grew = |path: &str, from: &Value, to: &Value| counter(to, path) - counter(from, path);
    assert!(grew("/filter/true_positives", &before, &after_present) >= 50);
    assert_eq!(grew("/filter/negatives", &before, &after_present), 0);

    let mut never = 0;
    for i in 0..200 {
        // Odd numbers were never put, and lie between those that were.
        let absent = steps(&explain(&server, &format!("terrace:{:04}", 10 * i + 1)));
        never += usize::from(absent.contains(&"filter never".to_string()));
    }
    let after_absent = server.stats();
    assert!(never >= 180, "{never} of 200 absent keys were stopped by a filter");
    let stopped = grew("/filter/negatives", &after_present, &after_absent);
    let passed = grew("/filter/false_positives", &after_present, &after_absent);
    assert!(stopped >= 180 && stopped + passed >= 200, "{stopped} {passed}");
    let measured =
        after_absent.pointer("/filter/measured_false_positive_rate").unwrap().as_f64().unwrap();
    assert!(measured < 0.1, "{measured}");

    // Step 2. The first read goes through the tiers, the second stops at L1.
    let before = server.stats();
    let first = steps(&explain(&server, "terrace:0002"));
    let second = steps(&explain(&server, "terrace:0002"));
    assert!(first.contains(&"row_cache miss".to_string()), "{first:?}");
    assert!(first.contains(&"filter maybe".to_string()), "{first:?}");
    assert!(first.last().unwrap().ends_with(" hit"), "{first:?}");
    assert_eq!(second.last().unwrap(), "row_cache hit", "{second:?}");
    assert!(second.len() < first.len());
    assert!(
        !second.iter().any(|step| step.starts_with("filter") || step.starts_with("table")),
        "{second:?}"
    );
    let after = server.stats();
    assert!(grew("/row_cache/misses", &before, &after) >= 1);
    assert!(grew("/row_cache/hits", &before, &after) >= 1);
    let blocks =
        |stats: &Value| counter(stats, "/block_cache/hits") + counter(stats, "/block_cache/misses");
    assert!(blocks(&after) > blocks(&before), "the first read asked the block cache");

    // Step 3. Overwrite everything twice, delete half; then compact.
    for round in ["second", "third"] {
        let rows: String = terraces().replace("rice", round);
        let file = home.path().join("rows.tsv");
        std::fs::write(&file, rows).unwrap();
        server.tanada(&["load", file.to_str().unwrap(), "--no-header"]).ok();
        write_memtable_out(&server);
    }
    for i in 0..100 {
        server.tanada(&["delete", &format!("terrace:{:04}", 2 * i)]).ok();
    }
    let summary = server.tanada(&["compact", "--json"]).ok().json();
    let of = |name: &str| summary[name].as_u64().unwrap();
    assert!(of("tables_before") >= 2, "{summary}");
    assert!(of("tables_after") < of("tables_before"), "{summary}");
    assert!(of("bytes_after") < of("bytes_before"), "{summary}");
    assert!(of("entries_dropped") >= 1000, "{summary}");
    let scan = server.tanada(&["scan", "--keys-only"]).ok();
    assert_eq!(scan.out.lines().count(), 900);
    let kept = server.tanada(&["get", "terrace:0200"]).ok();
    assert_eq!(kept.out, "third of terrace 0200\n");
    server.tanada(&["get", "terrace:0000"]).refused(1, &["no key", "terrace:0000"]);

    // Step 4. Every tier's statistics.
    let stats = server.stats();
    for tier in ["row_cache", "block_cache"] {
        for member in ["hits", "misses", "hit_ratio", "entries", "used_bytes", "capacity_bytes"] {
            assert!(stats[tier][member].is_number(), "{tier}.{member}");
        }
    }
    for (tier, member) in [
        ("filter", "probes"),
        ("filter", "bits_per_key"),
        ("filter", "theoretical_false_positive_rate"),
        ("wal", "groups"),
        ("wal", "syncs"),
        ("flush", "jobs"),
        ("compaction", "jobs"),
        ("memory", "budget_bytes"),
    ] {
        assert!(stats[tier][member].as_f64().unwrap() > 0.0, "{tier}.{member} in {stats}");
    }
    for amplification in ["write", "read", "space"] {
        assert!(
            stats["amplification"][amplification].as_f64().unwrap() > 0.0,
            "{amplification} in {stats}"
        );
    }
    let levels = stats.pointer("/keyspaces/0/levels").and_then(Value::as_array).unwrap();
    let entries: u64 = levels.iter().map(|level| level["entries"].as_u64().unwrap()).sum();
    assert_eq!(entries, 900, "what is left lies on the levels: {levels:?}");
    let report = server.tanada(&["verify", "--json"]).ok().json();
    assert_eq!(
        (&report["entries"], &report["damage"]),
        (&900.into(), &Value::Array(vec![])),
        "{report}"
    );
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn the_tables_for_people_name_every_tier() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    with_input(&data, &["load", "-", "--format", "tsv", "--no-header"], terraces().as_bytes()).ok();
    // `script` gives the command a terminal; without it only JSON can be seen.
    let command = format!("{} stats --data {}", env!("CARGO_BIN_EXE_tanada"), data.display());
    let Ok(output) = std::process::Command::new("script")
        .args(["-q", "-e", "-c", &command, "/dev/null"])
        .env("NO_COLOR", "1")
        .output()
    else {
        return skip("no script(1) here, so no terminal");
    };
    let text = String::from_utf8_lossy(&output.stdout);
    for title in [
        "operations",
        "memory",
        "L1 rows",
        "L2 blocks",
        "Bloom filters",
        "write-ahead log",
        "keyspace default",
    ] {
        assert!(text.contains(title), "'{title}' is missing in:\n{text}");
    }
    assert!(!text.contains("\x1b["), "NO_COLOR is respected");
}
