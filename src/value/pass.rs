//! Everybody through models and scores: a first pass for the distributions that cut points are taken from,
//! a second one that writes.

use super::collect::Summaries;
use super::matrices::Matrix;
use super::matrices::tally::QuadrantTally;
use super::rfm::cuts::{Cuts, SCORES};
use super::rfm::profile::SegmentTally;
use super::rfm::{Behaviour, Lrfm};
use super::scorer::{Known, Scorer, Worth};
use super::segments::{ValueSegments, ValueTally, values};
use super::tiers::Tiers;
use super::write::{ValueWriter, value_schema};
use super::{Settings, ValueError};
use crate::config::Config;
use crate::engine::part::{PartFile, PartReader, RunFolder, id_bytes};
use crate::engine::{Engine, workers};
use crate::features::{Features, SampledCustomer, as_floats};
use crate::numerics::histogram::Histogram;
use crate::numerics::sample::HashSample;
use crate::segments::read_all;
use arrow::array::{Array, ArrayRef, AsArray, Date32Array, Float64Array, Int64Array};
use arrow::datatypes::{Date32Type, Float64Type, Int64Type, SchemaRef};

/// Purchases of so many days before the end of the data count as lately.
const LATELY: i64 = 30;

/// What both passes go by.
pub(super) struct Base<'a> {
    pub features: &'a Features,
    /// Of `purchase_summary`.
    pub parts: &'a [PartFile],
    /// None without a purchase model.
    pub scorer: Option<Scorer>,
    pub config: &'a Config,
    pub settings: &'a Settings,
    pub engine: &'a Engine,
    pub folder: &'a RunFolder,
}

/// Distributions over the base.
pub(super) struct First {
    /// In minor units.
    values: Histogram,
    /// By matrix, x and y.
    axes: Vec<[Histogram; 2]>,
    segments: ValueSegments,
}

/// What was written, and sums over the base.
pub(super) struct Second {
    pub rfm: Vec<PartFile>,
    pub values: Vec<PartFile>,
    pub schema: SchemaRef,
    pub cuts: Option<Lrfm<Cuts>>,
    pub grid: SegmentTally,
    pub quadrants: Vec<QuadrantTally>,
    pub tiers: Option<Tiers>,
    pub segments: ValueSegments,
    pub tally: ValueTally,
    pub totals: Totals,
}

/// Sums over everybody, in steps that do not depend on the order.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    pub customers: u64,
    /// In 65,536ths.
    pub alive: i64,
    /// Expected purchases in the months of [`super::scorer::MONTHS`], in 65,536ths.
    pub purchases: [i64; 4],
    /// Minor units.
    pub value: i64,
    pub valued: u64,
    /// Customers by their scores of recency and frequency, from 0.
    pub scores: [[u64; SCORES]; SCORES],
}

pub(super) const STEPS: f64 = 65_536.0;

/// One part of the base, side by side.
struct Part {
    ids: ArrayRef,
    first: Date32Array,
    last: Date32Array,
    frequency: Int64Array,
    recency: Int64Array,
    age: Int64Array,
    mean: Float64Array,
    purchases: Int64Array,
    revenue: Float64Array,
    /// By matrix, x and y.
    axes: Vec<[Float64Array; 2]>,
}

/// One customer who has bought.
pub(super) struct Row<'a> {
    pub at: usize,
    pub behaviour: Behaviour,
    pub worth: Option<Worth>,
    /// Minor units.
    pub value: Option<i64>,
    /// By matrix, x and y, in steps.
    pub axes: &'a [[Option<i64>; 2]],
}

