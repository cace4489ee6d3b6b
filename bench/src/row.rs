//! One measured workload of one engine: a JSON line, and what a person reads.

use crate::engine::Outcome;
use crate::measure::Timed;
use crate::workloads::NO_CGROUP;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What was measured, and of whom.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// Rows of one run are compared with each other.
    pub run: String,
    pub round: u64,
    pub engine: String,
    pub workload: String,
    /// Figures by name; the constants in [`figure`].
    pub figures: BTreeMap<String, f64>,
    /// Operations admitted in each second.
    pub series: Vec<f64>,
    /// Stopped by the time limit: the rate is that until then.
    pub cut: bool,
    /// What was set, and the engine's own counters.
    pub notes: Vec<String>,
}

/// Names of figures; each ends in its unit.
pub mod figure {
    pub const RATE: &str = "rate_per_second";
    pub const OPERATIONS: &str = "operations";
    pub const SECONDS: &str = "seconds";
    pub const P50: &str = "p50_ns";
    pub const P99: &str = "p99_ns";
    pub const P999: &str = "p999_ns";
    pub const P9999: &str = "p9999_ns";
    pub const MAX: &str = "max_ns";
    /// The writers' rate, in workloads with readers and writers; where writes are what is
    /// measured, the readers'.
    pub const WRITES: &str = "writes_per_second";
    pub const WRITES_MAX: &str = "writes_max_ns";
    pub const PAIRS: &str = "pairs";
    pub const MEMORY: &str = "memory_bytes";
    /// What the memory cgroup of the process may hold, page cache included.
    pub const CGROUP: &str = "cgroup_bytes";
    /// CPU of the whole process, background work included.
    pub const CPU: &str = "cpu_seconds";
    pub const WRITTEN: &str = "written_bytes";
    /// Resident, mapped files included.
    pub const PEAK: &str = "peak_bytes";
    /// Heap and stacks.
    pub const PEAK_ANONYMOUS: &str = "peak_anonymous_bytes";
    /// What the engine said it held when resident memory was at its largest
    /// sample.
    pub const ACCOUNTED: &str = "accounted_bytes";
    /// Keys and values that the workload wrote.
    pub const USER: &str = "user_bytes";
    /// The next four: from the first write until the engine was at rest.
    pub const SETTLED_SECONDS: &str = "settled_seconds";
    pub const SETTLED_CPU: &str = "settled_cpu_seconds";
    pub const SETTLED_WRITTEN: &str = "settled_written_bytes";
    pub const SETTLED_SPACE: &str = "settled_space_bytes";
    /// Of the last writes before a kill.
    pub const SURVIVED: &str = "survived_ratio";
    /// The lowest whole second as a share of the average.
    pub const LOWEST_SECOND: &str = "lowest_second_ratio";
}

impl Row {
    /// A row with rate and percentiles; `units` a timed operation, such as the
    /// pairs of a batch.
    pub fn of(timed: &Timed, units: u64) -> Row {
        let mut row = Row { cut: timed.cut, ..Row::default() };
        row.set(figure::RATE, timed.rate() * units as f64);
        row.set(figure::OPERATIONS, (timed.operations * units) as f64);
        row.set(figure::SECONDS, timed.seconds);
        if !timed.latency.is_empty() {
            row.set(figure::P50, timed.latency.value_at_quantile(0.5) as f64);
            row.set(figure::P99, timed.latency.value_at_quantile(0.99) as f64);
            row.set(figure::P999, timed.latency.value_at_quantile(0.999) as f64);
            row.set(figure::P9999, timed.latency.value_at_quantile(0.9999) as f64);
            row.set(figure::MAX, timed.latency.max() as f64);
        }
        row.series = timed.per_second.iter().map(|&count| (count * units) as f64).collect();
        // The last second of a run that ends in it is not whole, and not here.
        if let Some(lowest) = row.series.iter().copied().reduce(f64::min) {
            row.set(figure::LOWEST_SECOND, lowest / (timed.rate() * units as f64));
        }
        row
    }

    pub fn set(&mut self, name: &str, figure: f64) {
        self.figures.insert(name.to_owned(), figure);
    }

    pub fn get(&self, name: &str) -> Option<f64> {
        self.figures.get(name).copied()
    }

    /// Whether it was not measured because the machine, or the user, has no cgroup.
    pub fn lacks_cgroup(&self) -> bool {
        self.notes.iter().any(|note| note.starts_with(NO_CGROUP))
    }

