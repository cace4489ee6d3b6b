//! Opening: raise the epoch, close every open one, confirm.
//!
//! In this order, and each step is needed (`docs/remote.md` has the argument). The raise
//! comes before any look at the log, so that an answer "nothing there" is younger than it.
//! The walk begins at the replay point of the version that the raise replaced, which nobody
//! can have moved since. The confirming swap shows that from the raise on nobody else moved
//! the replay point or the floor: without it an opener that slept finds places empty that
//! were full.

use super::closing::{Closed, Closer, Replay, close_all};
use super::error::{ChainError, Fenced};
use super::owner::{Owner, decode};
use super::walking::{WINDOW, beginning};
use crate::bucket::Bucket;
use crate::codec::{Base, ChainEpoch, Life, MAX_TEXT_LEN, Manifest, Point};
use crate::ids::{Epoch, Nonce};
use crate::register::{self, Held, Register, RegisterVersion, Swapped};
use crate::store::{Class, Failure, Operation};
use bytes::Bytes;
use std::sync::Arc;
use tanada_format::{DatabaseId, LogPosition, planted};
use tanada_vfs::Clock;

/// Openers that come between a look and a raise, at most: more is a fight.
const RAISES: u32 = 16;
/// Holds that come between a raise and its confirmation, at most.
const CONFIRMS: u32 = 64;
/// Epochs that `MANIFEST` lists: some 25 KiB of the 256 that it may have.
const CHAIN_KEPT: usize = 256;

/// Who opens: one opening of the database by one process.
#[derive(Clone, Debug)]
pub struct Opener {
    bucket: Bucket,
    register: Arc<dyn Register>,
    nonce: Nonce,
    host: String,
    clock: Arc<dyn Clock>,
    window: usize,
    kept: usize,
}

/// The state before it is raised.
#[derive(Clone, Debug)]
pub struct Seen {
    version: RegisterVersion,
    /// The state.
    pub manifest: Manifest,
}

/// The epoch is raised: the owner before is fenced, even if nothing follows.
#[derive(Debug)]
struct Raised {
    version: RegisterVersion,
    manifest: Manifest,
    /// The replay point of the version that the raise replaced.
    from: Point,
}

impl Opener {
    /// Draws a nonce. `host` is for people, and is cut to [`MAX_TEXT_LEN`] bytes.
    pub fn new(
        bucket: Bucket,
        register: Arc<dyn Register>,
        host: &str,
        clock: Arc<dyn Clock>,
    ) -> Opener {
        let nonce = Nonce::draw(bucket.random());
        let cut = (0..=host.len().min(MAX_TEXT_LEN)).rev().find(|&at| host.is_char_boundary(at));
        let host = host[..cut.unwrap_or(0)].to_owned();
        let (window, kept) = (WINDOW, CHAIN_KEPT);
        Opener { bucket, register, nonce, host, clock, window, kept }
    }

    /// The same, listing at most so many epochs in `MANIFEST`, 2 to 256. What is not listed
    /// is found by walking; it is only checked against less.
    pub fn listing(mut self, epochs: usize) -> Opener {
        self.kept = epochs.clamp(2, CHAIN_KEPT);
        self
    }

    /// The same, reading at most so many chunks at once, each of up to 8 MiB.
    pub fn reading_ahead(mut self, chunks: usize) -> Opener {
        self.window = chunks.clamp(1, WINDOW);
        self
    }

    /// Its nonce.
    pub fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// Reads the state. `None`: there is no database. Whatever can refuse is to be checked
    /// on what this returns, before [`Opener::open`]. One GET.
    ///
    /// # Errors
    ///
    /// The store's; damage; [`ChainError::Dropped`].
    pub async fn look(&self) -> Result<Option<Seen>, ChainError> {
        let Some(held) = register::read(&*self.register).await? else { return Ok(None) };
        let seen = self.seen(held)?;
        if seen.manifest.life == Life::Dropped {
            return Err(ChainError::Dropped);
        }
        Ok(Some(seen))
    }

    fn seen(&self, held: Held) -> Result<Seen, ChainError> {
        let manifest = decode(&*self.register, &held)?;
        Ok(Seen { version: held.version, manifest })
    }

