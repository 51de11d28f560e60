//! Purchase histories in memory: what models of the backtest are fitted on and score from.
//!
//! A customer is a run of lines sorted by day and package, one line for each package of a day. A
//! basket is a day. Every line is of a day before the day for which offers are made, so a history that
//! was cut for a backtest cannot hold what it is asked to predict.

use thiserror::Error;

/// What one customer bought of one package on one day. 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Days since 1970-01-01.
    pub day: i32,
    pub package: u32,
    /// Rows of the transactions.
    pub times: u32,
    /// Paid for all of them, in minor units of the currency.
    pub amount: i64,
}

/// Why lines are not a history.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HistoryError {
    #[error("customer {customer} bought package {package}, but there are {packages} packages")]
    Package { customer: usize, package: u32, packages: usize },
    #[error("customer {customer} bought on day {day}, which is not before day {as_of}, that of the offers")]
    Late { customer: usize, day: i32, as_of: i32 },
    #[error("rows or amounts of customer {customer}, package {package} on day {day} do not fit their sums")]
    Overflow { customer: usize, package: u32, day: i32 },
}

/// Purchases by customer, sorted by (day, package). 24 bytes a line and 12 a customer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histories {
    packages: usize,
    /// Customer c holds lines `offsets[c]..offsets[c + 1]`.
    offsets: Vec<usize>,
    lines: Vec<Line>,
    /// The day for which each customer gets offers; every line is of an earlier day.
    as_of: Vec<i32>,
}

impl Histories {
    /// No customers yet, and packages 0 to `packages - 1`.
    pub fn new(packages: usize) -> Self {
        Self { packages, offsets: vec![0], lines: Vec::new(), as_of: Vec::new() }
    }

    /// Adds the next customer, who gets offers for day `as_of`, and returns its position.
    ///
    /// Lines come in any order; those of the same day and package become one, with the sums of rows
    /// and amounts. A customer may have none. An error leaves the histories as they were.
    pub fn push(&mut self, as_of: i32, lines: impl IntoIterator<Item = Line>) -> Result<usize, HistoryError> {
        let (customer, start) = (self.len(), self.lines.len());
        self.lines.extend(lines);
        match self.settle(customer, start, as_of) {
            Ok(end) => {
                self.lines.truncate(end);
                self.offsets.push(end);
                self.as_of.push(as_of);
                Ok(customer)
            }
            Err(error) => {
                self.lines.truncate(start);
                Err(error)
            }
        }
    }

    /// Checks, sorts and merges the lines from `start`; returns where they end.
    fn settle(&mut self, customer: usize, start: usize, as_of: i32) -> Result<usize, HistoryError> {
        let packages = self.packages;
        let fresh = &mut self.lines[start..];
        for &Line { day, package, .. } in fresh.iter() {
            if package as usize >= packages {
                return Err(HistoryError::Package { customer, package, packages });
            }
            if day >= as_of {
                return Err(HistoryError::Late { customer, day, as_of });
            }
        }
        let key = |line: &Line| (line.day, line.package);
        if !fresh.is_sorted_by_key(key) {
            fresh.sort_unstable_by_key(key);
        }
        let mut end = 0;
        for at in 0..fresh.len() {
            let line = fresh[at];
            match fresh[..end].last_mut() {
                Some(last) if key(last) == key(&line) => {
                    let Line { day, package, .. } = line;
                    let overflow = HistoryError::Overflow { customer, package, day };
                    last.times = last.times.checked_add(line.times).ok_or(overflow.clone())?;
                    last.amount = last.amount.checked_add(line.amount).ok_or(overflow)?;
                }
                _ => {
                    fresh[end] = line;
                    end += 1;
                }
            }
        }
        Ok(start + end)
    }

    /// Number of customers.
    pub fn len(&self) -> usize {
        self.as_of.len()
    }

    pub fn is_empty(&self) -> bool {
        self.as_of.is_empty()
    }

    /// Number of packages, bought or not.
    pub fn packages(&self) -> usize {
        self.packages
    }

