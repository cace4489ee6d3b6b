//! The owner's side of `MANIFEST`: one swap in flight, each edit applied exactly once.
//!
//! Others may enter holds meanwhile. An owner whose swap meets another version reads it:
//! with its own epoch and nonce in it, it applies its edit again on top; with another's, it
//! is fenced. A swap whose outcome is unknown is resolved before any other is sent.

use super::error::{ChainError, Fenced};
use crate::bucket::{Bucket, jittered, wait_after};
use crate::codec::{Manifest, Point};
use crate::ids::{Epoch, Nonce};
use crate::register::{self, Held, Register, RegisterVersion, Swapped};
use crate::store::Class;
use bytes::Bytes;
use std::sync::Arc;
use tanada_format::planted;

/// A swap that was sent, and whose outcome is not known yet.
#[derive(Clone, Debug)]
struct InFlight {
    from: RegisterVersion,
    next: Manifest,
    bytes: Bytes,
}

/// Who owns the database, as far as it knows.
#[derive(Debug)]
pub struct Owner {
    pub(super) bucket: Bucket,
    pub(super) register: Arc<dyn Register>,
    pub(super) manifest: Manifest,
    pub(super) version: RegisterVersion,
    pub(super) epoch: Epoch,
    pub(super) nonce: Nonce,
    /// Where its log began.
    pub(super) begin: Point,
    in_flight: Option<InFlight>,
    fenced: Option<Fenced>,
}

impl Owner {
    pub(super) fn new(
        bucket: Bucket,
        register: Arc<dyn Register>,
        manifest: Manifest,
        version: RegisterVersion,
        begin: Point,
    ) -> Owner {
        let (epoch, nonce) = (manifest.epoch, manifest.nonce);
        let (in_flight, fenced) = (None, None);
        Owner { bucket, register, manifest, version, epoch, nonce, begin, in_flight, fenced }
    }

    /// The state as this owner knows it: its own last edit, and perhaps older holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Its nonce.
    pub fn nonce(&self) -> Nonce {
        self.nonce
    }

    /// Where its log begins: behind the last epoch that it closed.
    pub fn begin(&self) -> Point {
        self.begin
    }

    /// Changes the state. `change` may be called several times, each time with a state that
    /// differs from the last in its holds alone.
    ///
    /// One swap. It is sent until it is known what became of it: a caller that waits no
    /// longer drops the future, and the next call resolves what was in flight first.
    ///
    /// # Errors
    ///
    /// [`ChainError::Fenced`], for ever from then on; damage; a state that is too large.
    pub async fn publish(
        &mut self,
        mut change: impl FnMut(&mut Manifest),
    ) -> Result<(), ChainError> {
        self.resolve().await?;
        loop {
            if let Some(fenced) = &self.fenced {
                return Err(fenced.clone().into());
            }
            let mut next = self.manifest.clone();
            change(&mut next);
            next.edit = self.manifest.edit + 1;
            next.owner_edit = next.edit;
            (next.epoch, next.nonce, next.writer) = (self.epoch, self.nonce, self.nonce);
            let bytes = Bytes::from(next.encode()?);
            self.in_flight = Some(InFlight { from: self.version.clone(), next, bytes });
            if self.resolve().await? {
                return Ok(());
            }
        }
    }

    /// Finds out what became of the swap in flight. `true`: it was applied.
    async fn resolve(&mut self) -> Result<bool, ChainError> {
        let mut failed = 0;
        while let Some(in_flight) = self.in_flight.clone() {
            let InFlight { from, next, bytes } = in_flight;
            let happened = |held: &[u8]| {
                Manifest::decode(held).is_ok_and(|m| {
                    (m.epoch, m.nonce) == (next.epoch, next.nonce) && m.owner_edit >= next.edit
                })
            };
            match register::swap(&*self.register, Some(&from), bytes, &happened).await {
                Ok(Swapped::Won(version)) => {
                    (self.manifest, self.version, self.in_flight) = (next, version, None);
                    return Ok(true);
                }
                Ok(Swapped::Beneath(held)) => {
                    self.in_flight = None;
                    self.adopt(held)?;
                    return Ok(true);
                }
                Ok(Swapped::Lost(Some(held))) => {
                    self.in_flight = None;
                    self.adopt(held)?;
                    return Ok(false);
                }
                Ok(Swapped::Lost(None)) => return Err(ChainError::Missing),
                Err(failure) if failure.class.is_passing() || failure.class == Class::Denied => {
                    failed += 1;
                    let wait = wait_after(&self.bucket.tries(), failed);
                    let wait = jittered(wait, self.bucket.random());
                    self.bucket.timer().sleep(wait).await;
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(false)
    }

    /// Takes another's version on top of which to go on, or learns that it is fenced.
    fn adopt(&mut self, held: Held) -> Result<(), ChainError> {
        let manifest = decode(&*self.register, &held)?;
        let is_mine = (manifest.epoch, manifest.nonce) == (self.epoch, self.nonce);
        if planted!(edit_sent_again_without_looking) && !is_mine {
            self.version = held.version;
            self.manifest.edit = manifest.edit;
            return Ok(());
        }
        if !is_mine {
            let fenced = Fenced { mine: self.epoch, by: manifest.epoch, host: manifest.host };
            self.fenced = Some(fenced.clone());
            return Err(fenced.into());
        }
        (self.manifest, self.version) = (manifest, held.version);
        Ok(())
    }
}

/// The state in a register.
pub(super) fn decode(register: &dyn Register, held: &Held) -> Result<Manifest, ChainError> {
    Manifest::decode(&held.bytes)
        .map_err(|why| ChainError::Unreadable { object: register.path(), why })
}
