//! A cursor over the tables of one run.

use crate::tree::version::{Run, TableHandle};
use std::sync::Arc;
use tanada_format::{EntryRef, SeqNo};
use tanada_table::{Cursor, CursorOptions, Error, TableCursor, Value};

/// Walks sorted tables that do not overlap one behind the other, opening each
/// when it is reached.
pub(crate) struct RunCursor {
    /// Holds the handles, and with them the files, of what `current` walks.
    tables: Tables,
    options: CursorOptions,
    /// As for [`TableCursor::visible_at`]; `None` shows all versions.
    visible_at: Option<SeqNo>,
    /// As for [`TableCursor::on_demand`].
    on_demand: bool,
    /// Which table `current` walks.
    index: usize,
    current: Option<TableCursor>,
    /// As [`Cursor::take_newer`], of tables that it has left.
    newer: bool,
}

/// Whose tables are walked.
enum Tables {
    Run(Arc<Run>),
    Part(Vec<Arc<TableHandle>>),
}

impl RunCursor {
    /// Over a whole run.
    pub(crate) fn of_run(run: Arc<Run>, options: CursorOptions) -> RunCursor {
        RunCursor::of(Tables::Run(run), options)
    }

    /// Over some tables of a run, in key order.
    pub(crate) fn of_part(tables: Vec<Arc<TableHandle>>, options: CursorOptions) -> RunCursor {
        RunCursor::of(Tables::Part(tables), options)
    }

    fn of(tables: Tables, options: CursorOptions) -> RunCursor {
        RunCursor {
            tables,
            options,
            visible_at: None,
            on_demand: false,
            index: 0,
            current: None,
            newer: false,
        }
    }

    /// For one of several cursors in a merge: as [`TableCursor::on_demand`].
    pub(crate) fn on_demand(mut self) -> RunCursor {
        self.on_demand = true;
        self.current = None;
        self
    }

    /// Shows, walking forward, of each key only the newest version not newer
    /// than `seqno`, as [`TableCursor::visible_at`].
    pub(crate) fn visible_at(mut self, seqno: SeqNo) -> RunCursor {
        self.visible_at = Some(seqno);
        self.current = None;
        self
    }

    fn table(&self, index: usize) -> Option<&Arc<TableHandle>> {
        match &self.tables {
            Tables::Run(run) => run.table(index),
            Tables::Part(tables) => tables.get(index),
        }
    }

    fn table_count(&self) -> usize {
        match &self.tables {
            Tables::Run(run) => run.table_count(),
            Tables::Part(tables) => tables.len(),
        }
    }

    /// Goes to table `index`; `None` for beside the run.
    fn enter(&mut self, index: Option<usize>) -> Result<Option<&mut TableCursor>, Error> {
        let Some((index, handle)) = index.and_then(|i| Some((i, self.table(i)?))) else {
            self.newer |= self.current.take().is_some_and(|mut left| left.take_newer());
            return Ok(None);
        };
        if self.index != index || self.current.is_none() {
            let cursor = TableCursor::new(handle.table()?, self.options);
            let cursor = if self.on_demand { cursor.on_demand() } else { cursor };
            let entered = match self.visible_at {
                None => cursor,
                Some(seqno) => cursor.visible_at(seqno),
            };
            let left = self.current.replace(entered);
            self.newer |= left.is_some_and(|mut left| left.take_newer());
            self.index = index;
        }
        Ok(self.current.as_mut())
    }

    /// From a table that has been left behind to the first entry of the next.
    fn skip_forward(&mut self) -> Result<(), Error> {
        while self.current.as_ref().is_some_and(|c| !c.valid()) {
            if let Some(cursor) = self.enter(Some(self.index + 1))? {
                cursor.seek_first()?;
            }
        }
        Ok(())
    }

    fn skip_backward(&mut self) -> Result<(), Error> {
        while self.current.as_ref().is_some_and(|c| !c.valid()) {
            if let Some(cursor) = self.enter(self.index.checked_sub(1))? {
                cursor.seek_last()?;
            }
        }
        Ok(())
    }

