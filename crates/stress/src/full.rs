//! `full`: a small disk fills up. Writes are refused with the cure, deletes
//! pass, and when room comes back writes go on.

use crate::client::is_overload;
use crate::disks::SmallDisk;
use crate::failure::{Failure, Result};
use crate::lives::Lives;
use crate::operation::{Action, Mix};
use crate::rig::Rig;
use crate::server::{Server, Settings, Started};
use crate::workload::{Event, Go};
use std::sync::atomic::{AtomicBool, Ordering};
use tanada::Durability;

/// The disk that fills up, and what it becomes.
const SMALL_MIB: u64 = 20;
const LARGE_MIB: u64 = 512;

/// Acknowledgements that no small disk has room for.
const TOO_MANY: u64 = 100_000;

/// Deletes on the full disk.
const DELETES: usize = 20;

/// So many rounds.
///
/// # Errors
/// Broken, or lacking where no file system can be mounted.
pub(crate) fn run(rig: &mut Rig) -> Result<()> {
    rig.rounds(one)
}

fn one(rig: &mut Rig, round: u32) -> Result<()> {
    let place = rig.dir().join(format!("disk{round}"));
    let mut lives = Lives::of_new(rig, place.join("data"));
    lives.life = round * 10;
    let mut dice = lives.dice();
    let size_mib = SMALL_MIB + dice.below(12);
    let disk = SmallDisk::mount(&lives.rig.env, &place, size_mib)?;
    let settings = Settings { memory_mib: 16, durability: Durability::Synced };
    let mut server = lives.open(settings, Durability::Synced)?;

    fill_up(&mut lives, &server)?;
    deletes_pass(&mut lives, &server)?;

    // Now and then it is killed there. It may refuse to open, but not in riddles.
    if dice.chance(500) {
        server.kill()?;
        match Server::start(&lives.rig.env, &lives.launch(settings))? {
            Started::Serving(mut on_full) => on_full.kill()?,
            Started::Refused(why) if why.contains("space") => {
                lives.rig.count("refused to open on a full disk", 1);
            }
            Started::Refused(why) => {
                return Err(Failure::broken(format!("it does not open on a full disk: {why}")));
            }
            Started::KilledOpening => {
                return Err(Failure::trouble("killed though nobody asked for it"));
            }
        }
        disk.resize(LARGE_MIB)?;
        server = lives.open(settings, Durability::Buffered)?;
    } else {
        disk.resize(LARGE_MIB)?;
    }

    // Room came back: writes go on by themselves.
    lives.writes_go_on(&server, "room came back")?;
    server.kill()?;
    let mut server = lives.open(settings, Durability::Buffered)?;
    server.kill()
}

/// Lets clients write until the disk is full, of which there is a little left.
///
/// # Errors
/// Broken when it is not told as what it is; trouble when it does not fill up.
pub(crate) fn fill_up(lives: &mut Lives<'_>, server: &Server) -> Result<()> {
    let is_full = AtomicBool::new(false);
    let decide = |event: Event<'_>| match event {
        Event::Acknowledged { count, .. } if count > TOO_MANY => Go::Stop,
        Event::Acknowledged { .. } => Go::On,
        Event::Refused { problem, .. } if is_overload(problem) => Go::On,
        Event::Refused { problem, .. } => {
            let words = ["full", "free space", "deletes"];
            let clear = words.iter().all(|word| problem.detail.contains(word));
            if problem.kind != "read-only" || !clear || !problem.nothing_was_done() {
                return Go::Fail(Failure::broken(format!(
                    "a full disk is not told as one: {problem}"
                )));
            }
            // Relaxed: read when all clients have ended.
            is_full.store(true, Ordering::Relaxed);
            Go::Stop
        }
    };
    lives.live(server, Mix::FILLING, None, &decide)?;
    if !is_full.load(Ordering::Relaxed) {
        return Err(Failure::trouble("the disk did not fill up"));
    }
    lives.rig.count("full disks", 1);
    Ok(())
}

/// Deletes what was put, on a disk that is full.
///
/// # Errors
/// Broken when that is refused.
pub(crate) fn deletes_pass(lives: &mut Lives<'_>, server: &Server) -> Result<()> {
    let registers = lives.acknowledged_registers();
    for (n, register) in registers.iter().rev().take(DELETES).enumerate() {
        let action = Action::Delete { register: *register };
        if let Some(problem) = lives.once(server, n as u32, action)? {
            return Err(Failure::broken(format!("a full disk takes no deletes: {problem}")));
        }
        lives.rig.count("deletes on a full disk", 1);
    }
    Ok(())
}