    /// The lines of all customers, one customer after the other.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// One customer, numbered by its position here.
    ///
    /// # Panics
    /// When there is no such customer.
    pub fn get(&self, customer: usize) -> History<'_> {
        let lines = &self.lines[self.offsets[customer]..self.offsets[customer + 1]];
        History { number: Some(customer), as_of: self.as_of[customer], lines }
    }

    /// All customers in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = History<'_>> {
        (0..self.len()).map(|customer| self.get(customer))
    }

    /// What was known on the morning of `day`: lines of earlier days, and offers for that day. Every
    /// customer keeps its position, with or without lines.
    pub fn until(&self, day: i32) -> Self {
        self.between(i32::MIN, day)
    }

    /// Lines of days from `from` to the day before `until`, and offers for day `until`. Every customer
    /// keeps its position, with or without lines.
    pub fn between(&self, from: i32, until: i32) -> Self {
        let mut cut = Self::new(self.packages);
        for history in self.iter() {
            let first = history.lines.partition_point(|line| line.day < from);
            let end = history.lines.partition_point(|line| line.day < until).max(first);
            cut.extend(until, &history.lines[first..end]);
        }
        cut
    }

    /// The latest day for which a customer gets offers; `None` without customers.
    pub fn last_as_of(&self) -> Option<i32> {
        self.as_of.iter().copied().max()
    }

    /// Adds a customer whose lines are part of a checked history.
    pub(super) fn extend(&mut self, as_of: i32, lines: &[Line]) {
        debug_assert!(lines.iter().all(|line| line.day < as_of));
        self.lines.extend_from_slice(lines);
        self.offsets.push(self.lines.len());
        self.as_of.push(as_of);
    }
}

/// One customer as a recommender sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History<'a> {
    /// Position of this customer among those that a model was fitted on; `None`: not one of them.
    pub number: Option<usize>,
    /// The day for which offers are made.
    pub as_of: i32,
    /// Sorted by (day, package), one line for each package of a day, all before `as_of`.
    pub lines: &'a [Line],
}

impl<'a> History<'a> {
    /// The same purchases of a customer that no model was fitted on.
    pub fn unseen(self) -> Self {
        Self { number: None, ..self }
    }

    /// Days with purchases, oldest first, each with its lines.
    pub fn baskets(&self) -> impl DoubleEndedIterator<Item = (i32, &'a [Line])> + use<'a> {
        self.lines.chunk_by(|a, b| a.day == b.day).map(|basket| (basket[0].day, basket))
    }

    /// The distinct packages in order of their numbers.
    pub fn totals(&self) -> Vec<Total> {
        let mut totals = Vec::new();
        self.totals_into(&mut totals);
        totals
    }

    /// As [`History::totals`], into a vector that is kept between customers.
    pub fn totals_into(&self, totals: &mut Vec<Total>) {
        totals.clear();
        totals.extend(self.lines.iter().map(|line| Total {
            package: line.package,
            baskets: 1,
            times: u64::from(line.times),
            last_day: line.day,
        }));
        totals.sort_unstable_by_key(|total| (total.package, total.last_day));
        totals.dedup_by(|next, kept| {
            let same = next.package == kept.package;
            if same {
                kept.baskets += 1;
                kept.times += next.times;
                kept.last_day = next.last_day;
            }
            same
        });
    }
}

/// What one customer bought of one package over all its days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    pub package: u32,
    /// Days on which it was bought.
    pub baskets: u32,
    /// Rows of the transactions.
    pub times: u64,
    /// Days since 1970-01-01.
    pub last_day: i32,
}

/// What customers bought after their histories: what a backtest compares offers with. 12 bytes a
/// package and 16 a customer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truths {
    customers: Vec<usize>,
    ends: Vec<usize>,
    packages: Vec<u32>,
    amounts: Vec<i64>,
}

impl Truths {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what a customer bought: its distinct packages and what was paid for each in all.
    /// A customer who bought nothing has no truth and is left out.
    pub fn push(&mut self, customer: usize, lines: &[Line]) {
        if lines.is_empty() {
            return;
        }
        let start = self.packages.len();
        let mut order: Vec<&Line> = lines.iter().collect();
        order.sort_by_key(|line| line.package);
        for line in order {
            let known = self.packages.len() > start && self.packages.last() == Some(&line.package);
            match self.amounts.last_mut() {
                Some(amount) if known => *amount = amount.saturating_add(line.amount),
                _ => {
                    self.packages.push(line.package);
                    self.amounts.push(line.amount);
                }
            }
        }
        self.customers.push(customer);
        self.ends.push(self.packages.len());
    }

    /// Number of customers with a truth.
    pub fn len(&self) -> usize {
        self.customers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.customers.is_empty()
    }

    /// Every truth in the order added.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Truth<'_>> {
        (0..self.len()).map(|at| {
            let start = if at == 0 { 0 } else { self.ends[at - 1] };
            let range = start..self.ends[at];
            Truth {
                customer: self.customers[at],
                packages: &self.packages[range.clone()],
                amounts: &self.amounts[range],
            }
        })
    }
}

