//! What the value models need to know of a customer: repeat purchases by calendar period.
//!
//! Times are whole periods, so the model's time unit is the period: purchases of one period are one
//! purchase, and T, t_x and every horizon are counted in periods.

use super::models::summary::TimeUnit;
use super::rfm::Behaviour;
use chrono::Datelike;

/// A calendar period. Weeks begin on Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    Day,
    Week,
    Month,
}

impl Period {
    /// Number of the period that a day (since 1970) is in; consecutive.
    pub fn of(self, day: i64) -> i64 {
        match self {
            Self::Day => day,
            // 1970-01-01 was a Thursday.
            Self::Week => (day + 3).div_euclid(7),
            Self::Month => {
                let date = crate::transactions::times::date_of(day);
                i64::from(date.year()) * 12 + i64::from(date.month0())
            }
        }
    }

    pub fn unit(self) -> TimeUnit {
        match self {
            Self::Day => TimeUnit::Day,
            Self::Week => TimeUnit::Week,
            Self::Month => TimeUnit::Month,
        }
    }
}

/// One row of a customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Line {
    /// Days since 1970.
    pub day: i64,
    /// Minor units.
    pub amount: i64,
    /// A return is none.
    pub is_purchase: bool,
}

/// A customer who has bought. Times in periods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurchaseSummary {
    pub behaviour: Behaviour,
    /// Days since 1970 of the first and the last purchase.
    pub first_day: i64,
    pub last_day: i64,
    /// Repeat purchases x: periods with a purchase after the first one.
    pub frequency: u32,
    /// t_x: from the first period with a purchase to the last.
    pub recency: u32,
    /// T: from the first period with a purchase to the end of the data.
    pub age: u32,
    /// Money of the rows after the first period, returns taken off, in minor units.
    pub repeat_value: i64,
}

impl PurchaseSummary {
    /// Mean money of a repeat purchase in minor units; None without one, or if returns left nothing.
    pub fn mean_value(&self) -> Option<f64> {
        (self.frequency > 0 && self.repeat_value > 0)
            .then(|| self.repeat_value as f64 / f64::from(self.frequency))
    }
}

/// Sums up the rows of one customer, which come by time, none after `as_of` (a day since 1970). None for
/// a customer without a purchase. Money that comes back before the first purchase counts with it.
pub fn summarise(rows: impl Iterator<Item = Line>, period: Period, as_of: i64) -> Option<PurchaseSummary> {
    let mut found: Option<PurchaseSummary> = None;
    let (mut revenue, mut first_period, mut last_period) = (0, 0, 0);
    for Line { day, amount, is_purchase } in rows {
        revenue += amount;
        let own = period.of(day);
        match &mut found {
            Some(summary) => {
                if own > first_period {
                    summary.repeat_value += amount;
                }
                if is_purchase {
                    summary.behaviour.purchases += i64::from(day > summary.last_day);
                    summary.last_day = day;
                    summary.frequency += u32::from(own > last_period);
                    last_period = own;
                }
            }
            None if is_purchase => {
                (first_period, last_period) = (own, own);
                let behaviour = Behaviour { purchases: 1, ..Behaviour::default() };
                found = Some(PurchaseSummary {
                    behaviour,
                    first_day: day,
                    last_day: day,
                    frequency: 0,
                    recency: 0,
                    age: 0,
                    repeat_value: 0,
                });
            }
            None => {}
        }
    }
    let mut summary = found?;
    let length = |from: i64, to: i64| u32::try_from(to - from).unwrap_or(0);
    summary.recency = length(first_period, last_period);
    summary.age = length(first_period, period.of(as_of));
    summary.behaviour.recency_days = as_of - summary.last_day;
    summary.behaviour.revenue = revenue;
    summary.behaviour.length_days = summary.last_day - summary.first_day;
    Some(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(of: &[(i64, i64)]) -> impl Iterator<Item = Line> + '_ {
        of.iter().map(|(day, amount)| Line { day: *day, amount: *amount, is_purchase: *amount >= 0 })
    }

    #[test]
    fn a_day_is_one_purchase_and_returns_are_none() {
        let of = [(10, 500), (10, 100), (14, 300), (14, 50), (15, -50), (20, 200)];
        let summary = summarise(rows(&of), Period::Day, 30).unwrap();
        assert_eq!((summary.frequency, summary.recency, summary.age), (2, 10, 20));
        assert_eq!((summary.repeat_value, summary.mean_value()), (500, Some(250.0)));
        let behaviour = Behaviour { recency_days: 10, purchases: 3, revenue: 1_100, length_days: 10 };
        assert_eq!((summary.behaviour, summary.first_day, summary.last_day), (behaviour, 10, 20));
    }

    #[test]
    fn a_longer_period_joins_purchases_and_counts_in_its_own_unit() {
        // 1970-01-05 was a Monday: days 4 to 10 are one week.
        let of = [(3, 100), (4, 200), (10, 300), (11, 400), (40, 500)];
        let weeks = summarise(rows(&of), Period::Week, 45).unwrap();
        assert_eq!((weeks.frequency, weeks.recency, weeks.age), (3, 6, 6));
        assert_eq!(weeks.repeat_value, 1_400);
        let months = summarise(rows(&of), Period::Month, 45).unwrap();
        assert_eq!((months.frequency, months.recency, months.age, months.repeat_value), (1, 1, 1, 500));
        assert_eq!(weeks.behaviour, months.behaviour, "behaviour is in days");
    }

    #[test]
    fn nothing_bought_is_nobody_and_nothing_left_has_no_mean() {
        assert_eq!(summarise(rows(&[(3, -100)]), Period::Day, 9), None);
        let returned = summarise(rows(&[(1, -20), (3, 100), (5, 60), (6, -60)]), Period::Day, 9).unwrap();
        assert_eq!((returned.frequency, returned.repeat_value, returned.mean_value()), (1, 0, None));
        assert_eq!(returned.behaviour.revenue, 80);
        let once = summarise(rows(&[(3, 100), (3, 100)]), Period::Day, 3).unwrap();
        assert_eq!((once.frequency, once.age, once.mean_value()), (0, 0, None));
    }
}
