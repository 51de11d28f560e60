//! Customers of the input before it is read: where to put the limits of buckets, and how to key text.

use super::InputError;
use super::keys::{self, KeyKind};
use super::source::{Plan, Role};
use super::text_column;
use crate::engine::{Engine, workers};

/// Units whose customer column is read to place the buckets.
const SAMPLED_UNITS: usize = 48;
/// Customer ids in that sample.
const SAMPLED_IDS: usize = 100_000;
/// Rows read of a CSV file for that sample.
const SAMPLED_CSV_ROWS: usize = 100_000;

/// Ids from units spread over the input: where to put the bucket limits, and how to key text.
pub(super) struct CustomerSample {
    pub kind: KeyKind,
    integers: Vec<u64>,
    pub texts: Vec<String>,
}

impl CustomerSample {
    /// Reads the customers of up to 48 units, every so many rows. Memory: 100,000 ids.
    pub fn of(plan: &Plan, engine: &Engine) -> Result<Self, InputError> {
        let runtime = engine.runtime.handle();
        let chosen: Vec<usize> = if plan.units.len() <= SAMPLED_UNITS {
            (0..plan.units.len()).collect()
        } else {
            (0..SAMPLED_UNITS).map(|part| part * plan.units.len() / SAMPLED_UNITS).collect()
        };
        let per_unit = SAMPLED_IDS / chosen.len().max(1);
        let samples = workers::for_each(
            engine.threads,
            chosen.len(),
            Vec::new,
            |sample: &mut Vec<(usize, Vec<u64>, Vec<String>)>, number| {
                let unit = plan.units[chosen[number]];
                let is_csv = plan.is_csv(unit);
                let rows = if is_csv { SAMPLED_CSV_ROWS as u64 } else { unit.rows };
                let step = (rows as usize / per_unit.max(1)).max(1);
                let (mut integers, mut texts, mut row) = (Vec::new(), Vec::new(), 0);
                for batch in plan.read_customers(unit, runtime)? {
                    let batch = batch?;
                    let column = batch.column(Role::Customer).ok_or_else(InputError::lost_column)?;
                    let first = row_of_step(row, step);
                    if plan.integer_customers {
                        integers.extend(integer_ids(column, first, step)?);
                    } else {
                        texts.extend(text_ids(column, first, step)?);
                    }
                    row += batch.rows;
                    if is_csv && row >= SAMPLED_CSV_ROWS {
                        break;
                    }
                }
                sample.push((number, integers, texts));
                Ok::<(), InputError>(())
            },
        )?;
        let mut parts: Vec<_> = samples.into_iter().flatten().collect();
        parts.sort_by_key(|(number, _, _)| *number);
        let (mut integers, mut texts) = (Vec::new(), Vec::new());
        for (_, some_integers, some_texts) in parts {
            integers.extend(some_integers);
            texts.extend(some_texts);
        }
        let kind = if plan.integer_customers { KeyKind::Integer } else { keys::kind_of_sample(&texts) };
        Ok(Self { kind, integers, texts })
    }

    /// Their keys.
    pub fn keys(&self, kind: &KeyKind) -> Vec<u64> {
        match kind {
            KeyKind::Integer => self.integers.clone(),
            KeyKind::Packed => self.texts.iter().filter_map(|id| keys::pack(id.as_bytes())).collect(),
            KeyKind::Text { prefix } => {
                self.texts.iter().map(|id| keys::text_key(id.as_bytes(), prefix)).collect()
            }
        }
    }
}

/// The first row of a batch that starts at `row` to be on the grid of `step`.
fn row_of_step(row: usize, step: usize) -> usize {
    row.next_multiple_of(step) - row
}

fn integer_ids(column: &arrow::array::ArrayRef, first: usize, step: usize) -> Result<Vec<u64>, InputError> {
    use arrow::array::{Array, AsArray};
    let cast = arrow::compute::cast(column, &arrow::datatypes::DataType::Int64).map_err(InputError::batch)?;
    let ids = cast.as_primitive::<arrow::datatypes::Int64Type>();
    Ok((first..ids.len())
        .step_by(step)
        .filter(|row| ids.is_valid(*row))
        .map(|row| keys::integer_key(ids.value(row)))
        .collect())
}

fn text_ids(column: &arrow::array::ArrayRef, first: usize, step: usize) -> Result<Vec<String>, InputError> {
    let ids = text_column::TextColumn::new(column).map_err(InputError::batch)?;
    Ok((first..column.len())
        .step_by(step)
        .filter_map(|row| ids.get(row).map(str::trim))
        .filter(|id| !id.is_empty())
        .map(str::to_owned)
        .collect())
}
