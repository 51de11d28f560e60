//! A small run for the tests of this folder.

use super::compile::Policies;
use super::contacts::ContactHistory;
use super::file::PolicyFile;
use super::{PolicyError, check};
use crate::tables::{self, CustomerType};
use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use chrono::NaiveDate;
use std::sync::Arc;

/// Package codes by number.
pub(super) const CODES: [&str; 6] = ["DAT30-1", "DAT30-2", "SOC1-3", "VID14-4", "GAM3-5", "ROA7-6"];

/// The day that the tests' offers are for.
pub(super) fn day() -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 6, 1).unwrap()
}

/// The `packages` table: the last package has neither price nor service type.
pub(super) fn packages() -> RecordBatch {
    let schema = tables::PACKAGES.schema(CustomerType::Text);
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "package_code" => Arc::new(StringArray::from(CODES.to_vec())),
            "price" => Arc::new(Float64Array::from(vec![
                Some(10.0),
                Some(20.0),
                Some(2.0),
                Some(8.0),
                Some(5.0),
                None,
            ])),
            "service_type" => Arc::new(StringArray::from(vec![
                Some("DATA"),
                Some("DATA"),
                Some("SOCIAL"),
                Some("VIDEO"),
                Some("GAMING"),
                None,
            ])),
            "retired" => Arc::new(BooleanArray::from(vec![false, false, false, false, true, false])),
            "purchases" => Arc::new(Int64Array::from(vec![100, 50, 30, 20, 0, 1])),
            _ if field.is_nullable() => new_null_array(field.data_type(), CODES.len()),
            _ => match field.data_type() {
                DataType::Int64 => Arc::new(Int64Array::from(vec![1; CODES.len()])),
                _ => Arc::new(Float64Array::from(vec![1.0; CODES.len()])),
            },
        }
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

/// The columns of `customer_features` with two of the open-ended ones, and the segment.
pub(super) fn customer_schema() -> SchemaRef {
    let fixed = tables::CUSTOMER_FEATURES.schema(CustomerType::Integer);
    let more = [
        Field::new("channel_app_share", DataType::Float64, true),
        Field::new("service_roaming_share", DataType::Float64, true),
        Field::new("segment", DataType::Int64, false),
    ];
    Arc::new(Schema::new(
        fixed.fields().iter().map(|field| field.as_ref().clone()).chain(more).collect::<Vec<_>>(),
    ))
}

/// Customers 1, 2, … with a segment, a share of weekend purchases, and a mean gap (nullable).
pub(super) fn customers(rows: &[(i64, f64, Option<f64>)]) -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("customer_id", Arc::new(Int64Array::from_iter_values(1..=rows.len() as i64))),
        ("segment", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.0)))),
        ("weekend_share", Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.1)))),
        ("mean_gap_days", Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true)))
        .unwrap()
}

/// Compiles a file that must be fine.
pub(super) fn compiled(text: &str, contacts: ContactHistory) -> Policies {
    let file = PolicyFile::parse(text, "p.toml").unwrap_or_else(|error| panic!("{error}"));
    Policies::compile(&file, &packages(), &customer_schema(), day(), contacts)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The problems that a file has in this run, as printed.
pub(super) fn problems(text: &str) -> Vec<String> {
    match check(text, "p.toml", &packages(), &customer_schema(), day()) {
        Ok(_) => Vec::new(),
        Err(PolicyError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        Err(other) => panic!("{other}"),
    }
}

/// A rule of a stage with a predicate.
pub(super) fn rule(name: &str, stage: &str, keep: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\nstage = \"{stage}\"\nowner = \"X\"\nkeep = '''{keep}'''\n")
}

/// The problems of a file, joined.
pub(super) fn complaint(text: &str) -> String {
    problems(text).join("\n")
}

const EXAMPLE: &str = include_str!("../../config/policies.toml");

/// The example's packages, by the generator's way of naming them.
fn demo_packages() -> RecordBatch {
    let families = ["DAT30", "SOC1", "VID14", "GAM3", "COM90", "ROA7"];
    let codes = (0..36).map(|n| format!("{}-{:04}", families[n / 6], n + 1)).collect::<Vec<_>>();
    let schema = tables::PACKAGES.schema(CustomerType::Text);
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match (field.name().as_str(), field.data_type()) {
            ("package_code", _) => Arc::new(StringArray::from(codes.clone())),
            (_, DataType::Boolean) => Arc::new(BooleanArray::from(vec![false; codes.len()])),
            (_, DataType::Int64) => Arc::new(Int64Array::from(vec![1; codes.len()])),
            (_, DataType::Float64) => Arc::new(Float64Array::from(vec![1.0; codes.len()])),
            (_, other) => new_null_array(other, codes.len()),
        }
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

#[test]
fn the_example_is_right_with_and_without_what_is_switched_off() {
    let all_on = EXAMPLE
        .lines()
        .map(|line| {
            line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') && !rest.is_empty()).unwrap_or(line)
        })
        .collect::<Vec<_>>()
        .join("\n");
    for (text, rules) in [(EXAMPLE, 13), (all_on.as_str(), 16)] {
        let (file, policies) = check(text, "policies.toml", &demo_packages(), &customer_schema(), day())
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!((file.rules.len() + 1, policies.rules().len()), (rules, rules), "with the control group");
    }
}

#[test]
fn policies_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Policies>();
}
