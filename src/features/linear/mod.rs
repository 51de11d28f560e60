//! A bucket in one reading: rows come sorted by customer and time, so every customer is a slice, and what
//! is asked of it is worked out and forgotten before the next. No hash table, no text.
//!
//! | file | does |
//! |---|---|
//! | [`customer`] | the slices of rows, one a customer |
//! | [`packages`] | a customer's rows by package: `customer_packages` |
//! | [`activity`] | features from the rows |
//! | [`mix`] | features from the packages and the catalogue |
//! | [`columns`] | Arrow columns while they are filled |
//!
//! A further table about customers is a further accumulator: a file with `add(&CustomerRows)` and
//! `finish`, called beside the others in [`Linear::run`].
//!
//! The queries in `sql/` are the definition; `conformance.rs` holds both to equal bits. Sums of floats are
//! added in the order of time, or of packages, as the queries do.
//!
//! Memory: 5 bytes a row, 4 a package, and two tables of [`CHUNK_CUSTOMERS`] customers.

pub mod activity;
pub mod columns;
pub mod customer;
pub mod mix;
pub mod packages;

use super::bucket::{BucketFailure, BucketTables, Context};
use super::totals::Totals;
use crate::transactions::whole_customers::WholeCustomers;
use activity::Activity;
use arrow::array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, UInt64Array,
};
use arrow::compute::take;
use arrow::error::ArrowError;
use columns::{Named, integers, micros, times};
use customer::RowFacts;
use mix::Mix;
use packages::{Bought, Grouping};
use std::sync::Arc;

/// Customers whose rows are handed on together: a page of `customer_features`.
pub const CHUNK_CUSTOMERS: usize = 8_192;
/// Rows of `customer_packages` that are handed on together, if it comes to that earlier.
const CHUNK_PACKAGES: usize = 65_536;

/// One worker's pass over buckets.
pub struct Linear<'a> {
    context: &'a Context,
    facts: RowFacts,
    grouping: Grouping<'a>,
    /// None where the tables are made elsewhere and only the totals are wanted.
    tables: Option<Tables<'a>>,
}

/// The two tables of the customers since the last chunk.
struct Tables<'a> {
    activity: Activity<'a>,
    mix: Mix<'a>,
    bought: BoughtColumns,
}

impl<'a> Linear<'a> {
    /// With `tables` it makes the two tables, without it only adds up totals.
    pub fn new(context: &'a Context, tables: bool) -> Self {
        let day = context.as_of_day;
        Self {
            context,
            facts: RowFacts::default(),
            grouping: Grouping::new(context.properties.len(), &context.decay, day),
            tables: tables.then(|| Tables {
                activity: Activity::new(&context.channels, &context.channel_slots, day, context.scale),
                mix: Mix::new(
                    &context.properties,
                    &context.package_names,
                    context.has_money,
                    &context.services,
                    &context.charging,
                ),
                bought: BoughtColumns::default(),
            }),
        }
    }

    /// Hands the tables of a bucket to `sink`, some customers at a time, and adds to `totals`.
    pub fn run<E: From<BucketFailure>>(
        &mut self,
        whole: &WholeCustomers,
        totals: &mut Totals,
        sink: &mut dyn FnMut(&BucketTables) -> Result<(), E>,
    ) -> Result<(), E> {
        for rows in self.facts.customers(whole) {
            self.grouping.group(&rows);
            let bought = self.grouping.bought();
            totals.add(bought);
            totals.add_recent(&rows, self.grouping.first_of_package_day());
            let Some(tables) = &mut self.tables else { continue };
            let purchases = tables.activity.add(&rows);
            tables.mix.add(bought, purchases);
            tables.bought.add(rows.customer, bought);
            if tables.bought.customers.len() >= CHUNK_CUSTOMERS
                || tables.bought.packages.len() >= CHUNK_PACKAGES
            {
                sink(&tables.finish(self.context, whole).map_err(BucketFailure::from)?)?;
            }
        }
        match &mut self.tables {
            Some(tables) if !tables.bought.customers.is_empty() => {
                sink(&tables.finish(self.context, whole).map_err(BucketFailure::from)?)
            }
            _ => Ok(()),
        }
    }
}

impl Tables<'_> {
    /// The tables of the customers so far; starts over.
    fn finish(&mut self, context: &Context, whole: &WholeCustomers) -> Result<BucketTables, ArrowError> {
        let owners = Int32Array::from(std::mem::take(&mut self.bought.customers));
        let mut named: Vec<Named> = vec![("customer_id".to_owned(), take(&whole.ids, &owners, None)?)];
        self.activity.finish(&mut named);
        self.mix.finish(&mut named)?;
        let schema = context.features_schema();
        let columns = schema.fields().iter().map(|field| {
            let found = named.iter().find(|(name, _)| name == field.name());
            found
                .map(|(_, column)| column.clone())
                .ok_or_else(|| ArrowError::SchemaError(format!("no column {}", field.name())))
        });
        let features = RecordBatch::try_new(schema.clone(), columns.collect::<Result<Vec<_>, _>>()?)?;
        self.bought.finish(context, whole, features)
    }
}

/// The rows of `customer_packages` since the last chunk.
#[derive(Default)]
struct BoughtColumns {
    /// Of every customer, its position in the bucket.
    customers: Vec<i32>,
    /// Of every customer, where its rows end.
    ends: Vec<usize>,
    /// Of every row, its customer's position.
    owners: Vec<u64>,
    packages: Vec<i32>,
    times: Vec<i64>,
    revenue: Vec<i64>,
    first: Vec<i64>,
    last: Vec<i64>,
    weight: Vec<f64>,
    days: Vec<i64>,
}

impl BoughtColumns {
    fn add(&mut self, customer: usize, bought: &[Bought]) {
        self.customers.push(customer as i32);
        for one in bought {
            self.owners.push(customer as u64);
            self.packages.push(one.package as i32);
            self.times.push(one.times);
            self.revenue.push(one.revenue);
            self.first.push(micros(one.first));
            self.last.push(micros(one.last));
            self.weight.push(one.weight);
            self.days.push(one.days);
        }
        self.ends.push(self.packages.len());
    }

    fn finish(
        &mut self,
        context: &Context,
        whole: &WholeCustomers,
        features: RecordBatch,
    ) -> Result<BucketTables, ArrowError> {
        let owners = UInt64Array::from(std::mem::take(&mut self.owners));
        let ranks = Int32Array::from(std::mem::take(&mut self.packages));
        let minor = Int64Array::from(std::mem::take(&mut self.revenue));
        let revenue =
            Float64Array::from_iter_values(minor.values().iter().map(|minor| *minor as f64 / context.scale));
        let columns: Vec<ArrayRef> = vec![
            take(&whole.ids, &owners, None)?,
            Arc::new(DictionaryArray::try_new(ranks, context.package_names.clone())?),
            integers(&mut self.times),
            Arc::new(revenue),
            times(&mut self.first),
            times(&mut self.last),
            columns::floats(&mut self.weight),
            integers(&mut self.days),
        ];
        Ok(BucketTables {
            features,
            packages: RecordBatch::try_new(context.packages_schema(), columns)?,
            packages_minor: minor,
            ends: std::mem::take(&mut self.ends),
        })
    }
}
