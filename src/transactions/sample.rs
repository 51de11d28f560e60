//! Customers of the input before it is read: where to put the limits of buckets, and how to key text.

use super::InputError;
use super::keys::{self, KeyKind};
use super::source::{Plan, Role, Unit};
use super::{text_column, times};
use crate::engine::{Engine, workers};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use std::iter;
use std::ops::Range;

/// Units whose customers are read to place the buckets.
const SAMPLED_UNITS: usize = 24;
/// Customer ids in that sample.
const SAMPLED_IDS: usize = 100_000;
/// Rows read of a CSV file for that sample.
const SAMPLED_CSV_ROWS: usize = 100_000;
/// Stretches of a row group that are read for it, and rows of each: what lies between is not decoded.
const STRETCHES: usize = 8;
const STRETCH: usize = 4096;

/// Ids from units spread over the input: where to put the bucket limits, and how to key text. When they bought: how few
/// bits tell times apart.
pub(super) struct CustomerSample {
    pub kind: KeyKind,
    pub texts: Vec<String>,
    integers: Vec<u64>,
    seconds: Vec<u32>,
}

/// What was read of one unit.
#[derive(Default)]
struct UnitSample {
    number: usize,
    integers: Vec<u64>,
    texts: Vec<String>,
    seconds: Vec<u32>,
}

impl CustomerSample {
    /// Reads customers of up to 24 units, every so many rows. Memory: 100,000 ids and times.
    pub fn of(plan: &Plan, engine: &Engine) -> Result<Self, InputError> {
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
            |samples: &mut Vec<UnitSample>, number| {
                let unit = plan.units[chosen[number]];
                samples.push(UnitSample { number, ..UnitSample::of(plan, unit, per_unit, engine)? });
                Ok::<(), InputError>(())
            },
        )?;
        let mut parts: Vec<UnitSample> = samples.into_iter().flatten().collect();
        parts.sort_by_key(|part| part.number);
        let (mut integers, mut texts, mut seconds) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            integers.extend(part.integers);
            texts.extend(part.texts);
            seconds.extend(part.seconds);
        }
        let kind = if plan.integer_customers { KeyKind::Integer } else { keys::kind_of_sample(&texts) };
        seconds.sort_unstable();
        Ok(Self { kind, texts, integers, seconds })
    }

    /// The seconds between which nearly all of the sample lies: a few are not what they should be.
    pub fn seconds(&self) -> Option<(u32, u32)> {
        let apart = self.seconds.len() / 1000;
        let (first, last) = (self.seconds.get(apart)?, self.seconds.get(self.seconds.len() - 1 - apart)?);
        Some((*first, *last))
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

impl UnitSample {
    fn of(plan: &Plan, unit: Unit, wanted: usize, engine: &Engine) -> Result<Self, InputError> {
        let is_csv = plan.is_csv(unit);
        let rows = unit.rows as usize;
        let stretches: Vec<Range<usize>> = if rows <= STRETCHES * STRETCH {
            iter::once(0..rows).collect()
        } else {
            (0..STRETCHES).map(|part| part * rows / STRETCHES).map(|start| start..start + STRETCH).collect()
        };
        let read = if is_csv { SAMPLED_CSV_ROWS } else { stretches.iter().map(ExactSizeIterator::len).sum() };
        let step = (read / wanted.max(1)).max(1);
        let (mut sample, mut row) = (Self::default(), 0);
        for batch in plan.read_sample(unit, &stretches, engine.runtime.handle())? {
            let batch = batch?;
            let column = |role: Role| batch.column(role).ok_or_else(InputError::lost_column);
            let first = row_of_step(row, step);
            if plan.integer_customers {
                sample.integers.extend(integer_ids(column(Role::Customer)?, first, step)?);
            } else {
                sample.texts.extend(text_ids(column(Role::Customer)?, first, step)?);
            }
            sample.seconds.extend(seconds(column(Role::Time)?, first, step)?);
            row += batch.rows;
            if is_csv && row >= SAMPLED_CSV_ROWS {
                break;
            }
        }
        Ok(sample)
    }
}

/// The first row of a batch that starts at `row` to be on the grid of `step`.
fn row_of_step(row: usize, step: usize) -> usize {
    row.next_multiple_of(step) - row
}

fn integer_ids(column: &ArrayRef, first: usize, step: usize) -> Result<Vec<u64>, InputError> {
    let cast = arrow::compute::cast(column, &DataType::Int64).map_err(InputError::batch)?;
    let ids = cast.as_primitive::<Int64Type>();
    Ok((first..ids.len())
        .step_by(step)
        .filter(|row| ids.is_valid(*row))
        .map(|row| keys::integer_key(ids.value(row)))
        .collect())
}

fn text_ids(column: &ArrayRef, first: usize, step: usize) -> Result<Vec<String>, InputError> {
    let ids = text_column::TextColumn::new(column).map_err(InputError::batch)?;
    Ok((first..column.len())
        .step_by(step)
        .filter_map(|row| ids.get(row).map(str::trim))
        .filter(|id| !id.is_empty())
        .map(str::to_owned)
        .collect())
}

/// Those that a run can take.
fn seconds(column: &ArrayRef, first: usize, step: usize) -> Result<Vec<u32>, InputError> {
    let rows = (first..column.len()).step_by(step);
    let seconds: Vec<Option<i64>> = match column.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let texts = text_column::TextColumn::new(column).map_err(InputError::batch)?;
            rows.map(|row| times::parse(texts.get(row)?.trim())).collect()
        }
        _ => rows.map(|row| times::seconds(column.as_ref(), row)).collect(),
    };
    Ok(seconds.into_iter().filter_map(|second| u32::try_from(second?).ok()).collect())
}
