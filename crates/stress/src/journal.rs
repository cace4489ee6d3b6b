//! What was acknowledged, on a disk of its own: so that even a run that is
//! killed itself can be judged by the next one.
//!
//! One file a life, text, each line whole or not there:
//!
//! ```text
//! run SEED CLIENTS
//! before SEQNO NEXT          what was there when the life began
//! held SUBJECT STAMP VERSION
//! begin LIFE DURABILITY      written last: without it the file is not valid
//! ack STAMP SEQNO DURABILITY
//! ```
//!
//! What an operation wrote is not in it: seed and stamp decide that. An
//! acknowledgement is synced here before its client goes on, so that of each
//! client one operation at most was acknowledged and is not known to be.

use crate::client::name_of;
use crate::failure::{Failure, Result};
use crate::history::{Contents, Held};
use crate::operation::Subject;
use crate::stamp::Stamp;
use parking_lot::Mutex;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use tanada::Durability;
use tanada_vfs::{Env, WriteFile};

/// Begins the names of its files.
const NAME: &str = "journal.";

/// How a life began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    pub(crate) seed: u64,
    pub(crate) clients: u32,
    pub(crate) life: u32,
    pub(crate) durability: Durability,
    pub(crate) before: Contents,
}

/// The journal of one life, being written.
pub(crate) struct Journal {
    /// Guards the lines that no sync has taken yet. Held for moves only.
    waiting: Mutex<Waiting>,
    /// Guards the file. Held while it is written and synced: whoever waits for
    /// it finds its line synced by the one before, as a rule.
    file: Mutex<Synced>,
}

#[derive(Default)]
struct Waiting {
    lines: String,
    /// Lines given so far.
    given: u64,
}

struct Synced {
    file: Box<dyn WriteFile>,
    /// Lines synced so far.
    lines: u64,
}

impl Journal {
    /// Begins the journal of a life in `dir`, and removes that of the one before.
    ///
    /// # Errors
    /// Those of the disk it lies on.
    pub(crate) fn begin(env: &Env, dir: &Path, beginning: &Beginning) -> Result<Journal> {
        let old: Vec<PathBuf> = files(env, dir)?;
        let path = dir.join(format!("{NAME}{:010}", beginning.life));
        if old.contains(&path) {
            // A run that died while it began this life: nothing was asked for yet,
            // or the next run would have gone on behind it.
            env.fs.remove(&path)?;
        }
        let mut file = env.fs.create(&path)?;
        file.append(head(beginning).as_bytes())?;
        file.sync()?;
        env.fs.sync_dir(dir)?;
        for path in old.iter().filter(|old| **old != path) {
            env.fs.remove(path)?;
        }
        let file = Mutex::new(Synced { file, lines: 0 });
        Ok(Journal { waiting: Mutex::default(), file })
    }

    /// Notes an acknowledgement; returns once it is synced.
    ///
    /// # Errors
    /// Those of the disk it lies on.
    pub(crate) fn acknowledged(
        &self,
        stamp: Stamp,
        seqno: u64,
        durability: Durability,
    ) -> Result<()> {
        let mine = {
            let mut waiting = self.waiting.lock();
            let line = writeln!(waiting.lines, "ack {stamp} {seqno} {}", name_of(durability));
            line.expect("a string takes all");
            waiting.given += 1;
            waiting.given
        };
        let mut file = self.file.lock();
        if file.lines >= mine {
            return Ok(());
        }
        let (lines, given) = {
            let mut waiting = self.waiting.lock();
            (std::mem::take(&mut waiting.lines), waiting.given)
        };
        file.file.append(lines.as_bytes())?;
        file.file.sync()?;
        file.lines = given;
        Ok(())
    }
}

/// What a journal says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) beginning: Beginning,
    pub(crate) acknowledged: Vec<(Stamp, u64, Durability)>,
}

/// Reads the newest journal in `dir`; `None` when there is no whole one.
///
/// # Errors
/// When a line in its middle is none of ours, or it cannot be read.
pub(crate) fn read(env: &Env, dir: &Path) -> Result<Option<Kept>> {
    // A run that died while it began a life leaves two files, the newer one not whole.
    for path in files(env, dir)?.iter().rev() {
        let mut text = String::new();
        tanada_vfs::open_input(path)?.read_to_string(&mut text)?;
        let kept =
            parse(&text).map_err(|why| Failure::trouble(format!("{}: {why}", path.display())))?;
        if kept.is_some() {
            return Ok(kept);
        }
    }
    Ok(None)
}

/// The journals in `dir`, oldest first.
fn files(env: &Env, dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = env.fs.read_dir(dir)?;
    let ours = entries.into_iter().filter(|entry| entry.name.starts_with(NAME));
    Ok(ours.map(|entry| dir.join(entry.name)).collect())
}

