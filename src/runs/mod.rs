//! Runs in the output folder: begin, publish, list, open.
//!
//! A run is the immutable folder `runs/<run id>/`. Its manifest is written last, by one
//! create-if-absent; until then no reader can see it, and the next run removes what a killed one left.
//!
//! | file | does |
//! |---|---|
//! | [`manifest`] | what a run is |
//! | `evaluations` | backtests beside the runs |
//! | [`log`] | which run readers go by: published, gone back to, removed |
//! | [`lock`] | one run at a time |
//! | [`probe`] | whether an output can do what publishing needs |
//! | [`forget`] | customers removed from published runs and kept out of later ones |
//! | [`removal`] | removing runs that are no longer wanted |
//! | `conformance` | what publishing promises, as a suite over any store |
//! | [`difference`], [`verification`] | two runs compared; a run's files against its manifest |

#[cfg(test)]
mod conformance;
pub mod difference;
mod error;
mod evaluations;
pub mod forget;
pub mod lock;
pub mod log;
pub mod manifest;
pub mod probe;
pub mod removal;
pub mod verification;

use crate::engine::location;
use crate::engine::part::{RunFolder, remote_path};
use crate::engine::scratch::WhenLocked;
use crate::engine::stores;
use bytes::Bytes;
use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
pub use error::RunError;
use evaluations::EVALUATION;
use forget::{seal_of, sealed_name};
use lock::{LOCK, Lease, OutputLock, Times};
use log::{Action, Entry};
use manifest::{FORMAT, Manifest};
use object_store::local::LocalFileSystem;
use object_store::path::Path as StorePath;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;

const MANIFEST: &str = "manifest.json";
/// The time in a run's id.
const TIME: &str = "%Y%m%dT%H%M%SZ";
/// Marks a folder as a run that packwise has begun.
const STARTED: &str = "_started.json";

/// The output: a local folder or a URL.
pub struct Output {
    name: String,
    store: Arc<dyn ObjectStore>,
    prefix: StorePath,
    local: Option<PathBuf>,
    runtime: Handle,
}

/// A run being written.
pub struct NewRun {
    pub id: String,
    pub folder: RunFolder,
    /// Goes on with an unfinished run.
    pub resumes: bool,
}

impl Output {
    /// Opens an output for reading; a missing folder has no runs.
    pub fn open(path: &str, runtime: &Handle) -> Result<Self, RunError> {
        let local = match path.strip_prefix("file://") {
            Some(local) => Some(PathBuf::from(local)),
            None if location::is_url(path) => None,
            None => Some(PathBuf::from(path)),
        };
        let (store, prefix) = match &local {
            Some(folder) if folder.is_dir() => {
                let store = LocalFileSystem::new_with_prefix(folder).map_err(|source| {
                    RunError::Unreadable { path: path.to_owned(), source: Box::new(source) }
                })?;
                (Arc::new(store) as Arc<dyn ObjectStore>, StorePath::default())
            }
            Some(_) => (
                Arc::new(object_store::memory::InMemory::new()) as Arc<dyn ObjectStore>,
                StorePath::default(),
            ),
            None => stores::open_url(path)?,
        };
        Ok(Self { name: path.to_owned(), store, prefix, local, runtime: runtime.clone() })
    }

    /// Opens an output for writing: makes the folder and proves that it can be written to.
    pub fn create(path: &str, runtime: &Handle) -> Result<Self, RunError> {
        if let Some(folder) = match path.strip_prefix("file://") {
            Some(local) => Some(local),
            None if location::is_url(path) => None,
            None => Some(path),
        } {
            std::fs::create_dir_all(Path::new(folder).join("runs"))
                .map_err(|source| unwritable(path, source))?;
        }
        Self::open(path, runtime)
    }

    /// An output in a store that is open already.
    pub fn over(name: &str, store: Arc<dyn ObjectStore>, prefix: StorePath, runtime: &Handle) -> Self {
        Self { name: name.to_owned(), store, prefix, local: None, runtime: runtime.clone() }
    }

