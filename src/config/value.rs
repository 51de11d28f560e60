//! The section `[value]` from typed to resolved.

use super::check::Check;
use super::typed;
use crate::tables::{CUSTOMER_FEATURES, Kind};
use crate::value::Settings;
use crate::value::matrices::scenario::Scenarios;
use crate::value::matrices::{Column, Matrix};
use crate::value::models::Dropout;
use crate::value::purchases::Period;
use crate::value::rfm::grid::Grid;
use crate::value::tiers;

/// Columns of `customer_features` that hold money: compared in minor units.
const MONEY: [&str; 4] = ["revenue", "average_purchase", "largest_purchase", "revenue_30d"];
/// Other numbers with decimals are compared in thousandths.
const STEPS: f64 = 1_000.0;

/// The settings; None if customers are not to be valued, or something is wrong with them.
pub(super) fn resolve(raw: &typed::Value, decimals: i64, check: &mut Check) -> Option<Settings> {
    let scale = 10f64.powi(decimals.clamp(0, 6) as i32);
    let columns: Vec<Column> = CUSTOMER_FEATURES
        .columns
        .iter()
        .filter_map(|column| {
            let steps = match column.kind {
                Kind::Integer => 1.0,
                Kind::Float if MONEY.contains(&column.name) => scale,
                Kind::Float => STEPS,
                _ => return None,
            };
            Some(Column { name: column.name, steps })
        })
        .collect();
    let grid = Grid::new(&raw.rfm.segments)
        .map_err(|error| error.problems.iter().for_each(|p| check.said("value.rfm.segments", p)));
    let matrices = Matrix::resolve(&raw.matrices, &columns)
        .map_err(|error| error.problems.iter().for_each(|p| check.said("value.matrices", p)));
    let scenarios = Scenarios::new(&raw.scenarios)
        .map_err(|error| error.problems.iter().for_each(|p| check.said("value.scenarios", p)));
    if let Err(error) = tiers::check(&raw.tiers) {
        error.problems.iter().for_each(|problem| check.said("value.tiers", problem));
    }
    let holdout = check.integer("value.holdout_days", raw.holdout_days, 0, 36_500);
    let settings = Settings {
        period: check.choice(
            "value.period",
            &raw.period,
            &[("day", Period::Day), ("week", Period::Week), ("month", Period::Month)],
        ),
        model: check.choice(
            "value.model",
            &raw.model,
            &[("bg-nbd", Dropout::BgNbd), ("mbg-nbd", Dropout::MbgNbd)],
        ),
        penalty: check.at_least("value.penalty", raw.penalty, 0.0),
        months: check.integer("value.horizon_months", raw.horizon_months, 1, 1_200) as u32,
        discount: check.share("value.monthly_discount", raw.monthly_discount),
        holdout_days: (holdout > 0).then_some(holdout as u32),
        sample: check.integer("value.sample", raw.sample, 100, 10_000_000),
        grid: grid.ok()?,
        matrices: matrices.ok()?,
        scenarios: scenarios.ok()?,
        tiers: raw.tiers.clone(),
    };
    raw.enabled.then_some(settings)
}
