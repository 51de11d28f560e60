//! Golden SQL: every folder `tests/sql/<query>/<case>/` holds the input tables of a query as CSV, with a
//! type after each column's name, and the rows to expect of the columns that `expected.csv` names. All of
//! `expected.csv` was worked out by hand.

use crate::support::cell;
use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::DataType;
use datafusion::common::{ParamValues, ScalarValue};
use packwise::engine::session::{BucketSession, CUSTOMER_FEATURES, CUSTOMER_PACKAGES};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn type_of(name: &str) -> DataType {
    match name {
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "float32" => DataType::Float32,
        "float64" => DataType::Float64,
        "boolean" => DataType::Boolean,
        other => panic!("no such type: {other}"),
    }
}

/// Reads a CSV with typed columns; an empty cell is null.
fn table(path: &Path) -> RecordBatch {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (head, rows) = text.split_once('\n').unwrap();
    let rows: Vec<Vec<&str>> = rows.lines().map(|row| row.split(',').collect()).collect();
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let columns = head.split(',').enumerate().map(|(at, column)| {
        let (name, type_name) = column.split_once(':').unwrap();
        let texts: StringArray = rows.iter().map(|row| (!row[at].is_empty()).then_some(row[at])).collect();
        (name, cast_with_options(&(Arc::new(texts) as ArrayRef), &type_of(type_name), &strict).unwrap(), true)
    });
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn parameters(path: &Path) -> ParamValues {
    if !path.exists() {
        return ParamValues::List(Vec::new());
    }
    let table = table(path);
    let schema = table.schema();
    let values = schema.fields().iter().zip(table.columns());
    ParamValues::from(
        values
            .map(|(field, column)| (field.name().clone(), ScalarValue::try_from_array(column, 0).unwrap()))
            .collect::<Vec<_>>(),
    )
}

/// The rows of a query as the engine's own session gives them, for the columns asked for.
fn answer(query: &str, case: &Path, columns: &[&str]) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let spill = tempfile::TempDir::new().unwrap();
    let session = BucketSession::new(Some(64 << 20), spill.path()).unwrap();
    let transactions = table(&case.join("transactions.csv"));
    session.table("transactions", transactions.schema(), vec![transactions], &["customer"]).unwrap();
    let none = ParamValues::List(Vec::new());
    let mut rows = runtime.block_on(session.run(CUSTOMER_PACKAGES, none, &[])).unwrap();
    if query == "customer_features" {
        session.table("customer_packages", rows[0].schema(), rows, &["customer", "package"]).unwrap();
        let packages = table(&case.join("packages.csv"));
        session.table("packages", packages.schema(), vec![packages], &["package"]).unwrap();
        let parameters = parameters(&case.join("parameters.csv"));
        rows = runtime.block_on(session.run(CUSTOMER_FEATURES, parameters, columns)).unwrap();
    }
    let rows = concat_batches(&rows[0].schema(), &rows).unwrap();
    let column = |name: &&str| rows.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    (0..rows.num_rows())
        .map(|row| {
            let cells = columns.iter().map(|name| cell(column(name), row).replace('∅', ""));
            cells.collect::<Vec<_>>().join(",")
        })
        .collect()
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    found
}

#[test]
fn every_case_gives_its_expected_rows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sql");
    let mut cases = 0;
    for query in folders(&root) {
        let name = query.file_name().unwrap().to_str().unwrap().to_owned();
        for case in folders(&query) {
            let expected = std::fs::read_to_string(case.join("expected.csv")).unwrap();
            let (head, rows) = expected.split_once('\n').unwrap();
            let columns: Vec<&str> = head.split(',').collect();
            let found = answer(&name, &case, &columns);
            let title = case.strip_prefix(&root).unwrap().display().to_string();
            for (number, (found, wanted)) in found.iter().zip(rows.lines()).enumerate() {
                for ((found, wanted), column) in found.split(',').zip(wanted.split(',')).zip(&columns) {
                    assert_eq!(found, wanted, "{title}, row {number}, {column}");
                }
            }
            assert_eq!(found.len(), rows.lines().count(), "{title}: number of rows");
            cases += 1;
        }
    }
    assert!(cases >= 11, "{cases} cases were found");
}
