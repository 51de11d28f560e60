//! The scratch folder: one process at a time, cleaned by the next.

use super::interrupt::OnStop;
use crate::numerics::random::hash_bytes;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the scratch folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    #[error("cannot write to the scratch folder {path}")]
    Unwritable {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the scratch folder {path} is in use by another run")]
    Locked { path: String },
}

/// A folder of this run's own under the scratch folder; removed when the last holder drops it. The
/// lock is the operating system's, so a crashed process cannot leave it behind.
#[derive(Debug, Clone)]
pub struct Scratch {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Where journals of unfinished runs are kept.
    journals: PathBuf,
    _on_stop: OnStop,
    _lock: Option<File>,
}

impl Inner {
    fn new(path: PathBuf, journals: PathBuf, lock: Option<File>) -> Self {
        let removed = path.clone();
        let _on_stop = OnStop::new(move || {
            let _ = std::fs::remove_dir_all(&removed);
        });
        Self { path, journals, _on_stop, _lock: lock }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// What to do while another process has the scratch folder or the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenLocked {
    Fail,
    Wait,
}

/// Locks a file for this process, until the file is closed: a lock of the operating system, which a crash
/// cannot leave behind. None if another process has it and is not to be waited for.
pub fn lock_file(path: &Path, when_locked: WhenLocked) -> std::io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) if when_locked == WhenLocked::Wait => {
            tracing::info!(lock = %path.display(), "waiting for another run to end");
            file.lock()?;
            Ok(Some(file))
        }
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(source),
    }
}

impl Scratch {
    /// Locks `folder`, clears what a killed run left in it, and makes a folder for this run.
    pub fn open(folder: &Path, when_locked: WhenLocked) -> Result<Self, ScratchError> {
        let name = folder.display().to_string();
        let unwritable = |source| ScratchError::Unwritable { path: name.clone(), source };
        std::fs::create_dir_all(folder).map_err(unwritable)?;
        let lock = lock_file(&folder.join(".packwise.lock"), when_locked).map_err(unwritable)?;
        let Some(lock) = lock else { return Err(ScratchError::Locked { path: name }) };
        let path = folder.join("packwise-buckets");
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(unwritable)?;
        }
        std::fs::create_dir_all(&path).map_err(unwritable)?;
        let journals = folder.join("packwise-unfinished");
        Ok(Self { inner: Arc::new(Inner::new(path, journals, Some(lock))) })
    }

    /// A scratch folder in the system's temporary folder, for tests and small tools.
    pub fn temporary() -> std::io::Result<Self> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = std::env::temp_dir().join(format!(
            "packwise-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::create_dir_all(&path)?;
        let journals = path.join("packwise-unfinished");
        Ok(Self { inner: Arc::new(Inner::new(path, journals, None)) })
    }

    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Where the journal of a run into `output` is kept; it outlives this folder.
    pub fn journal(&self, output: &str) -> PathBuf {
        self.inner.journals.join(format!("{:016x}.jsonl", hash_bytes(output.as_bytes(), 0)))
    }

    /// Frees a folder of the scratch that is not needed any more; what cannot be freed now goes with
    /// the rest.
    pub fn clear(&self, name: &str) {
        let _ = std::fs::remove_dir_all(self.inner.path.join(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_is_refused_and_leftovers_are_cleared() {
        let outer = Scratch::temporary().unwrap();
        let folder = outer.path().join("scratch");
        std::fs::create_dir_all(folder.join("packwise-buckets")).unwrap();
        std::fs::write(folder.join("packwise-buckets/bucket-00001.rows"), b"old").unwrap();
        let first = Scratch::open(&folder, WhenLocked::Fail).unwrap();
        assert_eq!(std::fs::read_dir(first.path()).unwrap().count(), 0);
        assert!(matches!(Scratch::open(&folder, WhenLocked::Fail), Err(ScratchError::Locked { .. })));
        drop(first);
        assert!(Scratch::open(&folder, WhenLocked::Wait).is_ok());
    }
}
