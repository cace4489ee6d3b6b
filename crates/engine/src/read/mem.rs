//! A MemTable and its place in the log.

use crate::memtable::{ChunkPool, MemTable};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::LogPosition;
use tanada_vfs::sync::atomic::AtomicU64;

/// A MemTable and where in the log it lies.
pub(crate) struct Mem {
    pub(crate) table: Arc<MemTable>,
    /// Log position of the first record with a write in this MemTable;
    /// `u64::MAX` while it is empty. Written by the commit leader before the
    /// write becomes visible; Relaxed, for who decides by it holds the writer
    /// lock or sees the MemTable sealed through the view.
    first: AtomicU64,
    /// Log position at which it was sealed: it holds every write of its
    /// keyspace between the two.
    end: AtomicU64,
}

impl Mem {
    pub(crate) fn new(chunks: &Arc<ChunkPool>) -> Arc<Mem> {
        Arc::new(Mem {
            table: Arc::new(MemTable::new(Arc::clone(chunks))),
            first: AtomicU64::new(u64::MAX),
            end: AtomicU64::new(u64::MAX),
        })
    }

    /// Notes that a record starting at `position` has a write in here. Answers whether
    /// it is the first.
    #[inline]
    pub(crate) fn touch(&self, position: LogPosition) -> bool {
        let first = self.first.load(Ordering::Relaxed) == u64::MAX;
        if first {
            self.first.store(position.0, Ordering::Relaxed);
        }
        first
    }

    /// Where its first record starts; `None` while it is empty.
    pub(crate) fn first_position(&self) -> Option<LogPosition> {
        Some(self.first.load(Ordering::Relaxed)).filter(|&p| p != u64::MAX).map(LogPosition)
    }

    /// Bytes that count against the budget: none while it is empty.
    pub(crate) fn size_bytes(&self) -> u64 {
        if self.table.is_empty() { 0 } else { self.table.size_bytes() as u64 }
    }

    pub(crate) fn set_end(&self, position: LogPosition) {
        self.end.store(position.0, Ordering::Release);
    }

    /// Where the log stood when it was sealed.
    pub(crate) fn end_position(&self) -> LogPosition {
        LogPosition(self.end.load(Ordering::Acquire))
    }
}
