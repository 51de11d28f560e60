//! A bucket in one reading: rows come sorted by customer and time, so every customer is a slice, and what
//! is asked of it is worked out and forgotten before the next. No hash table, no text.
//!
//! | file | does |
//! |---|---|
//! | [`customer`] | the slices of rows, one a customer |
//! | [`packages`] | a customer's rows by package: `customer_packages` |
//! | [`activity`] | features from the rows |
//! | [`mix`] | features from the packages and the catalogue |
//! | [`columns`] | the columns of a chunk |
//!
//! A further table about customers is a further accumulator: a file with `add(&CustomerRows)` and
//! `columns`, called beside the others in [`Linear::run`].
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

use super::bucket::{BucketFailure, BucketTables, Context, owned};
use super::totals::Totals;
use crate::engine::columns::{Column, Lends};
use crate::transactions::whole_customers::WholeCustomers;
use activity::Activity;
use arrow::array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch};
use arrow::compute::take;
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use columns::{Floats, Integers, Times, micros};
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
    activity: Activity,
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
            totals.add(&rows, self.grouping.first_of_package_day(), bought);
            let Some(tables) = &mut self.tables else { continue };
            let purchases = tables.activity.add(&rows);
            tables.mix.add(bought, purchases);
            tables.bought.add(rows.customer, bought, self.context.scale);
            if tables.bought.customers.len() >= CHUNK_CUSTOMERS
                || tables.bought.packages.len() >= CHUNK_PACKAGES
            {
                tables.hand_on(self.context, whole, sink)?;
            }
        }
        match &mut self.tables {
            Some(tables) if !tables.bought.customers.is_empty() => tables.hand_on(self.context, whole, sink),
            _ => Ok(()),
        }
    }
}

impl Tables<'_> {
    /// Hands the tables of the customers so far to `sink`; starts over.
    fn hand_on<E: From<BucketFailure>>(
        &mut self,
        context: &Context,
        whole: &WholeCustomers,
        sink: &mut dyn FnMut(&BucketTables) -> Result<(), E>,
    ) -> Result<(), E> {
        let tables = self.finish(context, whole).map_err(BucketFailure::from)?;
        sink(&tables)?;
        drop(tables);
        for (_, column) in self.activity.columns().into_iter().chain(self.mix.columns()) {
            column.take_back();
        }
        self.bought.take_back();
        Ok(())
    }

    fn finish(&mut self, context: &Context, whole: &WholeCustomers) -> Result<BucketTables, ArrowError> {
        let owners = Int32Array::from(std::mem::take(&mut self.bought.customers));
        let mut named: Vec<(&str, ArrayRef)> = vec![
            ("customer_id", take(&whole.ids, &owners, None)?),
            ("favourite_package", self.mix.favourites()?),
        ];
        for (name, column) in self.activity.columns().into_iter().chain(self.mix.columns()) {
            named.push((name, column.lend_any()));
        }
        let schema = context.features_schema();
        let columns = schema.fields().iter().map(|field| {
            let found = named.iter().find(|(name, _)| name == field.name());
            found
                .map(|(_, column)| column.clone())
                .ok_or_else(|| ArrowError::SchemaError(format!("no column {}", field.name())))
        });
        let features = RecordBatch::try_new(schema.clone(), columns.collect::<Result<Vec<_>, _>>()?)?;
        self.bought.finish(context, features)
    }
}

/// The rows of `customer_packages` since the last chunk.
#[derive(Default)]
struct BoughtColumns {
    /// Of every customer, its position in the bucket.
    customers: Vec<i32>,
    /// Of every customer, where its rows end.
    ends: Vec<usize>,
    /// Of every row, its customer's place in the chunk.
    owners: Column<Int32Type>,
    packages: Column<Int32Type>,
    times: Integers,
    /// Minor units.
    minor: Integers,
    revenue: Floats,
    first: Times,
    last: Times,
    weight: Floats,
    days: Integers,
}

impl BoughtColumns {
    fn add(&mut self, customer: usize, bought: &[Bought], scale: f64) {
        let place = self.customers.len() as i32;
        self.customers.push(customer as i32);
        let each = || bought.iter();
        self.owners.extend(each().map(|_| place));
        self.packages.extend(each().map(|one| one.package as i32));
        self.times.extend(each().map(|one| one.times));
        self.minor.extend(each().map(|one| one.revenue));
        self.revenue.extend(each().map(|one| one.revenue as f64 / scale));
        self.first.extend(each().map(|one| micros(one.first)));
        self.last.extend(each().map(|one| micros(one.last)));
        self.weight.extend(each().map(|one| one.weight));
        self.days.extend(each().map(|one| one.days));
        self.ends.push(self.packages.len());
    }

    fn finish(&mut self, context: &Context, features: RecordBatch) -> Result<BucketTables, ArrowError> {
        let ranks = self.packages.lend();
        let columns: Vec<ArrayRef> = vec![
            owned(features.column(0), self.owners.lend())?,
            Arc::new(DictionaryArray::try_new(ranks, context.package_names.clone())?),
            self.times.lend_any(),
            self.revenue.lend_any(),
            self.first.lend_any(),
            self.last.lend_any(),
            self.weight.lend_any(),
            self.days.lend_any(),
        ];
        Ok(BucketTables {
            features,
            packages: RecordBatch::try_new(context.packages_schema(), columns)?,
            packages_minor: self.minor.lend(),
            ends: std::mem::take(&mut self.ends),
        })
    }

    fn take_back(&mut self) {
        let (own, packages) = (&mut self.owners as &mut dyn Lends, &mut self.packages as &mut dyn Lends);
        let integers =
            [&mut self.times, &mut self.minor, &mut self.days].map(|column| column as &mut dyn Lends);
        let floats = [&mut self.revenue, &mut self.weight].map(|column| column as &mut dyn Lends);
        let times = [&mut self.first, &mut self.last].map(|column| column as &mut dyn Lends);
        [own, packages].into_iter().chain(integers).chain(floats).chain(times).for_each(Lends::take_back);
    }
}