    /// Where its requests run.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    fn run_path(&self, id: &str, name: &str) -> StorePath {
        remote_path(&self.prefix, &format!("runs/{id}/{name}"))
    }

    /// Locks the output for writing runs.
    pub fn lock(&self, when_locked: WhenLocked, now: DateTime<Utc>) -> Result<OutputLock, RunError> {
        if let Some(folder) = &self.local {
            return OutputLock::local(folder, when_locked, &self.name);
        }
        let path = remote_path(&self.prefix, LOCK);
        let lease = Lease::take(&self.store, &path, &self.runtime, when_locked, now, Times::default());
        match lease.map_err(|source| unwritable(&self.name, source))? {
            Some(lease) => Ok(OutputLock::Lease(lease)),
            None => Err(RunError::Locked { path: self.name.clone() }),
        }
    }

    /// Begins a run, whose caller holds the lock: removes what killed runs left on a local output, and writes the
    /// first file of the new one, so that an unwritable output fails now and not after the work. Goes on with the
    /// unfinished run `resumed`, if it is still there.
    ///
    /// The id is the time of the start and the input's fingerprint. Ids sort as the runs were begun: if
    /// the clock has not moved on since the newest run, or has gone back, the time is taken a second
    /// after that run's.
    pub fn begin(
        &self,
        started: DateTime<Utc>,
        fingerprint: &str,
        staging: &Path,
        resumed: Option<&str>,
    ) -> Result<NewRun, RunError> {
        self.complete_log(started)?;
        let published = self.list()?;
        let (logged, _) = self.logged()?;
        let resumed = resumed.filter(|id| !published.iter().any(|known| known == id) && self.is_begun(id));
        if let Some(folder) = &self.local {
            remove_unfinished(&folder.join("runs"), resumed)
                .map_err(|source| unwritable(&self.name, source))?;
        }
        let id = match resumed {
            Some(id) => id.to_owned(),
            // After every run that there ever was: ids say what is newer.
            None => next_id(started, fingerprint, published.last().into_iter().chain(&logged).max()),
        };
        let folder = self.folder(&id, staging);
        folder
            .put(STARTED, format!("{{\"run_id\": \"{id}\"}}\n").into_bytes())
            .map_err(|source| unwritable(&self.name, source))?;
        Ok(NewRun { id, folder, resumes: resumed.is_some() })
    }

    /// Whether there is something of a run.
    fn is_begun(&self, id: &str) -> bool {
        self.runtime.block_on(self.store.head(&self.run_path(id, STARTED))).is_ok()
    }

    /// The newest run, if it was made of just this.
    pub fn made_of(&self, job: &str) -> Result<Option<String>, RunError> {
        let Some(newest) = self.list()?.pop() else { return Ok(None) };
        // One that cannot be read is no reason not to run.
        let same = self.manifest(Some(&newest)).is_ok_and(|manifest| manifest.job.as_deref() == Some(job));
        Ok(same.then_some(newest))
    }

    /// The folder of a run.
    pub fn folder(&self, id: &str, staging: &Path) -> RunFolder {
        self.folder_in("runs", id, staging)
    }

    fn folder_in(&self, kind: &str, id: &str, staging: &Path) -> RunFolder {
        match &self.local {
            Some(folder) => RunFolder::durable(folder.join(kind).join(id)),
            None => RunFolder::Remote {
                store: self.store.clone(),
                prefix: remote_path(&self.prefix, &format!("{kind}/{id}")),
                staging: staging.to_owned(),
                runtime: self.runtime.clone(),
            },
        }
    }

    /// Makes a run visible, and the one that readers go by.
    pub fn publish(&self, manifest: &Manifest, at: DateTime<Utc>) -> Result<(), RunError> {
        let id = &manifest.run_id;
        let text = serde_json::to_vec_pretty(manifest)
            .map_err(|source| RunError::BadManifest { id: id.clone(), source })?;
        self.put_once(&format!("runs/{id}/{MANIFEST}"), id, &text)?;
        self.append(&Entry::new(Action::Publish, id, at))?;
        Ok(())
    }

    /// Writes a file that must not be there yet.
    fn put_once(&self, name: &str, id: &str, bytes: &[u8]) -> Result<(), RunError> {
        match self.put_new(&remote_path(&self.prefix, name), bytes)? {
            true => Ok(()),
            false => Err(RunError::Published { id: id.to_owned() }),
        }
    }

    /// Ids of the published runs, oldest first (ids begin with the time of their start).
    pub fn list(&self) -> Result<Vec<String>, RunError> {
        let mut published = Vec::new();
        for id in self.ids("runs")? {
            if self.is_published(&id)? {
                published.push(id);
            }
        }
        Ok(published)
    }

    /// Ids of the folders below `kind` that hold the file that makes them visible, ascending.
    fn published(&self, kind: &str, file: &str) -> Result<Vec<String>, RunError> {
        let mut ids = Vec::new();
        for id in self.ids(kind)? {
            if self.exists(&remote_path(&self.prefix, &format!("{kind}/{id}/{file}")))? {
                ids.push(id);
            }
        }
        Ok(ids)
    }

    /// Ids of all folders below `kind`, published or not, ascending.
    fn ids(&self, kind: &str) -> Result<Vec<String>, RunError> {
        let all = remote_path(&self.prefix, kind);
        let listed = self.runtime.block_on(self.store.list_with_delimiter(Some(&all)));
        let folders = listed.map_err(|source| self.unreadable(source))?.common_prefixes;
        let mut ids: Vec<String> =
            folders.iter().filter_map(|folder| folder.filename().map(str::to_owned)).collect();
        ids.sort();
        Ok(ids)
    }

    fn is_published(&self, id: &str) -> Result<bool, RunError> {
        Ok(self.exists(&self.run_path(id, MANIFEST))? || self.seal(id)?.is_some())
    }

    /// The highest seal of a run's manifests; None if it has none.
    fn seal(&self, id: &str) -> Result<Option<u64>, RunError> {
        let folder = remote_path(&self.prefix, &format!("runs/{id}"));
        let listed = self.runtime.block_on(self.store.list_with_delimiter(Some(&folder)));
        let files = listed.map_err(|source| self.unreadable(source))?.objects;
        Ok(files.iter().filter_map(|file| seal_of(file.location.filename()?)).max())
    }

    fn exists(&self, path: &StorePath) -> Result<bool, RunError> {
        match self.runtime.block_on(self.store.head(path)) {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(source) => Err(self.unreadable(source)),
        }
    }

    /// The bytes of a small file; None if it is not there.
    fn read(&self, path: &StorePath) -> Result<Option<Bytes>, RunError> {
        match self.runtime.block_on(async { self.store.get(path).await?.bytes().await }) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.unreadable(source)),
        }
    }

    /// The manifest of a run; of the current one without an id.
    pub fn manifest(&self, id: Option<&str>) -> Result<Manifest, RunError> {
        let id = match id {
            Some(id) => id.to_owned(),
            None => self.current()?.ok_or_else(|| RunError::NoRun { path: self.name.clone() })?,
        };
        let unknown = || RunError::UnknownRun { id: id.clone(), path: self.name.clone() };
        let seal = self.seal(&id)?.ok_or_else(unknown)?;
        let bytes = self.read(&self.run_path(&id, &sealed_name(seal)))?.ok_or_else(unknown)?;
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|source| RunError::BadManifest { id: id.clone(), source })?;
        if manifest.format > FORMAT {
            return Err(RunError::NewerFormat { id, found: manifest.format });
        }
        // Names from data lead nowhere but into the folder.
        let mut files = manifest.tables.values().flat_map(|table| &table.files).chain(&manifest.extras);
        let inside =
            |path: &str| Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if let Some(file) = files.find(|file| !inside(&file.path)) {
            return Err(RunError::ForeignFile { id, file: file.path.clone() });
        }
        if manifest.run_id != id {
            return Err(RunError::ForeignFile { id, file: format!("run {}", manifest.run_id) });
        }
        Ok(manifest)
    }

    /// Writes a file beside the runs, replacing an older one; returns its name.
    pub fn put(&self, name: &str, bytes: Vec<u8>) -> Result<String, RunError> {
        let path = remote_path(&self.prefix, name);
        self.runtime
            .block_on(self.store.put(&path, PutPayload::from(bytes)))
            .map_err(|source| unwritable(&self.name, source))?;
        Ok(format!("{}/{name}", self.name.trim_end_matches('/')))
    }

    fn unreadable(&self, source: object_store::Error) -> RunError {
        RunError::Unreadable { path: self.name.clone(), source: Box::new(source) }
    }
}

