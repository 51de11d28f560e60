//! Backtests beside the runs, published as runs are: `evaluation.json` is written last.

use super::{Output, RunError, next_id};
use crate::engine::part::{RunFolder, remote_path};
use crate::evaluate::report::Backtest;
use chrono::{DateTime, Utc};
use std::path::Path;

/// Makes an evaluation visible: written last.
pub(super) const EVALUATION: &str = "evaluation.json";

impl Output {
    /// The id of an evaluation that begins now: time and input, as the ids of runs.
    pub fn evaluation_id(&self, started: DateTime<Utc>, fingerprint: &str) -> Result<String, RunError> {
        Ok(next_id(started, fingerprint, self.published("evaluations", EVALUATION)?.last()))
    }

    /// The folder of an evaluation.
    pub fn evaluation_folder(&self, id: &str, staging: &Path) -> RunFolder {
        self.folder_in("evaluations", id, staging)
    }

    /// Makes an evaluation visible.
    pub fn publish_evaluation(&self, id: &str, json: Vec<u8>) -> Result<(), RunError> {
        self.put_once(&format!("evaluations/{id}/{EVALUATION}"), id, &json)
    }

    /// The short form of the newest evaluation; None without any. Reads its `backtest` and passes over
    /// the rest.
    pub fn last_evaluation(&self) -> Result<Option<Backtest>, RunError> {
        #[derive(serde::Deserialize)]
        struct Stored {
            backtest: Option<Backtest>,
        }
        let Some(id) = self.published("evaluations", EVALUATION)?.pop() else { return Ok(None) };
        let path = remote_path(&self.prefix, &format!("evaluations/{id}/{EVALUATION}"));
        let bytes = self.read(&path)?.unwrap_or_default();
        let stored: Stored =
            serde_json::from_slice(&bytes).map_err(|source| RunError::BadEvaluation { id, source })?;
        Ok(stored.backtest)
    }
}
