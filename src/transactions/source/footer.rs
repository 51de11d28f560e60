//! The footer of a Parquet file: read with the schemas, and kept for the pass while there is room.

use super::Cause;
use crate::engine::guard::guarded;
use crate::engine::input::Input;
use crate::engine::location::InputFile;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use std::sync::Arc;

/// What the footer of a file told.
pub(super) struct Footer {
    /// None if it is read again for every unit: the footers of many files are more than the rows in them.
    metadata: Option<ArrowReaderMetadata>,
    /// Rows of every row group.
    pub groups: Vec<u64>,
    pub integer_customers: bool,
    /// Columns that are asked for as dictionaries.
    repeating: Vec<String>,
}

impl Footer {
    /// Reads and checks a footer; with the schema that batches will have.
    pub fn read(
        input: &Input,
        file: &InputFile,
        customer: &str,
        repeating: Vec<String>,
    ) -> Result<(Self, SchemaRef), Cause> {
        let metadata = read(input, file, &repeating)?;
        let schema = metadata.schema().clone();
        let groups = metadata.metadata().row_groups().iter();
        let footer = Self {
            groups: groups.map(|group| u64::try_from(group.num_rows()).unwrap_or(0)).collect(),
            integer_customers: schema
                .field_with_name(customer)
                .is_ok_and(|field| field.data_type().is_integer() && *field.data_type() != DataType::UInt64),
            metadata: Some(metadata),
            repeating,
        };
        Ok((footer, schema))
    }

    /// The footer as the reader takes it, from the file again if it was not kept. `wanted`: columns that are to be read.
    pub fn metadata(
        &self,
        input: &Input,
        file: &InputFile,
        wanted: &[usize],
    ) -> Result<ArrowReaderMetadata, Cause> {
        if let Some(metadata) = &self.metadata {
            return Ok(metadata.clone());
        }
        let metadata = read(input, file, &self.repeating)?;
        let columns = metadata.schema().fields().len();
        if metadata.metadata().num_row_groups() != self.groups.len() || wanted.iter().any(|at| *at >= columns)
        {
            return Err("its footer is not the one that it had".into());
        }
        Ok(metadata)
    }

    /// The footer, if it was kept.
    pub fn kept(&self) -> Option<&ArrowReaderMetadata> {
        self.metadata.as_ref()
    }

    /// Bytes that keeping it takes.
    pub fn bytes(&self) -> usize {
        self.metadata.as_ref().map_or(0, |metadata| metadata.metadata().memory_size())
    }

    /// From now on it is read when it is needed.
    pub fn forget(&mut self) {
        self.metadata = None;
    }
}

fn read(input: &Input, file: &InputFile, repeating: &[String]) -> Result<ArrowReaderMetadata, Cause> {
    let read = || {
        let metadata = ArrowReaderMetadata::load(input, ArrowReaderOptions::new())?;
        check_places(&metadata, file.bytes)?;
        with_dictionaries(&metadata, repeating)
    };
    Ok(guarded(read)??)
}

/// Fails if the footer places a column outside of the file, or counts rows that cannot be.
fn check_places(metadata: &ArrowReaderMetadata, bytes: u64) -> Result<(), ParquetError> {
    for (number, group) in metadata.metadata().row_groups().iter().enumerate() {
        let bad = |what: String| Err(ParquetError::General(format!("row group {number}: {what}")));
        if group.num_rows() < 0 {
            return bad(format!("{} rows", group.num_rows()));
        }
        for column in group.columns() {
            let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
            let length = column.compressed_size();
            let end = u64::try_from(start).ok().zip(u64::try_from(length).ok());
            if end.and_then(|(start, length)| start.checked_add(length)).is_none_or(|end| end > bytes) {
                let name = column.column_path().string();
                return bad(format!(
                    "column {name} is {length} bytes from byte {start}, outside of the file"
                ));
            }
        }
    }
    Ok(())
}

/// Asks the reader for text columns that repeat as dictionaries, as Parquet stores them, so that no
/// text is compared twice.
fn with_dictionaries(
    metadata: &ArrowReaderMetadata,
    names: &[String],
) -> Result<ArrowReaderMetadata, ParquetError> {
    let fields: Vec<Arc<Field>> = metadata
        .schema()
        .fields()
        .iter()
        .map(|field| {
            let repeats = names.contains(field.name());
            let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            match field.data_type() {
                DataType::Utf8 if repeats => {
                    Arc::new(Field::new(field.name(), dictionary, field.is_nullable()))
                }
                _ => field.clone(),
            }
        })
        .collect();
    ArrowReaderMetadata::try_new(
        metadata.metadata().clone(),
        ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields))),
    )
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use arrow::array::{Int64Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;

    #[test]
    fn a_footer_that_was_not_kept_is_read_again() {
        let folder = crate::engine::scratch::Scratch::temporary().unwrap();
        let path = folder.path().join("a.parquet").display().to_string();
        let texts = || Arc::new(StringArray::from(vec!["x", "y", "x"])) as ArrayRef;
        let days = Arc::new(StringArray::from(vec!["2026-01-01"; 3])) as ArrayRef;
        let ids = Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
        let columns = [("MSISDN", ids), ("PACKAGE_CODE", texts()), ("BUY_DATE", days)];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let (config, _) = crate::config::load(None, &[format!("transactions.path={path}")]).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let read = |plan: &Plan| -> Vec<ArrayRef> {
            let batches = plan.pass(1, 0, runtime.handle()).read(0).unwrap();
            batches.flat_map(|batch| batch.unwrap().columns.into_iter().flatten()).collect()
        };
        let mut plan = Plan::open(&config.transactions, std::sync::Arc::default(), runtime.handle()).unwrap();
        let kept = read(&plan);
        let footer = plan.sources[0].footer().unwrap();
        assert!(footer.bytes() > 100);
        footer.forget();
        assert_eq!((footer.bytes(), kept.len()), (0, 3));
        assert_eq!(read(&plan), kept);
        // Another file in its place is told from it.
        std::fs::write(&path, b"PAR1").unwrap();
        assert!(plan.pass(1, 0, runtime.handle()).read(0).is_err());
    }
}
