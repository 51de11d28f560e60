//! The configuration as the stages take it: checked numbers, parsed sizes and dates, enums for
//! choices. All problems are reported at once, each with its key, its value and what it should be.

use super::{ConfigError, Problem, typed};
use crate::quantities::{self, DurationUnit, SpeedUnit, VolumeUnit};
use chrono::NaiveDate;
use std::fmt::Display;
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
    pub features: Features,
    pub segments: Segments,
    pub neighbours: Neighbours,
    pub recommendations: Recommendations,
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
    pub half_life_days: f64,
    pub channels: Vec<String>,
    pub service_types: Vec<String>,
    pub charging_types: Vec<String>,
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

/// How offers are chosen.
#[derive(Debug, Clone)]
pub struct Recommendations {
    pub top: usize,
    pub own_weight: f64,
    pub exclude_active: bool,
    /// None: no limit.
    pub max_price_step: Option<f64>,
    pub retired_after_days: Option<u32>,
    pub deny_packages: Vec<String>,
    pub allow_service_types: Vec<String>,
    pub deny_service_types: Vec<String>,
}

impl Config {
    /// Checks a typed file; every problem found is in the error.
    pub fn resolve(file: typed::File) -> Result<Self, ConfigError> {
        let mut check = Check { problems: Vec::new() };
        let config = Self {
            transactions: transactions(&file.transactions, &mut check),
            catalogue: catalogue(&file.catalogue, &mut check),
            output: check.text("output.path", &file.output.path),
            resources: resources(&file.resources, &mut check),
            money: Money {
                decimals: check.integer("money.decimals", file.money.decimals, 0, 6) as u32,
                currency: file.money.currency.clone(),
            },
            max_rejected_share: check.share("contract.max_rejected_share", file.contract.max_rejected_share),
            features: Features {
                half_life_days: check.positive("features.half_life_days", file.features.half_life_days),
                channels: check.slots("features.channels", &file.features.channels),
                service_types: check.slots("features.service_types", &file.features.service_types),
                charging_types: check.slots("features.charging_types", &file.features.charging_types),
            },
            segments: segments(&file.segments, &mut check),
            neighbours: neighbours(&file.neighbours, &mut check),
            recommendations: recommendations(&file.recommendations, &mut check),
            seed: file.run.seed,
        };
        if check.problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Invalid { problems: check.problems })
        }
    }
}

fn transactions(raw: &typed::Transactions, check: &mut Check) -> Transactions {
    let as_of = match raw.as_of.as_str() {
        "auto" | "" => None,
        text => match NaiveDate::parse_from_str(text, "%Y-%m-%d") {
            Ok(date) => Some(date),
            Err(_) => {
                check.problem("transactions.as_of", text, "take a date such as 2026-05-31, or \"auto\"");
                None
            }
        },
    };
    let columns = TransactionColumns {
        customer: check.text("transactions.columns.customer", &raw.columns.customer),
        package: check.text("transactions.columns.package", &raw.columns.package),
        time: check.text("transactions.columns.time", &raw.columns.time),
        channel: optional(&raw.columns.channel),
        amount: optional(&raw.columns.amount),
        quantity: optional(&raw.columns.quantity),
        transaction: optional(&raw.columns.transaction),
    };
    let amount_is_unit =
        check.choice("transactions.amount_is", &raw.amount_is, &[("line", false), ("unit", true)]);
    if amount_is_unit && columns.quantity.is_none() {
        check.problem(
            "transactions.amount_is",
            "unit",
            "needs transactions.columns.quantity, which is not set",
        );
    }
    Transactions {
        path: check.text("transactions.path", &raw.path),
        format: format(check, "transactions.format", &raw.format),
        delimiter: delimiter(check, "transactions.delimiter", &raw.delimiter),
        columns,
        amount_is_unit,
        returns: check.choice(
            "transactions.returns",
            &raw.returns,
            &[("net", Returns::Net), ("drop", Returns::Drop), ("quarantine", Returns::Quarantine)],
        ),
        drop_duplicates: check.choice(
            "transactions.duplicates",
            &raw.duplicates,
            &[("keep", false), ("drop", true)],
        ),
        as_of,
        max_amount: check.positive("transactions.max_amount", raw.max_amount),
    }
}

