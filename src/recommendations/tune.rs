//! Learns the weights of the score from the window before the cut-off.
//!
//! A sample of customers is fitted as of the start of the window by the same code as the run. What each
//! of them bought in the window is the label of its packages: all that it had bought before, and the
//! best of those that were new to it. Only customers that bought anything are learned from, so the
//! score is a probability given a purchase. A customer counts by the square root of what it bought:
//! between every customer alike and every purchase alike.

use super::board::Board;
use super::model::{Pair, ScoringModel, Tuning, Weights};
use super::score::{Candidate, Preferences, Ranker};
use super::signals::{EXPLORE, Factor, REPEAT, Signal};
use super::visit::Visitor;
use super::{Fitted, RecommendationError};
use crate::config::Config;
use crate::engine::part::RunFolder;
use crate::engine::{Engine, workers};
use crate::numerics::logistic::{Logistic, Options, Prior};
use std::collections::BTreeMap;
use std::convert::Infallible;

/// New packages of a customer that are learned from: the best by the stated weights.
const EXPLORED: usize = 100;
/// Customers that it takes to learn anything.
const LEAST_CUSTOMERS: u64 = 100;
/// Customers of a segment that it takes to ask whether weights of its own are better.
const LEAST_IN_SEGMENT: usize = 500;
/// Strength of the ridge, in units of one customer's evidence.
const RIDGE: f64 = 1.0;
/// Strength with which a segment's weights are drawn to the global ones.
const SEGMENT_RIDGE: f64 = 50.0;
/// How many standard errors a segment's own weights must be better by, on customers they did not see.
const BETTER: f64 = 2.0;

/// Packages that a customer bought in the window, ascending, by customer id.
pub type Truths = BTreeMap<Box<[u8]>, Vec<u32>>;

/// Labelled packages of one kind. Memory: 4 bytes a signal and 12 more a pair.
#[derive(Default)]
struct Examples {
    signals: Vec<f32>,
    labels: Vec<bool>,
    weights: Vec<f32>,
    /// Number of the customer, ascending.
    customers: Vec<u32>,
}

/// Everything that was learned from.
pub struct Lessons {
    repeat: Examples,
    explore: Examples,
    /// Segment by customer number.
    segments: Vec<u32>,
    window_days: u32,
}

/// Collects the lessons. `fitted` is the sample as of the start of the window, in `folder`; `today`
/// gives a customer's last known day where it is not the same for all. Memory: 45 bytes a new package,
/// 100 of them a customer.
pub fn collect(
    fitted: &Fitted,
    truths: &Truths,
    today: Option<&BTreeMap<Box<[u8]>, i32>>,
    facts_at: &(dyn Fn(i32) -> Option<super::signals::PackageFacts> + Sync),
    config: &Config,
    engine: &Engine,
    folder: &RunFolder,
) -> Result<Lessons, RecommendationError> {
    let facts = fitted.facts();
    let model = ScoringModel::untuned(None);
    let visitor = Visitor::new(fitted, config, engine, folder);
    let k = fitted.segments.model.k;
    let states = workers::for_each(
        engine.threads,
        fitted.features.parts.len(),
        Vec::new,
        |done: &mut Vec<(usize, Lessons)>, number| -> Result<(), RecommendationError> {
            let mut lessons = Lessons::empty(config.recommendations.window_days);
            let mut board = Board::new(facts.packages());
            let mut candidates = Vec::new();
            visitor.part(number, |group| {
                // Rankers differ by day only where customers have days of their own.
                let mut days: Vec<(i32, usize)> = Vec::with_capacity(group.len());
                for at in 0..group.len() {
                    let id = group.id(at);
                    if !truths.contains_key(id.as_bytes()) {
                        continue;
                    }
                    let day = today.and_then(|today| today.get(id.as_bytes())).copied();
                    if let Some(day) = day {
                        group.set_today(at, day, config.features.half_life_days);
                    }
                    days.push((day.unwrap_or(fitted.features.as_of_day as i32), at));
                }
                days.sort_unstable();
                for same_day in days.chunk_by(|a, b| a.0 == b.0) {
                    let day = same_day[0].0;
                    let own_facts = facts_at(day);
                    let facts = own_facts.as_ref().unwrap_or(&facts);
                    let ranker = Ranker::new(facts, &fitted.affinities, &model, Preferences::default(), k);
                    for (_, at) in same_day {
                        let id = group.id(*at);
                        let Some(truth) = truths.get(id.as_bytes()) else { continue };
                        let subject = super::signals::Subject { today: day, ..group.subject(*at) };
                        ranker.rank(&subject, group.near(*at, None), EXPLORED, &mut board, &mut candidates);
                        lessons.add(&ranker, &subject, &candidates, truth);
                    }
                }
                Ok::<(), RecommendationError>(())
            })?;
            done.push((number, lessons));
            Ok(())
        },
    )?;
    let mut parts: Vec<(usize, Lessons)> = states.into_iter().flatten().collect();
    parts.sort_by_key(|(number, _)| *number);
    let mut all = Lessons::empty(config.recommendations.window_days);
    all.repeat.reserve(parts.iter().map(|(_, lessons)| &lessons.repeat));
    all.explore.reserve(parts.iter().map(|(_, lessons)| &lessons.explore));
    parts.into_iter().for_each(|(_, lessons)| all.append(lessons));
    Ok(all)
}

