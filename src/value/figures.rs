//! What was found as figures for manifest and summary.

use super::backtest::{Method, Target};
use super::pass::STEPS;
use super::report::{ModelFigures, SegmentLine, TierLine, ValueFigures};
use super::small::Found;
use crate::transactions::times::date_of;

impl Found<'_> {
    /// The figures for manifest and summary.
    pub fn figures(&self) -> ValueFigures {
        let totals = &self.second.totals;
        let sum = |steps: i64| steps as f64 / STEPS;
        let [(dropout, fit), _] = &self.models.purchases;
        let has_model = fit.is_ok();
        let backtest = |target| self.holdout.backtest.figures(Method::Model, target);
        ValueFigures {
            model: dropout.name().to_owned(),
            time_unit: self.settings.period.unit().name().to_owned(),
            months: self.settings.months,
            monthly_discount: self.settings.discount,
            customers: totals.customers,
            repeat_customers: self.summaries.repeaters,
            alive: has_model.then(|| sum(totals.alive)),
            expected_purchases: has_model.then(|| totals.purchases.map(sum)),
            value: (totals.valued > 0).then(|| totals.value as f64 / self.scale),
            parameters: self
                .models
                .rows()
                .into_iter()
                .filter_map(|row| {
                    let (parameter, estimate) = (row.parameter?.to_owned(), row.estimate?);
                    Some(ModelFigures { model: row.model.to_owned(), parameter, estimate })
                })
                .collect(),
            notes: self.notes(),
            holdout_end: date_of(self.holdout.end_day).to_string(),
            holdout_days: self.holdout.days,
            holdout_customers: self.holdout.customers,
            purchase_bias_percent: backtest(Target::Purchases).and_then(|figures| figures.bias_percent),
            purchase_correlation: backtest(Target::Purchases).and_then(|figures| figures.pearson),
            spend_bias_percent: backtest(Target::Spend).and_then(|figures| figures.bias_percent),
            auc: backtest(Target::Purchases).and_then(|figures| figures.auc),
            segments_cramers_v: self
                .holdout
                .segments
                .and_then(|found| found.outcome.ok())
                .map(|found| found.cramers_v),
            rfm: self
                .settings
                .grid
                .segments()
                .iter()
                .zip(self.second.grid.figures(self.scale))
                .map(|(segment, figures)| SegmentLine {
                    name: segment.name.clone(),
                    customers: figures.customers,
                    customer_share: figures.customer_share,
                    revenue_share: figures.revenue_share,
                    action: segment.action.clone(),
                })
                .collect(),
            tiers: self
                .second
                .tiers
                .iter()
                .flat_map(|tiers| tiers.rows(self.scale))
                .map(|row| TierLine {
                    name: row.name,
                    above: row.above,
                    customers: row.customers,
                    value: row.value,
                    value_share: row.value_share,
                })
                .collect(),
            value_segments: self.second.segments.count(),
        }
    }

    /// What could not be done, each once.
    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = Vec::new();
        let rows = self.models.rows();
        let said =
            rows.iter().filter(|row| !row.note.is_empty()).map(|row| format!("{}: {}", row.model, row.note));
        let unmade = self.settings.matrices.iter().zip(&self.second.quadrants).flat_map(|(matrix, tally)| {
            let empty = matrix.axes.iter().zip(tally.limits()).find(|(_, limit)| limit.is_none());
            empty
                .map(|(axis, _)| format!("{}: not made, nobody has a value for {}", matrix.name, axis.column))
        });
        let of_holdout = self.holdout.note.iter().map(|note| format!("backtest: {note}"));
        for note in said.chain(of_holdout).chain(unmade).chain(self.moves.note.clone()) {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes
    }
}
