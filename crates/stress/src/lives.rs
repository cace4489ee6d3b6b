//! A database through many lives of its server: each begins by judging the one
//! before.

use crate::client::Problem;
use crate::contents::read_all;
use crate::failure::{Failure, Result};
use crate::history::{Contents, Cut, Effect, Fate, Ticks, Touch};
use crate::journal::{Beginning, Journal, Kept};
use crate::operation::{Action, Mix, Subject, planned};
use crate::promise::{Life, Record};
use crate::rig::Rig;
use crate::server::{Launch, Server, Settings, Started, Surroundings};
use crate::stamp::Stamp;
use crate::workload::{Event, Go, Workload};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tanada::Durability;
use tanada_vfs::memory::Dice;

/// Tries to start a server whose predecessor is still on its way out.
const TRIES: u32 = 100;

/// Operations of a client that may lie between its last write that a journal
/// kept and the one that was in flight: reads, and transfers that found the
/// account changed. Many more than there ever are.
const MAX_BETWEEN: u32 = 400;

/// Clients that no life has: those of one chosen operation, and of the dice of
/// a life.
const CHOSEN: u32 = 1_000_000;
const FATES: u32 = 1_000_001;

/// A register that nothing else writes, and the first of the chosen operations that do.
const LAST: u32 = 900_000;
const FIRST_TRY: u32 = 1000;

/// A database and what is known of it.
pub(crate) struct Lives<'r> {
    pub(crate) rig: &'r mut Rig,
    data: PathBuf,
    ticks: Arc<Ticks>,
    /// Which life this is, or the last one was.
    pub(crate) life: u32,
    /// What was there when it began.
    contents: Contents,
    /// What its clients saw.
    touches: Vec<Touch>,
    record: Record,
    settings: Settings,
    /// What each server finds around it.
    pub(crate) surroundings: Surroundings,
}

