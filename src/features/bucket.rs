//! One bucket through the SQL: whole customers in, two published batches out.

use super::slots::Slots;
use crate::engine::session::{BucketSession, CUSTOMER_FEATURES, CUSTOMER_PACKAGES, QueryError};
use crate::tables;
use crate::transactions::Transactions;
use crate::transactions::catalogue::price_tiers;
use crate::transactions::cutoff::Cutoff;
use crate::transactions::times::DAY;
use crate::transactions::whole_customers::WholeCustomers;
use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float32Array, Float64Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::{cast, concat_batches, take};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::DataFusionError;
use std::sync::Arc;

/// What the queries need besides the rows; the same for all buckets.
pub struct Context {
    pub channels: Slots,
    pub services: Slots,
    pub charging: Slots,
    channel_slots: Vec<i32>,
    packages: RecordBatch,
    package_names: ArrayRef,
    /// Weight of a purchase by its age in days.
    decay: Vec<f64>,
    as_of_day: i64,
    has_money: bool,
    scale: f64,
    features_schema: SchemaRef,
    packages_schema: SchemaRef,
}

/// The two tables of one bucket.
pub struct BucketTables {
    pub features: RecordBatch,
    /// `package_code` as dictionary keys that are ranks of the run's packages.
    pub packages: RecordBatch,
    /// Revenue in exact minor units, beside `packages`.
    pub packages_minor: Int64Array,
}

impl Context {
    /// `channel_rows`: rows of every channel up to the cut-off, by rank.
    pub fn new(
        transactions: &Transactions,
        channel_rows: &[u64],
        cutoff: Cutoff,
        settings: &crate::config::resolve::Features,
    ) -> Result<Self, ArrowError> {
        let frequencies = |values: &mut dyn Iterator<Item = Option<&String>>| {
            let mut counts: std::collections::BTreeMap<String, u64> = Default::default();
            for value in values.flatten() {
                *counts.entry(value.clone()).or_default() += 1;
            }
            counts.into_iter().collect::<Vec<_>>()
        };
        let all = &transactions.packages;
        let channel_rows: Vec<(String, u64)> =
            transactions.channel_names.iter().cloned().zip(channel_rows.iter().copied()).collect();
        let channels = Slots::choose("channel", &settings.channels, &channel_rows);
        let services = Slots::choose(
            "service",
            &settings.service_types,
            &frequencies(&mut all.iter().map(|package| package.service_type.as_ref())),
        );
        let charging = Slots::choose(
            "charging",
            &settings.charging_types,
            &frequencies(&mut all.iter().map(|package| package.charging_type.as_ref())),
        );
        let channel_slots = channels.of(transactions.channel_names.iter().map(|name| Some(name.as_str())));
        let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
        let packages = RecordBatch::try_from_iter_with_nullable([
            ("package", Arc::new(Int64Array::from_iter_values(0..all.len() as i64)) as ArrayRef, false),
            ("tier", Arc::new(Int64Array::from(price_tiers(all))), true),
            ("validity_days", floats(all.iter().map(|p| finite(p.validity_days))), true),
            (
                "quota_mb_per_day",
                floats(all.iter().map(|p| match (finite(p.quota_mb), finite(p.validity_days)) {
                    (Some(quota), Some(days)) if days > 0.0 => Some(quota / days),
                    _ => None,
                })),
                true,
            ),
            ("speed_mbps", floats(all.iter().map(|p| finite(p.max_speed_mbps))), true),
            (
                "service_slot",
                Arc::new(Int32Array::from(services.of(all.iter().map(|p| p.service_type.as_deref())))),
                false,
            ),
            (
                "charging_slot",
                Arc::new(Int32Array::from(charging.of(all.iter().map(|p| p.charging_type.as_deref())))),
                false,
            ),
        ])?;
        let mut fields: Vec<Field> = tables::CUSTOMER_FEATURES
            .columns
            .iter()
            .map(|column| column.field(transactions.customer_type))
            .collect();
        for (_, name, _) in [&channels, &services, &charging].into_iter().flat_map(Slots::columns) {
            fields.push(Field::new(name, DataType::Float64, false));
        }
        let days = cutoff.day().max(0) as usize + 1;
        Ok(Self {
            channels,
            services,
            charging,
            channel_slots,
            packages,
            package_names: Arc::new(StringArray::from_iter_values(all.iter().map(|p| p.code.as_str()))),
            decay: (0..days).map(|age| (-(age as f64) / settings.half_life_days).exp2()).collect(),
            as_of_day: cutoff.day(),
            has_money: transactions.has_money,
            scale: transactions.scale,
            features_schema: Arc::new(Schema::new(fields)),
            packages_schema: packages_schema(transactions.customer_type),
        })
    }

    pub fn features_schema(&self) -> SchemaRef {
        self.features_schema.clone()
    }

    pub fn packages_schema(&self) -> SchemaRef {
        self.packages_schema.clone()
    }

    /// Both queries over one bucket.
    pub fn run(
        &self,
        whole: &WholeCustomers,
        session: &BucketSession,
        runtime: &tokio::runtime::Handle,
    ) -> Result<BucketTables, BucketFailure> {
        let batch = self.transactions(whole)?;
        session.table("transactions", batch.schema(), vec![batch], &["customer"])?;
        session.table("packages", self.packages.schema(), vec![self.packages.clone()], &["package"])?;
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
                    let ranks = cast(column, &DataType::Int32)?;
                    take(&self.package_names, &ranks, None)?
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
        let ranks = cast(column("package")?, &DataType::Int32)?.as_primitive::<Int32Type>().clone();
        let packages = RecordBatch::try_new(
            self.packages_schema.clone(),
            vec![
                take(&whole.ids, column("customer")?, None)?,
                Arc::new(DictionaryArray::try_new(ranks, self.package_names.clone())?),
                cast(column("times")?, &DataType::Int64)?,
                Arc::new(revenue),
                timestamps(column("first_seconds")?)?,
                timestamps(column("last_seconds")?)?,
                cast(column("weight")?, &DataType::Float64)?,
                cast(column("days")?, &DataType::Int64)?,
            ],
        )?;
        Ok(BucketTables { features, packages, packages_minor: minor })
    }
}

/// Why a bucket's features could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BucketFailure {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("the engine refused the tables of a bucket")]
    Engine(#[from] DataFusionError),
    #[error("the rows of a bucket do not fit their table")]
    Arrow(#[from] ArrowError),
}

fn floats(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(values.collect::<Float64Array>())
}

fn timestamps(seconds: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let seconds = cast(seconds, &DataType::Int64)?;
    let micros = seconds
        .as_primitive::<Int64Type>()
        .unary::<_, arrow::datatypes::TimestampMicrosecondType>(|second| second * 1_000_000);
    Ok(Arc::new(TimestampMicrosecondArray::from(micros.to_data())))
}

/// `customer_packages` with the code as a dictionary; Parquet stores plain text either way.
fn packages_schema(customers: tables::CustomerType) -> SchemaRef {
    let fields: Vec<Field> = tables::CUSTOMER_PACKAGES
        .columns
        .iter()
        .map(|column| {
            let field = column.field(customers);
            if column.name == "package_code" { dictionary(&field) } else { field }
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// A text field that travels as a dictionary.
pub fn dictionary(field: &Field) -> Field {
    Field::new(
        field.name(),
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        field.is_nullable(),
    )
}
