//! The configuration as it is written: one struct a section, every key present because the defaults
//! are merged in first. Ranges and combinations are checked in [`super::resolve`].

use crate::value::matrices::MatrixEntry;
use crate::value::matrices::scenario::ScenarioEntry;
use crate::value::rfm::grid::SegmentEntry;
use crate::value::tiers::TierEntry;
use serde::Deserialize;

/// All sections of a configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    pub transactions: Transactions,
    pub catalogue: Catalogue,
    pub output: Output,
    pub resources: Resources,
    pub money: Money,
    pub contract: Contract,
    pub features: Features,
    pub segments: Segments,
    pub neighbours: Neighbours,
    pub affinities: Affinities,
    pub recommendations: Recommendations,
    pub policies: Policies,
    pub gate: Gate,
    pub value: Value,
    pub object_store: ObjectStore,
    pub privacy: Privacy,
    pub metrics: Metrics,
    pub run: Run,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transactions {
    pub path: String,
    pub format: String,
    pub amount_is: String,
    pub returns: String,
    pub duplicates: String,
    pub as_of: String,
    pub max_amount: f64,
    pub delimiter: String,
    pub on_bad_file: String,
    pub columns: TransactionColumns,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransactionColumns {
    pub customer: String,
    pub package: String,
    pub time: String,
    pub channel: String,
    pub amount: String,
    pub quantity: String,
    pub transaction: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    pub path: String,
    pub format: String,
    pub delimiter: String,
    pub quota_unit: String,
    pub speed_unit: String,
    pub validity_unit: String,
    pub columns: CatalogueColumns,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueColumns {
    pub package: String,
    pub price: String,
    pub quota: String,
    pub max_speed: String,
    pub min_speed: String,
    pub service_type: String,
    pub charging_type: String,
    pub validity: String,
    pub retired: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    pub path: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    pub memory: String,
    pub threads: i64,
    pub scratch: String,
    pub buckets: i64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Money {
    pub decimals: i64,
    pub currency: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contract {
    pub max_rejected_share: f64,
    pub freshness: Freshness,
    pub row_count: RowCount,
    pub nulls: Nulls,
    pub accepted: Accepted,
    pub unknown_packages: UnknownPackages,
    pub uniqueness: Uniqueness,
    pub reconciliation: Reconciliation,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freshness {
    pub on_break: String,
    pub max_age_days: i64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowCount {
    pub on_break: String,
    pub runs: i64,
    pub min_ratio: f64,
    pub max_ratio: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nulls {
    pub on_break: String,
    pub customer: f64,
    pub package: f64,
    pub time: f64,
    pub channel: f64,
    pub amount: f64,
    pub quantity: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    pub on_break: String,
    pub channels: Vec<String>,
    pub max_share: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnknownPackages {
    pub on_break: String,
    pub max_share: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uniqueness {
    pub on_break: String,
    pub max_duplicates: f64,
    pub max_repeated_ids: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconciliation {
    pub on_break: String,
    pub control_file: String,
    pub control_total: f64,
    pub tolerance: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    pub engine: String,
    pub half_life_days: f64,
    pub channels: Vec<String>,
    pub service_types: Vec<String>,
    pub charging_types: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segments {
    pub k: i64,
    pub sweep_from: i64,
    pub sweep_to: i64,
    pub sweep_step: i64,
    pub algorithm: String,
    pub sample: i64,
    pub silhouette_sample: i64,
    pub silhouette_repeats: i64,
    pub max_iterations: i64,
    pub starts: i64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbours {
    pub index: String,
    pub recall: f64,
    pub k: i64,
    pub candidates: String,
    pub revenue_share: f64,
    pub pool: i64,
    pub dimensions: i64,
    pub tastes: i64,
    pub taste_weight: f64,
    pub min_active_days: i64,
    pub recall_sample: i64,
    pub hnsw_links: i64,
    pub hnsw_build: i64,
    pub publish: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affinities {
    pub packages: i64,
    pub together_ridge: f64,
    pub next_ridge: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    pub repeat: i64,
    pub explore: i64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recommendations {
    pub top: i64,
    pub window_days: i64,
    pub tuning_sample: i64,
    pub per_segment: bool,
    pub objective: String,
    pub price_weight: f64,
    pub novelty: String,
    pub slots: Slots,
    pub exclude_active: bool,
    pub max_price_step: f64,
    pub retired_after_days: i64,
    pub deny_packages: Vec<String>,
    pub allow_service_types: Vec<String>,
    pub deny_service_types: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policies {
    pub path: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gate {
    pub mode: String,
    pub min_recall: f64,
    pub min_lead: f64,
    pub min_coverage: f64,
    pub max_same_for_all: f64,
    pub max_age_days: i64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectStore {
    pub endpoint: String,
    pub region: String,
    pub allow_http: bool,
    pub retries: i64,
    pub first_pause_seconds: f64,
    pub longest_pause_seconds: f64,
    pub give_up_seconds: f64,
    pub connect_seconds: f64,
    pub answer_seconds: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Privacy {
    pub pseudonymise: String,
    pub key_file: String,
    pub key_env: String,
    pub k_min: i64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    pub path: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub seed: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    pub enabled: bool,
    pub period: String,
    pub model: String,
    pub penalty: f64,
    pub horizon_months: i64,
    pub monthly_discount: f64,
    pub holdout_days: i64,
    pub sample: i64,
    pub rfm: Rfm,
    pub scenarios: ScenarioEntry,
    pub matrices: Vec<MatrixEntry>,
    pub tiers: Vec<TierEntry>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rfm {
    pub segments: Vec<SegmentEntry>,
}
