//! Row groups of a part, encoded from Arrow arrays (the Parquet format: Encodings.md, parquet.thrift).
//!
//! A column is taken page by page: levels and values into one buffer, compressed, behind the pages before. Which
//! encoding it has is decided by its kind before (`part/storage.rs`), and only a dictionary that grows too large gives
//! way to plain values, at the end of a page. Pages end at a number of rows of the row group (or of bytes of text), so
//! the bytes do not depend on how rows are cut into batches. Buffers stay from page to page and from row group to row
//! group. Memory: one encoded row group, and of each column the values of a page and its dictionary.
//!
//! The file around it (footer, page indexes, filters) is parquet-rs's.

mod bits;
mod chunk;
mod compress;
mod delta;
pub(crate) mod dictionary;
mod flags;
mod hybrid;
mod levels;
mod numbers;
mod statistics;
#[cfg(test)]
mod tests;
mod texts;
mod words;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use chunk::{Chunk, Known};
pub use compress::Codec;
use compress::Compressors;
use flags::Flags;
use levels::Levels;
use numbers::Numbers;
use parquet::basic::Type;
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor, TypePtr};
use statistics::Finder;
use std::cell::RefCell;
use std::io::Write;
use texts::Texts;

/// How the values of a column are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As they are.
    Plain,
    /// Different values once a row group, as long as they take fewer bytes than this; else as they are.
    Dictionary { most_bytes: usize },
    /// Integers as differences.
    Deltas,
    /// Texts as what differs from the text before.
    Fronts,
}

/// How a column is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnStorage {
    pub form: Form,
    pub codec: Codec,
    /// Rows are looked up by it: it has the bounds of every page, and a bloom filter. Not with a dictionary.
    pub is_looked_up: bool,
}

/// How a part is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    pub group_rows: usize,
    pub page_rows: usize,
    pub columns: Vec<ColumnStorage>,
}

/// One row group after the other.
pub struct Group {
    schema: TypePtr,
    storage: Storage,
    columns: Vec<Column>,
    scratch: Scratch,
    rows: usize,
}

thread_local! {
    /// What the last parts of this thread have left: their buffers are there already, and a stage writes many parts of
    /// the same tables, most of them a row group or less. Freed memory would go back to the system and be cleared again.
    static SPARE: RefCell<Vec<Group>> = const { RefCell::new(Vec::new()) };
}

/// How many are kept, and the most bytes that one may hold.
const SPARES: usize = 3;
const SPARE_BYTES: usize = 8 << 20;

/// What columns use in turn.
#[derive(Default)]
struct Scratch {
    body: Vec<u8>,
    indices: Vec<u32>,
    compressors: Compressors,
}

/// Where the pages of a column go.
struct Target<'a> {
    levels: &'a mut Levels,
    chunk: &'a mut Chunk,
    body: &'a mut Vec<u8>,
    indices: &'a mut Vec<u32>,
    compressors: &'a mut Compressors,
}

struct Column {
    name: String,
    levels: Levels,
    chunk: Chunk,
    values: Values,
}

enum Values {
    Small(Numbers<i32>),
    Integers(Numbers<i64>),
    Floats(Numbers<f64>),
    Flags(Flags),
    Texts(Box<Texts>),
}

impl Group {
    /// For a schema of columns without any nesting; with buffers of an earlier part, if this thread has any.
    pub fn new(schema: &SchemaDescriptor, storage: Storage) -> Result<Self, ParquetError> {
        let schema_of = schema.root_schema_ptr();
        let fits = |spare: &Self| spare.schema == schema_of && spare.storage == storage;
        let spare = SPARE.with_borrow_mut(|spares| {
            let at = spares.iter().position(fits)?;
            Some(spares.remove(at))
        });
        if let Some(spare) = spare {
            return Ok(spare);
        }
        let columns = schema.columns().iter().zip(&storage.columns);
        let columns =
            columns.map(|(descr, column)| Column::new(descr, *column, &storage)).collect::<Result<_, _>>()?;
        Ok(Self { schema: schema_of, storage, columns, scratch: Scratch::default(), rows: 0 })
    }

    /// Leaves the buffers to the next part like this, unless they are large. Only after the last row group.
    pub fn leave(self) {
        let held: usize = self.columns.iter().map(|column| column.chunk.held()).sum();
        if self.rows > 0 || held > SPARE_BYTES {
            return;
        }
        SPARE.with_borrow_mut(|spares| {
            if spares.len() == SPARES {
                spares.remove(0);
            }
            spares.push(self);
        });
    }

    /// Appends rows, and writes every row group that is full.
    pub fn push<W: Write + Send>(
        &mut self,
        batch: &RecordBatch,
        file: &mut SerializedFileWriter<W>,
    ) -> Result<(), ParquetError> {
        if batch.num_columns() != self.columns.len() {
            let (has, wanted) = (batch.num_columns(), self.columns.len());
            return Err(ParquetError::General(format!("a batch has {has} columns, not {wanted}")));
        }
        let mut at = 0;
        while at < batch.num_rows() {
            let rows = (self.storage.group_rows - self.rows).min(batch.num_rows() - at);
            for (column, array) in self.columns.iter_mut().zip(batch.columns()) {
                column.push(&array.slice(at, rows), &mut self.scratch)?;
            }
            at += rows;
            self.rows += rows;
            if self.rows == self.storage.group_rows {
                self.finish(file)?;
            }
        }
        Ok(())
    }

