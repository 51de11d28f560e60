//! Published tables as rows and columns to compare.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use packwise::runs::manifest::Manifest;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::path::Path;

pub fn read_parquet(path: &Path) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

pub fn read_schema(path: &Path) -> arrow::datatypes::SchemaRef {
    ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().schema().clone()
}

/// A cell as text that two different values never share: floats to the last bit.
pub fn cell(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "∅".into();
    }
    match column.data_type() {
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        DataType::Date32 => column.as_primitive::<Date32Type>().value(row).to_string(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            column.as_primitive::<TimestampMicrosecondType>().value(row).to_string()
        }
        other => panic!("no published column is {other}"),
    }
}

/// A table as lines of text, first the names of the columns.
pub fn lines(batch: &RecordBatch) -> Vec<String> {
    lines_without(batch, &[])
}

/// [`lines`] without some columns.
pub fn lines_without(batch: &RecordBatch, left_out: &[&str]) -> Vec<String> {
    let schema = batch.schema();
    let kept: Vec<usize> = (0..batch.num_columns())
        .filter(|at| !left_out.contains(&schema.field(*at).name().as_str()))
        .collect();
    let names: Vec<&str> = kept.iter().map(|at| schema.field(*at).name().as_str()).collect();
    let mut lines = vec![names.join("|")];
    for row in 0..batch.num_rows() {
        let cells: Vec<String> = kept.iter().map(|at| cell(batch.column(*at), row)).collect();
        lines.push(cells.join("|"));
    }
    lines
}

/// Fails with the first line that differs.
pub fn assert_same(what: &str, left: &[String], right: &[String]) {
    for (number, (a, b)) in left.iter().zip(right).enumerate() {
        assert_eq!(a, b, "{what}: line {number} differs");
    }
    assert_eq!(left.len(), right.len(), "{what}: number of lines");
}

/// A column of a batch by name.
pub fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a ArrayRef {
    batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"))
}

pub fn integers(batch: &RecordBatch, name: &str) -> Int64Array {
    cast(column(batch, name), &DataType::Int64).unwrap().as_primitive::<Int64Type>().clone()
}

pub fn floats(batch: &RecordBatch, name: &str) -> Float64Array {
    column(batch, name).as_primitive::<Float64Type>().clone()
}

pub fn texts(batch: &RecordBatch, name: &str) -> Vec<String> {
    let column = cast(column(batch, name), &DataType::Utf8).unwrap();
    (0..batch.num_rows()).map(|row| cell(&column, row)).collect()
}

/// A figure of the `data_quality` table; None if it is not there.
pub fn measure(run: &Manifest, name: &str) -> Option<f64> {
    run.quality.data.iter().find(|measure| measure.measure == name).and_then(|measure| measure.value)
}

/// The text of such a figure.
pub fn measure_text(run: &Manifest, name: &str) -> Option<String> {
    run.quality.data.iter().find(|measure| measure.measure == name).and_then(|measure| measure.text.clone())
}
