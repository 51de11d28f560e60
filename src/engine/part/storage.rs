//! How the columns of a part are stored: encodings, compression, statistics.
//!
//! The two tables of the features stage and the offers are written most (hundreds of millions of values a
//! run). Their columns are of a few kinds, each stored as measured best in time, then in bytes. In bytes and
//! nanoseconds a value with all that belongs to it (statistics, checksum, file), parts as in a run, on a core that had
//! other work as well (about twice what an idle one takes):
//!
//! | kind | by parquet-rs, as stored before | here |
//! |---|---|---|
//! | times | deltas: 5.6 B, 17 to 19 ns | deltas: 5.6 B, 8 to 10 ns |
//! | counts | deltas: 0.8 to 1.1 B, 11 to 17 ns | deltas: 0.8 to 1.1 B, 4 to 6 ns |
//! | floats with few values, shares of purchases | dictionary or plain, Snappy: 0.9 to 2.5 B, 13 to 25 ns | dictionary: 0.8 to 2.8 B, 6 to 12 ns |
//! | floats with many values, shares of revenue | plain, Snappy: 1 to 6 B, 12 to 31 ns | plain, Snappy by whole values: 1.1 to 6.8 B, 7 to 19 ns |
//! | codes | dictionary, Snappy: 1.3 B, 26 ns | dictionary: 1.3 B, 5 ns |
//! | ids, one row a customer | deltas of bytes, zstd: 4.2 B, 75 ns | the same: 4.2 B, 55 ns |
//! | ids, several rows a customer | plain, zstd: 0.5 to 1.1 B, 36 to 45 ns | the same: 0.5 to 1.1 B, 19 to 28 ns |
//!
//! Offers: integers as deltas, scores plain, all else as dictionaries, and only ids and reasons compressed:
//! zstd on all of them saved a tenth of the bytes and took a tenth of the stage (docs/performance.md).
//!
//! All other tables keep dictionaries and zstd, but for floats, which are not compressed. Every table with customers
//! has the range of ids of each page and a bloom filter (about 10 ns a customer), so that a lookup reads a page or none.

use super::encode::{Codec, ColumnStorage, Form, Storage};
use crate::tables::{self, Table};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::WriterProperties;

/// Rows of a row group: bounds the writer's memory (it holds one encoded group) and a lookup's read.
const GROUP_ROWS: usize = 131_072;
/// Of offers: a lookup decodes the dictionary of a group's reasons, which are nearly all different.
const OFFER_GROUP_ROWS: usize = 32_768;
/// Rows of a data page: what a point lookup decodes.
const PAGE_ROWS: usize = 2_048;

/// The features whose values hardly repeat, as do shares of revenue.
const MANY_VALUES: [&str; 3] = ["revenue_30d_share", "revenue_trend", "mean_quota_mb_per_day"];
/// Room for the different values of a row group.
const DICTIONARY_BYTES: usize = 1 << 20;
/// Room for the different reasons of a row group, some 100 bytes each.
const REASONS_BYTES: usize = 4 << 20;
/// What the names of shares of revenue begin with. Shares of purchases are fractions of small numbers.
const SHARES: [&str; 2] = ["service_", "charging_"];

/// How a part of the table `name` with these columns is stored.
pub fn storage(name: &str, schema: &Schema) -> Storage {
    let has_several_rows = tables::ALL.iter().any(|table| table.name == name && has_several_rows(table));
    let of_column = match name {
        _ if name == tables::RECOMMENDATIONS.name => offers,
        _ if [tables::CUSTOMER_FEATURES.name, tables::CUSTOMER_PACKAGES.name].contains(&name) => features,
        _ => others,
    };
    let mut columns: Vec<ColumnStorage> = schema
        .fields()
        .iter()
        .map(|field| {
            let (form, codec) = of_column(field);
            ColumnStorage { form, codec, is_looked_up: false }
        })
        .collect();
    if let (Some(column), true) = (columns.first_mut(), is_by_customer(schema)) {
        *column = customers(
            schema.field(0).data_type(),
            has_several_rows && name != tables::CUSTOMER_PACKAGES.name,
        );
    }
    let group_rows = if name == tables::RECOMMENDATIONS.name { OFFER_GROUP_ROWS } else { GROUP_ROWS };
    Storage { group_rows, page_rows: PAGE_ROWS, columns }
}

/// What the footer says of the whole part.
pub fn properties(schema: &Schema) -> WriterProperties {
    let by_customer = SortingColumn { column_idx: 0, descending: false, nulls_first: false };
    WriterProperties::builder()
        .set_created_by(format!("packwise {}", env!("CARGO_PKG_VERSION")))
        .set_sorting_columns(is_by_customer(schema).then(|| vec![by_customer]))
        .build()
}

/// Whether the rows are in the order of customers.
pub fn is_by_customer(schema: &Schema) -> bool {
    schema.fields().first().is_some_and(|field| field.name() == tables::CUSTOMER_ID.name)
}

/// Whether a customer has several rows.
fn has_several_rows(table: &Table) -> bool {
    table.key.len() > 1
}

const DICTIONARY: Form = Form::Dictionary { most_bytes: DICTIONARY_BYTES };

/// Floats do not shrink much more than their dictionary does, and take zstd longest.
fn others(field: &Field) -> (Form, Codec) {
    match field.data_type() {
        // What a customer is worth: a value of its own in nearly every row.
        DataType::Float64 if field.name() == "value" || field.name().starts_with("expected_spend") => {
            (Form::Plain, Codec::None)
        }
        DataType::Float64 => (DICTIONARY, Codec::None),
        _ => (DICTIONARY, Codec::Zstd),
    }
}

/// Every column of features by its kind.
fn features(field: &Field) -> (Form, Codec) {
    match field.data_type() {
        DataType::Int64 | DataType::Timestamp(_, _) => (Form::Deltas, Codec::None),
        DataType::Float64 if has_many_values(field.name()) => (Form::Plain, Codec::Snappy),
        _ => (DICTIONARY, Codec::None),
    }
}

/// Every column of offers: nothing but ids and reasons is worth compressing.
fn offers(field: &Field) -> (Form, Codec) {
    match (field.name().as_str(), field.data_type()) {
        ("reason", _) => (Form::Dictionary { most_bytes: REASONS_BYTES }, Codec::Zstd),
        // A value of its own in nearly every row.
        ("score" | "expected_revenue", _) => (Form::Plain, Codec::None),
        (_, DataType::Int64) => (Form::Deltas, Codec::None),
        _ => (DICTIONARY, Codec::None),
    }
}

fn has_many_values(name: &str) -> bool {
    MANY_VALUES.contains(&name) || SHARES.iter().any(|prefix| name.starts_with(prefix))
}

/// Ids are sorted, so a page's range finds a customer's page, and little changes from one to the next.
fn customers(data_type: &DataType, has_several_rows: bool) -> ColumnStorage {
    let form = match data_type {
        DataType::Int64 => Form::Deltas,
        // An id that is written again and again costs zstd next to nothing.
        _ if has_several_rows => Form::Plain,
        _ => Form::Fronts,
    };
    ColumnStorage { form, codec: Codec::Zstd, is_looked_up: true }
}