    /// Writes the row group, if it has rows, and begins the next.
    pub fn finish<W: Write + Send>(
        &mut self,
        file: &mut SerializedFileWriter<W>,
    ) -> Result<(), ParquetError> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = file.next_row_group()?;
        for column in &mut self.columns {
            let known = column.finish(&mut self.scratch)?;
            let closed = column.chunk.close(known)?;
            group.append_column(&column.chunk.bytes(), closed)?;
            column.chunk.clear();
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

impl Column {
    fn new(descr: &ColumnDescPtr, stored: ColumnStorage, storage: &Storage) -> Result<Self, ParquetError> {
        let physical = descr.physical_type();
        let finder = stored.is_looked_up.then(|| Finder::new(physical, storage.group_rows));
        let values = match physical {
            Type::INT32 => Values::Small(Numbers::new(stored.form, finder)),
            Type::INT64 => Values::Integers(Numbers::new(stored.form, finder)),
            // The format has differences of integers alone.
            Type::DOUBLE if stored.form == Form::Deltas => Values::Floats(Numbers::new(Form::Plain, finder)),
            Type::DOUBLE => Values::Floats(Numbers::new(stored.form, finder)),
            Type::BOOLEAN => Values::Flags(Flags::new()),
            Type::BYTE_ARRAY => Values::Texts(Box::new(Texts::new(stored.form, finder))),
            other => return Err(ParquetError::NYI(format!("columns of {other}: {}", descr.name()))),
        };
        Ok(Self {
            name: descr.name().to_owned(),
            levels: Levels::new(descr.max_def_level() > 0, storage.page_rows),
            chunk: Chunk::new(descr.clone(), stored.codec),
            values,
        })
    }

    fn push(&mut self, array: &ArrayRef, scratch: &mut Scratch) -> Result<(), ParquetError> {
        let Self { levels, chunk, .. } = self;
        let Scratch { body, indices, compressors } = scratch;
        let to = &mut Target { levels, chunk, body, indices, compressors };
        let nulls = array.nulls();
        match (&mut self.values, array.data_type()) {
            (Values::Small(numbers), DataType::Int32) => {
                numbers.push(array.as_primitive::<Int32Type>().values(), nulls, to)
            }
            (Values::Small(numbers), DataType::Date32) => {
                numbers.push(array.as_primitive::<Date32Type>().values(), nulls, to)
            }
            (Values::Integers(numbers), DataType::Int64) => {
                numbers.push(array.as_primitive::<Int64Type>().values(), nulls, to)
            }
            (Values::Integers(numbers), DataType::Timestamp(TimeUnit::Microsecond, _)) => {
                numbers.push(array.as_primitive::<TimestampMicrosecondType>().values(), nulls, to)
            }
            (Values::Floats(numbers), DataType::Float64) => {
                numbers.push(array.as_primitive::<Float64Type>().values(), nulls, to)
            }
            (Values::Flags(flags), DataType::Boolean) => flags.push(array.as_boolean(), to),
            (Values::Texts(texts), DataType::Utf8) => texts.push(array.as_string(), to),
            (Values::Texts(texts), DataType::Dictionary(keys, values))
                if (keys.as_ref(), values.as_ref()) == (&DataType::Int32, &DataType::Utf8) =>
            {
                texts.push_keys(array.as_dictionary::<Int32Type>(), to)
            }
            (_, other) => Err(ParquetError::NYI(format!("{other} in the column {}", self.name))),
        }
    }

    /// Ends the last page.
    fn finish(&mut self, scratch: &mut Scratch) -> Result<Known, ParquetError> {
        let Self { levels, chunk, .. } = self;
        let Scratch { body, indices, compressors } = scratch;
        if !levels.is_empty() {
            let to = &mut Target { levels, chunk, body, indices, compressors };
            match &mut self.values {
                Values::Small(numbers) => numbers.end_page(to)?,
                Values::Integers(numbers) => numbers.end_page(to)?,
                Values::Floats(numbers) => numbers.end_page(to)?,
                Values::Flags(flags) => flags.end_page(to)?,
                Values::Texts(texts) => texts.end_page(to)?,
            }
        }
        match &mut self.values {
            Values::Small(numbers) => numbers.finish(chunk, compressors, body),
            Values::Integers(numbers) => numbers.finish(chunk, compressors, body),
            Values::Floats(numbers) => numbers.finish(chunk, compressors, body),
            Values::Flags(flags) => Ok(flags.finish(chunk)),
            Values::Texts(texts) => texts.finish(chunk, compressors),
        }
    }
}

/// Bits of an index into a dictionary. One at least: readers differ in what they make of none.
fn index_width(entries: usize) -> u32 {
    bits::width_of(entries.saturating_sub(1) as u64).max(1)
}
