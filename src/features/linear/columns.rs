//! Columns while they are filled, as Arrow arrays without a copy.

use arrow::array::{ArrayRef, Float64Array, Int64Array, NullBufferBuilder, TimestampMicrosecondArray};
use std::sync::Arc;

/// A column with its published name.
pub type Named = (String, ArrayRef);

/// Integers, once they are complete.
pub fn integers(values: &mut Vec<i64>) -> ArrayRef {
    let next = Vec::with_capacity(values.len());
    Arc::new(Int64Array::from(std::mem::replace(values, next)))
}

/// Floats, once they are complete.
pub fn floats(values: &mut Vec<f64>) -> ArrayRef {
    let next = Vec::with_capacity(values.len());
    Arc::new(Float64Array::from(std::mem::replace(values, next)))
}

/// Microseconds since 1970 as times, once they are complete.
pub fn times(values: &mut Vec<i64>) -> ArrayRef {
    let next = Vec::with_capacity(values.len());
    Arc::new(TimestampMicrosecondArray::from(std::mem::replace(values, next)))
}

/// Microseconds of seconds since 1970.
pub fn micros(seconds: u32) -> i64 {
    i64::from(seconds) * 1_000_000
}

/// Floats that may be null.
pub struct Maybe {
    values: Vec<f64>,
    valid: NullBufferBuilder,
}

impl Default for Maybe {
    fn default() -> Self {
        Self { values: Vec::new(), valid: NullBufferBuilder::new(0) }
    }
}

impl Maybe {
    /// `value()` where it is known, else null.
    pub fn push(&mut self, is_known: bool, value: impl FnOnce() -> f64) {
        self.values.push(if is_known { value() } else { 0.0 });
        self.valid.append(is_known);
    }

    /// The column, once it is complete.
    pub fn take(&mut self) -> ArrayRef {
        let next = Vec::with_capacity(self.values.len());
        let values = std::mem::replace(&mut self.values, next);
        Arc::new(Float64Array::new(values.into(), self.valid.finish()))
    }
}
