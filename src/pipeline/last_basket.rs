//! The protocol of published next-basket comparisons: the run's own code on customers who are each known
//! up to a day of their own, judged on the basket of the day after (see [`crate::evaluate::last_basket`]).
//!
//! Weights are learned on the basket before: customers without their last two baskets are fitted, and
//! the first of the two is the label. What sold lately is counted on the days before each visit, from
//! the histories that the step may see, never from test baskets.

use super::backtest::trial::{Outcome, Trial};
use super::backtest::{Plan, enough, profiles};
use super::fit::Bench;
use crate::affinities;
use crate::engine::part::RunFolder;
use crate::error::Error;
use crate::evaluate::EvaluateError;
use crate::evaluate::cases::Cases;
use crate::evaluate::histories::Histories;
use crate::evaluate::last_basket::{Filter, Split, split};
use crate::evaluate::packwise::FactsByDay;
use crate::features::{self, RECENT, Source, Units, recent_days};
use crate::neighbours::pool;
use crate::quantities::format_count;
use crate::recommendations::Fitted;
use crate::recommendations::signals::PackageFacts;
use crate::recommendations::tune::{self, Lessons, Truths};
use crate::segments::{self, SegmentModel};
use crate::transactions::cutoff::{Cutoff, SampledCustomers};
use std::collections::{BTreeMap, BTreeSet};

/// The window of scores and recent purchases: the day of the next visit.
pub const WINDOW_DAYS: u32 = 1;
/// The window of what is bought next, before the end of the data: one day would hold next to nothing.
const NEXT_DAYS: u32 = 28;
/// Packages × days that facts are made for. Where more were visited, facts of an earlier day stand for
/// the days after it.
const MOST_FACTS: usize = 4_000_000;

/// What the cut-off is called in reports.
const NAME: &str = "last basket";

/// Fits and judges. Also says in words what the filter left.
pub(super) fn judge(
    bench: Bench,
    plan: &Plan,
    sampled: &SampledCustomers,
    filter: &Filter,
) -> Result<(Outcome, String), Error> {
    let Bench { transactions, engine, scratch, .. } = bench;
    let packages = transactions.packages.len();
    let (sampled, whole, left) = filtered(sampled, packages, filter)?;
    let split = split(&whole);
    drop(whole);
    if split.test.is_empty() {
        return Err(EvaluateError::NoBaskets.into());
    }
    let cases = Cases::of(&sampled, &split.with_validation, &split.test).map_err(EvaluateError::from)?;
    enough(&cases, &plan.at, NAME, WINDOW_DAYS)?;

    engine.progress.begin("fit last baskets", sampled.len() as u64 * 2);
    let folder = RunFolder::scratch(scratch.path().join("tested"));
    let fitted = fit(bench, &sampled, &split.with_validation, None, &folder)?;
    let lessons = lessons(bench, &sampled, &split, &fitted.segments.model)?;
    let exact = profiles::all_compared(bench, &fitted, &folder)?;
    engine.progress.end(sampled.len() as u64 * 2, fitted.features.customers, 0);

    engine.progress.begin("test last baskets", cases.truths.len() as u64);
    let recent = RecentSales::of(&split.with_validation, &last_days(&split.with_validation, &split.test));
    let facts = recent.all(&fitted.facts());
    let mut fitted = fitted;
    let found = profiles::look(bench, &fitted, &sampled, &cases, &folder)?;
    let exact = match exact {
        None => None,
        Some(exact) => {
            let index = fitted.neighbourhood.replace(exact);
            let found = profiles::look(bench, &fitted, &sampled, &cases, &folder)?;
            std::mem::replace(&mut fitted.neighbourhood, index).map(|exact| (exact, found))
        }
    };
    let before = Cases::of(&sampled, &split.training, &split.validation).map_err(EvaluateError::from)?;
    let trial = Trial {
        name: NAME.to_owned(),
        fitted: &fitted,
        lessons: Some(lessons),
        facts: &facts,
        cases: &cases,
        profiles: &found,
        exact: exact.as_ref().map(|(exact, found)| (exact, &found[..])),
        before: plan.baselines.then_some(&before),
        published: plan.baselines.then_some(&split.training),
    };
    let outcome = trial.hold(bench, plan)?;
    engine.progress.end(cases.histories.len() as u64, cases.truths.len() as u64, 0);
    scratch.clear("tested");
    Ok((outcome, left))
}

