//! `kill`: SIGKILL again and again while clients write and read.

use crate::client::{Client, is_overload};
use crate::contents::{audit_snapshot, done};
use crate::disks::tool;
use crate::failure::{Failure, Result};
use crate::journal::{self, Journal};
use crate::lives::{Lives, draw_end, draw_settings};
use crate::operation::Mix;
use crate::rig::Rig;
use crate::server::{Server, Started};
use crate::workload::{Event, Go};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use tanada::{Compression, Db, Durability};
use tanada_vfs::memory::Dice;

/// Kills the server so many times, and opens it once more.
///
/// # Errors
/// Broken.
pub(crate) fn run(rig: &mut Rig) -> Result<()> {
    let dir = rig.dir().to_owned();
    let data = dir.join("data");
    let (count, die_in) = (rig.options.count, rig.options.die_in);
    let mut lives = if rig.options.resume {
        let kept = journal::read(&rig.env, &dir)?.ok_or_else(|| {
            Failure::trouble(format!("{} holds no journal of a run", dir.display()))
        })?;
        if kept.beginning.seed != rig.options.seed {
            return Err(Failure::trouble(format!(
                "that run had the seed {}; give the same",
                kept.beginning.seed
            )));
        }
        Lives::resume(rig, data.clone(), &kept, Mix::EVERYTHING)
    } else {
        Lives::of_new(rig, data.clone())
    };
    for life in 0..count {
        let mut dice = lives.dice();
        let settings = draw_settings(&mut dice);
        // The first life has no database yet, or one whose server is still dying.
        if life > 0 {
            between(&mut lives, &data, &mut dice)?;
        }
        let mut server = lives.open(settings, Durability::Buffered)?;
        if dice.chance(50) {
            lives.rig.count("verified while serving", 1);
            let damage = done("verify", Client::new(server.url()).verify())?;
            no_damage(&damage)?;
        }
        let end = draw_end(&mut dice);
        let journal = Journal::begin(&lives.rig.env, &dir, &lives.beginning())?;
        let dies = die_in == Some(lives.life);
        kill_at(&mut lives, &mut server, Some(&journal), (end, dies))?;
        lives.rig.advance();
    }
    let settings = draw_settings(&mut lives.dice());
    let mut server = lives.open(settings, Durability::Buffered)?;
    server.kill()?;
    verify(&mut lives, &data)
}

/// Lets clients work, and kills the server at the `end`-th acknowledgement: with this
/// program, when it `dies`.
///
/// # Errors
/// Broken.
pub(crate) fn kill_at(
    lives: &mut Lives<'_>,
    server: &mut Server,
    journal: Option<&Journal>,
    (end, dies): (u64, bool),
) -> Result<()> {
    let killer = server.killer();
    // Relaxed: read when all clients have ended.
    let is_killed = AtomicBool::new(false);
    let decide = |event: Event<'_>| match event {
        Event::Acknowledged { count, .. } if count == end => {
            if dies {
                let own = rustix::process::getpid();
                let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
            }
            is_killed.store(true, Ordering::Relaxed);
            killer.kill();
            Go::Stop
        }
        Event::Acknowledged { .. } => Go::On,
        Event::Refused { problem, .. } if is_overload(problem) => Go::On,
        Event::Refused { problem, .. } => {
            Go::Fail(Failure::broken(format!("a healthy server refuses: {problem}")))
        }
    };
    lives.live(server, Mix::EVERYTHING, journal, &decide)?;
    if !is_killed.load(Ordering::Relaxed) {
        return Err(Failure::broken(format!(
            "clients lost a server that nobody had killed: {}",
            server.said()
        )));
    }
    server.kill()?;
    lives.rig.count("kills", 1);
    Ok(())
}

/// What is done to the database between two lives of its server: kills while
/// it opens, a check of every byte, an embedded visit with another compression.
fn between(lives: &mut Lives<'_>, data: &Path, dice: &mut Dice) -> Result<()> {
    for _ in 0..4 {
        if !dice.chance(200) {
            break;
        }
        let mut launch = lives.launch(draw_settings(dice));
        launch.kill_after_writes = Some(1 + dice.below(40));
        match Server::start(&lives.rig.env, &launch)? {
            Started::KilledOpening => lives.rig.count("kills while opening", 1),
            Started::Serving(_) => return Err(Failure::trouble("the server was not killed")),
            Started::Refused(why) if why.contains("in use by") => {}
            Started::Refused(why) => {
                return Err(Failure::broken(format!("the database does not open: {why}")));
            }
        }
    }
    if dice.chance(100) {
        verify(lives, data)?;
    }
    if dice.chance(150) {
        visit(data, dice)?;
        lives.rig.count("embedded visits", 1);
    }
    Ok(())
}

/// `tanada verify`
///
/// # Errors
/// Broken when it finds damage.
pub(crate) fn verify(lives: &mut Lives<'_>, data: &Path) -> Result<()> {
    let binary = lives.rig.options.server.display().to_string();
    let said = tool(&binary, &["verify", "--json", "--data", &data.display().to_string()]);
    said.map_err(|e| Failure::broken(format!("tanada verify: {e}")))?;
    lives.rig.count("verified", 1);
    Ok(())
}

fn no_damage(damage: &[String]) -> Result<()> {
    match damage.first() {
        None => Ok(()),
        Some(first) => Err(Failure::broken(format!("verify finds damage: {first}"))),
    }
}

/// Opens the database without a server: other tables get another compression,
/// and a snapshot holds the bank while a compaction runs.
fn visit(data: &Path, dice: &mut Dice) -> Result<()> {
    let compression = match dice.below(3) {
        0 => Compression::None,
        1 => Compression::Lz4,
        _ => Compression::Zstd,
    };
    let memory = 16 + dice.below(48);
    let broken = |e: tanada::Error| Failure::broken(format!("embedded: {e}"));
    let db = Db::builder(data)
        .compression(compression)
        .memory(memory << 20)
        .create_if_missing(false)
        .open()
        .map_err(broken)?;
    let snapshot = db.snapshot();
    audit_snapshot(&snapshot)?;
    match dice.below(3) {
        0 => db.flush().map_err(broken)?,
        1 => {
            db.compact(..).map_err(broken)?;
        }
        _ => {}
    }
    audit_snapshot(&snapshot)?;
    no_damage(&db.verify().map_err(broken)?.damage)?;
    drop(snapshot);
    db.close().map_err(broken)
}
