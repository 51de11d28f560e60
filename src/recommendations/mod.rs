//! Stage: offers for every customer.
//!
//! | file | does |
//! |---|---|
//! | [`signals`] | what is known of a customer and a package |
//! | [`model`] | weights over signals: ln odds, and the factors that they fall apart into |
//! | [`tune`] | learns the weights from the window before the cut-off |
//! | [`score`] | scores every package for a customer, and ranks |
//! | [`visit`] | goes through the customers of a part with their neighbours |
//! | [`offers`] | from a ranking to offers: novelty, slots, rules |
//! | [`rules`] | what must not be offered, from the configuration |
//! | `stage` | a group of customers: rank, ask the rules, choose, explain |
//! | [`explain`] | one customer and one package: offered, or why not |
//! | [`caps`], `capped` | limits over all customers, by prices |
//! | [`reasons`] | why, in a sentence |

mod capped;
pub mod caps;
pub mod explain;
pub mod model;
pub mod offers;
pub mod reasons;
pub mod rules;
pub mod score;
pub mod signals;
mod stage;
pub mod tune;
pub mod visit;
mod write;

use crate::affinities::{Affinities, AffinityError};
use crate::config::Config;
use crate::config::resolve::Mix;
use crate::engine::part::{PartError, PartFile, RunFolder};
use crate::engine::scratch::Scratch;
use crate::engine::{Engine, workers};
use crate::features::Features;
use crate::neighbours::NeighbourError;
use crate::neighbours::index::SearchError;
use crate::neighbours::pool::Neighbourhood;
use crate::policies::{Funnel, FunnelRow, Policies, PolicyError};
use crate::segments::{SegmentError, Segments};
use crate::transactions::catalogue::Package;
use arrow::error::ArrowError;
use capped::{CapFigures, CapPlan, CapSpill};
use caps::CapError;
use model::ScoringModel;
use reasons::{Source, Wording};
use rules::{Excluded, Rules};
use score::{Preferences, Ranker};
use serde::{Deserialize, Serialize};
use signals::PackageFacts;
use stage::{Desk, Stage};
use std::collections::BTreeMap;
use visit::Visitor;
use write::OfferWriter;

