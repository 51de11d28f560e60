//! The input files: their schemas checked before any work, cut into units, and read as batches of the
//! mapped columns.

mod footer;

use super::InputError;
use super::left_out::LeftOut;
use super::text_column::is_code;
use super::times::is_time;
use crate::config::resolve::{FileFormat, OnBadFile, Transactions};
use crate::engine::guard::{Guarded, guarded};
use crate::engine::input::Input;
use crate::engine::location::{self, InputFile, Location};
use crate::privacy::Ids;
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use footer::Footer;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::sync::Arc;
use tokio::runtime::Handle;

/// Rows of a batch on the way through the normaliser.
const BATCH: usize = 32_768;
/// Bytes that a CSV row is taken to have when rows are estimated, and how much packing saves.
const CSV_ROW_BYTES: u64 = 48;
const CSV_PACKING: u64 = 6;
/// Files of an object store that are opened at the same time.
const OPENED_TOGETHER: usize = 16;
/// Bytes of footers that are kept from the look at the schemas to the pass.
const KEPT_FOOTERS: usize = 32 << 20;

/// The mapped columns, in the order in which batches hold them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Customer,
    Package,
    Time,
    Channel,
    Amount,
    Quantity,
    Transaction,
}

/// One batch: an array for every role, None where the role is not mapped.
pub struct Batch {
    pub columns: [Option<ArrayRef>; 7],
    pub rows: usize,
    /// Rows of customers who are to be forgotten, ascending.
    pub forgotten: Vec<usize>,
}

impl Batch {
    pub fn column(&self, role: Role) -> Option<&ArrayRef> {
        self.columns[role as usize].as_ref()
    }
}

/// Where a role's values come from in one file.
#[derive(Debug, Clone)]
enum Binding {
    /// Column of the file's schema.
    Column(usize),
    /// `key=value` in the file's path; None where the writer had no value.
    Folder(Option<String>),
    NotMapped,
}

/// A file with what its footer or header told.
pub struct Source {
    pub file: InputFile,
    bindings: Vec<Binding>,
    kind: SourceKind,
    ids: Arc<Ids>,
}

enum SourceKind {
    Parquet(Footer),
    Csv { schema: SchemaRef, delimiter: u8 },
}

/// A piece of work: a row group of a Parquet file, or a whole CSV file.
#[derive(Debug, Clone, Copy)]
pub struct Unit {
    pub source: usize,
    pub row_group: usize,
    /// Row of the file that the unit starts with, from 0.
    pub first_row: u64,
    /// Exact for Parquet, estimated for CSV.
    pub rows: u64,
}

/// All sources, their units in order, and whether customers are integers or text.
pub struct Plan {
    pub sources: Vec<Source>,
    pub units: Vec<Unit>,
    /// Every file has integer customer ids.
    pub integer_customers: bool,
    /// Rows in all (estimated for CSV).
    pub rows: u64,
    pub bytes: u64,
    pub estimated: bool,
    /// Files that cannot be read and that the run goes without, in the order of the listing.
    pub left_out: Vec<LeftOut>,
    pub on_bad_file: OnBadFile,
    /// What becomes of customers' ids.
    pub ids: Arc<Ids>,
}

