//! Outputs that a job cannot have written are refused.

use super::super::disk::Disk;
use super::super::job::tests::{sample, sample_outputs};
use super::super::run::tests::{merge_all, overlapping};
use super::*;
use crate::types::error::Error;
use tanada_format::SeqNo;

fn refused(change: impl FnOnce(&mut Outputs)) -> String {
    let mut outputs = sample_outputs();
    assert_eq!(check_outputs(&sample(), &outputs), Ok(()));
    change(&mut outputs);
    check_outputs(&sample(), &outputs).unwrap_err().to_string()
}

/// A worker that loses an entry would lose it for good: the inputs go for its outputs.
#[test]
fn outputs_that_lost_an_entry_are_refused() {
    let of_table = refused(|outputs| outputs.parts[1].tables[0].entries -= 1);
    assert_eq!(of_table, "a compaction wrote 40 entries, and its tables have 39");
    let table = refused(|outputs| drop(outputs.parts[1].tables.pop()));
    assert_eq!(table, "a compaction wrote 40 entries, and its tables have 30");
    let written = refused(|outputs| {
        outputs.parts[0].tables[0].entries -= 1;
        outputs.parts[0].counts.written -= 1;
    });
    assert_eq!(written, "of 20 entries that a compaction read, 19 were written or dropped");
    let read = refused(|outputs| {
        outputs.parts[0].tables[0].entries -= 1;
        outputs.parts[0].counts.written -= 1;
        outputs.parts[0].counts.read -= 1;
    });
    assert_eq!(read, "the inputs of a compaction gave 67 entries where the manifest names 68");
    let part = refused(|outputs| drop(outputs.parts.pop()));
    assert_eq!(part, "a compaction of 2 parts has 1 outcomes");
}

#[test]
fn outputs_that_reach_beyond_their_job_are_refused() {
    let key = |key: &str| key.as_bytes().into();
    let keys = "a compaction's output 000020.sst has keys outside of its part of the job";
    assert_eq!(refused(|o| o.parts[0].tables[0].max_key = key("c")), keys);
    assert_eq!(refused(|o| o.parts[0].tables[0].min_key = key("A")), keys);
    let behind = refused(|o| o.parts[1].tables[1].max_key = key("zz"));
    assert!(behind.ends_with("000031.sst has keys outside of its part of the job"), "{behind}");
    let shared = refused(|o| o.parts[1].tables[1].min_key = key("f"));
    assert!(shared.ends_with("000031.sst shares keys with the output before it"), "{shared}");
    let seqnos = refused(|o| o.parts[1].tables[1].max_seqno = SeqNo(113));
    assert!(seqnos.ends_with("000031.sst has writes that no input has"), "{seqnos}");
    let id = refused(|o| o.parts[1].tables[1].id = TableId(29));
    assert!(id.ends_with("000029.sst has an id that the job did not give it"), "{id}");
    let origin = refused(|o| o.parts[1].tables[1].origin = None);
    assert!(origin.ends_with("000031.sst comes from elsewhere"), "{origin}");
    let twice = refused(|o| o.parts[1].tables[1].id = TableId(30));
    assert!(twice.ends_with("000030.sst has an id that the job did not give it"), "{twice}");
    let time = refused(|o| o.parts[1].tables[1].created_ms = 1001);
    assert!(time.ends_with("000031.sst was not written at the time of the job"), "{time}");
    let facts = refused(|o| o.parts[1].tables[1].tombstones = 99);
    assert!(facts.ends_with("a table's entry counts contradict each other"), "{facts}");
}

/// What is told of the outputs was right, and the files are others: of an attempt before,
/// or damaged on their way.
#[test]
fn a_file_that_is_not_the_table_that_is_told_of_is_refused() {
    let mut disk = Disk::new();
    overlapping(&mut disk, 2, 100);
    let plan = merge_all(&disk);
    let outputs = disk.carry_out(&disk.job(&plan, &[], 1)).unwrap();
    assert_eq!(outputs.tables().count(), 3);
    check_files(&outputs, &disk.files).unwrap();
    let mut other = outputs.clone();
    other.parts[0].tables[1].raw_bytes += 1;
    let error = check_files(&other, &disk.files).unwrap_err();
    let second = outputs.parts[0].tables[1].id;
    assert!(matches!(&error, Error::Corruption(c) if c.file == disk.files.path(second)), "{error}");
    // A byte of the second table's footer.
    let path = disk.files.path(second);
    disk.flip_byte(&path, disk.length_of(&path) as usize - 30);
    assert!(check_files(&outputs, &disk.files).is_err());
    disk.files.discard(second);
    assert!(check_files(&outputs, &disk.files).is_err());
}
