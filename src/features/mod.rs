//! Stage 2: buckets to `customer_features`, `customer_packages` and `packages`, and the bounded
//! summaries that models are fitted on.

pub mod behaviour;
pub mod bucket;
pub mod slots;

use crate::config::Config;
use crate::engine::buckets::BucketError;
use crate::engine::part::{PartError, PartFile, PartWriter, RunFolder, id_text};
use crate::engine::scratch::Scratch;
use crate::engine::session::BucketSession;
use crate::engine::{Engine, workers};
use crate::numerics::sample::HashSample;
use crate::tables;
use crate::transactions::catalogue::{Package, price_tiers};
use crate::transactions::cutoff::{CustomerSampler, Cutoff};
use crate::transactions::quarantine::{QuarantineWriter, Rejected};
use crate::transactions::times::DAY;
use crate::transactions::whole_customers::{Cleaned, WholeCustomers};
use crate::transactions::{InputError, Transactions};
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use behaviour::BehaviourColumn;
use bucket::{BucketFailure, Context};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Why features could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error("the features of bucket {bucket} could not be made")]
    Features {
        bucket: usize,
        #[source]
        source: Box<BucketFailure>,
    },
    #[error("the engine did not start")]
    Engine(#[source] Box<datafusion::error::DataFusionError>),
    #[error("a summary table could not be made")]
    Arrow(#[from] ArrowError),
    #[error(transparent)]
    Input(#[from] InputError),
}

/// A customer in the sample that models are fitted on.
#[derive(Debug, Clone)]
pub struct SampledCustomer {
    /// The customer's id as text.
    pub id: Box<[u8]>,
    /// Values of the behaviour columns, NaN where null.
    pub behaviour: Box<[f32]>,
    /// Packages bought: rank and time-decayed weight.
    pub packages: Box<[(u32, f32)]>,
    /// Minor units.
    pub revenue: i64,
}

/// Windows of days before the cut-off in which purchases of every package are counted apart.
pub const RECENT: usize = 2;

/// Days of the windows of [`RECENT`]: three and twelve times the window that scores speak of. What sold
/// in a span no longer than the window itself says more of what is over than of what comes: on grocery
/// purchases of four weeks it cost 2 % of the recall.
pub fn recent_days(window_days: u32) -> [i64; RECENT] {
    [3, 12].map(|times| i64::from(window_days) * times)
}

/// What was bought of one package.
#[derive(Debug, Clone, Copy, Default)]
pub struct PackageTotals {
    pub purchases: i64,
    pub customers: u64,
    /// Customers that bought it on more than one day.
    pub repeat_customers: u64,
    /// Baskets (a customer's day) with it in the last days, by window of [`recent_days`].
    pub recent: [i64; RECENT],
    /// Minor units.
    pub revenue: i64,
    /// Microseconds since 1970 of the last row.
    pub last: Option<i64>,
}

/// What features are made of, up to a cut-off.
pub struct Source<'a> {
    pub units: Units,
    /// Rows of every channel up to the cut-off, by rank.
    pub channel_rows: &'a [u64],
    /// Takes in whole customers on the way, with what they did after the cut-off.
    pub sampler: Option<Mutex<CustomerSampler>>,
}

/// Where the customers come from.
pub enum Units {
    /// The whole base; its buckets are used up.
    Buckets,
    /// The whole base; its buckets stay for another pass.
    BucketsAgain,
    /// Customers at hand, in the order of their ids.
    Customers(Vec<Mutex<Option<WholeCustomers>>>),
}

impl Units {
    pub fn customers(units: Vec<WholeCustomers>) -> Self {
        Self::Customers(units.into_iter().map(|unit| Mutex::new(Some(unit))).collect())
    }

    fn count(&self, transactions: &Transactions) -> usize {
        match self {
            Self::Buckets | Self::BucketsAgain => transactions.buckets.count(),
            Self::Customers(units) => units.len(),
        }
    }

    fn take(
        &self,
        number: usize,
        transactions: &Transactions,
        rejected: &mut Rejected,
    ) -> Result<Option<WholeCustomers>, BucketError> {
        let rows = match self {
            Self::Buckets => transactions.buckets.take(number)?,
            Self::BucketsAgain => transactions.buckets.read(number)?,
            Self::Customers(units) => {
                return Ok(units[number].lock().unwrap_or_else(std::sync::PoisonError::into_inner).take());
            }
        };
        Ok(Some(WholeCustomers::new(rows, transactions, rejected)))
    }
}

/// Features of the whole base: the published files in the order of customers, and the summaries.
pub struct Features {
    /// One part a bucket; the parts of both tables hold the same customers.
    pub parts: Vec<FeatureParts>,
    /// Of `customer_features`, which is open-ended.
    pub schema: arrow::datatypes::SchemaRef,
    pub package_table: PartFile,
    /// What `package_table` holds.
    pub package_batch: RecordBatch,
    /// Rejected after the shuffle, if any were.
    pub late_quarantine: Option<PartFile>,
    pub behaviour: Vec<BehaviourColumn>,
    /// By ascending hash of the customer.
    pub sample: Vec<SampledCustomer>,
    /// By package rank.
    pub packages: Vec<Package>,
    pub price_tiers: Vec<Option<i64>>,
    pub package_totals: Vec<PackageTotals>,
    pub retired: Vec<bool>,
    pub cleaned: Cleaned,
    pub customers: u64,
    pub purchases: i64,
    /// Minor units.
    pub revenue: i64,
    pub customer_packages: u64,
    pub customer_type: tables::CustomerType,
    /// Last day of the data, since 1970.
    pub as_of_day: i64,
}

/// The files of one bucket.
#[derive(Debug, Clone)]
pub struct FeatureParts {
    pub features: PartFile,
    pub packages: PartFile,
}

/// State that all workers add to. Sums are of integers, so their order does not matter.
struct Shared {
    totals: Mutex<Vec<PackageTotals>>,
    sample: Mutex<HashSample<SampledCustomer>>,
}

#[derive(Default)]
struct Worker {
    parts: Vec<(usize, FeatureParts)>,
    cleaned: Cleaned,
    customers: u64,
    purchases: i64,
    revenue: i64,
    customer_packages: u64,
}

/// Makes the features of every unit from what happened up to the cut-off. Memory: a unit for each
/// thread, and the samples.
pub fn build(
    transactions: &Transactions,
    source: &Source,
    cutoff: Cutoff,
    config: &Config,
    engine: &Engine,
    scratch: &Scratch,
    folder: &RunFolder,
) -> Result<Features, FeatureError> {
    let context = Context::new(transactions, source.channel_rows, cutoff, &config.features)?;
    let behaviour = behaviour::columns(&context);
    let shared = Shared {
        totals: Mutex::new(vec![PackageTotals::default(); transactions.packages.len()]),
        sample: Mutex::new(HashSample::new(config.segments.sample, config.seed)),
    };
    let late = QuarantineWriter::new(folder, 1);
    let session = || {
        let pool = engine.memory.per_bucket(engine.threads);
        BucketSession::new(Some(pool), scratch.path())
            .map(|session| (session, Worker::default()))
            .map_err(|source| FeatureError::Engine(Box::new(source)))
    };
    let work = |session: &BucketSession, worker: &mut Worker, number: usize| -> Result<(), FeatureError> {
        let mut rejected = Rejected::new(None, 0);
        let taken = source.units.take(number, transactions, &mut rejected)?;
        late.finish_unit(number, &mut rejected)?;
        let Some(whole) = taken else { return Ok(()) };
        let read = whole.len() as u64 + whole.cleaned.removed();
        worker.cleaned.merge(whole.cleaned);
        if let Some(sampler) = &source.sampler {
            whole.offer_to(sampler);
        }
        let whole = whole.until(cutoff);
        if !whole.is_empty() {
            add_recent(&whole, cutoff, config.recommendations.window_days, &shared.totals);
            let made = context
                .run(&whole, session, engine.runtime.handle())
                .map_err(|source| FeatureError::Features { bucket: number, source: Box::new(source) })?;
            drop(whole);
            let write = |table: &str, batch: &RecordBatch| -> Result<PartFile, PartError> {
                let mut writer = PartWriter::create(folder, table, number, batch.schema())?;
                writer.write(batch)?;
                writer.finish()
            };
            let parts = FeatureParts {
                features: write(tables::CUSTOMER_FEATURES.name, &made.features)?,
                packages: write(tables::CUSTOMER_PACKAGES.name, &made.packages)?,
            };
            worker.parts.push((number, parts));
            worker.customers += made.features.num_rows() as u64;
            worker.customer_packages += made.packages.num_rows() as u64;
            worker.purchases += integers(&made.features, "purchases")?.values().iter().sum::<i64>();
            worker.revenue += made.packages_minor.values().iter().sum::<i64>();
            add_totals(&made.packages, &made.packages_minor, &shared.totals)?;
            offer_sample(&made.features, &made.packages, &made.packages_minor, &behaviour, &shared.sample);
        }
        engine.progress.advance(read);
        Ok(())
    };
    let states = workers::for_each(
        engine.threads,
        source.units.count(transactions),
        || session().map_err(Some),
        |state, number| match state {
            Ok((session, worker)) => work(session, worker, number).inspect_err(|_| late.stop()),
            Err(error) => {
                late.stop();
                Err(error.take().unwrap_or(FeatureError::Input(InputError::NoValidRows { rows: 0 })))
            }
        },
    )?;

    let mut all = Worker::default();
    for (_, mut worker) in states.into_iter().flatten() {
        all.parts.append(&mut worker.parts);
        all.cleaned.merge(worker.cleaned);
        all.customers += worker.customers;
        all.purchases += worker.purchases;
        all.revenue += worker.revenue;
        all.customer_packages += worker.customer_packages;
    }
    all.parts.sort_by_key(|(number, _)| *number);
    if all.customers == 0 {
        return Err(InputError::NoValidRows { rows: transactions.counts.rows }.into());
    }
    let package_totals = shared.totals.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut packages = transactions.packages.clone();
    if !transactions.has_catalogue || packages.iter().all(|package| package.price.is_none()) {
        // Without list prices, what was paid on average stands for the price.
        for (package, totals) in packages.iter_mut().zip(&package_totals) {
            if transactions.has_money && totals.purchases > 0 && totals.revenue >= 0 {
                package.price = Some((totals.revenue as f64 / totals.purchases as f64).round() as i64);
            }
        }
    }
    let price_tiers = price_tiers(&packages);
    let retired: Vec<bool> = packages
        .iter()
        .zip(&package_totals)
        .map(|(package, totals)| {
            let last_day = totals.last.map(|micros| micros.div_euclid(MICROS_PER_DAY));
            let unsold = config
                .recommendations
                .retired_after_days
                .is_some_and(|days| last_day.is_none_or(|day| cutoff.day() - day >= i64::from(days)));
            package.retired || unsold
        })
        .collect();
    let table = package_batch(&packages, &price_tiers, &package_totals, &retired, transactions.scale)?;
    let mut writer = PartWriter::create(folder, tables::PACKAGES.name, 0, table.schema())?;
    writer.write(&table)?;
    let sample = shared.sample.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(Features {
        parts: all.parts.into_iter().map(|(_, parts)| parts).collect(),
        schema: context.features_schema(),
        package_table: writer.finish()?,
        package_batch: table,
        late_quarantine: late.finish()?,
        behaviour,
        sample: sample.into_sorted().into_iter().map(|sampled| sampled.payload).collect(),
        packages,
        price_tiers,
        package_totals,
        retired,
        cleaned: all.cleaned,
        customers: all.customers,
        purchases: all.purchases,
        revenue: all.revenue,
        customer_packages: all.customer_packages,
        customer_type: transactions.customer_type,
        as_of_day: cutoff.day(),
    })
}

fn integers<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a Int64Array, ArrowError> {
    batch
        .column_by_name(name)
        .and_then(|column| column.as_primitive_opt::<Int64Type>())
        .ok_or_else(|| ArrowError::SchemaError(format!("no column {name} of integers")))
}

fn add_totals(
    packages: &RecordBatch,
    minor: &Int64Array,
    totals: &Mutex<Vec<PackageTotals>>,
) -> Result<(), ArrowError> {
    let ranks = packages.column(1).as_dictionary::<Int32Type>().keys();
    let times = integers(packages, "times")?;
    let first = packages.column(4).as_primitive::<TimestampMicrosecondType>();
    let last = packages.column(5).as_primitive::<TimestampMicrosecondType>();
    let day = |micros: i64| micros.div_euclid(MICROS_PER_DAY);
    let mut totals = totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for row in 0..packages.num_rows() {
        let total = &mut totals[ranks.value(row) as usize];
        let times = times.value(row);
        total.purchases += times;
        total.customers += u64::from(times > 0);
        total.repeat_customers += u64::from(times > 1 && day(first.value(row)) < day(last.value(row)));
        total.revenue += minor.value(row);
        total.last = total.last.max(Some(last.value(row)));
    }
    Ok(())
}

/// Counts the baskets of the last days that hold each package.
fn add_recent(whole: &WholeCustomers, cutoff: Cutoff, window_days: u32, totals: &Mutex<Vec<PackageTotals>>) {
    let windows = recent_days(window_days);
    let longest = windows.into_iter().max().unwrap_or(0);
    let mut counts: HashMap<i32, [i64; RECENT]> = HashMap::new();
    // Once a customer and day: three in one basket say no more of what is in demand than one.
    let (mut basket, mut of_day) = (None, Vec::new());
    for row in 0..whole.len() {
        let day = i64::from(whole.seconds[row]) / DAY;
        let age = cutoff.day() - day;
        let (customer, package) = (whole.customers[row], whole.packages[row]);
        if basket != Some((customer, day)) {
            basket = Some((customer, day));
            of_day.clear();
        }
        let is_purchase = whole.amounts[row] >= 0 && whole.quantities[row] >= 0.0;
        if age < longest && is_purchase && !of_day.contains(&package) {
            of_day.push(package);
            let recent = counts.entry(package).or_default();
            for (count, days) in recent.iter_mut().zip(windows) {
                *count += i64::from(age < days);
            }
        }
    }
    let mut totals = totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (package, recent) in counts {
        let total = &mut totals[package as usize].recent;
        total.iter_mut().zip(recent).for_each(|(total, count)| *total += count);
    }
}

/// Offers every customer of a bucket to the sample; what it would hold is made only if it gets in.
fn offer_sample(
    features: &RecordBatch,
    packages: &RecordBatch,
    minor: &Int64Array,
    behaviour: &[BehaviourColumn],
    sample: &Mutex<HashSample<SampledCustomer>>,
) {
    let columns: Vec<Float64Array> =
        behaviour.iter().map(|column| as_floats(features, &column.name)).collect();
    let ids = features.column(0);
    let owners = packages.column(0);
    let ranks = packages.column(1).as_dictionary::<Int32Type>().keys();
    let weights = packages.column(6).as_primitive::<Float64Type>();
    let mut start = 0;
    let mut sample = sample.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for row in 0..features.num_rows() {
        let end = start + run_length(ids, row, owners, start);
        let range = start..end;
        start = end;
        let id = id_text(ids.as_ref(), row);
        sample.offer(id.as_bytes(), || SampledCustomer {
            id: id.as_bytes().into(),
            behaviour: columns
                .iter()
                .map(|column| if column.is_valid(row) { column.value(row) as f32 } else { f32::NAN })
                .collect(),
            packages: range
                .clone()
                .filter(|at| weights.value(*at) > 0.0)
                .map(|at| (ranks.value(at) as u32, weights.value(at) as f32))
                .collect(),
            revenue: range.map(|at| minor.value(at)).sum(),
        });
    }
}

/// How many rows of `owners` from `start` on belong to customer `row` of `ids`; both are sorted.
pub fn run_length(ids: &ArrayRef, row: usize, owners: &ArrayRef, start: usize) -> usize {
    match (ids.as_primitive_opt::<Int64Type>(), owners.as_primitive_opt::<Int64Type>()) {
        (Some(ids), Some(owners)) => {
            let id = ids.value(row);
            owners.values()[start..].iter().take_while(|owner| **owner == id).count()
        }
        _ => {
            let (ids, owners) = (ids.as_string::<i32>(), owners.as_string::<i32>());
            let id = ids.value(row);
            (start..owners.len()).take_while(|at| owners.value(*at) == id).count()
        }
    }
}

/// A column of numbers as floats.
pub fn as_floats(batch: &RecordBatch, name: &str) -> Float64Array {
    match batch.column_by_name(name) {
        Some(column) => match arrow::compute::cast(column, &arrow::datatypes::DataType::Float64) {
            Ok(cast) => cast.as_primitive::<Float64Type>().clone(),
            Err(_) => Float64Array::new_null(batch.num_rows()),
        },
        None => Float64Array::new_null(batch.num_rows()),
    }
}

fn package_batch(
    packages: &[Package],
    tiers: &[Option<i64>],
    totals: &[PackageTotals],
    retired: &[bool],
    scale: f64,
) -> Result<RecordBatch, ArrowError> {
    let floats = |values: &mut dyn Iterator<Item = Option<f64>>| {
        Arc::new(values.collect::<Float64Array>()) as ArrayRef
    };
    let texts = |values: &mut dyn Iterator<Item = Option<&str>>| {
        Arc::new(values.collect::<StringArray>()) as ArrayRef
    };
    let last = totals.iter().map(|t| t.last.map(|micros| micros.div_euclid(MICROS_PER_DAY) as i32));
    RecordBatch::try_new(
        tables::PACKAGES.schema(tables::CustomerType::Text),
        vec![
            texts(&mut packages.iter().map(|p| Some(p.code.as_str()))),
            floats(&mut packages.iter().map(|p| p.price.map(|minor| minor as f64 / scale))),
            Arc::new(Int64Array::from(tiers.to_vec())),
            floats(&mut packages.iter().map(|p| p.quota_mb)),
            floats(&mut packages.iter().map(|p| p.max_speed_mbps)),
            floats(&mut packages.iter().map(|p| p.min_speed_mbps)),
            texts(&mut packages.iter().map(|p| p.service_type.as_deref())),
            texts(&mut packages.iter().map(|p| p.charging_type.as_deref())),
            floats(&mut packages.iter().map(|p| p.validity_days)),
            Arc::new(BooleanArray::from(retired.to_vec())),
            Arc::new(Int64Array::from_iter_values(totals.iter().map(|t| t.purchases))),
            Arc::new(Int64Array::from_iter_values(totals.iter().map(|t| t.customers as i64))),
            floats(&mut totals.iter().map(|t| Some(t.revenue as f64 / scale))),
            Arc::new(last.collect::<Date32Array>()),
        ],
    )
}
