//! Ids of customers out of their keys, and rows as text.

use crate::engine::part::id_text;
use crate::engine::rows::Rows;
use crate::numerics::random::{hash_bytes, hash_u64};
use crate::transactions::keys::{self, KeyKind};
use crate::transactions::normalise::NO_CHANNEL;
use crate::transactions::{Transactions, times};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray, StringBuilder};
use arrow::datatypes::Int64Type;
use std::sync::Arc;

/// What the id of a customer is made of: its key, and one of its rows.
#[derive(Clone, Copy)]
pub struct Customer {
    key: u64,
    row: u32,
}

impl Customer {
    /// Without text: its key says it all.
    pub fn of_key(key: u64) -> Self {
        Self { key, row: 0 }
    }

    pub fn of(rows: &Rows, row: u32) -> Self {
        Self { key: rows.keys[row as usize], row }
    }
}

/// The text of a row's customer; empty where the key says it all.
pub fn text<'a>(rows: &'a Rows, starts: &[usize], row: usize) -> &'a [u8] {
    match rows.text_lengths.get(row) {
        Some(length) => &rows.text_bytes[starts[row]..starts[row] + *length as usize],
        None => &[],
    }
}

/// The id of every customer, as it is published.
pub fn ids(rows: &Rows, starts: &[usize], customers: &[Customer], kind: &KeyKind) -> ArrayRef {
    match kind {
        KeyKind::Integer => Arc::new(Int64Array::from_iter_values(
            customers.iter().map(|customer| keys::key_integer(customer.key)),
        )),
        KeyKind::Packed => {
            let mut builder = StringBuilder::with_capacity(customers.len(), customers.len() * 12);
            let mut id = String::with_capacity(16);
            for customer in customers {
                id.clear();
                keys::unpack(customer.key, &mut id);
                builder.append_value(&id);
            }
            Arc::new(builder.finish())
        }
        KeyKind::Text { .. } => Arc::new(StringArray::from_iter_values(
            customers
                .iter()
                .map(|customer| String::from_utf8_lossy(text(rows, starts, customer.row as usize))),
        )),
    }
}

/// A hash of every customer id that depends on nothing but the id and the seed: what samples go by.
pub fn id_hashes(ids: &dyn Array, seed: u64) -> Vec<u64> {
    match ids.as_primitive_opt::<Int64Type>() {
        Some(integers) => integers.values().iter().map(|id| hash_u64(*id as u64, seed)).collect(),
        None => {
            let texts = ids.as_string::<i32>();
            (0..texts.len()).map(|row| hash_bytes(texts.value(row).as_bytes(), seed)).collect()
        }
    }
}

impl Transactions {
    /// A row as the quarantine table shows it.
    pub(super) fn as_text(&self, rows: &Rows, starts: &[usize], position: u32) -> [Option<String>; 6] {
        let row = position as usize;
        let id = ids(rows, starts, &[Customer::of(rows, position)], &self.keys);
        let package = self.package_ranks[rows.packages[row] as usize] as usize;
        let channel = match rows.channels[row] {
            NO_CHANNEL => None,
            code => self.channel_names.get(self.channel_ranks[code as usize] as usize).cloned(),
        };
        let seconds = i64::from(rows.seconds[row]);
        let time = times::date_of(seconds.div_euclid(times::DAY))
            .and_hms_opt(0, 0, 0)
            .map(|midnight| midnight + chrono::TimeDelta::seconds(seconds.rem_euclid(times::DAY)));
        [
            Some(id_text(id.as_ref(), 0)),
            self.packages.get(package).map(|package| package.code.clone()),
            time.map(|time| time.format("%Y-%m-%d %H:%M:%S").to_string()),
            channel,
            rows.amounts.get(row).map(|amount| (*amount as f64 / self.scale).to_string()),
            rows.quantities.get(row).map(ToString::to_string),
        ]
    }
}
