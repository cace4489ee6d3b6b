//! Who acts in a run: writers that open, write, flush and are fenced; collectors that act on
//! what they read long ago; somebody who enters holds.

use crate::link::Link;
use crate::world::{PREFIX, base_of, tables_of, writes_in};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tanada_format::{DatabaseId, LogId, LogPosition, SeqNo};
use tanada_remote::chain::{ChainError, LogWriter, Opener, Owner, Replay, Replayed};
use tanada_remote::codec::{Hold, HoldKind, Manifest, Piece, Point};
use tanada_remote::collection::{Reached, advance, listed_is_garbage, log_garbage};
use tanada_remote::register::{self, NumberedObjects, Swap};
use tanada_remote::{Bucket, Created, Folder, Nonce, ObjectName, Place, RegisterName, Tries};
use tanada_vfs::Env;

/// What writers of a run do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    /// Chunks, flushes and looks, together.
    pub(crate) operations: u64,
    /// Chunks in flight at most.
    pub(crate) width: u64,
    /// Of a hundred operations, so many are flushes.
    pub(crate) flushes: u64,
}

/// One actor: its link, and its dice.
pub(crate) struct Actor {
    pub(crate) link: Link,
    pub(crate) env: Env,
}

struct Recovered(BTreeSet<u64>);

#[async_trait]
impl Replay for Recovered {
    async fn chunk(&mut self, chunk: Replayed) -> Result<(), ChainError> {
        self.0.extend(writes_in(&chunk.piece.bytes));
        Ok(())
    }
}

impl Actor {
    fn below(&self, bound: u64) -> u64 {
        self.env.random_u64() % bound.max(1)
    }

    fn bucket(&self) -> Bucket {
        let tries = Tries {
            requests: 3,
            within: Duration::from_secs(3600),
            first_wait: Duration::from_millis(1),
            longest_wait: Duration::from_millis(2),
        };
        let link = Arc::new(self.link.clone());
        Bucket::with_tries(link.clone(), PREFIX, link, self.env.random.clone(), tries)
    }

    /// Whether an error is one of the world's making. Anything else is a violation.
    fn ended(&self, error: ChainError) {
        let mut world = self.link.world.lock();
        match error {
            ChainError::Fenced(_) => world.fence(self.link.actor),
            ChainError::Store(failure) if failure.class.is_passing() => {
                world.note(format!("actor {} gives up: {failure}", self.link.actor));
            }
            ChainError::InUse { .. } => {}
            other => world.damage(self.link.actor, &other.to_string()),
        }
    }

    /// One opening of the database by one process.
    pub(crate) async fn write(self, habits: Habits) {
        let bucket = self.bucket();
        let (owner, recovered) = match self.open(&bucket).await {
            Ok(Some(opened)) => opened,
            Ok(None) => return,
            Err(error) => return self.ended(error),
        };
        let actor = self.link.actor;
        self.link.world.lock().confirm(actor, owner.epoch(), recovered.clone());
        if let Err(error) = self.own(&bucket, owner, recovered, habits).await {
            self.ended(error);
        }
    }

    /// Becomes the owner, and finds what was written. `None`: it is fenced already, and
    /// serves nothing.
    async fn open(&self, bucket: &Bucket) -> Result<Option<(Owner, BTreeSet<u64>)>, ChainError> {
        let register = register::open(bucket, RegisterName::Manifest);
        let host = format!("host-{}", self.link.actor);
        let window = 1 + self.below(4) as usize;
        let opener = Opener::new(bucket.clone(), register, &host, self.env.clock.clone())
            .reading_ahead(window)
            .listing(2 + self.below(4) as usize);
        let Some(seen) = opener.look().await? else {
            let database = DatabaseId(*b"simulated bucket");
            let owner = opener.create(database, base_of(&[]), LogPosition(100)).await?;
            return Ok(Some((owner, BTreeSet::new())));
        };
        let mut recovered = Recovered(BTreeSet::new());
        let owner = opener.open(seen, &mut recovered).await?;
        for table in tables_of(owner.manifest()) {
            // Gone with the state that named it. Were it still named, the world would have
            // said so.
            let Some(object) = bucket.get(&table).await? else { return Ok(None) };
            recovered.0.extend(writes_in(&object.bytes));
        }
        Ok(Some((owner, recovered.0)))
    }

