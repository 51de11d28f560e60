//! Rejected rows of a run as an input file, to be read together with the dumps once the reason is mended.
//!
//! A dump that is still there is read again by every run, and a row that is no longer rejected is then counted by
//! itself. Only rows of dumps that are gone have to be brought back, and only those are written, so that
//! nothing counts twice.

use super::InputError;
use crate::config::resolve::{FileFormat, Transactions};
use crate::engine::part::{PartReader, RunFolder};
use crate::runs::manifest::Manifest;
use crate::tables::QUARANTINE;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::ArrowWriter;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    pub path: PathBuf,
    pub rows: u64,
    /// Rows of files that are still part of the input.
    pub still_there: u64,
    /// Rows that were rejected after the shuffle, whose file is not known.
    pub unknown_file: u64,
}

/// What cannot be written, and why.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("cannot write {path}")]
    Write {
        path: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{path} is there already")]
    There { path: String },
    #[error("run {id} holds pseudonyms: its rejected rows cannot be read as input")]
    Pseudonyms { id: String },
    #[error(transparent)]
    Input(#[from] InputError),
}

/// Where the columns of the quarantine table go.
struct Shape {
    schema: SchemaRef,
    has_integer_customers: bool,
    /// For each column of the schema, the place of its values after file and row; None: nothing is known.
    from: Vec<Option<usize>>,
}

impl Shape {
    fn new(settings: &Transactions, has_integer_customers: bool) -> Self {
        let columns = &settings.columns;
        let mapped = [
            (Some(&columns.customer), Some(2)),
            (Some(&columns.package), Some(3)),
            (Some(&columns.time), Some(4)),
            (columns.channel.as_ref(), Some(5)),
            (columns.amount.as_ref(), Some(6)),
            (columns.quantity.as_ref(), Some(7)),
            (columns.transaction.as_ref(), None),
        ];
        let (mut fields, mut from) = (Vec::new(), Vec::new());
        for (name, place) in mapped.into_iter().filter_map(|(name, place)| Some((name?, place))) {
            let is_integer = place == Some(2) && has_integer_customers;
            let kind = if is_integer { DataType::Int64 } else { DataType::Utf8 };
            fields.push(Field::new(name, kind, true));
            from.push(place);
        }
        Self { schema: Arc::new(Schema::new(fields)), has_integer_customers, from }
    }

    fn batch(&self, rejected: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let column = |place: &Option<usize>| -> Result<ArrayRef, ArrowError> {
            Ok(match place {
                None => Arc::new(StringArray::new_null(rejected.num_rows())),
                Some(2) if self.has_integer_customers => {
                    let ids = rejected.column(2).as_string::<i32>();
                    Arc::new(ids.iter().map(|id| id?.trim().parse().ok()).collect::<Int64Array>())
                }
                Some(place) => cast(rejected.column(*place), &DataType::Utf8)?,
            })
        };
        RecordBatch::try_new(self.schema.clone(), self.from.iter().map(column).collect::<Result<_, _>>()?)
    }
}

enum Writer {
    Parquet(Box<ArrowWriter<File>>),
    Csv(Box<arrow::csv::Writer<File>>),
}

/// Writes the rejected rows of a run to a file in `out`, in the columns of the input. `present` are the names of the
/// files that are read now; with `all` their rows are written as well. Memory: a batch.
pub fn write(
    manifest: &Manifest,
    folder: &RunFolder,
    settings: &Transactions,
    present: &BTreeSet<String>,
    all: bool,
    out: &Path,
    runtime: &Handle,
) -> Result<Replayed, ReplayError> {
    if manifest.pseudonyms.is_some() {
        return Err(ReplayError::Pseudonyms { id: manifest.run_id.clone() });
    }
    let is_csv = settings.format == FileFormat::Csv;
    let path = out.join(format!("replay-{}.{}", manifest.run_id, if is_csv { "csv" } else { "parquet" }));
    let fail = |source: Box<dyn std::error::Error + Send + Sync>| ReplayError::Write {
        path: path.display().to_string(),
        source,
    };
    let ids = manifest.tables.get("customer_features").and_then(|table| table.columns.first());
    let shape = Shape::new(settings, ids.is_some_and(|(_, kind)| *kind == DataType::Int64.to_string()));
    std::fs::create_dir_all(out).map_err(|error| fail(error.into()))?;
    let file = match File::create_new(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(ReplayError::There { path: path.display().to_string() });
        }
        Err(error) => return Err(fail(error.into())),
    };
    let mut writer = match is_csv {
        true => Writer::Csv(Box::new(
            arrow::csv::WriterBuilder::new().with_header(true).with_delimiter(settings.delimiter).build(file),
        )),
        false => Writer::Parquet(Box::new(
            ArrowWriter::try_new(file, shape.schema.clone(), None).map_err(|error| fail(error.into()))?,
        )),
    };
    let mut done = Replayed { path: path.clone(), rows: 0, still_there: 0, unknown_file: 0 };
    let columns = ["file", "row", "customer_id", "package_code", "time", "channel", "amount", "quantity"];
    let parts = manifest.tables.get(QUARANTINE.name).map(|table| table.files.as_slice()).unwrap_or_default();
    for part in parts {
        let reader = PartReader::open(folder, part, &columns, runtime).map_err(InputError::from)?;
        for batch in reader {
            let batch = batch.map_err(InputError::from)?;
            let files = batch.column(0).as_string::<i32>();
            let chosen: BooleanArray = (0..batch.num_rows())
                .map(|row| {
                    let is_there = files.is_valid(row) && present.contains(files.value(row));
                    done.unknown_file += u64::from(files.is_null(row));
                    done.still_there += u64::from(is_there);
                    Some(all || (files.is_valid(row) && !is_there))
                })
                .collect();
            let wanted = filter_record_batch(&batch, &chosen)
                .and_then(|rejected| shape.batch(&rejected))
                .map_err(|error| fail(error.into()))?;
            done.rows += wanted.num_rows() as u64;
            match &mut writer {
                Writer::Csv(csv) => csv.write(&wanted).map_err(|error| fail(error.into()))?,
                Writer::Parquet(parquet) => parquet.write(&wanted).map_err(|error| fail(error.into()))?,
            }
        }
    }
    if let Writer::Parquet(parquet) = writer {
        parquet.close().map_err(|error| fail(error.into()))?;
    }
    if done.rows == 0 {
        // Nothing to bring back: an empty file would only be in the way.
        std::fs::remove_file(&path).map_err(|error| fail(error.into()))?;
    }
    Ok(done)
}
