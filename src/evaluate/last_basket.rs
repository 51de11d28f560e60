//! The protocol of published next-basket comparisons: predict each customer's last basket.
//!
//! A basket is a day. The last basket of a customer with three or more is the test, the one before it
//! the validation; everything earlier, and all of the other customers, is training. The days of one
//! customer's test may lie before training days of others, which a protocol with one cut-off day
//! does not allow: figures of the two are not comparable.

use super::histories::{Histories, History, HistoryError, Line, Truths};

/// Which customers and packages take part. The default keeps all that bought or were bought.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Filter {
    /// Customers with at least so many days with purchases.
    pub min_days: Option<usize>,
    /// Packages with at least so many rows.
    pub min_package_rows: Option<usize>,
    /// Of those left, customers whose rows a day, over the days from their first to their last
    /// purchase, are fewer than the mean plus so many standard deviations (of the population). Those
    /// who bought on one day only are dropped as well: they have no such rate.
    pub max_rows_per_day_sd: Option<f64>,
}

/// What a filter left, renumbered without gaps in the old order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filtered {
    pub histories: Histories,
    /// The old position of each customer.
    pub customers: Vec<usize>,
    /// The old number of each package.
    pub packages: Vec<u32>,
}

impl Filter {
    /// Customers and packages are counted once, before anything is dropped, so a customer that stays
    /// may have fewer days afterwards, and a package fewer rows. Customers and packages without rows
    /// are dropped. Memory: the lines once more.
    pub fn apply(&self, histories: &Histories) -> Result<Filtered, HistoryError> {
        let mut rows = vec![0u64; histories.packages()];
        for line in histories.lines() {
            rows[line.package as usize] += u64::from(line.times);
        }
        let least = self.min_package_rows.unwrap_or(0) as u64;
        let is_kept = |line: &&Line| rows[line.package as usize] >= least;
        let min_days = self.min_days.unwrap_or(0);
        let mut customers: Vec<usize> = (0..histories.len())
            .filter(|&customer| histories.get(customer).baskets().count() >= min_days)
            .filter(|&customer| histories.get(customer).lines.iter().any(|line| is_kept(&line)))
            .collect();

        if let Some(deviations) = self.max_rows_per_day_sd {
            let rates: Vec<Rate> = customers
                .iter()
                .map(|&customer| Rate::of(histories.get(customer).lines.iter().filter(is_kept)))
                .collect();
            let count = rates.len().max(1) as f64;
            let mean = rates.iter().map(|rate| rate.rows_per_day).sum::<f64>() / count;
            let variance = rates.iter().map(|rate| (rate.rows_per_day - mean).powi(2)).sum::<f64>() / count;
            let limit = mean + deviations * variance.sqrt();
            let mut rates = rates.iter();
            customers.retain(|_| rates.next().is_some_and(|rate| rate.rows_per_day < limit && !rate.one_day));
        }

        let mut number = vec![None; histories.packages()];
        for &customer in &customers {
            for line in histories.get(customer).lines.iter().filter(is_kept) {
                number[line.package as usize] = Some(0);
            }
        }
        let mut packages = Vec::new();
        for (old, new) in number.iter_mut().enumerate().filter(|(_, new)| new.is_some()) {
            *new = Some(packages.len() as u32);
            packages.push(old as u32);
        }
        let mut kept = Histories::new(packages.len());
        for &customer in &customers {
            let History { as_of, lines, .. } = histories.get(customer);
            let renumbered = lines
                .iter()
                .filter(is_kept)
                .filter_map(|line| Some(Line { package: number[line.package as usize]?, ..*line }));
            kept.push(as_of, renumbered)?;
        }
        Ok(Filtered { histories: kept, customers, packages })
    }
}

/// How much a customer bought for the time that it was seen.
struct Rate {
    rows_per_day: f64,
    one_day: bool,
}

impl Rate {
    /// Of lines in the order of their days.
    fn of<'a>(lines: impl Iterator<Item = &'a Line>) -> Self {
        let (mut rows, mut days) = (0u64, None);
        for line in lines {
            rows += u64::from(line.times);
            let first = days.map_or(line.day, |(first, _)| first);
            days = Some((first, line.day));
        }
        let span = days.map_or(1.0, |(first, last)| f64::from(last) - f64::from(first) + 1.0);
        Self { rows_per_day: rows as f64 / span, one_day: span < 2.0 }
    }
}

/// Histories and what came after them. Customers keep their positions in all four parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Without validation and test baskets; offers are for the day of the validation basket.
    pub training: Histories,
    /// With the validation basket; offers are for the day of the test basket.
    pub with_validation: Histories,
    /// The baskets that follow `training`.
    pub validation: Truths,
    /// The baskets that follow `with_validation`.
    pub test: Truths,
}

