//! Loom's mutex, in the form of `parking_lot`'s: a panic poisons nothing.

use loom::sync as checker;
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;

/// As `parking_lot::Mutex`.
#[derive(Debug, Default)]
pub struct Mutex<T>(checker::Mutex<T>);

/// As `parking_lot::MutexGuard`.
#[derive(Debug)]
pub struct MutexGuard<'l, T>(checker::MutexGuard<'l, T>);

impl<T> Mutex<T> {
    /// An unlocked one.
    pub fn new(value: T) -> Mutex<T> {
        Mutex(checker::Mutex::new(value))
    }

    /// Waits for its turn.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
