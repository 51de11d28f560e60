//! The models' own test: fitted to the first part of a sample's time, compared with what the sample did in
//! the rest.

use super::Settings;
use super::ValueError;
use super::backtest::{Backtest, Forecast, Outcome, at_own_rate};
use super::fit::Models;
use super::models::{Horizon, PurchaseTuple, SpendRows, Tuples};
use super::purchases::{Line, PurchaseSummary, summarise};
use super::rfm::Lrfm;
use super::rfm::grid::Grid;
use super::rfm::profile::{SegmentTally, Validation};
use crate::numerics::histogram::Histogram;
use crate::transactions::cutoff::{SampledCustomers, SampledRow};

/// What came out of the test.
pub struct Holdout {
    /// Last day that the models knew, since 1970, and the days after it.
    pub end_day: i64,
    pub days: i64,
    pub customers: u64,
    pub backtest: Backtest,
    /// Whether the segments of recency and frequency told who would buy.
    pub segments: Option<Validation>,
    /// Why there is no test.
    pub note: Option<String>,
}

/// A customer who had bought by the end of the calibration.
struct Case {
    summary: PurchaseSummary,
    outcome: Outcome,
    /// In the last stretch as long as the holdout.
    before: Forecast,
}

/// Fits the models to what sampled customers did up to the middle of their time (or `holdout_days` before
/// its end) and compares. Memory: 120 bytes a sampled customer.
pub fn test(
    sampled: &SampledCustomers,
    as_of: i64,
    has_money: bool,
    scale: f64,
    grid: &Grid,
    settings: &Settings,
) -> Result<Holdout, ValueError> {
    let first = (0..sampled.len()).filter_map(|at| sampled.rows(at).first().map(SampledRow::day)).min();
    let span = first.map_or(0, |first| as_of - first + 1);
    let days = settings.holdout_days.map_or(span / 2, i64::from);
    let mut holdout = Holdout {
        end_day: as_of - days,
        days,
        customers: 0,
        backtest: Backtest::new(),
        segments: None,
        note: None,
    };
    if days < 1 || days >= span {
        holdout.note = Some(format!("{span} days of data leave nothing to hold out"));
        return Ok(holdout);
    }
    let cases: Vec<Case> =
        (0..sampled.len()).filter_map(|at| case(sampled.rows(at), &holdout, scale, settings)).collect();
    holdout.customers = cases.len() as u64;
    let models = fit(&cases, has_money, scale, settings)?;
    holdout.segments = segments(&cases, grid);
    let [(_, purchases), _] = &models.purchases;
    let purchases = match purchases {
        Ok(fit) => fit,
        Err(error) => {
            holdout.note = Some(error.to_string());
            return Ok(holdout);
        }
    };
    let periods = settings.period.of(as_of) - settings.period.of(holdout.end_day);
    let length = periods as f64;
    let horizon = Horizon::new(vec![length])?;
    for Case { summary, outcome, before } in &cases {
        let (x, t_x, t) = (summary.frequency, f64::from(summary.recency), f64::from(summary.age));
        let expected = horizon.expected(&purchases.model, x, t_x, t).first().copied().unwrap_or(0.0);
        let mean = summary.mean_value().map(|mean| mean / scale);
        let (counted, value) = mean.map_or((0, 0.0), |mean| (x, mean));
        let spend = models.spend.as_ref().ok().and_then(|fit| fit.model.expected_spend(counted, value).ok());
        let revenue = summary.behaviour.revenue as f64 / scale;
        let forecasts = [
            Forecast { purchases: expected, spend: expected * spend.unwrap_or(0.0) },
            Forecast {
                purchases: at_own_rate(f64::from(x), t, length),
                spend: at_own_rate(revenue, t, length),
            },
            *before,
        ];
        holdout.backtest.add(&forecasts, *outcome).map_err(ValueError::from)?;
    }
    Ok(holdout)
}

fn case(rows: &[SampledRow], holdout: &Holdout, scale: f64, settings: &Settings) -> Option<Case> {
    let known = rows.partition_point(|row| row.day() <= holdout.end_day);
    let line = |row: &SampledRow| Line { day: row.day(), amount: row.amount, is_purchase: row.is_purchase() };
    let summary = summarise(rows[..known].iter().map(line), settings.period, holdout.end_day)?;
    let early = holdout.end_day - holdout.days;
    let stretch = |rows: &[SampledRow], after: i64| {
        let (mut purchases, mut last, mut amount) = (0u32, settings.period.of(after), 0i64);
        for row in rows.iter().filter(|row| row.day() > after) {
            amount += row.amount;
            let own = settings.period.of(row.day());
            if row.is_purchase() && own > last {
                purchases += 1;
                last = own;
            }
        }
        (purchases, amount as f64 / scale)
    };
    let (purchases, spend) = stretch(&rows[known..], holdout.end_day);
    let (again, spent) = stretch(&rows[..known], early);
    Some(Case {
        summary,
        outcome: Outcome { purchases, spend },
        before: Forecast { purchases: f64::from(again), spend: spent },
    })
}

fn fit(cases: &[Case], has_money: bool, scale: f64, settings: &Settings) -> Result<Models, ValueError> {
    let tuple = |case: &Case| PurchaseTuple {
        x: case.summary.frequency,
        t_x: f64::from(case.summary.recency),
        t: f64::from(case.summary.age),
        customers: 1,
    };
    let tuples = Tuples::new(settings.period.unit(), cases.iter().map(tuple).collect())?;
    let spend =
        cases.iter().filter_map(|case| Some((case.summary.frequency, case.summary.mean_value()? / scale, 1)));
    Ok(Models::fit(&tuples, 1, &SpendRows::new(spend.collect())?, has_money, settings))
}

fn segments(cases: &[Case], grid: &Grid) -> Option<Validation> {
    let mut histograms = Lrfm::<Histogram>::default();
    cases.iter().for_each(|case| histograms.add(&case.summary.behaviour));
    let cuts = histograms.cuts()?;
    let mut tally = SegmentTally::new(grid.segments().len());
    for case in cases {
        let scores = cuts.scores(&case.summary.behaviour);
        let segment = grid.place(scores.recency, scores.frequency);
        tally.add(segment, &case.summary.behaviour, case.outcome.purchases > 0);
    }
    Some(tally.validate())
}
