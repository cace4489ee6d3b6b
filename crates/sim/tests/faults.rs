//! Every place of the engine that calls the file system meets every fault that can
//! happen there. Alone in its file: a course must make the same calls each time, and
//! other threads of the process may hold what it would free.

use std::collections::BTreeSet;
use std::path::Path;
use tanada_sim::sweep::{Fault, sweep};

/// The places that a table names: file and call.
fn places(table: &str) -> BTreeSet<(&str, &str)> {
    let mut file = "";
    let mut places = BTreeSet::new();
    for line in table.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            file = heading;
        } else if line.starts_with("| `") {
            places.extend(line.split('|').nth(1).map(|call| (file, call.trim())));
        }
    }
    places
}

#[test]
fn every_call_to_the_file_system_meets_every_fault_and_the_database_comes_back() {
    let report = sweep(None);
    let gaps = report.gaps();
    assert!(gaps.is_empty(), "{} gaps:\n{}", gaps.len(), gaps.join("\n"));
    for (fault, sum) in Fault::ALL.into_iter().zip(report.sums()) {
        assert!(sum.injected > 0 && sum.recovered == sum.injected, "{fault:?}: {sum:?}");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/faults.md");
    let page = std::fs::read_to_string(file).expect("docs/faults.md is there");
    let (found, table) = (places(&page), report.to_string());
    assert!(found.len() > 80, "{found:?}");
    assert_eq!(found, places(&table), "docs/faults.md is of another day: cargo xtask faults");
}
