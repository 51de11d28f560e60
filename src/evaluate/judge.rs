//! Lists of every tested customer by one method, and what they are worth.

use super::cases::{Cases, Grouping};
use super::histories::{Histories, Truths};
use super::metrics::{Catalogue, Columns, Figures, Judge, Metric, MetricsError, Tally, Truth};
use super::recommender::{Recommender, Work, top};
use crate::config::resolve::Mix;
use crate::engine::workers;
use serde::Serialize;
use std::collections::BTreeMap;

/// Tested customers that a thread takes at a time.
const CHUNK: usize = 256;
/// Where differences are compared, with an interval.
const COMPARED_AT: usize = 10;

/// The number of a chunk and its lists.
type Chunk = (usize, Vec<Vec<u32>>);

/// How scores become lists.
#[derive(Debug, Clone, Copy)]
pub struct Listing {
    length: usize,
    mix: Mix,
    threads: usize,
}

impl Listing {
    /// The best `length` packages, whatever they are.
    pub fn new(length: usize, threads: usize) -> Self {
        Self { length, mix: Mix::Any, threads }
    }

    /// With so many packages that were bought before and so many that are new, at the top.
    pub fn with_mix(self, mix: Mix) -> Self {
        Self { mix, ..self }
    }

    /// A list for each of `customers`, best first. Memory: 4 bytes an entry, and the scores of one
    /// customer for each thread.
    pub fn lists(
        &self,
        method: &dyn Recommender,
        histories: &Histories,
        customers: &[usize],
    ) -> Vec<Vec<u32>> {
        let packages = histories.packages();
        let states = workers::for_each(
            self.threads,
            customers.len().div_ceil(CHUNK),
            || (Work::new(), vec![0.0; packages], Vec::new()),
            |(work, scores, done): &mut (Work, Vec<f64>, Vec<Chunk>), chunk| {
                let own = &customers[chunk * CHUNK..customers.len().min((chunk + 1) * CHUNK)];
                let lists = own.iter().map(|customer| {
                    let history = histories.get(*customer);
                    method.score(&history, scores, work);
                    let mut list = Vec::new();
                    self.list(scores, &history.totals(), &mut list);
                    list
                });
                done.push((chunk, lists.collect()));
                Ok::<(), std::convert::Infallible>(())
            },
        );
        let mut chunks: Vec<_> = match states {
            Ok(states) => states.into_iter().flat_map(|(_, _, done)| done).collect(),
            Err(never) => match never {},
        };
        chunks.sort_by_key(|(chunk, _)| *chunk);
        chunks.into_iter().flat_map(|(_, lists)| lists).collect()
    }

    fn list(&self, scores: &[f64], known: &[super::histories::Total], out: &mut Vec<u32>) {
        let is_known = |package: u32| known.binary_search_by_key(&package, |total| total.package).is_ok();
        let (repeat, explore) = match self.mix {
            Mix::Any => {
                top(scores, &|_| false, self.length, out);
                return;
            }
            Mix::NewOnly => (0, self.length),
            Mix::RepeatOnly => (self.length, 0),
            Mix::Slots { repeat, explore } => (repeat, explore),
        };
        let (mut old, mut new) = (Vec::new(), Vec::new());
        top(scores, &|package| !is_known(package), self.length, &mut old);
        top(scores, &is_known, self.length, &mut new);
        let size = repeat + explore;
        let from_old = repeat.min(old.len()).max(size.saturating_sub(new.len()).min(old.len()));
        out.clear();
        out.extend(&old[..from_old]);
        out.extend(new.iter().take(size - from_old));
        out.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b)));
        if matches!(self.mix, Mix::Slots { .. }) {
            // Beyond the slots: whatever is best.
            let mut rest = Vec::new();
            top(scores, &|package| out.contains(&package), self.length.saturating_sub(out.len()), &mut rest);
            out.append(&mut rest);
        }
    }
}

/// Mean recall of lists, one for each of `customers`.
pub(super) fn recall(lists: &[Vec<u32>], truths: &Truths, customers: &[usize]) -> f64 {
    let by_customer: BTreeMap<usize, &[u32]> =
        truths.iter().map(|truth| (truth.customer, truth.packages)).collect();
    let each = customers.iter().zip(lists).filter_map(|(customer, list)| {
        let truth = by_customer.get(customer)?;
        let hits = list.iter().filter(|package| truth.binary_search(package).is_ok()).count();
        Some(hits as f64 / truth.len() as f64)
    });
    let (sum, count) = each.fold((0.0, 0usize), |(sum, count), own| (sum + own, count + 1));
    sum / count.max(1) as f64
}

