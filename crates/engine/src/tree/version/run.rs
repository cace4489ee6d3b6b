//! A sorted run: tables in key order that do not overlap.
//!
//! A lookup finds the one table that may hold a key without touching the tables:
//! the segment by the heads of the segments' largest keys, then the table in it.

use super::TableHandle;
use super::segment::{Heads, MOST_TABLES, Segment, Sums};
use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use tanada_format::TableId;

/// Places a run among the runs of its level: the higher, the newer.
///
/// Numbers come from the same counter as table ids (a new run takes the id of
/// its first table), so a run that is created later stands before all older ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RunId(pub(crate) u64);

/// Tables in key order.
///
/// Invariants, checked at construction:
/// 1. At least one table.
/// 2. Each table's largest key is smaller than the next one's smallest: no two
///    tables share a user key, so all versions of a key lie in one table.
pub(crate) struct Run {
    id: RunId,
    segments: Box<[Arc<Segment>]>,
    /// Of the segments' largest keys.
    heads: Heads,
    /// Index of each segment's first table, and behind these the number of tables.
    starts: Box<[usize]>,
    sums: Sums,
}

/// What leaves a run and what enters it.
#[derive(Default)]
pub(super) struct RunChange {
    /// Tables of the run.
    pub(super) out: Vec<Arc<TableHandle>>,
    /// Tables that are not in it, in any order.
    pub(super) added: Vec<Arc<TableHandle>>,
}

impl Run {
    /// A run of `tables`, which it sorts. Cost: n log n key comparisons.
    ///
    /// # Errors
    /// A sentence, when the tables overlap or there is none.
    pub(crate) fn new(id: RunId, tables: Vec<Arc<TableHandle>>) -> Result<Run, String> {
        Run::in_segments(id, tables, MOST_TABLES)
    }

    /// As [`Run::new`], in segments of at most so many tables.
    pub(super) fn in_segments(
        id: RunId,
        tables: Vec<Arc<TableHandle>>,
        most: usize,
    ) -> Result<Run, String> {
        let mut parts = Parts { most, segments: Vec::new(), small: None };
        parts.rebuilt(tables)?;
        match Run::assemble(id, parts.finish()?)? {
            Some(run) => Ok(run),
            None => Err("a run has no table".into()),
        }
    }

    /// The run after a change; `None` when no table is left. Cost: the segments that
    /// the change touches are copied, and one step for each other segment.
    ///
    /// # Errors
    /// A sentence, when tables overlap.
    pub(super) fn changed(&self, change: RunChange) -> Result<Option<Run>, String> {
        self.changed_in_segments(change, MOST_TABLES)
    }

    /// As [`Run::changed`], in segments of at most so many tables.
    pub(super) fn changed_in_segments(
        &self,
        change: RunChange,
        most: usize,
    ) -> Result<Option<Run>, String> {
        type Touched = (HashSet<TableId>, Vec<Arc<TableHandle>>);
        let mut touched: BTreeMap<usize, Touched> = BTreeMap::new();
        let last = self.segments.len() - 1;
        let at = |table: &TableHandle| self.segment_for(&table.meta().max_key).min(last);
        for table in change.out {
            touched.entry(at(&table)).or_default().0.insert(table.id());
        }
        for table in change.added {
            touched.entry(at(&table)).or_default().1.push(table);
        }
        let mut parts = Parts { most, segments: Vec::new(), small: None };
        for (index, segment) in self.segments.iter().enumerate() {
            let Some((out, added)) = touched.remove(&index) else {
                parts.untouched(segment)?;
                continue;
            };
            let stay = segment.tables().iter().filter(|table| !out.contains(&table.id()));
            parts.rebuilt(stay.cloned().chain(added).collect())?;
        }
        Run::assemble(self.id, parts.finish()?)
    }

    fn assemble(id: RunId, segments: Vec<Arc<Segment>>) -> Result<Option<Run>, String> {
        if segments.is_empty() {
            return Ok(None);
        }
        for pair in segments.windows(2) {
            if pair[0].max_key() >= pair[1].min_key() {
                let (a, b) = (pair[0].tables().last(), pair[1].tables().first());
                return Err(overlap(a, b));
            }
        }
        let mut starts = Vec::with_capacity(segments.len() + 1);
        starts.push(0);
        let mut sums = Sums::NONE;
        let mut tables = 0;
        for segment in &segments {
            tables += segment.tables().len();
            starts.push(tables);
            sums = sums.and(segment.sums());
        }
        let heads = Heads::of(segments.iter().map(|segment| segment.max_key()));
        Ok(Some(Run { id, segments: segments.into(), heads, starts: starts.into(), sums }))
    }

    /// Its place among the runs of its level.
    pub(crate) fn id(&self) -> RunId {
        self.id
    }

