//! The rows of one customer, and what every accumulator asks of a row.

use crate::transactions::times::DAY;
use crate::transactions::whole_customers::WholeCustomers;

/// The rows of one customer in the order of time; all slices have the same length, at least 1.
#[derive(Debug, Clone, Copy)]
pub struct CustomerRows<'a> {
    /// Position among the bucket's customers.
    pub customer: usize,
    /// Seconds since 1970, ascending.
    pub seconds: &'a [u32],
    /// Days since 1970, ascending.
    pub days: &'a [u32],
    /// Ranks of the packages.
    pub packages: &'a [i32],
    /// Ranks of the channels, −1 without one.
    pub channels: &'a [i32],
    /// Minor units, negative for a return.
    pub amounts: &'a [i64],
    /// Pieces, negative for a return.
    pub quantities: &'a [f32],
    /// Whether the row is a purchase: a return is none.
    pub purchases: &'a [bool],
}

/// What is worked out of all rows of a bucket at once. Memory: 5 bytes a row, kept between buckets.
#[derive(Debug, Default)]
pub struct RowFacts {
    days: Vec<u32>,
    purchases: Vec<bool>,
}

impl RowFacts {
    /// The customers of a bucket one after the other; those without rows are left out.
    pub fn customers<'a>(
        &'a mut self,
        whole: &'a WholeCustomers,
    ) -> impl Iterator<Item = CustomerRows<'a>> + 'a {
        self.days.clear();
        self.days.extend(whole.seconds.iter().map(|second| second / DAY as u32));
        self.purchases.clear();
        self.purchases.extend(
            whole
                .amounts
                .iter()
                .zip(&whole.quantities)
                .map(|(amount, pieces)| *amount >= 0 && *pieces >= 0.0),
        );
        let facts: &'a Self = self;
        let mut start = 0;
        whole.customers.chunk_by(|a, b| a == b).map(move |own| {
            let range = start..start + own.len();
            start = range.end;
            CustomerRows {
                customer: own[0] as usize,
                seconds: &whole.seconds[range.clone()],
                days: &facts.days[range.clone()],
                packages: &whole.packages[range.clone()],
                channels: &whole.channels[range.clone()],
                amounts: &whole.amounts[range.clone()],
                quantities: &whole.quantities[range.clone()],
                purchases: &facts.purchases[range],
            }
        })
    }
}

impl CustomerRows<'_> {
    pub fn len(&self) -> usize {
        self.seconds.len()
    }

    pub fn is_empty(&self) -> bool {
        self.seconds.is_empty()
    }
}
