//! Removing runs that are no longer wanted: which, and in what order, so that a crash leaves garbage that the next
//! removal finishes, and no reader a half.
//!
//! The entry in the log comes first and lists the files; then the manifest goes, and with it the run; then the files.
//! What packwise did not write stays: only files that the manifest lists, or that have a name that only packwise
//! gives, are touched.

use super::forget::seal_of;
use super::log::{Action, Entry};
use super::manifest::Manifest;
use super::{EVALUATION, Output, RunError, STARTED};
use crate::contract::report;
use crate::engine::part::remote_path;
use crate::tables;
use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path as StorePath;
use serde::Serialize;
use std::collections::BTreeSet;

/// Which runs are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// The newest so many.
    pub keep: usize,
    /// Those that ended later than so long ago.
    pub older_than: TimeDelta,
    /// Those that readers went by later than so long ago: somebody may still be reading.
    pub grace: TimeDelta,
}

/// A published run, as the choice needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub id: String,
    pub finished: DateTime<Utc>,
}

/// What was, or would be, removed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    pub runs: Vec<String>,
    /// Begun and never published.
    pub unfinished: Vec<String>,
    pub evaluations: Vec<String>,
    pub files: u64,
    pub bytes: u64,
    /// Files that packwise did not write, and that stay.
    pub foreign: Vec<String>,
}

/// The runs that may go, oldest first: all but the current one and those that `retention` keeps.
///
/// `runs` ascend by id; `log` is the whole log, oldest first.
pub fn choose(
    runs: &[Known],
    current: Option<&str>,
    log: &[Entry],
    retention: Retention,
    now: DateTime<Utc>,
) -> Vec<String> {
    let old = runs.len().saturating_sub(retention.keep);
    let may_go = runs[..old].iter().filter(|run| {
        let is_old = now.signed_duration_since(run.finished) >= retention.older_than;
        let is_read =
            last_read(&run.id, log).is_some_and(|end| now.signed_duration_since(end) < retention.grace);
        current != Some(run.id.as_str()) && is_old && !is_read
    });
    may_go.map(|run| run.id.clone()).collect()
}

/// When readers went by another run than this one for the last time; None if they never went by it.
fn last_read(id: &str, log: &[Entry]) -> Option<DateTime<Utc>> {
    let moves: Vec<&Entry> = log.iter().filter(|entry| entry.action != Action::Remove).collect();
    let at = moves.iter().rposition(|entry| entry.run_id == id)?;
    moves.get(at + 1)?.time()
}

impl Output {
    /// Removes what `retention` does not keep, and what killed runs and removals left behind. The caller holds the
    /// lock. With `dry` nothing is touched.
    pub fn collect_garbage(
        &self,
        retention: Retention,
        now: DateTime<Utc>,
        dry: bool,
    ) -> Result<Removed, RunError> {
        if !dry {
            self.complete_log(now)?;
        }
        let log = self.log()?;
        let mut done = Removed::default();
        let mut known = Vec::new();
        let mut files = Vec::new();
        let published: BTreeSet<String> = self.list()?.into_iter().collect();
        for id in &published {
            // What cannot be read is not judged, and stays.
            let Ok(manifest) = self.manifest(Some(id)) else { continue };
            let finished = DateTime::parse_from_rfc3339(&manifest.finished_at).map(|time| time.to_utc());
            known.push(Known { id: id.clone(), finished: finished.unwrap_or(now) });
            files.push(files_of(&manifest));
        }
        for id in choose(&known, self.current()?.as_deref(), &log, retention, now) {
            let at = known.iter().position(|run| run.id == id).unwrap_or_default();
            let entry = Entry { files: files[at].clone(), ..Entry::new(Action::Remove, &id, now) };
            if !dry {
                self.append(&entry)?;
            }
            self.remove("runs", &id, &entry.files, dry, &mut done)?;
            done.runs.push(id);
        }
        for id in self.ids("runs")?.into_iter().filter(|id| !published.contains(id)) {
            let removal = log.iter().find(|entry| entry.action == Action::Remove && entry.run_id == id);
            let listed = removal.map(|entry| entry.files.clone()).unwrap_or_default();
            if removal.is_some() || self.is_begun(&id) {
                self.remove("runs", &id, &listed, dry, &mut done)?;
                done.unfinished.push(id);
            }
        }
        let evaluations = self.published("evaluations", EVALUATION)?;
        let old = evaluations.len().saturating_sub(retention.keep.max(1));
        for id in &evaluations[..old] {
            let begun = super::time_of(id).map(|time| time.and_utc());
            if begun.is_some_and(|begun| now.signed_duration_since(begun) >= retention.older_than) {
                self.remove("evaluations", id, &[], dry, &mut done)?;
                done.evaluations.push(id.clone());
            }
        }
        Ok(done)
    }

