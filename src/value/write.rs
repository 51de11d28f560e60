//! The tables of customer value that have a row a customer: `rfm` and `customer_value`.

use super::pass::Row;
use super::rfm::Lrfm;
use super::rfm::cuts::Score;
use super::scorer::MONTHS;
use super::{Settings, ValueError};
use crate::engine::part::{PartFile, PartWriter, RunFolder};
use crate::features::bucket::dictionary;
use crate::features::slots::slug;
use crate::tables::{self, CustomerType, Table};
use arrow::array::{
    ArrayRef, DictionaryArray, Float64Builder, Int32Builder, Int64Array, Int64Builder, RecordBatch,
    StringArray, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use std::sync::Arc;

/// The schema of `customer_value`: its fixed columns, then the quadrant of each matrix (null
/// in one that is not made).
pub(super) fn value_schema(customers: CustomerType, settings: &Settings) -> SchemaRef {
    let mut fields: Vec<Field> =
        tables::CUSTOMER_VALUE.columns.iter().map(|column| column.field(customers)).collect();
    let mut taken: Vec<String> = Vec::new();
    for matrix in &settings.matrices {
        let mut name = format!("{}_quadrant", slug(&matrix.name));
        while taken.contains(&name) {
            name.push('_');
        }
        fields.push(Field::new(&name, DataType::Utf8, true));
        taken.push(name);
    }
    Arc::new(Schema::new(fields))
}

/// Names that repeat, as a dictionary.
struct Names {
    keys: Int32Builder,
    names: ArrayRef,
}

impl Names {
    fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self { keys: Int32Builder::new(), names: Arc::new(StringArray::from_iter_values(names)) }
    }

    fn add(&mut self, name: Option<usize>) {
        self.keys.append_option(name.map(|name| name as i32));
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(Arc::new(DictionaryArray::try_new(self.keys.finish(), self.names.clone())?))
    }
}

/// The rows of one part of `rfm` and `customer_value`.
pub(super) struct ValueWriter<'a> {
    customer_type: CustomerType,
    schema: &'a SchemaRef,
    customers: Vec<u32>,
    scores: [Int64Builder; 4],
    codes: Int64Builder,
    segment_numbers: Int64Builder,
    segments: Names,
    alive: Float64Builder,
    purchases: [Float64Builder; 4],
    spends: [Float64Builder; 4],
    values: Float64Builder,
    months: i64,
    tiers: Names,
    value_segments: Int64Builder,
    quadrants: Vec<Names>,
}

impl<'a> ValueWriter<'a> {
    pub fn new(settings: &Settings, schema: &'a SchemaRef, customer_type: CustomerType) -> Self {
        let quadrants = settings
            .matrices
            .iter()
            .map(|matrix| Names::new(matrix.quadrants.iter().map(|quadrant| quadrant.name.as_str())));
        Self {
            customer_type,
            schema,
            customers: Vec::new(),
            scores: Default::default(),
            codes: Int64Builder::new(),
            segment_numbers: Int64Builder::new(),
            segments: Names::new(settings.grid.segments().iter().map(|segment| segment.name.as_str())),
            alive: Float64Builder::new(),
            purchases: Default::default(),
            spends: Default::default(),
            values: Float64Builder::new(),
            months: i64::from(settings.months),
            tiers: Names::new(settings.tiers.iter().map(|tier| tier.name.as_str())),
            value_segments: Int64Builder::new(),
            quadrants: quadrants.collect(),
        }
    }

    /// Adds a customer. `scores` with the number of its named segment; `corners` by matrix, None in one that
    /// is not made.
    pub fn add(
        &mut self,
        row: &Row,
        scores: Option<(Lrfm<Score>, usize)>,
        corners: &[Option<usize>],
        tier: Option<usize>,
        value_segment: usize,
    ) {
        self.customers.push(row.at as u32);
        let digits = scores.map(|(scores, _)| scores.all().map(|score| i64::from(score.get())));
        for (at, builder) in self.scores.iter_mut().enumerate() {
            builder.append_value(digits.map_or(0, |digits| digits[at]));
        }
        self.codes.append_value(scores.map_or(0, |(scores, _)| i64::from(scores.code())));
        self.segment_numbers.append_value(scores.map_or(0, |(_, segment)| segment as i64 + 1));
        self.segments.add(scores.map(|(_, segment)| segment));
        self.alive.append_option(row.worth.map(|worth| worth.alive));
        for month in 0..MONTHS.len() {
            let purchases = row.worth.map(|worth| worth.purchases[month]);
            let spend = row.worth.and_then(|worth| Some(worth.spend? * worth.purchases[month]));
            self.purchases[month].append_option(purchases);
            self.spends[month].append_option(spend);
        }
        self.values.append_option(row.worth.and_then(|worth| worth.value()));
        self.tiers.add(tier);
        self.value_segments.append_value(value_segment as i64 + 1);
        self.quadrants.iter_mut().zip(corners).for_each(|(names, corner)| names.add(*corner));
    }

    /// Writes both parts.
    pub fn finish(
        mut self,
        folder: &RunFolder,
        number: usize,
        ids: &ArrayRef,
    ) -> Result<(PartFile, PartFile), ValueError> {
        let ids = take(ids, &UInt32Array::from(std::mem::take(&mut self.customers)), None)?;
        let integers = |builder: &mut Int64Builder| Arc::new(builder.finish()) as ArrayRef;
        let floats = |builder: &mut Float64Builder| Arc::new(builder.finish()) as ArrayRef;
        let mut columns = vec![ids.clone()];
        columns.extend(self.scores.iter_mut().map(integers));
        columns.push(integers(&mut self.codes));
        columns.push(integers(&mut self.segment_numbers));
        columns.push(self.segments.finish()?);
        let rfm = write(&tables::RFM, &tables::RFM.schema(self.customer_type), columns, folder, number)?;

        let mut columns = vec![ids.clone(), floats(&mut self.alive)];
        columns.extend(self.purchases.iter_mut().map(floats));
        columns.extend(self.spends.iter_mut().map(floats));
        columns.push(floats(&mut self.values));
        columns.push(Arc::new(Int64Array::from(vec![self.months; ids.len()])));
        columns.push(self.tiers.finish()?);
        columns.push(integers(&mut self.value_segments));
        for names in &mut self.quadrants {
            columns.push(names.finish()?);
        }
        let values = write(&tables::CUSTOMER_VALUE, self.schema, columns, folder, number)?;
        Ok((rfm, values))
    }
}

/// Text that comes as a dictionary is plain text in the file.
fn write(
    table: &Table,
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    folder: &RunFolder,
    number: usize,
) -> Result<PartFile, ValueError> {
    let fields = schema.fields().iter().zip(&columns).map(|(field, column)| match column.data_type() {
        DataType::Dictionary(..) => dictionary(field),
        _ => field.as_ref().clone(),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let mut writer = PartWriter::create(folder, table.name, number, schema.clone())?;
    writer.write(&RecordBatch::try_new(schema, columns)?)?;
    Ok(writer.finish()?)
}
