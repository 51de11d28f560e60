//! A bucket through the queries of `sql/`: the definition of the features, and what the one pass of
//! [`super::linear`] is tested against. `features.engine = "sql"` publishes what this makes.
//!
//! Memory: about 600 bytes a row (Arrow columns, the groups of two aggregations, and their output).

use super::bucket::{BucketFailure, BucketTables, Context, owned};
use super::linear::mix::Properties;
use crate::engine::session::{BucketSession, CUSTOMER_FEATURES, CUSTOMER_PACKAGES};
use crate::tables;
use crate::transactions::times::DAY;
use crate::transactions::whole_customers::WholeCustomers;
use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float32Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, TimestampMicrosecondArray,
};
use arrow::compute::{cast, concat_batches, take};
use arrow::datatypes::{DataType, Int32Type, Int64Type, Schema};
use arrow::error::ArrowError;
use datafusion::common::{ParamValues, ScalarValue};
use std::sync::Arc;

impl Context {
    /// Both queries over one bucket.
    pub fn run_sql(
        &self,
        whole: &WholeCustomers,
        session: &BucketSession,
        runtime: &tokio::runtime::Handle,
    ) -> Result<BucketTables, BucketFailure> {
        let batch = self.transactions(whole)?;
        session.table("transactions", batch.schema(), vec![batch], &["customer"])?;
        let packages = self.catalogue()?;
        session.table("packages", packages.schema(), vec![packages], &["package"])?;
        let none = ParamValues::List(Vec::new());
        let bought = runtime.block_on(session.run(CUSTOMER_PACKAGES, none, &[]))?;
        let schema = bought.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
        session.table("customer_packages", schema.clone(), bought.clone(), &["customer", "package"])?;

        let mut columns: Vec<String> = tables::CUSTOMER_FEATURES.columns[1..]
            .iter()
            .map(|column| match column.name {
                "first_purchase" => "first_seconds".to_owned(),
                "last_purchase" => "last_seconds".to_owned(),
                name => name.to_owned(),
            })
            .collect();
        for slots in [&self.channels, &self.services, &self.charging] {
            columns.extend(slots.columns().into_iter().map(|(column, _, _)| column));
        }
        columns.push("customer".to_owned());
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let features = runtime.block_on(session.run(CUSTOMER_FEATURES, self.parameters(), &columns))?;
        session.clear(&["transactions", "customer_packages"])?;
        let features_schema = features.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
        let features = concat_batches(&features_schema, &features)?;
        let bought = concat_batches(&schema, &bought)?;
        self.publishable(whole, &features, &bought)
    }

    /// What the catalogue says, as the SQL sees it.
    fn catalogue(&self) -> Result<RecordBatch, ArrowError> {
        let all = &self.properties;
        let slots = |slot: fn(&Properties) -> i32| {
            Arc::new(Int32Array::from_iter_values(all.iter().map(slot))) as ArrayRef
        };
        let floats = |value: fn(&Properties) -> Option<f64>| {
            Arc::new(all.iter().map(value).collect::<Float64Array>()) as ArrayRef
        };
        RecordBatch::try_from_iter_with_nullable([
            ("package", Arc::new(Int64Array::from_iter_values(0..all.len() as i64)) as ArrayRef, false),
            ("tier", Arc::new(all.iter().map(|of| of.tier).collect::<Int64Array>()) as ArrayRef, true),
            ("validity_days", floats(|of| of.validity_days), true),
            ("quota_mb_per_day", floats(|of| of.quota_mb_per_day), true),
            ("speed_mbps", floats(|of| of.speed_mbps), true),
            ("service_slot", slots(|of| of.service_slot), false),
            ("charging_slot", slots(|of| of.charging_slot), false),
        ])
    }

    fn parameters(&self) -> ParamValues {
        ParamValues::from(vec![
            ("as_of_day", ScalarValue::Int64(Some(self.as_of_day))),
            ("has_money", ScalarValue::Boolean(Some(self.has_money))),
            ("scale", ScalarValue::Float64(Some(self.scale))),
        ])
    }