fn catalogue(raw: &typed::Catalogue, check: &mut Check) -> Option<Catalogue> {
    let path = optional(&raw.path)?;
    Some(Catalogue {
        path,
        format: format(check, "catalogue.format", &raw.format),
        delimiter: delimiter(check, "catalogue.delimiter", &raw.delimiter),
        columns: CatalogueColumns {
            package: check.text("catalogue.columns.package", &raw.columns.package),
            price: optional(&raw.columns.price),
            quota: optional(&raw.columns.quota),
            max_speed: optional(&raw.columns.max_speed),
            min_speed: optional(&raw.columns.min_speed),
            service_type: optional(&raw.columns.service_type),
            charging_type: optional(&raw.columns.charging_type),
            validity: optional(&raw.columns.validity),
            retired: optional(&raw.columns.retired),
        },
        quota_unit: check.choice(
            "catalogue.quota_unit",
            &raw.quota_unit,
            &[("KB", VolumeUnit::Kb), ("MB", VolumeUnit::Mb), ("GB", VolumeUnit::Gb), ("TB", VolumeUnit::Tb)],
        ),
        speed_unit: check.choice(
            "catalogue.speed_unit",
            &raw.speed_unit,
            &[("kbps", SpeedUnit::Kbps), ("Mbps", SpeedUnit::Mbps), ("Gbps", SpeedUnit::Gbps)],
        ),
        validity_unit: check.choice(
            "catalogue.validity_unit",
            &raw.validity_unit,
            &[
                ("hours", DurationUnit::Hours),
                ("days", DurationUnit::Days),
                ("weeks", DurationUnit::Weeks),
                ("months", DurationUnit::Months),
            ],
        ),
    })
}

