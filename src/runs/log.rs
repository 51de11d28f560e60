//! The log of runs: what was published, gone back to and removed, one small file an entry, only ever created.
//!
//! An entry is `_log/<n>.json`. Its number is the next one; if another writer was quicker, the one after. Nothing is
//! updated in place, so that local disk and every object store behave alike.
//!
//! A run exists from the moment of its manifest; the entry follows. A crash in between leaves a run that the log does
//! not know. Ids sort as runs were begun, so such a run has a higher id than any that the log says was
//! published: readers find it by that, and the next writer adds its entry.

use super::{Output, RunError};
use crate::engine::part::remote_path;
use chrono::{DateTime, SecondsFormat, Utc};
use object_store::path::Path as StorePath;
use object_store::{PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};

/// The folder of the log.
pub const LOG: &str = "_log";

/// What happened to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Its manifest was written: readers go by it from now on.
    Publish,
    /// Readers go by it again.
    Rollback,
    /// Its files are removed.
    Remove,
}

impl Action {
    pub fn text(self) -> &'static str {
        match self {
            Self::Publish => "published",
            Self::Rollback => "gone back to",
            Self::Remove => "removed",
        }
    }
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the log.
    #[serde(skip)]
    pub number: u64,
    pub action: Action,
    pub run_id: String,
    /// RFC 3339, UTC.
    pub at: String,
    /// What is removed, relative to the run's folder: whoever finds the entry can finish it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub files: Vec<String>,
}

impl Entry {
    pub fn new(action: Action, run_id: &str, at: DateTime<Utc>) -> Self {
        Self {
            number: 0,
            action,
            run_id: run_id.to_owned(),
            at: at.to_rfc3339_opts(SecondsFormat::Secs, true),
            files: Vec::new(),
        }
    }

    /// When it was written.
    pub fn time(&self) -> Option<DateTime<Utc>> {
        DateTime::parse_from_rfc3339(&self.at).ok().map(|time| time.to_utc())
    }
}

impl Output {
    /// The whole log, oldest entry first.
    pub fn log(&self) -> Result<Vec<Entry>, RunError> {
        self.log_numbers()?.into_iter().map(|number| self.log_entry(number)).collect()
    }

    /// The run that readers go by: the one that was published or gone back to last. None without any.
    pub fn current(&self) -> Result<Option<String>, RunError> {
        let (logged, current) = self.logged()?;
        let known = logged.as_deref();
        let newer =
            self.ids("runs")?.into_iter().rev().filter(|id| known.is_none_or(|logged| id.as_str() > logged));
        for id in newer {
            if self.is_published(&id)? {
                return Ok(Some(id));
            }
        }
        Ok(current)
    }

    /// The highest id that the log says was published, and the run that it says is current.
    pub(super) fn logged(&self) -> Result<(Option<String>, Option<String>), RunError> {
        let mut current = None;
        for number in self.log_numbers()?.into_iter().rev() {
            let Entry { action, run_id, .. } = self.log_entry(number)?;
            if action == Action::Remove {
                continue;
            }
            if current.is_none() && self.is_published(&run_id)? {
                current = Some(run_id.clone());
            }
            if action == Action::Publish {
                // One run is written at a time, so the last one published has the highest id.
                return Ok((Some(run_id), current));
            }
        }
        Ok((None, current))
    }

    /// Adds an entry for every published run that has none: a writer that was stopped before it could.
    pub fn complete_log(&self, at: DateTime<Utc>) -> Result<(), RunError> {
        let (logged, _) = self.logged()?;
        for id in self.ids("runs")? {
            if logged.as_ref().is_none_or(|logged| id > *logged) && self.is_published(&id)? {
                self.append(&Entry::new(Action::Publish, &id, at))?;
            }
        }
        Ok(())
    }

    /// Makes readers go by an earlier run again.
    pub fn roll_back(&self, id: &str, at: DateTime<Utc>) -> Result<(), RunError> {
        self.manifest(Some(id))?;
        self.complete_log(at)?;
        self.append(&Entry::new(Action::Rollback, id, at))?;
        Ok(())
    }

    /// Writes an entry under the next free number, which is returned.
    pub fn append(&self, entry: &Entry) -> Result<u64, RunError> {
        let bytes = serde_json::to_vec(entry)
            .map_err(|source| RunError::BadManifest { id: entry.run_id.clone(), source })?;
        let mut number = self.log_numbers()?.pop().unwrap_or(0) + 1;
        while !self.put_new(&self.log_path(number), &bytes)? {
            number += 1;
        }
        Ok(number)
    }

    /// Creates a file; false if another one is there. A put that arrived although its answer was lost is recognised
    /// by its bytes, also when it was sent again.
    pub(super) fn put_new(&self, path: &StorePath, bytes: &[u8]) -> Result<bool, RunError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from(bytes.to_vec());
        let put = self.runtime.block_on(self.store.put_opts(path, payload, options));
        let Err(failure) = put else { return Ok(true) };
        let taken = matches!(failure, object_store::Error::AlreadyExists { .. });
        match self.read(path) {
            Ok(Some(found)) => Ok(found == bytes),
            Err(unreadable) if taken => Err(unreadable),
            Ok(None) | Err(_) => Err(super::unwritable(&self.name, failure)),
        }
    }

    fn log_path(&self, number: u64) -> StorePath {
        remote_path(&self.prefix, &format!("{LOG}/{number}.json"))
    }

    fn log_numbers(&self) -> Result<Vec<u64>, RunError> {
        self.numbers(LOG)
    }

    /// Numbers of the files `<n>.json` in a folder, ascending.
    pub(super) fn numbers(&self, folder: &str) -> Result<Vec<u64>, RunError> {
        let folder = remote_path(&self.prefix, folder);
        let listed = self.runtime.block_on(self.store.list_with_delimiter(Some(&folder)));
        let files = listed.map_err(|source| self.unreadable(source))?.objects;
        let number = |name: &str| name.strip_suffix(".json")?.parse().ok();
        let mut numbers: Vec<u64> =
            files.iter().filter_map(|file| number(file.location.filename()?)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn log_entry(&self, number: u64) -> Result<Entry, RunError> {
        let bytes = self.read(&self.log_path(number))?;
        let entry = bytes.map(|bytes| serde_json::from_slice::<Entry>(&bytes)).transpose();
        match entry.map_err(|source| RunError::BadLog { number, source })? {
            Some(entry) => Ok(Entry { number, ..entry }),
            None => Err(RunError::LogGone { number, path: self.name.clone() }),
        }
    }
}
