//! Jobs and outputs as bytes, and what is no job.

use super::codec::MAX_OLDER_RUNS;
use super::*;
use crate::tree::version::RunId;
use tanada_format::write_varint;
use tanada_table::ExpiryQuantiles;

/// A file of the repository; written anew with `TANADA_WRITE_GOLDEN=1`.
fn golden(name: &str, now: &[u8]) -> Vec<u8> {
    let fs = tanada_vfs::Env::real().fs;
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("TANADA_WRITE_GOLDEN").is_some() {
        if fs.exists(&path).unwrap() {
            fs.remove(&path).unwrap();
        }
        fs.create(&path).unwrap().append(now).unwrap();
    }
    let file = fs.open(&path).unwrap();
    let mut bytes = vec![0; file.len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn table(id: u64, min: &str, max: &str) -> TableMeta {
    TableMeta {
        id: TableId(id),
        origin: None,
        tail_bytes: 0,
        size_bytes: 1000 + id,
        raw_bytes: 2000 + id,
        entries: 10 + id,
        tombstones: 1,
        min_key: min.as_bytes().into(),
        max_key: max.as_bytes().into(),
        min_seqno: SeqNo(id),
        max_seqno: SeqNo(100 + id),
        created_ms: 900 + id,
        min_expires_at_ms: 0,
        max_expires_at_ms: 0,
        expiring: 0,
        expiry_quantiles: None,
        superseded: 2,
    }
}

fn neighbour(min: &str, max: &str, size_bytes: u64) -> Neighbour {
    Neighbour { min_key: min.as_bytes().into(), max_key: max.as_bytes().into(), size_bytes }
}

fn part(start: Option<&str>, end: Option<&str>, first: u64, end_id: u64) -> JobPart {
    let key = |key: &str| key.as_bytes().into();
    let (first_id, end_id) = (TableId(first), TableId(end_id));
    JobPart { start: start.map(key), end: end.map(key), first_id, end_id }
}

/// A job with something of everything.
pub(in super::super) fn sample() -> CompactionJob {
    let expires = TableMeta {
        min_expires_at_ms: 5,
        max_expires_at_ms: 9,
        expiring: 8,
        expiry_quantiles: Some(Box::new(ExpiryQuantiles([5, 5, 6, 7, 8, 8, 9]))),
        origin: Some(Box::new(Origin::local(DatabaseId([9; 16]), TableId(2)))),
        ..table(3, "m", "q")
    };
    let run = |level, run, tables| InputRun { level: Level(level), run: RunId(run), tables };
    CompactionJob {
        database: DatabaseId([7; 16]),
        epoch: WriterEpoch(3),
        keyspace: KeyspaceId(2),
        inputs: vec![
            run(0, 12, vec![table(12, "b", "k")]),
            run(0, 11, vec![table(11, "a", "z")]),
            run(5, 1, vec![table(2, "c", "f"), expires]),
        ],
        target: Level(5),
        older: vec![vec![neighbour("a", "b", 300), neighbour("c", "d", 400)], vec![]],
        grandparents: vec![neighbour("a", "h", 500)],
        grandparent_bytes: 9000,
        table_bytes: 4096,
        format: TableFormat {
            compression: Compression::Zstd,
            block_size: 4032,
            filter_millibits_per_key: 10_500,
        },
        snapshots: vec![SeqNo(40), SeqNo(77)],
        time: JobTime { held_ms: 950, clock_ms: 1000 },
        parts: vec![part(None, Some("c"), 20, 30), part(Some("c"), None, 30, 40)],
    }
}

/// Outputs of it that pass.
pub(in super::super) fn sample_outputs() -> Outputs {
    let output = |id, min, max, entries| TableMeta {
        entries,
        created_ms: 1000,
        min_seqno: SeqNo(2),
        max_seqno: SeqNo(112),
        tail_bytes: 200,
        origin: sample().origin_of(TableId(id)),
        ..table(id, min, max)
    };
    // 22 + 21 + 12 + 13 entries go in.
    let counts = EntryCounts { read: 20, written: 12, superseded: 5, deletes: 2, expired: 1 };
    let rest = EntryCounts { read: 48, written: 40, superseded: 8, deletes: 0, expired: 0 };
    Outputs {
        parts: vec![
            PartOutputs { tables: vec![output(20, "a", "b", 12)], counts },
            PartOutputs {
                tables: vec![output(30, "c", "f", 30), output(31, "g", "z", 10)],
                counts: rest,
            },
        ],
    }
}

fn encoded(job: &CompactionJob) -> Vec<u8> {
    job.encode().unwrap()
}

#[test]
fn jobs_and_outputs_read_back() {
    let job = sample();
    let bytes = encoded(&job);
    assert_eq!(CompactionJob::decode(&bytes).as_ref(), Ok(&job));
    let hash = JobHash::of(&bytes);
    for outputs in [sample_outputs(), Outputs::default()] {
        let bytes = outputs.encode(&job, hash).unwrap();
        assert_eq!(Outputs::decode(&bytes, job.database, hash, job.target), Ok(outputs));
    }
}

#[test]
fn the_first_format_is_still_written_byte_for_byte_and_read() {
    let job = encoded(&sample());
    let hash = JobHash::of(&job);
    let outputs = sample_outputs().encode(&sample(), hash).unwrap();
    let (kept_job, kept_outputs) = (golden("job", &job), golden("outputs", &outputs));
    assert!(job == kept_job, "a job is written differently now");
    assert!(outputs == kept_outputs, "outputs are written differently now");
    assert_eq!(CompactionJob::decode(&kept_job), Ok(sample()));
    let read = Outputs::decode(&kept_outputs, sample().database, hash, sample().target);
    assert_eq!(read, Ok(sample_outputs()));
}

#[test]
fn any_changed_bit_and_any_missing_byte_of_a_job_is_damage() {
    let bytes = encoded(&sample());
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = CompactionJob::decode(&bytes).unwrap_err();
        assert!(matches!(error, JobBytesError::Damaged { .. }), "bit {bit}: {error:?}");
    }
    for len in 0..bytes.len() {
        assert!(CompactionJob::decode(&bytes[..len]).is_err(), "cut to {len}");
    }
}

/// The bytes with their length and checksum made right.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[48..56].fill(0);
    frame::finish(bytes).unwrap()
}