fn head(beginning: &Beginning) -> String {
    let Beginning { seed, clients, life, durability, before } = beginning;
    let mut text = format!("run {seed} {clients}\nbefore {} {}\n", before.seqno, before.next_seqno);
    for (subject, held) in &before.subjects {
        let (kind, number) = match subject {
            Subject::Register(number) => ("register", number),
            Subject::Group(number) => ("group", number),
            Subject::Account(number) => ("account", number),
        };
        text.push_str(&format!("held {kind} {number} {} {}\n", held.stamp, held.version));
    }
    text.push_str(&format!("begin {life} {}\n", name_of(*durability)));
    text
}

/// `Ok(None)` for a journal whose head was cut short.
fn parse(text: &str) -> Result<Option<Kept>, String> {
    let (mut seed, mut clients) = (0, 0);
    let mut before = Contents::default();
    let mut kept: Option<Kept> = None;
    // A line without its end is one that a death cut short.
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let bad = || format!("not a line of a journal: {line:?}");
        let words: Vec<&str> = line.split(' ').collect();
        match (words.as_slice(), kept.is_some()) {
            (["run", s, c], false) => {
                seed = s.parse().map_err(|_| bad())?;
                clients = c.parse().map_err(|_| bad())?;
            }
            (["before", seqno, next_seqno], false) => {
                before.seqno = seqno.parse().map_err(|_| bad())?;
                before.next_seqno = next_seqno.parse().map_err(|_| bad())?;
            }
            (["held", kind, number, stamp, version], false) => {
                let number = number.parse().map_err(|_| bad())?;
                let subject = match *kind {
                    "register" => Subject::Register(number),
                    "group" => Subject::Group(number),
                    "account" => Subject::Account(number),
                    _ => return Err(bad()),
                };
                let held =
                    Held { stamp: stamp.parse()?, version: version.parse().map_err(|_| bad())? };
                before.subjects.insert(subject, held);
            }
            (["begin", life, durability], false) => {
                let beginning = Beginning {
                    seed,
                    clients,
                    life: life.parse().map_err(|_| bad())?,
                    durability: durability_of(durability).ok_or_else(bad)?,
                    before: std::mem::take(&mut before),
                };
                kept = Some(Kept { beginning, acknowledged: Vec::new() });
            }
            (["ack", stamp, seqno, durability], true) => {
                let seqno = seqno.parse().map_err(|_| bad())?;
                let durability = durability_of(durability).ok_or_else(bad)?;
                let one = (stamp.parse()?, seqno, durability);
                kept.as_mut().expect("it has begun").acknowledged.push(one);
            }
            _ => return Err(bad()),
        }
    }
    Ok(kept)
}

fn durability_of(name: &str) -> Option<Durability> {
    [Durability::Memory, Durability::Buffered, Durability::Synced]
        .into_iter()
        .find(|durability| name_of(*durability) == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tanada_vfs::MemoryMachine;

    fn beginning(life: u32) -> Beginning {
        let mut before = Contents { seqno: 9, next_seqno: 30, ..Contents::default() };
        let stamp = Stamp { life: 1, client: 2, n: 3 };
        for subject in [Subject::Register(1), Subject::Group(2), Subject::Account(3)] {
            before.subjects.insert(subject, Held { stamp, version: 8 });
        }
        Beginning { seed: 7, clients: 4, life, durability: Durability::Buffered, before }
    }

    #[test]
    fn what_was_noted_is_read_back_cut_short_or_not() {
        let mut text = head(&beginning(5));
        let whole = text.len();
        text.push_str("ack 5.0.1 10 synced\nack 5.1.0 11 memory\n");
        let kept = parse(&text).unwrap().unwrap();
        assert_eq!(kept.beginning, beginning(5));
        assert_eq!(kept.acknowledged.len(), 2);
        assert_eq!(kept.acknowledged[1].2, Durability::Memory);
        for cut in 0..text.len() {
            let kept = parse(&text[..cut]).unwrap();
            assert_eq!(kept.is_some(), cut >= whole, "cut at {cut}");
        }
        assert!(parse("run 1 2\nnonsense\n").is_err());
    }

    #[test]
    fn an_acknowledgement_survives_a_power_cut_and_the_life_before_goes_when_the_next_begins() {
        let machine = MemoryMachine::new(3);
        let env = machine.env();
        let dir = Path::new("/run");
        env.fs.create_dir_all(dir).unwrap();
        env.fs.sync_dir(Path::new("/")).unwrap();
        drop(Journal::begin(&env, dir, &beginning(1)).unwrap());
        let journal = Journal::begin(&env, dir, &beginning(2)).unwrap();
        let stamp = Stamp { life: 2, client: 0, n: 1 };
        journal.acknowledged(stamp, 10, Durability::Synced).unwrap();
        let env = machine.crash(4).env();
        let files = files(&env, dir).unwrap();
        let newest = files.last().unwrap();
        let file = env.fs.open(newest).unwrap();
        let mut bytes = vec![0; file.len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let kept = parse(std::str::from_utf8(&bytes).unwrap()).unwrap().unwrap();
        assert_eq!(kept.beginning.life, 2);
        assert_eq!(kept.acknowledged, [(stamp, 10, Durability::Synced)]);
    }
}
