//! Columns of flags, a bit each (Encodings.md, PLAIN).

use super::Target;
use super::chunk::{Chunk, Known};
use super::statistics::of_flags;
use arrow::array::{Array, BooleanArray, BooleanBufferBuilder};
use arrow::buffer::BooleanBuffer;
use parquet::basic::Encoding;
use parquet::errors::ParquetError;

/// A column of flags of one row group. Memory: the bits of a page.
pub struct Flags {
    pending: BooleanBufferBuilder,
    has_false: bool,
    has_true: bool,
}

impl Flags {
    pub fn new() -> Self {
        Self { pending: BooleanBufferBuilder::new(0), has_false: false, has_true: false }
    }

    /// Appends rows.
    pub fn push(&mut self, flags: &BooleanArray, to: &mut Target<'_>) -> Result<(), ParquetError> {
        let nulls = flags.nulls().filter(|nulls| nulls.null_count() > 0);
        let mut at = 0;
        while at < flags.len() {
            let rows = to.levels.room().min(flags.len() - at);
            let nulls = nulls.map(|nulls| nulls.slice(at, rows));
            let part = flags.values().slice(at, rows);
            match &nulls {
                None => self.put(&part),
                Some(nulls) => {
                    nulls.valid_slices().for_each(|(from, end)| self.put(&part.slice(from, end - from)))
                }
            }
            to.levels.push(rows, nulls.as_ref())?;
            at += rows;
            if to.levels.is_full() {
                self.end_page(to)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, flags: &BooleanBuffer) {
        self.pending.append_buffer(flags);
        let are_set = flags.count_set_bits();
        self.has_true |= are_set > 0;
        self.has_false |= are_set < flags.len();
    }

    /// Ends the open page.
    pub fn end_page(&mut self, to: &mut Target<'_>) -> Result<(), ParquetError> {
        let counts = to.levels.counts();
        to.body.clear();
        to.levels.finish(to.body);
        to.body.extend_from_slice(self.pending.as_slice());
        self.pending.truncate(0);
        to.chunk.put_page(counts, Encoding::PLAIN, (to.body, None), to.compressors)
    }

    /// Ends the row group.
    pub fn finish(&mut self, chunk: &Chunk) -> Known {
        let statistics = of_flags(self.has_false, self.has_true, chunk.nulls());
        (self.has_false, self.has_true) = (false, false);
        Known { statistics, bloom_filter: None, column_index: None }
    }
}
