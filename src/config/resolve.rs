//! From the configuration as typed to the configuration as the stages take it. All problems are reported
//! at once, each with its key, its value and what it should be.

use super::check::Check;
pub use super::settings::*;
use super::{ConfigError, contract, object_store, privacy, typed, value};
use crate::evaluate::gate::{Gate, Mode};
use crate::quantities::{self, DurationUnit, SpeedUnit, VolumeUnit};
use chrono::NaiveDate;
use std::path::PathBuf;

/// No amount needs more.
const LARGEST_MINOR_UNITS: f64 = 1e15;

impl Config {
    /// Checks a typed file; every problem found is in the error.
    pub fn resolve(file: typed::File) -> Result<Self, ConfigError> {
        let mut check = Check { problems: Vec::new() };
        let config = Self {
            transactions: transactions(&file.transactions, file.money.decimals, &mut check),
            catalogue: catalogue(&file.catalogue, &mut check),
            output: check.text("output.path", &file.output.path),
            resources: resources(&file.resources, &mut check),
            money: Money {
                decimals: check.integer("money.decimals", file.money.decimals, 0, 6) as u32,
                currency: file.money.currency.clone(),
            },
            max_rejected_share: check.share("contract.max_rejected_share", file.contract.max_rejected_share),
            contract: contract::resolve(&file.contract, &file.transactions.columns, &mut check),
            features: Features {
                engine: check.choice(
                    "features.engine",
                    &file.features.engine,
                    &[("linear", FeatureEngine::Linear), ("sql", FeatureEngine::Sql)],
                ),
                half_life_days: check.positive("features.half_life_days", file.features.half_life_days),
                channels: check.slots("features.channels", &file.features.channels),
                service_types: check.slots("features.service_types", &file.features.service_types),
                charging_types: check.slots("features.charging_types", &file.features.charging_types),
            },
            segments: segments(&file.segments, &mut check),
            neighbours: neighbours(&file.neighbours, &mut check),
            affinities: Affinities {
                packages: check.integer("affinities.packages", file.affinities.packages, 0, 20_000),
                together_ridge: check.positive("affinities.together_ridge", file.affinities.together_ridge),
                next_ridge: check.positive("affinities.next_ridge", file.affinities.next_ridge),
            },
            recommendations: recommendations(&file.recommendations, &mut check),
            policies: optional(&file.policies.path),
            gate: gate(&file.gate, &mut check),
            value: value::resolve(&file.value, file.money.decimals, &mut check),
            object_store: object_store::resolve(&file.object_store, &mut check),
            pseudonyms: privacy::resolve(&file.privacy, &mut check),
            k_min: check.integer("privacy.k_min", file.privacy.k_min, 0, 1_000_000_000) as u64,
            metrics: optional(&file.metrics.path).map(PathBuf::from),
            seed: file.run.seed,
        };
        if check.problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Invalid { problems: check.problems })
        }
    }
}

fn transactions(raw: &typed::Transactions, decimals: i64, check: &mut Check) -> Transactions {
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
        max_amount: max_amount(raw.max_amount, decimals, check),
        on_bad_file: check.choice(
            "transactions.on_bad_file",
            &raw.on_bad_file,
            &[("fail", OnBadFile::Fail), ("quarantine", OnBadFile::Quarantine)],
        ),
    }
}

/// Currency units. Bounded in minor units, so that a float holds every amount exactly and sums of thousands of the
/// largest fit an integer.
fn max_amount(value: f64, decimals: i64, check: &mut Check) -> f64 {
    let value = check.positive("transactions.max_amount", value);
    let largest = LARGEST_MINOR_UNITS / 10f64.powi(decimals.clamp(0, 6) as i32);
    if value > largest && value.is_finite() {
        let wanted = format!("must not be above {largest:e} with money.decimals = {decimals}");
        check.problem("transactions.max_amount", format!("{value:e}"), wanted);
    }
    value
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
                ("graph", IndexChoice::Graph),
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
        window_days: check.integer("recommendations.window_days", raw.window_days, 1, 3650) as u32,
        tuning_sample: check.integer("recommendations.tuning_sample", raw.tuning_sample, 0, 10_000_000),
        per_segment: raw.per_segment,
        price_weight: match check.choice(
            "recommendations.objective",
            &raw.objective,
            &[("relevance", false), ("revenue", true)],
        ) {
            true => check.at_least("recommendations.price_weight", raw.price_weight, 0.0),
            false => 0.0,
        },
        mix: mix(raw, check),
        exclude_active: raw.exclude_active,
        max_price_step: (max_price_step > 0.0).then_some(max_price_step),
        retired_after_days: (retired_after_days > 0).then_some(retired_after_days as u32),
        deny_packages: raw.deny_packages.clone(),
        allow_service_types: raw.allow_service_types.clone(),
        deny_service_types: raw.deny_service_types.clone(),
    }
}

fn gate(raw: &typed::Gate, check: &mut Check) -> Gate {
    let min_recall = check.share("gate.min_recall", raw.min_recall);
    let min_lead = check.at_least("gate.min_lead", raw.min_lead, -1.0);
    let min_coverage = check.share("gate.min_coverage", raw.min_coverage);
    let max_same = check.share("gate.max_same_for_all", raw.max_same_for_all);
    let max_age = check.integer("gate.max_age_days", raw.max_age_days, 0, 36_500) as u32;
    let modes = [("off", Mode::Off), ("warn", Mode::Warn), ("block", Mode::Block)];
    Gate {
        mode: check.choice("gate.mode", &raw.mode, &modes),
        min_recall: (min_recall > 0.0).then_some(min_recall),
        min_lead: (min_lead > -1.0).then_some(min_lead),
        min_coverage: (min_coverage > 0.0).then_some(min_coverage),
        max_same_for_all: (max_same < 1.0).then_some(max_same),
        max_age_days: (max_age > 0).then_some(max_age),
    }
}

fn mix(raw: &typed::Recommendations, check: &mut Check) -> Mix {
    let repeat = check.integer("recommendations.slots.repeat", raw.slots.repeat, 0, 1000);
    let explore = check.integer("recommendations.slots.explore", raw.slots.explore, 0, 1000);
    let novelty = check.choice(
        "recommendations.novelty",
        &raw.novelty,
        &[("any", Mix::Any), ("new-only", Mix::NewOnly), ("repeat-only", Mix::RepeatOnly)],
    );
    if repeat + explore == 0 {
        return novelty;
    }
    if novelty != Mix::Any {
        check.problem("recommendations.novelty", &raw.novelty, "goes with slots of 0; set one of the two");
    }
    if (repeat + explore) as i64 != raw.top {
        check.problem(
            "recommendations.slots",
            format!("{repeat} + {explore}"),
            format!("must sum to recommendations.top = {}", raw.top),
        );
    }
    Mix::Slots { repeat, explore }
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