#[test]
fn a_job_of_a_newer_version_is_refused_and_not_called_damaged() {
    let changed = |at: usize, to: u8| {
        let mut bytes = encoded(&sample());
        bytes[at] = to;
        CompactionJob::decode(&sealed(bytes))
    };
    let with_field = |tag: u64| {
        let mut bytes = encoded(&sample());
        write_varint(&mut bytes, tag);
        write_varint(&mut bytes, 1);
        bytes.push(9);
        CompactionJob::decode(&sealed(bytes))
    };
    for newer in [changed(8, 2), changed(16, 1), with_field(99 << 1)] {
        assert!(matches!(newer, Err(JobBytesError::Unsupported(_))), "{newer:?}");
    }
    assert_eq!(changed(24, 1), Ok(sample()), "an optional feature");
    assert_eq!(with_field(99 << 1 | 1), Ok(sample()), "a field that may be skipped");
}

/// Two bytes of a job became a list of its own in memory, without bound.
#[test]
fn a_job_with_more_older_runs_or_parts_than_there_can_be_is_refused_while_it_is_read() {
    let mut job = sample();
    job.older = vec![Vec::new(); MAX_OLDER_RUNS];
    assert!(CompactionJob::decode(&encoded(&job)).is_ok());
    job.older.push(Vec::new());
    let error = CompactionJob::decode(&encoded(&job)).unwrap_err();
    assert!(error.to_string().contains("more older runs"), "{error}");
    let mut job = sample();
    let part = job.parts[0].clone();
    job.parts = vec![part; MAX_PARTS + 1];
    let error = CompactionJob::decode(&encoded(&job)).unwrap_err();
    assert!(error.to_string().contains("more parts"), "{error}");
}

#[test]
fn outputs_of_another_job_are_not_taken() {
    let job = sample();
    let hash = JobHash::of(&encoded(&job));
    let other = JobHash::of(&encoded(&CompactionJob { table_bytes: 8192, ..sample() }));
    let bytes = sample_outputs().encode(&job, hash).unwrap();
    let database = DatabaseId([8; 16]);
    assert!(Outputs::decode(&bytes, job.database, other, job.target).is_err());
    assert!(Outputs::decode(&bytes, database, hash, job.target).is_err());
    assert!(Outputs::decode(&bytes, job.database, hash, Level(6)).is_err());
    assert!(Outputs::decode(&encoded(&job), job.database, hash, job.target).is_err());
    assert!(CompactionJob::decode(&bytes).is_err());
}

