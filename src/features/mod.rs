//! Stage 2: buckets to `customer_features`, `customer_packages` and `packages`, and the bounded
//! summaries that models are fitted on.
//!
//! | file | does |
//! |---|---|
//! | [`bucket`] | what features are made from besides the rows |
//! | [`linear`] | a bucket in one reading |
//! | [`sql`] | a bucket through the queries: the definition and the reference |
//! | [`makers`] | the engine of the configuration, one a worker |
//! | [`totals`] | what was bought of each package |
//! | [`sampling`] | the sample of customers |
//! | `package_table` | the table `packages` |
//! | [`behaviour`], [`slots`] | which features describe behaviour; which values get a column |

pub mod behaviour;
pub mod bucket;
#[cfg(test)]
mod conformance;
pub mod linear;
pub mod makers;
mod package_table;
pub mod sampling;
pub mod slots;
pub mod sql;
pub mod totals;

use crate::config::Config;
use crate::engine::buckets::{BucketError, Gathered};
use crate::engine::part::{PartError, PartFile, PartWriter, RunFolder};
use crate::engine::scratch::Scratch;
use crate::engine::{Engine, workers};
use crate::numerics::sample::HashSample;
use crate::tables;
use crate::transactions::catalogue::{Package, price_tiers};
use crate::transactions::cutoff::{CustomerSampler, Cutoff};
use crate::transactions::quarantine::{QuarantineWriter, Rejected};
use crate::transactions::whole_customers::{Cleaned, Cleaner, WholeCustomers};
use crate::transactions::{InputError, Transactions};
use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use behaviour::BehaviourColumn;
use bucket::{BucketFailure, BucketTables, Context};
use makers::Maker;
pub use sampling::{as_floats, run_length};
use std::sync::Mutex;
use totals::Totals;
pub use totals::{PackageTotals, RECENT, recent_days};

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

/// Sees the whole customers of every unit on the way, up to the cut-off.
pub trait Observer: Sync {
    /// Called once for each unit with customers, from any thread; its parts have this number.
    fn unit(&self, number: usize, whole: &WholeCustomers) -> Result<(), FeatureError>;
}

/// What features are made of, up to a cut-off.
pub struct Source<'a> {
    pub units: Units,
    /// Rows of every channel up to the cut-off, by rank.
    pub channel_rows: &'a [u64],
    /// Takes in whole customers on the way, with what they did after the cut-off.
    pub sampler: Option<Mutex<CustomerSampler>>,
    pub observer: Option<&'a dyn Observer>,
    /// Customers in the sample that models are fitted on; none where no models follow.
    pub sample: usize,
}

impl<'a> Source<'a> {
    /// Customers that nobody looks at on the way.
    pub fn of(units: Units, channel_rows: &'a [u64], sample: usize) -> Self {
        Self { units, channel_rows, sampler: None, observer: None, sample }
    }
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

    /// Puts a unit, sorted and cleaned, in the place of what `whole` held; false if it was taken before.
    fn take(
        &self,
        number: usize,
        transactions: &Transactions,
        rejected: &mut Rejected,
        buffers: &mut Buffers,
    ) -> Result<bool, BucketError> {
        match self {
            Self::Buckets => transactions.buckets.take_into(number, &mut buffers.bucket)?,
            Self::BucketsAgain => transactions.buckets.read_into(number, &mut buffers.bucket)?,
            Self::Customers(units) => {
                let unit = units[number].lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
                return Ok(unit.map(|unit| buffers.whole = unit).is_some());
            }
        }
        buffers.cleaner.clean(&buffers.bucket, transactions, rejected, &mut buffers.whole);
        Ok(true)
    }
}

/// What a worker keeps from one unit to the next, so that memory is taken once.
struct Buffers {
    bucket: Gathered,
    cleaner: Cleaner,
    whole: WholeCustomers,
}

/// Features of the whole base: the published files in the order of customers, and the summaries.
pub struct Features {
    /// One part a bucket; the parts of both tables hold the same customers.
    pub parts: Vec<FeatureParts>,
    /// Of `customer_features`, which is open-ended.
    pub schema: arrow::datatypes::SchemaRef,
    /// The table `packages`.
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

/// One worker: its engine, its memory, and what it has made.
struct Worker<'a> {
    maker: Maker<'a>,
    buffers: Buffers,
    totals: Totals,
    parts: Vec<(usize, FeatureParts)>,
    cleaned: Cleaned,
    customers: u64,
    customer_packages: u64,
}