    /// The tables in key order.
    pub(crate) fn tables(&self) -> Tables<'_> {
        Tables { run: self, from: 0, to: self.table_count() }
    }

    /// Number of tables.
    #[inline]
    pub(crate) fn table_count(&self) -> usize {
        self.starts[self.segments.len()]
    }

    /// Sums and bounds over all tables.
    pub(crate) fn sums(&self) -> Sums {
        self.sums
    }

    /// The segments in key order: the tables of each, with what is known of them
    /// together.
    pub(crate) fn segments(
        &self,
    ) -> impl DoubleEndedIterator<Item = (Sums, &[Arc<TableHandle>])> + ExactSizeIterator {
        self.segments.iter().map(|segment| (segment.sums(), segment.tables()))
    }

    /// Bytes of all files.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.sums.size_bytes
    }

    /// Smallest user key of the run.
    pub(crate) fn min_key(&self) -> &[u8] {
        self.segments[0].min_key()
    }

    /// Largest user key of the run.
    pub(crate) fn max_key(&self) -> &[u8] {
        self.segments[self.segments.len() - 1].max_key()
    }

    /// The only table that may hold `key`. Cost: log2(n) steps in an array or two,
    /// then usually one or two key comparisons.
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Option<&Arc<TableHandle>> {
        match &*self.segments {
            [only] => only.find(key),
            segments => segments.get(self.segment_for(key))?.find(key),
        }
    }

    /// Index of the first segment whose largest key is `>= key`; their number when
    /// there is none.
    #[inline]
    fn segment_for(&self, key: &[u8]) -> usize {
        self.heads.lower_bound(key, |i| self.segments[i].max_key())
    }

    /// Index of the first table whose largest key is `>= key`; the number of
    /// tables when there is none. Where a forward scan from `key` begins.
    #[inline]
    pub(crate) fn lower_bound(&self, key: &[u8]) -> usize {
        let at = match self.segments.len() {
            1 => 0,
            _ => self.segment_for(key),
        };
        match self.segments.get(at) {
            Some(segment) => self.starts[at] + segment.lower_bound(key),
            None => self.table_count(),
        }
    }

    /// Index behind the last table whose smallest key is `< key`. Where a
    /// backward scan from `key` (exclusive) begins, one before it.
    pub(crate) fn upper_bound(&self, key: &[u8]) -> usize {
        let at = self.lower_bound(key);
        match self.table(at) {
            Some(table) if *table.meta().min_key < *key => at + 1,
            _ => at,
        }
    }

    /// The table with this index. Cost: a binary search over the segments.
    #[inline]
    pub(crate) fn table(&self, index: usize) -> Option<&Arc<TableHandle>> {
        let segment = self.segment_of(index);
        self.segments.get(segment)?.tables().get(index - self.starts[segment])
    }

    /// Which segment holds the table with this index.
    fn segment_of(&self, index: usize) -> usize {
        self.starts[1..].partition_point(|&end| end <= index)
    }

    /// The tables that may hold keys of the range.
    pub(crate) fn overlapping(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Tables<'_> {
        let from = match lower {
            Bound::Unbounded => 0,
            Bound::Included(key) => self.lower_bound(key),
            Bound::Excluded(key) => {
                let at = self.lower_bound(key);
                let ends_there = self.table(at).is_some_and(|t| *t.meta().max_key == *key);
                at + usize::from(ends_there)
            }
        };
        let to = match upper {
            Bound::Unbounded => self.table_count(),
            Bound::Excluded(key) => self.upper_bound(key),
            Bound::Included(key) => {
                let at = self.lower_bound(key);
                let begins = self.table(at).is_some_and(|t| *t.meta().min_key <= *key);
                at + usize::from(begins)
            }
        };
        Tables { run: self, from, to: to.max(from) }
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "run {} ", self.id.0)?;
        f.debug_list().entries(self.tables().iter()).finish()
    }
}

/// Tables of a run that lie side by side, in key order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tables<'r> {
    run: &'r Run,
    from: usize,
    to: usize,
}

impl<'r> Tables<'r> {
    /// How many.
    pub(crate) fn len(self) -> usize {
        self.to - self.from
    }

    /// Whether there is none.
    pub(crate) fn is_empty(self) -> bool {
        self.from == self.to
    }

