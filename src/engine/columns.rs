//! Columns of a batch whose memory stays with the worker.
//!
//! Freed memory goes back to the system at once here, so a column that grows anew for every batch is
//! cleared by the kernel for every batch. These lend their values to an Arrow array and take the memory
//! back when the batch is written.

use arrow::array::{ArrayRef, ArrowPrimitiveType, BooleanBufferBuilder, PrimitiveArray, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;
use std::sync::Arc;

/// A column of numbers. Memory: its rows, kept until it is dropped.
pub struct Column<T: ArrowPrimitiveType> {
    values: Vec<T::Native>,
    /// Which rows have a value; nothing as long as all have one.
    valid: Option<BooleanBufferBuilder>,
    lent: Option<PrimitiveArray<T>>,
}

impl<T: ArrowPrimitiveType> Default for Column<T> {
    fn default() -> Self {
        Self { values: Vec::new(), valid: None, lent: None }
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

    #[inline(always)]
    pub fn push(&mut self, value: T::Native) {
        self.values.push(value);
        if let Some(valid) = &mut self.valid {
            valid.append(true);
        }
    }

    /// Appends rows that have a value.
    #[inline(always)]
    pub fn extend(&mut self, values: impl IntoIterator<Item = T::Native>) {
        self.values.extend(values);
        if let Some(valid) = &mut self.valid {
            valid.append_n(self.values.len() - valid.len(), true);
        }
    }

    #[inline(always)]
    pub fn push_option(&mut self, value: Option<T::Native>) {
        match value {
            Some(value) => self.push(value),
            None => self.push_null(),
        }
    }

    fn push_null(&mut self) {
        let before = self.values.len();
        self.values.push(T::Native::default());
        let all = || {
            let mut valid = BooleanBufferBuilder::new(before + 1);
            valid.append_n(before, true);
            valid
        };
        self.valid.get_or_insert_with(all).append(false);
    }

    /// The rows as an array; the column is empty afterwards.
    pub fn lend(&mut self) -> PrimitiveArray<T> {
        let nulls = self.valid.take().map(|mut valid| NullBuffer::new(valid.finish()));
        let array = PrimitiveArray::new(ScalarBuffer::from(std::mem::take(&mut self.values)), nulls);
        self.lent = Some(array.clone());
        array
    }
}

/// A column of text without nulls. Memory: its bytes and 4 a row, kept until it is dropped.
#[derive(Default)]
pub struct Texts {
    bytes: Vec<u8>,
    /// Where each begins, and the last ends; nothing while there are none.
    offsets: Vec<i32>,
    /// Not taken back yet: who writes them may hold the last one until the next comes.
    lent: Vec<StringArray>,
}

impl Texts {
    pub fn push(&mut self, text: &str) {
        if self.offsets.is_empty() {
            self.offsets.push(0);
        }
        self.bytes.extend_from_slice(text.as_bytes());
        self.offsets.push(self.bytes.len() as i32);
    }

    /// The rows as an array; the column is empty afterwards. An error beyond 2 GiB.
    pub fn lend(&mut self) -> Result<StringArray, ArrowError> {
        let mut offsets = std::mem::take(&mut self.offsets);
        if offsets.is_empty() {
            offsets.push(0);
        }
        if offsets.windows(2).any(|pair| pair[0] > pair[1]) {
            return Err(ArrowError::OffsetOverflowError(self.bytes.len()));
        }
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let array = StringArray::try_new(offsets, Buffer::from(std::mem::take(&mut self.bytes)), None)?;
        self.lent.push(array.clone());
        Ok(array)
    }

    /// Takes the memory back from an array that nobody else holds any more.
    pub fn take_back(&mut self) {
        for array in std::mem::take(&mut self.lent) {
            let (offsets, bytes, _) = array.into_parts();
            match bytes.into_vec::<u8>() {
                Ok(mut bytes) => {
                    bytes.clear();
                    self.bytes = bytes;
                    if let Ok(mut offsets) = offsets.into_inner().into_inner().into_vec::<i32>() {
                        offsets.clear();
                        self.offsets = offsets;
                    }
                }
                Err(held) => self.lent.extend(StringArray::try_new(offsets, held, None)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array;
    use arrow::datatypes::Int64Type;

    #[test]
    fn texts_come_back_empty() {
        let mut texts = Texts::default();
        for _ in 0..2 {
            texts.push("one");
            texts.push("");
            texts.push("zwei");
            let array = texts.lend().unwrap();
            assert_eq!(array.iter().flatten().collect::<Vec<_>>(), ["one", "", "zwei"]);
            let lent = array.values().as_ptr();
            drop(array);
            texts.take_back();
            assert_eq!((texts.bytes.as_ptr(), texts.bytes.len(), texts.offsets.len()), (lent, 0, 0));
        }
        assert_eq!(texts.lend().unwrap().len(), 0);
        // Held by somebody else until the next is lent: two take turns.
        let mut held = None;
        let mut places = Vec::new();
        for _ in 0..6 {
            texts.push("held");
            let array = texts.lend().unwrap();
            places.push(array.values().as_ptr() as usize);
            held.replace(array);
            texts.take_back();
            assert_eq!(texts.lent.len(), 1);
        }
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 2);
    }

    #[test]
    fn memory_comes_back_and_values_do_not() {
        let mut column = Column::<Int64Type>::default();
        column.extend([7]);
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
