//! The manifest: what a run is. A run without one does not exist.

use crate::engine::part::PartFile;
use crate::engine::progress::StageFigures;
use crate::evaluate::report::Backtest;
use crate::neighbours::pool::IndexQuality;
use crate::recommendations::OfferFigures;
use crate::recommendations::model::ScoringModel;
use crate::tables::Table;
use crate::transactions::quality::Measure;
use crate::value::report::ValueFigures;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of this layout; readers refuse a newer one.
pub const FORMAT: u32 = 1;

/// Everything there is to know of a published run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub run_id: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    pub finished_at: String,
    /// The run was stopped and taken up again.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resumed: Option<Resumed>,
    /// BLAKE3 over everything that the run was made from; a run of the same is not new.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job: Option<String>,
    pub packwise_version: String,
    /// Last day of the data.
    pub as_of: String,
    pub input: InputIdentity,
    /// Every key of the configuration with its value.
    pub config: BTreeMap<String, serde_json::Value>,
    pub tables: BTreeMap<String, TableFiles>,
    /// The id of the key of pseudonyms, if customers are published under pseudonyms.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pseudonyms: Option<String>,
    /// How often the run was sealed again, because customers were removed from it.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub sealed: u64,
    /// Files beside the tables, such as charts.
    pub extras: Vec<PartFile>,
    pub quality: Quality,
    pub stages: Vec<StageFigures>,
    pub peak_memory_bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// When a stopped run was taken up again for the last time, and what it did not have to do again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// RFC 3339, UTC.
    pub at: String,
    /// Parts of the offers that were finished before.
    pub parts: u64,
}

/// What was read: enough to tell whether anything changed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InputIdentity {
    pub files: usize,
    pub rows: u64,
    pub bytes: u64,
    /// BLAKE3 over names, sizes and times of change of all input files, also those that were left out.
    pub fingerprint: String,
}

/// One published table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TableFiles {
    pub rows: u64,
    pub bytes: u64,
    pub grain: String,
    pub key: Vec<String>,
    /// Column and type, in order.
    pub columns: Vec<(String, String)>,
    pub files: Vec<PartFile>,
}

/// How good the data and the models were.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Quality {
    pub data: Vec<Measure>,
    pub customers: u64,
    pub purchases: i64,
    /// Currency units.
    pub revenue: f64,
    pub segments: usize,
    pub silhouette: Option<f64>,
    pub neighbours: Vec<IndexQuality>,
    /// Weights of the score, and what they were learned from.
    #[serde(default)]
    pub scoring: Option<ScoringModel>,
    /// The last `evaluate` into the same output.
    #[serde(default)]
    pub backtest: Option<Backtest>,
    /// Files that were left out, and limits of the publish gate that are broken.
    #[serde(default)]
    pub warnings: Vec<String>,
    pub offers: OfferFigures,
    /// What customers are worth, if they were valued.
    #[serde(default)]
    pub value: Option<ValueFigures>,
}

impl TableFiles {
    /// Lists the files of a table; `columns` as the files hold them.
    pub fn new(table: &Table, files: Vec<PartFile>, columns: Vec<(String, String)>) -> Self {
        Self {
            rows: files.iter().map(|file| file.rows).sum(),
            bytes: files.iter().map(|file| file.bytes).sum(),
            grain: table.grain.to_owned(),
            key: table.key.iter().map(|column| (*column).to_owned()).collect(),
            columns,
            files,
        }
    }
}
