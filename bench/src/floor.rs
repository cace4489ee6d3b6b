//! What the machine itself can do: the floors that no engine gets below.
//!
//! They run under the engine name `floor`, so that they land in the results
//! beside the engines' own rows.

use crate::data::{Key, fill_value, key};
use crate::engine::Outcome;
use crate::measure::{Goal, Timed, Timing, run};
use crate::picks::uniform;
use crate::row::{Row, figure};
use crate::workloads::Scale;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The name of the engine in these rows.
pub const NAME: &str = "floor";

/// `pwrite` and `fdatasync` of a preallocated file, one write a time.
pub const DEVICE: &str = "device";

/// All of them, in this order.
pub fn run_all(dir: &Path, scale: &Scale, each: &mut dyn FnMut(Row)) -> Outcome<()> {
    std::fs::create_dir_all(dir)?;
    each(named(DEVICE, device(dir, scale)?));
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
    let timed = run(goal, Timing::Every, |i| {
        file.write_all_at(&record, i * 140 % (BYTES as u64 - 140))?;
        Ok(file.sync_data()?)
    })?;
    std::fs::remove_file(path)?;
    Ok(Row::of(&timed, 1))
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
    let timed = run(goal, Timing::Every, |i| {
        fill_value(i, 0, &mut value);
        insert(&mut map, key(i), value);
        Ok(())
    })?;
    Ok((map, timed))
}

fn got<'a>(scale: &Scale, get: impl Fn(&Key) -> Option<&'a [u8; 100]>) -> Outcome<Row> {
    let timed = run(Goal::Time(scale.time), Timing::OneOfEight, |i| {
        let n = uniform(i, 1, scale.pairs);
        let value = get(&key(n)).ok_or("lost in memory")?;
        crate::data::check_value(n, value, 100);
        Ok(())
    })?;
    Ok(Row::of(&timed, 1))
}