impl Lessons {
    fn empty(window_days: u32) -> Self {
        Self { repeat: Examples::default(), explore: Examples::default(), segments: Vec::new(), window_days }
    }

    fn add(
        &mut self,
        ranker: &Ranker,
        subject: &super::signals::Subject,
        candidates: &[Candidate],
        truth: &[u32],
    ) {
        let customer = self.segments.len() as u32;
        self.segments.push(subject.segment);
        let weight = 1.0 / (truth.len().max(1) as f32).sqrt();
        for candidate in candidates {
            let label = truth.binary_search(&candidate.package).is_ok();
            match candidate.bought {
                Some(_) => {
                    self.repeat.add(&ranker.repeat_signals(subject, candidate), label, weight, customer);
                }
                None => {
                    self.explore.add(&ranker.explore_signals(subject, candidate), label, weight, customer);
                }
            }
        }
    }

    fn append(&mut self, other: Self) {
        let first = self.segments.len() as u32;
        self.segments.extend(other.segments);
        self.repeat.append(other.repeat, first);
        self.explore.append(other.explore, first);
    }

    /// Fits the weights; `without` leaves a factor out, to see what it is worth. Falls back on the
    /// stated weights, and says so, where there is too little to learn from.
    pub fn learn(
        &self,
        segments: usize,
        without: Option<Factor>,
        per_segment: bool,
        threads: usize,
    ) -> ScoringModel {
        let customers = self.segments.len() as u64;
        if customers < LEAST_CUSTOMERS {
            return ScoringModel::untuned(Some(format!(
                "{customers} customers have purchases before and in the last {} days, {LEAST_CUSTOMERS} are needed",
                self.window_days
            )));
        }
        let fit =
            |examples: &Examples, kinds: &[Signal], prior: Option<&Weights>, keep: &dyn Fn(u32) -> bool| {
                examples.fit(kinds, without, prior, keep, threads)
            };
        let global = match (
            fit(&self.repeat, &REPEAT, None, &|_| true),
            fit(&self.explore, &EXPLORE, None, &|_| true),
        ) {
            (Ok(repeat), Ok(explore)) => Pair { repeat, explore },
            (Err(why), _) => return ScoringModel::untuned(Some(format!("packages bought before: {why}"))),
            (_, Err(why)) => return ScoringModel::untuned(Some(format!("new packages: {why}"))),
        };
        let mut model = ScoringModel {
            global,
            segments: vec![None; segments],
            tuning: Tuning {
                window_days: self.window_days,
                customers,
                repeat_pairs: self.repeat.labels.len() as u64,
                explore_pairs: self.explore.labels.len() as u64,
                own_segments: 0,
                why_untuned: None,
            },
        };
        let segments = if per_segment { segments } else { 0 };
        // Side by side, a thread each: threads do not show in a fit, and segments together are no more than all.
        let mut customers = vec![0u32; segments];
        self.segments.iter().for_each(|segment| {
            customers.get_mut(*segment as usize).into_iter().for_each(|count| *count += 1);
        });
        // The largest first, so that nobody is left with it at the end.
        let mut order: Vec<usize> = (0..segments).collect();
        order.sort_by_key(|segment| std::cmp::Reverse(customers[*segment]));
        let own = workers::for_each(threads, segments, Vec::new, |own: &mut Vec<_>, turn| {
            let segment = order[turn];
            own.extend(self.own_weights(segment as u32, &model.global, without, 1).map(|own| (segment, own)));
            Ok::<(), Infallible>(())
        });
        for (segment, own) in own.into_iter().flatten().flatten() {
            model.segments[segment] = Some(own);
            model.tuning.own_segments += 1;
        }
        model
    }

