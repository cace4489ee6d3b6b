//! `readonly`: the file system turns read-only under the server, as ext4 does
//! when it finds an error in itself; and is so already when the server starts.

use crate::client::is_overload;
use crate::disks::Image;
use crate::failure::{Failure, Result};
use crate::lives::Lives;
use crate::operation::Mix;
use crate::rig::Rig;
use crate::server::{Server, Settings, Started};
use crate::workload::{Event, Go};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tanada::Durability;
use tanada_vfs::memory::Dice;

/// Size of the file system; the file it lies in is sparse.
const SIZE_MIB: u64 = 1024;

/// Requests refused before a round ends.
const REFUSALS: u64 = 200;

/// Acknowledgements after which a write should have been refused long since.
const TOO_MANY: u64 = 20_000;

/// So many rounds.
///
/// # Errors
/// Broken, or lacking where no file system can be mounted, or the kernel lets
/// none turn read-only.
pub(crate) fn run(rig: &mut Rig) -> Result<()> {
    rig.rounds(one)
}

fn one(rig: &mut Rig, round: u32) -> Result<()> {
    let (file, place) =
        (rig.dir().join(format!("image{round}")), rig.dir().join(format!("disk{round}")));
    let mut disk = Image::create(&rig.env, &file, &place, SIZE_MIB)?;
    let data = disk.path().join("data");
    let mut lives = Lives::of_new(rig, data);
    lives.life = round * 10;
    let mut dice = lives.dice();
    let settings = Settings { memory_mib: 16, durability: Durability::Synced };
    let mut server = lives.open(settings, Durability::Synced)?;
    turn(&mut lives, &disk, &mut server, &mut dice)?;
    disk.unmount()?;
    disk.check()?;
    disk.mount()?;

    // A database on a read-only disk is refused, and named.
    disk.remount("ro")?;
    match Server::start(&lives.rig.env, &lives.launch(settings))? {
        Started::Refused(why) if why.contains("Read-only") => {
            lives.rig.count("refused to open read-only", 1);
        }
        Started::Refused(why) => {
            return Err(Failure::broken(format!("a read-only disk is not told as one: {why}")));
        }
        Started::Serving(_) | Started::KilledOpening => {
            return Err(Failure::broken("it serves from a disk it cannot write to"));
        }
    }
    disk.remount("rw")?;
    let mut server = lives.open(settings, Durability::Synced)?;
    server.kill()?;
    drop(server);
    disk.unmount()
}

/// Lets the file system turn read-only while clients work, and kills the server.
///
/// # Errors
/// Broken; lacking where the kernel lets none turn read-only.
pub(crate) fn turn(
    lives: &mut Lives<'_>,
    disk: &Image,
    server: &mut Server,
    dice: &mut Dice,
) -> Result<()> {
    let turns_at = 1 + dice.below(300);
    let has_turned = AtomicBool::new(false);
    let refused = AtomicU64::new(0);
    // Counters and flags that order nothing: relaxed.
    let decide = |event: Event<'_>| match event {
        Event::Acknowledged { count, .. } if count == turns_at => {
            has_turned.store(true, Ordering::Relaxed);
            disk.turn_read_only().map_or_else(Go::Fail, |()| Go::On)
        }
        Event::Acknowledged { count, .. } if count > TOO_MANY => Go::Stop,
        Event::Acknowledged { .. } => Go::On,
        Event::Refused { problem, .. } if is_overload(problem) => Go::On,
        Event::Refused { problem, .. } => {
            let told = ["storage", "read-only", "stopped"].contains(&problem.kind.as_str());
            if !told || !has_turned.load(Ordering::Relaxed) {
                return Go::Fail(Failure::broken(format!("not for a read-only disk: {problem}")));
            }
            match refused.fetch_add(1, Ordering::Relaxed) {
                n if n >= REFUSALS => Go::Stop,
                _ => Go::On,
            }
        }
    };
    lives.live(server, Mix::PLAIN, None, &decide)?;
    // Killed by us, and by nothing else: not by SIGBUS either.
    server.kill()?;
    if refused.load(Ordering::Relaxed) == 0 {
        return Err(Failure::broken("a read-only disk took every write"));
    }
    lives.rig.count("turned read-only", 1);
    Ok(())
}
