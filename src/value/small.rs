//! The small tables of customer value: models, backtest, scores, segments, tiers, matrices.

use super::backtest::{Method, Target};
use super::collect::Summaries;
use super::fit::Models;
use super::holdout::Holdout;
use super::moves::Moves;
use super::pass::Second;
use super::rfm::MEASURES;
use super::rfm::cuts::Score;
use super::{Settings, ValueError};
use crate::engine::part::PartError;
use crate::privacy::suppression::{Combination, Links};
use crate::segments::sweep_batch;
use crate::tables::{self, CustomerType, Table};
use arrow::array::{ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::error::ArrowError;
use std::sync::Arc;

/// Everything that was found, for the small tables.
pub(super) struct Found<'a> {
    pub models: &'a Models,
    pub holdout: &'a Holdout,
    pub second: &'a Second,
    pub summaries: &'a Summaries,
    pub moves: &'a Moves,
    pub settings: &'a Settings,
    pub scale: f64,
}

/// Rows to columns in the order of the contract.
struct Rows<'r, T>(&'r [T]);

impl<T> Rows<'_, T> {
    fn text<'t>(&'t self, of: impl Fn(&'t T) -> &'t str) -> ArrayRef {
        Arc::new(self.0.iter().map(|row| Some(of(row))).collect::<StringArray>())
    }

    fn maybe_text<'t>(&'t self, of: impl Fn(&'t T) -> Option<&'t str>) -> ArrayRef {
        Arc::new(self.0.iter().map(of).collect::<StringArray>())
    }

    fn integer(&self, of: impl Fn(&T) -> u64) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(
            self.0.iter().map(|row| i64::try_from(of(row)).unwrap_or(i64::MAX)),
        ))
    }

    fn maybe_integer(&self, of: impl Fn(&T) -> Option<i64>) -> ArrayRef {
        Arc::new(self.0.iter().map(of).collect::<Int64Array>())
    }

    fn float(&self, of: impl Fn(&T) -> f64) -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(self.0.iter().map(of)))
    }

    fn maybe(&self, of: impl Fn(&T) -> Option<f64>) -> ArrayRef {
        Arc::new(self.0.iter().map(|row| of(row).filter(|value| value.is_finite())).collect::<Float64Array>())
    }

    fn flag(&self, of: impl Fn(&T) -> bool) -> ArrayRef {
        Arc::new(self.0.iter().map(|row| Some(of(row))).collect::<BooleanArray>())
    }

    fn maybe_flag(&self, of: impl Fn(&T) -> Option<bool>) -> ArrayRef {
        Arc::new(self.0.iter().map(of).collect::<BooleanArray>())
    }
}

