//! The bucket of the simulation: objects, requests on their way, and what must hold of them.
//!
//! Every change is one moment, and is checked in that moment (numbers as in
//! `docs/remote.md`): I1 to I7 and I9 to I11. The chain (I8) is walked at the end.

use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::task::Waker;
use std::time::Duration;
use tanada_remote::codec::{Base, Kind, LogObject, Manifest};
use tanada_remote::{
    Class, Condition, Epoch, Failure, Fetched, Meta, Nonce, Object, ObjectName, Operation, Place,
    RegisterName, Version,
};

pub(crate) const PREFIX: &str = "db/";

/// What an actor asks of the world.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Get(String, Option<Version>),
    Head(String),
    Put(String, Bytes, Condition),
    Delete(String),
    List(String),
    Sleep(Duration),
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Fetched(Fetched),
    Meta(Option<Meta>),
    Stored(Version),
    Deleted,
    Listed(Vec<Meta>),
    Slept,
    Failed(Failure),
}

impl Request {
    pub(crate) fn changes(&self) -> bool {
        matches!(self, Request::Put(..) | Request::Delete(_))
    }

    pub(crate) fn fails(&self, class: Class) -> Reply {
        let (operation, path) = match self {
            Request::Get(path, ..) => (Operation::Get, path.as_str()),
            Request::Head(path) => (Operation::Head, path.as_str()),
            Request::Put(path, _, Condition::Absent) => (Operation::Create, path.as_str()),
            Request::Put(path, ..) => (Operation::Swap, path.as_str()),
            Request::Delete(path) => (Operation::Delete, path.as_str()),
            Request::List(path) => (Operation::List, path.as_str()),
            Request::Sleep(_) => (Operation::Get, ""),
        };
        Reply::Failed(Failure::new(class, operation, path, "simulated"))
    }
}

/// A request that an actor waits for.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) actor: usize,
    pub(crate) request: Request,
    pub(crate) reply: Option<Reply>,
    /// Whom to tell of the reply: sets of futures poll only those that were woken.
    pub(crate) waker: Option<Waker>,
}

/// What one writer acknowledged: where, and which write.
#[derive(Clone, Copy, Debug)]
struct Acknowledged {
    place: Place,
    write: u64,
}

/// A writer that has confirmed its opening.
#[derive(Debug)]
struct Confirmed {
    epoch: Epoch,
    actor: usize,
    recovered: BTreeSet<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct World {
    objects: BTreeMap<String, (Bytes, u64)>,
    e_tags: u64,
    pub(crate) pending: BTreeMap<u64, Pending>,
    asked: u64,
    pub(crate) late: Vec<Request>,
    pub(crate) time: Duration,
    pub(crate) trace: Vec<String>,
    /// The first thing that did not hold.
    pub(crate) violation: Option<String>,
    manifest: Option<Manifest>,
    ends: BTreeMap<Epoch, Place>,
    nonces: BTreeMap<Epoch, Nonce>,
    /// Every content that a name ever had.
    contents: HashMap<String, Vec<Bytes>>,
    deleted_tables: BTreeSet<ObjectName>,
    acknowledged: Vec<Acknowledged>,
    confirmed: Vec<Confirmed>,
    fenced: BTreeSet<usize>,
    pub(crate) acknowledgements: u64,
    pub(crate) openings: u64,
    pub(crate) deletions: u64,
}

/// The tables that a state of the simulation names.
pub(crate) fn tables_of(manifest: &Manifest) -> Vec<ObjectName> {
    let Base::Inline(bytes) = &manifest.base else { return Vec::new() };
    let names = String::from_utf8_lossy(bytes);
    names.split(' ').filter_map(ObjectName::parse).collect()
}

pub(crate) fn base_of(tables: &[ObjectName]) -> Base {
    let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
    Base::Inline(names.join(" ").into_bytes())
}

/// The writes in a chunk's payload or in a table.
pub(crate) fn writes_in(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    bytes.chunks_exact(8).map(|n| u64::from_le_bytes(n.try_into().unwrap()))
}

fn version(e_tag: u64) -> Version {
    Version::new(Some(format!("\"{e_tag}\"")), None)
}

impl World {
    pub(crate) fn note(&mut self, what: String) {
        if self.trace.len() < 100_000 {
            self.trace.push(what);
        }
    }

    fn broken(&mut self, what: String) {
        self.note(format!("BROKEN: {what}"));
        self.violation.get_or_insert(what);
    }

