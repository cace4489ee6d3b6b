//! `soak`: one database for an hour, through everything that the other modes do to
//! databases of their own, in an order that a seed decides; and through what takes time:
//! quiet spells, clocks that are set, cursors that are held, short lives, copies.
//!
//! Each cycle is a life of the server. It begins by judging the life before, as every mode
//! does, and everything that [`shadow`] knows; then clients do some [`chores`], and make
//! [`copies`]; then they work on the default keyspace until something ends them. What the
//! server takes of the machine is judged the whole time, by [`bounds`].

mod shadow;
mod chores;
mod copies;
mod bounds;
mod disk;
mod held;

use crate::client::Client;
use crate::contents::{done, insist};
use crate::descriptors;
use crate::disks::Filler;
use crate::failure::{Failure, Result};
use crate::fsync;
use crate::full;
use crate::kill;
use crate::lives::{Lives, draw_end, draw_settings};
use crate::power;
use crate::readonly;
use crate::rig::Rig;
use crate::server::{Server, Settings, Surroundings};
use crate::shifted_clock::Shift;
use bounds::{Rested, Row, Watch, judge_disk};
use chores::{Chore, Chores};
use copies::Copies;
use disk::Disk;
use held::Held;
use shadow::Shadow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tanada::Durability;
use tanada_vfs::Env;
use tanada_vfs::memory::Dice;

/// What a disk that fills up has left when clients begin to fill it.
const LEFT_MIB: u64 = 8;

/// After so long without a write nothing is due any more: garbage is a minute old.
const REST: Duration = Duration::from_secs(80);

/// A run of so many minutes rests now and then, and at its end; a shorter one has no time.
const LONG_MINUTES: u32 = 4;

/// Cycles between two rests.
const BETWEEN_RESTS: u32 = 10;

/// How far the clock is set: more than is believed, and less.
const YEARS_MS: i64 = 30 * 365 * 86_400_000;
const MINUTES_MS: i64 = 2 * 60_000;

/// What ends a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Torment {
    Stop,
    Kill,
    Descriptors,
    Power,
    Full,
    ReadOnly,
    /// What is under the file system takes nothing more: it learns that at a sync.
    Syncs,
    /// The server is opened while the clock is wrong by decades, and killed.
    WrongClock,
}

impl Torment {
    fn name(self) -> &'static str {
        match self {
            Torment::Stop => "ends: stopped",
            Torment::Kill => "ends: killed",
            Torment::Descriptors => "ends: starved of descriptors, then killed",
            Torment::Power => "ends: power cut",
            Torment::Full => "ends: disk full, then killed",
            Torment::ReadOnly => "ends: file system read-only",
            Torment::Syncs => "ends: syncs fail, then killed",
            Torment::WrongClock => "ends: opened with a clock wrong by decades, then killed",
        }
    }

    fn needs_a_disk(self) -> bool {
        matches!(self, Torment::Power | Torment::Full | Torment::ReadOnly | Torment::Syncs)
    }
}

