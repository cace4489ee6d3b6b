//! Figures as Markdown tables.

use super::groups::{ENGINES, Group, others};
use super::medians::{Medians, Spread};
use crate::floor;
use crate::row::{Row, figure};
use std::fmt::Write;

/// Three digits and a letter: 1.03 M.
pub fn quantity(n: f64) -> String {
    let (scaled, letter) = match n.abs() {
        n if n >= 999.5e6 => (n / 1e9, " G"),
        n if n >= 999.5e3 => (n / 1e6, " M"),
        n if n >= 999.5 => (n / 1e3, " k"),
        n => (n, ""),
    };
    let digits = match scaled {
        s if s >= 100.0 => 0,
        s if s >= 10.0 => 1,
        _ => 2,
    };
    format!("{:.digits$}{letter}", if n < 0.0 { -scaled } else { scaled })
}

/// Engines that have any of these workloads, as indexes.
fn present(workloads: &[&str], medians: &Medians) -> Vec<(&'static str, &'static str)> {
    let has = |e: &str| workloads.iter().any(|w| !medians.rows(w, e).is_empty());
    ENGINES.iter().filter(|(engine, _)| has(engine)).copied().collect()
}

fn head(out: &mut String, first: &str, columns: &[String]) {
    let _ = writeln!(out, "| {first} | {} |", columns.join(" | "));
    let _ = writeln!(out, "|---|{}", "---:|".repeat(columns.len()));
}

/// Rates of a group, with the bar of each workload.
pub fn rates(group: &Group, medians: &Medians) -> String {
    let workloads: Vec<&str> = group.workloads.iter().map(|(w, _)| *w).collect();
    let engines = present(&workloads, medians);
    let mut columns: Vec<String> = engines.iter().map(|(_, title)| title.to_string()).collect();
    columns.extend(["bar", "Tanada / bar"].map(str::to_owned));
    let mut out = String::new();
    head(&mut out, "a second", &columns);
    for (workload, bar) in group.workloads {
        let cells: Vec<String> =
            engines.iter().map(|(engine, _)| rate_cell(medians, workload, engine)).collect();
        let want = bar.rate(workload, medians);
        let reached = want.and_then(|want| Some(medians.rate(workload, "tanada")? / want));
        let _ = writeln!(
            out,
            "| {workload} | {} | {}{} | {} |",
            cells.join(" | "),
            bar.describe(),
            want.map_or(String::new(), |want| format!(": {}", quantity(want))),
            reached.map_or("".into(), |ratio| match ratio >= 1.0 {
                true => format!("**{ratio:.2}**"),
                false => format!("{ratio:.2}"),
            }),
        );
    }
    out
}

fn rate_cell(medians: &Medians, workload: &str, engine: &str) -> String {
    let cut = if medians.cut(workload, engine) { " †" } else { "" };
    // Without a rate it was not done with what comes before.
    let rate = medians.spread(workload, engine, figure::RATE).map_or(String::new(), with_spread);
    format!("{rate}{cut}").trim_start().to_owned()
}

fn with_spread(spread: Spread) -> String {
    match spread.count {
        1 => quantity(spread.middle),
        _ => format!(
            "{} <br><small>{}..{}</small>",
            quantity(spread.middle),
            quantity(spread.low),
            quantity(spread.high)
        ),
    }
}

/// Percentiles of a group's operations, in microseconds.
pub fn latencies(group: &Group, medians: &Medians) -> String {
    let workloads: Vec<&str> = group.workloads.iter().map(|(w, _)| *w).collect();
    let engines = present(&workloads, medians);
    let mut out = String::new();
    head(&mut out, "µs", &engines.iter().map(|(_, title)| title.to_string()).collect::<Vec<_>>());
    for workload in workloads {
        let cell = |engine: &str| {
            let of = |name| medians.median(workload, engine, name).map(|ns| micros(ns / 1e3));
            let names = [figure::P50, figure::P99, figure::P999, figure::P9999, figure::MAX];
            let figures: Option<Vec<String>> = names.into_iter().map(of).collect();
            figures.map_or(String::new(), |figures| figures.join(" / "))
        };
        let cells: Vec<String> = engines.iter().map(|(engine, _)| cell(engine)).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            let _ = writeln!(out, "| {workload} | {} |", cells.join(" | "));
        }
    }
    out
}

fn micros(us: f64) -> String {
    match us {
        us if us >= 10_000.0 => format!("{:.0} ms", us / 1e3),
        us if us >= 10.0 => format!("{us:.0}"),
        us => format!("{us:.1}"),
    }
}

/// A table of one figure a column group, engines as columns.
struct Cost {
    title: &'static str,
    read: fn(&Row) -> Option<f64>,
    show: fn(f64) -> String,
}

const MIB: f64 = 1_048_576.0;

const COSTS: &[Cost] = &[
    Cost {
        title: "CPU µs an operation, while it ran",
        read: |r| Some(r.get(figure::CPU)? * 1e6 / r.get(figure::OPERATIONS)?),
        show: |n| format!("{n:.2}"),
    },
    Cost {
        title: "peak memory, MiB (of it heap and stacks)",
        read: |r| Some(r.get(figure::PEAK)? / MIB),
        show: |n| format!("{n:.0}"),
    },
    Cost {
        title: "CPU µs an operation, until at rest",
        read: |r| Some(r.get(figure::SETTLED_CPU)? * 1e6 / r.get(figure::OPERATIONS)?),
        show: |n| format!("{n:.2}"),
    },
    Cost {
        title: "write amplification, until at rest",
        read: Row::write_amplification,
        show: |n| format!("{n:.2}"),
    },
    Cost {
        title: "space on disk at rest, of the raw data",
        read: |r| Some(r.get(figure::SETTLED_SPACE)? / r.get(figure::USER)?),
        show: |n| format!("{n:.2}"),
    },
];