    /// Removes the files of a run or an evaluation: first the one that makes it visible, then what is listed or
    /// named as packwise names files, last the one that says that packwise began it.
    fn remove(
        &self,
        kind: &str,
        id: &str,
        listed: &[String],
        dry: bool,
        done: &mut Removed,
    ) -> Result<(), RunError> {
        let folder = remote_path(&self.prefix, &format!("{kind}/{id}"));
        let found = self.runtime.block_on(self.store.list(Some(&folder)).try_collect::<Vec<_>>());
        let found = found.map_err(|source| self.unreadable(source))?;
        let listed: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
        let (mut first, mut rest, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for object in found {
            let name = object.location.as_ref().strip_prefix(folder.as_ref()).unwrap_or_default();
            let name = name.trim_start_matches('/');
            if name == EVALUATION || seal_of(name).is_some() {
                first.push(object.location);
            } else if name == STARTED {
                last.push(object.location);
            } else if listed.contains(name) || is_ours(name) {
                rest.push(object.location);
            } else {
                done.foreign.push(format!("{kind}/{id}/{name}"));
                continue;
            }
            done.files += 1;
            done.bytes += object.size;
        }
        if dry {
            return Ok(());
        }
        for step in [first, rest, last] {
            self.delete(step)?;
        }
        if let Some(local) = &self.local {
            remove_empty(&local.join(kind).join(id));
        }
        Ok(())
    }

    /// Removes what a run's newest manifest does not list: older manifests, and parts of ours that were written again.
    pub(super) fn remove_unlisted(&self, id: &str, manifest: &Manifest) -> Result<(), RunError> {
        let folder = remote_path(&self.prefix, &format!("runs/{id}"));
        let found = self.runtime.block_on(self.store.list(Some(&folder)).try_collect::<Vec<_>>());
        let listed: BTreeSet<String> = files_of(manifest).into_iter().collect();
        let (mut manifests, mut parts) = (Vec::new(), Vec::new());
        for object in found.map_err(|source| self.unreadable(source))? {
            let name = object.location.as_ref().strip_prefix(folder.as_ref()).unwrap_or_default();
            let name = name.trim_start_matches('/');
            match seal_of(name) {
                Some(seal) if seal < manifest.sealed => manifests.push(object.location),
                None if is_ours(name) && !listed.contains(name) => parts.push(object.location),
                _ => {}
            }
        }
        self.delete(manifests)?;
        self.delete(parts)
    }

    /// Deletes files; one that is gone already is no error.
    fn delete(&self, paths: Vec<StorePath>) -> Result<(), RunError> {
        let paths = futures::stream::iter(paths).map(Ok).boxed();
        let failed = self.store.delete_stream(paths).filter_map(|deleted| async move {
            match deleted {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => None,
                Err(error) => Some(error),
            }
        });
        match self.runtime.block_on(std::pin::pin!(failed).next()) {
            None => Ok(()),
            Some(source) => Err(super::unwritable(&self.name, source)),
        }
    }
}

/// Every file of a run but the manifest.
fn files_of(manifest: &Manifest) -> Vec<String> {
    let tables = manifest.tables.values().flat_map(|table| &table.files);
    tables.chain(&manifest.extras).map(|file| file.path.clone()).collect()
}

/// Whether only packwise gives a file this name: a part of one of its tables, or a chart.
fn is_ours(name: &str) -> bool {
    let part = |file: &str| {
        let number = file.strip_prefix("part-").and_then(|rest| rest.strip_suffix(".parquet"));
        // The part's number, and the seal that it was written again for.
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        number.is_some_and(|number| {
            let (part, seal) = number.split_once('-').unwrap_or((number, "0"));
            part.len() >= 5 && is_number(part) && is_number(seal)
        })
    };
    match name.split_once('/') {
        Some((table, file)) => tables::ALL.iter().any(|known| known.name == table) && part(file),
        None => [
            "segments.svg",
            "segment_sweep.svg",
            "recall_by_k.svg",
            "accuracy_revenue.svg",
            report::JSON,
            report::JUNIT,
        ]
        .contains(&name),
    }
}

/// Removes folders that nothing is in.
fn remove_empty(folder: &std::path::Path) {
    if let Ok(entries) = std::fs::read_dir(folder) {
        entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .for_each(|path| remove_empty(&path));
    }
    // Fails, as it should, if something is in it.
    let _ = std::fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(day)
    }