    /// Makes a new database with epoch 1, whose log begins at `position`. One PUT.
    ///
    /// # Errors
    ///
    /// [`ChainError::InUse`]: another was first.
    pub async fn create(
        &self,
        database: DatabaseId,
        base: Base,
        position: LogPosition,
    ) -> Result<Owner, ChainError> {
        let begin = beginning(position);
        let manifest = Manifest {
            database,
            epoch: Epoch(1),
            edit: 1,
            owner_edit: 1,
            nonce: self.nonce,
            writer: self.nonce,
            host: self.host.clone(),
            opened_ms: self.clock.wall_ms(),
            life: Life::Live,
            replay: begin,
            floor: begin,
            chain: vec![ChainEpoch { epoch: Epoch(1), nonce: self.nonce, end: None }],
            base,
            edits: Vec::new(),
            jobs: Vec::new(),
            holds: Vec::new(),
            retained: Vec::new(),
            dead: Vec::new(),
        };
        let bytes = Bytes::from(manifest.encode()?);
        let nonce = self.nonce;
        let happened = |held: &[u8]| Manifest::decode(held).is_ok_and(|m| m.nonce == nonce);
        let (manifest, version) =
            match register::swap(&*self.register, None, bytes, &happened).await? {
                Swapped::Won(version) => (manifest, version),
                Swapped::Beneath(held) => (decode(&*self.register, &held)?, held.version),
                Swapped::Lost(held) => {
                    let Some(held) = held else { return Err(ChainError::Missing) };
                    let other = decode(&*self.register, &held)?;
                    return Err(ChainError::InUse { host: other.host, since_ms: other.opened_ms });
                }
            };
        Ok(Owner::new(self.bucket.clone(), self.register.clone(), manifest, version, begin))
    }

    /// Becomes the owner of the database that was seen. Chunks of the log that are not in
    /// the tables go to `replay`, in order.
    ///
    /// A swap, one GET a place of the log and for each 16 places beyond its end, a PUT for
    /// each open epoch, and a swap: four round trips when the log is short.
    ///
    /// # Errors
    ///
    /// [`ChainError::Fenced`]: another came after this one, and nothing was served. The
    /// store's; damage. After an error, too, the owner before may be fenced.
    pub async fn open(&self, seen: Seen, replay: &mut dyn Replay) -> Result<Owner, ChainError> {
        let early = match planted!(two_openers_at_once) {
            true => Some(self.first_free_place(&seen).await?),
            false => None,
        };
        let raised = self.raise(seen).await?;
        let from = early.unwrap_or(raised.from);
        let closer = Closer {
            database: raised.manifest.database,
            nonce: self.nonce,
            epoch: raised.manifest.epoch,
            wall_ms: self.clock.wall_ms(),
            window: self.window,
        };
        let closed = close_all(&self.bucket, &raised.manifest, from, closer, replay).await;
        match closed {
            Ok(closed) => self.confirm(raised, closed).await,
            Err(error) => Err(self.judge(error, closer.epoch).await),
        }
    }

    /// Only for a fault: where the log would go on, asked before the raise.
    async fn first_free_place(&self, seen: &Seen) -> Result<Point, ChainError> {
        use super::walking::{Step, Walk, next_epoch};
        let database = seen.manifest.database;
        let mut at = seen.manifest.replay;
        loop {
            let mut walk = Walk::new(&self.bucket, database, None, at, self.window);
            loop {
                match walk.step().await? {
                    Step::Chunk(_) => {}
                    Step::Fence => break,
                    Step::Nothing => return Ok(walk.at),
                }
            }
            at = next_epoch(&walk.at);
        }
    }

    async fn raise(&self, mut seen: Seen) -> Result<Raised, ChainError> {
        let first = seen.manifest.replay;
        for _ in 0..RAISES {
            let mut next = seen.manifest.clone();
            next.epoch = Epoch(seen.manifest.epoch.0 + 1);
            next.edit += 1;
            next.owner_edit = next.edit;
            (next.nonce, next.writer) = (self.nonce, self.nonce);
            (next.host, next.opened_ms) = (self.host.clone(), self.clock.wall_ms());
            next.chain.push(ChainEpoch { epoch: next.epoch, nonce: self.nonce, end: None });
            keep_newest(&mut next.chain, self.kept);
            let bytes = Bytes::from(next.encode()?);
            let nonce = self.nonce;
            let happened = |held: &[u8]| {
                Manifest::decode(held)
                    .is_ok_and(|m| m.chain.iter().any(|entry| entry.nonce == nonce))
            };
            let from = match planted!(fence_below_the_replay_point) {
                true => first,
                false => seen.manifest.replay,
            };
            let from_version = Some(&seen.version);
            match register::swap(&*self.register, from_version, bytes, &happened).await? {
                Swapped::Won(version) => return Ok(Raised { version, manifest: next, from }),
                Swapped::Beneath(held) => {
                    let now = self.seen(held)?;
                    self.still_mine(next.epoch, &now.manifest)?;
                    return Ok(Raised { version: now.version, manifest: now.manifest, from });
                }
                Swapped::Lost(None) => return Err(ChainError::Missing),
                Swapped::Lost(Some(held)) => {
                    let now = self.seen(held)?;
                    if now.manifest.life == Life::Dropped {
                        return Err(ChainError::Dropped);
                    }
                    seen = now;
                }
            }
        }
        let what = "others open the database again and again";
        Err(Failure::new(Class::Busy, Operation::Swap, self.register.path(), what).into())
    }