    async fn own(
        &self,
        bucket: &Bucket,
        mut owner: Owner,
        recovered: BTreeSet<u64>,
        habits: Habits,
    ) -> Result<(), ChainError> {
        let mut log = LogWriter::new(&owner);
        log.set_width(1 + self.below(habits.width) as usize);
        let mut sent: Vec<(Place, u64)> = Vec::new();
        let mut safe = recovered;
        let mut tables = 0;
        for n in 0..habits.operations {
            if self.below(100) < habits.flushes && log.acknowledged().place != owner.begin().place {
                tables += 1;
                let point = *log.acknowledged();
                self.flush(bucket, &mut owner, point, &safe, tables).await?;
                continue;
            }
            if log.has_room() {
                let write = (self.link.actor as u64) << 32 | n;
                let bytes = Bytes::copy_from_slice(&write.to_le_bytes());
                let position = log.next().position;
                let (first, last) = (SeqNo(n), SeqNo(n));
                let piece = Piece { log: LogId(1), offset: n * 8, position, first, last, bytes };
                sent.push((log.send(piece, 0)?, write));
            }
            if !log.has_room() || self.below(3) == 0 {
                self.acknowledge(&mut log, &sent, &mut safe).await?;
            }
        }
        while self.acknowledge(&mut log, &sent, &mut safe).await? {}
        Ok(())
    }

    async fn acknowledge(
        &self,
        log: &mut LogWriter,
        sent: &[(Place, u64)],
        safe: &mut BTreeSet<u64>,
    ) -> Result<bool, ChainError> {
        let Some(behind) = log.acknowledge().await? else { return Ok(false) };
        for (place, write) in sent {
            if place.index + 1 == behind.place.index {
                safe.insert(*write);
                self.link.world.lock().acknowledge(self.link.actor, *place, *write);
            }
        }
        Ok(true)
    }

    /// All that is safe goes to one table, which replaces those before it.
    async fn flush(
        &self,
        bucket: &Bucket,
        owner: &mut Owner,
        point: Point,
        safe: &BTreeSet<u64>,
        number: u64,
    ) -> Result<(), ChainError> {
        let table = ObjectName::Table { epoch: owner.epoch(), number };
        let bytes: Vec<u8> = safe.iter().flat_map(|write| write.to_le_bytes()).collect();
        match bucket.create_exactly(&table, bytes.into()).await {
            Ok(Created::Mine(_)) => {}
            Ok(Created::Taken(_)) => {
                self.link.world.lock().damage(self.link.actor, "its table's name was taken");
            }
            // Garbage, should it arrive.
            Err(_) => return Ok(()),
        }
        owner
            .publish(|manifest| {
                manifest.base = base_of(&[table]);
                advance(manifest, point, point);
            })
            .await
    }

    /// Deletes what was garbage when it looked, and is for ever.
    pub(crate) async fn collect(self, rounds: u64) {
        let bucket = self.bucket();
        let by_numbers = NumberedObjects::new(bucket.clone(), RegisterName::Manifest);
        let register = register::open(&bucket, RegisterName::Manifest);
        for _ in 0..rounds {
            let Ok(Some(held)) = register::read(&*register).await else { continue };
            let Ok(manifest) = Manifest::decode(&held.bytes) else { continue };
            let mut reached = Reached::by(&manifest);
            reached.tables = tables_of(&manifest).into_iter().collect();
            for place in log_garbage(&manifest) {
                let _ = bucket.delete(&ObjectName::Log(place)).await;
            }
            for folder in [Folder::Tables, Folder::Log] {
                let Ok(listed) = bucket.list(folder, 100_000).await else { continue };
                for listed in listed {
                    let Some(name) = listed.name else { continue };
                    if listed_is_garbage(&manifest, &reached, &name, listed.meta.len).is_some() {
                        let _ = bucket.delete(&name).await;
                    }
                }
            }
            if !self.link.swap {
                let _ = by_numbers.collect(0, 4).await;
            }
        }
    }

    /// Changes the version of `MANIFEST` under the owner, and nothing that is the owner's.
    pub(crate) async fn hold(self, rounds: u64) {
        let bucket = self.bucket();
        let register = register::open(&bucket, RegisterName::Manifest);
        for _ in 0..rounds {
            let Ok(Some(held)) = register::read(&*register).await else { continue };
            let Ok(mut manifest) = Manifest::decode(&held.bytes) else { continue };
            let mine = Nonce::draw(bucket.random());
            manifest.edit += 1;
            manifest.writer = mine;
            manifest.holds.push(Hold {
                kind: HoldKind::Checkpoint,
                id: mine,
                edit: manifest.edit,
                snapshot: None,
                label: String::new(),
            });
            let Ok(bytes) = manifest.encode() else { return };
            // Whatever comes of it: a hold that is not there is entered by nobody.
            let _: Result<Swap, _> = register.swap(Some(&held.version), bytes.into()).await;
        }
    }
}
