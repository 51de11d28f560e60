//! Files of a run on their way to the disk, while the next ones are made.
//!
//! What is published must survive a loss of power, so every file is synchronised before the manifest that names it is
//! written. Waiting for each as it is finished cost workers 15 to 45 ms a file, of which a run has hundreds; a thread
//! beside them waits instead, and only the end of the run waits for it.

use super::PartError;
use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Files that may wait: each is an open one.
const MOST_WAITING: usize = 64;

/// Where finished files are handed in. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Disk(Option<Arc<Background>>);

#[derive(Debug, Default)]
struct Background {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(File, PathBuf)>,
    /// One is being synchronised.
    busy: bool,
    closed: bool,
    /// The first that was.
    failed: Option<(PathBuf, std::io::Error)>,
}

impl Disk {
    /// For files that nobody misses after a loss of power: nothing is synchronised.
    pub fn scratch() -> Self {
        Self(None)
    }

    /// For files that are published.
    pub fn durable() -> Self {
        Self(Some(Arc::default()))
    }

    /// Synchronises a finished file in its turn. An error if one before it could not be.
    pub(super) fn later(&self, file: File, path: &Path) -> Result<(), PartError> {
        let Some(background) = &self.0 else { return Ok(()) };
        background.start();
        let mut state = background.shared.wait(|state| state.waiting.len() >= MOST_WAITING);
        state.check()?;
        state.waiting.push_back((file, path.to_owned()));
        background.shared.changed.notify_all();
        Ok(())
    }

    /// Waits until everything that was handed in is on the disk; an error if something is not.
    pub(super) fn settle(&self) -> Result<(), PartError> {
        let Some(background) = &self.0 else { return Ok(()) };
        background.shared.wait(|state| state.busy || !state.waiting.is_empty()).check()
    }
}

impl Background {
    fn start(&self) {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_none() {
            let shared = self.shared.clone();
            *thread = Some(std::thread::spawn(move || shared.work()));
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // It does not panic; if it did, there would be nobody to tell.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, while_true: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        // After a failure nothing is worth waiting for.
        let waits = |state: &mut State| state.failed.is_none() && while_true(state);
        self.changed.wait_while(self.lock(), waits).unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let mut state = self.wait(|state| state.waiting.is_empty() && !state.closed);
            // Closed without having been waited for: the run has failed, and its files are nobody's.
            if state.closed || state.failed.is_some() {
                return;
            }
            let Some((file, path)) = state.waiting.pop_front() else { continue };
            state.busy = true;
            drop(state);
            let done = file.sync_data();
            drop(file);
            let mut state = self.lock();
            state.busy = false;
            if let Err(error) = done {
                state.failed = Some((path, error));
            }
            drop(state);
            self.changed.notify_all();
        }
    }
}

impl State {
    fn check(&self) -> Result<(), PartError> {
        match &self.failed {
            None => Ok(()),
            Some((path, error)) => Err(PartError::Write {
                path: path.display().to_string(),
                // Told to everybody who asks, and an error cannot be cloned.
                source: Box::new(match error.raw_os_error() {
                    Some(code) => std::io::Error::from_raw_os_error(code),
                    None => std::io::Error::new(error.kind(), error.to_string()),
                }),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn more_files_than_may_wait_are_all_synchronised() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::durable();
        for number in 0..2 * MOST_WAITING {
            let path = folder.path().join(number.to_string());
            let mut file = File::create(&path).unwrap();
            file.write_all(b"rows").unwrap();
            disk.later(file, &path).unwrap();
        }
        disk.settle().unwrap();
        disk.settle().unwrap();
        assert!(disk.0.as_ref().is_some_and(|background| background.shared.lock().waiting.is_empty()));
    }

    #[test]
    fn a_file_that_cannot_be_synchronised_is_named_to_all_who_ask() {
        let disk = Disk::durable();
        let path = Path::new("/dev/null");
        disk.later(File::open(path).unwrap(), path).unwrap();
        for _ in 0..2 {
            assert_eq!(disk.settle().unwrap_err().to_string(), "cannot write /dev/null");
        }
        assert!(disk.later(File::open(path).unwrap(), path).is_err());
    }

    #[test]
    fn scratch_is_not_waited_for() {
        let disk = Disk::scratch();
        let path = Path::new("/dev/null");
        disk.later(File::open(path).unwrap(), path).unwrap();
        disk.settle().unwrap();
    }
}
