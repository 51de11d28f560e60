//! The scratch folder: one process at a time, cleaned by the next.

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
    _lock: Option<File>,
    remove: PathBuf,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.remove);
    }
}

impl Scratch {
    /// Locks `folder`, clears what a killed run left in it, and makes a folder for this run.
    pub fn open(folder: &Path) -> Result<Self, ScratchError> {
        let name = folder.display().to_string();
        let unwritable = |source| ScratchError::Unwritable { path: name.clone(), source };
        std::fs::create_dir_all(folder).map_err(unwritable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(".packwise.lock"))
            .map_err(unwritable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ScratchError::Locked { path: name }),
            Err(TryLockError::Error(source)) => return Err(unwritable(source)),
        }
        let path = folder.join("packwise-buckets");
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(unwritable)?;
        }
        std::fs::create_dir_all(&path).map_err(unwritable)?;
        Ok(Self { inner: Arc::new(Inner { remove: path.clone(), path, _lock: Some(lock) }) })
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
        Ok(Self { inner: Arc::new(Inner { remove: path.clone(), path, _lock: None }) })
    }

    pub fn path(&self) -> &Path {
        &self.inner.path
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
        let first = Scratch::open(&folder).unwrap();
        assert_eq!(std::fs::read_dir(first.path()).unwrap().count(), 0);
        assert!(matches!(Scratch::open(&folder), Err(ScratchError::Locked { .. })));
        drop(first);
        assert!(Scratch::open(&folder).is_ok());
    }
}
