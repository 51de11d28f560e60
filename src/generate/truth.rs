//! What was planted, written beside the data: enough to score every package for every customer.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, UInt16Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use chrono::NaiveDate;

use super::Model;
use super::activity::Activity;
use super::customers::{Customer, MOST_FAVOURITES, Taste};
use super::error::GenerateError;
use super::write::{TableWriter, code_type, coded, msisdns, package_codes};

/// Writes one row a customer, with or without purchases, in the order of the customers' numbers.
/// Columns: `MSISDN`; `segment`; `activity`, the expected purchases; `purchases`, those made;
/// `first_day` and `last_day` on which they may buy (both included); `joins_late` and `lapses`;
/// `ladder`, whether they climb, `ladder_from`, `ladder_to` and `ladder_day`, from which on the
/// latter is bought instead of the former; `favourite_1` to `favourite_3` with their shares, null
/// where there are fewer. A customer who climbs has `ladder_from` as first favourite.
///
/// Customers are drawn again rather than kept: a block of 16,384 rows is all that is in memory.
pub(super) fn write_customers(model: &Model, activity: &Activity, path: &Path) -> Result<(), GenerateError> {
    let schema = customer_schema();
    let codes = package_codes(&model.catalogue);
    let mut table = TableWriter::create(path, &schema)?;
    for block in 0..activity.blocks() {
        let mut rows = Vec::new();
        activity.visit_block(model, block, |customer, purchases| {
            rows.push(Row { customer, purchases, taste: Taste::draw(model, &customer) });
            Ok::<_, GenerateError>(())
        })?;
        table.write(customer_batch(model, activity, &schema, &codes, &rows))?;
    }
    table.close()
}

struct Row {
    customer: Customer,
    purchases: u64,
    taste: Taste,
}

fn customer_schema() -> SchemaRef {
    let mut fields = vec![
        Field::new("MSISDN", DataType::Utf8, false),
        Field::new("segment", DataType::Int32, false),
        Field::new("activity", DataType::Float64, false),
        Field::new("purchases", DataType::Int64, false),
        Field::new("first_day", DataType::Date32, false),
        Field::new("last_day", DataType::Date32, false),
        Field::new("joins_late", DataType::Boolean, false),
        Field::new("lapses", DataType::Boolean, false),
        Field::new("ladder", DataType::Boolean, false),
        Field::new("ladder_from", code_type(), true),
        Field::new("ladder_to", code_type(), true),
        Field::new("ladder_day", DataType::Date32, true),
    ];
    for rank in 1..=MOST_FAVOURITES {
        fields.push(Field::new(format!("favourite_{rank}"), code_type(), true));
        fields.push(Field::new(format!("favourite_{rank}_share"), DataType::Float64, true));
    }
    Arc::new(Schema::new(fields))
}

fn customer_batch(
    model: &Model,
    activity: &Activity,
    schema: &SchemaRef,
    codes: &ArrayRef,
    rows: &[Row],
) -> Result<RecordBatch, ArrowError> {
    let start = model.start.signed_duration_since(NaiveDate::default()).num_days() as i32;
    let date = |day: u32| start + day as i32;
    let customers = || rows.iter().map(|row| &row.customer);
    let tastes = || rows.iter().map(|row| &row.taste);
    let climbs = || tastes().map(|taste| taste.climb);
    let climbs_from = tastes().map(|taste| taste.climb.map(|_| taste.favourites[0].package));

    let mut columns: Vec<ArrayRef> = vec![
        msisdns(customers().map(|customer| model.numbers.subscriber(customer.number)))?,
        Arc::new(Int32Array::from_iter_values(customers().map(|customer| customer.segment as i32))),
        Arc::new(Float64Array::from_iter_values(customers().map(|customer| activity.expected(customer)))),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.purchases as i64))),
        Arc::new(Date32Array::from_iter_values(customers().map(|customer| date(customer.first_day)))),
        Arc::new(Date32Array::from_iter_values(customers().map(|customer| date(customer.last_day)))),
        Arc::new(flags(customers().map(|customer| customer.first_day > 0))),
        Arc::new(flags(customers().map(|customer| customer.last_day + 1 < model.days))),
        Arc::new(flags(climbs().map(|climb| climb.is_some()))),
        coded(climbs_from.collect::<UInt16Array>(), codes)?,
        coded(climbs().map(|climb| Some(climb?.to)).collect(), codes)?,
        Arc::new(climbs().map(|climb| Some(date(climb?.day))).collect::<Date32Array>()),
    ];
    for rank in 0..MOST_FAVOURITES {
        let favourites = || tastes().map(|taste| taste.favourites.get(rank));
        columns.push(coded(favourites().map(|favourite| Some(favourite?.package)).collect(), codes)?);
        let shares = favourites().map(|favourite| Some(favourite?.share));
        columns.push(Arc::new(shares.collect::<Float64Array>()));
    }
    RecordBatch::try_new(Arc::clone(schema), columns)
}

fn flags(values: impl Iterator<Item = bool>) -> BooleanArray {
    values.map(Some).collect()
}

/// Writes what each segment buys apart from favourites: `segment`, `package_code`, `probability`,
/// one row for each pair; a segment's probabilities add up to one.
pub(super) fn write_tastes(model: &Model, path: &Path) -> Result<(), GenerateError> {
    let schema: SchemaRef = Arc::new(Schema::new(vec![
        Field::new("segment", DataType::Int32, false),
        Field::new("package_code", code_type(), false),
        Field::new("probability", DataType::Float64, false),
    ]));
    let codes = package_codes(&model.catalogue);
    let packages = model.catalogue.packages.len();
    let mut table = TableWriter::create(path, &schema)?;
    for (index, segment) in model.segments.all.iter().enumerate() {
        let batch = || {
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int32Array::from_value(index as i32, packages)),
                coded(UInt16Array::from_iter_values(0..packages as u16), &codes)?,
                Arc::new(Float64Array::from(segment.probabilities.clone())),
            ];
            RecordBatch::try_new(Arc::clone(&schema), columns)
        };
        table.write(batch())?;
    }
    table.close()
}
