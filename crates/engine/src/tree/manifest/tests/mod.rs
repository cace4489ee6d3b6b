//! The manifest on a machine in memory whose power is cut and whose calls fail.

mod codec;
mod crash;
mod damage;
mod golden;
mod lifecycle;
mod numbers;
mod parts;
mod real;
mod records;
mod replaced;
mod scenarios;

use super::*;
use crate::tree::version::{AddedTable, RemovedTable, RunId, TableMeta, VersionEdit};
use std::path::Path;
use tanada_format::{DatabaseId, Level, LogId, LogPosition, SeqNo};
use tanada_vfs::{Env, FileSystem, MemoryMachine};

const DIR: &str = "db";
const ID: DatabaseId = DatabaseId(*b"a test database!");
const KS: KeyspaceId = KeyspaceId::DEFAULT;

fn files(env: &Env) -> Arc<TableStore> {
    TableStore::new(env.fs.clone(), DIR, ID, tanada_table::BlockCache::new(0))
}

/// A new database with the default keyspace.
fn create(env: &Env) -> Manifest {
    Manifest::create(files(env), &first_edit()).unwrap()
}

fn first_edit() -> Edit {
    Edit { created: vec![keyspace(0, "default")], ..Edit::default() }
}

fn keyspace(id: u32, name: &str) -> CreatedKeyspace {
    CreatedKeyspace { id: KeyspaceId(id), name: name.into(), options: vec![1, 2, 3] }
}

fn open(env: &Env) -> Result<Manifest> {
    match inspect(&*env.fs, Path::new(DIR))? {
        Found::Database(current) => Manifest::open(files(env), &current),
        Found::Nothing => panic!("there is no database"),
    }
}

/// Writes a table's file, as a flush or a compaction does, and describes it.
fn table(manifest: &mut Manifest, level: u8, keys: (&str, &str)) -> AddedTable {
    let id = manifest.table_id().unwrap();
    let size_bytes = 10 + id.0 % 7;
    let mut file = manifest.files.fs.create(&manifest.files.path(id)).unwrap();
    file.append(&vec![id.0 as u8; size_bytes as usize]).unwrap();
    file.sync().unwrap();
    let meta = TableMeta {
        id,
        origin: None,
        tail_bytes: 0,
        size_bytes,
        raw_bytes: 100,
        entries: 10,
        tombstones: 2,
        min_key: keys.0.as_bytes().into(),
        max_key: keys.1.as_bytes().into(),
        min_seqno: SeqNo(id.0 * 10),
        max_seqno: SeqNo(id.0 * 10 + 9),
        created_ms: 1_700_000_000_000,
        min_expires_at_ms: if id.0.is_multiple_of(2) { 5 } else { 0 },
        max_expires_at_ms: if id.0.is_multiple_of(2) { 9 } else { 0 },
        expiring: if id.0.is_multiple_of(2) { 3 } else { 0 },
        expiry_quantiles: None,
        superseded: 0,
    };
    AddedTable { level: Level(level), run: RunId::from(id), meta }
}

/// The edit of a flush: one table into level 0.
fn flush(manifest: &mut Manifest, keys: (&str, &str)) -> Edit {
    let added = vec![table(manifest, 0, keys)];
    let mut edit = Edit::of_tables(KS, VersionEdit { added, removed: Vec::new() });
    let seqno = edit.changed[0].tables.added[0].meta.max_seqno;
    edit.changed[0].flushed_to = Some(LogPosition(seqno.0 * 100));
    edit.oldest_log = Some(LogId(seqno.0 / 10));
    edit.clock_high_ms = Some(seqno.0);
    edit
}

/// The edit of a compaction: all of level 0 into one table of level 1.
fn compact(manifest: &mut Manifest) -> Edit {
    let version = manifest.state().keyspaces[&KS].tables.clone();
    let mut removed = Vec::new();
    for level in [Level(0), Level(1)] {
        let tables = version.level(level).tables();
        removed.extend(tables.map(|t| RemovedTable { level, id: t.id() }));
    }
    let added = vec![table(manifest, 1, ("a", "z"))];
    Edit::of_tables(KS, VersionEdit { added, removed })
}

/// The state as one comparable value.
fn snapshot(manifest: &Manifest) -> Edit {
    manifest.state().snapshot()
}

fn read_all(fs: &dyn FileSystem, path: &Path) -> Vec<u8> {
    let file = fs.open(path).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Puts `bytes` in place of a file's content.
fn replace(fs: &dyn FileSystem, path: &Path, bytes: &[u8]) {
    fs.remove(path).unwrap();
    let mut file = fs.create(path).unwrap();
    file.append(bytes).unwrap();
}

/// Removes the files that nothing needs, as the background does.
fn delete_obsolete(manifest: &Manifest) {
    manifest.files.deletions.run(&*manifest.files.fs, usize::MAX).unwrap();
}

fn names(env: &Env) -> Vec<String> {
    env.fs.read_dir(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name).collect()
}
