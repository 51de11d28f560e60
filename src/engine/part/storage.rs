//! How the columns of a part are stored: encodings, compression, statistics.
//!
//! The two tables of the features stage and the offers are written most (hundreds of millions of values a
//! run). Features have columns of a few kinds, each stored as measured best in time, then in bytes. In bytes and
//! nanoseconds a value, one core, 52M purchases:
//!
//! | kind | as others store it (dictionary, zstd) | here |
//! |---|---|---|
//! | times | 8.3 B, 77 ns | deltas, no compression: 5.6 B, 12 ns |
//! | counts | 0.4 to 0.8 B, 15 ns | deltas, no compression: 0.8 to 1.1 B, 9 ns |
//! | floats with many values (shares of types, trend) | 2 to 6 B, 16 to 40 ns | plain, Snappy: 1 to 6 B, 6 to 20 ns |
//! | floats with few values (prices, shares of a count) | 1 to 2.3 B, 16 to 24 ns | dictionary, Snappy: 1.2 to 2.6 B, 12 to 20 ns |
//! | ids, one row a customer | 5.4 B, 126 ns | deltas of bytes, zstd: 2.4 B, 38 ns |
//! | ids, several rows a customer | 1.8 B, 54 ns | plain, zstd: 0.7 B, 24 ns |
//!
//! Offers: integers as deltas, scores plain, all else as dictionaries, and only ids and reasons compressed:
//! zstd on all of them saved a tenth of the bytes and took a tenth of the stage (docs/performance.md).
//!
//! All other tables keep dictionaries and zstd. Every table with customers has the range of ids of each page
//! and a bloom filter (10 to 100 ns a row), so that a lookup reads a page or none.

use crate::tables::{self, Table};
use arrow::datatypes::{DataType, Schema};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

/// Rows of a row group: bounds the writer's memory (it holds one encoded group) and a lookup's read.
const GROUP_ROWS: usize = 131_072;
/// Of offers: a lookup decodes the dictionary of a group's reasons, which are nearly all different.
const OFFER_GROUP_ROWS: usize = 32_768;
/// Rows of a data page: what a point lookup decodes.
const PAGE_ROWS: usize = 2_048;

/// The features whose values hardly repeat; so do the shares of types and channels.
const MANY_VALUES: [&str; 4] =
    ["average_purchase", "revenue_30d_share", "revenue_trend", "mean_quota_mb_per_day"];
/// Room for the different reasons of a row group, some 100 bytes each.
const REASONS_BYTES: usize = 4 << 20;
/// What the names of share columns begin with.
const SHARES: [&str; 3] = ["channel_", "service_", "charging_"];

/// The writer's properties for a part of the table `name` with these columns.
pub fn properties(name: &str, schema: &Schema) -> WriterProperties {
    let table = tables::ALL.iter().find(|table| table.name == name);
    let group_rows = if name == tables::RECOMMENDATIONS.name { OFFER_GROUP_ROWS } else { GROUP_ROWS };
    let mut builder = WriterProperties::builder()
        .set_compression(zstd())
        .set_max_row_group_row_count(Some(group_rows))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_write_batch_size(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(format!("packwise {}", env!("CARGO_PKG_VERSION")));
    if [tables::CUSTOMER_FEATURES.name, tables::CUSTOMER_PACKAGES.name].contains(&name) {
        builder = features(builder, schema);
    } else if name == tables::RECOMMENDATIONS.name {
        builder = offers(builder, schema);
    }
    match schema.fields().first() {
        Some(first) if first.name() == tables::CUSTOMER_ID.name => {
            customers(builder, first.data_type(), table.is_some_and(has_several_rows), group_rows).build()
        }
        _ => builder.build(),
    }
}

/// Whether a customer has several rows.
fn has_several_rows(table: &Table) -> bool {
    table.key.len() > 1
}

fn zstd() -> Compression {
    Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default())
}

/// Every column of features by its kind.
fn features(mut builder: WriterPropertiesBuilder, schema: &Schema) -> WriterPropertiesBuilder {
    for field in schema.fields() {
        let column = ColumnPath::from(field.name().as_str());
        builder = match field.data_type() {
            DataType::Int64 | DataType::Timestamp(_, _) => deltas(builder, column),
            DataType::Float64 if has_many_values(field.name()) => builder
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column.clone(), Encoding::PLAIN)
                .set_column_compression(column, Compression::SNAPPY),
            _ => builder.set_column_compression(column, Compression::SNAPPY),
        };
    }
    builder
}

/// Every column of offers: nothing but ids and reasons is worth compressing.
fn offers(mut builder: WriterPropertiesBuilder, schema: &Schema) -> WriterPropertiesBuilder {
    builder = builder.set_compression(Compression::UNCOMPRESSED);
    for field in schema.fields() {
        let column = ColumnPath::from(field.name().as_str());
        builder = match (field.name().as_str(), field.data_type()) {
            ("reason", _) => builder
                .set_column_dictionary_page_size_limit(column.clone(), REASONS_BYTES)
                .set_column_compression(column, zstd()),
            // A value of its own in nearly every row.
            ("score" | "expected_revenue", _) => builder
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::PLAIN),
            (_, DataType::Int64) => deltas(builder, column),
            _ => builder,
        };
    }
    builder
}

fn deltas(builder: WriterPropertiesBuilder, column: ColumnPath) -> WriterPropertiesBuilder {
    builder
        .set_column_dictionary_enabled(column.clone(), false)
        .set_column_encoding(column.clone(), Encoding::DELTA_BINARY_PACKED)
        .set_column_compression(column, Compression::UNCOMPRESSED)
}

fn has_many_values(name: &str) -> bool {
    MANY_VALUES.contains(&name) || SHARES.iter().any(|prefix| name.starts_with(prefix))
}

/// Ids are sorted, so a page's range finds a customer's page, and little changes from one to the next.
fn customers(
    builder: WriterPropertiesBuilder,
    data_type: &DataType,
    has_several_rows: bool,
    group_rows: usize,
) -> WriterPropertiesBuilder {
    let customer = ColumnPath::from(tables::CUSTOMER_ID.name);
    let encoding = match data_type {
        DataType::Int64 => Encoding::DELTA_BINARY_PACKED,
        // An id that is written again and again costs zstd next to nothing.
        _ if has_several_rows => Encoding::PLAIN,
        _ => Encoding::DELTA_BYTE_ARRAY,
    };
    builder
        .set_column_dictionary_enabled(customer.clone(), false)
        .set_column_encoding(customer.clone(), encoding)
        .set_column_compression(customer.clone(), zstd())
        .set_sorting_columns(Some(vec![SortingColumn {
            column_idx: 0,
            descending: false,
            nulls_first: false,
        }]))
        .set_column_statistics_enabled(customer.clone(), EnabledStatistics::Page)
        .set_column_bloom_filter_enabled(customer.clone(), true)
        .set_column_bloom_filter_max_ndv(customer, group_rows as u64)
}
