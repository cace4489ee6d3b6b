//! `docs/benchmarks.md` and its plots, from the rows of a run.
//!
//! Everything in it follows from the rows and their header, so that it can be
//! made again without measuring: [`medians`] joins rounds, [`groups`] knows
//! what stands together and what is to be reached, [`tables`], [`plots`] and
//! [`losses`] show it.

mod medians;
mod groups;
mod tables;
mod plots;
mod losses;

use crate::engine::Outcome;
use crate::machine::{self, Header};
use crate::row::{Row, figure};
use groups::{ENGINES, GROUPS};
use medians::Medians;
use std::fmt::Write;
use std::path::Path;

/// Writes `benchmarks.md` and `benchmarks/*.svg` below `docs`.
pub fn write(results: &Path, docs: &Path) -> Outcome<()> {
    let (header, rows) = read(results)?;
    let medians = Medians::new(rows);
    let plots = docs.join("benchmarks");
    std::fs::create_dir_all(&plots)?;
    for group in GROUPS {
        plots::bars(&plots.join(format!("{}.svg", group.name)), group, &medians)?;
    }
    plots::over_time(&plots.join("overtime.svg"), LARGE_FILL, &medians)?;
    let page = docs.join("benchmarks.md");
    std::fs::write(&page, render(&header, &medians, &|name| plots.join(name).exists()))?;
    eprintln!("wrote {}", page.display());
    Ok(())
}

/// The rows of a run, in the order in which they were measured.
pub fn rows(results: &Path) -> Outcome<Vec<Row>> {
    Ok(read(results)?.1)
}

fn read(results: &Path) -> Outcome<(Header, Vec<Row>)> {
    let text = std::fs::read_to_string(results)
        .map_err(|e| format!("cannot read the rows in {}: {e}", results.display()))?;
    parse(&text)
}

const LARGE_FILL: &str = "fillrandom20m";

fn parse(text: &str) -> Outcome<(Header, Vec<Row>)> {
    let mut lines = text.lines();
    let header = machine::required(lines.next().and_then(Header::from_json))?;
    Ok((header, lines.map(Row::from_json).collect::<Outcome<_>>()?))
}

/// The page.
fn render(header: &Header, medians: &Medians, has_plot: &dyn Fn(&str) -> bool) -> String {
    let mut out = String::from("# Benchmarks\n\n");
    let command = header.get("command").unwrap_or_default();
    let _ = writeln!(
        out,
        "Written by {command}, which makes this page again; rounds: {}, interleaved, each engine \
         in a process of its own. Figures are medians, with the lowest and the highest round; a bar \
         that is reached is in bold. † was stopped by the time limit: the rate until then.\n",
        medians.rounds()
    );
    if command.contains("--quick") {
        out.push_str(
            "**This is a quick run: a tenth of the pairs for a fraction of the time. It shows that \
             everything works; do not quote it.**\n\n",
        );
    }
    out.push_str("## Where we lose\n\n");
    out.push_str(&losses::section(medians));
    out.push_str("\n## What was run, on what\n\n| | |\n|---|---|\n");
    for (name, text) in &header.0 {
        let _ = writeln!(out, "| {name} | {text} |");
    }
    out.push('\n');
    out.push_str(&scale(medians));
    for group in GROUPS {
        let missing = group.not_measured(medians);
        let measured = group.workloads.iter().any(|(w, _)| medians.rate(w, "tanada").is_some());
        if !measured {
            if let Some(reason) = missing {
                let (title, text) = (group.title, group.text);
                let _ = writeln!(out, "\n## {title}\n\n{text}\n\n**This is {reason}.**");
            }
            continue;
        }
        let _ = writeln!(out, "\n## {}\n\n{}\n", group.title, group.text);
        let plot = format!("{}.svg", group.name);
        if has_plot(&plot) {
            let _ = writeln!(out, "![{}](benchmarks/{plot})\n", group.title);
        }
        out.push_str(&tables::rates(group, medians));
        out.push_str("\np50 / p99 / p99.9 / p99.99 / longest, in µs unless it says ms:\n\n");
        out.push_str(&tables::latencies(group, medians));
        if group.name == "mixed" {
            out.push('\n');
            out.push_str(&writers(medians));
        }
        if group.name == "large" && has_plot("overtime.svg") {
            out.push_str("\n![Writes admitted in each second](benchmarks/overtime.svg)\n");
        }
    }
    let others = tables::other_bars(medians);
    if !others.is_empty() {
        let _ = writeln!(out, "\n## Bars on other figures\n\n{others}");
    }
    out.push_str("\n## CPU, memory, bytes and space\n\n");
    out.push_str(COSTS);
    out.push_str(&tables::costs(medians));
    let opening = tables::opening(medians);
    if !opening.is_empty() {
        let _ = writeln!(
            out,
            "## Opening\n\nThe kill comes after a tenth of the pairs were overwritten.\n\n{opening}"
        );
    }
    let _ = writeln!(out, "## Floors\n\n{}", tables::floors(medians));
    out.push_str("## Settings\n\n");
    out.push_str(&settings(medians));
    out.push_str(FAIRNESS);
    out
}

