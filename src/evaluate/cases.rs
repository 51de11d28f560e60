//! The customers of a backtest: what is known of them at the cut-off, and what they bought after it.

use super::histories::{Histories, HistoryError, Line, Truths};
use super::metrics::{HISTORY_CLASSES, history_class};
use crate::transactions::cutoff::{Cutoff, SampledCustomers};
use std::collections::BTreeMap;

/// Customers with purchases up to their day; those that bought afterwards are tested.
pub struct Cases {
    /// Everybody with a history: what baselines are fitted on.
    pub histories: Histories,
    /// Of those that bought afterwards.
    pub truths: Truths,
    /// Position in the sample, by customer.
    pub sampled: Vec<usize>,
    /// Rank of the channel used most, ties to the first; −1 without one.
    pub channels: Vec<i32>,
    /// What a purchase usually costs, minor units; 0 if unknown.
    pub usual: Vec<f64>,
}

/// What customers are told apart by in the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grouping {
    All,
    Segment,
    History,
    Channel,
}

impl Grouping {
    pub fn text(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Segment => "segment",
            Self::History => "baskets before",
            Self::Channel => "channel",
        }
    }
}

impl Cases {
    /// What sampled customers did up to a cut-off and in the window after it.
    pub fn at(
        sampled: &SampledCustomers,
        cutoff: Cutoff,
        window_days: u32,
        packages: usize,
    ) -> Result<Self, HistoryError> {
        let window = cutoff.window(window_days);
        let mut cases = Self::empty(packages);
        for customer in 0..sampled.len() {
            let lines = |days: std::ops::RangeInclusive<i64>| lines(sampled, customer, days);
            let history = lines(i64::MIN..=cutoff.day());
            if !history.is_empty() {
                let number = cases.push(sampled, customer, cutoff.day() as i32 + 1, &history)?;
                cases.truths.push(number, &lines(window.clone()));
            }
        }
        Ok(cases)
    }

    /// Everything that sampled customers bought, with offers for the day after their last purchase, and
    /// no truths.
    pub fn whole(sampled: &SampledCustomers, packages: usize) -> Result<Histories, HistoryError> {
        let mut histories = Histories::new(packages);
        for customer in 0..sampled.len() {
            let lines = lines(sampled, customer, i64::MIN..=i64::MAX);
            let as_of = lines.last().map_or(0, |line| line.day) + 1;
            histories.push(as_of, lines)?;
        }
        Ok(histories)
    }

    /// Histories that were cut before, of the customers of the sample one by one, and what came after.
    pub fn of(
        sampled: &SampledCustomers,
        histories: &Histories,
        truths: &Truths,
    ) -> Result<Self, HistoryError> {
        let mut cases = Self::empty(histories.packages());
        for (customer, history) in histories.iter().enumerate().take(sampled.len()) {
            cases.push(sampled, customer, history.as_of, history.lines)?;
        }
        cases.truths = truths.clone();
        Ok(cases)
    }

    pub(super) fn empty(packages: usize) -> Self {
        Self {
            histories: Histories::new(packages),
            truths: Truths::new(),
            sampled: Vec::new(),
            channels: Vec::new(),
            usual: Vec::new(),
        }
    }

    /// Adds a customer with its history before day `as_of`.
    pub(super) fn push(
        &mut self,
        sampled: &SampledCustomers,
        customer: usize,
        as_of: i32,
        history: &[Line],
    ) -> Result<usize, HistoryError> {
        let number = self.histories.push(as_of, history.iter().copied())?;
        let rows: u32 = history.iter().map(|line| line.times).sum();
        let paid: i64 = history.iter().map(|line| line.amount).sum();
        self.usual.push(paid as f64 / f64::from(rows.max(1)));
        let mut channels: BTreeMap<i32, u32> = BTreeMap::new();
        for row in sampled.rows(customer).iter().filter(|row| row.day() < i64::from(as_of)) {
            *channels.entry(row.channel).or_default() += 1;
        }
        let most = channels.iter().max_by_key(|(rank, count)| (**count, std::cmp::Reverse(**rank)));
        self.channels.push(most.map_or(-1, |(rank, _)| *rank));
        self.sampled.push(customer);
        Ok(number)
    }

    /// The group of a tested customer; `segments` by customer, from 0.
    pub fn group(
        &self,
        grouping: Grouping,
        customer: usize,
        segments: &[u32],
        channels: &[String],
    ) -> String {
        match grouping {
            Grouping::All => "all".to_owned(),
            Grouping::Segment => (segments[customer] + 1).to_string(),
            Grouping::History => {
                HISTORY_CLASSES[history_class(self.histories.get(customer).baskets().count())].to_owned()
            }
            Grouping::Channel => {
                let channel = usize::try_from(self.channels[customer]).ok().and_then(|at| channels.get(at));
                channel.cloned().unwrap_or_else(|| "none".to_owned())
            }
        }
    }
}

/// A customer's purchases in a range of days; returns are none.
pub(super) fn lines(
    sampled: &SampledCustomers,
    customer: usize,
    days: std::ops::RangeInclusive<i64>,
) -> Vec<Line> {
    let rows = sampled.rows(customer).iter().filter(|row| days.contains(&row.day()) && row.is_purchase());
    rows.map(|row| Line { day: row.day() as i32, package: row.package as u32, times: 1, amount: row.amount })
        .collect()
}
