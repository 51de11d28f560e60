//! Files of one input that differ in their columns.

use crate::support::{
    Ids, Purchase, Shop, assert_same, batch, column, lines, measure, purchases, replace, texts, write_parquet,
};
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit};
use packwise::runs::manifest::Manifest;
use std::sync::Arc;

const TABLES: [&str; 4] = ["recommendations", "customer_features", "customer_packages", "customer_segments"];

fn tables(shop: &Shop, run: &Manifest) -> Vec<String> {
    TABLES.iter().flat_map(|name| lines(&shop.table(run, name))).collect()
}

/// Half of the rows in `a`, half in `b` as `change` makes them; the published tables.
fn drifted(shop: &Shop, rows: &[Purchase], change: impl Fn(RecordBatch) -> RecordBatch) -> Vec<String> {
    let (first, second) = rows.split_at(rows.len() / 2);
    write_parquet(&shop.path("dumps/a.parquet"), &batch(first, Ids::Digits));
    write_parquet(&shop.path("dumps/b.parquet"), &change(batch(second, Ids::Digits)));
    tables(shop, &shop.run(&[]))
}

fn as_type(batch: RecordBatch, name: &str, data_type: &DataType) -> RecordBatch {
    let changed = cast(column(&batch, name), data_type).unwrap();
    replace(&batch, name, changed)
}

#[test]
fn columns_that_are_added_reordered_or_widened_change_nothing() {
    let shop = Shop::new();
    // Whole dollars and days, which every type below holds.
    let mut rows = purchases(300, 31);
    for row in &mut rows {
        row.cents -= row.cents % 100;
        row.seconds -= row.seconds % 86_400;
    }
    let expected = drifted(&shop, &rows, |batch| batch);
    let added = drifted(&shop, &rows, |batch| {
        let note: ArrayRef = Arc::new(StringArray::from(vec!["new in this dump"; batch.num_rows()]));
        let mut columns = vec![("NOTE".to_owned(), note, true)];
        for (field, values) in batch.schema().fields().iter().zip(batch.columns()).rev() {
            columns.push((field.name().clone(), values.clone(), true));
        }
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    });
    assert_same("added and reordered", &added, &expected);
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let types = [
        ("MSISDN", DataType::Int32),
        ("AMOUNT", DataType::Int32),
        ("AMOUNT", DataType::Float32),
        ("AMOUNT", DataType::Decimal128(12, 2)),
        ("AMOUNT", DataType::Utf8),
        ("QUANTITY", DataType::Int8),
        ("QUANTITY", DataType::LargeUtf8),
        ("BUY_DATE", DataType::Date32),
        ("BUY_DATE", DataType::Timestamp(TimeUnit::Nanosecond, None)),
        ("PACKAGE_CODE", DataType::LargeUtf8),
        ("PACKAGE_CODE", DataType::Utf8View),
        ("PACKAGE_CODE", dictionary.clone()),
        ("CHANNEL", dictionary),
    ];
    for (name, data_type) in types {
        let changed = drifted(&shop, &rows, |batch| as_type(batch, name, &data_type));
        assert_same(&format!("{name} as {data_type}"), &changed, &expected);
    }
}

#[test]
fn ids_are_text_as_soon_as_one_file_has_text() {
    let shop = Shop::new();
    let rows = purchases(300, 32);
    let integers = drifted(&shop, &rows, |batch| batch);
    let mixed = drifted(&shop, &rows, |batch| as_type(batch, "MSISDN", &DataType::Utf8));
    // Ids of six digits sort and read the same either way.
    assert_same("text in one file", &mixed, &integers);
    let run = shop.manifest("out", shop.runs().last().unwrap());
    let columns = &run.tables["customer_features"].columns;
    assert!(columns.iter().any(|(name, kind)| name == "customer_id" && kind == "Utf8"), "{columns:?}");
    // A leading zero makes another customer.
    let padded = drifted(&shop, &rows, |batch| {
        let ids = texts(&batch, "MSISDN").into_iter().map(|id| format!("0{id}"));
        let ids = Arc::new(StringArray::from_iter_values(ids)) as ArrayRef;
        replace(&batch, "MSISDN", ids)
    });
    assert_ne!(padded.len(), integers.len());
}

#[test]
fn a_mapped_column_that_is_missing_ends_the_run_with_the_file_even_if_bad_files_are_left_out() {
    let shop = Shop::new();
    let rows = purchases(100, 33);
    write_parquet(&shop.path("dumps/a.parquet"), &batch(&rows, Ids::Digits));
    for removed in ["MSISDN", "BUY_DATE", "AMOUNT", "CHANNEL"] {
        let mut part = batch(&rows, Ids::Digits);
        part.remove_column(part.schema().index_of(removed).unwrap());
        write_parquet(&shop.path("dumps/b.parquet"), &part);
        for mode in ["fail", "quarantine"] {
            let setting = format!("transactions.on_bad_file={mode}");
            let output = shop.packwise(&["run", "-c", "packwise.toml", "--set", &setting]);
            let message = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(3), "{removed}: {message}");
            assert!(message.contains(&format!("dumps/b.parquet has no column `{removed}`")), "{message}");
        }
    }
    // A column that is not mapped may come and go.
    let mut part = batch(&rows, Ids::Digits);
    part.remove_column(part.schema().index_of("CHANNEL").unwrap());
    write_parquet(&shop.path("dumps/b.parquet"), &part);
    let run = shop.run(&["transactions.columns.channel="]);
    assert_eq!(measure(&run, "files"), Some(2.0));
    assert!(shop.runs().len() == 1);
}
