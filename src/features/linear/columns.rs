//! The columns of a chunk of customers; their memory stays with the worker.

use crate::engine::columns::{Column, Lends};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};

pub type Integers = Column<Int64Type>;
pub type Floats = Column<Float64Type>;
/// Microseconds since 1970.
pub type Times = Column<TimestampMicrosecondType>;

/// A column with its published name.
pub type Lent<'c> = (&'c str, &'c mut dyn Lends);

/// Microseconds of seconds since 1970.
pub fn micros(seconds: u32) -> i64 {
    i64::from(seconds) * 1_000_000
}
