//! What the machine itself can do: the floors that no engine gets below.
//!
//! They run under the engine name `floor`, so that they land in the results
//! beside the engines' own rows.

use crate::data::{Key, fill_value, key};
use crate::engine::Outcome;
use crate::measure::{self, Goal, Timed, Timing};
use crate::picks::uniform;
use crate::row::{Row, figure};
use crate::workloads::Scale;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// The name of the engine in these rows.
pub const NAME: &str = "floor";

/// `pwrite` and `fdatasync` of a preallocated file, one write a time.
pub const DEVICE: &str = "device";

/// Random reads of the device, past the page cache, by one thread and by two.
pub const DEVICE_READ: &str = "deviceread";
pub const DEVICE_READ_2: &str = "deviceread2";

/// What memory and processor can do.
pub const MEMORY: &[&str] =
    &["memcpy", "hashmapinsert", "hashmapget", "btreemapinsert", "btreemapget"];

/// Those that are `asked` for, or all. Those of memory come together.
pub fn run(dir: &Path, scale: &Scale, asked: &[String], each: &mut dyn FnMut(Row)) -> Outcome<()> {
    std::fs::create_dir_all(dir)?;
    let is_asked = |name: &&str| asked.is_empty() || asked.iter().any(|a| a == name);
    if is_asked(&DEVICE) {
        each(named(DEVICE, device(dir, scale)?));
    }
    if is_asked(&DEVICE_READ) || is_asked(&DEVICE_READ_2) {
        for (name, row) in device_reads(dir, scale)? {
            each(named(name, row));
        }
    }
    if MEMORY.iter().any(is_asked) {
        memory(scale, each)?;
    }
    Ok(())
}

fn memory(scale: &Scale, each: &mut dyn FnMut(Row)) -> Outcome<()> {
    each(named("memcpy", copying(scale)));
    let pairs = scale.pairs;
    {
        let (map, timed) = filled::<HashMap<Key, [u8; 100]>>(pairs, |map, k, v| {
            map.insert(k, v);
        })?;
        each(named("hashmapinsert", Row::of(&timed, 1)));
        each(named("hashmapget", got(scale, |k| map.get(k))?));
    }
    let (map, timed) = filled::<BTreeMap<Key, [u8; 100]>>(pairs, |map, k, v| {
        map.insert(k, v);
    })?;
    each(named("btreemapinsert", Row::of(&timed, 1)));
    each(named("btreemapget", got(scale, |k| map.get(k))?));
    Ok(())
}

fn named(workload: &str, mut row: Row) -> Row {
    (row.engine, row.workload) = (NAME.into(), workload.into());
    row.series.clear();
    row.figures.remove(figure::LOWEST_SECOND);
    row
}

/// Rates an engine's synced single writer can be held against.
fn device(dir: &Path, scale: &Scale) -> Outcome<Row> {
    const BYTES: usize = 4 << 20;
    let path = dir.join("device");
    let file = File::create(&path)?;
    file.write_all_at(&vec![1; BYTES], 0)?;
    file.sync_all()?;
    // A record of a log: key, value and a header.
    let record = [2; 140];
    let goal =
        Goal::Operations((scale.pairs / 400).max(100), scale.limit.min(Duration::from_secs(15)));
    let timed = measure::run(goal, Timing::Every, |i| {
        file.write_all_at(&record, i * 140 % (BYTES as u64 - 140))?;
        Ok(file.sync_data()?)
    })?;
    std::fs::remove_file(path)?;
    Ok(Row::of(&timed, 1))
}

/// What an engine reads to find a pair that it holds in no memory: a block of 4 KiB, which
/// lies on one or two pages once it is compressed. Reads of 8 KiB take the device as long.
const READ_BYTES: usize = 4096;

/// From a file as long as the pairs of the group "larger than memory" are when they are
/// compressed to half, read with `O_DIRECT`.
fn device_reads(dir: &Path, scale: &Scale) -> Outcome<Vec<(&'static str, Row)>> {
    let path = dir.join("deviceread");
    let blocks = (scale.pairs * 3 * 216 / 2).div_ceil(READ_BYTES as u64);
    {
        let file = File::create(&path)?;
        let mut piece = vec![0; 256 * READ_BYTES];
        for first in (0..blocks).step_by(256) {
            fill_value(first, 0, &mut piece);
            file.write_all_at(&piece, first * READ_BYTES as u64)?;
        }
        file.sync_all()?;
    }
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let file = File::options().read(true).custom_flags(direct).open(&path)?;
    let goal = Goal::Time(scale.time * 5);
    let read = |seed: u64| -> Outcome<Timed> {
        // The kernel asks for memory that is aligned as its blocks are.
        let mut memory = vec![0u8; 2 * READ_BYTES];
        let start = memory.as_ptr().align_offset(READ_BYTES);
        let block = &mut memory[start..start + READ_BYTES];
        measure::run(goal, Timing::Every, |i| {
            Ok(file.read_exact_at(block, uniform(i, seed, blocks) * READ_BYTES as u64)?)
        })
    };
    let one = read(1)?;
    let two = std::thread::scope(|scope| -> Outcome<Timed> {
        let second = scope.spawn(|| read(2));
        let first = read(3)?;
        Ok(first.beside(second.join().expect("a panic ends the run")?))
    })?;
    std::fs::remove_file(path)?;
    Ok(vec![(DEVICE_READ, Row::of(&one, 1)), (DEVICE_READ_2, Row::of(&two, 1))])
}

/// Bytes a second that one thread copies, from and to memory beyond the caches.
fn copying(scale: &Scale) -> Row {
    let (from, mut to) = (vec![1u8; 256 << 20], vec![2u8; 256 << 20]);
    let mut timed = Timed::new();
    let started = Instant::now();
    while timed.operations == 0 || started.elapsed() < scale.time.min(Duration::from_secs(1)) {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
        timed.operations += from.len() as u64;
        timed.seconds = started.elapsed().as_secs_f64();
    }
    Row::of(&timed, 1)
}

fn filled<M: Default>(
    pairs: u64,
    mut insert: impl FnMut(&mut M, Key, [u8; 100]),
) -> Outcome<(M, Timed)> {
    let (mut map, mut value) = (M::default(), [0; 100]);
    let goal = Goal::Operations(pairs, Duration::from_secs(600));
    let timed = measure::run(goal, Timing::Every, |i| {
        fill_value(i, 0, &mut value);
        insert(&mut map, key(i), value);
        Ok(())
    })?;
    Ok((map, timed))
}

fn got<'a>(scale: &Scale, get: impl Fn(&Key) -> Option<&'a [u8; 100]>) -> Outcome<Row> {
    let timed = measure::run(Goal::Time(scale.time), Timing::OneOfEight, |i| {
        let n = uniform(i, 1, scale.pairs);
        let value = get(&key(n)).ok_or("lost in memory")?;
        crate::data::check_value(n, value, 100);
        Ok(())
    })?;
    Ok(Row::of(&timed, 1))
}