/// The customers and rows that a filter leaves, their purchases, and both counted in words. Rows of
/// packages that the filter drops are gone from features, segments and neighbours as well.
fn filtered(
    sampled: &SampledCustomers,
    packages: usize,
    filter: &Filter,
) -> Result<(SampledCustomers, Histories, String), EvaluateError> {
    let kept = filter.apply(&Cases::whole(sampled, packages)?)?;
    let mut is_customer = vec![false; sampled.len()];
    kept.customers.iter().for_each(|customer| is_customer[*customer] = true);
    let mut is_package = vec![false; packages];
    kept.packages.iter().for_each(|package| is_package[*package as usize] = true);
    let rows: u64 = kept.histories.lines().iter().map(|line| u64::from(line.times)).sum();
    let left = format!(
        "{} of them, {} packages and {} purchases are left by the filter",
        format_count(kept.customers.len() as u64),
        format_count(kept.packages.len() as u64),
        format_count(rows)
    );
    drop(kept);
    let known = |package: i32| {
        usize::try_from(package).ok().and_then(|package| is_package.get(package)).copied().unwrap_or(false)
    };
    let sampled = sampled.filtered(|customer, row| is_customer[customer] && known(row.package));
    let whole = Cases::whole(&sampled, packages)?;
    Ok((sampled, whole, left))
}

/// The run's own code on every customer up to the day before its offers.
fn fit(
    bench: Bench,
    sampled: &SampledCustomers,
    histories: &Histories,
    model: Option<&SegmentModel>,
    folder: &RunFolder,
) -> Result<Fitted, Error> {
    let Bench { transactions, config, engine, scratch } = bench;
    let last_day = |customer: usize| i64::from(histories.get(customer).as_of) - 1;
    let rows_per_unit = engine.memory.rows_per_bucket(engine.threads) as usize;
    let units = sampled.until(last_day, rows_per_unit, transactions.customer_type);
    let channel_rows = sampled.channel_rows(last_day, transactions.channel_names.len());
    let source = Source::of(Units::customers(units), &channel_rows, config.segments.sample);
    let end = Cutoff::end(transactions);
    let features = features::build(transactions, &source, end, config, engine, scratch, folder)?;
    let segments = match model {
        Some(model) => segments::build_with(model, &features, config, engine, folder)?,
        None => segments::build(&features, config, engine, folder)?,
    };
    let neighbourhood = pool::build(&features, &segments, config, engine, folder)?;
    let affinities = affinities::build(&features, NEXT_DAYS, config, engine, folder)?;
    Ok(Fitted { features, segments, neighbourhood, affinities })
}

/// What the validation baskets teach.
fn lessons(
    bench: Bench,
    sampled: &SampledCustomers,
    split: &Split,
    model: &SegmentModel,
) -> Result<Lessons, Error> {
    let Bench { config, engine, scratch, .. } = bench;
    let folder = RunFolder::scratch(scratch.path().join("tuning"));
    let fitted = fit(bench, sampled, &split.training, Some(model), &folder)?;
    let id = |customer: usize| -> Box<[u8]> { sampled.id(customer).into() };
    let truths: Truths =
        split.validation.iter().map(|truth| (id(truth.customer), truth.packages.to_vec())).collect();
    let today: BTreeMap<Box<[u8]>, i32> = split
        .validation
        .iter()
        .map(|truth| (id(truth.customer), split.training.get(truth.customer).as_of - 1))
        .collect();
    let recent = RecentSales::of(&split.training, &last_days(&split.training, &split.validation));
    let facts = fitted.facts();
    let facts_at = |day: i32| Some(recent.facts(&facts, day));
    let lessons = tune::collect(&fitted, &truths, Some(&today), &facts_at, config, engine, &folder)?;
    scratch.clear("tuning");
    Ok(lessons)
}

