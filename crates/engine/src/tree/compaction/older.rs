//! Whether older versions of a key may lie outside of a job.

use super::job::KeySpan;

/// Answers for ascending keys, by the key ranges of the tables outside.
///
/// Cost of an answer: one key comparison a run, and one step for each table
/// that the keys have passed.
#[derive(Debug)]
pub(crate) struct Older<'p, N> {
    /// Tables in key order, a run each, and the first that is not passed yet.
    runs: Vec<(&'p [N], usize)>,
}

impl<'p, N: KeySpan> Older<'p, N> {
    /// For the runs of [`super::Plan::older`].
    pub(crate) fn new(runs: &'p [Vec<N>]) -> Older<'p, N> {
        Older { runs: runs.iter().map(|tables| (&tables[..], 0)).collect() }
    }

    /// Whether a table's range covers `key`, which must not be smaller than the
    /// one asked before.
    pub(crate) fn may_hold(&mut self, key: &[u8]) -> bool {
        self.runs.iter_mut().any(|(tables, at)| {
            while tables.get(*at).is_some_and(|table| table.max_key() < key) {
                *at += 1;
            }
            tables.get(*at).is_some_and(|table| table.min_key() <= key)
        })
    }
}