    /// Write amplification until at rest.
    pub fn write_amplification(&self) -> Option<f64> {
        Some(self.get(figure::SETTLED_WRITTEN)? / self.get(figure::USER)?)
    }

    pub fn to_json(&self) -> String {
        let figures: Map<String, Value> =
            self.figures.iter().map(|(name, figure)| (name.clone(), json!(figure))).collect();
        json!({
            "run": self.run,
            "round": self.round,
            "engine": self.engine,
            "workload": self.workload,
            "cut": self.cut,
            "figures": figures,
            "series": self.series,
            "notes": self.notes,
        })
        .to_string()
    }

    pub fn from_json(line: &str) -> Outcome<Row> {
        let value: Value = serde_json::from_str(line)?;
        let text = |name: &str| value[name].as_str().map(str::to_owned).ok_or(format!("no {name}"));
        let list = |name: &str| value[name].as_array().cloned().unwrap_or_default();
        let figures = value["figures"].as_object().ok_or("no figures")?;
        Ok(Row {
            run: text("run")?,
            round: value["round"].as_u64().ok_or("no round")?,
            engine: text("engine")?,
            workload: text("workload")?,
            figures: figures
                .iter()
                .filter_map(|(name, figure)| Some((name.clone(), figure.as_f64()?)))
                .collect(),
            series: list("series").iter().filter_map(Value::as_f64).collect(),
            cut: value["cut"].as_bool().unwrap_or(false),
            notes: list("notes").iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
        })
    }

    /// One line for a person.
    pub fn describe(&self) -> String {
        let mut line = format!("{:<16} {:<9} ", self.workload, self.engine);
        line.push_str(&match (self.get(figure::RATE), self.get(figure::SECONDS)) {
            (Some(rate), _) => format!("{rate:>11.0}/s"),
            (None, Some(seconds)) => format!("{:>9.2} ms  ", seconds * 1e3),
            (None, None) => format!("  {}", self.notes.join("; ")),
        });
        let mut say = |text: String| {
            line.push_str(if line.ends_with("/s") || line.ends_with("  ") { "  " } else { ", " });
            line.push_str(&text);
        };
        for (name, figure) in [
            ("p50", figure::P50),
            ("p99", figure::P99),
            ("p99.9", figure::P999),
            ("max", figure::MAX),
        ] {
            if let Some(ns) = self.get(figure) {
                say(format!("{name} {:.1} µs", ns / 1e3));
            }
        }
        if let Some(writes) = self.get(figure::WRITES) {
            say(format!("writes {writes:.0}/s"));
        }
        if let Some(ns) = self.get(figure::WRITES_MAX) {
            say(format!("longest write {:.1} ms", ns / 1e6));
        }
        if let Some(share) = self.get(figure::LOWEST_SECOND) {
            say(format!("lowest second {share:.2} of the average"));
        }
        if let (Some(cpu), Some(operations)) = (self.get(figure::CPU), self.get(figure::OPERATIONS))
        {
            say(format!("CPU {:.2} µs/op", cpu * 1e6 / operations.max(1.0)));
        }
        if let Some(share) = self.get(figure::SURVIVED) {
            say(format!("{share:.2} of the last writes survived"));
        }
        if let Some(peak) = self.get(figure::PEAK) {
            say(format!("peak {:.0} MiB", peak / MIB));
        }
        if let Some(accounted) = self.get(figure::ACCOUNTED) {
            say(format!("by its own account {:.0} MiB", accounted / MIB));
        }
        if let (Some(times), Some(space), Some(cpu)) = (
            self.write_amplification(),
            self.get(figure::SETTLED_SPACE),
            self.get(figure::SETTLED_CPU),
        ) {
            say(format!(
                "at rest: written {times:.2} x, space {:.0} MiB, CPU {cpu:.1} s",
                space / MIB
            ));
        }
        if self.cut {
            say("cut by the time limit".into());
        }
        line
    }
}

const MIB: f64 = 1_048_576.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_from_its_line() {
        let mut row = Row { run: "r".into(), round: 2, cut: true, ..Row::default() };
        (row.engine, row.workload) = ("tanada".into(), "fillseq".into());
        row.set(figure::RATE, 1234.5);
        (row.series, row.notes) = (vec![1.0, 2.0], vec!["LZ4".into()]);
        assert_eq!(Row::from_json(&row.to_json()).expect("own line"), row);
        assert!(Row::from_json("{}").is_err());
    }
}
