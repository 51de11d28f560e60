//! Whether an output can do what publishing needs: list, create once, read, delete.

use super::{Output, RunError};
use crate::engine::part::remote_path;
use chrono::{DateTime, Utc};
use object_store::ObjectStoreExt;

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    pub runs: usize,
    /// A second create of the same name was refused.
    pub creates_once: bool,
    /// When the store says that the probe was written.
    pub written: DateTime<Utc>,
}

impl Output {
    /// The folder, if it is on local disk.
    pub fn local(&self) -> Option<&std::path::Path> {
        self.local.as_deref()
    }

    /// Writes an object of its own, looks at it, and removes it again.
    pub fn probe(&self, now: DateTime<Utc>) -> Result<Probed, RunError> {
        let runs = self.list()?.len();
        let name = format!("_probe/{}-{}", std::process::id(), now.timestamp_micros());
        let path = remote_path(&self.prefix, &name);
        self.put_new(&path, b"first")?;
        let creates_once = !self.put_new(&path, b"second")?;
        let found =
            self.runtime.block_on(self.store.head(&path)).map_err(|source| self.unreadable(source))?;
        let is_whole = self.read(&path)?.is_some_and(|bytes| bytes == b"first".as_slice());
        self.runtime
            .block_on(self.store.delete(&path))
            .map_err(|source| super::unwritable(&self.name, source))?;
        if let Some(local) = &self.local {
            // Fails, as it should, while another probe is on.
            let _ = std::fs::remove_dir(local.join("_probe"));
        }
        Ok(Probed { runs, creates_once: creates_once && is_whole, written: found.last_modified })
    }
}
