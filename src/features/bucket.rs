//! What the features of a bucket are made from and what is made: the same for both engines.

use super::linear::mix::Properties;
use super::slots::Slots;
use crate::engine::session::QueryError;
use crate::tables::{self, CustomerType};
use crate::transactions::Transactions;
use crate::transactions::catalogue::price_tiers;
use crate::transactions::cutoff::Cutoff;
use arrow::array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use std::sync::Arc;

/// What a [`Context`] is made of.
pub struct Parts {
    pub customer_type: CustomerType,
    pub channels: Slots,
    pub services: Slots,
    pub charging: Slots,
    /// Slot of every channel by rank.
    pub channel_slots: Vec<i32>,
    /// Of every package by rank.
    pub properties: Vec<Properties>,
    /// Ascending.
    pub package_codes: Vec<String>,
    /// Weight of a purchase by its age in days.
    pub decay: Vec<f64>,
    /// Last day that is seen, since 1970.
    pub as_of_day: i64,
    pub has_money: bool,
    /// Minor units of a currency unit.
    pub scale: f64,
}

/// What features need besides the rows; the same for all buckets.
pub struct Context {
    pub channels: Slots,
    pub services: Slots,
    pub charging: Slots,
    /// Slot of every channel by rank.
    pub(super) channel_slots: Vec<i32>,
    /// Of every package by rank.
    pub(super) properties: Vec<Properties>,
    pub(super) package_names: ArrayRef,
    /// Weight of a purchase by its age in days.
    pub(super) decay: Vec<f64>,
    pub(super) as_of_day: i64,
    pub(super) has_money: bool,
    pub(super) scale: f64,
    pub(super) features_schema: SchemaRef,
    pub(super) packages_schema: SchemaRef,
}

/// The two tables of some customers of a bucket, in the order of their ids.
#[derive(Debug)]
pub struct BucketTables {
    pub features: RecordBatch,
    /// `package_code` as dictionary keys that are ranks of the run's packages; ids of text as a dictionary, too.
    pub packages: RecordBatch,
    /// Revenue in exact minor units, beside `packages`.
    pub packages_minor: Int64Array,
    /// Of every row of `features`, where the customer's rows of `packages` end.
    pub ends: Vec<usize>,
}

impl Context {
    /// `channel_rows`: rows of every channel up to the cut-off, by rank.
    pub fn new(
        transactions: &Transactions,
        channel_rows: &[u64],
        cutoff: Cutoff,
        settings: &crate::config::resolve::Features,
    ) -> Self {
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
        let tiers = price_tiers(all);
        let service_slots = services.of(all.iter().map(|p| p.service_type.as_deref()));
        let charging_slots = charging.of(all.iter().map(|p| p.charging_type.as_deref()));
        let properties = all.iter().zip(tiers).zip(service_slots).zip(charging_slots);
        let properties = properties.map(|(((package, tier), service_slot), charging_slot)| {
            let validity_days = finite(package.validity_days);
            Properties {
                tier,
                validity_days,
                quota_mb_per_day: match (finite(package.quota_mb), validity_days) {
                    (Some(quota), Some(days)) if days > 0.0 => Some(quota / days),
                    _ => None,
                },
                speed_mbps: finite(package.max_speed_mbps),
                service_slot,
                charging_slot,
            }
        });
        let properties = properties.collect();
        let days = cutoff.day().max(0) as usize + 1;
        Self::of(Parts {
            customer_type: transactions.customer_type,
            channels,
            services,
            charging,
            channel_slots,
            properties,
            package_codes: all.iter().map(|package| package.code.clone()).collect(),
            decay: (0..days).map(|age| (-(age as f64) / settings.half_life_days).exp2()).collect(),
            as_of_day: cutoff.day(),
            has_money: transactions.has_money,
            scale: transactions.scale,
        })
    }

    /// From its parts.
    pub fn of(parts: Parts) -> Self {
        let mut fields: Vec<Field> = tables::CUSTOMER_FEATURES
            .columns
            .iter()
            .map(|column| column.field(parts.customer_type))
            .map(|field| if field.name() == "favourite_package" { dictionary(&field) } else { field })
            .collect();
        for (_, name) in [&parts.channels, &parts.services, &parts.charging].into_iter().flat_map(Slots::used)
        {
            fields.push(Field::new(name, DataType::Float64, false));
        }
        Self {
            channels: parts.channels,
            services: parts.services,
            charging: parts.charging,
            channel_slots: parts.channel_slots,
            properties: parts.properties,
            package_names: Arc::new(StringArray::from_iter_values(parts.package_codes)),
            decay: parts.decay,
            as_of_day: parts.as_of_day,
            has_money: parts.has_money,
            scale: parts.scale,
            features_schema: Arc::new(Schema::new(fields)),
            packages_schema: packages_schema(parts.customer_type),
        }
    }

    /// Number of the run's packages.
    pub fn packages(&self) -> usize {
        self.properties.len()
    }

    /// Of `customer_features`, with codes of packages as a dictionary.
    pub fn features_schema(&self) -> SchemaRef {
        self.features_schema.clone()
    }

    /// The same as readers see it.
    pub fn published_features(&self) -> SchemaRef {
        let fields = self.features_schema.fields().iter().map(|field| match field.data_type() {
            DataType::Dictionary(_, texts) => {
                Arc::new(Field::new(field.name(), texts.as_ref().clone(), field.is_nullable()))
            }
            _ => field.clone(),
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    pub fn packages_schema(&self) -> SchemaRef {
        self.packages_schema.clone()
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

/// `customer_packages` with its texts as dictionaries; Parquet stores plain text either way.
fn packages_schema(customers: CustomerType) -> SchemaRef {
    let fields: Vec<Field> = tables::CUSTOMER_PACKAGES
        .columns
        .iter()
        .map(|column| {
            let field = column.field(customers);
            if field.data_type() == &DataType::Utf8 { dictionary(&field) } else { field }
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// The ids of customers at positions of `ids`, one a row: of text as dictionary keys, so that nothing is copied.
pub(super) fn owned(ids: &ArrayRef, owners: Int32Array) -> Result<ArrayRef, ArrowError> {
    Ok(match ids.data_type() {
        DataType::Utf8 => Arc::new(DictionaryArray::try_new(owners, ids.clone())?),
        _ => take(ids, &owners, None)?,
    })
}

/// A text field that travels as a dictionary.
pub fn dictionary(field: &Field) -> Field {
    Field::new(
        field.name(),
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
        field.is_nullable(),
    )
}
