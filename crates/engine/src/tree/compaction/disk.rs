//! A database's tables on a disk in memory, without the database.

use super::job::{JobSettings, Outputs, OwnJob, TableFormat};
use super::{JobIo, JobOutput, Method, OutputOptions, Plan, check_outputs, run_job, write_tables};
use crate::tree::merge::vec_cursor::{OwnedEntry, VecCursor, sort};
use crate::tree::version::{AddedTable, RemovedTable, TableStore, Version, VersionEdit};
use crate::types::error::Result;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tanada_format::{DatabaseId, KeyspaceId, Level, SeqNo, TableId};
use tanada_table::{BlockCache, Compression, Cursor, CursorOptions, TableCursor, TableOptions};
use tanada_vfs::MemoryMachine;
use tanada_vfs::fault::Faults;
use tanada_vfs::sync::Mutex;

pub(super) const DATABASE: DatabaseId = DatabaseId([3; 16]);

/// Tables on a disk that fails when told to, and the tree over them.
pub(super) struct Disk {
    pub(super) machine: MemoryMachine,
    pub(super) faults: Faults,
    pub(super) files: Arc<TableStore>,
    pub(super) version: Arc<Version>,
    pub(super) stop: AtomicBool,
    /// The bytes that were named each time that a job gave way.
    pub(super) yields: Mutex<Vec<u64>>,
    /// Bytes of blocks that jobs have had at most when they gave way.
    pub(super) blocks: AtomicU64,
    cache: Arc<BlockCache>,
    /// Bytes of buffers that jobs have, and have had at most.
    pub(super) buffers: Mutex<(i64, i64)>,
    /// Where a flush cuts its tables.
    pub(super) table_bytes: u64,
    /// How tables are built.
    pub(super) options: TableOptions,
    last_id: AtomicU64,
}

/// What a job's buffers may take.
pub(super) const SHARE_BYTES: u64 = 4 << 20;

impl Disk {
    pub(super) fn new() -> Disk {
        let machine = MemoryMachine::new(1);
        machine.env().fs.create_dir_all(Path::new("/db")).unwrap();
        machine.env().fs.sync_dir(Path::new("/")).unwrap();
        Disk::on(machine)
    }

    fn on(machine: MemoryMachine) -> Disk {
        let faults = Faults::over_memory(&machine);
        let cache = BlockCache::new(0);
        Disk {
            files: TableStore::new(faults.fs(), "/db", DATABASE, Arc::clone(&cache)),
            cache,
            machine,
            faults,
            version: Version::empty(),
            stop: AtomicBool::new(false),
            yields: Mutex::new(Vec::new()),
            blocks: AtomicU64::new(0),
            buffers: Mutex::default(),
            table_bytes: 16 << 10,
            options: TableOptions {
                compression: Compression::None,
                block_size: 512,
                ..TableOptions::new(TableId(0), DATABASE)
            },
            last_id: AtomicU64::new(0),
        }
    }

    /// The first of so many ids that follow each other.
    fn ids(&self, count: u64) -> TableId {
        TableId(self.last_id.fetch_add(count, Ordering::Relaxed) + 1)
    }

    /// The job of a plan that merges, in at most so many parts.
    pub(super) fn job(&self, plan: &Plan, snapshots: &[SeqNo], parts: usize) -> OwnJob {
        let settings = JobSettings {
            database: DATABASE,
            epoch: self.options.epoch,
            keyspace: KeyspaceId(3),
            format: TableFormat::of(&self.options),
            snapshots: snapshots.to_vec(),
            time: 1000.into(),
        };
        let mut job = OwnJob::new(plan, settings, parts);
        job.number_outputs(self.ids(job.ids_wanted()));
        job
    }

    /// Carries out a job, checks what it has written, and makes the names durable or
    /// removes the files, as a database does.
    pub(super) fn carry_out(&self, job: &OwnJob) -> Result<Outputs> {
        let outputs = self.with_io(|io| run_job(job, &job.held_inputs(), io))?;
        check_outputs(job, &outputs).unwrap();
        if outputs.tables().next().is_some()
            && let Err(e) = self.files.publish()
        {
            outputs.tables().for_each(|table| self.files.discard(table.id));
            return Err(e);
        }
        Ok(outputs)
    }

