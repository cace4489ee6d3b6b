//! Every place of the engine that calls the file system meets every fault that can
//! happen there. Alone in its file: a course must make the same calls each time, and
//! other threads of the process may hold what it would free.

use tanada_sim::sweep::{Fault, sweep};

#[test]
fn every_call_to_the_file_system_meets_every_fault_and_the_database_comes_back() {
    let report = sweep(None);
    let gaps = report.gaps();
    assert!(gaps.is_empty(), "{} gaps:\n{}", gaps.len(), gaps.join("\n"));
    for (fault, sum) in Fault::ALL.into_iter().zip(report.sums()) {
        assert!(sum.injected > 0 && sum.recovered == sum.injected, "{fault:?}: {sum:?}");
    }
}
