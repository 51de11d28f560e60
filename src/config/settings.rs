//! The configuration as the stages take it: checked numbers, parsed sizes and dates, enums for choices.

use crate::evaluate::gate::Gate;
use crate::quantities::{DurationUnit, SpeedUnit, VolumeUnit};
use chrono::NaiveDate;
use std::path::PathBuf;

/// A configuration that every stage can rely on.
#[derive(Debug, Clone)]
pub struct Config {
    pub transactions: Transactions,
    pub catalogue: Option<Catalogue>,
    pub output: String,
    pub resources: Resources,
    pub money: Money,
    /// Largest share of rows that may be rejected, 0 to 1.
    pub max_rejected_share: f64,
    /// The other rules of the data contract.
    pub contract: crate::contract::Contract,
    pub features: Features,
    pub segments: Segments,
    pub neighbours: Neighbours,
    pub affinities: Affinities,
    pub recommendations: Recommendations,
    /// The policy file.
    pub policies: Option<String>,
    pub gate: Gate,
    /// None: customers are not valued.
    pub value: Option<crate::value::Settings>,
    /// How URLs are reached.
    pub object_store: crate::engine::stores::Settings,
    /// Where the key of pseudonyms is; None: customers are published under their ids.
    pub pseudonyms: Option<crate::privacy::pseudonyms::KeySource>,
    /// Groups of fewer customers are left out of reports.
    pub k_min: u64,
    /// The metrics file.
    pub metrics: Option<PathBuf>,
    pub seed: u64,
}

/// How files are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// By the file's name: `.parquet`, else CSV for `.csv`, `.csv.gz`, `.csv.zst`, `.tsv`, `.txt`.
    Auto,
    Parquet,
    Csv,
}

/// What happens to rows with a negative amount or quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returns {
    /// Taken off revenue; not a purchase.
    Net,
    /// Left out.
    Drop,
    /// Published in the quarantine table.
    Quarantine,
}

/// What happens to an input file that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBadFile {
    /// The run ends.
    Fail,
    /// The whole file is left out, and the run says so.
    Quarantine,
}

/// The purchases: where, in which columns, under which policies.
#[derive(Debug, Clone)]
pub struct Transactions {
    pub path: String,
    pub format: FileFormat,
    pub delimiter: u8,
    pub columns: TransactionColumns,
    /// The amount column holds the price of one unit, to be multiplied by the quantity.
    pub amount_is_unit: bool,
    pub returns: Returns,
    pub drop_duplicates: bool,
    /// None: from the data.
    pub as_of: Option<NaiveDate>,
    /// Currency units.
    pub max_amount: f64,
    pub on_bad_file: OnBadFile,
}

/// Input column names of the transactions.
#[derive(Debug, Clone)]
pub struct TransactionColumns {
    pub customer: String,
    pub package: String,
    pub time: String,
    pub channel: Option<String>,
    pub amount: Option<String>,
    pub quantity: Option<String>,
    pub transaction: Option<String>,
}

/// The catalogue: where, in which columns, with which units of bare numbers.
#[derive(Debug, Clone)]
pub struct Catalogue {
    pub path: String,
    pub format: FileFormat,
    pub delimiter: u8,
    pub columns: CatalogueColumns,
    pub quota_unit: VolumeUnit,
    pub speed_unit: SpeedUnit,
    pub validity_unit: DurationUnit,
}

/// Input column names of the catalogue.
#[derive(Debug, Clone)]
pub struct CatalogueColumns {
    pub package: String,
    pub price: Option<String>,
    pub quota: Option<String>,
    pub max_speed: Option<String>,
    pub min_speed: Option<String>,
    pub service_type: Option<String>,
    pub charging_type: Option<String>,
    pub validity: Option<String>,
    pub retired: Option<String>,
}

/// What the process may use.
#[derive(Debug, Clone)]
pub struct Resources {
    /// Bytes, of the whole process.
    pub memory: u64,
    pub threads: usize,
    pub scratch: PathBuf,
    /// None: chosen from size, memory and threads.
    pub buckets: Option<usize>,
}

/// How amounts are kept.
#[derive(Debug, Clone)]
pub struct Money {
    pub decimals: u32,
    pub currency: String,
}

impl Money {
    /// Minor units in one currency unit (100 for two decimals).
    pub fn scale(&self) -> f64 {
        10f64.powi(self.decimals as i32)
    }
}

/// How features are made.
#[derive(Debug, Clone)]
pub struct Features {
    pub engine: FeatureEngine,
    pub half_life_days: f64,
    pub channels: Vec<String>,
    pub service_types: Vec<String>,
    pub charging_types: Vec<String>,
}

/// What makes the features of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureEngine {
    /// One reading of the sorted rows.
    Linear,
    /// The queries of `sql/`: the definition.
    Sql,
}

/// How segments are fitted.
#[derive(Debug, Clone)]
pub struct Segments {
    pub k: SegmentCount,
    pub algorithm: SegmentAlgorithm,
    pub sample: usize,
    pub silhouette_sample: usize,
    pub silhouette_repeats: usize,
    pub max_iterations: usize,
    pub starts: usize,
}

/// How many segments there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentCount {
    Fixed(usize),
    Sweep { from: usize, to: usize, step: usize },
}

/// Which k-means fits the segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentAlgorithm {
    Lloyd,
    Linfa,
}

/// Which customers are examples for which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateRule {
    RevenueShare,
    AboveOwn,
}

/// Which neighbour index is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexChoice {
    Auto,
    Cells,
    Exact,
    Graph,
    Hnsw,
}

/// How neighbours are found.
#[derive(Debug, Clone)]
pub struct Neighbours {
    pub index: IndexChoice,
    pub recall: f64,
    pub k: usize,
    pub candidates: CandidateRule,
    pub revenue_share: f64,
    pub pool: usize,
    pub dimensions: usize,
    pub tastes: usize,
    pub taste_weight: f64,
    pub min_active_days: usize,
    pub recall_sample: usize,
    pub hnsw_links: usize,
    pub hnsw_build: usize,
    pub publish: bool,
}

/// Which packages go with which.
#[derive(Debug, Clone)]
pub struct Affinities {
    /// Packages that the models know, those with most customers.
    pub packages: usize,
    /// Ridges as shares of the mean diagonal.
    pub together_ridge: f64,
    pub next_ridge: f64,
}

/// How many offers may be new to the customer, and how many repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mix {
    Any,
    NewOnly,
    RepeatOnly,
    /// So many of each; what one kind cannot fill goes to the other.
    Slots {
        repeat: usize,
        explore: usize,
    },
}

/// How offers are chosen.
#[derive(Debug, Clone)]
pub struct Recommendations {
    pub top: usize,
    /// Days of the window that scores speak of and weights are learned from.
    pub window_days: u32,
    /// Customers that weights are learned from.
    pub tuning_sample: usize,
    /// Segments may have weights of their own.
    pub per_segment: bool,
    /// Power of the price by which the odds are multiplied before ranking; 0 ranks by relevance.
    pub price_weight: f64,
    pub mix: Mix,
    pub exclude_active: bool,
    /// None: no limit.
    pub max_price_step: Option<f64>,
    pub retired_after_days: Option<u32>,
    pub deny_packages: Vec<String>,
    pub allow_service_types: Vec<String>,
    pub deny_service_types: Vec<String>,
}