fn resources(raw: &typed::Resources, check: &mut Check) -> Resources {
    let memory = match quantities::parse_bytes(&raw.memory) {
        Ok(bytes) if bytes >= 128 << 20 => bytes,
        Ok(_) => {
            check.problem("resources.memory", &raw.memory, "must be 128MiB or more");
            0
        }
        Err(_) => {
            check.problem("resources.memory", &raw.memory, "take a size such as \"512MiB\" or \"2GiB\"");
            0
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = check.integer("resources.threads", raw.threads, 0, 1024);
    Resources {
        memory,
        threads: if threads == 0 { cores } else { threads },
        scratch: PathBuf::from(check.text("resources.scratch", &raw.scratch)),
        buckets: match check.integer("resources.buckets", raw.buckets, 0, 4096) {
            0 => None,
            buckets => Some(buckets),
        },
    }
}

fn segments(raw: &typed::Segments, check: &mut Check) -> Segments {
    let k = check.integer("segments.k", raw.k, 0, 1000);
    let from = check.integer("segments.sweep_from", raw.sweep_from, 2, 1000);
    let to = check.integer("segments.sweep_to", raw.sweep_to, 2, 1000);
    let step = check.integer("segments.sweep_step", raw.sweep_step, 1, 1000);
    if k == 1 {
        check.problem("segments.k", "1", "is no segmentation; take 2 or more, or 0 to choose by silhouette");
    }
    if from > to {
        check.problem("segments.sweep_from", from, format!("is above segments.sweep_to = {to}"));
    }
    Segments {
        k: if k == 0 { SegmentCount::Sweep { from, to, step } } else { SegmentCount::Fixed(k) },
        algorithm: check.choice(
            "segments.algorithm",
            &raw.algorithm,
            &[("lloyd", SegmentAlgorithm::Lloyd), ("linfa", SegmentAlgorithm::Linfa)],
        ),
        sample: check.integer("segments.sample", raw.sample, 100, 10_000_000),
        silhouette_sample: check.integer("segments.silhouette_sample", raw.silhouette_sample, 100, 200_000),
        silhouette_repeats: check.integer("segments.silhouette_repeats", raw.silhouette_repeats, 2, 100),
        max_iterations: check.integer("segments.max_iterations", raw.max_iterations, 1, 100_000),
        starts: check.integer("segments.starts", raw.starts, 1, 100),
    }
}

fn neighbours(raw: &typed::Neighbours, check: &mut Check) -> Neighbours {
    let k = check.integer("neighbours.k", raw.k, 1, 1000);
    Neighbours {
        index: check.choice(
            "neighbours.index",
            &raw.index,
            &[
                ("auto", IndexChoice::Auto),
                ("cells", IndexChoice::Cells),
                ("exact", IndexChoice::Exact),
                ("hnsw", IndexChoice::Hnsw),
            ],
        ),
        recall: check.share("neighbours.recall", raw.recall),
        k,
        candidates: check.choice(
            "neighbours.candidates",
            &raw.candidates,
            &[("revenue-share", CandidateRule::RevenueShare), ("above-own", CandidateRule::AboveOwn)],
        ),
        revenue_share: check.share("neighbours.revenue_share", raw.revenue_share),
        pool: check.integer("neighbours.pool", raw.pool, k as i64, 50_000_000),
        dimensions: check.integer("neighbours.dimensions", raw.dimensions, 1, 256),
        tastes: check.integer("neighbours.tastes", raw.tastes, 0, 128),
        taste_weight: check.at_least("neighbours.taste_weight", raw.taste_weight, 0.0),
        min_active_days: check.integer("neighbours.min_active_days", raw.min_active_days, 1, 10_000),
        recall_sample: check.integer("neighbours.recall_sample", raw.recall_sample, 1, 100_000),
        hnsw_links: check.integer("neighbours.hnsw_links", raw.hnsw_links, 2, 256),
        hnsw_build: check.integer("neighbours.hnsw_build", raw.hnsw_build, 2, 10_000),
        publish: raw.publish,
    }
}

fn recommendations(raw: &typed::Recommendations, check: &mut Check) -> Recommendations {
    let max_price_step = check.at_least("recommendations.max_price_step", raw.max_price_step, 0.0);
    let retired_after_days =
        check.integer("recommendations.retired_after_days", raw.retired_after_days, 0, 100_000);
    for denied in &raw.deny_service_types {
        if raw.allow_service_types.contains(denied) {
            check.problem(
                "recommendations.deny_service_types",
                denied,
                "is in recommendations.allow_service_types as well; keep it in one of the two",
            );
        }
    }
    Recommendations {
        top: check.integer("recommendations.top", raw.top, 1, 1000),
        own_weight: check.share("recommendations.own_weight", raw.own_weight),
        exclude_active: raw.exclude_active,
        max_price_step: (max_price_step > 0.0).then_some(max_price_step),
        retired_after_days: (retired_after_days > 0).then_some(retired_after_days as u32),
        deny_packages: raw.deny_packages.clone(),
        allow_service_types: raw.allow_service_types.clone(),
        deny_service_types: raw.deny_service_types.clone(),
    }
}

fn optional(text: &str) -> Option<String> {
    (!text.trim().is_empty()).then(|| text.to_owned())
}

fn format(check: &mut Check, key: &str, value: &str) -> FileFormat {
    check.choice(
        key,
        value,
        &[("auto", FileFormat::Auto), ("parquet", FileFormat::Parquet), ("csv", FileFormat::Csv)],
    )
}

fn delimiter(check: &mut Check, key: &str, value: &str) -> u8 {
    match value.as_bytes() {
        [byte] if byte.is_ascii() => *byte,
        _ => {
            check.problem(key, value, "take one ASCII character, such as \",\" or \";\" or \"\\t\"");
            b','
        }
    }
}

/// Collects problems, so that one look tells a user all of them. Range checks are written so that
/// NaN fails them.
struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn problem(&mut self, key: &str, value: impl Display, wanted: impl Into<String>) {
        self.problems.push(Problem { key: key.into(), value: value.to_string(), wanted: wanted.into() });
    }

    fn text(&mut self, key: &str, value: &str) -> String {
        if value.trim().is_empty() {
            self.problem(key, "\"\"", "is needed; set it in the configuration file or with --set");
        }
        value.to_owned()
    }

    fn integer(&mut self, key: &str, value: i64, low: i64, high: i64) -> usize {
        if (low..=high).contains(&value) {
            value as usize
        } else {
            self.problem(key, value, format!("must be a whole number from {low} to {high}"));
            low.max(0) as usize
        }
    }

    fn share(&mut self, key: &str, value: f64) -> f64 {
        if !(0.0..=1.0).contains(&value) {
            self.problem(key, value, "must be a share from 0 to 1");
        }
        value
    }

    fn positive(&mut self, key: &str, value: f64) -> f64 {
        if !(value > 0.0 && value.is_finite()) {
            self.problem(key, value, "must be a number above 0");
        }
        value
    }

    fn at_least(&mut self, key: &str, value: f64, low: f64) -> f64 {
        if !(value >= low && value.is_finite()) {
            self.problem(key, value, format!("must be a number not below {low}"));
        }
        value
    }

    fn slots(&mut self, key: &str, values: &[String]) -> Vec<String> {
        if values.len() > 8 {
            self.problem(key, values.len(), "takes 8 values at the most; the rest is summed as \"other\"");
        }
        let mut seen = values.to_vec();
        seen.sort();
        seen.dedup();
        if seen.len() != values.len() {
            self.problem(key, format!("{values:?}"), "names a value twice");
        }
        values.to_vec()
    }

    fn choice<T: Copy>(&mut self, key: &str, value: &str, choices: &[(&str, T)]) -> T {
        match choices.iter().find(|(name, _)| *name == value) {
            Some((_, choice)) => *choice,
            None => {
                let names: Vec<String> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
                self.problem(key, format!("\"{value}\""), format!("must be one of {}", names.join(", ")));
                choices[0].1
            }
        }
    }
}
