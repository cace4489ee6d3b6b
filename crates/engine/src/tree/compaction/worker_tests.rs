//! A job that leaves the process: what is not in its bytes is not there.

use super::disk::{Disk, SHARE_BYTES};
use super::job::{CompactionJob, JobHash, Outputs, OwnJob};
use super::run::tests::{merge_all, overlapping};
use super::worker::run_compaction;
use crate::types::error::Error;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tanada_format::SeqNo;
use tanada_vfs::{Env, MemoryMachine};

const ELSEWHERE: &str = "/elsewhere";

/// Another machine, on which there are the tables that go in and nothing else.
fn another_machine(disk: &Disk, job: &OwnJob) -> MemoryMachine {
    let machine = MemoryMachine::new(9);
    let fs = machine.env().fs;
    fs.create_dir_all(Path::new(ELSEWHERE)).unwrap();
    for meta in job.metas() {
        let path = disk.files.path(meta.id);
        let name = path.file_name().unwrap();
        fs.create(&Path::new(ELSEWHERE).join(name)).unwrap().append(&disk.bytes_of(&path)).unwrap();
    }
    machine
}

/// Bytes of these tables by name.
fn files(outputs: &Outputs, env: &Env, dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |id: tanada_format::TableId| {
        let name = PathBuf::from(format!("{id}.sst"));
        let file = env.fs.open(&dir.join(&name)).unwrap();
        let mut bytes = vec![0; file.len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        (name, bytes)
    };
    outputs.tables().map(|table| read(table.id)).collect()
}

/// Carries out a job by its bytes, on another machine, and compares all that comes of it
/// with what comes of it here.
pub(super) fn is_the_same_elsewhere(disk: &Disk, job: &OwnJob, here: &Outputs) {
    let bytes = job.encode().unwrap();
    assert_eq!(CompactionJob::decode(&bytes).unwrap().encode().unwrap(), bytes);
    let machine = another_machine(disk, job);
    let answer = run_compaction(&machine.env(), ELSEWHERE, &bytes, SHARE_BYTES).unwrap();
    let hash = JobHash::of(&bytes);
    let outputs = Outputs::decode(&answer, job.database, hash, job.target).unwrap();
    assert_eq!(outputs, *here);
    let there = files(&outputs, &machine.env(), Path::new(ELSEWHERE));
    assert!(there == files(here, &disk.machine.env(), Path::new("/db")), "other bytes");
}

#[test]
fn a_job_from_bytes_writes_elsewhere_the_same_tables_byte_for_byte() {
    let mut disk = Disk::new();
    overlapping(&mut disk, 3, 500);
    let plan = merge_all(&disk);
    for (parts, snapshots) in [(1, &[][..]), (4, &[]), (2, &[SeqNo(300), SeqNo(700)])] {
        let job = disk.job(&plan, snapshots, parts);
        let here = disk.carry_out(&job).unwrap();
        assert!(here.tables().count() > 5, "tables are cut at their size");
        is_the_same_elsewhere(&disk, &job, &here);
    }
}

/// Whatever a job is told to do, one that has no ids left for another table goes on with
/// the present one.
#[test]
fn a_job_without_an_id_for_another_table_does_not_cut_the_last() {
    let mut disk = Disk::new();
    overlapping(&mut disk, 3, 500);
    let plan = merge_all(&disk);
    let mut job = disk.job(&plan, &[], 1);
    job.parts[0].end_id.0 = job.parts[0].first_id.0 + 3;
    let outputs = disk.carry_out(&job).unwrap();
    let entries: Vec<u64> = outputs.tables().map(|table| table.entries).collect();
    assert_eq!((entries.len(), entries.iter().sum()), (3, 500));
    assert!(entries[2] > 3 * entries[1], "{entries:?}");
}

#[test]
fn an_input_that_is_not_there_or_damaged_ends_the_job_elsewhere_and_leaves_no_file() {
    let mut disk = Disk::new();
    overlapping(&mut disk, 3, 500);
    let job = disk.job(&merge_all(&disk), &[], 1);
    let bytes = job.encode().unwrap();
    let names =
        |machine: &MemoryMachine| machine.env().fs.read_dir(Path::new(ELSEWHERE)).unwrap().len();
    let second = job.metas().nth(1).unwrap().id;
    let path = Path::new(ELSEWHERE).join(format!("{second}.sst"));

    let machine = another_machine(&disk, &job);
    machine.env().fs.remove(&path).unwrap();
    let before = names(&machine);
    assert!(run_compaction(&machine.env(), ELSEWHERE, &bytes, SHARE_BYTES).is_err());
    assert_eq!(names(&machine), before);

    let machine = another_machine(&disk, &job);
    let fs = machine.env().fs;
    let mut damaged = disk.bytes_of(&disk.files.path(second));
    damaged[2000] ^= 1;
    fs.remove(&path).unwrap();
    fs.create(&path).unwrap().append(&damaged).unwrap();
    let before = names(&machine);
    let error = run_compaction(&machine.env(), ELSEWHERE, &bytes, SHARE_BYTES).unwrap_err();
    assert!(matches!(&error, Error::Corruption(c) if c.file == path), "{error}");
    assert_eq!(names(&machine), before);

    let error = run_compaction(&machine.env(), ELSEWHERE, &bytes[1..], SHARE_BYTES).unwrap_err();
    assert!(matches!(&error, Error::InvalidArgument(_)), "{error}");
}