/// The last known days of the customers who have a truth.
fn last_days(histories: &Histories, truths: &crate::evaluate::histories::Truths) -> BTreeSet<i32> {
    truths.iter().map(|truth| histories.get(truth.customer).as_of - 1).collect()
}

/// Baskets by day, for what sold in the days before any visit. A basket counts once for each of its
/// packages, as in features. Memory: 8 bytes a line.
struct RecentSales {
    /// Day and package of every line, by day.
    sales: Vec<(i32, u32)>,
    packages: usize,
    /// Days that facts are made for, ascending.
    days: Vec<i32>,
}

impl RecentSales {
    /// From every line that a step may see; `days` are the last known days of its customers.
    fn of(histories: &Histories, days: &BTreeSet<i32>) -> Self {
        let mut sales: Vec<(i32, u32)> =
            histories.lines().iter().map(|line| (line.day, line.package)).collect();
        sales.sort_unstable();
        let step = (days.len() * histories.packages()).div_ceil(MOST_FACTS).max(1);
        Self { sales, packages: histories.packages(), days: days.iter().copied().step_by(step).collect() }
    }

    /// Facts for customers whose last known day is `today`, or the last day before it that has facts.
    fn facts(&self, base: &PackageFacts, today: i32) -> PackageFacts {
        let at = self.days.partition_point(|day| *day <= today).saturating_sub(1);
        base.at(&self.counts(self.days.get(at).map_or(today, |day| (*day).min(today))))
    }

    /// Facts by day.
    fn all(&self, base: &PackageFacts) -> FactsByDay {
        self.days.iter().map(|day| (*day, base.at(&self.counts(*day)))).collect()
    }

    /// Baskets with every package in the windows that end with `last`.
    fn counts(&self, last: i32) -> Vec<[i64; RECENT]> {
        let mut counts = vec![[0; RECENT]; self.packages];
        for (window, days) in recent_days(WINDOW_DAYS).into_iter().enumerate() {
            let first = self.sales.partition_point(|(day, _)| i64::from(*day) <= i64::from(last) - days);
            let end = self.sales.partition_point(|(day, _)| *day <= last);
            for (_, package) in &self.sales[first..end.max(first)] {
                counts[*package as usize][window] += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::histories::Line;

    fn histories() -> Histories {
        let mut histories = Histories::new(3);
        let line = |day, package, times| Line { day, package, times, amount: 1 };
        histories.push(30, [line(1, 0, 1), line(18, 1, 2), line(20, 1, 4)]).unwrap();
        histories.push(30, [line(8, 2, 8), line(9, 2, 16), line(21, 0, 32)]).unwrap();
        histories
    }

    #[test]
    fn recent_sales_are_of_the_days_up_to_the_last_known_one() {
        let sales = RecentSales::of(&histories(), &BTreeSet::from([20]));
        // Days 18 to 20, and 9 to 20.
        assert_eq!(sales.counts(20), [[0, 0], [2, 2], [0, 1]]);
        assert_eq!(sales.counts(21), [[1, 1], [1, 2], [0, 0]]);
        assert_eq!(sales.counts(0), [[0; 2]; 3]);
    }

    #[test]
    fn facts_of_a_day_without_any_are_those_of_the_day_before() {
        let base = crate::recommendations::signals::tests_support::facts(&[1, 2, 3]);
        let sales = RecentSales::of(&histories(), &BTreeSet::from([9, 20]));
        let shares = |today: i32| sales.facts(&base, today).shares;
        assert_eq!(shares(19), base.at(&sales.counts(9)).shares);
        assert_eq!(shares(25), base.at(&sales.counts(20)).shares);
        assert_eq!(shares(3), base.at(&sales.counts(3)).shares, "never what came later");
        assert_eq!(sales.all(&base).into_keys().collect::<Vec<_>>(), [9, 20]);
    }
}