    /// Weights of a segment's own, if they predict better for the half of its customers that they were
    /// not fitted on.
    fn own_weights(
        &self,
        segment: u32,
        global: &Pair,
        without: Option<Factor>,
        threads: usize,
    ) -> Option<Pair> {
        let of = |customer: u32| self.segments[customer as usize] == segment;
        if self.segments.iter().filter(|own| **own == segment).count() < LEAST_IN_SEGMENT {
            return None;
        }
        let mut gains = Vec::new();
        for half in 0..2 {
            let seen = |customer: u32| of(customer) && customer % 2 == half;
            let unseen = |customer: u32| of(customer) && customer % 2 != half;
            let repeat = self.repeat.fit(&REPEAT, without, Some(&global.repeat), &seen, threads).ok()?;
            let explore = self.explore.fit(&EXPLORE, without, Some(&global.explore), &seen, threads).ok()?;
            let mut gain: BTreeMap<u32, f64> = BTreeMap::new();
            self.repeat.gain(REPEAT.len(), &repeat, &global.repeat, &unseen, &mut gain);
            self.explore.gain(EXPLORE.len(), &explore, &global.explore, &unseen, &mut gain);
            gains.extend(gain.into_values());
        }
        let count = gains.len() as f64;
        let mean = gains.iter().sum::<f64>() / count;
        let variance = gains.iter().map(|gain| (gain - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let least = BETTER * (variance / count).sqrt();
        if mean.is_nan() || least.is_nan() || mean <= least {
            return None;
        }
        let repeat = self.repeat.fit(&REPEAT, without, Some(&global.repeat), &of, threads).ok()?;
        let explore = self.explore.fit(&EXPLORE, without, Some(&global.explore), &of, threads).ok()?;
        Some(Pair { repeat, explore })
    }
}

impl Examples {
    fn add(&mut self, signals: &[f32], label: bool, weight: f32, customer: u32) {
        self.signals.extend_from_slice(signals);
        self.labels.push(label);
        self.weights.push(weight);
        self.customers.push(customer);
    }

    /// Makes room for others.
    fn reserve<'a>(&mut self, others: impl Iterator<Item = &'a Self>) {
        let (signals, rows) =
            others.fold((0, 0), |sum, one| (sum.0 + one.signals.len(), sum.1 + one.labels.len()));
        self.signals.reserve_exact(signals);
        self.labels.reserve_exact(rows);
        self.weights.reserve_exact(rows);
        self.customers.reserve_exact(rows);
    }

    fn append(&mut self, other: Self, first: u32) {
        self.signals.extend(other.signals);
        self.labels.extend(other.labels);
        self.weights.extend(other.weights);
        self.customers.extend(other.customers.into_iter().map(|customer| customer + first));
    }

    fn fit(
        &self,
        kinds: &[Signal],
        without: Option<Factor>,
        prior: Option<&Weights>,
        keep: &dyn Fn(u32) -> bool,
        threads: usize,
    ) -> Result<Weights, crate::numerics::logistic::LogisticError> {
        let width = kinds.len();
        let used: Vec<usize> = (0..width).filter(|at| Some(kinds[*at].1) != without).collect();
        let rows: Vec<usize> = (0..self.labels.len()).filter(|row| keep(self.customers[*row])).collect();
        // Everything at once needs no copy.
        let whole = used.len() == width && rows.len() == self.labels.len();
        let mut part = Self::default();
        if !whole {
            part.signals.reserve_exact(rows.len() * used.len());
            for row in &rows {
                let own = &self.signals[row * width..][..width];
                part.signals.extend(used.iter().map(|at| own[*at]));
            }
            part.labels = rows.iter().map(|row| self.labels[*row]).collect();
            part.weights = rows.iter().map(|row| self.weights[*row]).collect();
        }
        drop(rows);
        let Self { signals, labels, weights, .. } = if whole { self } else { &part };
        let prior = match prior {
            None => Prior::zero(used.len(), RIDGE),
            Some(global) => Prior {
                mean: std::iter::once(global.intercept)
                    .chain(used.iter().map(|at| global.signals[*at]))
                    .collect(),
                strength: SEGMENT_RIDGE,
                penalise_intercept: true,
            },
        };
        let options = Options { threads, ..Options::default() };
        let fitted = Logistic::fit(signals, labels, weights, used.len(), &prior, &options)?;
        let mut weights = vec![0.0; width];
        used.iter().zip(fitted.coefficients).for_each(|(at, weight)| weights[*at] = weight);
        Ok(Weights { intercept: fitted.intercept, signals: weights })
    }

    /// By how much `own` predicts a customer's labels better than `global`, added up by customer.
    fn gain(
        &self,
        width: usize,
        own: &Weights,
        global: &Weights,
        keep: &dyn Fn(u32) -> bool,
        gains: &mut BTreeMap<u32, f64>,
    ) {
        let loss = |log_odds: f64, label: bool| {
            let signed = if label { -log_odds } else { log_odds };
            signed.max(0.0) + (-signed.abs()).exp().ln_1p()
        };
        for (row, customer) in self.customers.iter().enumerate().filter(|(_, customer)| keep(**customer)) {
            let signals = &self.signals[row * width..][..width];
            let label = self.labels[row];
            let better = loss(global.log_odds(signals), label) - loss(own.log_odds(signals), label);
            *gains.entry(*customer).or_default() += better * f64::from(self.weights[row]);
        }
    }
}