    pub(crate) fn ask(&mut self, actor: usize, request: Request) -> u64 {
        if self.fenced.contains(&actor) && request.changes() {
            self.broken(format!("I11: actor {actor} is fenced and sends {request:?}"));
        }
        self.asked += 1;
        self.pending.insert(self.asked, Pending { actor, request, reply: None, waker: None });
        self.asked
    }

    fn current(&self, path: &str) -> Option<Version> {
        self.objects.get(path).map(|(_, e_tag)| version(*e_tag))
    }

    /// Applies a request at this moment.
    pub(crate) fn apply(&mut self, request: &Request) -> Reply {
        match request {
            Request::Get(path, unless) => Reply::Fetched(match self.objects.get(path) {
                None => Fetched::Absent,
                Some((_, e_tag)) if unless.as_ref() == Some(&version(*e_tag)) => Fetched::Unchanged,
                Some((bytes, e_tag)) => Fetched::Object(Object {
                    bytes: bytes.clone(),
                    len: bytes.len() as u64,
                    version: version(*e_tag),
                }),
            }),
            Request::Head(path) => Reply::Meta(self.meta(path)),
            Request::Put(path, bytes, condition) => {
                let holds = match condition {
                    Condition::Always => true,
                    Condition::Absent => !self.objects.contains_key(path),
                    Condition::Is(version) => self.current(path).as_ref() == Some(version),
                };
                if !holds {
                    return request.fails(Class::Lost);
                }
                self.store(path, bytes);
                Reply::Stored(self.current(path).expect("it was stored"))
            }
            Request::Delete(path) => {
                if self.objects.remove(path).is_some() {
                    self.deletions += 1;
                    self.check_deleted(path);
                }
                Reply::Deleted
            }
            Request::List(prefix) => {
                let below = self.objects.range(prefix.clone()..);
                let names = below.map(|(path, _)| path).take_while(|path| path.starts_with(prefix));
                Reply::Listed(names.filter_map(|path| self.meta(path)).collect())
            }
            Request::Sleep(duration) => {
                self.time += *duration;
                Reply::Slept
            }
        }
    }

    fn meta(&self, path: &str) -> Option<Meta> {
        let (bytes, e_tag) = self.objects.get(path)?;
        Some(Meta { path: path.to_owned(), len: bytes.len() as u64, version: version(*e_tag) })
    }

    fn name(path: &str) -> Option<ObjectName> {
        ObjectName::parse(path.strip_prefix(PREFIX)?)
    }

    fn store(&mut self, path: &str, bytes: &Bytes) {
        self.e_tags += 1;
        self.objects.insert(path.to_owned(), (bytes.clone(), self.e_tags));
        let contents = self.contents.entry(path.to_owned()).or_default();
        let is_new = !contents.contains(bytes);
        if is_new {
            contents.push(bytes.clone());
        }
        let had_others = contents.len() > 1;
        match Self::name(path) {
            Some(ObjectName::Log(place)) if is_new && had_others => {
                let floor = self.manifest.as_ref().map(|m| m.floor.place);
                if floor.is_some_and(|floor| place >= floor) {
                    self.broken(format!("I3: {place} has other bytes than before"));
                }
            }
            Some(ObjectName::Table { .. }) if had_others => {
                self.broken(format!("I9: {path} was created twice, with different bytes"));
            }
            Some(
                ObjectName::Register(RegisterName::Manifest)
                | ObjectName::RegisterVersion(RegisterName::Manifest, _),
            ) => {
                // A stub is no version.
                if let Ok(manifest) = Manifest::decode(bytes) {
                    self.check_manifest(manifest);
                }
            }
            _ => {}
        }
    }

    fn check_manifest(&mut self, next: Manifest) {
        let tables = tables_of(&next);
        if let Some(before) = self.manifest.take() {
            if next.edit != before.edit + 1 {
                self.broken(format!("I7: edit {} follows edit {}", next.edit, before.edit));
            }
            if next.epoch < before.epoch {
                self.broken(format!("I7: epoch {} follows epoch {}", next.epoch, before.epoch));
            }
            if next.replay.place < before.replay.place || next.floor.place < before.floor.place {
                self.broken("I6: the replay point or the floor went back".to_owned());
            }
            let named = tables_of(&before);
            for table in tables.iter().filter(|table| !named.contains(table)) {
                if table.epoch() != Some(next.epoch) {
                    self.broken(format!("I9: {table} is published in epoch {}", next.epoch));
                }
                if self.deleted_tables.contains(table) {
                    self.broken(format!("I10: {table} was collected, and is named again"));
                }
            }
        }
        for table in &tables {
            if !self.objects.contains_key(&format!("{PREFIX}{table}")) {
                self.broken(format!("I5: MANIFEST names {table}, which is not there"));
            }
        }
        for entry in &next.chain {
            if *self.nonces.entry(entry.epoch).or_insert(entry.nonce) != entry.nonce {
                self.broken(format!("I3: epoch {} has two owners", entry.epoch));
            }
            let Some(end) = entry.end else { continue };
            if *self.ends.entry(entry.epoch).or_insert(end.place) != end.place {
                self.broken(format!("I4: epoch {} has two ends", entry.epoch));
            }
            self.check_end(end.place);
        }
        self.manifest = Some(next);
    }