type Small = (&'static Table, RecordBatch);

impl Found<'_> {
    /// All small tables.
    pub fn tables(&self) -> Result<Vec<Small>, ValueError> {
        let mut tables = vec![
            self.models()?,
            self.backtest()?,
            self.calibration()?,
            self.scores()?,
            self.rfm_segments()?,
            self.migration()?,
            self.value_segments()?,
            (&tables::VALUE_SEGMENT_SWEEP, sweep(self.second)?),
            self.tiers()?,
        ];
        tables.extend(self.matrices()?);
        Ok(tables)
    }

    /// What ties these tables' groups together.
    pub fn links(&self) -> Links {
        let scores =
            Score::all().into_iter().flat_map(|recency| Score::all().map(|frequency| (recency, frequency)));
        let combinations = scores.map(|(recency, frequency)| Combination {
            recency: recency.get(),
            frequency: frequency.get(),
            segment: self.settings.grid.place(recency, frequency),
            customers: self.second.totals.scores[recency.index()][frequency.index()],
        });
        Links { combinations: combinations.collect(), hidden_before: self.moves.left_out.clone() }
    }

    fn models(&self) -> Result<Small, ValueError> {
        let rows = self.models.rows();
        let rows = Rows(&rows);
        let unit = self.settings.period.unit().name();
        small(
            &tables::VALUE_MODELS,
            vec![
                rows.text(|row| row.model),
                rows.maybe_text(|row| row.parameter),
                rows.maybe(|row| row.estimate),
                rows.maybe(|row| row.standard_error),
                rows.text(|_| unit),
                rows.maybe(|row| row.log_likelihood),
                rows.maybe(|row| row.gradient_norm),
                rows.maybe(|row| row.condition),
                rows.maybe_flag(|row| row.converged),
                rows.integer(|row| row.customers),
                rows.maybe_integer(|row| row.tuples.map(|tuples| tuples as i64)),
                rows.text(|row| &row.note),
            ],
        )
    }

    fn backtest(&self) -> Result<Small, ValueError> {
        let mut found = Vec::new();
        for target in Target::ALL {
            for method in Method::ALL {
                if let Some(figures) = self.holdout.backtest.figures(method, target) {
                    found.push((method, target, figures));
                }
            }
        }
        let rows = Rows(&found);
        let end = self.holdout.end_day as i32;
        small(
            &tables::VALUE_BACKTEST,
            vec![
                rows.text(|row| row.0.text()),
                rows.text(|row| row.1.text()),
                Arc::new(Date32Array::from(vec![end; found.len()])),
                rows.integer(|_| self.holdout.days.max(0) as u64),
                rows.integer(|row| row.2.customers),
                rows.float(|row| row.2.predicted),
                rows.float(|row| row.2.actual),
                rows.maybe(|row| row.2.bias_percent),
                rows.float(|row| row.2.mae),
                rows.float(|row| row.2.rmse),
                rows.maybe(|row| row.2.pearson),
                rows.maybe(|row| row.2.auc),
                rows.maybe(|row| row.2.recalibration.map(|one| one.factor)),
                rows.maybe(|row| row.2.recalibration.map(|one| one.rmse)),
            ],
        )
    }

    fn calibration(&self) -> Result<Small, ValueError> {
        let found: Vec<_> = Target::ALL
            .into_iter()
            .flat_map(|target| {
                let rows = self.holdout.backtest.calibration(Method::Model, target);
                rows.into_iter().map(move |row| (target, row))
            })
            .collect();
        let rows = Rows(&found);
        small(
            &tables::VALUE_CALIBRATION,
            vec![
                rows.text(|row| row.0.text()),
                rows.integer(|row| row.1.group as u64),
                rows.maybe(|row| row.1.above),
                rows.integer(|row| row.1.customers),
                rows.float(|row| row.1.mean_predicted),
                rows.float(|row| row.1.mean_actual),
                rows.maybe(|row| row.1.actual_share),
            ],
        )
    }

    fn scores(&self) -> Result<Small, ValueError> {
        let mut found = Vec::new();
        if let Some(cuts) = &self.second.cuts {
            for (measure, cuts) in MEASURES.into_iter().zip(cuts.all()) {
                // Money in currency units.
                let scale = if measure == "M" { self.scale } else { 1.0 };
                found.extend(cuts.bins().map(|bin| (measure, scale, bin)));
            }
        }
        let rows = Rows(&found);
        let all = self.second.totals.customers.max(1) as f64;
        small(
            &tables::RFM_SCORES,
            vec![
                rows.text(|row| row.0),
                rows.integer(|row| u64::from(row.2.score.get())),
                rows.maybe(|row| row.2.above.map(|value| value as f64 / row.1)),
                rows.maybe(|row| row.2.up_to.map(|value| value as f64 / row.1)),
                rows.integer(|row| row.2.customers),
                rows.float(|row| row.2.customers as f64 / all),
            ],
        )
    }

    fn rfm_segments(&self) -> Result<Small, ValueError> {
        let figures = self.second.grid.figures(self.scale);
        let found: Vec<_> = self.settings.grid.segments().iter().zip(&figures).collect();
        let rows = Rows(&found);
        small(
            &tables::RFM_SEGMENTS,
            vec![
                rows.integer(|row| row.1.segment as u64 + 1),
                rows.text(|row| &row.0.name),
                rows.integer(|row| row.1.customers),
                rows.float(|row| row.1.customer_share),
                rows.float(|row| row.1.revenue),
                rows.float(|row| row.1.revenue_share),
                rows.maybe(|row| row.1.mean.map(|mean| mean.recency_days)),
                rows.maybe(|row| row.1.mean.map(|mean| mean.purchases)),
                rows.maybe(|row| row.1.mean.map(|mean| mean.revenue)),
                rows.maybe(|row| row.1.mean.map(|mean| mean.length_days)),
                rows.text(|row| &row.0.action),
            ],
        )
    }

    fn migration(&self) -> Result<Small, ValueError> {
        let earlier = &self.moves.segments;
        let rows = Rows(&self.moves.rows);
        let later = self.settings.grid.segments();
        small(
            &tables::RFM_MIGRATION,
            vec![
                rows.maybe_text(|row| earlier.get(row.from?).map(String::as_str)),
                rows.maybe_text(|row| later.get(row.to?).map(|segment| segment.name.as_str())),
                rows.integer(|row| row.customers),
                rows.float(|row| row.share),
            ],
        )
    }

    fn value_segments(&self) -> Result<Small, ValueError> {
        let found = self.second.segments.profiles(&self.second.tally, self.scale)?;
        let rows = Rows(&found);
        small(
            &tables::VALUE_SEGMENTS,
            vec![
                rows.integer(|row| row.segment as u64),
                rows.integer(|row| row.customers),
                rows.float(|row| row.customer_share),
                rows.float(|row| row.revenue),
                rows.float(|row| row.revenue_share),
                rows.float(|row| row.value),
                rows.float(|row| row.value_share),
                rows.text(|row| &row.description),
            ],
        )
    }

    fn tiers(&self) -> Result<Small, ValueError> {
        let found = self.second.tiers.as_ref().map(|tiers| tiers.rows(self.scale)).unwrap_or_default();
        let rows = Rows(&found);
        small(
            &tables::VALUE_TIERS,
            vec![
                rows.text(|row| &row.name),
                rows.maybe(|row| row.above),
                rows.float(|row| row.share),
                rows.integer(|row| row.customers),
                rows.float(|row| row.customer_share),
                rows.float(|row| row.value),
                rows.float(|row| row.value_share),
            ],
        )
    }

    fn matrices(&self) -> Result<[Small; 2], ValueError> {
        let (mut quadrants, mut scenarios) = (Vec::new(), Vec::new());
        let all = self.settings.matrices.iter().zip(&self.second.quadrants);
        for (matrix, tally) in all.filter(|(_, tally)| tally.is_made()) {
            let rows = tally.rows(matrix, self.scale);
            scenarios
                .extend(self.settings.scenarios.rows(matrix, &rows).into_iter().map(|row| (matrix, row)));
            quadrants.extend(rows.into_iter().map(|row| (matrix, tally.limits(), row)));
        }
        let rows = Rows(&quadrants);
        let limit = |axis: usize| {
            rows.maybe(move |(matrix, limits, _)| Some(limits[axis]? as f64 / matrix.axes[axis].steps))
        };
        let figures = small(
            &tables::MATRICES,
            vec![
                rows.text(|row| &row.0.name),
                rows.text(|row| &row.2.name),
                rows.text(|row| &row.2.strategy),
                rows.text(|row| &row.0.axes[0].column),
                rows.flag(|row| row.2.high_x),
                limit(0),
                rows.text(|row| &row.0.axes[1].column),
                rows.flag(|row| row.2.high_y),
                limit(1),
                rows.integer(|row| row.2.customers),
                rows.float(|row| row.2.customer_share),
                rows.float(|row| row.2.revenue),
                rows.float(|row| row.2.revenue_share),
                rows.maybe(|row| row.2.revenue_at_stake),
                rows.integer(|row| row.2.missing[0]),
                rows.integer(|row| row.2.missing[1]),
            ],
        )?;
        let rows = Rows(&scenarios);
        let assumed = small(
            &tables::MATRIX_SCENARIOS,
            vec![
                rows.text(|row| &row.0.name),
                rows.text(|row| &row.1.quadrant),
                rows.text(|row| &row.1.strategy),
                rows.float(|row| row.1.conversion),
                rows.float(|row| row.1.uplift),
                rows.integer(|row| row.1.customers_converted),
                rows.float(|row| row.1.extra_revenue),
                rows.flag(|row| row.1.assumed),
            ],
        )?;
        Ok([figures, assumed])
    }
}

fn sweep(second: &Second) -> Result<RecordBatch, ArrowError> {
    let batch = sweep_batch(second.segments.sweep())?;
    RecordBatch::try_new(tables::VALUE_SEGMENT_SWEEP.schema(CustomerType::Text), batch.columns().to_vec())
}

fn small(table: &'static Table, columns: Vec<ArrayRef>) -> Result<Small, ValueError> {
    let batch = RecordBatch::try_new(table.schema(CustomerType::Text), columns);
    Ok((
        table,
        batch.map_err(|source| PartError::Write { path: table.name.to_owned(), source: source.into() })?,
    ))
}