/// Makes the features of every unit from what happened up to the cut-off. Memory: a unit and one row
/// group of each table for each thread, and the samples.
pub fn build(
    transactions: &Transactions,
    source: &Source,
    cutoff: Cutoff,
    config: &Config,
    engine: &Engine,
    scratch: &Scratch,
    folder: &RunFolder,
) -> Result<Features, FeatureError> {
    let context = Context::new(transactions, source.channel_rows, cutoff, &config.features);
    let behaviour = behaviour::columns(&context);
    let none_bought =
        Totals::new(transactions.packages.len(), cutoff.day(), config.recommendations.window_days);
    let sample = Mutex::new(HashSample::new(source.sample, config.seed));
    let late = QuarantineWriter::new(folder, 1);
    let start = || {
        Ok(Worker {
            maker: Maker::new(config.features.engine, &context, engine, scratch)?,
            buffers: Buffers {
                bucket: Gathered::default(),
                cleaner: Cleaner::default(),
                whole: WholeCustomers::empty(),
            },
            totals: none_bought.clone(),
            parts: Vec::new(),
            cleaned: Cleaned::default(),
            customers: 0,
            customer_packages: 0,
        })
    };
    let work = |worker: &mut Worker, number: usize| -> Result<(), FeatureError> {
        let mut rejected = Rejected::new(None, 0);
        let is_here = source.units.take(number, transactions, &mut rejected, &mut worker.buffers)?;
        late.finish_unit(number, &mut rejected)?;
        if !is_here {
            return Ok(());
        }
        let whole = std::mem::replace(&mut worker.buffers.whole, WholeCustomers::empty());
        let read = whole.len() as u64 + whole.cleaned.removed();
        worker.cleaned.merge(whole.cleaned);
        if let Some(sampler) = &source.sampler {
            whole.offer_to(sampler);
        }
        let whole = whole.until(cutoff);
        if !whole.is_empty() {
            if let Some(observer) = source.observer {
                observer.unit(number, &whole)?;
            }
            let sample = (source.sample > 0).then_some(&sample);
            worker.make(&whole, number, folder, &context, &behaviour, sample)?;
        }
        worker.buffers.whole = whole;
        engine.progress.advance(read);
        Ok(())
    };
    let states = workers::for_each(
        engine.threads,
        source.units.count(transactions),
        || start().map_err(Some),
        |state, number| match state {
            Ok(worker) => work(worker, number).inspect_err(|_| late.stop()),
            Err(error) => {
                late.stop();
                Err(error.take().unwrap_or(FeatureError::Input(InputError::NoValidRows { rows: 0 })))
            }
        },
    )?;

    let (mut totals, mut parts, mut cleaned) = (none_bought.clone(), Vec::new(), Cleaned::default());
    let (mut customers, mut customer_packages) = (0, 0);
    for mut worker in states.into_iter().flatten() {
        totals.merge(&worker.totals);
        parts.append(&mut worker.parts);
        cleaned.merge(worker.cleaned);
        customers += worker.customers;
        customer_packages += worker.customer_packages;
    }
    parts.sort_by_key(|(number, _)| *number);
    if customers == 0 {
        return Err(InputError::NoValidRows { rows: transactions.counts.rows }.into());
    }
    let package_totals = totals.into_packages();
    let packages = package_table::priced(&transactions.packages, &package_totals, transactions.has_money);
    let price_tiers = price_tiers(&packages);
    let unsold = config.recommendations.retired_after_days;
    let retired = package_table::retired(&packages, &package_totals, unsold, cutoff.day());
    let table = package_table::batch(&packages, &price_tiers, &package_totals, &retired, transactions.scale)?;
    let sample = sample.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(Features {
        parts: parts.into_iter().map(|(_, parts)| parts).collect(),
        schema: context.published_features(),
        package_batch: table,
        late_quarantine: late.finish()?,
        behaviour,
        sample: sample.into_sorted().into_iter().map(|sampled| sampled.payload).collect(),
        packages,
        price_tiers,
        purchases: package_totals.iter().map(|totals| totals.purchases).sum(),
        revenue: package_totals.iter().map(|totals| totals.revenue).sum(),
        package_totals,
        retired,
        cleaned,
        customers,
        customer_packages,
        customer_type: transactions.customer_type,
        as_of_day: cutoff.day(),
    })
}

impl Worker<'_> {
    /// Makes, writes and samples the tables of one unit.
    fn make(
        &mut self,
        whole: &WholeCustomers,
        number: usize,
        folder: &RunFolder,
        context: &Context,
        behaviour: &[BehaviourColumn],
        sample: Option<&Mutex<HashSample<SampledCustomer>>>,
    ) -> Result<(), FeatureError> {
        let (features, packages) = (context.features_schema(), context.packages_schema());
        let mut features = PartWriter::create(folder, tables::CUSTOMER_FEATURES.name, number, features)?;
        let mut packages = PartWriter::create(folder, tables::CUSTOMER_PACKAGES.name, number, packages)?;
        let (customers, customer_packages) = (&mut self.customers, &mut self.customer_packages);
        let mut sink = |tables: &BucketTables| -> Result<(), MakeError> {
            features.write(&tables.features)?;
            packages.write(&tables.packages)?;
            *customers += tables.features.num_rows() as u64;
            *customer_packages += tables.packages.num_rows() as u64;
            if let Some(sample) = sample {
                sampling::offer(tables, behaviour, sample);
            }
            Ok(())
        };
        self.maker.make(whole, &mut self.totals, &mut sink).map_err(|error| match error {
            MakeError::Bucket(source) => FeatureError::Features { bucket: number, source: Box::new(source) },
            MakeError::Part(source) => FeatureError::Part(source),
        })?;
        let parts = FeatureParts { features: features.finish()?, packages: packages.finish()? };
        self.parts.push((number, parts));
        Ok(())
    }
}

/// Why a unit's tables could not be made or written.
enum MakeError {
    Bucket(BucketFailure),
    Part(PartError),
}

impl From<BucketFailure> for MakeError {
    fn from(failure: BucketFailure) -> Self {
        Self::Bucket(failure)
    }
}

impl From<PartError> for MakeError {
    fn from(error: PartError) -> Self {
        Self::Part(error)
    }
}
