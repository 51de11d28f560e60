//! Golden SQL: every folder `tests/sql/<query>/<case>/` holds the input tables of a query as CSV, with a
//! type after each column's name, and the rows to expect of the columns that `expected.csv` names. All of
//! `expected.csv` was worked out by hand. The queries and the linear pass must both give it.

use crate::support::cell;
use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{ParamValues, ScalarValue};
use packwise::engine::session::{BucketSession, CUSTOMER_FEATURES, CUSTOMER_PACKAGES};
use packwise::features::as_floats;
use packwise::features::bucket::{BucketFailure, Context, Parts};
use packwise::features::linear::Linear;
use packwise::features::linear::mix::Properties;
use packwise::features::slots::Slots;
use packwise::features::totals::Totals;
use packwise::tables::CustomerType;
use packwise::transactions::whole_customers::WholeCustomers;
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
    shown(&rows, columns)
}

fn shown(rows: &RecordBatch, columns: &[&str]) -> Vec<String> {
    let column = |name: &&str| rows.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    (0..rows.num_rows())
        .map(|row| {
            let cells = columns.iter().map(|name| cell(column(name), row).replace('∅', ""));
            cells.collect::<Vec<_>>().join(",")
        })
        .collect()
}

/// The same rows as the linear pass gives them.
fn linear_answer(query: &str, case: &Path, columns: &[&str]) -> Vec<String> {
    let rows = table(&case.join("transactions.csv"));
    let packages_path = case.join("packages.csv");
    let packages = packages_path.exists().then(|| table(&packages_path));
    let parameters = case.join("parameters.csv");
    let parameters = parameters.exists().then(|| table(&parameters));
    let integers = |batch: &RecordBatch, name: &str| -> Vec<i64> {
        as_floats(batch, name).iter().map(|value| value.unwrap() as i64).collect()
    };
    let floats =
        |batch: &RecordBatch, name: &str| as_floats(batch, name).iter().collect::<Vec<Option<f64>>>();
    let ranks = integers(&rows, "package");
    let known = ranks.iter().max().map_or(0, |most| *most as usize + 1);
    let properties = match &packages {
        None => vec![Properties::default(); known],
        Some(batch) => (0..batch.num_rows())
            .map(|at| Properties {
                tier: floats(batch, "tier")[at].map(|tier| tier as i64),
                validity_days: floats(batch, "validity_days")[at],
                quota_mb_per_day: floats(batch, "quota_mb_per_day")[at],
                speed_mbps: floats(batch, "speed_mbps")[at],
                service_slot: integers(batch, "service_slot")[at] as i32,
                charging_slot: integers(batch, "charging_slot")[at] as i32,
            })
            .collect(),
    };
    let days = integers(&rows, "day");
    let parameter = |name: &str| parameters.as_ref().map(|batch| floats(batch, name)[0].unwrap());
    let as_of_day = parameter("as_of_day").map_or(*days.iter().max().unwrap(), |day| day as i64);
    let mut decay = vec![0.0; as_of_day as usize + 1];
    for (day, weight) in days.iter().zip(floats(&rows, "decay")) {
        decay[(as_of_day - day) as usize] = weight.unwrap();
    }
    let eight: Vec<String> = (1..=8).map(|slot| slot.to_string()).collect();
    let slots = |property| Slots::choose(property, &eight, &[("rest".to_owned(), 1)]);
    let has_money =
        parameters.as_ref().is_none_or(|batch| cell(batch.column_by_name("has_money").unwrap(), 0) == "true");
    let context = Context::of(Parts {
        customer_type: CustomerType::Integer,
        channels: slots("channel"),
        services: slots("service"),
        charging: slots("charging"),
        channel_slots: (1..=9).collect(),
        package_codes: (0..properties.len()).map(|rank| rank.to_string()).collect(),
        properties,
        decay,
        as_of_day,
        has_money,
        scale: parameter("scale").unwrap_or(1.0),
    });
    let customers = integers(&rows, "customer");
    let mut whole = WholeCustomers::empty();
    whole.ids = Arc::new((0..=*customers.iter().max().unwrap()).collect::<arrow::array::Int64Array>());
    whole.customers = customers.iter().map(|customer| *customer as i32).collect();
    whole.seconds = integers(&rows, "seconds").iter().map(|second| *second as u32).collect();
    whole.packages = ranks.iter().map(|rank| *rank as i32).collect();
    whole.channels = integers(&rows, "channel_slot").iter().map(|slot| *slot as i32 - 1).collect();
    whole.amounts = integers(&rows, "amount");
    whole.quantities = floats(&rows, "quantity").iter().map(|pieces| pieces.unwrap() as f32).collect();
    let names: Vec<String> = columns.iter().map(|name| published(query, name)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut found = Vec::new();
    let mut sink = |tables: &packwise::features::bucket::BucketTables| -> Result<(), BucketFailure> {
        let batch = if query == "customer_features" { &tables.features } else { &tables.packages };
        found.extend(as_queried(batch, &names));
        Ok(())
    };
    let mut totals = Totals::new(context.packages(), as_of_day, 28);
    Linear::new(&context, true).run(&whole, &mut totals, &mut sink).unwrap();
    found
}

/// The published name of a query's column.
fn published(query: &str, name: &str) -> String {
    match name {
        "customer" => "customer_id".to_owned(),
        "package" if query == "customer_packages" => "package_code".to_owned(),
        "first_seconds" => "first_purchase".to_owned(),
        "last_seconds" => "last_purchase".to_owned(),
        name => match name.split_once('_') {
            Some((property @ ("channel" | "service" | "charging"), "9")) => format!("{property}_other_share"),
            Some((property @ ("channel" | "service" | "charging"), slot)) => {
                format!("{property}_{slot}_share")
            }
            _ => name.to_owned(),
        },
    }
}

/// Published rows in the units of the queries: seconds, and money of packages in minor units.
fn as_queried(batch: &RecordBatch, names: &[&str]) -> Vec<String> {
    let columns = names.iter().map(|name| {
        let column = batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
        let is_minor = *name == "revenue" && batch.column_by_name("package_code").is_some();
        let column = match column.data_type() {
            DataType::Timestamp(_, _) => {
                let micros = cast_with_options(column, &DataType::Int64, &CastOptions::default()).unwrap();
                let micros = micros.as_primitive::<Int64Type>();
                Arc::new(micros.unary::<_, Int64Type>(|micros| micros / 1_000_000)) as ArrayRef
            }
            DataType::Float64 if is_minor => {
                cast_with_options(column, &DataType::Int64, &CastOptions::default()).unwrap()
            }
            DataType::Dictionary(_, _) => {
                cast_with_options(column, &DataType::Utf8, &CastOptions::default()).unwrap()
            }
            _ => column.clone(),
        };
        (*name, column, true)
    });
    shown(&RecordBatch::try_from_iter_with_nullable(columns).unwrap(), names)
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
            let title = case.strip_prefix(&root).unwrap().display().to_string();
            for (engine, found) in
                [("sql", answer(&name, &case, &columns)), ("linear", linear_answer(&name, &case, &columns))]
            {
                for (number, (found, wanted)) in found.iter().zip(rows.lines()).enumerate() {
                    for ((found, wanted), column) in found.split(',').zip(wanted.split(',')).zip(&columns) {
                        assert_eq!(found, wanted, "{title}, {engine}, row {number}, {column}");
                    }
                }
                assert_eq!(found.len(), rows.lines().count(), "{title}, {engine}: number of rows");
            }
            cases += 1;
        }
    }
    assert!(cases >= 11, "{cases} cases were found");
}