impl Base<'_> {
    fn read(&self, number: usize) -> Result<Part, ValueError> {
        let runtime = self.engine.runtime.handle();
        let columns = [
            "customer_id",
            "first_purchase",
            "last_purchase",
            "frequency",
            "recency",
            "age",
            "mean_value",
            "purchase_days",
            "revenue",
        ];
        let batch = read_all(PartReader::open(self.folder, &self.parts[number], &columns, runtime)?)?;
        let matrices = &self.settings.matrices;
        let mut names: Vec<&str> =
            matrices.iter().flat_map(|matrix| &matrix.axes).map(|axis| axis.column.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let part = &self.features.parts[number].features;
        let features = read_all(PartReader::open(self.folder, part, &names, runtime)?)?;
        let integers = |at: usize| batch.column(at).as_primitive::<Int64Type>().clone();
        let dates = |at: usize| batch.column(at).as_primitive::<Date32Type>().clone();
        let floats = |at: usize| batch.column(at).as_primitive::<Float64Type>().clone();
        let axes = |matrix: &Matrix| [0, 1].map(|axis| as_floats(&features, &matrix.axes[axis].column));
        Ok(Part {
            ids: batch.column(0).clone(),
            first: dates(1),
            last: dates(2),
            frequency: integers(3),
            recency: integers(4),
            age: integers(5),
            mean: floats(6),
            purchases: integers(7),
            revenue: floats(8),
            axes: matrices.iter().map(axes).collect(),
        })
    }

    /// Calls `each` for every customer of a part who has bought.
    fn visit(
        &self,
        part: &Part,
        known: &mut Known,
        mut each: impl FnMut(Row) -> Result<(), ValueError>,
    ) -> Result<(), ValueError> {
        let scale = self.config.money.scale();
        let has = |array: &Float64Array, at: usize| array.is_valid(at).then(|| array.value(at));
        let mut axes = Vec::with_capacity(part.axes.len());
        for at in (0..part.ids.len()).filter(|at| part.frequency.is_valid(*at)) {
            let behaviour = Behaviour {
                recency_days: self.features.as_of_day - i64::from(part.last.value(at)),
                purchases: part.purchases.value(at),
                revenue: (part.revenue.value(at) * scale).round() as i64,
                length_days: i64::from(part.last.value(at)) - i64::from(part.first.value(at)),
            };
            let worth = self.scorer.as_ref().map(|scorer| {
                let [x, t_x, t] =
                    [&part.frequency, &part.recency, &part.age].map(|column| column.value(at) as u32);
                scorer.worth(x, t_x, t, has(&part.mean, at), known)
            });
            axes.clear();
            axes.extend(self.settings.matrices.iter().zip(&part.axes).map(|(matrix, columns)| {
                [0, 1].map(|axis| matrix.axes[axis].quantise(has(&columns[axis], at)))
            }));
            let value = worth.and_then(|worth| worth.value()).map(|value| (value * scale).round() as i64);
            each(Row { at, behaviour, worth, value, axes: &axes })?;
        }
        Ok(())
    }

    /// Finds the distributions, and fits the value segments on a sample.
    pub fn first(&self) -> Result<First, ValueError> {
        let (config, scale) = (self.config, self.config.money.scale());
        let none =
            || (Histogram::new(), vec![[Histogram::new(), Histogram::new()]; self.settings.matrices.len()]);
        let states = workers::for_each(
            self.engine.threads,
            self.parts.len(),
            || (none(), HashSample::new(config.segments.sample, config.seed), Known::default(), 0u64),
            |((worths, axes), sample, known, customers), number| -> Result<(), ValueError> {
                let part = self.read(number)?;
                self.visit(&part, known, |row| {
                    *customers += 1;
                    if let Some(value) = row.value {
                        worths.add(value, 1);
                    }
                    for (histograms, values) in axes.iter_mut().zip(row.axes) {
                        for (histogram, value) in histograms.iter_mut().zip(values) {
                            value.iter().for_each(|value| histogram.add(*value, 1));
                        }
                    }
                    let id = id_bytes(part.ids.as_ref(), row.at);
                    sample.offer(&id, || SampledCustomer {
                        id: id.as_ref().into(),
                        behaviour: values(&row.behaviour, money(row.value, scale), scale).into(),
                        packages: Box::default(),
                        revenue: row.behaviour.revenue,
                    });
                    Ok(())
                })?;
                self.engine.progress.advance(part.ids.len() as u64 / 2);
                Ok(())
            },
        )?;
        let ((mut values, mut axes), mut customers) = (none(), 0);
        let mut sample = HashSample::new(config.segments.sample, config.seed);
        for ((own_values, own_axes), own_sample, _, own) in states {
            sample.merge(own_sample)?;
            values.merge(&own_values);
            for (mine, theirs) in axes.iter_mut().flatten().zip(own_axes.iter().flatten()) {
                mine.merge(theirs);
            }
            customers += own;
        }
        let sample: Vec<SampledCustomer> =
            sample.into_sorted().into_iter().map(|sampled| sampled.payload).collect();
        let segments = ValueSegments::fit(
            &sample,
            customers,
            &config.segments,
            config.seed,
            self.engine.threads,
            |_| (),
        )?;
        Ok(First { values, axes, segments })
    }

    /// Writes the tables by customer and counts.
    pub fn second(&self, first: First, summaries: &Summaries) -> Result<Second, ValueError> {
        let settings = self.settings;
        let scale = self.config.money.scale();
        let cuts = summaries.behaviour.cuts();
        let limits = settings.matrices.iter().zip(&first.axes).map(|(matrix, axes)| {
            QuadrantTally::new([matrix.axes[0].limit(&axes[0]), matrix.axes[1].limit(&axes[1])])
        });
        let none = (
            SegmentTally::new(settings.grid.segments().len()),
            limits.collect::<Vec<_>>(),
            (first.values.count() > 0).then(|| Tiers::new(&settings.tiers, &first.values)).transpose()?,
            first.segments.tally(),
            Totals::default(),
        );
        let schema = value_schema(self.features.customer_type, settings);
        let states = workers::for_each(
            self.engine.threads,
            self.parts.len(),
            || (none.clone(), Known::default(), Vec::new()),
            |((grid, quadrants, tiers, tally, totals), known, written), number| -> Result<(), ValueError> {
                let part = self.read(number)?;
                let mut writer = ValueWriter::new(settings, &schema, self.features.customer_type);
                let (mut scaled, mut distances) = (Vec::new(), Vec::new());
                self.visit(&part, known, |row| {
                    totals.add(&row);
                    let scores = cuts.as_ref().map(|cuts| cuts.scores(&row.behaviour));
                    let segment = scores.map(|scores| settings.grid.place(scores.recency, scores.frequency));
                    if let Some(scores) = scores {
                        totals.scores[scores.recency.index()][scores.frequency.index()] += 1;
                    }
                    if let Some(segment) = segment {
                        grid.add(segment, &row.behaviour, row.behaviour.recency_days < LATELY);
                    }
                    let corners: Vec<Option<usize>> = quadrants
                        .iter_mut()
                        .zip(row.axes)
                        .map(|(tally, values)| tally.add(*values, row.behaviour.revenue))
                        .collect();
                    let tier = row.value.zip(tiers.as_mut()).map(|(value, tiers)| tiers.add(value));
                    let of = values(&row.behaviour, money(row.value, scale), scale);
                    let place = first.segments.place(of, &mut scaled, &mut distances)?;
                    tally.add(place.segment, &scaled, row.behaviour.revenue, row.value.unwrap_or(0));
                    writer.add(&row, scores.zip(segment), &corners, tier, place.segment);
                    Ok(())
                })?;
                written.push((number, writer.finish(self.folder, number, &part.ids)?));
                self.engine.progress.advance(part.ids.len() as u64 / 2);
                Ok(())
            },
        )?;
        let ((mut grid, mut quadrants, mut tiers, mut tally, mut totals), mut parts) = (none, Vec::new());
        for ((own_grid, own_quadrants, own_tiers, own_tally, own_totals), _, mut written) in states {
            grid.merge(&own_grid);
            quadrants.iter_mut().zip(&own_quadrants).for_each(|(mine, theirs)| mine.merge(theirs));
            if let (Some(mine), Some(theirs)) = (&mut tiers, &own_tiers) {
                mine.merge(theirs);
            }
            tally.merge(&own_tally);
            totals.merge(&own_totals);
            parts.append(&mut written);
        }
        parts.sort_by_key(|(number, _)| *number);
        let (rfm, values) = parts.into_iter().map(|(_, files)| files).unzip();
        Ok(Second {
            rfm,
            values,
            schema,
            cuts,
            grid,
            quadrants,
            tiers,
            segments: first.segments,
            tally,
            totals,
        })
    }
}

fn money(minor: Option<i64>, scale: f64) -> Option<f64> {
    minor.map(|minor| minor as f64 / scale)
}

impl Totals {
    fn add(&mut self, row: &Row) {
        self.customers += 1;
        if let Some(worth) = &row.worth {
            self.alive += (worth.alive * STEPS).round() as i64;
            for (sum, each) in self.purchases.iter_mut().zip(worth.purchases) {
                *sum += (each * STEPS).round() as i64;
            }
        }
        if let Some(value) = row.value {
            self.value += value;
            self.valued += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.customers += other.customers;
        self.alive += other.alive;
        self.purchases.iter_mut().zip(other.purchases).for_each(|(mine, theirs)| *mine += theirs);
        self.value += other.value;
        self.valued += other.valued;
        for (mine, theirs) in self.scores.iter_mut().flatten().zip(other.scores.iter().flatten()) {
            *mine += theirs;
        }
    }
}