    /// The rows of a bucket as the SQL sees them.
    fn transactions(&self, whole: &WholeCustomers) -> Result<RecordBatch, ArrowError> {
        let rows = whole.len();
        let mut days = Vec::with_capacity(rows);
        let mut first_of_day = Vec::with_capacity(rows);
        let mut decay = Vec::with_capacity(rows);
        let mut slots = Vec::with_capacity(rows);
        let mut first_of_package_day = Vec::with_capacity(rows);
        let mut marked: Option<(i32, i64)> = None;
        // Packages of the customer's day so far: few, and rows come by day.
        let mut of_day: Vec<i32> = Vec::new();
        for row in 0..rows {
            let day = i64::from(whole.seconds[row]) / DAY;
            let is_purchase = whole.amounts[row] >= 0 && whole.quantities[row] >= 0.0;
            let is_first = is_purchase && marked != Some((whole.customers[row], day));
            if is_first {
                marked = Some((whole.customers[row], day));
                of_day.clear();
            }
            let is_new = is_purchase && !of_day.contains(&whole.packages[row]);
            if is_new {
                of_day.push(whole.packages[row]);
            }
            first_of_package_day.push(i64::from(is_new));
            days.push(day);
            first_of_day.push(i64::from(is_first));
            let age = (self.as_of_day - day).max(0) as usize;
            decay.push(self.decay.get(age).copied().unwrap_or(0.0));
            slots.push(match whole.channels[row] {
                -1 => 0,
                channel => self.channel_slots[channel as usize],
            });
        }
        RecordBatch::try_from_iter([
            ("customer", Arc::new(Int32Array::from(whole.customers.clone())) as ArrayRef),
            (
                "seconds",
                Arc::new(Int64Array::from_iter_values(whole.seconds.iter().map(|s| i64::from(*s))))
                    as ArrayRef,
            ),
            ("day", Arc::new(Int64Array::from(days)) as ArrayRef),
            ("first_of_day", Arc::new(Int64Array::from(first_of_day)) as ArrayRef),
            (
                "package",
                Arc::new(Int64Array::from_iter_values(whole.packages.iter().map(|p| i64::from(*p))))
                    as ArrayRef,
            ),
            ("channel_slot", Arc::new(Int32Array::from(slots)) as ArrayRef),
            ("amount", Arc::new(Int64Array::from(whole.amounts.clone())) as ArrayRef),
            ("quantity", Arc::new(Float32Array::from(whole.quantities.clone())) as ArrayRef),
            ("decay", Arc::new(Float64Array::from(decay)) as ArrayRef),
            ("first_of_package_day", Arc::new(Int64Array::from(first_of_package_day)) as ArrayRef),
        ])
    }

    fn publishable(
        &self,
        whole: &WholeCustomers,
        features: &RecordBatch,
        bought: &RecordBatch,
    ) -> Result<BucketTables, BucketFailure> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(features.num_columns());
        let last = features.num_columns() - 1;
        columns.push(take(&whole.ids, &cast(features.column(last), &DataType::Int32)?, None)?);
        for (column, field) in features.columns()[..last].iter().zip(&self.features_schema.fields()[1..]) {
            columns.push(match field.name().as_str() {
                "first_purchase" | "last_purchase" => timestamps(column)?,
                "favourite_package" => {
                    let ranks = cast(column, &DataType::Int32)?.as_primitive::<Int32Type>().clone();
                    Arc::new(DictionaryArray::try_new(ranks, self.package_names.clone())?)
                }
                _ => cast(column, field.data_type())?,
            });
        }
        let features = RecordBatch::try_new(self.features_schema.clone(), columns)?;

        let column = |name: &str| {
            bought.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("no column {name}")))
        };
        let minor = cast(column("revenue")?, &DataType::Int64)?.as_primitive::<Int64Type>().clone();
        let revenue = Float64Array::from_iter_values(minor.values().iter().map(|m| *m as f64 / self.scale));
        let owners = column("customer")?;
        let ends = ends(owners.as_primitive::<Int32Type>().values());
        let ranks = cast(column("package")?, &DataType::Int32)?.as_primitive::<Int32Type>().clone();
        let packages = RecordBatch::try_new(
            self.packages_schema.clone(),
            vec![
                owned(&whole.ids, owners.as_primitive::<Int32Type>().clone())?,
                Arc::new(DictionaryArray::try_new(ranks, self.package_names.clone())?),
                cast(column("times")?, &DataType::Int64)?,
                Arc::new(revenue),
                timestamps(column("first_seconds")?)?,
                timestamps(column("last_seconds")?)?,
                cast(column("weight")?, &DataType::Float64)?,
                cast(column("days")?, &DataType::Int64)?,
            ],
        )?;
        Ok(BucketTables { features, packages, packages_minor: minor, ends })
    }
}

/// Where each customer's rows end.
fn ends(owners: &[i32]) -> Vec<usize> {
    let mut end = 0;
    owners
        .chunk_by(|a, b| a == b)
        .map(|own| {
            end += own.len();
            end
        })
        .collect()
}

fn timestamps(seconds: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let seconds = cast(seconds, &DataType::Int64)?;
    let micros = seconds
        .as_primitive::<Int64Type>()
        .unary::<_, arrow::datatypes::TimestampMicrosecondType>(|second| second * 1_000_000);
    Ok(Arc::new(TimestampMicrosecondArray::from(micros.to_data())))
}
