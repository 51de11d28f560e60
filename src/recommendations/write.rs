//! Offers, shortfalls and neighbours of one part to Parquet, a bounded batch at a time.

use super::offers::Walk;
use super::reasons::{Reason, Source, Wording};
use super::score::Candidate;
use super::sentences::Sentences;
use super::signals::{Factor, Subject};
use crate::config::Config;
use crate::engine::columns::{Column, Lends};
use crate::engine::part::{PartError, PartFile, PartWriter, RunFolder};
use crate::features::Features;
use crate::features::bucket::dictionary;
use crate::neighbours::pool::Pool;
use crate::numerics::special::rounded;
use crate::policies::RuleInfo;
use crate::tables::{self, CustomerType, Table};
use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, DictionaryArray, Float64Builder, Int32Array, Int64Array,
    Int64Builder, RecordBatch, StringArray, StringBuilder, StringDictionaryBuilder, UInt32Array,
    UInt32Builder,
};
use arrow::compute::take;
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, Schema, SchemaRef, UInt32Type};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Rows of a batch, and up to a customer's more.
const BATCH: usize = 32_768;
/// Text columns of `recommendations` that repeat and travel as dictionaries.
const REPEATING: [&str; 5] = ["package_code", "because_of", "source", "held_out", "reason"];
/// Factors are published in steps of this, and their sum with them: few different values, small files.
const FACTOR_STEP: f64 = 1e-3;

/// Codes, prices and wording, shared by all writers.
pub struct Codes {
    names: ArrayRef,
    /// Texts of [`Source`], by its number.
    sources: ArrayRef,
    /// Currency units.
    prices: Vec<Option<f64>>,
    ln_prices: Vec<f32>,
    texts: Vec<String>,
}

impl Codes {
    /// `scale`: minor units of a currency unit.
    pub fn new(features: &Features, scale: f64) -> Self {
        Self {
            names: Arc::new(StringArray::from_iter_values(features.packages.iter().map(|p| p.code.as_str()))),
            sources: Arc::new(StringArray::from_iter_values(Source::ALL.map(Source::text))),
            prices: features.packages.iter().map(|p| p.price.map(|minor| minor as f64 / scale)).collect(),
            ln_prices: features
                .packages
                .iter()
                .map(|p| {
                    p.price.filter(|price| *price > 0).map_or(f32::NAN, |price| (price as f64).ln() as f32)
                })
                .collect(),
            texts: features.packages.iter().map(|p| p.code.clone()).collect(),
        }
    }
}

/// An offer with what its row needs besides.
pub struct Row<'a> {
    /// From 0.
    pub rank: usize,
    pub candidate: &'a Candidate,
    /// The probability.
    pub score: f64,
    pub factors: [f64; Factor::ALL.len()],
    /// ln of what policies multiply the odds by.
    pub boost: f64,
    pub source: Source,
    pub subject: &'a Subject<'a>,
    /// The own package that speaks for it.
    pub because_of: Option<u32>,
    /// Neighbours asked.
    pub consulted: usize,
    pub wording: Wording,
    /// The control group that keeps it back.
    pub held_out: Option<&'a str>,
}

/// The files of one part.
#[derive(Serialize, Deserialize)]
pub struct Written {
    pub offers: PartFile,
    pub shortfalls: Option<PartFile>,
    pub neighbours: Option<PartFile>,
}

impl Written {
    pub fn all(&self) -> impl Iterator<Item = &PartFile> {
        std::iter::once(&self.offers).chain(&self.shortfalls).chain(&self.neighbours)
    }
}

/// Writes one part. Memory: 32,768 rows and what the Parquet writer holds.
pub struct OfferWriter<'a> {
    codes: &'a Codes,
    folder: &'a RunFolder,
    number: usize,
    customer_type: CustomerType,
    top: usize,
    ids: Option<ArrayRef>,
    schema: SchemaRef,
    writer: PartWriter,
    rows: OfferRows,
    shortfalls: (UInt32Builder, Int64Builder, StringBuilder),
    shortfall_writer: Option<PartWriter>,
    publish_neighbours: bool,
    near: (UInt32Builder, Int64Builder, StringBuilder, Float64Builder),
    neighbour_writer: Option<PartWriter>,
}

