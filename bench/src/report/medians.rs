//! Many rounds to one figure: medians and their spread.

use crate::row::{Row, figure};
use std::collections::BTreeMap;

/// The middle of several measurements, and their ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub low: f64,
    pub middle: f64,
    pub high: f64,
    pub count: usize,
}

impl Spread {
    /// Of an even number of figures, the mean of the middle two.
    pub fn of(mut figures: Vec<f64>) -> Option<Spread> {
        figures.retain(|figure| figure.is_finite());
        figures.sort_by(f64::total_cmp);
        let count = figures.len();
        let (low, high) = (*figures.first()?, *figures.last()?);
        let middle = f64::midpoint(figures[(count - 1) / 2], figures[count / 2]);
        Some(Spread { low, middle, high, count })
    }
}

/// All rows of a run, by workload and engine.
pub struct Medians {
    rows: BTreeMap<(String, String), Vec<Row>>,
}

impl Medians {
    pub fn new(rows: Vec<Row>) -> Medians {
        let mut by_name: BTreeMap<_, Vec<Row>> = BTreeMap::new();
        for row in rows {
            by_name.entry((row.workload.clone(), row.engine.clone())).or_default().push(row);
        }
        Medians { rows: by_name }
    }

    /// All rounds of one workload of one engine.
    pub fn rows(&self, workload: &str, engine: &str) -> &[Row] {
        let key = (workload.to_owned(), engine.to_owned());
        self.rows.get(&key).map_or(&[], Vec::as_slice)
    }

    /// Every row of all of them.
    pub fn all_rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values().flatten()
    }

    /// What `read` makes of each round.
    pub fn spread_of(
        &self,
        workload: &str,
        engine: &str,
        read: impl Fn(&Row) -> Option<f64>,
    ) -> Option<Spread> {
        Spread::of(self.rows(workload, engine).iter().filter_map(read).collect())
    }

    /// One figure, over the rounds.
    pub fn spread(&self, workload: &str, engine: &str, name: &str) -> Option<Spread> {
        self.spread_of(workload, engine, |row| row.get(name))
    }

    /// The median of one figure.
    pub fn median(&self, workload: &str, engine: &str, name: &str) -> Option<f64> {
        self.spread(workload, engine, name).map(|spread| spread.middle)
    }

    /// The median rate.
    pub fn rate(&self, workload: &str, engine: &str) -> Option<f64> {
        self.median(workload, engine, figure::RATE)
    }

    /// Whether any round was stopped by the time limit.
    pub fn cut(&self, workload: &str, engine: &str) -> bool {
        self.rows(workload, engine).iter().any(|row| row.cut)
    }

    /// The most rounds that anything has.
    pub fn rounds(&self) -> usize {
        self.rows.values().map(Vec::len).max().unwrap_or(0)
    }

    /// Whether there is anything of this engine.
    pub fn has_engine(&self, engine: &str) -> bool {
        self.rows.keys().any(|(_, known)| known == engine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        let spread = Spread::of(vec![5.0, 1.0, 9.0]).expect("three figures");
        assert_eq!((spread.low, spread.middle, spread.high, spread.count), (1.0, 5.0, 9.0, 3));
        assert_eq!(Spread::of(vec![2.0, 1.0]).expect("two figures").middle, 1.5);
        assert_eq!(Spread::of(vec![f64::NAN]), None);
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
