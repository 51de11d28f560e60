//! Rejected rows, written as they were in the input, in the order of the input.

use super::InputError;
use super::normalise::Reason;
use super::source::{Batch, Role};
use crate::engine::part::{PartError, PartFile, PartWriter, RunFolder};
use crate::tables::{CustomerType, QUARANTINE};
use arrow::array::{Array, ArrayRef, Int64Builder, RecordBatch, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::sync::{Arc, Condvar, Mutex};

/// Rejected rows that a worker holds before it waits for its turn to write them.
const HELD: usize = 16_384;

/// The rejected rows of one unit, being collected.
pub struct Rejected {
    file: Option<String>,
    /// Row of the file before the present batch.
    pub base: u64,
    files: StringBuilder,
    rows: Int64Builder,
    /// Reason, customer, package, time, channel, amount, quantity.
    texts: [StringBuilder; 7],
    count: usize,
}

impl Rejected {
    pub fn new(file: Option<String>, first_row: u64) -> Self {
        Self {
            file,
            base: first_row,
            files: StringBuilder::new(),
            rows: Int64Builder::new(),
            texts: Default::default(),
            count: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether it is time to write.
    pub fn is_full(&self) -> bool {
        self.count >= HELD
    }

    /// Adds row `row` of a batch.
    pub fn push(&mut self, row: usize, reason: Reason, batch: &Batch) -> Result<(), InputError> {
        self.place(Some(self.base + row as u64 + 1));
        self.texts[0].append_value(reason.text());
        let roles = [Role::Customer, Role::Package, Role::Time, Role::Channel, Role::Amount, Role::Quantity];
        for (builder, role) in self.texts[1..].iter_mut().zip(roles) {
            match batch.column(role) {
                Some(column) if column.is_valid(row) => builder.append_value(shown(column, row)?),
                _ => builder.append_null(),
            }
        }
        Ok(())
    }

    /// Adds a row that was rejected after the shuffle, when its file is no longer known.
    pub fn push_late(&mut self, reason: Reason, values: [Option<String>; 6]) {
        self.place(None);
        self.texts[0].append_value(reason.text());
        for (builder, value) in self.texts[1..].iter_mut().zip(values) {
            builder.append_option(value);
        }
    }

    fn place(&mut self, row: Option<u64>) {
        self.files.append_option(row.and(self.file.as_deref()));
        self.rows.append_option(row.map(|row| row as i64));
        self.count += 1;
    }

    fn take(&mut self) -> Result<RecordBatch, PartError> {
        self.count = 0;
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.files.finish()), Arc::new(self.rows.finish())];
        for builder in &mut self.texts {
            columns.push(Arc::new(builder.finish()));
        }
        RecordBatch::try_new(QUARANTINE.schema(CustomerType::Text), columns)
            .map_err(|source| PartError::Write { path: QUARANTINE.name.into(), source: source.into() })
    }
}

/// A value as text. Times of a zone that nobody knows are shown in UTC: what they are is known all the same.
fn shown(column: &ArrayRef, row: usize) -> Result<String, InputError> {
    let options = FormatOptions::default();
    if let Ok(formatter) = ArrayFormatter::try_new(column.as_ref(), &options) {
        return Ok(formatter.value(row).to_string());
    }
    let value = column.slice(row, 1);
    let plain = match value.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            let instant = cast(&value, &DataType::Int64).map_err(InputError::batch)?;
            cast(&instant, &DataType::Timestamp(*unit, None)).map_err(InputError::batch)?
        }
        _ => value,
    };
    let formatter = ArrayFormatter::try_new(plain.as_ref(), &options).map_err(InputError::batch)?;
    Ok(formatter.value(0).to_string())
}

/// Writes rejected rows in the order of the units, whoever finishes first. A unit that is not next
/// holds up to 16,384 rows and then waits; the lowest unfinished unit never waits, so all get on.
pub struct QuarantineWriter {
    state: Mutex<State>,
    turn: Condvar,
    folder: RunFolder,
    part: usize,
}

struct State {
    next: usize,
    done: std::collections::BTreeMap<usize, RecordBatch>,
    writer: Option<PartWriter>,
    stopped: bool,
}

impl State {
    fn write(&mut self, folder: &RunFolder, part: usize, batch: &RecordBatch) -> Result<(), PartError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let writer = match &mut self.writer {
            Some(open) => open,
            none => none.insert(create(folder, part)?),
        };
        writer.write(batch)
    }
}

fn create(folder: &RunFolder, part: usize) -> Result<PartWriter, PartError> {
    PartWriter::create(folder, QUARANTINE.name, part, QUARANTINE.schema(CustomerType::Text))
}

impl QuarantineWriter {
    /// A writer of part `part`; its file is made when the first row comes.
    pub fn new(folder: &RunFolder, part: usize) -> Self {
        Self {
            state: Mutex::new(State { next: 0, done: Default::default(), writer: None, stopped: false }),
            turn: Condvar::new(),
            folder: folder.clone(),
            part,
        }
    }

    /// Writes what a unit has collected so far, waiting for its turn.
    pub fn flush(&self, unit: usize, rejected: &mut Rejected) -> Result<(), PartError> {
        let batch = rejected.take()?;
        let mut state = self.lock();
        while state.next != unit && !state.stopped {
            state = self.turn.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        state.write(&self.folder, self.part, &batch)
    }

    /// Ends a unit with the rest of its rows.
    pub fn finish_unit(&self, unit: usize, rejected: &mut Rejected) -> Result<(), PartError> {
        let batch = rejected.take()?;
        let mut state = self.lock();
        state.done.insert(unit, batch);
        while let Some(batch) = {
            let next = state.next;
            state.done.remove(&next)
        } {
            state.write(&self.folder, self.part, &batch)?;
            state.next += 1;
        }
        drop(state);
        self.turn.notify_all();
        Ok(())
    }

    /// Lets every waiting worker go on: the run has failed elsewhere.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.turn.notify_all();
    }

    /// The file, if there were rows.
    pub fn finish(self) -> Result<Option<PartFile>, PartError> {
        let state = self.state.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.writer.map(PartWriter::finish).transpose()
    }

    /// The file, without rows if there were none, so that readers find the table's columns.
    pub fn finish_always(self) -> Result<PartFile, PartError> {
        let (folder, part) = (self.folder.clone(), self.part);
        match self.finish()? {
            Some(file) => Ok(file),
            None => create(&folder, part)?.finish(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
