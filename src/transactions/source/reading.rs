//! Reads the units of input files as batches of the mapped columns.

use super::id_pages::{IdPages, Ids};
use super::{Batch, Binding, Plan, Role, Source, SourceKind, unreadable};
use crate::engine::guard::{Guarded, guarded};
use crate::engine::input::{Fetch, Input};
use crate::transactions::InputError;
use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder, RowSelection};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

/// Rows of a batch on the way through the normaliser. Four times as many took a third more page faults: what a batch takes
/// is given back at once.
const BATCH: usize = 8192;
const ALL_ROLES: [Role; 7] = [
    Role::Customer,
    Role::Package,
    Role::Time,
    Role::Channel,
    Role::Amount,
    Role::Quantity,
    Role::Transaction,
];

/// The batches of a unit.
pub type Batches<'a> = Box<dyn Iterator<Item = Result<Batch, InputError>> + Send + 'a>;

/// A pass through the units of a plan in their order, by several threads. While a unit of an object store is decoded,
/// the bytes of the one that its thread is likely to take next are on their way.
pub struct Pass<'a> {
    plan: &'a Plan,
    threads: usize,
    /// A row group with more bytes in the columns that are read is not fetched ahead: it takes many requests at once as it is.
    most: u64,
    runtime: &'a Handle,
    /// Customers come as keys where they can.
    packed: bool,
    ahead: Mutex<Ahead>,
}

#[derive(Default)]
struct Ahead {
    fetches: BTreeMap<usize, Fetch>,
    /// The highest unit that is being read.
    begun: usize,
}

impl<'a> Pass<'a> {
    pub(super) fn new(plan: &'a Plan, threads: usize, most: u64, runtime: &'a Handle) -> Self {
        Self { plan, threads, most, runtime, packed: false, ahead: Mutex::default() }
    }

    /// Gives packed keys in the place of the texts of ids, where a file has these in a form that tells them quickly.
    pub fn packed(self, packed: bool) -> Self {
        Self { packed, ..self }
    }

    /// Reads a unit batch by batch.
    pub fn read(&self, number: usize) -> Result<Batches<'a>, InputError> {
        let ahead = || self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let fetched = {
            let mut ahead = ahead();
            ahead.begun = ahead.begun.max(number);
            ahead.fetches.remove(&number)
        };
        let unit = self.plan.units[number];
        let batches = self.plan.sources[unit.source].read(
            unit.row_group,
            &ALL_ROLES,
            None,
            self.runtime,
            fetched,
            self.packed,
        )?;
        let next = number + self.threads;
        if let Some(unit) = self.plan.units.get(next) {
            let mut ahead = ahead();
            // Another thread may have been faster.
            if next > ahead.begun
                && let Some(fetch) =
                    self.plan.sources[unit.source].fetch(unit.row_group, self.most, self.runtime)
            {
                ahead.fetches.insert(next, fetch);
            }
        }
        Ok(batches)
    }
}

/// What is read of a row group.
struct Part {
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    ranges: Vec<Range<u64>>,
}

