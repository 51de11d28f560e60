//! What a customer bought of each package: the rows of `customer_packages`.

use super::customer::CustomerRows;

/// What one customer bought of one package.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bought {
    /// Rank of the package.
    pub package: u32,
    /// Purchases; 0 if there are only returns.
    pub times: i64,
    /// Days with a purchase.
    pub days: i64,
    /// Minor units, returns taken off.
    pub revenue: i64,
    /// Seconds since 1970 of the first and last row.
    pub first: u32,
    pub last: u32,
    /// Days with a purchase, each by its age. Added in the order of time.
    pub weight: f64,
    /// Day of the last purchase so far.
    last_day: u32,
}

/// Nothing yet of a package.
const NONE: Bought = Bought {
    package: 0,
    times: 0,
    days: 0,
    revenue: 0,
    first: u32::MAX,
    last: 0,
    weight: 0.0,
    last_day: NO_DAY,
};
/// No package has been bought on it.
const NO_DAY: u32 = u32::MAX;
/// The package is not among the customer's.
const NO_PLACE: u32 = u32::MAX;

/// Groups a customer's rows by package: first which package has which place, then the sums. Memory: 4 bytes a package.
///
/// Which rows are of a new package is as good as random to the processor, so nothing branches on it.
pub struct Grouping<'a> {
    /// Weight of a purchase by its age in days.
    decay: &'a [f64],
    as_of_day: i64,
    /// Of every package, its place among the customer's by first row; cleared after every customer.
    places: Vec<u32>,
    /// Of every row, the place of its package.
    of_row: Vec<u32>,
    /// Package and place of each, in one word, ascending.
    order: Vec<u64>,
    /// Of every place, the position by rank of the package.
    positions: Vec<u32>,
    bought: Vec<Bought>,
    first_of_package_day: Vec<bool>,
}

impl<'a> Grouping<'a> {
    pub fn new(packages: usize, decay: &'a [f64], as_of_day: i64) -> Self {
        Self {
            decay,
            as_of_day,
            places: vec![NO_PLACE; packages],
            of_row: Vec::new(),
            order: Vec::new(),
            positions: Vec::new(),
            bought: Vec::new(),
            first_of_package_day: Vec::new(),
        }
    }

    /// Takes in the rows of the next customer.
    pub fn group(&mut self, rows: &CustomerRows) {
        self.place(rows.packages);
        self.bought.clear();
        self.positions.resize(self.order.len(), 0);
        for (position, word) in self.order.iter().enumerate() {
            let package = (word >> 32) as u32;
            self.places[package as usize] = NO_PLACE;
            self.positions[*word as u32 as usize] = position as u32;
            self.bought.push(Bought { package, ..NONE });
        }
        self.first_of_package_day.clear();
        let columns =
            rows.seconds.iter().zip(rows.days).zip(rows.amounts).zip(rows.purchases).zip(&self.of_row);
        for ((((second, day), amount), is_purchase), place) in columns {
            let bought = &mut self.bought[self.positions[*place as usize] as usize];
            bought.revenue = bought.revenue.wrapping_add(*amount);
            // Rows come by time.
            bought.first = bought.first.min(*second);
            bought.last = *second;
            bought.times += i64::from(*is_purchase);
            // So the day of the last purchase says whether this one is new.
            let is_first = *is_purchase & (bought.last_day != *day);
            bought.last_day = if *is_purchase { *day } else { bought.last_day };
            bought.days += i64::from(is_first);
            let age = (self.as_of_day - i64::from(*day)).max(0) as usize;
            let weight = self.decay.get(age).copied().unwrap_or(0.0);
            bought.weight += if is_first { weight } else { 0.0 };
            self.first_of_package_day.push(is_first);
        }
    }

    /// Gives every package of the rows a place, and puts them in the order of their ranks.
    fn place(&mut self, packages: &[i32]) {
        self.of_row.clear();
        self.order.clear();
        self.order.resize(packages.len(), 0);
        let mut found = 0;
        for package in packages {
            let known = &mut self.places[*package as usize];
            let is_new = *known == NO_PLACE;
            let place = if is_new { found } else { *known };
            *known = place;
            // Of a known package it is written over.
            self.order[found as usize] = u64::from(*package as u32) << 32 | u64::from(place);
            self.of_row.push(place);
            found += u32::from(is_new);
        }
        self.order.truncate(found as usize);
        self.order.sort_unstable();
    }

    /// What the customer bought, by rank of the package.
    pub fn bought(&self) -> &[Bought] {
        &self.bought
    }

    /// For every row, whether it is the first purchase of its package on its day.
    pub fn first_of_package_day(&self) -> &[bool] {
        &self.first_of_package_day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basket_counts_one_day_and_the_next_customer_starts_anew() {
        let decay = [1.0, 0.5, 0.25];
        let mut grouping = Grouping::new(3, &decay, 10);
        let rows = CustomerRows {
            customer: 0,
            seconds: &[1, 2, 3, 4],
            days: &[9, 9, 9, 10],
            packages: &[2, 0, 2, 2],
            channels: &[-1; 4],
            amounts: &[5, 7, 5, -5],
            quantities: &[1.0; 4],
            purchases: &[true, true, true, false],
        };
        for _ in 0..2 {
            grouping.group(&rows);
            assert_eq!(grouping.first_of_package_day(), [true, true, false, false]);
            let [other, twice] = grouping.bought() else { panic!("{:?}", grouping.bought()) };
            assert_eq!((other.package, other.times, other.revenue), (0, 1, 7));
            assert_eq!((twice.package, twice.times, twice.days, twice.revenue), (2, 2, 1, 5));
            assert_eq!((twice.first, twice.last, twice.weight), (1, 4, 0.5));
        }
    }
}
