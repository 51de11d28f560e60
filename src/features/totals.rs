//! What was bought of each package, over all customers: sums of integers, so their order does not show.

use super::linear::customer::CustomerRows;
use super::linear::packages::Bought;
use crate::transactions::times::DAY;

const MICROS: i64 = 1_000_000;

/// Windows of days before the cut-off in which purchases of every package are counted apart.
pub const RECENT: usize = 2;

/// Days of the windows of [`RECENT`]: three and twelve times the window that scores speak of. What sold
/// in a span no longer than the window itself says more of what is over than of what comes: on grocery
/// purchases of four weeks it cost 2 % of the recall.
pub fn recent_days(window_days: u32) -> [i64; RECENT] {
    [3, 12].map(|times| i64::from(window_days) * times)
}

/// What was bought of one package.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackageTotals {
    pub purchases: i64,
    pub customers: u64,
    /// Customers that bought it on more than one day.
    pub repeat_customers: u64,
    /// Baskets (a customer's day) with it in the last days, by window of [`recent_days`].
    pub recent: [i64; RECENT],
    /// Minor units.
    pub revenue: i64,
    /// Microseconds since 1970 of the last row.
    pub last: Option<i64>,
}

/// The totals of one worker. Memory: 64 bytes a package.
#[derive(Debug, Clone)]
pub struct Totals {
    of_package: Vec<PackageTotals>,
    as_of_day: i64,
    windows: [i64; RECENT],
}

impl Totals {
    /// None bought yet of `packages` packages; `as_of_day` is the last day that is seen.
    pub fn new(packages: usize, as_of_day: i64, window_days: u32) -> Self {
        Self {
            of_package: vec![PackageTotals::default(); packages],
            as_of_day,
            windows: recent_days(window_days),
        }
    }

    /// Takes in one customer: its rows, which of them are the first of their package on their day, and what it bought.
    pub fn add(&mut self, rows: &CustomerRows, first_of_package_day: &[bool], bought: &[Bought]) {
        for one in bought {
            let Some(total) = self.of_package.get_mut(one.package as usize) else { continue };
            total.purchases += one.times;
            total.customers += u64::from(one.times > 0);
            let days = (i64::from(one.first) / DAY, i64::from(one.last) / DAY);
            total.repeat_customers += u64::from(one.times > 1 && days.0 < days.1);
            // Baskets of any age: once a day, as three in one basket say no more of what is in demand than one.
            total.recent.iter_mut().for_each(|count| *count += one.days);
            total.revenue += one.revenue;
            total.last = total.last.max(Some(i64::from(one.last) * MICROS));
        }
        // Rows come by day, so those before a window are the first ones, and mostly few.
        for (window, days) in self.windows.into_iter().enumerate() {
            let is_before = |day: &&u32| self.as_of_day - i64::from(**day) >= days;
            let before = rows.days.iter().take_while(is_before).count();
            for (package, is_first) in rows.packages[..before].iter().zip(first_of_package_day) {
                if let Some(total) = self.of_package.get_mut(*package as usize) {
                    total.recent[window] -= i64::from(*is_first);
                }
            }
        }
    }

    /// Adds another worker's.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.of_package.iter_mut().zip(&other.of_package) {
            mine.purchases += theirs.purchases;
            mine.customers += theirs.customers;
            mine.repeat_customers += theirs.repeat_customers;
            mine.recent.iter_mut().zip(theirs.recent).for_each(|(mine, theirs)| *mine += theirs);
            mine.revenue += theirs.revenue;
            mine.last = mine.last.max(theirs.last);
        }
    }

    /// By rank of the package.
    pub fn into_packages(self) -> Vec<PackageTotals> {
        self.of_package
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::linear::packages::Grouping;

    #[test]
    fn baskets_count_once_a_day_and_workers_add_up() {
        let decay = [1.0; 200];
        let mut grouping = Grouping::new(2, &decay, 100);
        let day = |day: u32| day * DAY as u32;
        let rows = CustomerRows {
            customer: 0,
            seconds: &[day(10), day(98), day(98) + 5, day(100)],
            days: &[10, 98, 98, 100],
            packages: &[0, 0, 0, 1],
            channels: &[-1; 4],
            amounts: &[3; 4],
            quantities: &[1.0; 4],
            purchases: &[true; 4],
        };
        grouping.group(&rows);
        let mut one = Totals::new(2, 100, 1);
        one.add(&rows, grouping.first_of_package_day(), grouping.bought());
        let mut both = one.clone();
        both.merge(&one);
        let [first, second] = both.into_packages()[..] else { panic!("two packages") };
        assert_eq!((first.purchases, first.customers, first.repeat_customers, first.revenue), (6, 2, 2, 18));
        // Windows of 3 and 12 days: day 98 is two days before the last.
        assert_eq!((first.recent, second.recent), ([2, 2], [2, 2]));
        assert_eq!((second.repeat_customers, second.last), (0, Some(i64::from(day(100)) * MICROS)));
    }
}