impl Source {
    /// The batches of a row group, or of a whole CSV file; `fetched` if its bytes were asked for before. Of a row group the
    /// ascending `stretches` of rows alone, if there are any. With `packed`, customers as keys where that can be.
    pub(super) fn read(
        &self,
        row_group: usize,
        roles: &[Role],
        stretches: Option<&[Range<usize>]>,
        runtime: &Handle,
        fetched: Option<Fetch>,
        packed: bool,
    ) -> Result<Batches<'_>, InputError> {
        let input = Input::open(&self.file, runtime).map_err(|source| super::storage(&self.file, source))?;
        let bytes = input.clone();
        let wanted = self.wanted(roles);
        let roles = roles.to_vec();
        match &self.kind {
            SourceKind::Parquet(footer) => {
                let part = footer
                    .metadata(&input, &self.file, &wanted)
                    .map_err(|source| self.unreadable(&bytes, source))
                    .map(|metadata| part(metadata, row_group, &wanted))?;
                let input = match fetched {
                    Some(fetch) => input.with(fetch),
                    None => input.prefetch(&part.ranges),
                };
                let input = input.map_err(|source| self.unreadable(&bytes, source))?;
                let group = part.metadata.metadata().row_group(row_group);
                let rows = group.num_rows() as usize;
                let unreadable = |source| self.unreadable(&bytes, source);
                let ids = match self.ids_apart(&roles).filter(|_| packed && stretches.is_none()) {
                    Some(column) => guarded(|| IdPages::of(&input, group, column))
                        .map_err(|source| self.unreadable(&bytes, source))?
                        .map_err(unreadable)?
                        .map(|pages| (column, pages)),
                    None => None,
                };
                let (mut ids, apart) =
                    ids.map_or((None, None), |(column, pages)| (Some(pages), Some(column)));
                let columns: Vec<usize> = wanted.into_iter().filter(|at| Some(*at) != apart).collect();
                let mask = match apart {
                    Some(_) => mask(&part.metadata, &columns),
                    None => part.mask,
                };
                let open = || {
                    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(input, part.metadata)
                        .with_projection(mask)
                        .with_row_groups(vec![row_group])
                        .with_batch_size(BATCH);
                    match stretches {
                        Some(stretches) => builder.with_row_selection(RowSelection::from_consecutive_ranges(
                            stretches.iter().cloned(),
                            rows,
                        )),
                        None => builder,
                    }
                    .build()
                };
                let reader = guarded(open)
                    .map_err(|source| self.unreadable(&bytes, source))?
                    .map_err(|source| self.unreadable(&bytes, source))?;
                let batches = Guarded::new(reader.map(move |batch| {
                    let batch = batch?;
                    are_what_they_say(batch.columns())?;
                    let ids = ids.as_mut().map(|ids| ids.read(batch.num_rows())).transpose()?;
                    Ok::<_, ArrowError>((batch, ids))
                }));
                Ok(Box::new(batches.map(move |batch| {
                    let (batch, ids) = batch.map_err(|source| self.unreadable(&bytes, source))?;
                    let mut made = self.batch(batch.columns(), &columns, &roles, batch.num_rows())?;
                    match ids {
                        Some(Ids::Keys(keys)) => made.keys = Some(keys),
                        Some(Ids::Texts(ids)) => made.columns[Role::Customer as usize] = Some(Arc::new(ids)),
                        None => {}
                    }
                    Ok(made)
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

    /// Begins to fetch a row group of a remote file. None if that is not to be done; failures show when it is read.
    fn fetch(&self, row_group: usize, most: u64, runtime: &Handle) -> Option<Fetch> {
        let SourceKind::Parquet(footer) = &self.kind else { return None };
        let wanted = self.wanted(&ALL_ROLES);
        let ranges = part(footer.kept()?.clone(), row_group, &wanted).ranges;
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        if bytes > most {
            return None;
        }
        Input::open(&self.file, runtime).ok()?.fetch(&ranges).ok()?
    }

    /// The file's columns that roles are read from, ascending.
    fn wanted(&self, roles: &[Role]) -> Vec<usize> {
        let mut wanted: Vec<usize> = roles
            .iter()
            .filter_map(|role| match self.bindings[*role as usize] {
                Binding::Column(index) => Some(index),
                _ => None,
            })
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }

    /// The column of customers, if their ids go on as they come and nothing else is read from it.
    fn ids_apart(&self, roles: &[Role]) -> Option<usize> {
        let Binding::Column(column) = self.bindings[Role::Customer as usize] else { return None };
        let is_shared = |role: &&Role| {
            **role != Role::Customer
                && matches!(self.bindings[**role as usize], Binding::Column(other) if other == column)
        };
        (self.ids.are_as_they_come() && !roles.iter().any(|role| is_shared(&role))).then_some(column)
    }

    fn batch(
        &self,
        columns: &[ArrayRef],
        wanted: &[usize],
        roles: &[Role],
        rows: usize,
    ) -> Result<Batch, InputError> {
        let mut batch = Batch { columns: Default::default(), keys: None, rows, forgotten: Vec::new() };
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

fn mask(metadata: &ArrowReaderMetadata, wanted: &[usize]) -> ProjectionMask {
    let schema = metadata.metadata().file_metadata().schema_descr();
    ProjectionMask::roots(schema, wanted.iter().copied())
}

fn part(metadata: ArrowReaderMetadata, row_group: usize, wanted: &[usize]) -> Part {
    let file = metadata.metadata();
    let mask = mask(&metadata, wanted);
    let columns = file.row_group(row_group).columns().iter().enumerate();
    let ranges = columns.filter(|(leaf, _)| mask.leaf_included(*leaf)).map(|(_, column)| {
        let (start, length) = column.byte_range();
        start..start + length
    });
    let ranges = ranges.collect();
    Part { metadata, mask, ranges }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::location::Location;
    use arrow::array::{Int64Array, RecordBatch};
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    #[test]
    fn the_next_unit_of_a_store_is_on_its_way_while_one_is_read() {
        let folder = crate::engine::scratch::Scratch::temporary().unwrap();
        let path = folder.path().join("a.parquet").display().to_string();
        let texts = |text: &str| Arc::new(StringArray::from(vec![text; 30])) as ArrayRef;
        let ids = Arc::new(Int64Array::from_iter_values(0..30)) as ArrayRef;
        let columns = [("MSISDN", ids), ("PACKAGE_CODE", texts("x")), ("BUY_DATE", texts("2026-01-01"))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let groups = WriterProperties::builder().set_max_row_group_row_count(Some(10)).build();
        let file = std::fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(groups)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let (config, _) = crate::config::load(None, &[format!("transactions.path={path}")]).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut plan = Plan::open(&config.transactions, Arc::default(), runtime.handle()).unwrap();
        assert_eq!(plan.units.len(), 3);

        // The same file in a store.
        let (store, name) = (Arc::new(InMemory::new()) as Arc<dyn ObjectStore>, Path::from("a.parquet"));
        runtime.block_on(store.put(&name, std::fs::read(&path).unwrap().into())).unwrap();
        plan.sources[0].file.location = Location::Remote { store: store.clone(), path: name.clone() };
        let pass = plan.pass(2, 10_000, runtime.handle());
        let rows = |batches: Batches| -> usize { batches.map(|batch| batch.unwrap().rows).sum() };
        let first = pass.read(0).unwrap();
        let asked = |pass: &Pass| pass.ahead.lock().unwrap().fetches.keys().copied().collect::<Vec<_>>();
        assert_eq!(asked(&pass), [2], "that of the same of two threads");
        while !pass.ahead.lock().unwrap().fetches[&2].has_come() {
            std::thread::yield_now();
        }
        runtime.block_on(store.delete(&name)).unwrap();
        assert_eq!((rows(first), rows(pass.read(2).unwrap())), (10, 10), "from what has come");
        assert_eq!(asked(&pass), [0_usize; 0]);
        assert!(pass.read(1).is_err(), "nobody asked for it");
    }
}