/// Offers that are not written yet. Its memory is used again for the next part.
#[derive(Default)]
pub(super) struct OfferRows {
    customers: Column<UInt32Type>,
    ranks: Column<Int64Type>,
    packages: Column<Int32Type>,
    scores: Column<Float64Type>,
    prices: Column<Float64Type>,
    expected: Column<Float64Type>,
    is_new: BooleanBuilder,
    segments: Column<Int64Type>,
    sources: Column<Int32Type>,
    neighbours: Column<Int64Type>,
    consulted: Column<Int64Type>,
    because_of: Column<Int32Type>,
    utilities: Column<Float64Type>,
    factors: [Column<Float64Type>; Factor::ALL.len()],
    boosts: Column<Float64Type>,
    /// Of a customer's offers: their utility in steps.
    sums: Vec<f64>,
    held_out: StringDictionaryBuilder<Int32Type>,
    reasons: Sentences,
}

impl OfferRows {
    /// The columns of `recommendations` after the customer's.
    fn lend(&mut self, codes: &Codes) -> Result<Vec<ArrayRef>, ArrowError> {
        let text = |keys: Int32Array, values: &ArrayRef| -> Result<ArrayRef, ArrowError> {
            Ok(Arc::new(DictionaryArray::try_new(keys, values.clone())?))
        };
        let mut columns = vec![
            self.ranks.lend_any(),
            text(self.packages.lend(), &codes.names)?,
            self.scores.lend_any(),
            self.prices.lend_any(),
            self.expected.lend_any(),
            Arc::new(self.is_new.finish()),
            self.segments.lend_any(),
            text(self.sources.lend(), &codes.sources)?,
            self.neighbours.lend_any(),
            self.consulted.lend_any(),
            text(self.because_of.lend(), &codes.names)?,
            self.utilities.lend_any(),
        ];
        columns.extend(self.factors.iter_mut().map(Column::lend_any));
        columns.push(self.boosts.lend_any());
        columns.push(Arc::new(self.held_out.finish()));
        let (keys, words) = self.reasons.lend()?;
        columns.push(text(keys, &words)?);
        Ok(columns)
    }

    /// To be called when the batch is written and dropped.
    fn take_back(&mut self) {
        self.customers.take_back();
        self.reasons.take_back();
        for column in [&mut self.packages, &mut self.sources, &mut self.because_of] {
            column.take_back();
        }
        for column in [&mut self.ranks, &mut self.segments, &mut self.neighbours, &mut self.consulted] {
            column.take_back();
        }
        let money = [&mut self.prices, &mut self.expected];
        let scores = [&mut self.scores, &mut self.utilities, &mut self.boosts];
        money.into_iter().chain(scores).chain(&mut self.factors).for_each(Column::take_back);
    }
}

impl<'a> OfferWriter<'a> {
    pub fn create(
        folder: &'a RunFolder,
        number: usize,
        customer_type: CustomerType,
        codes: &'a Codes,
        config: &Config,
        rows: OfferRows,
    ) -> Result<Self, PartError> {
        let table = &tables::RECOMMENDATIONS;
        let schema = Arc::new(Schema::new(
            table
                .schema(customer_type)
                .fields()
                .iter()
                .map(|field| {
                    if REPEATING.contains(&field.name().as_str()) {
                        dictionary(field)
                    } else {
                        field.as_ref().clone()
                    }
                })
                .collect::<Vec<_>>(),
        ));
        Ok(Self {
            writer: PartWriter::create(folder, table.name, number, schema.clone())?,
            codes,
            folder,
            number,
            customer_type,
            top: config.recommendations.top,
            ids: None,
            schema,
            rows,
            shortfalls: Default::default(),
            shortfall_writer: None,
            publish_neighbours: config.neighbours.publish,
            near: Default::default(),
            neighbour_writer: None,
        })
    }