const COSTS: &str = "\
CPU is of the whole process, background work included. Bytes written are pages that the process \
made dirty, by `write` or through a mapping (`write_bytes` of `/proc/self/io`). Peak memory is the \
largest resident size and counts pages of mapped files, which is all of LMDB's cache; heap and \
stacks alone are in brackets, sampled 20 times a second. At rest: flushed, and nothing written for \
five seconds.\n\n";

const FAIRNESS: &str = "\
## Rules\n\n\
- Keys and values come from a seed; values compress to about half. Every value that is read is \
checked against its key, every scan for order and count, by the same code for all.\n\
- Same durability: the log is in the kernel when a write returns, and not synced, but in `fillsync`. \
LZ4 where the engine has it. Where an engine promises less, its settings below say so.\n\
- Same budget: all of Tanada must fit in it, row cache and MemTables included; peers get it as \
cache, with their memtables on top.\n\
- Every write is timed; of reads, one in eight, so that the clock does not become the workload.\n\
- Reads start when the engine has written nothing for five seconds after a flush, and after one \
pass over the data; where data is larger than memory, after two seconds of reads instead.\n\
- Engines that are too slow for three rounds run one, with shorter limits.\n";

/// Pairs and budgets, from the rows.
fn scale(medians: &Medians) -> String {
    let line = |what: &str, workload: &str| {
        let pairs = medians.median(workload, "tanada", figure::PAIRS)?;
        let memory = medians.median(workload, "tanada", figure::MEMORY)?;
        let (pairs, memory) = (tables::quantity(pairs), memory / 1_048_576.0);
        Some(format!("- {what}: {pairs} pairs, {memory:.0} MiB\n"))
    };
    [
        line("16 B + 100 B", "readrandom"),
        line("the same, with a cache for a tenth", "readtenth"),
        line("16 B + 4 KiB", "fill4k"),
        line("the large run, 16 B + 100 B", LARGE_FILL),
        line("larger than memory, 16 B + 200 B", "readrandom6m"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The other half of `readwhilewriting`.
fn writers(medians: &Medians) -> String {
    let mut out =
        String::from("| the writer beside it | a second | longest write |\n|---|---:|---:|\n");
    for (engine, title) in ENGINES {
        let of = |name| medians.median("readwhilewriting", engine, name);
        if let (Some(rate), Some(longest)) = (of(figure::WRITES), of(figure::WRITES_MAX)) {
            let rate = tables::quantity(rate);
            let _ = writeln!(out, "| {title} | {rate} | {:.1} ms |", longest / 1e6);
        }
    }
    out
}

/// Of each engine, as it printed them in its first workload of 100 B values.
fn settings(medians: &Medians) -> String {
    let mut out = String::new();
    for (engine, title) in ENGINES.iter().filter(|(engine, _)| medians.has_engine(engine)) {
        let row = ["readrandom", "fillrandom", "fillseq"]
            .into_iter()
            .find_map(|workload| medians.rows(workload, engine).first());
        let Some(row) = row else { continue };
        let _ = writeln!(out, "**{title}**\n");
        for note in &row.notes {
            let _ = writeln!(out, "- {note}");
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two rounds of three engines: first in one workload, behind in another.
    fn fixture() -> String {
        let header = Header(vec![("command".into(), "`cargo xtask bench`".into())]);
        let mut lines = vec![header.to_json()];
        for (engine, fill, read) in
            [("tanada", 3e6, 500e3), ("rocksdb", 1e6, 300e3), ("lmdb", 0.4e6, 1e6)]
        {
            for round in 0..3 {
                let factor = 1.0 + round as f64 * 0.1;
                for (workload, rate) in [("fillseq", fill), ("readrandom", read)] {
                    let mut row = Row { round, engine: engine.into(), ..Row::default() };
                    (row.run, row.workload) = ("fixture".into(), workload.into());
                    row.set(figure::RATE, rate * factor);
                    row.set(figure::P50, 1000.0);
                    row.notes = vec![format!("cache of {engine}")];
                    lines.push(row.to_json());
                }
            }
        }
        lines.join("\n")
    }

    fn page() -> String {
        let (header, rows) = parse(&fixture()).expect("own lines");
        render(&header, &Medians::new(rows), &|_| false)
    }

    #[test]
    fn a_reached_bar_is_bold_and_a_missed_one_is_among_the_losses() {
        let page = page();
        // fillseq: medians 3.3 M and 1.1 M, bar twice that.
        assert!(page.contains("| 3.30 M <br><small>3.00 M..3.60 M</small> |"), "{page}");
        assert!(page.contains("2 x the better of RocksDB, fjall: 2.20 M | **1.50** |"), "{page}");
        assert!(page.contains("is first in 1 and reaches its bar in 1."), "{page}");
        assert!(
            page.contains("| readrandom | 550 k | 0.50 of LMDB (1.10 M) | 0.50 of LMDB |"),
            "{page}"
        );
        assert!(!page.contains("| fillseq | 3.30 M | first"), "a win is no loss");
    }

    fn rendered(rows: Vec<Row>) -> String {
        let header = Header(vec![("command".into(), "`cargo xtask bench`".into())]);
        render(&header, &Medians::new(rows), &|_| false)
    }

    fn row(engine: &str, workload: &str, rate: Option<f64>) -> Row {
        let mut row = Row { engine: engine.into(), workload: workload.into(), ..Row::default() };
        rate.into_iter().for_each(|rate| row.set(figure::RATE, rate));
        row
    }

    #[test]
    fn reads_beyond_memory_are_held_against_the_devices_own_reads_not_its_syncs() {
        let page = rendered(vec![
            row("floor", "device", Some(1_000.0)),
            row("floor", "deviceread", Some(16_000.0)),
            row("tanada", "readrandom6m", Some(15_000.0)),
            row("tanada", "readloaded6m", Some(12_000.0)),
            Row { cut: true, ..row("lmdb", "readloaded6m", None) },
        ]);
        assert!(page.contains("| 15.0 k |  | 0.9 x the device: 14.4 k | **1.04** |"), "{page}");
        assert!(page.contains("| 12.0 k | † | 0.8 x the device: 12.8 k | 0.94 |"), "{page}");
        assert!(page.contains("| readloaded6m | 12.0 k | first | 0.94 of 0.8 x the device |"));
    }

    #[test]
    fn every_workload_stands_in_one_group_but_openings_which_have_a_table_of_their_own() {
        let grouped: Vec<&str> = GROUPS.iter().flat_map(|g| g.workloads).map(|(w, _)| *w).collect();
        for workload in crate::workloads::ALL.iter().filter(|w| !w.name.starts_with("open")) {
            let count = grouped.iter().filter(|w| **w == workload.name).count();
            assert_eq!(count, 1, "{}", workload.name);
        }
        for name in grouped {
            crate::workloads::find(name).expect("a group has only workloads that there are");
        }
    }

    #[test]
    fn a_machine_without_cgroups_is_said_to_have_none() {
        let mut first = row("tanada", "readrandom6m", None);
        first.notes = vec![format!("{}no root", crate::workloads::NO_CGROUP)];
        let page = rendered(vec![first]);
        let said = "**This is not measured, for there is no memory cgroup: no root.**";
        assert!(page.contains(said), "{page}");
        assert!(!page.contains("| readrandom6m |"), "{page}");
    }

    #[test]
    fn more_memory_than_the_bar_is_a_loss_whatever_the_workload() {
        let mut queue = row("tanada", "queue", Some(1.0));
        queue.set(figure::MEMORY, 128.0 * 1_048_576.0);
        queue.set(figure::PEAK, 200.0 * 1_048_576.0);
        let page = rendered(vec![queue]);
        assert!(page.contains("- queue of round 1: 200 MiB resident at the peak"), "{page}");
    }

    #[test]
    fn settings_of_every_engine_are_printed() {
        let page = page();
        for engine in ["tanada", "rocksdb", "lmdb"] {
            assert!(page.contains(&format!("- cache of {engine}")), "{page}");
        }
    }

    #[test]
    fn plots_are_made_of_whatever_is_there() {
        let dir = std::env::temp_dir().join(format!("tanada-bench-plots-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let (_, mut rows) = parse(&fixture()).expect("own lines");
        rows[0].workload = LARGE_FILL.into();
        rows[0].series = vec![1.0, 3.0, 2.0];
        let medians = Medians::new(rows);
        for group in GROUPS {
            plots::bars(&dir.join(group.name), group, &medians).expect("a plot");
        }
        plots::over_time(&dir.join("overtime"), LARGE_FILL, &medians).expect("a plot");
        let made = std::fs::read_to_string(dir.join("overtime")).expect("made");
        assert!(made.contains("<svg") && made.contains("Tanada"));
        assert!(!dir.join("ycsb").exists(), "nothing of it was measured");
        std::fs::remove_dir_all(dir).expect("own directory");
    }
}