    /// The first table that ends at or behind `key`; their number if none does.
    fn table_for(&self, key: &[u8]) -> usize {
        match &self.tables {
            Tables::Run(run) => run.lower_bound(key),
            Tables::Part(tables) => tables.partition_point(|t| &*t.meta().max_key < key),
        }
    }

    /// Invalid after an error, until the next seek.
    fn guard(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        if result.is_err() {
            self.current = None;
        }
        result
    }

    fn seek_in(
        &mut self,
        index: Option<usize>,
        seek: impl FnOnce(&mut TableCursor) -> Result<(), Error>,
        skip: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let result = self
            .enter(index)
            .and_then(|cursor| cursor.map_or(Ok(()), seek))
            .and_then(|()| skip(self));
        self.guard(result)
    }
}

impl Cursor for RunCursor {
    #[inline]
    fn valid(&self) -> bool {
        self.current.as_ref().is_some_and(Cursor::valid)
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.current.as_ref().expect("only a valid cursor is asked").key()
    }

    #[inline]
    fn is_plain(&self) -> bool {
        self.current.as_ref().expect("only a valid cursor is asked").is_plain()
    }

    #[inline]
    fn entry(&self) -> EntryRef<'_> {
        self.current.as_ref().expect("only a valid cursor is asked").entry()
    }

    fn bare_entry(&self) -> EntryRef<'_> {
        self.current.as_ref().expect("only a valid cursor is asked").bare_entry()
    }

    #[inline]
    fn load(&mut self) -> Result<(), Error> {
        let result = self.current.as_mut().map_or(Ok(()), Cursor::load);
        self.guard(result)
    }

    fn take_newer(&mut self) -> bool {
        let in_current = self.current.as_mut().is_some_and(Cursor::take_newer);
        std::mem::take(&mut self.newer) | in_current
    }

    fn value(&self) -> Value {
        self.current.as_ref().expect("only a valid cursor is asked").value()
    }

    fn seek_first(&mut self) -> Result<(), Error> {
        self.seek_in(Some(0), Cursor::seek_first, Self::skip_forward)
    }

    fn seek_last(&mut self) -> Result<(), Error> {
        let last = self.table_count().checked_sub(1);
        self.seek_in(last, Cursor::seek_last, Self::skip_backward)
    }

    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        let index = self.table_for(key);
        self.seek_in(Some(index), |c| c.seek(key, seqno), Self::skip_forward)
    }

    fn aim(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        let index = self.table_for(key);
        self.seek_in(Some(index), |c| c.aim(key, seqno), |_| Ok(()))
    }

    fn seek_aimed(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        let result = match &mut self.current {
            Some(cursor) => cursor.seek_aimed(key, seqno),
            None => Ok(()),
        };
        let result = result.and_then(|()| self.skip_forward());
        self.guard(result)
    }

    fn seek_before(&mut self, key: &[u8]) -> Result<(), Error> {
        let behind = match &self.tables {
            Tables::Run(run) => run.upper_bound(key),
            Tables::Part(tables) => tables.partition_point(|t| &*t.meta().min_key < key),
        };
        self.seek_in(behind.checked_sub(1), |c| c.seek_before(key), Self::skip_backward)
    }

    #[inline]
    fn next(&mut self) -> Result<(), Error> {
        let result = match &mut self.current {
            Some(cursor) => cursor.next(),
            None => Ok(()),
        };
        if result.is_ok() && self.valid() {
            return Ok(());
        }
        let result = result.and_then(|()| self.skip_forward());
        self.guard(result)
    }

    #[inline]
    fn prev(&mut self) -> Result<(), Error> {
        let result = match &mut self.current {
            Some(cursor) => cursor.prev(),
            None => Ok(()),
        };
        if result.is_ok() && self.valid() {
            return Ok(());
        }
        let result = result.and_then(|()| self.skip_backward());
        self.guard(result)
    }
}
