//! Stage 5: offers for every customer.

pub mod reasons;
pub mod rules;
pub mod score;
mod write;

use crate::config::Config;
use crate::engine::part::{PartError, PartFile, RunFolder, id_text};
use crate::engine::{Engine, workers};
use crate::features::Features;
use crate::neighbours::NeighbourError;
use crate::neighbours::index::{NOTHING, Neighbours, SearchError};
use crate::neighbours::pool::Neighbourhood;
use crate::segments::part_view::{PartView, ranks};
use crate::segments::{SegmentError, Segments};
use arrow::error::ArrowError;
use reasons::Wording;
use rules::{CustomerFacts, Excluded, Rules};
use score::{Answer, Blend, Bought, NeighbourPackages, Question, Scorer, Source};
use serde::{Deserialize, Serialize};
use write::{OfferWriter, Row};

/// Customers that are looked up and scored together: bounds the memory of answers.
const GROUP: usize = 2_048;
/// Purchases that a customer needs before neighbours say more than the segment does.
const MIN_PURCHASES: f64 = 2.0;

/// Why recommendations could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RecommendationError {
    #[error(transparent)]
    Neighbours(#[from] NeighbourError),
    #[error("the neighbour index could not be searched")]
    Search(#[from] SearchError),
    #[error(transparent)]
    Segments(#[from] SegmentError),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error("the table of recommendations could not be made")]
    Arrow(#[from] ArrowError),
}

/// What came out, for summary and manifest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OfferFigures {
    pub offers: u64,
    pub customers: u64,
    pub customers_with_shortfall: u64,
    pub customers_without_offer: u64,
    pub offers_new_to_customer: u64,
    pub offers_from_own_habit: u64,
    pub offers_from_neighbours: u64,
    pub offers_from_both: u64,
    pub offers_from_segment: u64,
    /// Different packages offered.
    pub packages_offered: u64,
    /// Candidates that a rule took, by rule.
    pub excluded: Vec<(String, u64)>,
}

/// The published files and their figures.
pub struct Recommendations {
    pub parts: Vec<PartFile>,
    pub shortfalls: Vec<PartFile>,
    pub neighbours: Vec<PartFile>,
    pub figures: OfferFigures,
}

struct Worker {
    scorer: Scorer,
    parts: Vec<(usize, write::Written)>,
    figures: OfferFigures,
    offered: Vec<bool>,
    excluded: [u64; Excluded::ALL.len()],
}

/// Scores every customer. Memory: a part for each thread, and 2,048 customers' answers.
pub fn build(
    features: &Features,
    segments: &Segments,
    neighbourhood: Option<&Neighbourhood>,
    config: &Config,
    engine: &Engine,
    folder: &RunFolder,
) -> Result<Recommendations, RecommendationError> {
    let (as_of_day, customer_type) = (features.as_of_day, features.customer_type);
    let ranks = ranks(features);
    let rules = Rules::new(&config.recommendations, features, as_of_day);
    let popular = popular_by_segment(features, segments);
    let codes = write::Codes::new(features, config.money.scale(), wording(features, segments));
    let blend = Blend { own_weight: config.recommendations.own_weight, top: config.recommendations.top };
    let packages = features.packages.len();
    let states = workers::for_each(
        engine.threads,
        features.parts.len(),
        || Worker {
            scorer: Scorer::new(packages),
            parts: Vec::new(),
            figures: OfferFigures::default(),
            offered: vec![false; packages],
            excluded: Default::default(),
        },
        |worker, number| -> Result<(), RecommendationError> {
            let view = PartView::read(number, features, segments, &ranks, folder, engine.runtime.handle())?;
            let mut writer = OfferWriter::create(folder, number, customer_type, &codes, config)?;
            for start in (0..view.len()).step_by(GROUP) {
                let group = start..(start + GROUP).min(view.len());
                let found = look_up(&view, group.clone(), neighbourhood, config.neighbours.k)?;
                let size = group.len() as u64;
                score_group(
                    &view,
                    group,
                    &found,
                    neighbourhood,
                    &popular,
                    &rules,
                    blend,
                    as_of_day,
                    worker,
                    &mut writer,
                )?;
                engine.progress.advance(size);
            }
            worker.parts.push((number, writer.finish()?));
            Ok(())
        },
    )?;
    let mut all = Recommendations {
        parts: Vec::new(),
        shortfalls: Vec::new(),
        neighbours: Vec::new(),
        figures: OfferFigures::default(),
    };
    let mut offered = vec![false; packages];
    let mut excluded = [0u64; Excluded::ALL.len()];
    let mut written = Vec::new();
    for mut worker in states {
        written.append(&mut worker.parts);
        all.figures.add(&worker.figures);
        offered.iter_mut().zip(&worker.offered).for_each(|(all, own)| *all |= own);
        excluded.iter_mut().zip(worker.excluded).for_each(|(all, own)| *all += own);
    }
    written.sort_by_key(|(number, _)| *number);
    for (_, files) in written {
        all.parts.push(files.offers);
        all.shortfalls.extend(files.shortfalls);
        all.neighbours.extend(files.neighbours);
    }
    all.figures.packages_offered = offered.iter().filter(|offered| **offered).count() as u64;
    all.figures.excluded =
        Excluded::ALL.iter().zip(excluded).map(|(rule, count)| (rule.text().to_owned(), count)).collect();
    Ok(all)
}

/// "High-revenue" is said only where it is true.
fn wording(features: &Features, segments: &Segments) -> Wording {
    let chosen = segments.profiles.iter().any(|profile| profile.customers > 0 && !profile.high_revenue);
    if features.revenue > 0 && chosen { Wording::HighRevenue } else { Wording::Similar }
}

impl OfferFigures {
    fn add(&mut self, other: &Self) {
        self.offers += other.offers;
        self.customers += other.customers;
        self.customers_with_shortfall += other.customers_with_shortfall;
        self.customers_without_offer += other.customers_without_offer;
        self.offers_new_to_customer += other.offers_new_to_customer;
        self.offers_from_own_habit += other.offers_from_own_habit;
        self.offers_from_neighbours += other.offers_from_neighbours;
        self.offers_from_both += other.offers_from_both;
        self.offers_from_segment += other.offers_from_segment;
    }
}

/// The neighbours of a group of customers: for each the pool and the place of its answer.
struct Found {
    answers: Vec<Neighbours>,
    /// Pool and query number, by customer of the group.
    places: Vec<Option<(usize, usize)>>,
}

fn look_up(
    view: &PartView,
    group: std::ops::Range<usize>,
    neighbourhood: Option<&Neighbourhood>,
    k: usize,
) -> Result<Found, RecommendationError> {
    let mut places = vec![None; group.len()];
    let Some(neighbourhood) = neighbourhood else {
        return Ok(Found { answers: Vec::new(), places });
    };
    let dims = neighbourhood.vectors.dims();
    let vectors = neighbourhood.vectors.vectors(group.clone().map(|customer| {
        let bought = view.bought(customer);
        (view.scaled_row(customer), &view.packages[bought.clone()], &view.weights[bought])
    }))?;
    let mut answers = Vec::with_capacity(neighbourhood.pools.len());
    for (number, pool) in neighbourhood.pools.iter().enumerate() {
        let (mut queries, mut exclude) = (Vec::new(), Vec::new());
        for (at, customer) in group.clone().enumerate() {
            if neighbourhood.pool_of(view.segments[customer]) == Some(number) {
                places[at] = Some((number, exclude.len()));
                queries.extend_from_slice(&vectors[at * dims..][..dims]);
                let id = id_text(view.ids.as_ref(), customer);
                exclude.push(neighbourhood.position(number, id.as_bytes()));
            }
        }
        let mut answer = Neighbours::new();
        if !exclude.is_empty() {
            let exclude = exclude.iter().any(|position| *position != NOTHING).then_some(&exclude[..]);
            pool.built.index.search(&queries, k, exclude, &mut answer)?;
        }
        answers.push(answer);
    }
    Ok(Found { answers, places })
}

#[expect(clippy::too_many_arguments, reason = "the inner loop of the stage, called from one place")]
fn score_group(
    view: &PartView,
    group: std::ops::Range<usize>,
    found: &Found,
    neighbourhood: Option<&Neighbourhood>,
    popular: &[Vec<(u32, f64)>],
    rules: &Rules,
    blend: Blend,
    as_of_day: i64,
    worker: &mut Worker,
    writer: &mut OfferWriter,
) -> Result<(), RecommendationError> {
    let usual = view.column("average_purchase");
    let purchases = view.column("purchases");
    let mut answer = Answer::default();
    let (mut bought, mut near): (Vec<Bought>, Vec<NeighbourPackages>) = (Vec::new(), Vec::new());
    for (at, customer) in group.enumerate() {
        bought.clear();
        bought.extend(view.bought(customer).map(|position| Bought {
            package: view.packages[position],
            weight: view.weights[position],
            last: view.last[position],
        }));
        near.clear();
        let mut nearest: (&[u32], &[f32]) = (&[], &[]);
        if let (Some((pool, query)), Some(neighbourhood)) = (found.places[at], neighbourhood) {
            nearest = found.answers[pool].of(query);
            near.extend(
                nearest
                    .0
                    .iter()
                    .zip(nearest.1)
                    .map(|(position, squared)| (neighbourhood.pools[pool].bought(*position), *squared)),
            );
            writer.neighbours(&view.ids, customer, &neighbourhood.pools[pool], nearest)?;
        }
        let segment = view.segments[customer];
        let is_new = purchases.value(customer) < MIN_PURCHASES;
        let question = Question {
            bought: &bought,
            neighbours: &near,
            segment: &popular[segment as usize],
            is_new,
            facts: CustomerFacts { usual_price: usual.value(customer) * writer.scale() },
        };
        worker.scorer.score(&question, rules, blend, &mut answer);
        let first = view.bought(customer).start;
        let consulted = if is_new { 0 } else { nearest.0.len() };
        for (rank, offer) in answer.offers.iter().enumerate() {
            let (times, days_ago) = match offer.bought {
                Some(position) => {
                    let position = first + position as usize;
                    let day = view.last[position].div_euclid(86_400_000_000);
                    (view.times[position], as_of_day - day)
                }
                None => (0, 0),
            };
            worker.count(offer);
            writer.offer(&view.ids, customer, &Row { rank, offer, times, days_ago, consulted, segment })?;
        }
        worker.figures.customers += 1;
        worker.excluded.iter_mut().zip(answer.excluded).for_each(|(all, own)| *all += u64::from(own));
        if answer.offers.len() < blend.top {
            worker.figures.customers_with_shortfall += 1;
            worker.figures.customers_without_offer += u64::from(answer.offers.is_empty());
            writer.shortfall(&view.ids, customer, &answer)?;
        }
    }
    Ok(())
}

impl Worker {
    fn count(&mut self, offer: &score::Offer) {
        self.offered[offer.package as usize] = true;
        self.figures.offers += 1;
        self.figures.offers_new_to_customer += u64::from(offer.bought.is_none());
        match offer.source {
            Source::OwnHabit => self.figures.offers_from_own_habit += 1,
            Source::Neighbours => self.figures.offers_from_neighbours += 1,
            Source::Both => self.figures.offers_from_both += 1,
            Source::Segment => self.figures.offers_from_segment += 1,
        }
    }
}

/// For every segment its packages by share of purchases, most first, ties by code. As many as could
/// ever be needed: rules may exclude many, so all that sold are kept.
fn popular_by_segment(features: &Features, segments: &Segments) -> Vec<Vec<(u32, f64)>> {
    let packages = features.packages.len();
    segments
        .package_times
        .chunks(packages.max(1))
        .map(|times| {
            let total: i64 = times.iter().filter(|times| **times > 0).sum();
            let mut popular: Vec<(u32, i64)> = times
                .iter()
                .enumerate()
                .filter(|(_, times)| **times > 0)
                .map(|(p, times)| (p as u32, *times))
                .collect();
            popular.sort_by_key(|(package, times)| (-times, *package));
            popular.into_iter().map(|(package, times)| (package, times as f64 / total as f64)).collect()
        })
        .collect()
}
