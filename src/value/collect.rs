//! Purchase summaries of everybody, made while features are, and the bounded sums that models and scores
//! are fitted on.

use super::ValueError;
use super::models::{SpendRows, Tuples};
use super::purchases::{Line, Period, PurchaseSummary, summarise};
use super::rfm::Lrfm;
use super::tuples::TupleCounts;
use crate::engine::part::{PartError, PartFile, PartWriter, RunFolder, id_bytes};
use crate::features::{FeatureError, Observer};
use crate::numerics::histogram::Histogram;
use crate::numerics::sample::HashSample;
use crate::tables::{CustomerType, PURCHASE_SUMMARY};
use crate::transactions::times::DAY;
use crate::transactions::whole_customers::{WholeCustomers, id_hashes};
use arrow::array::{Array, ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::error::ArrowError;
use std::sync::{Arc, Mutex, PoisonError};

/// Distinct tuples that are kept exactly; beyond it a part of the customers stands for all.
const MOST_TUPLES: usize = 400_000;
/// Seed of the hashes that decide which customers stand for all.
const PART_SEED: u64 = 0x7475_706c;

/// Sums up customers on the way. Memory: one summary a customer of the unit for each thread, 48 bytes a
/// distinct tuple (400,000 at the most), 80 bytes a customer of the spend sample, four histograms.
pub struct Collector<'a> {
    period: Period,
    as_of_day: i64,
    scale: f64,
    customer_type: CustomerType,
    folder: &'a RunFolder,
    sums: Mutex<Sums>,
}

struct Sums {
    parts: Vec<(usize, PartFile)>,
    tuples: TupleCounts,
    spend: HashSample<(u32, f64)>,
    behaviour: Lrfm<Histogram>,
    buyers: u64,
    repeaters: u64,
    with_spend: u64,
}

/// What the base is like.
pub struct Summaries {
    /// Of `purchase_summary`, one for each part of the features, of the same customers.
    pub parts: Vec<PartFile>,
    /// Of all customers, or of one in `one_in`.
    pub tuples: Tuples,
    pub one_in: u64,
    /// Repeat purchases and their mean value in currency units, of those who have any.
    pub spend: SpendRows,
    pub behaviour: Lrfm<Histogram>,
    /// Customers with a purchase, with a repeat purchase, and with money left in it.
    pub buyers: u64,
    pub repeaters: u64,
    pub with_spend: u64,
}

impl<'a> Collector<'a> {
    /// `sample`: customers of the spend model at the most; `scale`: minor units of a currency unit.
    pub fn new(
        period: Period,
        as_of_day: i64,
        (scale, customer_type): (f64, CustomerType),
        (sample, seed): (usize, u64),
        folder: &'a RunFolder,
    ) -> Self {
        let sums = Sums {
            parts: Vec::new(),
            tuples: TupleCounts::new(MOST_TUPLES),
            spend: HashSample::new(sample, seed),
            behaviour: Lrfm::default(),
            buyers: 0,
            repeaters: 0,
            with_spend: 0,
        };
        Self { period, as_of_day, scale, customer_type, folder, sums: Mutex::new(sums) }
    }

    /// What has been collected.
    pub fn finish(self) -> Result<Summaries, ValueError> {
        let mut sums = self.sums.into_inner().unwrap_or_else(PoisonError::into_inner);
        sums.parts.sort_by_key(|(number, _)| *number);
        let spend = sums.spend.into_sorted().into_iter().map(|customer| customer.payload);
        let spend = spend.map(|(x, mean)| (x, mean, 1)).collect();
        Ok(Summaries {
            parts: sums.parts.into_iter().map(|(_, part)| part).collect(),
            one_in: sums.tuples.one_in(),
            tuples: sums.tuples.tuples(self.period.unit())?,
            spend: SpendRows::new(spend)?,
            behaviour: sums.behaviour,
            buyers: sums.buyers,
            repeaters: sums.repeaters,
            with_spend: sums.with_spend,
        })
    }

    fn write(
        &self,
        number: usize,
        ids: &ArrayRef,
        all: &[Option<PurchaseSummary>],
    ) -> Result<PartFile, PartError> {
        let schema = PURCHASE_SUMMARY.schema(self.customer_type);
        let mut writer = PartWriter::create(self.folder, PURCHASE_SUMMARY.name, number, schema.clone())?;
        let batch = batch(ids, all, self.period, self.scale)
            .and_then(|columns| RecordBatch::try_new(schema, columns));
        let batch = batch.map_err(|source| PartError::Write {
            path: PURCHASE_SUMMARY.name.to_owned(),
            source: source.into(),
        })?;
        writer.write(&batch)?;
        writer.finish()
    }
}

fn batch(
    ids: &ArrayRef,
    all: &[Option<PurchaseSummary>],
    period: Period,
    scale: f64,
) -> Result<Vec<ArrayRef>, ArrowError> {
    let dates = |of: fn(&PurchaseSummary) -> i64| {
        Arc::new(all.iter().map(|one| one.as_ref().map(|one| of(one) as i32)).collect::<Date32Array>())
            as ArrayRef
    };
    let integers = |of: fn(&PurchaseSummary) -> i64| {
        Arc::new(all.iter().map(|one| one.as_ref().map(of)).collect::<Int64Array>()) as ArrayRef
    };
    let floats = |of: &dyn Fn(&PurchaseSummary) -> Option<f64>| {
        Arc::new(all.iter().map(|one| one.as_ref().and_then(of)).collect::<Float64Array>()) as ArrayRef
    };
    let unit = period.unit().name();
    Ok(vec![
        ids.clone(),
        dates(|one| one.first_day),
        dates(|one| one.last_day),
        integers(|one| i64::from(one.frequency)),
        integers(|one| i64::from(one.recency)),
        integers(|one| i64::from(one.age)),
        floats(&|one| one.mean_value().map(|mean| mean / scale)),
        integers(|one| one.behaviour.purchases),
        floats(&|one| Some(one.behaviour.revenue as f64 / scale)),
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(unit, all.len()))),
    ])
}

impl Observer for Collector<'_> {
    fn unit(&self, number: usize, whole: &WholeCustomers) -> Result<(), FeatureError> {
        let mut all = vec![None; whole.ids.len()];
        for (customer, rows) in whole.stretches() {
            let lines = rows.map(|at| Line {
                day: i64::from(whole.seconds[at]) / DAY,
                amount: whole.amounts[at],
                is_purchase: whole.amounts[at] >= 0 && whole.quantities[at] >= 0.0,
            });
            all[customer] = summarise(lines, self.period, self.as_of_day);
        }
        let part = self.write(number, &whole.ids, &all)?;
        let hashes = id_hashes(whole.ids.as_ref(), PART_SEED);
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.parts.push((number, part));
        for (customer, (summary, hash)) in all.iter().zip(hashes).enumerate() {
            let Some(summary) = summary else { continue };
            sums.buyers += 1;
            sums.repeaters += u64::from(summary.frequency > 0);
            sums.tuples.add(hash, summary);
            sums.behaviour.add(&summary.behaviour);
            if let Some(mean) = summary.mean_value() {
                sums.with_spend += 1;
                let id = id_bytes(whole.ids.as_ref(), customer);
                sums.spend.offer(&id, || (summary.frequency, mean / self.scale));
            }
        }
        Ok(())
    }
}
