//! Step 4 of a commit: the writes of a group go into the MemTables of their keyspaces.
//!
//! The record of the group is in the log by then, and no reader sees the writes before
//! step 5.

use crate::core::Core;
use crate::core::queue::Writer;
use crate::read::mem::Mem;
use crate::types::error::Result;
use crate::wal::group;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tanada_format::{EntryRef, KeyspaceId, LogPosition, SeqNo, ValueKind, planted};

impl Core {
    /// Inserts the writes of a group whose record starts at `start`.
    pub(super) fn insert_group<'a>(
        &self,
        writer: &mut Writer,
        start: LogPosition,
        first: SeqNo,
        bodies: impl Iterator<Item = &'a [u8]>,
    ) -> Result<SeqNo> {
        let mut target = Target::default();
        let mut seqno = first;
        for (nth, body) in bodies.enumerate() {
            let mut rest = body;
            while !rest.is_empty() {
                let (entry, len) =
                    group::decode_entry(rest).expect("the batch encoded these bytes a moment ago");
                rest = &rest[len..];
                let other = |(id, _): &(KeyspaceId, Arc<Mem>)| *id != entry.keyspace;
                if planted!(group_in_one_keyspace)
                    && nth > 0
                    && writer.active.as_ref().is_some_and(other)
                {
                    seqno = seqno.plus(1);
                    continue;
                }
                let mem = target.switch(self, &mut writer.active, entry.keyspace, start);
                let entry = EntryRef {
                    key: entry.key,
                    seqno,
                    kind: entry.kind,
                    expires_at_ms: entry.expires_at_ms,
                    value: entry.value,
                };
                mem.table.insert(&mut writer.token, entry);
                seqno = seqno.plus(1);
            }
        }
        target.settle(self, &writer.active);
        writer.active_bytes += target.grown;
        self.pacing.charge(target.grown);
        Ok(SeqNo(seqno.0 - 1))
    }
}

impl Core {
    /// Tells of the puts of a group that is in the MemTables: what they put is no longer dead.
    #[cold]
    pub(super) fn note_puts<'a>(&self, first: SeqNo, bodies: impl Iterator<Item = &'a [u8]>) {
        let mut seqno = first;
        for body in bodies {
            let mut rest = body;
            while let (false, Ok((entry, len))) = (rest.is_empty(), group::decode_entry(rest)) {
                if entry.kind != ValueKind::Delete {
                    self.reading.dead_spans.note_put(entry.keyspace, entry.key, seqno);
                }
                rest = &rest[len..];
                seqno = seqno.plus(1);
            }
        }
    }
}

/// What a group's inserts into the writer's active MemTable began with, and the bytes
/// that all have grown by.
#[derive(Default)]
struct Target {
    before: Option<u64>,
    grown: u64,
}

impl Target {
    /// The active MemTable of keyspace `id`, for an entry of the record at `start`.
    #[inline]
    fn switch<'w>(
        &mut self,
        core: &Core,
        active: &'w mut Option<(KeyspaceId, Arc<Mem>)>,
        id: KeyspaceId,
        start: LogPosition,
    ) -> &'w Mem {
        if active.as_ref().is_none_or(|(current, _)| *current != id) {
            self.settle(core, active);
            // A handle names a keyspace that exists: they are never removed.
            let keyspaces = core.reading.keyspaces.load();
            *active = Some((id, Arc::clone(&keyspaces[id].view.load().active)));
        }
        let mem = &active.as_ref().expect("set above").1;
        if self.before.is_none() {
            if mem.touch(start) && core.unflushed.touched((start, id)) {
                // There is something now to be flushed once nobody writes.
                core.background.work_arrived();
            }
            self.before = Some(mem.size_bytes());
        }
        mem
    }

    fn settle(&mut self, core: &Core, active: &Option<(KeyspaceId, Arc<Mem>)>) {
        if let (Some(before), Some((_, mem))) = (self.before.take(), active) {
            let grown = mem.size_bytes() - before;
            if grown != 0 {
                self.grown += grown;
                core.reading.budget.memtable_bytes.fetch_add(grown, Ordering::Relaxed);
            }
        }
    }
}
