//! The published score as a method of the backtest.

use super::histories::History;
use super::recommender::{Recommender, Work};
use crate::affinities::Affinities;
use crate::neighbours::pool::Neighbourhood;
use crate::recommendations::board::{Board, Near, similarities};
use crate::recommendations::model::ScoringModel;
use crate::recommendations::score::{Preferences, Ranker};
use crate::recommendations::signals::{Bought, PackageFacts, Subject};
use std::collections::BTreeMap;

/// What a run knows of a customer beside its purchases.
#[derive(Debug, Clone)]
pub struct Profile {
    /// From 0.
    pub segment: u32,
    /// ln of what a purchase usually costs, NaN if unknown.
    pub ln_usual: f32,
    /// The pool, and positions in it with squared distances.
    pub near: Option<(usize, Vec<(u32, f32)>)>,
}

/// Facts about packages by the last known day; one for all customers, or one for each day.
pub type FactsByDay = BTreeMap<i32, PackageFacts>;

/// The score of [`crate::recommendations`], over profiles that were made by the run's code.
pub struct Packwise<'a> {
    name: String,
    rankers: BTreeMap<i32, Ranker<'a>>,
    profiles: &'a [Profile],
    neighbourhood: Option<&'a Neighbourhood>,
    half_life_days: f64,
}

/// What all variants of the score share.
#[derive(Clone, Copy)]
pub struct Base<'a> {
    pub facts: &'a FactsByDay,
    pub affinities: &'a Affinities,
    pub profiles: &'a [Profile],
    pub neighbourhood: Option<&'a Neighbourhood>,
    /// Number of segments.
    pub segments: usize,
    pub half_life_days: f64,
}

impl<'a> Packwise<'a> {
    /// A variant: a model, a price weight, and whether neighbours are asked.
    pub fn new(
        name: &str,
        base: Base<'a>,
        model: &'a ScoringModel,
        price_weight: f64,
        ask_neighbours: bool,
    ) -> Self {
        let rankers = base
            .facts
            .iter()
            .map(|(day, facts)| {
                let preferences = Preferences::new(Vec::new(), price_weight, facts);
                (*day, Ranker::new(facts, base.affinities, model, preferences, base.segments))
            })
            .collect();
        Self {
            name: name.to_owned(),
            rankers,
            profiles: base.profiles,
            neighbourhood: base.neighbourhood.filter(|_| ask_neighbours),
            half_life_days: base.half_life_days,
        }
    }
}

/// A customer's purchases as the score sees them on the day before `as_of`.
fn bought(history: &History, half_life_days: f64) -> Vec<Bought> {
    let today = history.as_of - 1;
    let mut packages: BTreeMap<u32, (u32, u32, f64, i32)> = BTreeMap::new();
    for line in history.lines {
        let (times, days, weight, last) = packages.entry(line.package).or_default();
        *times += line.times;
        *days += 1;
        *weight += (-f64::from(today - line.day) / half_life_days).exp2();
        *last = line.day;
    }
    packages
        .into_iter()
        .map(|(package, (times, days, weight, last_day))| Bought {
            package,
            times: times as f32,
            days: days as f32,
            weight: weight as f32,
            last_day,
        })
        .collect()
}

impl Recommender for Packwise<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, customer: &History, scores: &mut [f64], _work: &mut Work) {
        let today = customer.as_of - 1;
        // The facts of the day, or of the last day before it that has any.
        let ranker = self.rankers.range(..=today).next_back().or_else(|| self.rankers.iter().next());
        let Some((_, ranker)) = ranker else {
            scores.fill(f64::NEG_INFINITY);
            return;
        };
        let profile = customer.number.and_then(|number| self.profiles.get(number));
        let own = bought(customer, self.half_life_days);
        let subject = Subject {
            bought: &own,
            active_days: customer.baskets().count() as f32,
            last_day: customer.lines.last().map_or(today, |line| line.day),
            today,
            ln_usual: profile.map_or(f32::NAN, |profile| profile.ln_usual),
            segment: profile.map_or(0, |profile| profile.segment),
        };
        let (mut lists, mut positions, mut squared) = (None, Vec::new(), Vec::new());
        if let (Some(neighbourhood), Some((pool, found))) =
            (self.neighbourhood, profile.and_then(|profile| profile.near.as_ref()))
        {
            lists = Some(&neighbourhood.pools[*pool].packages);
            (positions, squared) = found.iter().copied().unzip();
        }
        let near = Near { lists, positions: &positions, squared: &squared, expected: &[] };
        ranker.scores(&subject, near, &mut Board::new(scores.len()), scores);
    }
}

/// What neighbours buy and nothing else: the search's own contribution.
pub struct NeighboursAlone<'a> {
    pub base: Base<'a>,
}

impl Recommender for NeighboursAlone<'_> {
    fn name(&self) -> &str {
        "packwise's neighbours alone"
    }

    fn score(&self, customer: &History, scores: &mut [f64], _work: &mut Work) {
        scores.fill(0.0);
        let found = customer.number.and_then(|n| self.base.profiles.get(n)).and_then(|p| p.near.as_ref());
        if let (Some((pool, found)), Some(neighbourhood)) = (found, self.base.neighbourhood) {
            let mut weights = Vec::new();
            similarities(found.iter().map(|(_, squared)| *squared), &mut weights);
            for ((position, _), weight) in found.iter().zip(weights) {
                for package in neighbourhood.pools[*pool].packages.of(*position) {
                    scores[package as usize] += weight;
                }
            }
        }
    }
}