/// Divides every history. A customer with fewer than three baskets has all of them in both histories,
/// offers for the day it had, and no truth. Memory: the lines twice more.
pub fn split(histories: &Histories) -> Split {
    let packages = histories.packages();
    let mut split = Split {
        training: Histories::new(packages),
        with_validation: Histories::new(packages),
        validation: Truths::new(),
        test: Truths::new(),
    };
    for (customer, history) in histories.iter().enumerate() {
        let History { as_of, lines, .. } = history;
        let mut latest = history.baskets().rev();
        match (latest.next(), latest.next(), latest.next()) {
            (Some((test_day, test)), Some((validation_day, validation)), Some(_)) => {
                let before_test = lines.len() - test.len();
                let before_validation = before_test - validation.len();
                split.training.extend(validation_day, &lines[..before_validation]);
                split.with_validation.extend(test_day, &lines[..before_test]);
                split.validation.push(customer, validation);
                split.test.push(customer, test);
            }
            _ => {
                split.training.extend(as_of, lines);
                split.with_validation.extend(as_of, lines);
            }
        }
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histories(packages: usize, bought: &[Vec<(i32, u32)>]) -> Histories {
        let mut histories = Histories::new(packages);
        for lines in bought {
            let lines = lines.iter().map(|&(day, package)| Line { day, package, times: 1, amount: 5 });
            histories.push(100, lines).unwrap();
        }
        histories
    }

    #[test]
    fn days_and_rows_are_counted_before_anything_is_dropped() {
        let bought = [
            vec![(1, 0), (2, 0), (3, 4)],
            vec![(1, 0), (2, 2)],
            vec![(1, 2), (2, 3), (3, 2)],
            vec![],
            vec![(1, 4), (2, 3), (3, 3)],
        ];
        let filter = Filter { min_days: Some(3), min_package_rows: Some(3), ..Filter::default() };
        let left = filter.apply(&histories(5, &bought)).unwrap();
        assert_eq!(left.customers, [0, 2, 4]);
        assert_eq!(left.packages, [0, 2, 3], "package 0 has 3 rows before customer 1 goes");
        let lines = |customer: usize| {
            let lines = left.histories.get(customer).lines.iter();
            lines.map(|line| (line.day, line.package)).collect::<Vec<_>>()
        };
        assert_eq!(lines(0), [(1, 0), (2, 0)]);
        assert_eq!(lines(1), [(1, 1), (2, 2), (3, 1)]);
        assert_eq!(lines(2), [(2, 2), (3, 2)]);
        let all = Filter::default().apply(&histories(5, &bought)).unwrap();
        assert_eq!(
            (all.customers.as_slice(), all.packages.as_slice()),
            (&[0, 1, 2, 4][..], &[0, 2, 3, 4][..])
        );
    }

    #[test]
    fn customers_who_buy_too_much_a_day_or_on_one_day_are_dropped() {
        let mut bought = vec![vec![(1, 0), (10, 0)]; 9];
        bought.push((0..10).map(|at| (1 + at / 5, at as u32)).collect());
        bought.push(vec![(1, 0)]);
        let rates = [0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 5.0, 1.0];
        let mean = rates.iter().sum::<f64>() / 11.0;
        let sd = (rates.iter().map(|rate| (rate - mean) * (rate - mean)).sum::<f64>() / 11.0).sqrt();
        let histories = histories(10, &bought);
        let kept = |deviations| {
            let filter = Filter { max_rows_per_day_sd: Some(deviations), ..Filter::default() };
            filter.apply(&histories).unwrap().customers
        };
        let edge = (5.0 - mean) / sd;
        assert_eq!(kept(edge - 1e-9), (0..9).collect::<Vec<_>>());
        assert_eq!(kept(edge + 1e-9), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn the_last_basket_is_the_test_and_the_one_before_it_the_validation() {
        let bought = [vec![(1, 0), (1, 1), (4, 1), (9, 2), (9, 0)], vec![(1, 0), (2, 1)], vec![]];
        let Split { training, with_validation, validation, test } = split(&histories(3, &bought));
        let lines = |histories: &Histories, customer: usize| {
            let history = histories.get(customer);
            (history.as_of, history.lines.iter().map(|line| (line.day, line.package)).collect::<Vec<_>>())
        };
        assert_eq!(lines(&training, 0), (4, vec![(1, 0), (1, 1)]));
        assert_eq!(lines(&with_validation, 0), (9, vec![(1, 0), (1, 1), (4, 1)]));
        assert_eq!(lines(&training, 1), (100, vec![(1, 0), (2, 1)]));
        assert_eq!(lines(&with_validation, 1), lines(&training, 1));
        assert_eq!(lines(&training, 2), (100, vec![]));
        let truth = |truths: &Truths| {
            let all =
                truths.iter().map(|truth| (truth.customer, truth.packages.to_vec(), truth.amounts.to_vec()));
            all.collect::<Vec<_>>()
        };
        assert_eq!(truth(&validation), [(0, vec![1], vec![5])]);
        assert_eq!(truth(&test), [(0, vec![0, 2], vec![5, 5])]);
    }

    proptest! {
        #[test]
        fn every_line_is_in_exactly_one_part(
            bought in prop::collection::vec(prop::collection::vec((0..9i32, 0..5u32), 0..20), 0..6),
        ) {
            let histories = histories(5, &bought);
            let Split { training, with_validation, validation, test } = split(&histories);
            let held = |truths: &Truths| truths.iter().map(|truth| truth.packages.len()).sum::<usize>();
            prop_assert_eq!(training.lines().len() + held(&validation), with_validation.lines().len());
            prop_assert_eq!(with_validation.lines().len() + held(&test), histories.lines().len());
            prop_assert_eq!((training.len(), with_validation.len()), (histories.len(), histories.len()));
            for truth in test.iter() {
                let history = with_validation.get(truth.customer);
                prop_assert!(history.baskets().count() >= 2);
                let whole = histories.get(truth.customer);
                prop_assert!(whole.lines.iter().any(|line| line.day == history.as_of));
            }
        }
    }
}
