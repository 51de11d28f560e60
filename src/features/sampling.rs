//! The sample of customers that models are fitted on, and small readings of published batches.

use super::SampledCustomer;
use super::behaviour::BehaviourColumn;
use super::bucket::BucketTables;
use crate::numerics::sample::HashSample;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type};
use std::fmt::Write;
use std::sync::Mutex;

/// Offers customers to the sample; what it would hold is made only if it gets in.
pub fn offer(
    tables: &BucketTables,
    behaviour: &[BehaviourColumn],
    sample: &Mutex<HashSample<SampledCustomer>>,
) {
    let BucketTables { features, packages, packages_minor, ends } = tables;
    let columns: Vec<Float64Array> =
        behaviour.iter().map(|column| as_floats(features, &column.name)).collect();
    let ids = features.column(0);
    let ranks = packages.column(1).as_dictionary::<Int32Type>().keys();
    let weights = packages.column(6).as_primitive::<Float64Type>();
    let mut text = String::new();
    let mut start = 0;
    let mut sample = sample.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (row, end) in ends.iter().enumerate() {
        let range = start..*end;
        start = *end;
        let id = match ids.as_primitive_opt::<Int64Type>() {
            Some(ids) => {
                text.clear();
                // Writing to a text does not fail.
                let _ = write!(text, "{}", ids.value(row));
                text.as_bytes()
            }
            None => ids.as_string::<i32>().value(row).as_bytes(),
        };
        sample.offer(id, || SampledCustomer {
            id: id.into(),
            behaviour: columns
                .iter()
                .map(|column| if column.is_valid(row) { column.value(row) as f32 } else { f32::NAN })
                .collect(),
            packages: range
                .clone()
                .filter(|at| weights.value(*at) > 0.0)
                .map(|at| (ranks.value(at) as u32, weights.value(at) as f32))
                .collect(),
            revenue: range.map(|at| packages_minor.value(at)).sum(),
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
        Some(column) => match arrow::compute::cast(column, &DataType::Float64) {
            Ok(cast) => cast.as_primitive::<Float64Type>().clone(),
            Err(_) => Float64Array::new_null(batch.num_rows()),
        },
        None => Float64Array::new_null(batch.num_rows()),
    }
}
