//! `power`: a true power cut under a running server, on a file system of its own.

use crate::client::is_overload;
use crate::disks::Image;
use crate::failure::{Failure, Result};
use crate::history::Cut;
use crate::lives::{Lives, draw_end, draw_settings};
use crate::operation::Mix;
use crate::rig::Rig;
use crate::server::{Server, Settings};
use crate::workload::{Event, Go};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tanada::Durability;

/// Size of the file system; the file it lies in is sparse.
const SIZE_MIB: u64 = 1024;

/// Cuts the power so many times, and opens the database once more.
///
/// # Errors
/// Broken, or lacking where no file system can be mounted.
pub(crate) fn run(rig: &mut Rig) -> Result<()> {
    let dir = rig.dir().to_owned();
    let mut disk = Image::create(&rig.env, &dir.join("image"), &dir.join("disk"), SIZE_MIB)?;
    let data = disk.path().join("data");
    let count = rig.options.count;
    let mut lives = Lives::of_new(rig, data);
    for _ in 0..count {
        let mut dice = lives.dice();
        // Most writes are synced, by the server's setting; some ask for less.
        let memory_mib = draw_settings(&mut dice).memory_mib;
        let settings = Settings { memory_mib, durability: Durability::Synced };
        let mut server = lives.open(settings, Durability::Synced)?;
        let end = draw_end(&mut dice);
        cut(&mut lives, &mut disk, &mut server, end)?;
        lives.rig.advance();
    }
    let settings = Settings { memory_mib: 16, durability: Durability::Synced };
    let mut server = lives.open(settings, Durability::Synced)?;
    server.kill()?;
    drop(server);
    disk.unmount()
}

/// Cuts the power at the `end`-th acknowledgement, and mounts the disk again.
///
/// # Errors
/// Broken, or lacking where that is not possible.
pub(crate) fn cut(
    lives: &mut Lives<'_>,
    disk: &mut Image,
    server: &mut Server,
    end: u64,
) -> Result<()> {
    let killer = server.killer();
    // Set before the cut: what is refused from then on is refused rightly.
    // Relaxed: the refusals it explains come after the cut, which the kernel
    // orders.
    let is_cut = AtomicBool::new(false);
    let ticks = lives.ticks();
    let cut_at = Mutex::new(None);
    let decide = |event: Event<'_>| match event {
        Event::Acknowledged { count, .. } if count == end => {
            is_cut.store(true, Ordering::Relaxed);
            let began = ticks.next();
            let cut = disk.cut_power();
            *cut_at.lock() = Some(Cut { began, ended: ticks.next() });
            killer.kill();
            cut.map_or_else(Go::Fail, |()| Go::Stop)
        }
        Event::Acknowledged { .. } => Go::On,
        Event::Refused { .. } if is_cut.load(Ordering::Relaxed) => Go::Stop,
        Event::Refused { problem, .. } if is_overload(problem) => Go::On,
        Event::Refused { problem, .. } => {
            Go::Fail(Failure::broken(format!("a healthy server refuses: {problem}")))
        }
    };
    lives.live(server, Mix::EVERYTHING, None, &decide)?;
    let Some(cut) = cut_at.into_inner() else {
        return Err(Failure::broken(format!(
            "clients lost a server whose power was on: {}",
            server.said()
        )));
    };
    lives.doubt(cut)?;
    // Its log is mapped: without the file system it may have met SIGBUS first.
    server.end_in_any_way()?;
    disk.unmount()?;
    disk.mount()?;
    lives.rig.count("power cuts", 1);
    Ok(())
}