    /// Calls `job` with what jobs need of the world.
    pub(super) fn with_io<T>(&self, job: impl FnOnce(&JobIo<'_>) -> T) -> T {
        job(&JobIo {
            files: &self.files,
            should_stop: &|| self.stop.load(Ordering::Relaxed),
            yield_point: &|bytes| {
                self.yields.lock().push(bytes);
                let blocks = self.cache.stats().unlisted_bytes;
                self.blocks.fetch_max(blocks, Ordering::Relaxed);
            },
            share_bytes: SHARE_BYTES,
            buffers: &|change| {
                let (now, most) = &mut *self.buffers.lock();
                *now += change;
                *most = (*most).max(*now);
            },
            threads: &*tanada_vfs::Env::real().threads,
        })
    }

    /// Writes entries, newer than all there are, into level 0.
    pub(super) fn flush(
        &mut self,
        mut entries: Vec<OwnedEntry>,
        snapshots: &[SeqNo],
    ) -> Result<()> {
        sort(&mut entries);
        let mut cursor = VecCursor::new(entries);
        cursor.seek_first()?;
        let table_bytes = self.table_bytes;
        let options = OutputOptions {
            snapshots,
            time: 1000.into(),
            table_bytes,
            guards: &[],
            table: self.options.clone(),
            next_id: &|| Ok(self.ids(1)),
        };
        let output = self.with_io(|io| write_tables(cursor, &options, io))?;
        self.install(&output.edit);
        Ok(())
    }

    /// Runs a plan as a job, without installing what it did.
    pub(super) fn run(&self, plan: &Plan, snapshots: &[SeqNo]) -> Result<JobOutput> {
        if plan.method != Method::Merge {
            let edit = plan.edit_without_merge(|| self.ids(1)).unwrap();
            return Ok(JobOutput { edit, ..JobOutput::default() });
        }
        let outputs = self.carry_out(&self.job(plan, snapshots, 1))?;
        JobOutput::of_outputs(plan, outputs, || Ok(self.ids(1)))
    }

    /// Applies an edit and removes the files that it frees.
    pub(super) fn install(&mut self, edit: &VersionEdit) {
        let applied = self.version.edited(edit, &self.files).unwrap();
        applied.version.check_invariants().unwrap();
        self.version = applied.version;
        for table in applied.obsolete {
            table.mark_obsolete();
        }
        self.files.deletions.run(&*self.files.fs, usize::MAX).unwrap();
    }

    /// Every entry of every table, in internal order.
    pub(super) fn entries(&self) -> Vec<OwnedEntry> {
        let mut entries = Vec::new();
        for table in self.version.tables() {
            let table = table.table().unwrap();
            let mut cursor = TableCursor::new(table, CursorOptions::scan());
            cursor.seek_first().unwrap();
            while cursor.valid() {
                entries.push(OwnedEntry::of(cursor.entry()));
                cursor.next().unwrap();
            }
        }
        sort(&mut entries);
        entries
    }

    pub(super) fn files_on_disk(&self) -> Vec<PathBuf> {
        let names = self.machine.env().fs.read_dir(Path::new("/db")).unwrap();
        names.into_iter().map(|entry| Path::new("/db").join(entry.name)).collect()
    }

    pub(super) fn files_in_tree(&self) -> Vec<PathBuf> {
        let mut paths: Vec<_> = self.version.tables().map(|table| table.path()).collect();
        paths.sort();
        paths
    }

    pub(super) fn length_of(&self, path: &Path) -> u64 {
        self.machine.env().fs.open(path).unwrap().len()
    }

    pub(super) fn bytes_of(&self, path: &Path) -> Vec<u8> {
        let file = self.machine.env().fs.open(path).unwrap();
        let mut bytes = vec![0; file.len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// Damages one byte of a file.
    pub(super) fn flip_byte(&self, path: &Path, at: usize) {
        let fs = self.machine.env().fs;
        let file = fs.open(path).unwrap();
        let mut bytes = vec![0; file.len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes[at] ^= 1;
        fs.remove(path).unwrap();
        fs.create(path).unwrap().append(&bytes).unwrap();
    }

    /// Lets the tree say that its first table has one entry more than it has.
    pub(super) fn claim_one_entry_more(&mut self) {
        let table = self.version.tables().next().unwrap().clone();
        let mut meta = table.meta().clone();
        meta.entries += 1;
        let run = self.version.levels()[0].runs()[0].id();
        let removed = vec![RemovedTable { level: Level(0), id: table.id() }];
        let without = VersionEdit { added: Vec::new(), removed };
        self.version = self.version.edited(&without, &self.files).unwrap().version;
        let added = vec![AddedTable { level: Level(0), run, meta }];
        let with = VersionEdit { added, removed: Vec::new() };
        self.version = self.version.edited(&with, &self.files).unwrap().version;
    }

    /// The same tree over what a power cut leaves of the disk.
    pub(super) fn after_power_cut(&self, seed: u64) -> Disk {
        let mut after = Disk::on(self.machine.crash(seed));
        let files = Arc::clone(&after.files);
        after.version = Version::empty().edited(&self.version.as_edit(), &files).unwrap().version;
        after
    }
}
