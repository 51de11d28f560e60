//! Rows of the open page, and which of them have a value.

use super::hybrid::{put_bitmap, put_run};
use arrow::array::BooleanBufferBuilder;
use arrow::buffer::NullBuffer;
use parquet::errors::ParquetError;

/// The rows of a page before it is full.
pub struct Levels {
    /// Which rows have a value; None if all must.
    valid: Option<BooleanBufferBuilder>,
    rows: usize,
    nulls: usize,
    most: usize,
}

impl Levels {
    /// Of pages of at most `most` rows.
    pub fn new(is_nullable: bool, most: usize) -> Self {
        let valid = is_nullable.then(|| BooleanBufferBuilder::new(most));
        Self { valid, rows: 0, nulls: 0, most }
    }

    pub fn room(&self) -> usize {
        self.most - self.rows
    }

    pub fn is_full(&self) -> bool {
        self.rows >= self.most
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Rows, and rows without a value.
    pub fn counts(&self) -> (usize, usize) {
        (self.rows, self.nulls)
    }

    /// Appends rows.
    pub fn push(&mut self, rows: usize, nulls: Option<&NullBuffer>) -> Result<(), ParquetError> {
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        match (&mut self.valid, nulls) {
            (None, None) => {}
            (None, Some(_)) => {
                return Err(ParquetError::General("a value is missing that must be there".into()));
            }
            (Some(valid), None) => valid.append_n(rows, true),
            (Some(valid), Some(nulls)) => {
                valid.append_buffer(nulls.inner());
                self.nulls += nulls.null_count();
            }
        }
        self.rows += rows;
        Ok(())
    }

    /// Appends the definition levels as pages have them, and begins the next page.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(valid) = &mut self.valid {
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            match self.nulls {
                0 => put_run(self.rows, 1, 1, out),
                nulls if nulls == self.rows => put_run(self.rows, 0, 1, out),
                _ => put_bitmap(valid.as_slice(), self.rows, out),
            }
            let length = (out.len() - start - 4) as u32;
            out[start..start + 4].copy_from_slice(&length.to_le_bytes());
            valid.truncate(0);
        }
        (self.rows, self.nulls) = (0, 0);
    }
}