impl<'r> Lives<'r> {
    /// A database that does not exist yet.
    pub(crate) fn of_new(rig: &'r mut Rig, data: PathBuf) -> Lives<'r> {
        Lives {
            rig,
            data,
            ticks: Arc::default(),
            life: 0,
            contents: Contents::default(),
            touches: Vec::new(),
            record: Record::Whole,
            settings: Settings { memory_mib: 16, durability: Durability::Synced },
            surroundings: Surroundings::default(),
        }
    }

    /// What a run that died knew of a database, from its journal.
    pub(crate) fn resume(rig: &'r mut Rig, data: PathBuf, kept: &Kept, mix: Mix) -> Lives<'r> {
        let Beginning { seed, clients, life, ref before, .. } = kept.beginning;
        let mut lives = Lives::of_new(rig, data);
        lives.life = life;
        lives.contents = before.clone();
        lives.record = Record::Acknowledged;
        let all_times = |subject, effect| Touch { subject, call: 0, back: 1, effect };
        let mut last = vec![None; clients as usize];
        for &(stamp, seqno, durability) in &kept.acknowledged {
            if let Some(last) = last.get_mut(stamp.client as usize) {
                *last = (*last).max(Some(stamp.n));
            }
            let action = planned(seed, stamp, mix).action;
            for (subject, to, seqno) in action.numbered(stamp, seqno) {
                let fate = Fate::Acknowledged { seqno, durability };
                let effect = Effect::Write { to, by: stamp, fate };
                lives.touches.push(all_times(subject, effect));
            }
        }
        // What may have been in flight: of each client what came next.
        for (client, last) in last.into_iter().enumerate() {
            let from = last.map_or(0, |n| n + 1);
            for n in from..from + MAX_BETWEEN {
                let by = Stamp { life, client: client as u32, n };
                for (subject, to) in planned(seed, by, mix).action.writes(by) {
                    let effect = Effect::Write { to, by, fate: Fate::Unknown };
                    lives.touches.push(all_times(subject, effect));
                }
            }
        }
        lives
    }

    /// The clock of all its clients.
    pub(crate) fn ticks(&self) -> Arc<Ticks> {
        Arc::clone(&self.ticks)
    }

    /// Judges what was acknowledged after a cut had begun, as a power cut lets
    /// nobody see: such a write may be lost, whatever it was promised.
    ///
    /// # Errors
    /// Broken when one that was sent after the cut was acknowledged as synced:
    /// there was nothing left to sync to.
    pub(crate) fn doubt(&mut self, cut: Cut) -> Result<()> {
        let doubted = cut.doubt(&mut self.touches).map_err(Failure::broken)?;
        self.rig.count("acknowledged during the cut", doubted);
        Ok(())
    }

    /// Random bits for the life that comes next.
    pub(crate) fn dice(&self) -> Dice {
        Stamp { life: self.life + 1, client: FATES, n: 0 }.dice(self.rig.options.seed)
    }

    /// How to start the server with these settings.
    pub(crate) fn launch(&self, settings: Settings) -> Launch {
        Launch {
            binary: self.rig.options.server.clone(),
            data: self.data.clone(),
            settings,
            kill_after_writes: None,
            surroundings: self.surroundings.clone(),
        }
    }

    /// Starts the server, and judges what it finds by what the life before
    /// promised to survive its end.
    ///
    /// # Errors
    /// Broken.
    pub(crate) fn open(&mut self, settings: Settings, survives: Durability) -> Result<Server> {
        let server = self.start(settings)?;
        self.judge(&server, survives)?;
        self.settings = settings;
        if self.contents.seqno == 0 {
            let touches = self.workload(&server, Mix::PLAIN, None).open_accounts()?;
            self.touches = touches;
            self.judge(&server, Durability::Memory)?;
        }
        self.life += 1;
        Ok(server)
    }

    /// Starts the server on a database that has been judged, and to which others have
    /// written since in keyspaces of their own.
    ///
    /// # Errors
    /// Broken, as for [`Lives::look_anew`].
    pub(crate) fn open_after_others(&mut self, settings: Settings) -> Result<Server> {
        let server = self.start(settings)?;
        self.look_anew(&server)?;
        self.settings = settings;
        self.life += 1;
        Ok(server)
    }

    /// Looks at what is there after others have written, in keyspaces of their own.
    ///
    /// # Errors
    /// Broken when anything is not as it was at the last judgement.
    pub(crate) fn look_anew(&mut self, server: &Server) -> Result<()> {
        let now = read_all(&self.rig.env, server.url()).map_err(|e| e.before(self.settings))?;
        if now.subjects != self.contents.subjects {
            let was = |subject| self.contents.subjects.get(subject);
            let changed = now.subjects.iter().find(|(subject, held)| was(subject) != Some(held));
            let gone = self.contents.subjects.keys().find(|s| !now.subjects.contains_key(s));
            return Err(Failure::broken(format!(
                "life {}: nobody wrote, and something has changed: {changed:?} is new, {gone:?} is gone",
                self.life
            )));
        }
        self.contents = now;
        Ok(())
    }

    fn start(&mut self, settings: Settings) -> Result<Server> {
        let launch = self.launch(settings);
        let mut tries = 0;
        loop {
            match Server::start(&self.rig.env, &launch)? {
                Started::Serving(server) => return Ok(server),
                // The server of a run that died is killed with it, but not at once.
                Started::Refused(why) if why.contains("in use by") && tries < TRIES => {
                    tries += 1;
                    self.rig.env.clock.sleep(Duration::from_millis(50));
                }
                Started::Refused(why) => {
                    return Err(Failure::broken(format!("the database does not open: {why}")));
                }
                Started::KilledOpening => {
                    return Err(Failure::trouble("killed though nobody asked for it"));
                }
            }
        }
    }

    /// Judges what is there now by what was seen since the last judgement.
    ///
    /// # Errors
    /// Broken.
    fn judge(&mut self, server: &Server, survives: Durability) -> Result<()> {
        let after = read_all(&self.rig.env, server.url()).map_err(|e| e.before(self.settings))?;
        let life = Life {
            before: &self.contents,
            touches: &self.touches,
            record: self.record,
            after: &after,
            survives,
        };
        let judgement = life.judge().map_err(|why| {
            Failure::broken(format!(
                "life {} ({}), judged by {survives:?}: {why}",
                self.life, self.settings
            ))
        })?;
        self.rig.count("acknowledged", judgement.acknowledged);
        // A journal does not say what was in flight, only what may have been.
        if self.record == Record::Whole {
            self.rig.count("in flight", judgement.in_flight);
        }
        self.rig.count("of these recovered", judgement.came_through);
        self.rig.count("lost as allowed", judgement.lost);
        self.rig.count("operations in order", judgement.ordered);
        self.contents = after;
        self.touches = Vec::new();
        self.record = Record::Whole;
        Ok(())
    }

    fn workload<'w>(
        &'w self,
        server: &'w Server,
        mix: Mix,
        journal: Option<&'w Journal>,
    ) -> Workload<'w> {
        Workload {
            seed: self.rig.options.seed,
            life: self.life,
            clients: self.rig.options.clients,
            mix,
            durability: self.settings.durability,
            ticks: &self.ticks,
            journal,
            url: server.url(),
        }
    }