/// The figures of one method, group and k at one cut-off.
#[derive(Debug, Clone, Serialize)]
pub struct Judgement {
    pub method: String,
    pub grouping: &'static str,
    pub group: String,
    #[serde(flatten)]
    pub figures: Figures,
}

/// What lists are held against.
pub struct Bench<'a> {
    pub cases: &'a Cases,
    /// From 0, by customer of the cases.
    pub segments: &'a [u32],
    pub channels: &'a [String],
    pub catalogue: Catalogue<'a>,
    /// Ascending.
    pub at: &'a [usize],
}

/// The figures of a method's lists by every grouping, and the columns that differences are taken of.
pub fn judge(
    method: &str,
    lists: &[Vec<u32>],
    bench: &Bench,
    groupings: &[Grouping],
) -> Result<(Vec<Judgement>, Columns), MetricsError> {
    let packages = bench.cases.histories.packages();
    let mut tallies: BTreeMap<(Grouping, String), Tally> = BTreeMap::new();
    let mut judge = Judge::new(bench.at)?;
    let compared = compared_at(bench.at);
    let kept = [Metric::Recall, Metric::Ndcg, Metric::HitMoney, Metric::TruthMoney];
    let mut columns = Columns::new(&kept.map(|metric| (compared, metric)));
    for (truth, list) in bench.cases.truths.iter().zip(lists) {
        let history = bench.cases.histories.get(truth.customer);
        let known: Vec<u32> = history.totals().iter().map(|total| total.package).collect();
        let truth_of = Truth {
            packages: truth.packages,
            amounts: truth.amounts,
            known: &known,
            usual_price: bench.cases.usual[truth.customer],
        };
        let judged = judge.judge(list, &truth_of, &bench.catalogue)?;
        for grouping in groupings {
            let group = bench.cases.group(*grouping, truth.customer, bench.segments, bench.channels);
            let tally = match tallies.entry((*grouping, group)) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(Tally::new(bench.at, packages)?)
                }
            };
            tally.add(&judged)?;
        }
        columns.push(&judged)?;
    }
    let mut judgements = Vec::new();
    for ((grouping, group), tally) in tallies {
        for k in bench.at {
            judgements.push(Judgement {
                method: method.to_owned(),
                grouping: grouping.text(),
                group: group.clone(),
                figures: tally.figures(*k)?,
            });
        }
    }
    Ok((judgements, columns))
}

/// The k of differences: 10, or the largest asked for.
pub fn compared_at(at: &[usize]) -> usize {
    if at.contains(&COMPARED_AT) { COMPARED_AT } else { at.last().copied().unwrap_or(COMPARED_AT) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::histories::{History, Line};

    /// Scores packages by their number, the last first.
    struct Last;

    impl Recommender for Last {
        fn name(&self) -> &str {
            "last"
        }

        fn score(&self, _: &History, scores: &mut [f64], _: &mut Work) {
            scores.iter_mut().enumerate().for_each(|(at, score)| *score = at as f64);
        }
    }

    #[test]
    fn lists_keep_their_slots_and_their_customers() {
        let mut histories = Histories::new(6);
        for customer in 0..700 {
            let line = |package| Line { day: 1, package, times: 1, amount: 1 };
            histories.push(2, [line(customer % 6), line((customer + 1) % 6)]).unwrap();
        }
        let customers: Vec<usize> = (0..700).rev().collect();
        let plain = Listing::new(3, 2);
        assert!(plain.lists(&Last, &histories, &customers).iter().all(|list| list == &[5, 4, 3]));
        let new = plain.with_mix(Mix::NewOnly).lists(&Last, &histories, &customers);
        // Customer 4 has packages 4 and 5, customer 0 has 0 and 1; customers come last to first.
        assert_eq!(new[699 - 4], [3, 2, 1]);
        assert_eq!(new[699], [5, 4, 3]);
        let slots = plain.with_mix(Mix::Slots { repeat: 1, explore: 2 });
        assert_eq!(slots.lists(&Last, &histories, &[4, 0]), [[5, 3, 2], [5, 4, 1]]);
    }
}
