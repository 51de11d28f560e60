//! Stage: offers for every customer.
//!
//! | file | does |
//! |---|---|
//! | [`signals`] | what is known of a customer and a package |
//! | [`model`] | weights over signals: ln odds, and the factors that they fall apart into |
//! | [`tune`] | learns the weights from the window before the cut-off |
//! | [`board`] | sums over all packages for one customer, and which lead |
//! | [`score`] | scores every package for a customer, and ranks |
//! | [`visit`] | goes through the customers of a part with their neighbours |
//! | [`offers`] | from a ranking to offers: novelty, slots, rules |
//! | [`rules`] | what must not be offered, from the configuration |
//! | `stage` | a group of customers: rank, ask the rules, choose, explain |
//! | [`explain`] | one customer and one package: offered, or why not |
//! | `figures` | what came out, and what each part adds to it |
//! | [`caps`], `capped` | limits over all customers, by prices |
//! | [`reasons`], `sentences` | why, in a sentence, and each in words once a batch |

pub mod board;
mod capped;
pub mod caps;
pub mod explain;
mod figures;
mod kept;
pub mod model;
pub mod offers;
pub mod reasons;
pub mod rules;
pub mod score;
mod sentences;
pub mod signals;
mod stage;
pub mod tune;
pub mod visit;
mod write;

use crate::affinities::{Affinities, AffinityError};
use crate::config::Config;
use crate::config::resolve::Mix;
use crate::engine::journal::{Journal, JournalError};
use crate::engine::part::{PartError, PartFile, RunFolder};
use crate::engine::scratch::Scratch;
use crate::engine::{Engine, workers};
use crate::features::Features;
use crate::neighbours::NeighbourError;
use crate::neighbours::index::SearchError;
use crate::neighbours::pool::Neighbourhood;
use crate::policies::{Policies, PolicyError};
use crate::segments::{SegmentError, Segments};
use crate::transactions::catalogue::Package;
use arrow::error::ArrowError;
use capped::{CapPlan, CapSpill};
use caps::CapError;
pub use figures::OfferFigures;
use figures::Tally;
use kept::KeptNeighbours;
use model::ScoringModel;
use reasons::Wording;
use rules::{Excluded, Rules};
use score::{Preferences, Ranker};
use serde::{Deserialize, Serialize};
use signals::PackageFacts;
use stage::{Desk, Stage};
use visit::Visitor;
use write::{OfferWriter, Written};

/// New packages that are ranked beyond the offers asked for, in case rules of the policy file take some; and
/// in case those of the configuration do. Where that is not enough, all are ranked.
const SPARE: usize = 20;
const SPARE_WITHOUT_POLICIES: usize = 1;
/// Customers whose lists are compared, about.
const LISTS: u64 = 50_000;

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
    #[error(transparent)]
    Journal(#[from] JournalError),
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

impl Fitted {
    /// Frees the sample that everything was fitted on, some 0.6 KiB a customer: offers do not need it.
    pub fn forget_sample(&mut self) {
        self.features.sample = Vec::new();
        self.segments.sample_rows = Vec::new();
    }
}

/// The published files and their figures.
pub struct Recommendations {
    pub parts: Vec<PartFile>,
    pub shortfalls: Vec<PartFile>,
    pub neighbours: Vec<PartFile>,
    pub figures: OfferFigures,
}

/// A part that is finished, as the journal keeps it.
#[derive(Serialize, Deserialize)]
struct FinishedPart {
    files: Written,
    tally: Tally,
}

/// Scores every customer under policies. With a journal, parts that an unfinished run has finished are taken
/// from it. Memory: a part for each thread, and 2,048 customers' rankings.
#[expect(clippy::too_many_arguments, reason = "what is fitted, what is asked, and where it goes")]
pub fn build(
    fitted: &Fitted,
    model: &ScoringModel,
    policies: &Policies,
    config: &Config,
    engine: &Engine,
    scratch: &Scratch,
    folder: &RunFolder,
    journal: Option<&Journal>,
) -> Result<Recommendations, RecommendationError> {
    let features = &fitted.features;
    let packages = features.packages.len();
    let facts = fitted.facts();
    let mut stage = stage_of(fitted, &facts, model, policies, config);
    let scale = config.money.scale();
    let visitor = Visitor::new(fitted, config, engine, folder).reading(policies);
    // A part is of the same customers if their features are the same bytes.
    let entry =
        |number: usize| (format!("recommendations/{number}"), &features.parts[number].features.checksum);
    let done = |number: usize| -> Option<FinishedPart> {
        let (key, basis) = entry(number);
        let found: FinishedPart = journal?.finished(&key, basis)?;
        let is_there = found.files.all().all(|file| folder.takes(file));
        is_there.then_some(found)
    };
    let kept;
    let visitor = if policies.caps().is_empty() {
        visitor
    } else {
        kept = KeptNeighbours::new(&scratch.path().join("neighbours")).map_err(RecommendationError::Spill)?;
        stage.caps = Some(solve_caps(&stage, &visitor.keeping(&kept), scratch)?);
        visitor.taking(&kept)
    };
    let codes = write::Codes::new(features, scale);
    let wanted = stage.wanted();
    let nothing = Tally::new(packages, &stage.infos);
    let states = workers::for_each(
        engine.threads,
        features.parts.len(),
        || (Desk::new(packages, &stage.infos), nothing.clone(), Vec::new()),
        |(desk, sum, parts), number| -> Result<(), RecommendationError> {
            let part = match done(number) {
                Some(part) => {
                    journal.inspect(|journal| journal.took());
                    engine.progress.advance(part.tally.customers);
                    part
                }
                None => {
                    let (kind, rows) = (features.customer_type, std::mem::take(&mut desk.rows));
                    let mut writer = OfferWriter::create(folder, number, kind, &codes, config, rows)?;
                    visitor.part(number, |group| {
                        stage.decide(group, desk, wanted, |group, desk, decision| {
                            stage.publish(group, desk, &decision, &mut writer)
                        })
                    })?;
                    let tally = std::mem::replace(&mut desk.tally, nothing.clone());
                    let (files, rows) = writer.finish()?;
                    desk.rows = rows;
                    let part = FinishedPart { files, tally };
                    if let Some(journal) = journal {
                        let (key, basis) = entry(number);
                        journal.finish(&key, basis, &part)?;
                    }
                    part
                }
            };
            sum.merge(&part.tally);
            parts.push((number, part.files));
            Ok(())
        },
    )?;
    let (mut tally, mut written) = (nothing, Vec::new());
    for (_, sum, mut parts) in states {
        tally.merge(&sum);
        written.append(&mut parts);
    }
    scratch.clear("neighbours");
    written.sort_by_key(|(number, _)| *number);
    let (mut parts, mut shortfalls, mut neighbours) = (Vec::new(), Vec::new(), Vec::new());
    for (_, files) in written {
        parts.push(files.offers);
        shortfalls.extend(files.shortfalls);
        neighbours.extend(files.neighbours);
    }
    let figures = tally.figures(stage.caps.map(|caps| caps.figures).unwrap_or_default());
    Ok(Recommendations { parts, shortfalls, neighbours, figures })
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
