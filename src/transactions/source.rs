//! The input files: their schemas checked before any work, cut into units, and read as batches of the
//! mapped columns.

mod footer;
mod id_pages;
mod opening;
mod reading;

use super::InputError;
use super::left_out::LeftOut;
use crate::config::resolve::{OnBadFile, Transactions};
use crate::engine::input::Input;
use crate::engine::location::{self, InputFile};
use crate::privacy::Ids;
use arrow::array::ArrayRef;
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::SchemaRef;
use footer::Footer;
use opening::open_sources;
pub use opening::{csv_schema, is_csv};
pub use reading::{Batches, Pass};
use std::ops::Range;
use std::sync::Arc;
use tokio::runtime::Handle;

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
    /// Packed keys of the customers, in the place of their column.
    pub keys: Option<ScalarBuffer<u64>>,
    pub rows: usize,
    /// Rows of customers who are to be forgotten, ascending.
    pub forgotten: Vec<usize>,
}

impl Batch {
    pub fn column(&self, role: Role) -> Option<&ArrayRef> {
        self.columns[role as usize].as_ref()
    }

    /// The same with the column of customers, if there are keys in its place.
    pub fn with_ids(&self) -> Option<Self> {
        let ids = id_pages::texts_of(self.keys.as_ref()?).finish();
        let mut columns = self.columns.clone();
        columns[Role::Customer as usize] = Some(Arc::new(ids));
        Some(Self { columns, keys: None, rows: self.rows, forgotten: self.forgotten.clone() })
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

    /// A pass through all units on so many threads, with `ahead` bytes at the most for each that are fetched ahead.
    pub fn pass<'a>(&'a self, threads: usize, ahead: u64, runtime: &'a Handle) -> Pass<'a> {
        Pass::new(self, threads, ahead, runtime)
    }

    /// Reads customers and times of a unit, of its rows `stretches` alone where it has row groups.
    pub fn read_sample(
        &self,
        unit: Unit,
        stretches: &[Range<usize>],
        runtime: &Handle,
    ) -> Result<Batches<'_>, InputError> {
        let roles = [Role::Customer, Role::Time];
        self.sources[unit.source].read(unit.row_group, &roles, Some(stretches), runtime, None, false)
    }

    /// Whether a unit is one of several that a single pass must go through from its start.
    pub fn is_csv(&self, unit: Unit) -> bool {
        matches!(self.sources[unit.source].kind, SourceKind::Csv { .. })
    }
}

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
