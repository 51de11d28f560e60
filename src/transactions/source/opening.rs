//! Opens input files: the footer or header of each, and where every mapped column is in it.

use super::footer::Footer;
use super::{Binding, Cause, Source, SourceKind, storage, unreadable};
use crate::config::resolve::{FileFormat, Transactions};
use crate::engine::input::Input;
use crate::engine::location::{self, InputFile, Location};
use crate::privacy::Ids;
use crate::transactions::InputError;
use crate::transactions::text_column::is_code;
use crate::transactions::times::is_time;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;
use tokio::runtime::Handle;

/// Opens files in their order: those of an object store at the same time, since each is a wait for its answers.
pub(super) fn open_sources(
    files: &[InputFile],
    config: &Transactions,
    ids: &Arc<Ids>,
    runtime: &Handle,
) -> Vec<Result<Source, InputError>> {
    let open = |file: &InputFile| open_source(file.clone(), config, ids, runtime);
    if files.iter().all(|file| matches!(file.location, Location::Local(_))) {
        return files.iter().map(open).collect();
    }
    std::thread::scope(|scope| {
        let opening: Vec<_> = files.iter().map(|file| scope.spawn(move || open(file))).collect();
        let opened = opening.into_iter().zip(files).map(|(opened, file)| match opened.join() {
            Ok(opened) => opened,
            Err(_) => open(file),
        });
        opened.collect()
    })
}

fn open_source(
    file: InputFile,
    config: &Transactions,
    ids: &Arc<Ids>,
    runtime: &Handle,
) -> Result<Source, InputError> {
    let input = Input::open(&file, runtime).map_err(|error| storage(&file, error))?;
    let unreadable = |source: Cause| unreadable(&file, &input, source);
    let columns = &config.columns;
    let mapped: [(&str, Option<&String>); 7] = [
        ("customer", Some(&columns.customer)),
        ("package", Some(&columns.package)),
        ("time", Some(&columns.time)),
        ("channel", columns.channel.as_ref()),
        ("amount", columns.amount.as_ref()),
        ("quantity", columns.quantity.as_ref()),
        ("transaction", columns.transaction.as_ref()),
    ];
    let (kind, schema) = if is_csv(config.format, &file.name) {
        let schema = csv_schema(&input, &file, config.delimiter)?;
        (SourceKind::Csv { schema: schema.clone(), delimiter: config.delimiter }, schema)
    } else {
        let repeating: Vec<String> =
            [Some(&columns.package), columns.channel.as_ref()].into_iter().flatten().cloned().collect();
        let (footer, schema) =
            Footer::read(&input, &file, &columns.customer, repeating).map_err(unreadable)?;
        (SourceKind::Parquet(footer), schema)
    };
    let folders = location::hive_values(&file.name);
    let mut bindings = Vec::with_capacity(mapped.len());
    for (number, (role, name)) in mapped.iter().enumerate() {
        let binding = match name {
            None => Binding::NotMapped,
            Some(name) => match schema.index_of(name) {
                Ok(index) => {
                    let data_type = schema.field(index).data_type();
                    let wanted = wanted_type(number, data_type);
                    if let Some(wanted) = wanted {
                        return Err(InputError::WrongType {
                            path: file.name.clone(),
                            column: (*name).clone(),
                            role,
                            found: data_type.to_string(),
                            wanted,
                        });
                    }
                    Binding::Column(index)
                }
                Err(_) => match folders.iter().rev().find(|(key, _)| key == *name) {
                    Some((_, value)) => Binding::Folder(value.clone()),
                    None => {
                        return Err(InputError::missing_column(
                            &file.name,
                            name,
                            &format!("transactions.columns.{role}"),
                            &schema,
                        ));
                    }
                },
            },
        };
        bindings.push(binding);
    }
    Ok(Source { file, bindings, kind, ids: ids.clone() })
}

/// What a role takes, if not this type.
fn wanted_type(role: usize, data_type: &DataType) -> Option<&'static str> {
    let is_text = matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    match role {
        0 | 1 | 3 | 6 => (!is_code(data_type)).then_some("integer or text"),
        2 => (!is_time(data_type)).then_some("date, timestamp or ISO 8601 text"),
        _ => (!(data_type.is_numeric() || is_text)).then_some("a number"),
    }
}

/// Whether a file is read as CSV.
pub fn is_csv(format: FileFormat, name: &str) -> bool {
    match format {
        FileFormat::Csv => true,
        FileFormat::Parquet => false,
        FileFormat::Auto => {
            let name = name.to_ascii_lowercase();
            [".csv", ".csv.gz", ".csv.zst", ".csv.zstd", ".tsv", ".txt"]
                .iter()
                .any(|ending| name.ends_with(ending))
        }
    }
}

/// The header of a CSV file as a schema of text columns.
pub fn csv_schema(input: &Input, file: &InputFile, delimiter: u8) -> Result<SchemaRef, InputError> {
    let unreadable = |source: Cause| unreadable(file, input, source);
    let reader = input.unpacked(&file.name).map_err(|error| unreadable(error.into()))?;
    let (inferred, _) = Format::default()
        .with_header(true)
        .with_delimiter(delimiter)
        .infer_schema(reader, Some(0))
        .map_err(|error| unreadable(error.into()))?;
    if inferred.fields().is_empty() {
        return Err(InputError::NoHeader { path: file.name.clone() });
    }
    let fields = inferred
        .fields()
        .iter()
        .map(|field| Field::new(field.name().trim_start_matches('\u{feff}'), DataType::Utf8, true));
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}