    /// What does not fit is damage only while the epoch is this opener's: one that slept may
    /// have been overtaken, and what it walks through is collected since.
    async fn judge(&self, error: ChainError, mine: Epoch) -> ChainError {
        if !matches!(error, ChainError::Broken { .. } | ChainError::Unreadable { .. }) {
            return error;
        }
        match self.look().await {
            Ok(Some(now)) => self.still_mine(mine, &now.manifest).err().unwrap_or(error),
            Ok(None) => ChainError::Missing,
            // Nobody knows whether it is damage: the caller opens again, and will see.
            Err(unknown) => unknown,
        }
    }

    async fn confirm(&self, raised: Raised, closed: Closed) -> Result<Owner, ChainError> {
        let Raised { mut version, mut manifest, from } = raised;
        let begin = closed.begin;
        let epoch = begin.place.epoch;
        let owner = |manifest, version| {
            Owner::new(self.bucket.clone(), self.register.clone(), manifest, version, begin)
        };
        if planted!(opening_is_not_confirmed) {
            manifest.epoch = epoch;
            manifest.nonce = self.nonce;
            return Ok(owner(manifest, version));
        }
        for _ in 0..CONFIRMS {
            let mut next = manifest.clone();
            next.edit += 1;
            next.owner_edit = next.edit;
            next.writer = self.nonce;
            next.chain.clone_from(&closed.chain);
            if closed.chunks == 0 || planted!(replay_moves_over_chunks) {
                skip_fences(&mut next, from, begin);
            }
            let bytes = Bytes::from(next.encode()?);
            let happened = |held: &[u8]| {
                Manifest::decode(held).is_ok_and(|m| {
                    (m.epoch, m.nonce) == (epoch, self.nonce) && m.owner_edit >= next.edit
                })
            };
            match register::swap(&*self.register, Some(&version), bytes, &happened).await? {
                Swapped::Won(version) => return Ok(owner(next, version)),
                Swapped::Beneath(held) => {
                    let now = self.seen(held)?;
                    return Ok(owner(now.manifest, now.version));
                }
                Swapped::Lost(None) => return Err(ChainError::Missing),
                Swapped::Lost(Some(held)) => {
                    let now = self.seen(held)?;
                    self.still_mine(epoch, &now.manifest)?;
                    (version, manifest) = (now.version, now.manifest);
                }
            }
        }
        let what = "holds are entered faster than the opening can be confirmed";
        Err(Failure::new(Class::Busy, Operation::Swap, self.register.path(), what).into())
    }

    fn still_mine(&self, mine: Epoch, now: &Manifest) -> Result<(), ChainError> {
        if (now.epoch, now.nonce) == (mine, self.nonce) {
            return Ok(());
        }
        Err(Fenced { mine, by: now.epoch, host: now.host.clone() }.into())
    }
}

/// Leaves the newest epochs of a chain, so many. Where an epoch ends says its fence: the
/// list only tells sooner, and is checked against it.
fn keep_newest(chain: &mut Vec<ChainEpoch>, kept: usize) {
    if !planted!(openings_are_all_listed) {
        chain.drain(..chain.len().saturating_sub(kept));
    }
}

/// Moves the replay point from `from` to `begin`, between which there are fences alone, and
/// the floor with it when they are one; and takes the epochs out of the chain that hold
/// nothing but a fence. So a database that is opened again and again is walked through from
/// the last chunk on, and not from the last flush.
fn skip_fences(manifest: &mut Manifest, from: Point, begin: Point) {
    if manifest.replay != from {
        return;
    }
    if manifest.floor == from {
        manifest.floor = begin;
    }
    manifest.replay = begin;
    manifest.chain.retain(|entry| entry.end.is_none_or(|end| end.place.index > 0));
}