/// For as many minutes as were asked for.
///
/// # Errors
/// Broken.
pub(crate) fn run(rig: &mut Rig) -> Result<()> {
    let dir = rig.dir().to_owned();
    let env = rig.env.clone();
    let disk = Disk::create(&env, &dir);
    let lacking = |rig: &mut Rig, what: &str, why: Failure| match why {
        Failure::Lacking(why) if !rig.options.require => {
            rig.tell(&format!("LEFT OUT: {what}: this machine lacks {why}"));
            Ok(())
        }
        why => Err(why),
    };
    let disk = match disk {
        Ok(disk) => Some(disk),
        Err(why) => {
            lacking(rig, "power cuts, full disks, read-only file systems, failed syncs", why)?;
            None
        }
    };
    let clock = match Shift::right(&env, &dir.join("clock")) {
        Ok(clock) => Some(clock),
        Err(why) => {
            lacking(rig, "clocks that are set", why)?;
            None
        }
    };
    let place = disk.as_ref().map_or_else(|| dir.join("disk"), |d| d.image.path().to_owned());
    let checkpoints = place.join("checkpoints");
    env.fs.create_dir_all(&checkpoints)?;
    let elsewhere = dir.join("elsewhere");
    env.fs.create_dir_all(&elsewhere)?;
    let data = place.join("data");
    let copies = Copies {
        binary: rig.options.server.display().to_string(),
        checkpoints: checkpoints.clone(),
        elsewhere,
        made: 0,
    };
    let mut lives = Lives::of_new(rig, data.clone());
    lives.surroundings = Surroundings {
        descriptors: Some(bounds::DESCRIPTORS),
        checkpoints: Some(checkpoints),
        clock: clock.clone(),
    };
    let watch = Watch::begin(&env)?;
    let mut soak = Soak {
        end_ns: env.clock.monotonic_ns() + u64::from(lives.rig.options.count) * 60_000_000_000,
        env,
        lives,
        disk,
        clock,
        copies,
        data,
        watch,
        shadow: Shadow::default(),
        survives: Durability::Buffered,
        did: BTreeMap::new(),
        disks: BTreeMap::new(),
        others_wrote: false,
    };
    let outcome = soak.all();
    soak.watch.end();
    soak.table();
    outcome
}

/// One run.
struct Soak<'r> {
    env: Env,
    lives: Lives<'r>,
    /// `None` where none can be mounted.
    disk: Option<Disk>,
    /// `None` where none can be set.
    clock: Option<Shift>,
    copies: Copies,
    data: PathBuf,
    watch: Arc<Watch>,
    shadow: Shadow,
    /// What survives the end of the life before.
    survives: Durability,
    /// Whether someone has written since that was judged.
    others_wrote: bool,
    end_ns: u64,
    /// How often what was done.
    did: BTreeMap<&'static str, u64>,
    /// What the disk came to at worst.
    disks: BTreeMap<&'static str, Row>,
}

