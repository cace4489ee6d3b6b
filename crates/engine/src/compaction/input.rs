//! One run of inputs, read from front to back.

use super::run::JobIo;
use crate::version::TableHandle;
use std::sync::Arc;
use tanada_format::{Corruption, EntryRef, SeqNo};
use tanada_table::{Cursor, CursorOptions, Error, TableCursor};

/// Walks the tables of one input run one behind the other. Past the block
/// cache, which a merge would only empty, and with large reads.
///
/// Invariant: a table that has been walked from its first entry to its end has
/// given out as many entries as the manifest says it has. A reader that took an
/// unreadable block for the end would otherwise delete data for good.
pub(super) struct InputCursor<'a> {
    io: &'a JobIo<'a>,
    tables: &'a [Arc<TableHandle>],
    index: usize,
    current: Option<TableCursor>,
    /// Entries given out of the current table, when it was entered at its start.
    counted: Option<u64>,
}

impl<'a> InputCursor<'a> {
    pub(super) fn new(io: &'a JobIo<'a>, tables: &'a [Arc<TableHandle>]) -> InputCursor<'a> {
        InputCursor { io, tables, index: 0, current: None, counted: None }
    }

    /// Goes to a table and lets `seek` place the cursor in it; beside the run
    /// when there is no such table.
    fn enter(
        &mut self,
        index: Option<usize>,
        seek: impl FnOnce(&mut TableCursor) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.current = None;
        self.counted = None;
        if let Some((index, handle)) = index.and_then(|i| Some((i, self.tables.get(i)?))) {
            let table = (self.io.open)(handle)?;
            let mut cursor = TableCursor::new(table, CursorOptions::compaction());
            seek(&mut cursor)?;
            self.current = Some(cursor);
            self.index = index;
        }
        Ok(())
    }

    fn enter_at_start(&mut self, index: usize) -> Result<(), Error> {
        self.enter(Some(index), TableCursor::seek_first)?;
        self.counted = self.current.is_some().then_some(0);
        Ok(())
    }

    /// Whether the cursor has walked off its table.
    fn is_off(&self) -> bool {
        self.current.as_ref().is_some_and(|cursor| !cursor.valid())
    }

    /// On to the next table that has an entry.
    fn skip_forward(&mut self) -> Result<(), Error> {
        while self.is_off() {
            self.check_count()?;
            self.enter_at_start(self.index + 1)?;
        }
        Ok(())
    }

    fn skip_backward(&mut self) -> Result<(), Error> {
        while self.is_off() {
            self.enter(self.index.checked_sub(1), TableCursor::seek_last)?;
        }
        Ok(())
    }

    fn check_count(&self) -> Result<(), Error> {
        let table = &self.tables[self.index];
        match self.counted {
            Some(found) if found != table.meta().entries => {
                let expected = table.meta().entries;
                let what = format!("it gave {found} entries where the manifest names {expected}");
                Err(Corruption::new(table.path(), 0, what).into())
            }
            _ => Ok(()),
        }
    }

    /// After an error the cursor stands nowhere.
    fn guard(&mut self, outcome: Result<(), Error>) -> Result<(), Error> {
        if outcome.is_err() {
            self.current = None;
        }
        outcome
    }
}

impl Cursor for InputCursor<'_> {
    #[inline]
    fn valid(&self) -> bool {
        self.current.as_ref().is_some_and(Cursor::valid)
    }

    #[inline]
    fn entry(&self) -> EntryRef<'_> {
        self.current.as_ref().expect("only a valid cursor is asked").entry()
    }

    fn seek_first(&mut self) -> Result<(), Error> {
        let outcome = self.enter_at_start(0).and_then(|()| self.skip_forward());
        self.guard(outcome)
    }

    fn seek_last(&mut self) -> Result<(), Error> {
        let last = self.tables.len().checked_sub(1);
        let outcome = self.enter(last, TableCursor::seek_last).and_then(|()| self.skip_backward());
        self.guard(outcome)
    }

    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        let index = self.tables.partition_point(|table| *table.meta().max_key < *key);
        let outcome = self
            .enter(Some(index), |cursor| cursor.seek(key, seqno))
            .and_then(|()| self.skip_forward());
        self.guard(outcome)
    }

    fn seek_before(&mut self, key: &[u8]) -> Result<(), Error> {
        let behind = self.tables.partition_point(|table| *table.meta().min_key < *key);
        let outcome = self
            .enter(behind.checked_sub(1), |cursor| cursor.seek_before(key))
            .and_then(|()| self.skip_backward());
        self.guard(outcome)
    }

    #[inline]
    fn next(&mut self) -> Result<(), Error> {
        let Some(cursor) = &mut self.current else { return Ok(()) };
        if let Some(counted) = &mut self.counted {
            *counted += 1;
        }
        match cursor.next() {
            Ok(()) if cursor.valid() => Ok(()),
            outcome => {
                let outcome = outcome.and_then(|()| self.skip_forward());
                self.guard(outcome)
            }
        }
    }

    fn prev(&mut self) -> Result<(), Error> {
        let Some(cursor) = &mut self.current else { return Ok(()) };
        self.counted = None;
        let outcome = cursor.prev().and_then(|()| self.skip_backward());
        self.guard(outcome)
    }
}
