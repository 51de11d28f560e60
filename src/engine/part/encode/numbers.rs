//! Columns of numbers: a page is a slice of values, straight from the Arrow array where it holds whole pages.

use super::chunk::{Chunk, Known};
use super::compress::Compressors;
use super::dictionary;
use super::hybrid::put_indices;
use super::statistics::{Finder, Number, wider};
use super::{Form, Target, index_width};
use arrow::buffer::NullBuffer;
use parquet::basic::Encoding;
use parquet::errors::ParquetError;
use std::cmp::Ordering;

/// A column of numbers of one row group. Memory: the values of a page, and the dictionary.
pub struct Numbers<T> {
    form: Form,
    /// Values of the open page.
    pending: Vec<T>,
    dictionary: Option<dictionary::Numbers<T>>,
    /// The dictionary has become too large; its pages stay.
    is_plain: bool,
    bounds: Option<(T, T)>,
    finder: Option<Finder>,
    /// Of the page before.
    page_bounds: Option<(T, T)>,
    last: Option<T>,
}

impl<T: Number> Numbers<T> {
    pub fn new(form: Form, finder: Option<Finder>) -> Self {
        let dictionary = matches!(form, Form::Dictionary { .. }).then(dictionary::Numbers::new);
        Self {
            form,
            pending: Vec::new(),
            dictionary,
            is_plain: false,
            bounds: None,
            finder,
            page_bounds: None,
            last: None,
        }
    }

    /// Appends rows.
    pub fn push(
        &mut self,
        values: &[T],
        nulls: Option<&NullBuffer>,
        to: &mut Target<'_>,
    ) -> Result<(), ParquetError> {
        let mut at = 0;
        while at < values.len() {
            let rows = to.levels.room().min(values.len() - at);
            let part = &values[at..at + rows];
            let nulls = nulls.map(|nulls| nulls.slice(at, rows)).filter(|nulls| nulls.null_count() > 0);
            to.levels.push(rows, nulls.as_ref())?;
            at += rows;
            match nulls {
                None if self.pending.is_empty() && to.levels.is_full() => {
                    self.put_page(part, to)?;
                    continue;
                }
                None => self.pending.extend_from_slice(part),
                Some(nulls) => {
                    nulls
                        .valid_slices()
                        .for_each(|(from, end)| self.pending.extend_from_slice(&part[from..end]));
                }
            }
            if to.levels.is_full() {
                self.end_page(to)?;
            }
        }
        Ok(())
    }

    /// Ends the open page.
    pub fn end_page(&mut self, to: &mut Target<'_>) -> Result<(), ParquetError> {
        let pending = std::mem::take(&mut self.pending);
        self.put_page(&pending, to)?;
        self.pending = pending;
        self.pending.clear();
        Ok(())
    }

    fn put_page(&mut self, values: &[T], to: &mut Target<'_>) -> Result<(), ParquetError> {
        let counts = to.levels.counts();
        to.body.clear();
        to.levels.finish(to.body);
        let mut numbers = None;
        let encoding = match (&self.form, &mut self.dictionary) {
            (Form::Dictionary { most_bytes }, Some(dictionary)) if !self.is_plain => {
                let known = dictionary.entries().len();
                to.indices.clear();
                dictionary.put_indices(values, to.indices);
                let entries = dictionary.entries();
                let width = index_width(entries.len());
                to.body.push(width as u8);
                put_indices(to.indices, width, to.body);
                self.bounds = wider(self.bounds, T::bounds(&entries[known..]));
                let is_full = size_of_val(entries) >= *most_bytes;
                self.is_plain = is_full || to.chunk.is_wasted_on(entries.len() - known, values.len());
                Encoding::RLE_DICTIONARY
            }
            (Form::Deltas, _) => {
                T::put_deltas(values, to.body);
                self.see(values, counts)?;
                Encoding::DELTA_BINARY_PACKED
            }
            _ => {
                numbers = (size_of::<T>() == size_of::<u64>()).then_some(to.body.len());
                T::put_plain(values, to.body);
                self.see(values, counts)?;
                Encoding::PLAIN
            }
        };
        to.chunk.put_page(counts, encoding, (to.body, numbers), to.compressors)
    }

    /// Statistics of the values of a page.
    fn see(&mut self, values: &[T], counts: (usize, usize)) -> Result<(), ParquetError> {
        let bounds = T::bounds(values);
        self.bounds = wider(self.bounds, bounds);
        let Some(finder) = &mut self.finder else { return Ok(()) };
        for value in values {
            if self.last != Some(*value) {
                finder.see(value)?;
                self.last = Some(*value);
            }
        }
        let compared = match (self.page_bounds, bounds) {
            (Some(before), Some(now)) if now.0 < before.0 || now.1 < before.1 => Ordering::Less,
            _ => Ordering::Greater,
        };
        self.page_bounds = bounds.or(self.page_bounds);
        let bounds = bounds.as_ref().map(|(min, max)| (min.as_bytes(), max.as_bytes()));
        finder.end_page(counts, bounds, compared)
    }

    /// Ends the row group: the page of the dictionary, and what is known of all values.
    pub fn finish(
        &mut self,
        chunk: &mut Chunk,
        compressors: &mut Compressors,
        body: &mut Vec<u8>,
    ) -> Result<Known, ParquetError> {
        if let Some(dictionary) = &mut self.dictionary {
            body.clear();
            T::put_plain(dictionary.entries(), body);
            chunk.put_dictionary(dictionary.entries().len(), body, compressors)?;
            dictionary.clear();
        }
        let statistics = T::statistics(self.bounds.take(), chunk.nulls());
        let (bloom_filter, column_index) = match &mut self.finder {
            Some(finder) => finder.finish()?,
            None => (None, None),
        };
        (self.is_plain, self.page_bounds, self.last) = (false, None, None);
        Ok(Known { statistics, bloom_filter, column_index })
    }
}
