//! The bar of memory: resident memory stays below the budget plus 64 MiB.
//!
//! The bar is Tanada's alone: its budget is for everything, while that of the
//! peers is for their cache.

use crate::row::{Row, figure};

/// Beside the budget: the program, its stacks, what the allocator keeps, and
/// the workload's own figures. Bytes.
pub const MARGIN_BYTES: u64 = 64 << 20;

/// The engine whose budget is for everything.
const BOUND: &str = "tanada";

/// What is to be said of a row whose peak is above the bar.
pub fn above_the_bar(row: &Row) -> Option<String> {
    let peak = row.get(figure::PEAK).filter(|_| row.engine == BOUND)?;
    let budget = row.get(figure::MEMORY)?;
    let bar = budget + MARGIN_BYTES as f64;
    (peak > bar).then(|| {
        format!(
            "{} of round {}: {:.0} MiB resident at the peak, {:.0} MiB above the bar (a budget \
             of {:.0} MiB and 64 MiB)",
            row.workload,
            row.round + 1,
            peak / MIB,
            (peak - bar) / MIB,
            budget / MIB
        )
    })
}

/// An error that names every row above the bar.
pub fn judge<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Result<(), String> {
    let above: Vec<String> = rows.into_iter().filter_map(above_the_bar).collect();
    match above.is_empty() {
        true => Ok(()),
        false => Err(format!("too much memory\n  {}", above.join("\n  "))),
    }
}

const MIB: f64 = 1_048_576.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(engine: &str, budget: u64, peak: u64) -> Row {
        let mut row = Row { engine: engine.into(), workload: "ycsba".into(), ..Row::default() };
        row.set(figure::MEMORY, budget as f64);
        row.set(figure::PEAK, peak as f64);
        row
    }

    #[test]
    fn a_peak_above_budget_and_margin_is_told_with_its_workload_and_by_how_much() {
        let (at, above) =
            (row("tanada", 384 << 20, 448 << 20), row("tanada", 384 << 20, 450 << 20));
        assert_eq!(judge([&at]), Ok(()));
        let told = judge([&at, &above]).expect_err("2 MiB above");
        assert!(told.contains("ycsba") && told.contains("450 MiB") && told.contains("2 MiB above"));
    }

    #[test]
    fn peers_are_measured_and_not_judged() {
        assert_eq!(judge([&row("rocksdb", 384 << 20, 900 << 20)]), Ok(()));
    }

    #[test]
    fn a_row_without_figures_of_memory_is_no_finding() {
        assert_eq!(judge([&Row { engine: "tanada".into(), ..Row::default() }]), Ok(()));
    }
}
