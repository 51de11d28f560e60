//! What can go wrong with runs.

use super::manifest::FORMAT;
use crate::engine::location::LocationError;
use crate::engine::part::PartError;

/// Why runs cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("cannot write to the output {path}")]
    Unwritable {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("another run is writing to {path}")]
    Locked { path: String },
    #[error("the lease on {path} was lost to another run; nothing was published")]
    LeaseLost { path: String },
    #[error("cannot read the runs in {path}")]
    Unreadable {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("there is no published run in {path}")]
    NoRun { path: String },
    #[error("there is no run {id} in {path}")]
    UnknownRun { id: String, path: String },
    #[error("run {id} was published already")]
    Published { id: String },
    #[error("the manifest of run {id} cannot be read")]
    BadManifest {
        id: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the evaluation {id} cannot be read")]
    BadEvaluation {
        id: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("entry {number} of the log of runs cannot be read")]
    BadLog {
        number: u64,
        #[source]
        source: serde_json::Error,
    },
    #[error("entry {number} of the log of runs is gone from {path}")]
    LogGone { number: u64, path: String },
    #[error("list {number} of forgotten customers cannot be read")]
    BadList {
        number: u64,
        #[source]
        source: serde_json::Error,
    },
    #[error("the key of the lists of forgotten customers is gone from {path}, or is none")]
    NoDigestKey { path: String },
    #[error("the lists of forgotten customers are under the key {of_list}, and the key at hand is {at_hand}")]
    OtherListKey { of_list: String, at_hand: String },
    #[error("customers cannot be removed from {path}")]
    Purge {
        path: String,
        #[source]
        source: arrow::error::ArrowError,
    },
    #[error("the manifest of run {id} lists {file}, which is outside the run's folder")]
    ForeignFile { id: String, file: String },
    #[error("run {id} has its customers under other pseudonyms, or under none")]
    OtherIds { id: String },
    #[error("run {id} has format {found}, this packwise reads up to {FORMAT}")]
    NewerFormat { id: String, found: u32 },
    #[error(transparent)]
    Location(#[from] LocationError),
    #[error(transparent)]
    Part(#[from] PartError),
}