    /// Adds the offers of the customer at `customer` of `ids`, column by column.
    pub fn offers(
        &mut self,
        ids: &ArrayRef,
        customer: usize,
        offers: &[Row],
    ) -> Result<(), super::RecommendationError> {
        self.ids.get_or_insert_with(|| ids.clone());
        let (rows, codes) = (&mut self.rows, self.codes);
        let each = || offers.iter();
        let ln_price = |offer: &Row| codes.ln_prices[offer.candidate.package as usize];
        rows.reasons.expect(each().map(|offer| Reason::of(offer, ln_price(offer))));
        rows.customers.extend(each().map(|_| customer as u32));
        rows.ranks.extend(each().map(|offer| offer.rank as i64 + 1));
        rows.packages.extend(each().map(|offer| offer.candidate.package as i32));
        rows.scores.extend(each().map(|offer| offer.score));
        for offer in offers {
            let price = codes.prices[offer.candidate.package as usize];
            rows.prices.push_option(price);
            rows.expected.push_option(price.map(|price| price * offer.score));
        }
        for offer in offers {
            rows.is_new.append_value(offer.candidate.bought.is_none());
            rows.because_of.push_option(offer.because_of.map(|package| package as i32));
            rows.held_out.append_option(offer.held_out);
        }
        rows.segments.extend(each().map(|offer| i64::from(offer.subject.segment) + 1));
        rows.sources.extend(each().map(|offer| offer.source as i32));
        rows.neighbours.extend(each().map(|offer| i64::from(offer.candidate.neighbours)));
        rows.consulted.extend(each().map(|offer| offer.consulted as i64));
        rows.reasons.expect_words();
        let steps = |value: f64| rounded(value / FACTOR_STEP);
        let sums = &mut rows.sums;
        sums.clear();
        sums.extend(each().map(|offer| steps(offer.boost)));
        rows.boosts.extend(sums.iter().map(|sum| sum * FACTOR_STEP));
        for (factor, column) in rows.factors.iter_mut().enumerate() {
            column.extend(each().zip(&mut *sums).map(|(offer, sum)| {
                let steps = steps(offer.factors[factor]);
                *sum += steps;
                steps * FACTOR_STEP
            }));
        }
        rows.utilities.extend(sums.iter().map(|sum| sum * FACTOR_STEP));
        rows.reasons.push(|package| codes.texts[package as usize].as_str());
        if rows.ranks.len() >= BATCH {
            self.flush_offers()?;
        }
        Ok(())
    }

    /// Says why a customer has fewer offers than wanted.
    pub fn shortfall(
        &mut self,
        ids: &ArrayRef,
        customer: usize,
        walk: &Walk,
        infos: &[RuleInfo],
    ) -> Result<(), super::RecommendationError> {
        self.ids.get_or_insert_with(|| ids.clone());
        let mut reason = String::new();
        let mut refused: Vec<u16> = walk.refused.iter().map(|(_, rule)| *rule).collect();
        refused.sort_unstable();
        for same in refused.chunk_by(|a, b| a == b) {
            let rule = infos.get(same[0] as usize).map_or("a rule", |info| info.name.as_str());
            if !reason.is_empty() {
                reason.push_str(", ");
            }
            reason.push_str(&format!("{} by {rule}", same.len()));
        }
        let reason = if reason.is_empty() {
            "too few packages are sold".to_owned()
        } else {
            format!("candidates left out: {reason}")
        };
        let (customers, offers, reasons) = &mut self.shortfalls;
        customers.append_value(customer as u32);
        offers.append_value(walk.chosen.len() as i64);
        reasons.append_value(reason);
        if offers.len() >= BATCH {
            self.flush_shortfalls()?;
        }
        Ok(())
    }

