//! The run that this process works on, so that every line of its log can name it.

use std::sync::{PoisonError, RwLock};

static RUN: RwLock<Option<String>> = RwLock::new(None);

/// From now on the process works on run `id`.
pub fn set_run(id: &str) {
    *RUN.write().unwrap_or_else(PoisonError::into_inner) = Some(id.to_owned());
}

/// The run's id, once it is known.
pub fn run() -> Option<String> {
    RUN.read().unwrap_or_else(PoisonError::into_inner).clone()
}
