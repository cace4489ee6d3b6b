//! `descriptors`: a server that may open few files, from the beginning or all
//! of a sudden. Needs no root.

use crate::client::is_overload;
use crate::failure::{Failure, Result};
use crate::lives::Lives;
use crate::operation::Mix;
use crate::rig::Rig;
use crate::server::{Server, Settings, Started};
use crate::workload::{Event, Go};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tanada::Durability;
use tanada_vfs::memory::Dice;

/// Acknowledgements, or refusals, after which a life with few descriptors ends.
const ENOUGH: u64 = 800;

/// So many rounds.
///
/// # Errors
/// Broken.
pub(crate) fn run(rig: &mut Rig) -> Result<()> {
    rig.rounds(one)
}

fn one(rig: &mut Rig, round: u32) -> Result<()> {
    let data = rig.dir().join(format!("data{round}"));
    let mut lives = Lives::of_new(rig, data);
    lives.life = round * 10;
    let mut dice = lives.dice();
    let settings = Settings { memory_mib: 16, durability: Durability::Synced };

    // So few from the beginning that it may not even start: it says so.
    let mut launch = lives.launch(settings);
    launch.surroundings.descriptors = Some(6 + dice.below(30));
    match Server::start(&lives.rig.env, &launch)? {
        Started::Serving(mut server) => server.kill()?,
        Started::Refused(why) if why.contains("files") => {
            lives.rig.count("refused to open with few descriptors", 1);
        }
        Started::Refused(why) => {
            return Err(Failure::broken(format!("few descriptors are not told as such: {why}")));
        }
        Started::KilledOpening => {
            return Err(Failure::trouble("killed though nobody asked for it"));
        }
    }

    // Then hardly one more than it has, while clients work.
    let mut server = lives.open(settings, Durability::Synced)?;
    starve(&mut lives, &server, &mut dice)?;
    server.kill()?;
    let mut server = lives.open(settings, Durability::Buffered)?;
    server.kill()
}

/// Lets a server have hardly one descriptor more than it has open, while clients work, and
/// then enough again: unless it stopped for good, writes go on. Answers whether they do.
///
/// # Errors
/// Broken.
pub(crate) fn starve(lives: &mut Lives<'_>, server: &Server, dice: &mut Dice) -> Result<bool> {
    let pid = server.killer();
    let (env, all) = (lives.rig.env.clone(), lives.surroundings.descriptors);
    let (few_at, more) = (20 + dice.below(400), dice.below(4));
    let acknowledged_since = AtomicU64::new(0);
    let refused = AtomicU64::new(0);
    let (is_few, is_stopped) = (AtomicBool::new(false), AtomicBool::new(false));
    // Counters and flags that are read when all clients have ended: relaxed.
    let decide = |event: Event<'_>| match event {
        Event::Acknowledged { count, .. } if count == few_at => {
            is_few.store(true, Ordering::Relaxed);
            let limited = Server::open_descriptors(&env, pid)
                .and_then(|open| Server::limit_descriptors(pid, Some(open + more), all));
            limited.map_or_else(Go::Fail, |()| Go::On)
        }
        Event::Acknowledged { .. } if is_few.load(Ordering::Relaxed) => {
            match acknowledged_since.fetch_add(1, Ordering::Relaxed) {
                n if n >= ENOUGH => Go::Stop,
                _ => Go::On,
            }
        }
        Event::Acknowledged { .. } => Go::On,
        Event::Refused { problem, .. } if is_overload(problem) => Go::On,
        Event::Refused { problem, .. } => {
            let told = ["storage", "read-only", "stopped"].contains(&problem.kind.as_str());
            if !told || !is_few.load(Ordering::Relaxed) {
                return Go::Fail(Failure::broken(format!("not for few descriptors: {problem}")));
            }
            is_stopped.fetch_or(problem.kind == "stopped", Ordering::Relaxed);
            match refused.fetch_add(1, Ordering::Relaxed) {
                n if n >= ENOUGH => Go::Stop,
                _ => Go::On,
            }
        }
    };
    lives.live(server, Mix::PLAIN, None, &decide)?;
    lives.rig.count("refused for want of descriptors", refused.load(Ordering::Relaxed));
    lives.rig.count("lives with few descriptors", u64::from(is_few.load(Ordering::Relaxed)));

    // There are enough again.
    Server::limit_descriptors(pid, None, all)?;
    if is_stopped.load(Ordering::Relaxed) {
        lives.rig.count("stopped for want of descriptors", 1);
        return Ok(false);
    }
    lives.writes_go_on(server, "descriptors came back")?;
    Ok(true)
}
