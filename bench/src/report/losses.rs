//! Where Tanada loses: computed from the figures, never written by hand.

use super::groups::{ENGINES, GROUPS, others, title};
use super::medians::Medians;
use super::tables::quantity;
use crate::resident;
use std::fmt::Write;

/// Every workload in which it is not first or misses its bar, worst first.
pub fn section(medians: &Medians) -> String {
    let mut losses: Vec<(f64, String)> = Vec::new();
    let (mut counted, mut first, mut passed) = (0, 0, 0);
    for (workload, bar) in GROUPS.iter().flat_map(|group| group.workloads) {
        let Some(ours) = medians.rate(workload, "tanada") else { continue };
        counted += 1;
        let best = ENGINES
            .iter()
            .filter_map(|(engine, _)| Some((*engine, medians.rate(workload, engine)?)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .expect("Tanada itself is there");
        let bar_rate = bar.rate(workload, medians);
        let ratio = bar_rate.map(|want| ours / want);
        let is_first = best.0 == "tanada";
        first += usize::from(is_first);
        passed += usize::from(ratio.is_none_or(|ratio| ratio >= 1.0));
        if is_first && ratio.is_none_or(|ratio| ratio >= 1.0) {
            continue;
        }
        let mut line = format!("| {workload} | {} | ", quantity(ours));
        match is_first {
            true => line.push_str("first | "),
            false => {
                let _ = write!(
                    line,
                    "{:.2} of {} ({}) | ",
                    ours / best.1,
                    title(best.0),
                    quantity(best.1)
                );
            }
        }
        match ratio {
            Some(ratio) if ratio < 1.0 => {
                let _ = write!(line, "{ratio:.2} of {} |", bar.describe());
            }
            Some(_) => line.push_str("reached |"),
            None => line.push_str("not measured |"),
        }
        losses.push((ratio.unwrap_or(1.0).min(ours / best.1), line));
    }
    losses.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut out = format!(
        "Of {counted} workloads Tanada is first in {first} and reaches its bar in {passed}.\n"
    );
    if !losses.is_empty() {
        out.push_str("\n| workload | Tanada | against the fastest | against its bar |\n");
        out.push_str("|---|---:|---|---|\n");
        losses.iter().for_each(|(_, line)| {
            let _ = writeln!(out, "{line}");
        });
    }
    let missed: Vec<_> = others(medians).into_iter().filter(|other| !other.ok).collect();
    if !missed.is_empty() {
        out.push_str("\nAnd on figures that are not rates:\n\n");
    }
    for other in missed {
        let (ours, bar) = (quantity(other.ours), quantity(other.bar));
        let line = format!("- {}: {ours} {unit}, at {bar} {unit}", other.what, unit = other.unit);
        let _ = writeln!(out, "{}.", line.trim_end());
    }
    let mut large = medians.all_rows().filter_map(resident::above_the_bar).peekable();
    if large.peek().is_some() {
        out.push_str("\nAnd in memory:\n\n");
    }
    large.for_each(|line| {
        let _ = writeln!(out, "- {line}.");
    });
    out
}