    fn check_end(&mut self, end: Place) {
        let object = self.objects.get(&format!("{PREFIX}{end}"));
        let read = object.map(|(bytes, _)| LogObject::decode(bytes));
        if !matches!(&read, Some(Ok(LogObject { kind: Kind::Fence(_), .. }))) {
            self.broken(format!("I4: {end} is a recorded end, and holds no fence"));
        }
        let late = self.acknowledged.iter().find(|acknowledged| {
            acknowledged.place.epoch == end.epoch && acknowledged.place.index >= end.index
        });
        if let Some(late) = late {
            self.broken(format!("I2: {} was acknowledged, and the end is {end}", late.place));
        }
    }

    fn check_deleted(&mut self, path: &str) {
        let Some(name) = Self::name(path) else { return };
        match name {
            ObjectName::Log(place) => {
                if self.ends.get(&place.epoch) == Some(&place) {
                    self.broken(format!("I4: the fence at {place} was deleted"));
                }
                if self.manifest.as_ref().is_some_and(|m| place >= m.floor.place) {
                    self.broken(format!("I3: {place} was deleted, and is not below the floor"));
                }
            }
            ObjectName::Table { .. } => {
                self.deleted_tables.insert(name);
                if self.manifest.as_ref().is_some_and(|m| tables_of(m).contains(&name)) {
                    self.broken(format!("I5: {name} was deleted, and MANIFEST names it"));
                }
            }
            ObjectName::Register(_) => self.broken(format!("{name} was deleted")),
            ObjectName::RegisterVersion(..) => {
                self.note(format!("{name} was deleted, so its number is free"));
            }
            _ => {}
        }
    }

    /// A writer has opened, and serves this.
    pub(crate) fn confirm(&mut self, actor: usize, epoch: Epoch, recovered: BTreeSet<u64>) {
        self.openings += 1;
        self.note(format!("actor {actor} owns epoch {epoch}, recovered {}", recovered.len()));
        if let Some(other) = self.confirmed.iter().find(|other| other.epoch == epoch) {
            self.broken(format!("I3: actors {} and {actor} both own epoch {epoch}", other.actor));
        }
        let lost = self.acknowledged.iter().find(|acknowledged| {
            acknowledged.place.epoch < epoch && !recovered.contains(&acknowledged.write)
        });
        if let Some(lost) = lost {
            self.broken(format!(
                "I1: a write acknowledged at {} was not recovered by epoch {epoch}",
                lost.place
            ));
        }
        self.confirmed.push(Confirmed { epoch, actor, recovered });
    }

    /// A writer tells a client that a write is safe.
    pub(crate) fn acknowledge(&mut self, actor: usize, place: Place, write: u64) {
        self.acknowledgements += 1;
        if self.fenced.contains(&actor) {
            self.broken(format!("I11: actor {actor} is fenced and acknowledges {place}"));
        }
        if self.ends.get(&place.epoch).is_some_and(|end| place.index >= end.index) {
            self.broken(format!("I2: {place} is acknowledged behind the end of its epoch"));
        }
        let lost = self
            .confirmed
            .iter()
            .find(|other| other.epoch > place.epoch && !other.recovered.contains(&write));
        if let Some(other) = lost {
            let (epoch, actor) = (other.epoch, other.actor);
            self.broken(format!(
                "I1: a write acknowledged at {place} was not recovered by epoch {epoch} (actor {actor})"
            ));
        }
        self.acknowledged.push(Acknowledged { place, write });
    }

    pub(crate) fn fence(&mut self, actor: usize) {
        self.note(format!("actor {actor} is fenced"));
        self.fenced.insert(actor);
    }

    /// Something of the chain cannot be read: whoever says so met it in the bucket.
    pub(crate) fn damage(&mut self, actor: usize, what: &str) {
        self.broken(format!("I8: actor {actor}: {what}"));
    }

    pub(crate) fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }
}
