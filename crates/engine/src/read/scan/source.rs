//! One sorted source of a scan: a MemTable or a run of tables.

use crate::memtable::MemTableCursor;
use crate::read::mem::Mem;
use crate::read::view::View;
use crate::tree::run_cursor::RunCursor;
use std::sync::Arc;
use tanada_format::{EntryRef, SeqNo};
use tanada_table::{Cursor, CursorOptions, Error, Value};

/// A cursor over one source, which shows, walking forward, of each key only
/// the newest version that its reader sees. An enum, so that stepping is not a virtual call.
#[expect(clippy::large_enum_variant, reason = "a scan has few, and steps must chase no pointer")]
pub(crate) enum Source {
    MemTable(MemTableCursor),
    Run(RunCursor),
}

impl Source {
    /// All sources of a view, for a reader at `seqno`.
    pub(crate) fn all(view: &View, seqno: SeqNo) -> Vec<Source> {
        let filled = |m: &&Arc<Mem>| !m.table.is_empty();
        let mems = view.mems().filter(filled);
        let runs = view.version.levels().iter().flat_map(|level| level.runs());
        // A value that only one source can hold is read once, with its key.
        let several = view.version.runs().len() > 1 || view.mems().any(|m| filled(&m));
        let mems = mems.map(|m| Source::MemTable(m.table.cursor().visible_at(seqno)));
        let runs = runs.map(|run| {
            let run = RunCursor::of_run(Arc::clone(run), CursorOptions::scan());
            Source::Run(if several { run.on_demand() } else { run }.visible_at(seqno))
        });
        mems.chain(runs).collect()
    }
}

macro_rules! forward {
    ($self:ident, $c:ident => $e:expr) => {
        match $self {
            Source::MemTable($c) => $e,
            Source::Run($c) => $e,
        }
    };
}

impl Cursor for Source {
    #[inline]
    fn valid(&self) -> bool {
        forward!(self, c => c.valid())
    }
    #[inline]
    fn key(&self) -> &[u8] {
        forward!(self, c => c.key())
    }
    #[inline]
    fn is_plain(&self) -> bool {
        forward!(self, c => c.is_plain())
    }
    #[inline]
    fn entry(&self) -> EntryRef<'_> {
        forward!(self, c => c.entry())
    }
    fn bare_entry(&self) -> EntryRef<'_> {
        forward!(self, c => c.bare_entry())
    }
    #[inline]
    fn load(&mut self) -> Result<(), Error> {
        forward!(self, c => c.load())
    }
    fn take_newer(&mut self) -> bool {
        forward!(self, c => c.take_newer())
    }
    fn value(&self) -> Value {
        forward!(self, c => c.value())
    }
    fn seek_first(&mut self) -> Result<(), Error> {
        forward!(self, c => c.seek_first())
    }
    fn seek_last(&mut self) -> Result<(), Error> {
        forward!(self, c => c.seek_last())
    }
    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        forward!(self, c => c.seek(key, seqno))
    }
    fn aim(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        forward!(self, c => c.aim(key, seqno))
    }
    fn seek_aimed(&mut self, key: &[u8], seqno: SeqNo) -> Result<(), Error> {
        forward!(self, c => c.seek_aimed(key, seqno))
    }
    fn seek_before(&mut self, key: &[u8]) -> Result<(), Error> {
        forward!(self, c => c.seek_before(key))
    }
    #[inline]
    fn next(&mut self) -> Result<(), Error> {
        forward!(self, c => c.next())
    }
    #[inline]
    fn prev(&mut self) -> Result<(), Error> {
        forward!(self, c => c.prev())
    }
}