impl Soak<'_> {
    fn all(&mut self) -> Result<()> {
        let mut order = self.shuffled();
        // Each end once at least, however slow the machine is.
        let least = order.len() as u32;
        let mut cycle = 0;
        while self.is_time_left() || cycle < least {
            if order.is_empty() {
                order = self.shuffled();
            }
            let torment = order.pop().unwrap_or(Torment::Kill);
            let rests = self.is_long() && cycle % BETWEEN_RESTS == BETWEEN_RESTS - 1;
            let began_ns = self.env.clock.monotonic_ns();
            self.cycle(torment, rests)?;
            cycle += 1;
            self.report(cycle, torment, began_ns);
        }
        self.last()
    }

    fn is_long(&self) -> bool {
        self.lives.rig.options.count >= LONG_MINUTES
    }

    fn is_time_left(&self) -> bool {
        self.env.clock.monotonic_ns() < self.end_ns
    }

    /// All that may end a life here, in an order that the seed decides.
    fn shuffled(&self) -> Vec<Torment> {
        let mut all = vec![
            Torment::Stop,
            Torment::Kill,
            Torment::Descriptors,
            Torment::Power,
            Torment::Full,
            Torment::ReadOnly,
            Torment::Syncs,
            Torment::WrongClock,
        ];
        all.retain(|torment| self.disk.is_some() || !torment.needs_a_disk());
        all.retain(|torment| self.clock.is_some() || *torment != Torment::WrongClock);
        let mut dice = self.lives.dice();
        for last in (1..all.len()).rev() {
            all.swap(last, dice.below(last as u64 + 1) as usize);
        }
        all
    }

    fn did(&mut self, what: &'static str, times: u64) {
        *self.did.entry(what).or_insert(0) += times;
    }

    /// A line for who looks on.
    fn report(&mut self, cycle: u32, torment: Torment, began_ns: u64) {
        let now_ns = self.env.clock.monotonic_ns();
        let left_s = self.end_ns.saturating_sub(now_ns) / 1_000_000_000;
        let [memory, descriptors] = self.watch.rows();
        let rig = &self.lives.rig;
        rig.tell(&format!(
            "  cycle {cycle:4}  {:<56} {:5.1} s  {:6} records held  {:3} MiB over budget  {:3} descriptors  left {left_s} s",
            torment.name(),
            (now_ns - began_ns) as f64 / 1e9,
            self.shadow.len(),
            memory.most >> 10,
            descriptors.most,
        ));
        rig.is_at(u64::from(rig.options.count).saturating_sub(left_s.div_ceil(60)));
    }

    fn open(&mut self, settings: Settings) -> Result<Server> {
        let server = match std::mem::take(&mut self.others_wrote) {
            true => self.lives.open_after_others(settings)?,
            false => self.lives.open(settings, self.survives)?,
        };
        self.watch.at(&server, settings);
        Ok(server)
    }

    /// Kills a server that is judged, so that others may write.
    fn kill(&mut self, server: &mut Server) -> Result<()> {
        self.watch.nobody();
        server.kill()?;
        self.survives = Durability::Buffered;
        Ok(())
    }

    /// One life, and some short ones behind it.
    fn cycle(&mut self, torment: Torment, rests: bool) -> Result<()> {
        let mut dice = self.lives.dice();
        let memory_mib = draw_settings(&mut dice).memory_mib;
        let durability = match torment {
            Torment::Kill | Torment::Stop => draw_settings(&mut dice).durability,
            _ => Durability::Synced,
        };
        let settings = Settings { memory_mib, durability };
        let wrong = torment == Torment::WrongClock;
        let mut server = self.open(settings)?;
        self.shadow.check(&self.env, &Client::new(server.url()))?;
        if wrong {
            // What the life before did has been judged; this one opens under another clock.
            self.kill(&mut server)?;
            self.set_clock(YEARS_MS)?;
            server = self.open_again(settings)?;
        }
        self.healthy(&server, settings, &mut dice, wrong)?;
        self.lives.look_anew(&server)?;
        self.torment(torment, &mut server, &mut dice)?;
        self.watch.nobody();
        self.watch.judge()?;
        drop(server);
        self.did(torment.name(), 1);
        if dice.chance(500) || rests {
            self.between(settings, &mut dice, rests)?;
        }
        Ok(())
    }

    /// Opens the database once more, to which only the shadow's writes have come.
    fn open_again(&mut self, settings: Settings) -> Result<Server> {
        self.others_wrote = true;
        self.open(settings)
    }

    fn set_clock(&mut self, ahead_ms: i64) -> Result<()> {
        match &self.clock {
            Some(clock) => clock.set(ahead_ms),
            None => Ok(()),
        }
    }

    /// What clients do while the server is well: some chores, a copy, a clock that is set,
    /// with a cursor over it all.
    fn healthy(
        &mut self,
        server: &Server,
        settings: Settings,
        dice: &mut Dice,
        wrong_clock: bool,
    ) -> Result<()> {
        let client = Client::new(server.url());
        let mut held = Held::open(&self.env, &client, &self.shadow, wrong_clock)?;
        for _ in 0..2 + dice.below(3) {
            let chore = Chore::ALL[dice.below(Chore::ALL.len() as u64) as usize];
            let mut chores = Chores {
                env: &self.env,
                url: server.url(),
                client: &client,
                shadow: &mut self.shadow,
                dice,
                brief: !wrong_clock,
            };
            chores.run(chore)?;
            self.did(chore.name(), 1);
            if let Some(held) = &mut held {
                held.read_on()?;
            }
        }
        if !wrong_clock && dice.chance(300) {
            self.clock_is_set(&client, dice)?;
        }
        // The command line opens a checkpoint by the machine's clock: the two would differ.
        if !wrong_clock && dice.chance(200) {
            self.copies.checkpoint(&self.env, &client, server.url())?;
            self.did("copies: checkpoints verified, opened, compared", 1);
        }
        if dice.chance(150) {
            self.copies.dump_and_load(&self.env, server.url())?;
            self.did("copies: dumps loaded and compared", 1);
        }
        if let Some(held) = held {
            held.compare()?;
            self.did("cursors held over all that", 1);
        }
        if !wrong_clock {
            self.shadow.check(&self.env, &client)?;
        }
        let live_bytes = self.live_bytes(&client)?;
        self.judge_disk(&client, (settings, live_bytes, Rested::No))
    }

    /// Bytes that are stored, in all keyspaces.
    fn live_bytes(&self, client: &Client) -> Result<u64> {
        let scanned = insist(&self.env, "a scan of everything", || client.scan(""))?;
        let own: usize = scanned.iter().map(|(key, value)| key.len() + value.len() + 32).sum();
        Ok(self.shadow.live_bytes() + own as u64)
    }

    fn judge_disk(&mut self, client: &Client, of: (Settings, u64, Rested)) -> Result<()> {
        let row = judge_disk(&self.env, client, &self.data, of)?;
        let worst = self.disks.entry(row.what).or_insert(row);
        *worst = worst.worse(row);
        Ok(())
    }

    /// The clock is set, ahead or back, by decades or minutes, while the server is open; and
    /// set right again. What lives for a year is there meanwhile.
    fn clock_is_set(&mut self, client: &Client, dice: &mut Dice) -> Result<()> {
        if self.clock.is_none() {
            return Ok(());
        }
        let ahead_ms = [YEARS_MS, -YEARS_MS, MINUTES_MS, -MINUTES_MS][dice.below(4) as usize];
        self.set_clock(ahead_ms)?;
        let told = done("the clock", client.fetch("/v1/admin/clock"))?;
        let state = told["state"].as_str().unwrap_or_default();
        let expected = match ahead_ms {
            YEARS_MS => "ahead",
            n if n == -YEARS_MS => "behind",
            _ => state,
        };
        if state != expected {
            return Err(Failure::broken(format!("a clock set by {ahead_ms} ms is told as {told}")));
        }
        self.shadow.check(&self.env, client)?;
        self.set_clock(0)?;
        let told = done("the clock", client.fetch("/v1/admin/clock"))?;
        if told["state"] != "believed" {
            return Err(Failure::broken(format!("a clock that is right again is told as {told}")));
        }
        self.did("clocks set while the server is open", 1);
        Ok(())
    }

    /// What ends the life of a server; it is dead then.
    fn torment(&mut self, torment: Torment, server: &mut Server, dice: &mut Dice) -> Result<()> {
        let end = draw_end(dice);
        let lives = &mut self.lives;
        self.survives = Durability::Buffered;
        match (torment, &mut self.disk) {
            (Torment::Stop, _) => {
                self.watch.nobody();
                server.stop()?;
                self.survives = Durability::Memory;
            }
            (Torment::WrongClock, _) => {
                kill::kill_at(lives, server, None, (end.min(300), false))?;
                self.set_clock(0)?;
            }
            (Torment::Descriptors, _) => {
                if descriptors::starve(lives, server, dice)? {
                    self.is_green(server)?;
                }
                self.kill(server)?;
            }
            (Torment::Power, Some(disk)) => {
                self.survives = Durability::Synced;
                power::cut(lives, &mut disk.image, server, end)?;
            }
            (Torment::Full, Some(disk)) => {
                let filler = Filler::on(disk.image.path());
                filler.take_space(&self.env, LEFT_MIB << 20)?;
                full::fill_up(lives, server)?;
                full::deletes_pass(lives, server)?;
                filler.give_space(&self.env)?;
                lives.writes_go_on(server, "room came back")?;
                self.is_green(server)?;
                self.kill(server)?;
            }
            (Torment::ReadOnly, Some(disk)) => {
                self.survives = Durability::Synced;
                readonly::turn(lives, &disk.image, server, dice)?;
                disk.mend()?;
            }
            (Torment::Syncs, Some(disk)) => {
                self.survives = Durability::Synced;
                disk.image.write_page_by_page()?;
                disk.give_back()?;
                let starve = || disk.starve(&self.env);
                let failed = fsync::turn(lives, &starve, server, dice)?;
                disk.image.unmount()?;
                disk.feed()?;
                disk.mend()?;
                self.did("syncs that failed", failed.into());
            }
            _ => kill::kill_at(lives, server, None, (end, false))?,
        }
        Ok(())
    }

    /// The server is well again within a minute.
    fn is_green(&self, server: &Server) -> Result<()> {
        let client = Client::new(server.url());
        for _ in 0..600 {
            if client.is_ready().0 {
                return Ok(());
            }
            self.env.clock.sleep(Duration::from_millis(100));
        }
        let said = client.is_ready().1;
        Err(Failure::broken(format!("the torment is over, and the server is not ready: {said}")))
    }

    /// Short lives, and a rest, between two lives that are judged.
    fn between(&mut self, settings: Settings, dice: &mut Dice, rests: bool) -> Result<()> {
        // Judges the life before: behind that others may write.
        let mut server = self.open(settings)?;
        let client = Client::new(server.url());
        self.shadow.check(&self.env, &client)?;
        if rests {
            self.rest(&client, settings)?;
        }
        self.kill(&mut server)?;
        let lives = self.copies.short_lives(&self.data, &mut self.shadow, dice)?;
        self.others_wrote = true;
        self.did("short lives by the command line", lives);
        Ok(())
    }

    /// Nobody writes for a while; then nothing may be left that nobody needs.
    fn rest(&mut self, client: &Client, settings: Settings) -> Result<()> {
        let seconds = REST.as_secs();
        self.lives.rig.tell(&format!("              nobody writes for {seconds} s"));
        self.env.clock.sleep(REST);
        self.shadow.check(&self.env, client)?;
        let live_bytes = self.live_bytes(client)?;
        self.judge_disk(client, (settings, live_bytes, Rested::Long))?;
        let ready = client.is_ready();
        if !ready.0 {
            return Err(Failure::broken(format!("a server at rest is not ready: {}", ready.1)));
        }
        self.did("rests", 1);
        Ok(())
    }

    /// The last life: all is judged, nothing is left over, and every byte is right.
    fn last(&mut self) -> Result<()> {
        let settings = Settings { memory_mib: 16, durability: Durability::Synced };
        let mut server = self.open(settings)?;
        let client = Client::new(server.url());
        self.shadow.check(&self.env, &client)?;
        if self.is_long() {
            self.rest(&client, settings)?;
        }
        self.copies.checkpoint(&self.env, &client, server.url())?;
        self.copies.dump_and_load(&self.env, server.url())?;
        self.watch.nobody();
        server.stop()?;
        self.watch.judge()?;
        kill::verify(&mut self.lives, &self.data)?;
        match &mut self.disk {
            Some(disk) => disk.image.unmount(),
            None => Ok(()),
        }
    }

    /// What was done, and what was taken at most.
    fn table(&mut self) {
        let rig = &mut self.lives.rig;
        let mut lines = vec![String::new(), format!("  {:<60} {:>12}", "done", "times")];
        lines.extend(self.did.iter().map(|(what, times)| format!("  {what:<60} {times:>12}")));
        lines.push(String::new());
        lines.push(format!("  {:<44} {:>14} {:>14}", "taken", "at most", "bound"));
        let rows = self.watch.rows().into_iter().chain(self.disks.values().copied());
        for Row { what, most, bound } in rows {
            lines.push(format!("  {what:<44} {most:>14} {bound:>14}"));
        }
        rig.tell(&lines.join("\n"));
        for (what, times) in &self.did {
            rig.count(what, *times);
        }
    }
}
