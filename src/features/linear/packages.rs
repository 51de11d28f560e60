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

/// No package has been bought on it.
const NO_DAY: u32 = u32::MAX;
/// The package is not among the customer's.
const NO_PLACE: u32 = u32::MAX;

/// Groups a customer's rows by package in one reading. Memory: 4 bytes a package.
pub struct Grouping<'a> {
    /// Weight of a purchase by its age in days.
    decay: &'a [f64],
    as_of_day: i64,
    /// Of every package, its place among the customer's; cleared after every customer.
    places: Vec<u32>,
    bought: Vec<Bought>,
    first_of_package_day: Vec<bool>,
}

impl<'a> Grouping<'a> {
    pub fn new(packages: usize, decay: &'a [f64], as_of_day: i64) -> Self {
        Self {
            decay,
            as_of_day,
            places: vec![NO_PLACE; packages],
            bought: Vec::new(),
            first_of_package_day: Vec::new(),
        }
    }

    /// Takes in the rows of the next customer.
    pub fn group(&mut self, rows: &CustomerRows) {
        self.bought.clear();
        self.first_of_package_day.clear();
        for row in 0..rows.len() {
            let package = rows.packages[row] as usize;
            let (second, day) = (rows.seconds[row], rows.days[row]);
            let place = &mut self.places[package];
            if *place == NO_PLACE {
                *place = self.bought.len() as u32;
                self.bought.push(Bought {
                    package: package as u32,
                    times: 0,
                    days: 0,
                    revenue: 0,
                    first: second,
                    last: second,
                    weight: 0.0,
                    last_day: NO_DAY,
                });
            }
            let bought = &mut self.bought[*place as usize];
            bought.revenue = bought.revenue.wrapping_add(rows.amounts[row]);
            bought.last = second;
            let is_purchase = rows.purchases[row];
            bought.times += i64::from(is_purchase);
            // Rows come by day, so the day of the last purchase says whether this one is new.
            let is_first = is_purchase && bought.last_day != day;
            if is_first {
                bought.last_day = day;
                bought.days += 1;
                let age = (self.as_of_day - i64::from(day)).max(0) as usize;
                bought.weight += self.decay.get(age).copied().unwrap_or(0.0);
            }
            self.first_of_package_day.push(is_first);
        }
        for bought in &self.bought {
            self.places[bought.package as usize] = NO_PLACE;
        }
        self.bought.sort_unstable_by_key(|bought| bought.package);
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