/// What [`CompactionJob::check`] says of a job that was changed so.
fn wrong(change: impl FnOnce(&mut CompactionJob)) -> &'static str {
    let mut job = sample();
    change(&mut job);
    let what = job.check().unwrap_err();
    let read = CompactionJob::decode(&encoded(&job));
    assert!(matches!(read, Err(JobBytesError::Damaged { .. })), "{read:?}");
    what
}

#[test]
fn a_job_that_contradicts_itself_is_refused() {
    let empty = "a job has nothing to merge";
    assert_eq!(wrong(|job| job.inputs.clear()), empty);
    assert_eq!(wrong(|job| job.inputs.swap(0, 1)), "a job's runs are not newest first");
    let unsorted = "tables of one run are not sorted";
    assert_eq!(wrong(|job| job.inputs[2].tables.swap(0, 1)), unsorted);
    assert_eq!(wrong(|job| job.older[0].swap(0, 1)), unsorted);
    assert_eq!(wrong(|job| job.grandparents.push(neighbour("h", "i", 1))), unsorted);
    let impossible = "a table's border keys are impossible";
    assert_eq!(wrong(|job| job.older[0][0] = neighbour("b", "a", 1)), impossible);
    assert_eq!(wrong(|job| job.older[0][0] = neighbour("", "a", 1)), impossible);
    let twice = |job: &mut CompactionJob| job.inputs[1].tables[0].id = TableId(12);
    assert_eq!(wrong(twice), "a table goes into a job twice");
    assert_eq!(wrong(|job| job.target = Level(7)), "a job's target is no level");
    let built = "a job's tables cannot be built so";
    assert_eq!(wrong(|job| job.format.block_size = 0), built);
    assert_eq!(wrong(|job| job.format.block_size = u32::MAX), built);
    assert_eq!(wrong(|job| job.format.filter_millibits_per_key = 1 << 40), built);
    assert_eq!(wrong(|job| job.table_bytes = 0), built);
    let snapshots = "a job's snapshots are not ascending";
    assert_eq!(wrong(|job| job.snapshots.reverse()), snapshots);
    assert_eq!(wrong(|job| job.snapshots.push(SeqNo(u64::MAX))), snapshots);
    let keys = "a job's parts are not all keys";
    assert_eq!(wrong(|job| job.parts.clear()), keys);
    assert_eq!(wrong(|job| job.parts.truncate(1)), keys);
    let gap = "a job's parts leave a gap";
    assert_eq!(wrong(|job| job.parts[1].start = Some((*b"d").into())), gap);
    let ids = |first, end| {
        move |job: &mut CompactionJob| job.parts[1] = part(Some("c"), None, first, end)
    };
    assert_eq!(wrong(ids(29, 40)), "two parts of a job share ids");
    assert_eq!(wrong(ids(30, 30)), "a part of a job has no ids for its tables");
    assert_eq!(
        wrong(|job| job.inputs[0].tables[0].id = TableId(25)),
        "an output of a job has an input's id"
    );
}

#[test]
fn a_declared_length_takes_no_memory() {
    let mut bytes = frame::begin(frame::Kind::Job, DatabaseId([7; 16]));
    write_varint(&mut bytes, 8 << 1);
    write_varint(&mut bytes, u64::MAX);
    let bytes = frame::finish(bytes).unwrap();
    let name = "tree::compaction::job::tests::a_declared_length_takes_no_memory";
    crate::alone::grows_by_less_than(16 << 20, name, || {
        let error = CompactionJob::decode(&bytes).unwrap_err();
        assert!(error.to_string().contains("longer than its record"), "{error}");
    });
}

#[test]
fn a_part_has_as_many_ids_as_tables_may_be_cut_for_it() {
    let mut job = sample();
    job.parts = vec![part(None, None, 0, 0)];
    job.table_bytes = 1 << 20;
    assert_eq!(job.ids_wanted(), 2, "one table, and one for what it does not hold");
    job.inputs[0].tables[0].raw_bytes = 10 << 20;
    job.inputs[0].tables[0].entries = 0;
    assert_eq!(job.ids_wanted(), 82, "eight tables a mebibyte, and two");
    job.number_outputs(TableId(100));
    assert_eq!((job.parts[0].first_id, job.parts[0].end_id), (TableId(100), TableId(182)));
    // Whatever the inputs say of themselves.
    job.inputs[0].tables[0].raw_bytes = u64::MAX;
    job.inputs[0].tables[0].entries = u64::MAX;
    assert!(job.ids_wanted() <= 1 << 20);
}