    /// The table with the smallest keys.
    pub(crate) fn first(self) -> Option<&'r Arc<TableHandle>> {
        self.get(0)
    }

    /// The table with the largest keys.
    pub(crate) fn last(self) -> Option<&'r Arc<TableHandle>> {
        self.get(self.len().checked_sub(1)?)
    }

    /// The table at `index` of these.
    pub(crate) fn get(self, index: usize) -> Option<&'r Arc<TableHandle>> {
        if index < self.len() { self.run.table(self.from + index) } else { None }
    }

    /// Those from `index` of these on, at most `count`.
    pub(crate) fn window(self, index: usize, count: usize) -> Tables<'r> {
        let from = self.from + index.min(self.len());
        Tables { run: self.run, from, to: from + count.min(self.to - from) }
    }

    /// All of them in key order.
    pub(crate) fn iter(self) -> impl DoubleEndedIterator<Item = &'r Arc<TableHandle>> + Clone {
        self.parts().flat_map(|(_, tables)| tables.iter())
    }

    /// A list of their handles.
    pub(crate) fn to_vec(self) -> Vec<Arc<TableHandle>> {
        let mut tables = Vec::with_capacity(self.len());
        tables.extend(self.iter().cloned());
        tables
    }

    /// Bytes of their files. Cost: a step a segment, and a step for each table of the
    /// segments that are not all of these.
    pub(crate) fn size_bytes(self) -> u64 {
        self.parts()
            .map(|(segment, tables)| match tables.len() == segment.tables().len() {
                true => segment.sums().size_bytes,
                false => tables.iter().map(|table| table.meta().size_bytes).sum(),
            })
            .sum()
    }

    /// The segments that hold them, and of each the tables.
    fn parts(
        self,
    ) -> impl DoubleEndedIterator<Item = (&'r Segment, &'r [Arc<TableHandle>])> + Clone {
        let Tables { run, from, to } = self;
        let segments = match self.is_empty() {
            true => 0..0,
            false => run.segment_of(from)..run.segment_of(to - 1) + 1,
        };
        segments.map(move |index| {
            let start = run.starts[index];
            let segment = &*run.segments[index];
            let tables = segment.tables();
            (segment, &tables[from.saturating_sub(start)..tables.len().min(to - start)])
        })
    }
}

/// Segments being put together, none too large and, beside others, none too small.
struct Parts {
    most: usize,
    segments: Vec<Arc<Segment>>,
    /// Tables that are too few for a segment of their own; they join the next one.
    small: Option<Vec<Arc<TableHandle>>>,
}

impl Parts {
    /// A segment that stays as it is, unless a small one before it joins it.
    fn untouched(&mut self, segment: &Arc<Segment>) -> Result<(), String> {
        if self.small.is_some() {
            return self.rebuilt(segment.tables().to_vec());
        }
        self.segments.push(Arc::clone(segment));
        Ok(())
    }

    /// Tables of a segment that changed, in any order.
    fn rebuilt(&mut self, added: Vec<Arc<TableHandle>>) -> Result<(), String> {
        let mut tables = self.small.take().unwrap_or_default();
        tables.extend(added);
        if tables.is_empty() {
            return Ok(());
        }
        check_order(&mut tables)?;
        if tables.len() * 4 < self.most {
            self.small = Some(tables);
        } else {
            self.cut(&tables);
        }
        Ok(())
    }

    /// Cuts sorted tables into segments of equal length. Not filled up, or the next
    /// table that is added would cut one in two.
    fn cut(&mut self, tables: &[Arc<TableHandle>]) {
        let pieces = match tables.len() {
            len if len <= self.most => 1,
            len => len.div_ceil((self.most * 3 / 4).max(1)),
        };
        for piece in 0..pieces {
            let at = |piece: usize| piece * tables.len() / pieces;
            self.segments.push(Segment::new(tables[at(piece)..at(piece + 1)].to_vec()));
        }
    }

    fn finish(mut self) -> Result<Vec<Arc<Segment>>, String> {
        if let Some(small) = self.small.take() {
            // Nothing follows: the segment before takes them in.
            let mut tables = match self.segments.pop() {
                Some(before) => before.tables().to_vec(),
                None => Vec::new(),
            };
            tables.extend(small);
            check_order(&mut tables)?;
            self.cut(&tables);
        }
        Ok(self.segments)
    }
}

/// Sorts the tables, and refuses two that overlap.
fn check_order(tables: &mut [Arc<TableHandle>]) -> Result<(), String> {
    tables.sort_unstable_by(|a, b| a.meta().min_key.cmp(&b.meta().min_key));
    for pair in tables.windows(2) {
        if pair[0].meta().max_key >= pair[1].meta().min_key {
            return Err(overlap(Some(&pair[0]), Some(&pair[1])));
        }
    }
    Ok(())
}

fn overlap(a: Option<&Arc<TableHandle>>, b: Option<&Arc<TableHandle>>) -> String {
    match (a, b) {
        (Some(a), Some(b)) => format!("tables {a:?} and {b:?} of one run overlap"),
        _ => "a segment of a run is empty".into(),
    }
}
