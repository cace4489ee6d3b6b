//! `fsync`: syncs that really fail. The database lies in a sparse image on a
//! small disk; when that is full, the image's file system can write no more,
//! and learns it only when it must: at a sync. Pages go to the disk one by one, for
//! the loop device tells nobody when of a longer write only a part was taken.

use crate::client::is_overload;
use crate::disks::{Filler, Image, SmallDisk};
use crate::failure::{Failure, Result};
use crate::lives::Lives;
use crate::operation::Mix;
use crate::rig::Rig;
use crate::server::{Server, Settings};
use crate::workload::{Event, Go};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tanada::Durability;
use tanada_vfs::memory::Dice;

/// The disk in memory, and the image on it, which believes to be larger.
const DISK_MIB: u64 = 96;
const IMAGE_MIB: u64 = 1024;

/// Requests refused after the failure before a round ends: enough for every
/// client to try again and again.
const REFUSALS: u64 = 200;

/// Acknowledgements after which a sync should have failed long since.
const TOO_MANY: u64 = 20_000;

/// So many rounds.
///
/// # Errors
/// Broken, or lacking where no file system can be mounted.
pub(crate) fn run(rig: &mut Rig) -> Result<()> {
    rig.rounds(one)
}

fn one(rig: &mut Rig, round: u32) -> Result<()> {
    let small = SmallDisk::mount(&rig.env, &rig.dir().join(format!("small{round}")), DISK_MIB)?;
    let place = rig.dir().join(format!("disk{round}"));
    let mut disk = Image::create(&rig.env, &small.path().join("image"), &place, IMAGE_MIB)?;
    disk.write_page_by_page()?;
    let (env, filler) = (rig.env.clone(), Filler::on(small.path()));
    let data = disk.path().join("data");
    let mut lives = Lives::of_new(rig, data);
    // Each round has lives of its own: other operations, other numbers.
    lives.life = round * 10;
    let mut dice = lives.dice();
    let settings = Settings { memory_mib: 16, durability: Durability::Synced };
    let mut server = lives.open(settings, Durability::Synced)?;
    let leave_bytes = dice.below(64) << 12;
    let starve = || filler.take_space(&env, leave_bytes);
    if !turn(&mut lives, &starve, &mut server, &mut dice)? {
        return Err(Failure::trouble(format!(
            "no sync failed: the server said {:?}",
            server.said()
        )));
    }
    disk.unmount()?;
    filler.give_space(&env)?;
    // Its journal could not be written either.
    disk.check()?;
    disk.mount()?;
    // What is left is all that was acknowledged, and it can be written to again.
    let mut server = lives.open(settings, Durability::Synced)?;
    let killer = server.killer();
    let decide = |event: Event<'_>| match event {
        Event::Acknowledged { count: 50, .. } => {
            killer.kill();
            Go::Stop
        }
        Event::Acknowledged { .. } => Go::On,
        Event::Refused { problem, .. } if is_overload(problem) => Go::On,
        Event::Refused { problem, .. } => {
            Go::Fail(Failure::broken(format!("a healthy server refuses: {problem}")))
        }
    };
    lives.live(&server, Mix::PLAIN, None, &decide)?;
    server.kill()?;
    let mut server = lives.open(settings, Durability::Buffered)?;
    server.kill()?;
    drop(server);
    disk.unmount()
}

/// Takes the space under the file system, by `starve`, while clients work, and kills the
/// server. Answers whether anything has failed: a file system with blocks that were used
/// before may need none of the disk's for long.
///
/// # Errors
/// Broken.
pub(crate) fn turn(
    lives: &mut Lives<'_>,
    starve: &(dyn Fn() -> Result<()> + Sync),
    server: &mut Server,
    dice: &mut Dice,
) -> Result<bool> {
    let starved_at = 1 + dice.below(300);
    // Counters and flags that order nothing: relaxed.
    // The tick at which a client first heard of the failure. What is sent after
    // that must not be acknowledged. Relaxed: ticks order themselves.
    let heard_at = AtomicU64::new(u64::MAX);
    let refused = AtomicU64::new(0);
    let is_starved = AtomicBool::new(false);
    let decide = |event: Event<'_>| match event {
        Event::Acknowledged { call, .. } if call > heard_at.load(Ordering::Relaxed) => {
            Go::Fail(Failure::broken("a write was acknowledged after a sync had failed"))
        }
        Event::Acknowledged { count, .. } if count == starved_at => {
            is_starved.store(true, Ordering::Relaxed);
            starve().map_or_else(Go::Fail, |()| Go::On)
        }
        Event::Acknowledged { count, .. } if count > TOO_MANY => Go::Stop,
        Event::Acknowledged { .. } => Go::On,
        Event::Refused { problem, back } if problem.kind == "stopped" => {
            heard_at.fetch_min(back, Ordering::Relaxed);
            match refused.fetch_add(1, Ordering::Relaxed) {
                n if n >= REFUSALS => Go::Stop,
                _ => Go::On,
            }
        }
        Event::Refused { problem, .. } if is_overload(problem) => Go::On,
        // A flush may have met the failure first, or what is made anew, a table or a log:
        // nothing is unknown then, and nothing more is written to the log.
        Event::Refused { problem, .. }
            if ["read-only", "storage"].contains(&problem.kind.as_str())
                && is_starved.load(Ordering::Relaxed) =>
        {
            match refused.fetch_add(1, Ordering::Relaxed) {
                n if n >= REFUSALS => Go::Stop,
                _ => Go::On,
            }
        }
        Event::Refused { problem, .. } => {
            Go::Fail(Failure::broken(format!("not what a failed sync comes to: {problem}")))
        }
    };
    lives.live(server, Mix::PLAIN, None, &decide)?;
    server.kill()?;
    if refused.load(Ordering::Relaxed) == 0 {
        return Ok(false);
    }
    match heard_at.load(Ordering::Relaxed) {
        u64::MAX => lives.rig.count("failed syncs of tables", 1),
        _ => lives.rig.count("failed syncs of the log", 1),
    }
    Ok(true)
}