impl Plan {
    /// Lists the input and checks every file's schema. A file whose footer or header cannot be read is left out if
    /// the configuration says so.
    pub fn open(config: &Transactions, ids: Arc<Ids>, runtime: &Handle) -> Result<Self, InputError> {
        let files = location::list(&config.path, "transactions", runtime)?;
        let mut sources = Vec::with_capacity(files.len());
        let mut left_out = Vec::new();
        let mut kept = 0;
        for some in files.chunks(OPENED_TOGETHER) {
            for (file, opened) in some.iter().zip(open_sources(some, config, &ids, runtime)) {
                match opened {
                    Ok(mut source) => {
                        if let Some(footer) = source.footer() {
                            kept += footer.bytes();
                            if kept > KEPT_FOOTERS {
                                footer.forget();
                            }
                        }
                        sources.push(source);
                    }
                    Err(error)
                        if config.on_bad_file == OnBadFile::Quarantine && error.bad_file().is_some() =>
                    {
                        left_out.push(LeftOut::new(file.clone(), &error));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Self::of(sources, left_out, config.on_bad_file, ids)
    }

    /// Takes files out, named with what is wrong with them.
    pub(super) fn leave_out(&mut self, bad: Vec<LeftOut>) -> Result<(), InputError> {
        let mut sources = std::mem::take(&mut self.sources);
        sources.retain(|source| !bad.iter().any(|file| file.file.name == source.file.name));
        let mut left_out = std::mem::take(&mut self.left_out);
        left_out.extend(bad);
        left_out.sort_by(|a, b| a.file.name.cmp(&b.file.name));
        *self = Self::of(sources, left_out, self.on_bad_file, self.ids.clone())?;
        Ok(())
    }

    fn of(
        sources: Vec<Source>,
        left_out: Vec<LeftOut>,
        on_bad_file: OnBadFile,
        ids: Arc<Ids>,
    ) -> Result<Self, InputError> {
        if let (true, Some(first)) = (sources.is_empty(), left_out.first()) {
            return Err(InputError::AllLeftOut {
                files: left_out.len(),
                path: first.file.name.clone(),
                reason: first.reason.clone(),
            });
        }
        let integer_customers = sources.iter().all(Source::has_integer_customers);
        let mut units = Vec::new();
        for (number, source) in sources.iter().enumerate() {
            match &source.kind {
                SourceKind::Parquet(footer) => {
                    let mut first_row = 0;
                    for (row_group, rows) in footer.groups.iter().copied().enumerate() {
                        if rows > 0 {
                            units.push(Unit { source: number, row_group, first_row, rows });
                        }
                        first_row += rows;
                    }
                }
                SourceKind::Csv { .. } => {
                    let packed = !source.file.name.to_ascii_lowercase().ends_with(".csv");
                    let bytes = source.file.bytes * if packed { CSV_PACKING } else { 1 };
                    units.push(Unit {
                        source: number,
                        row_group: 0,
                        first_row: 0,
                        rows: bytes / CSV_ROW_BYTES + 1,
                    });
                }
            }
        }
        Ok(Self {
            ids,
            rows: units.iter().map(|unit| unit.rows).sum(),
            bytes: sources.iter().map(|source| source.file.bytes).sum(),
            estimated: sources.iter().any(|source| matches!(source.kind, SourceKind::Csv { .. })),
            integer_customers,
            sources,
            units,
            left_out,
            on_bad_file,
        })
    }

    /// Reads a unit batch by batch.
    pub fn read(
        &self,
        unit: Unit,
        runtime: &Handle,
    ) -> Result<Box<dyn Iterator<Item = Result<Batch, InputError>> + Send + '_>, InputError> {
        self.sources[unit.source].read(Some(unit.row_group), &ALL_ROLES, runtime)
    }

    /// Reads only the customer column of a unit.
    pub fn read_customers(
        &self,
        unit: Unit,
        runtime: &Handle,
    ) -> Result<Box<dyn Iterator<Item = Result<Batch, InputError>> + Send + '_>, InputError> {
        self.sources[unit.source].read(Some(unit.row_group), &[Role::Customer], runtime)
    }

    /// Whether a unit is one of several that a single pass must go through from its start.
    pub fn is_csv(&self, unit: Unit) -> bool {
        matches!(self.sources[unit.source].kind, SourceKind::Csv { .. })
    }
}

const ALL_ROLES: [Role; 7] = [
    Role::Customer,
    Role::Package,
    Role::Time,
    Role::Channel,
    Role::Amount,
    Role::Quantity,
    Role::Transaction,
];

impl Source {
    fn has_integer_customers(&self) -> bool {
        if self.ids.pseudonyms.is_some() {
            return false;
        }
        match (&self.bindings[Role::Customer as usize], &self.kind) {
            (Binding::Column(_), SourceKind::Parquet(footer)) => footer.integer_customers,
            _ => false,
        }
    }

    /// The footer, if it has one.
    fn footer(&mut self) -> Option<&mut Footer> {
        match &mut self.kind {
            SourceKind::Parquet(footer) => Some(footer),
            SourceKind::Csv { .. } => None,
        }
    }

    fn read(
        &self,
        row_group: Option<usize>,
        roles: &[Role],
        runtime: &Handle,
    ) -> Result<Box<dyn Iterator<Item = Result<Batch, InputError>> + Send + '_>, InputError> {
        let input = Input::open(&self.file, runtime).map_err(|source| storage(&self.file, source))?;
        let bytes = input.clone();
        let mut wanted: Vec<usize> = roles
            .iter()
            .filter_map(|role| match self.bindings[*role as usize] {
                Binding::Column(index) => Some(index),
                _ => None,
            })
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let roles = roles.to_vec();
        match &self.kind {
            SourceKind::Parquet(footer) => {
                let metadata = footer
                    .metadata(&input, &self.file, &wanted)
                    .map_err(|source| self.unreadable(&bytes, source))?;
                let mask = ProjectionMask::roots(
                    metadata.metadata().file_metadata().schema_descr(),
                    wanted.iter().copied(),
                );
                let groups: Vec<usize> = match row_group {
                    Some(group) => vec![group],
                    None => (0..metadata.metadata().num_row_groups()).collect(),
                };
                let ranges: Vec<std::ops::Range<u64>> = groups
                    .iter()
                    .flat_map(|group| metadata.metadata().row_group(*group).columns().iter().enumerate())
                    .filter(|(leaf, _)| mask.leaf_included(*leaf))
                    .map(|(_, column)| {
                        let (start, length) = column.byte_range();
                        start..start + length
                    })
                    .collect();
                let input = input.prefetch(&ranges).map_err(|source| self.unreadable(&bytes, source))?;
                let open = || {
                    ParquetRecordBatchReaderBuilder::new_with_metadata(input, metadata)
                        .with_projection(mask)
                        .with_row_groups(groups)
                        .with_batch_size(BATCH)
                        .build()
                };
                let reader = guarded(open)
                    .map_err(|source| self.unreadable(&bytes, source))?
                    .map_err(|source| self.unreadable(&bytes, source))?;
                Ok(Box::new(Guarded::new(reader).map(move |batch| {
                    let batch = batch
                        .and_then(|batch| match are_what_they_say(batch.columns()) {
                            Ok(()) => Ok(batch),
                            Err(error) => Err(error.into()),
                        })
                        .map_err(|source| self.unreadable(&bytes, source))?;
                    self.batch(batch.columns(), &wanted, &roles, batch.num_rows())
                })))
            }
            SourceKind::Csv { schema, delimiter } => {
                let reader =
                    input.unpacked(&self.file.name).map_err(|source| self.unreadable(&bytes, source))?;
                let reader = arrow::csv::ReaderBuilder::new(schema.clone())
                    .with_header(true)
                    .with_delimiter(*delimiter)
                    .with_projection(wanted.clone())
                    .with_batch_size(BATCH)
                    .build(reader)
                    .map_err(|source| self.unreadable(&bytes, source))?;
                Ok(Box::new(Guarded::new(reader).map(move |batch| {
                    let batch = batch.map_err(|source| self.unreadable(&bytes, source))?;
                    self.batch(batch.columns(), &wanted, &roles, batch.num_rows())
                })))
            }
        }
    }

    fn batch(
        &self,
        columns: &[ArrayRef],
        wanted: &[usize],
        roles: &[Role],
        rows: usize,
    ) -> Result<Batch, InputError> {
        let mut batch = Batch { columns: Default::default(), rows, forgotten: Vec::new() };
        for role in roles {
            batch.columns[*role as usize] = match &self.bindings[*role as usize] {
                Binding::Column(index) => {
                    wanted.binary_search(index).ok().map(|position| columns[position].clone())
                }
                Binding::Folder(value) => {
                    Some(Arc::new(StringArray::from(vec![value.as_deref(); rows])) as ArrayRef)
                }
                Binding::NotMapped => None,
            };
        }
        // Nothing after this sees an id that is not to be seen.
        if let Some(ids) = &mut batch.columns[Role::Customer as usize] {
            (*ids, batch.forgotten) = self.ids.column(ids).map_err(InputError::batch)?;
        }
        Ok(batch)
    }

    fn unreadable(
        &self,
        input: &Input,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> InputError {
        unreadable(&self.file, input, source.into())
    }
}

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What reading a file failed with: the storage if it did not give the bytes, else the file.
fn unreadable(file: &InputFile, input: &Input, source: Cause) -> InputError {
    if input.storage_failed() {
        return storage(file, source);
    }
    InputError::Unreadable { path: file.name.clone(), source }
}

fn storage(file: &InputFile, source: impl Into<Cause>) -> InputError {
    InputError::Storage { path: file.name.clone(), source: source.into() }
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

/// Fails if a column's values are not of the type that it has: a damaged footer can make the decoder give out bytes
/// as text.
fn are_what_they_say(columns: &[ArrayRef]) -> Result<(), ArrowError> {
    let is_text =
        |array: &ArrayRef| *array.data_type() != DataType::Utf8 || array.as_string_opt::<i32>().is_some();
    for column in columns {
        let values = column.as_any_dictionary_opt().map_or(column, |dictionary| dictionary.values());
        let same = match column.data_type() {
            DataType::Dictionary(_, declared) => values.data_type() == declared.as_ref(),
            _ => true,
        };
        if !same || !is_text(values) {
            let (declared, found) = (column.data_type(), values.data_type());
            return Err(ArrowError::ParquetError(format!("a column of type {declared} holds {found}")));
        }
    }
    Ok(())
}

/// Opens files in their order: those of an object store at the same time, since each is a wait for its answers.
fn open_sources(
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