/// What one customer bought after its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth<'a> {
    /// Position in the histories.
    pub customer: usize,
    /// Distinct, in order of number, at least one.
    pub packages: &'a [u32],
    /// Minor units, one for each package.
    pub amounts: &'a [i64],
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(day: i32, package: u32) -> Line {
        Line { day, package, times: 1, amount: 10 }
    }

    #[test]
    fn lines_are_sorted_and_those_of_one_day_and_package_become_one() {
        let mut histories = Histories::new(5);
        let lines = [line(7, 1), line(3, 4), line(7, 0), Line { amount: 5, times: 2, ..line(7, 1) }];
        assert_eq!(histories.push(8, lines), Ok(0));
        let merged = Line { day: 7, package: 1, times: 3, amount: 15 };
        assert_eq!(histories.get(0).lines, [line(3, 4), line(7, 0), merged]);
        assert_eq!((histories.get(0).number, histories.get(0).as_of), (Some(0), 8));
        assert_eq!(histories.get(0).unseen().number, None);
    }

    #[test]
    fn lines_that_are_no_history_are_named_and_change_nothing() {
        let mut histories = Histories::new(5);
        histories.push(8, [line(1, 1)]).unwrap();
        let before = histories.clone();
        let unknown = histories.push(8, [line(1, 1), line(2, 5)]);
        assert_eq!(unknown, Err(HistoryError::Package { customer: 1, package: 5, packages: 5 }));
        let late = histories.push(8, [line(8, 1)]);
        assert_eq!(late, Err(HistoryError::Late { customer: 1, day: 8, as_of: 8 }));
        let most = Line { times: u32::MAX, ..line(2, 3) };
        let overflow = histories.push(8, [most, line(2, 3)]);
        assert_eq!(overflow, Err(HistoryError::Overflow { customer: 1, package: 3, day: 2 }));
        assert_eq!(histories, before);
    }

    #[test]
    fn a_cut_keeps_every_customer_and_no_day_from_the_cut_on() {
        let mut histories = Histories::new(5);
        histories.push(30, [line(1, 1), line(9, 2), line(10, 3)]).unwrap();
        histories.push(20, [line(12, 0)]).unwrap();
        let cut = histories.until(10);
        assert_eq!((cut.len(), cut.packages()), (2, 5));
        assert_eq!(cut.get(0), History { number: Some(0), as_of: 10, lines: &[line(1, 1), line(9, 2)] });
        assert_eq!(cut.get(1), History { number: Some(1), as_of: 10, lines: &[] });
        assert_eq!(histories.between(9, 11).get(0).lines, [line(9, 2), line(10, 3)]);
        assert_eq!(histories.between(11, 9).get(0).lines, []);
        assert_eq!((histories.last_as_of(), cut.lines().len()), (Some(30), 2));
    }

    #[test]
    fn baskets_are_days_and_totals_are_packages() {
        let mut histories = Histories::new(5);
        histories.push(30, [line(1, 1), line(1, 3), line(9, 3)]).unwrap();
        let history = histories.get(0);
        let baskets = history.baskets().map(|(day, lines)| (day, lines.len())).collect::<Vec<_>>();
        assert_eq!(baskets, [(1, 2), (9, 1)]);
        let one = Total { package: 1, baskets: 1, times: 1, last_day: 1 };
        let three = Total { package: 3, baskets: 2, times: 2, last_day: 9 };
        assert_eq!(history.totals(), [one, three]);
    }

    #[test]
    fn truths_hold_distinct_packages_with_their_sums() {
        let mut truths = Truths::new();
        truths.push(4, &[line(1, 3), line(2, 0), line(3, 3)]);
        truths.push(5, &[]);
        truths.push(6, &[line(1, 3)]);
        let all = truths.iter().collect::<Vec<_>>();
        assert_eq!(all[0], Truth { customer: 4, packages: &[0, 3], amounts: &[10, 20] });
        assert_eq!(all[1], Truth { customer: 6, packages: &[3], amounts: &[10] });
        assert_eq!(truths.len(), 2);
    }

    proptest! {
        #[test]
        fn the_order_of_lines_does_not_show(
            raw in prop::collection::vec((0..6i32, 0..4u32, 1..3u32), 0..40),
            turn in 0..40usize,
        ) {
            let lines = raw.iter().map(|&(day, package, times)| Line { day, package, times, amount: 7 });
            let mut turned = lines.clone().collect::<Vec<_>>();
            let mid = turn.min(turned.len());
            turned.rotate_left(mid);
            let (mut a, mut b) = (Histories::new(4), Histories::new(4));
            a.push(6, lines.clone()).unwrap();
            b.push(6, turned).unwrap();
            prop_assert_eq!(&a, &b);
            let rows = lines.map(|line| u64::from(line.times)).sum::<u64>();
            let history = a.get(0);
            prop_assert_eq!(history.totals().iter().map(|total| total.times).sum::<u64>(), rows);
            let lines = history.baskets().map(|(_, lines)| lines.len()).sum::<usize>();
            prop_assert_eq!(lines, history.lines.len());
        }
    }
}