/// CPU, memory, bytes written and space of the workloads that fill and of a
/// few that read.
pub fn costs(medians: &Medians) -> String {
    const OF: &[&str] = &[
        "fillrandom",
        "overwrite",
        "fill4k",
        "overwrite4k",
        "fillrandom20m",
        "readrandom",
        "readmissing",
        "readseq",
        "seek10",
        "readtenth",
        "ycsba",
        "readrandom20m",
        "readloaded6m",
        "readrandom6m",
        "overwrite6m",
    ];
    let engines = present(OF, medians);
    let titles: Vec<String> = engines.iter().map(|(_, title)| title.to_string()).collect();
    let mut out = String::new();
    for (i, cost) in COSTS.iter().enumerate() {
        let mut rows = String::new();
        for workload in OF {
            let cell = |engine: &str| {
                let Some(spread) = medians.spread_of(workload, engine, cost.read) else {
                    return String::new();
                };
                let heap = medians.median(workload, engine, figure::PEAK_ANONYMOUS);
                match heap.filter(|_| i == 1) {
                    Some(heap) => format!("{} ({:.0})", (cost.show)(spread.middle), heap / MIB),
                    None => (cost.show)(spread.middle),
                }
            };
            let cells: Vec<String> = engines.iter().map(|(engine, _)| cell(engine)).collect();
            if cells.iter().any(|cell| !cell.is_empty()) {
                let _ = writeln!(rows, "| {workload} | {} |", cells.join(" | "));
            }
        }
        if !rows.is_empty() {
            head(&mut out, cost.title, &titles);
            let _ = writeln!(out, "{rows}");
        }
    }
    out
}

/// Bars on figures that are not rates.
pub fn other_bars(medians: &Medians) -> String {
    let mut out = String::new();
    let all = others(medians);
    if all.is_empty() {
        return out;
    }
    head(&mut out, "bar", &["Tanada".into(), "at".into(), "reached".into()]);
    for other in all {
        let show = |n: f64| format!("{} {}", quantity(n), other.unit).trim_end().to_owned();
        let ok = if other.ok { "**yes**" } else { "no" };
        let (ours, bar) = (show(other.ours), show(other.bar));
        let _ = writeln!(out, "| {} | {ours} | {bar} | {ok} |", other.what);
    }
    out
}

/// Opening, and what a kill left.
pub fn opening(medians: &Medians) -> String {
    let engines = present(&["open", "openkilled"], medians);
    if engines.is_empty() {
        return String::new();
    }
    let mut out = String::new();
    head(&mut out, "", &engines.iter().map(|(_, title)| title.to_string()).collect::<Vec<_>>());
    let mut line = |name: &str, cell: &dyn Fn(&str) -> Option<String>| {
        let cells: Vec<String> =
            engines.iter().map(|(engine, _)| cell(engine).unwrap_or_default()).collect();
        let _ = writeln!(out, "| {name} | {} |", cells.join(" | "));
    };
    let seconds = |workload: &'static str| {
        move |engine: &str| {
            let seconds = medians.median(workload, engine, figure::SECONDS)?;
            Some(format!("{:.1} ms", seconds * 1e3))
        }
    };
    line("to open and get, after closing", &seconds("open"));
    line("to open and get, after a kill", &seconds("openkilled"));
    line("last 1,000 writes before the kill that are there", &|engine| {
        let share = medians.median("openkilled", engine, figure::SURVIVED)?;
        Some(format!("{:.0} %", share * 100.0))
    });
    out
}

/// What no engine gets below.
pub fn floors(medians: &Medians) -> String {
    const FLOORS: &[(&str, &str)] = &[
        (floor::DEVICE, "`pwrite` + `fdatasync` of a preallocated file, a second"),
        (floor::DEVICE_READ, "`pread` of 4 KiB at random with `O_DIRECT`, a second"),
        (floor::DEVICE_READ_2, "the same by two threads"),
        ("memcpy", "bytes copied a second, one thread"),
        ("hashmapinsert", "HashMap in memory, inserts a second"),
        ("hashmapget", "HashMap in memory, gets a second"),
        ("btreemapinsert", "BTreeMap in memory, inserts a second"),
        ("btreemapget", "BTreeMap in memory, gets a second"),
    ];
    let mut out = String::new();
    head(&mut out, "same keys and values, one thread", &["rate".into()]);
    for (workload, text) in FLOORS {
        if let Some(spread) = medians.spread(workload, floor::NAME, figure::RATE) {
            let _ = writeln!(out, "| {text} | {} |", with_spread(spread));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_three_digits() {
        let shown = [0.5, 12.34, 999.4, 1030.0, 999_600.0, 20_713_026.0, 12e9].map(quantity);
        assert_eq!(shown, ["0.50", "12.3", "999", "1.03 k", "1.00 M", "20.7 M", "12.0 G"]);
    }
}