    fn runs(days: &[i64]) -> Vec<Known> {
        days.iter().map(|at| Known { id: format!("run-{at:03}"), finished: day(*at) }).collect()
    }

    fn moves(all: &[(Action, i64, i64)]) -> Vec<Entry> {
        all.iter().map(|(action, run, at)| Entry::new(*action, &format!("run-{run:03}"), day(*at))).collect()
    }

    #[test]
    fn a_run_goes_only_if_nothing_keeps_it() {
        let all = runs(&[1, 2, 3, 4, 5]);
        let log = moves(&[1, 2, 3, 4, 5].map(|day| (Action::Publish, day, day)));
        let retention = |keep, older: i64, grace: i64| Retention {
            keep,
            older_than: TimeDelta::days(older),
            grace: TimeDelta::days(grace),
        };
        let chosen = |retention, now| choose(&all, Some("run-005"), &log, retention, day(now));
        assert_eq!(chosen(retention(2, 0, 0), 5), ["run-001", "run-002", "run-003"]);
        assert_eq!(
            chosen(retention(0, 0, 0), 5),
            ["run-001", "run-002", "run-003", "run-004"],
            "not the current one"
        );
        assert_eq!(chosen(retention(0, 3, 0), 5), ["run-001", "run-002"], "too young");
        assert_eq!(chosen(retention(0, 0, 2), 5), ["run-001", "run-002"], "run 3 was read until day 4");
        assert_eq!(chosen(retention(9, 0, 0), 500), [""; 0]);
    }

    #[test]
    fn what_was_gone_back_to_is_current_and_what_it_replaced_was_read_until_then() {
        let all = runs(&[1, 2, 3]);
        let log = moves(&[
            (Action::Publish, 1, 1),
            (Action::Publish, 2, 2),
            (Action::Publish, 3, 3),
            (Action::Rollback, 1, 10),
        ]);
        let grace = TimeDelta::days(5);
        let retention = Retention { keep: 0, older_than: TimeDelta::zero(), grace };
        assert_eq!(choose(&all, Some("run-001"), &log, retention, day(12)), ["run-002"]);
        assert_eq!(choose(&all, Some("run-001"), &log, retention, day(15)), ["run-002", "run-003"]);
    }

    #[test]
    fn only_names_of_packwise_are_its_own() {
        for own in ["recommendations/part-00012.parquet", "evaluation/part-00000.parquet", "segments.svg"] {
            assert!(is_ours(own), "{own}");
        }
        let foreign =
            ["notes.txt", "recommendations/notes.parquet", "mine/part-00000.parquet", "rfm/part-1.parquet"];
        for name in foreign {
            assert!(!is_ours(name), "{name}");
        }
    }
}
