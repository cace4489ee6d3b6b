//! How long it takes to open: after an orderly end, and after a kill.

use super::Turn;
use crate::data::{fill_value, key};
use crate::engine::{Engine, Outcome};
use crate::picks::uniform;
use crate::row::{Row, figure};
use crate::store::check_get;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Opens and reads one pair, thrice; the median.
pub fn after_closing(turn: &mut Turn<'_>) -> Outcome<Row> {
    let mut seconds = Vec::new();
    for _ in 0..3 {
        turn.store.close()?;
        seconds.push(open(turn)?);
    }
    seconds.sort_by(f64::total_cmp);
    let mut row = Row::default();
    row.set(figure::SECONDS, seconds[1]);
    Ok(row)
}

/// Opens and reads one pair after another process has overwritten a tenth of
/// the pairs and was killed; also how many of its last writes survived.
pub fn after_a_kill(turn: &mut Turn<'_>) -> Outcome<Row> {
    turn.store.close()?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("write-until-killed")
        .args(turn.store.as_arguments())
        .args(["--pairs", &turn.data.pairs.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let said = BufReader::new(child.stdout.take().expect("piped")).lines().next();
    child.kill()?;
    child.wait()?;
    said.ok_or("the writer ended before it was killed")??;

    let mut row = Row::default();
    row.set(figure::SECONDS, open(turn)?);
    let (mut reader, mut want) = (turn.store.engine().reader()?, turn.value());
    let (writes, mut survived) = (turn.data.pairs / 10, 0);
    for i in writes - LAST.min(writes)..writes {
        let n = uniform(i, 30, turn.data.pairs);
        fill_value(n, GENERATION, &mut want);
        reader.get(&key(n), &mut |value| survived += u64::from(value == want))?;
    }
    drop(reader);
    row.set(figure::SURVIVED, survived as f64 / LAST.min(writes) as f64);
    turn.store.overwritten();
    Ok(row)
}

const LAST: u64 = 1000;
const GENERATION: u64 = 5;

/// The child's part: writes, says so, and waits for its end.
pub fn write_until_killed(engine: &dyn Engine, pairs: u64) -> Outcome<()> {
    let mut value = [0; 100];
    for i in 0..pairs / 10 {
        let n = uniform(i, 30, pairs);
        fill_value(n, GENERATION, &mut value);
        engine.put(&key(n), &value)?;
    }
    println!("written");
    std::io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}

fn open(turn: &mut Turn<'_>) -> Outcome<f64> {
    let started = Instant::now();
    turn.store.open()?;
    check_get(&mut *turn.store.engine().reader()?, 1, turn.data.value_bytes)?;
    Ok(started.elapsed().as_secs_f64())
}