/// The id of what is begun at `started`; ids sort as they were begun, as [`Output::begin`] says.
fn next_id(started: DateTime<Utc>, fingerprint: &str, newest: Option<&String>) -> String {
    let started = match newest.and_then(|id| time_of(id)) {
        Some(newest) => started.naive_utc().max(newest + TimeDelta::seconds(1)),
        None => started.naive_utc(),
    };
    format!("{}-{}", started.format(TIME), fingerprint.get(..8).unwrap_or(fingerprint))
}

/// The time in an id.
fn time_of(id: &str) -> Option<NaiveDateTime> {
    NaiveDateTime::parse_from_str(id.get(..16)?, TIME).ok()
}

fn unwritable(path: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RunError {
    RunError::Unwritable { path: path.to_owned(), source: source.into() }
}

/// Removes run folders that were begun by packwise and never published, but for `kept`. The caller holds the
/// lock.
fn remove_unfinished(runs: &Path, kept: Option<&str>) -> std::io::Result<()> {
    let Ok(entries) = std::fs::read_dir(runs) else { return Ok(()) };
    for entry in entries {
        let folder = entry?.path();
        if kept.is_some_and(|id| folder.ends_with(id)) {
            continue;
        }
        let is_published = || {
            let names = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            names.into_iter().any(|file| file.file_name().to_str().and_then(seal_of).is_some())
        };
        if folder.join(STARTED).is_file() && !is_published() {
            tracing::info!(folder = %folder.display(), "removing an unfinished run");
            std::fs::remove_dir_all(&folder)?;
        }
    }
    Ok(())
}
