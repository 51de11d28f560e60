//! The table `packages`: the catalogue, or what is known without one, with what was bought of each.

use super::totals::PackageTotals;
use crate::tables;
use crate::transactions::catalogue::Package;
use crate::transactions::times::DAY;
use arrow::array::{ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::error::ArrowError;
use std::sync::Arc;

const MICROS_PER_DAY: i64 = DAY * 1_000_000;

/// The catalogue; without list prices, what was paid on average stands for the price.
pub fn priced(packages: &[Package], totals: &[PackageTotals], is_paid: bool) -> Vec<Package> {
    let mut packages = packages.to_vec();
    if packages.iter().all(|package| package.price.is_none()) {
        for (package, totals) in packages.iter_mut().zip(totals) {
            if is_paid && totals.purchases > 0 && totals.revenue >= 0 {
                package.price = Some((totals.revenue as f64 / totals.purchases as f64).round() as i64);
            }
        }
    }
    packages
}

/// Of every package, whether it is retired: by the catalogue, or without a sale for `after_days` days.
pub fn retired(
    packages: &[Package],
    totals: &[PackageTotals],
    after_days: Option<u32>,
    as_of_day: i64,
) -> Vec<bool> {
    let unsold = |totals: &PackageTotals| {
        let last = totals.last.map(|micros| micros.div_euclid(MICROS_PER_DAY));
        after_days.is_some_and(|days| last.is_none_or(|day| as_of_day - day >= i64::from(days)))
    };
    packages.iter().zip(totals).map(|(package, totals)| package.retired || unsold(totals)).collect()
}

/// The table, in the order of the codes.
pub fn batch(
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