/// New packages that are ranked beyond the offers asked for, in case rules of the policy file take some; and
/// in case those of the configuration do. Where that is not enough, all are ranked.
const SPARE: usize = 20;
const SPARE_WITHOUT_POLICIES: usize = 4;
/// Customers whose lists are compared, about.
const LISTS: u64 = 50_000;
/// Expected revenue is summed in this many steps a currency unit, so that the order of the customers does
/// not show.
const REVENUE_STEPS: f64 = 65_536.0;

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
    Affinities(#[from] AffinityError),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error("the table of recommendations could not be made")]
    Arrow(#[from] ArrowError),
    #[error(transparent)]
    Policies(#[from] PolicyError),
    #[error("the cap `{rule}` (line {line} of the policy file) cannot be kept")]
    Caps {
        rule: String,
        line: usize,
        #[source]
        source: Box<CapError<std::io::Error>>,
    },
    #[error("caps cannot be kept together with recommendations.slots")]
    CapsWithSlots,
    #[error("the offers of a first pass cannot be kept on scratch disk")]
    Spill(#[source] std::io::Error),
}

/// Everything that is fitted up to one cut-off.
pub struct Fitted {
    pub features: Features,
    pub segments: Segments,
    pub neighbourhood: Option<Neighbourhood>,
    pub affinities: Affinities,
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
    pub offers_from_bought_together: u64,
    pub offers_from_popularity: u64,
    /// In a control group: published and marked, not to be sent.
    pub offers_held_out: u64,
    pub customers_held_out: u64,
    /// Different packages offered, of all.
    pub packages_offered: u64,
    pub packages: u64,
    /// Share of customers that get the most frequent list, in a sample of about 50,000.
    pub same_for_all: f64,
    /// Score × price of all offers to be sent, currency units.
    pub expected_revenue: f64,
    #[serde(skip)]
    revenue_steps: i64,
    /// What each rule took, in the order of application.
    pub rules: Vec<FunnelRow>,
    pub caps: Vec<CapFigures>,
}

/// The published files and their figures.
pub struct Recommendations {
    pub parts: Vec<PartFile>,
    pub shortfalls: Vec<PartFile>,
    pub neighbours: Vec<PartFile>,
    pub figures: OfferFigures,
    pub funnel: Funnel,
}

/// Scores every customer under policies. Memory: a part for each thread, and 2,048 customers' rankings.
pub fn build(
    fitted: &Fitted,
    model: &ScoringModel,
    policies: &Policies,
    config: &Config,
    engine: &Engine,
    scratch: &Scratch,
    folder: &RunFolder,
) -> Result<Recommendations, RecommendationError> {
    let features = &fitted.features;
    let packages = features.packages.len();
    let facts = fitted.facts();
    let mut stage = stage_of(fitted, &facts, model, policies, config);
    let scale = config.money.scale();
    let visitor = Visitor::new(fitted, config, engine, folder).reading(policies);
    if !policies.caps().is_empty() {
        stage.caps = Some(solve_caps(&stage, &visitor, scratch)?);
    }
    let codes = write::Codes::new(features, scale);
    let wanted = stage.wanted();
    let states = workers::for_each(
        engine.threads,
        features.parts.len(),
        || (Desk::new(packages, &stage.infos), Vec::new()),
        |(desk, parts), number| -> Result<(), RecommendationError> {
            let mut writer = OfferWriter::create(folder, number, features.customer_type, &codes, config)?;
            visitor.part(number, |group| {
                stage.decide(group, desk, wanted, |group, desk, decision| {
                    stage.publish(group, desk, &decision, &mut writer)
                })
            })?;
            parts.push((number, writer.finish()?));
            Ok(())
        },
    )?;
    let mut all = Recommendations {
        parts: Vec::new(),
        shortfalls: Vec::new(),
        neighbours: Vec::new(),
        figures: OfferFigures::default(),
        funnel: Funnel::of(&stage.infos),
    };
    let mut offered = vec![false; packages];
    let mut written = Vec::new();
    let mut lists: BTreeMap<u64, u64> = BTreeMap::new();
    for (desk, mut parts) in states {
        for (list, customers) in desk.lists {
            *lists.entry(list).or_default() += customers;
        }
        written.append(&mut parts);
        all.figures.add(&desk.figures);
        all.funnel.merge(&desk.funnel);
        offered.iter_mut().zip(&desk.offered).for_each(|(all, own)| *all |= own);
    }
    written.sort_by_key(|(number, _)| *number);
    for (_, files) in written {
        all.parts.push(files.offers);
        all.shortfalls.extend(files.shortfalls);
        all.neighbours.extend(files.neighbours);
    }
    all.figures.packages_offered = offered.iter().filter(|offered| **offered).count() as u64;
    all.figures.packages = packages as u64;
    let compared: u64 = lists.values().sum();
    all.figures.same_for_all = lists.values().max().map_or(0.0, |most| *most as f64 / compared as f64);
    all.figures.expected_revenue = all.figures.revenue_steps as f64 / REVENUE_STEPS;
    all.figures.caps = stage.caps.map(|caps| caps.figures).unwrap_or_default();
    all.figures.rules = all.funnel.rows();
    Ok(all)
}

/// What all workers go by, before caps are known.
fn stage_of<'a>(
    fitted: &'a Fitted,
    facts: &'a PackageFacts,
    model: &'a ScoringModel,
    policies: &'a Policies,
    config: &Config,
) -> Stage<'a> {
    let Fitted { features, segments, affinities, .. } = fitted;
    let settings = &config.recommendations;
    let packages = features.packages.len();
    let boost = (0..packages as u32).map(|package| policies.boost(package)).collect();
    let preferences = Preferences::new(boost, settings.price_weight, facts);
    let infos = Excluded::ALL.iter().map(|rule| rule.info(settings)).chain(policies.rules().iter().cloned());
    let scale = config.money.scale();
    let price = |package: &Package| package.price.map_or(f64::NAN, |minor| minor as f64 / scale);
    Stage {
        ranker: Ranker::new(facts, affinities, model, preferences, segments.model.k),
        rules: Rules::new(settings, features, features.as_of_day),
        policies,
        infos: infos.collect(),
        top: settings.top,
        mix: settings.mix,
        prices: features.packages.iter().map(price).collect(),
        wording: wording(features, segments),
        packages,
        list_step: features.customers.div_ceil(LISTS).max(1),
        caps: None,
    }
}

/// The first of two passes: who could get what is capped, and the prices that follow.
fn solve_caps(stage: &Stage, visitor: &Visitor, scratch: &Scratch) -> Result<CapPlan, RecommendationError> {
    if matches!(stage.mix, Mix::Slots { .. }) {
        return Err(RecommendationError::CapsWithSlots);
    }
    let (parts, caps) = (visitor.fitted.features.parts.len(), stage.policies.caps());
    let spill = CapSpill::new(&scratch.path().join("caps"), parts, stage.packages, caps)
        .map_err(RecommendationError::Spill)?;
    workers::for_each(
        visitor.engine.threads,
        parts,
        || (Desk::new(stage.packages, &stage.infos), Vec::new()),
        |(desk, offers), number| -> Result<(), RecommendationError> {
            let mut writer = spill.writer(number).map_err(RecommendationError::Spill)?;
            visitor.part(number, |group| {
                stage.decide(group, desk, stage.top + SPARE, |group, _, decision| {
                    stage.note(group, &decision, offers, &mut writer)
                })
            })?;
            writer.finish().map_err(RecommendationError::Spill)
        },
    )?;
    let plan = CapPlan::solve(caps, stage.policies.rules(), &spill, stage.top, visitor.engine.threads)?;
    scratch.clear("caps");
    Ok(plan)
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
        self.offers_from_bought_together += other.offers_from_bought_together;
        self.offers_from_popularity += other.offers_from_popularity;
        self.offers_held_out += other.offers_held_out;
        self.customers_held_out += other.customers_held_out;
        self.revenue_steps += other.revenue_steps;
    }
}

impl OfferFigures {
    fn count(&mut self, source: Source, is_new: bool, held_out: bool, revenue: f64) {
        self.offers += 1;
        self.offers_held_out += u64::from(held_out);
        if revenue.is_finite() && !held_out {
            self.revenue_steps += (revenue * REVENUE_STEPS).round() as i64;
        }
        self.offers_new_to_customer += u64::from(is_new);
        match source {
            Source::OwnHabit => self.offers_from_own_habit += 1,
            Source::Neighbours => self.offers_from_neighbours += 1,
            Source::BoughtTogether => self.offers_from_bought_together += 1,
            Source::Popularity => self.offers_from_popularity += 1,
        }
    }
}
