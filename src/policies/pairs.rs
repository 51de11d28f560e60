//! Scored pairs of customers and packages, and the columns that mixed predicates gather from them.

use super::PolicyError;
use super::columns::OfferColumn;
use super::formula::Input;
use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, UInt32Array};
use arrow::compute::take;
use datafusion::error::DataFusionError;
use std::cell::OnceCell;
use std::sync::Arc;

/// Scored pairs of some customers, by column; all of the same length.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'a> {
    /// Row of the customer in the group.
    pub customers: &'a [u32],
    /// Package numbers.
    pub packages: &'a [u32],
    pub probability: &'a [f64],
    /// Currency units; NaN if unknown.
    pub price: &'a [f64],
    /// Purchases of the package by the customer.
    pub times: &'a [i64],
    /// Days since the last of them; below 0 if never.
    pub days_since_last: &'a [i64],
    /// By score before policies, from 1.
    pub rank: &'a [i64],
}

/// Columns over pairs, made when a formula first asks for them.
pub(super) struct Gathered<'a> {
    pairs: &'a Pairs<'a>,
    customers: UInt32Array,
    packages: UInt32Array,
    offers: [OnceCell<ArrayRef>; OfferColumn::ALL.len()],
}

impl<'a> Gathered<'a> {
    pub(super) fn new(pairs: &'a Pairs<'a>) -> Self {
        Self {
            pairs,
            customers: UInt32Array::from(pairs.customers.to_vec()),
            packages: UInt32Array::from(pairs.packages.to_vec()),
            offers: Default::default(),
        }
    }

    /// The values of an input, one a pair.
    pub(super) fn values(
        &self,
        input: &Input,
        columns: &[ArrayRef],
        terms: &[ArrayRef],
    ) -> Result<ArrayRef, DataFusionError> {
        let (values, rows) = match input {
            Input::Customer(number) => (columns.get(*number), &self.customers),
            Input::Term(number) => (terms.get(*number), &self.customers),
            Input::Package(values) => (Some(values), &self.packages),
            Input::Offer(column) => {
                return Ok(self.offers[*column as usize].get_or_init(|| self.pairs.column(*column)).clone());
            }
        };
        let values =
            values.ok_or_else(|| DataFusionError::Plan("a column was lost on the way".to_owned()))?;
        Ok(take(values, rows, None)?)
    }
}

impl Pairs<'_> {
    pub fn len(&self) -> usize {
        self.customers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.customers.is_empty()
    }

    fn column(&self, column: OfferColumn) -> ArrayRef {
        let known = |value: f64| (!value.is_nan()).then_some(value);
        match column {
            OfferColumn::Probability => Arc::new(Float64Array::from(self.probability.to_vec())),
            OfferColumn::Price => {
                Arc::new(self.price.iter().map(|price| known(*price)).collect::<Float64Array>())
            }
            OfferColumn::ExpectedRevenue => {
                let revenue = self.probability.iter().zip(self.price).map(|(p, price)| known(p * price));
                Arc::new(revenue.collect::<Float64Array>())
            }
            OfferColumn::IsNew => {
                Arc::new(self.times.iter().map(|times| Some(*times == 0)).collect::<BooleanArray>())
            }
            OfferColumn::Times => Arc::new(Int64Array::from(self.times.to_vec())),
            OfferColumn::DaysSinceLast => {
                let days = self.days_since_last.iter().map(|days| (*days >= 0).then_some(*days));
                Arc::new(days.collect::<Int64Array>())
            }
            OfferColumn::Rank => Arc::new(Int64Array::from(self.rank.to_vec())),
        }
    }

    /// All columns are of one length, and every number is in range.
    pub(super) fn check(&self, customers: usize, packages: usize) -> Result<(), PolicyError> {
        let wanted = self.len();
        let lengths = [
            ("packages", self.packages.len()),
            ("probability", self.probability.len()),
            ("price", self.price.len()),
            ("times", self.times.len()),
            ("days_since_last", self.days_since_last.len()),
            ("rank", self.rank.len()),
        ];
        for (what, found) in lengths {
            if found != wanted {
                return Err(PolicyError::Length { what, found, wanted });
            }
        }
        for (what, numbers, count) in
            [("customer", self.customers, customers), ("package", self.packages, packages)]
        {
            if let Some(found) = numbers.iter().copied().max().filter(|found| *found as usize >= count) {
                return Err(PolicyError::OutOfRange { what, found, count });
            }
        }
        Ok(())
    }
}