    /// Adds the neighbours of a customer, if they are to be published.
    pub fn neighbours(
        &mut self,
        ids: &ArrayRef,
        customer: usize,
        pool: &Pool,
        (positions, squared): (&[u32], &[f32]),
    ) -> Result<(), super::RecommendationError> {
        if !self.publish_neighbours {
            return Ok(());
        }
        self.ids.get_or_insert_with(|| ids.clone());
        let (customers, ranks, neighbours, distances) = &mut self.near;
        for (rank, (position, squared)) in positions.iter().zip(squared).enumerate() {
            customers.append_value(customer as u32);
            ranks.append_value(rank as i64 + 1);
            neighbours.append_value(String::from_utf8_lossy(pool.id(*position)));
            distances.append_value(f64::from(*squared).sqrt());
        }
        if ranks.len() >= BATCH {
            self.flush_neighbours()?;
        }
        Ok(())
    }

    /// Ends the part. The rows are empty.
    pub fn finish(mut self) -> Result<(Written, OfferRows), super::RecommendationError> {
        self.flush_offers()?;
        self.flush_shortfalls()?;
        self.flush_neighbours()?;
        let written = Written {
            offers: self.writer.finish()?,
            shortfalls: self.shortfall_writer.map(PartWriter::finish).transpose()?,
            neighbours: self.neighbour_writer.map(PartWriter::finish).transpose()?,
        };
        Ok((written, self.rows))
    }

    fn ids_at(&self, customers: &UInt32Array) -> Result<ArrayRef, ArrowError> {
        match &self.ids {
            Some(ids) => take(ids, customers, None),
            None => Ok(arrow::array::new_empty_array(&self.customer_type.data_type())),
        }
    }

    fn flush_offers(&mut self) -> Result<(), super::RecommendationError> {
        if self.rows.ranks.is_empty() {
            return Ok(());
        }
        let customers = self.rows.customers.lend();
        let mut columns = vec![self.ids_at(&customers)?];
        columns.append(&mut self.rows.lend(self.codes)?);
        let batch = RecordBatch::try_new(self.schema.clone(), columns)?;
        self.writer.write(&batch)?;
        drop((batch, customers));
        self.rows.take_back();
        Ok(())
    }

    fn flush_shortfalls(&mut self) -> Result<(), super::RecommendationError> {
        let (mut customers, mut offers, mut reasons) = std::mem::take(&mut self.shortfalls);
        if offers.is_empty() {
            return Ok(());
        }
        let offers = offers.finish();
        let wanted = Int64Array::from(vec![self.top as i64; offers.len()]);
        let columns: Vec<ArrayRef> = vec![
            self.ids_at(&customers.finish())?,
            Arc::new(offers),
            Arc::new(wanted),
            Arc::new(reasons.finish()),
        ];
        let (folder, number) = (self.folder, self.number);
        let table = &tables::RECOMMENDATION_SHORTFALLS;
        append(&mut self.shortfall_writer, table, self.customer_type, folder, number, columns)
    }

    fn flush_neighbours(&mut self) -> Result<(), super::RecommendationError> {
        let (mut customers, mut ranks, mut neighbours, mut distances) = std::mem::take(&mut self.near);
        if ranks.is_empty() {
            return Ok(());
        }
        let texts: ArrayRef = Arc::new(neighbours.finish());
        let columns: Vec<ArrayRef> = vec![
            self.ids_at(&customers.finish())?,
            Arc::new(ranks.finish()),
            arrow::compute::cast(&texts, &self.customer_type.data_type())?,
            Arc::new(distances.finish()),
        ];
        let (folder, number) = (self.folder, self.number);
        let table = &tables::CUSTOMER_NEIGHBOURS;
        append(&mut self.neighbour_writer, table, self.customer_type, folder, number, columns)
    }
}

/// Appends to a table that has a part only if it has rows.
fn append(
    writer: &mut Option<PartWriter>,
    table: &Table,
    customer_type: CustomerType,
    folder: &RunFolder,
    number: usize,
    columns: Vec<ArrayRef>,
) -> Result<(), super::RecommendationError> {
    let schema = table.schema(customer_type);
    let batch = RecordBatch::try_new(schema.clone(), columns)?;
    let open = match writer {
        Some(open) => open,
        none => none.insert(PartWriter::create(folder, table.name, number, schema)?),
    };
    Ok(open.write(&batch)?)
}
