//! What most customers buy: the same offers for everybody.

use crate::evaluate::histories::{Histories, History};
use crate::evaluate::recommender::{Recommender, Work};

/// What popularity counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Count {
    /// Baskets that hold the package.
    #[default]
    Baskets,
    /// Rows of the transactions.
    Rows,
    /// Customers who bought it.
    Customers,
}

/// How to count. The default counts the baskets of all days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PopularSettings {
    pub count: Count,
    /// Only so many days before the latest day for which a fitted customer gets offers.
    pub days: Option<u32>,
}

/// Packages by how often they were bought. 16 bytes a package.
#[derive(Clone, Debug)]
pub struct Popular {
    name: String,
    counts: Vec<f64>,
    shares: Vec<f64>,
}

impl Popular {
    /// Counts every package. Cost: one pass over the lines.
    pub fn fit(histories: &Histories, settings: PopularSettings) -> Self {
        let PopularSettings { count, days } = settings;
        let last = i64::from(histories.last_as_of().unwrap_or(0));
        let first = days.map_or(i64::MIN, |days| last - i64::from(days));
        let mut counts = vec![0u64; histories.packages()];
        // The last customer, counted from 1, who added to a package.
        let mut counted = vec![0usize; if count == Count::Customers { counts.len() } else { 0 }];
        for (history, customer) in histories.iter().zip(1..) {
            for line in history.lines.iter().filter(|line| i64::from(line.day) >= first) {
                let package = line.package as usize;
                counts[package] += match count {
                    Count::Baskets => 1,
                    Count::Rows => u64::from(line.times),
                    Count::Customers => {
                        u64::from(std::mem::replace(&mut counted[package], customer) != customer)
                    }
                };
            }
        }
        let most = counts.iter().copied().max().unwrap_or(0);
        let shares = counts.iter().map(|&count| count as f64 / (most + 1) as f64).collect();
        let what = match count {
            Count::Baskets => "baskets",
            Count::Rows => "rows",
            Count::Customers => "customers",
        };
        let name = match days {
            Some(days) => format!("popular ({what} of {days} days)"),
            None => format!("popular ({what})"),
        };
        Self { name, counts: counts.into_iter().map(|count| count as f64).collect(), shares }
    }

    /// Every package's count as a share of one more than the largest: from 0 to below 1, so that it
    /// orders packages whose first criterion is a whole number without changing that order.
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }
}

impl Recommender for Popular {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, _customer: &History, scores: &mut [f64], _work: &mut Work) {
        fill_from(scores, &self.counts);
    }
}

/// Copies what there is; packages launched after the fit get 0.
pub(super) fn fill_from(scores: &mut [f64], values: &[f64]) {
    let known = values.len().min(scores.len());
    let (old, new) = scores.split_at_mut(known);
    old.copy_from_slice(&values[..known]);
    new.fill(0.0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::histories::Line;

    #[test]
    fn each_way_to_count_and_the_days_change_the_scores() {
        let mut histories = Histories::new(3);
        let line = |day, package, times| Line { day, package, times, amount: 1 };
        histories.push(20, [line(1, 0, 5), line(9, 0, 1), line(9, 1, 1)]).unwrap();
        histories.push(11, [line(10, 1, 2)]).unwrap();
        let counts = |count, days| {
            let popular = Popular::fit(&histories, PopularSettings { count, days });
            let mut scores = vec![7.0; 4];
            popular.score(&histories.get(0), &mut scores, &mut Work::new());
            (scores, popular.name().to_owned())
        };
        assert_eq!(counts(Count::Baskets, None), (vec![2.0, 2.0, 0.0, 0.0], "popular (baskets)".to_owned()));
        assert_eq!(counts(Count::Rows, None).0, [6.0, 3.0, 0.0, 0.0]);
        assert_eq!(counts(Count::Customers, None).0, [1.0, 2.0, 0.0, 0.0]);
        let recent = counts(Count::Customers, Some(11));
        assert_eq!(recent, (vec![1.0, 2.0, 0.0, 0.0], "popular (customers of 11 days)".to_owned()));
        assert_eq!(
            counts(Count::Baskets, Some(10)).0,
            [0.0, 1.0, 0.0, 0.0],
            "day 10 is 10 days before day 20"
        );
        assert_eq!(
            Popular::fit(&histories, PopularSettings::default()).shares(),
            [2.0 / 3.0, 2.0 / 3.0, 0.0]
        );
    }
}
