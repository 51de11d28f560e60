//! Buffers of searches that ended, for the next ones.

use std::sync::{Mutex, PoisonError};

/// As many `T` as searches were ever at work at once. An index keeps them; a copy of it begins without.
#[derive(Debug, Default)]
pub(super) struct Desks<T>(Mutex<Vec<T>>);

impl<T: Default> Desks<T> {
    /// Lends a search what an earlier one left, or nothing yet.
    pub fn lend<R>(&self, search: impl FnOnce(&mut T) -> R) -> R {
        let free = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut desk = free().pop().unwrap_or_default();
        let found = search(&mut desk);
        free().push(desk);
        found
    }
}

impl<T> Clone for Desks<T> {
    fn clone(&self) -> Self {
        Self(Mutex::default())
    }
}
