//! Columns of a batch whose memory stays with the worker.
//!
//! Freed memory goes back to the system at once here, so a column that grows anew for every batch is
//! cleared by the kernel for every batch. These lend their values to an Arrow array and take the memory
//! back when the batch is written.

use arrow::array::{ArrayRef, ArrowPrimitiveType, NullBufferBuilder, PrimitiveArray};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use std::sync::Arc;

/// A column of numbers. Memory: its rows, kept until it is dropped.
pub struct Column<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    nulls: NullBufferBuilder,
    lent: Option<PrimitiveArray<T>>,
}

impl<T: ArrowPrimitiveType> Default for Column<T> {
    fn default() -> Self {
        Self { values: Vec::new(), nulls: NullBufferBuilder::new(0), lent: None }
    }
}

/// A column of any type, to be lent and taken back together with others.
pub trait Lends {
    /// The rows so far, for a batch; the column is empty afterwards.
    fn lend_any(&mut self) -> ArrayRef;
    /// Takes the memory back from an array that nobody else holds any more.
    fn take_back(&mut self);
}

impl<T: ArrowPrimitiveType> Lends for Column<T> {
    fn lend_any(&mut self) -> ArrayRef {
        Arc::new(self.lend())
    }

    fn take_back(&mut self) {
        if let Some(array) = self.lent.take()
            && let Ok(mut values) = array.into_parts().1.into_inner().into_vec::<T::Native>()
        {
            values.clear();
            self.values = values;
        }
    }
}

impl<T: ArrowPrimitiveType> Column<T> {
    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub fn push(&mut self, value: T::Native) {
        self.values.push(value);
        self.nulls.append_non_null();
    }

    pub fn push_option(&mut self, value: Option<T::Native>) {
        self.values.push(value.unwrap_or_default());
        self.nulls.append(value.is_some());
    }

    /// The rows as an array; the column is empty afterwards.
    pub fn lend(&mut self) -> PrimitiveArray<T> {
        let nulls: Option<NullBuffer> = self.nulls.finish();
        let array = PrimitiveArray::new(ScalarBuffer::from(std::mem::take(&mut self.values)), nulls);
        self.lent = Some(array.clone());
        array
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array;
    use arrow::datatypes::Int64Type;

    #[test]
    fn memory_comes_back_and_values_do_not() {
        let mut column = Column::<Int64Type>::default();
        column.push(7);
        column.push_option(None);
        let array = column.lend();
        assert_eq!((array.value(0), array.is_null(1), column.len()), (7, true, 0));
        let lent = array.values().as_ptr();
        drop(array);
        column.take_back();
        column.push(8);
        let array = column.lend();
        assert_eq!(array.values().as_ptr(), lent, "the same memory");
        assert_eq!((array.len(), array.null_count(), array.value(0)), (1, 0, 8));
        // Held by somebody else: a new one.
        column.take_back();
        column.push(9);
        assert_eq!((column.lend().value(0), array.value(0)), (9, 8));
    }
}
