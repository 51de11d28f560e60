//! The rows of one customer in a part, without a query engine: a page or two of each column.
//!
//! A part is sorted by customer. Its footer and page index say which pages can hold the id; the id column of those is
//! read, and then the other columns of the rows that were found, no more. The bloom filters are for other readers: a
//! filter is 128 KiB a row group, and the page of ids that it could spare is 20 to 60.

use super::{PartError, PartFile, RunFolder};
use crate::engine::input::Input;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Int64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::PageIndexPolicy;
use std::cmp::Ordering;
use std::ops::Range;
use tokio::runtime::Handle;

/// A customer as the id column has it.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    Integer(i64),
    Text(&'a str),
}

impl Key<'_> {
    /// How a value of the column compares with the key; nothing is equal to a null.
    fn compare(self, values: &ArrayRef, row: usize) -> Option<Ordering> {
        if values.is_null(row) {
            return None;
        }
        match (self, values.data_type()) {
            (Self::Integer(key), DataType::Int64) => {
                Some(values.as_primitive::<Int64Type>().value(row).cmp(&key))
            }
            (Self::Text(key), DataType::Utf8) => Some(values.as_string::<i32>().value(row).cmp(key)),
            _ => None,
        }
    }
}

/// The rows of a customer; None if the part has none. Memory: the pages that hold them.
pub fn rows(
    folder: &RunFolder,
    part: &PartFile,
    key: Key,
    runtime: &Handle,
) -> Result<Option<RecordBatch>, PartError> {
    let file = folder.published(part)?;
    let fail = |source: Box<dyn std::error::Error + Send + Sync>| PartError::Read {
        path: file.name.clone(),
        source,
    };
    let input = Input::open(&file, runtime).map_err(|error| fail(error.into()))?;
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let metadata = ArrowReaderMetadata::load(&input, options).map_err(|error| fail(error.into()))?;
    let reader = Reader { input, metadata, key };
    let mut found = Vec::new();
    for group in 0..reader.metadata.metadata().num_row_groups() {
        found.extend(reader.of_group(group).map_err(|error| fail(error.into()))?);
    }
    match found.first() {
        None => Ok(None),
        Some(first) => {
            let schema = first.schema();
            concat_batches(&schema, &found).map(Some).map_err(|error| fail(error.into()))
        }
    }
}

struct Reader<'a> {
    input: Input,
    metadata: ArrowReaderMetadata,
    key: Key<'a>,
}

impl Reader<'_> {
    /// The customer's rows of a row group.
    fn of_group(&self, group: usize) -> Result<Vec<RecordBatch>, ParquetError> {
        let Some(pages) = self.pages(group)? else { return Ok(Vec::new()) };
        let ids = self.read(group, &pages, true)?;
        let mut range: Option<Range<usize>> = None;
        let mut at = pages.start;
        for batch in ids {
            for row in 0..batch.num_rows() {
                if self.key.compare(batch.column(0), row) == Some(Ordering::Equal) {
                    let from = range.map_or(at + row, |range| range.start);
                    range = Some(from..at + row + 1);
                }
            }
            at += batch.num_rows();
        }
        match range {
            Some(range) => self.read(group, &range, false),
            None => Ok(Vec::new()),
        }
    }

    /// The rows of the pages that can hold the key; all of the row group without a page index.
    fn pages(&self, group: usize) -> Result<Option<Range<usize>>, ParquetError> {
        let metadata = self.metadata.metadata();
        let rows = usize::try_from(metadata.row_group(group).num_rows()).unwrap_or(0);
        let id = StatisticsConverter::try_new(
            "customer_id",
            self.metadata.schema(),
            metadata.file_metadata().schema_descr(),
        )?;
        let can_hold = |mins: &ArrayRef, maxs: &ArrayRef, at: usize| {
            self.key.compare(mins, at) != Some(Ordering::Greater)
                && self.key.compare(maxs, at) != Some(Ordering::Less)
        };
        let (mins, maxs) = (
            id.row_group_mins([metadata.row_group(group)])?,
            id.row_group_maxes([metadata.row_group(group)])?,
        );
        if !can_hold(&mins, &maxs, 0) {
            return Ok(None);
        }
        let (Some(columns), Some(offsets)) = (metadata.column_index(), metadata.offset_index()) else {
            return Ok(Some(0..rows));
        };
        let mins = id.data_page_mins(columns, offsets, [&group])?;
        let maxs = id.data_page_maxes(columns, offsets, [&group])?;
        let starts: Vec<usize> =
            offsets[group][0].page_locations().iter().map(|page| page.first_row_index as usize).collect();
        let mut chosen: Option<Range<usize>> = None;
        for (page, start) in starts.iter().enumerate().filter(|(page, _)| can_hold(&mins, &maxs, *page)) {
            let end = starts.get(page + 1).copied().unwrap_or(rows);
            chosen = Some(chosen.map_or(*start, |range| range.start)..end);
        }
        Ok(chosen)
    }

    /// Some rows of a row group, of all columns or of the ids alone. A remote file is asked once for all pages.
    fn read(
        &self,
        group: usize,
        rows: &Range<usize>,
        ids_only: bool,
    ) -> Result<Vec<RecordBatch>, ParquetError> {
        let input = self.input.prefetch(&self.bytes(group, rows, ids_only))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(input, self.metadata.clone());
        let mask = match ids_only {
            true => ProjectionMask::roots(builder.parquet_schema(), [0]),
            false => ProjectionMask::all(),
        };
        let selection =
            RowSelection::from(vec![RowSelector::skip(rows.start), RowSelector::select(rows.len())]);
        let reader = builder
            .with_row_groups(vec![group])
            .with_row_selection(selection)
            .with_projection(mask)
            .build()?;
        reader.map(|batch| batch.map_err(ParquetError::from)).collect()
    }

    /// Where the pages of some rows are, with the dictionaries before them.
    fn bytes(&self, group: usize, rows: &Range<usize>, ids_only: bool) -> Vec<Range<u64>> {
        let metadata = self.metadata.metadata();
        let Some(offsets) = metadata.offset_index() else { return Vec::new() };
        let columns = metadata.row_group(group).columns();
        let columns = if ids_only { &columns[..1] } else { columns };
        let mut ranges = Vec::new();
        for (column, offsets) in columns.iter().zip(&offsets[group]) {
            let pages = offsets.page_locations();
            let (start, _) = column.byte_range();
            if let Some(first) = pages.first().filter(|first| first.offset as u64 > start) {
                ranges.push(start..first.offset as u64);
            }
            for (number, page) in pages.iter().enumerate() {
                let end = pages.get(number + 1).map_or(usize::MAX, |next| next.first_row_index as usize);
                if (page.first_row_index as usize) < rows.end && end > rows.start {
                    let offset = page.offset as u64;
                    ranges.push(offset..offset + page.compressed_page_size as u64);
                }
            }
        }
        ranges
    }
}