    /// How this life begins, for a journal.
    pub(crate) fn beginning(&self) -> Beginning {
        Beginning {
            seed: self.rig.options.seed,
            clients: self.rig.options.clients,
            life: self.life,
            durability: self.settings.durability,
            before: self.contents.clone(),
        }
    }

    /// Lets the clients work until `decide` or the server's death stops them.
    ///
    /// # Errors
    /// Broken, or what `decide` says.
    pub(crate) fn live(
        &mut self,
        server: &Server,
        mix: Mix,
        journal: Option<&Journal>,
        decide: &(dyn Fn(Event<'_>) -> Go + Sync),
    ) -> Result<()> {
        let touches = self.workload(server, mix, journal).run(&self.rig.env, decide)?;
        self.touches.extend(touches);
        Ok(())
    }

    /// Does one chosen operation, the `n`-th of this life; why it was refused,
    /// if it was.
    ///
    /// # Errors
    /// Broken.
    pub(crate) fn once(
        &mut self,
        server: &Server,
        n: u32,
        action: Action,
    ) -> Result<Option<Problem>> {
        let stamp = Stamp { life: self.life, client: CHOSEN, n };
        let workload = self.workload(server, Mix::PLAIN, None);
        let (touches, refused) = workload.once(stamp, action)?;
        self.touches.extend(touches);
        Ok(refused)
    }

    /// Writes until a write is taken: what had stopped them is over.
    ///
    /// # Errors
    /// Broken when none is within a minute.
    pub(crate) fn writes_go_on(&mut self, server: &Server, over: &str) -> Result<()> {
        const TRIES: u32 = 600;
        let action = Action::Put { register: LAST, size_bytes: 1000 };
        for n in 0..TRIES {
            let Some(problem) = self.once(server, FIRST_TRY + n, action)? else { return Ok(()) };
            if n + 1 == TRIES {
                return Err(Failure::broken(format!("{over}, writes did not: {problem}")));
            }
            self.rig.env.clock.sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Registers that were put in this life, and acknowledged.
    pub(crate) fn acknowledged_registers(&self) -> Vec<u32> {
        let put = self.touches.iter().filter_map(|touch| match (touch.subject, touch.effect) {
            (
                Subject::Register(register),
                Effect::Write { to: Some(_), fate: Fate::Acknowledged { .. }, .. },
            ) => Some(register),
            _ => None,
        });
        put.collect()
    }
}

/// Options for one life, of what the server offers.
pub(crate) fn draw_settings(dice: &mut Dice) -> Settings {
    const MEMORY_MIB: [u64; 6] = [16, 16, 17, 24, 64, 256];
    let memory_mib = MEMORY_MIB[dice.below(MEMORY_MIB.len() as u64) as usize];
    let durability = match dice.below(4) {
        0 => Durability::Memory,
        1 => Durability::Buffered,
        _ => Durability::Synced,
    };
    Settings { memory_mib, durability }
}

/// After how many acknowledgements a life ends: most are short, some long
/// enough for flushes and compactions.
pub(crate) fn draw_end(dice: &mut Dice) -> u64 {
    match dice.below(10) {
        0 | 1 => 1 + dice.below(20),
        2..=7 => 20 + dice.below(400),
        _ => 400 + dice.below(2_500),
    }
}
