//! How many purchases each customer makes, so that they add up to exactly the number asked.

use std::convert::Infallible;

use super::Model;
use super::customers::Customer;
use super::workers::share_out;

/// Customers worked on as one piece.
pub(super) const BLOCK: u64 = 16_384;

/// The division of all purchases among all customers in proportion to their weights. Customer c gets
/// ⌊W(c+1)·N/W⌋ − ⌊W(c)·N/W⌋, where W(c) is the weight of the customers before c, W of all: the sum is
/// exactly N, and nobody is more than one purchase from their due. All integers, so the outcome does
/// not depend on how the sum was shared among threads.
///
/// Only the weight before each block of 16,384 customers is kept: 8 bytes a block.
#[derive(Debug)]
pub(super) struct Activity {
    /// The weight of the customers before each block, then of all.
    before: Vec<u64>,
    transactions: u64,
}

impl Activity {
    /// Weighs every customer once.
    pub(super) fn measure(model: &Model, threads: usize) -> Self {
        let blocks = model.customers.div_ceil(BLOCK) as usize;
        let Ok(weighed) = share_out(
            threads,
            blocks,
            |_| Ok::<_, Infallible>(Vec::new()),
            |weighed: &mut Vec<(usize, u64)>, block| {
                let weight = members(model, block).map(|number| Customer::draw(model, number).weight).sum();
                weighed.push((block, weight));
                Ok(())
            },
        );
        let mut before = vec![0; blocks + 1];
        for (block, weight) in weighed.into_iter().flatten() {
            before[block + 1] = weight;
        }
        for block in 0..blocks {
            before[block + 1] += before[block];
        }
        Self { before, transactions: model.transactions }
    }

    /// How many blocks there are.
    pub(super) fn blocks(&self) -> usize {
        self.before.len() - 1
    }

    /// Calls `visit` with each customer of a block, in order, and their number of purchases.
    pub(super) fn visit_block<E>(
        &self,
        model: &Model,
        block: usize,
        mut visit: impl FnMut(Customer, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut weight = self.before[block];
        let mut bought = self.purchases_below(weight);
        for number in members(model, block) {
            let customer = Customer::draw(model, number);
            weight += customer.weight;
            let next = self.purchases_below(weight);
            visit(customer, next - bought)?;
            bought = next;
        }
        Ok(())
    }

    /// The purchases that a customer makes on average over seeds: their due before rounding.
    pub(super) fn expected(&self, customer: &Customer) -> f64 {
        customer.weight as f64 * self.transactions as f64 / self.total() as f64
    }

    /// ⌊weight · N / W⌋. The product needs 128 bits; the quotient is at most N.
    fn purchases_below(&self, weight: u64) -> u64 {
        (u128::from(weight) * u128::from(self.transactions) / u128::from(self.total())) as u64
    }

    /// The weight of all customers; never zero, because there is one and no weight is.
    fn total(&self) -> u64 {
        self.before[self.before.len() - 1]
    }
}

/// The numbers of a block's customers.
fn members(model: &Model, block: usize) -> std::ops::Range<u64> {
    let first = block as u64 * BLOCK;
    first..(first + BLOCK).min(model.customers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purchases_add_up_exactly_and_follow_the_weights() {
        let mut model = Model::for_tests(40_000, 30, 60);
        for transactions in [1, 777, 40_000, 1_234_567] {
            model.transactions = transactions;
            let activity = Activity::measure(&model, 2);
            let (mut sum, mut customers) = (0, 0);
            for block in 0..activity.blocks() {
                let Ok(()) = activity.visit_block(&model, block, |customer, purchases| {
                    assert_eq!(customer.number, customers);
                    assert!((purchases as f64 - activity.expected(&customer)).abs() <= 1.0);
                    sum += purchases;
                    customers += 1;
                    Ok::<_, Infallible>(())
                });
            }
            assert_eq!((sum, customers), (transactions, 40_000));
        }
    }

    #[test]
    fn the_busiest_tenth_buys_more_than_a_third() {
        let model = Model::for_tests(20_000, 60, 60);
        let mut weights: Vec<u64> = (0..20_000).map(|c| Customer::draw(&model, c).weight).collect();
        weights.sort_unstable_by(|a, b| b.cmp(a));
        let share = weights[..2_000].iter().sum::<u64>() as f64 / weights.iter().sum::<u64>() as f64;
        assert!((0.35..0.6).contains(&share), "{share}");
    }
}
